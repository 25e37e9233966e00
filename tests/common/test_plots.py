import numpy as np
from PIL import Image

from common import plots


def test_a_gif_keeps_its_size_limit_and_its_frames(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (4, 120, 200, 3), dtype=np.uint8)
    frames = [Image.fromarray(image) for image in noise]
    for most, size in ((10**6, (200, 120)), (30_000, None)):
        path = plots.write_gif(frames, tmp_path / "new" / "a.gif", most_bytes=most)
        with Image.open(path) as gif:
            assert gif.n_frames == 4 and (size is None or gif.size == size)
        assert path.stat().st_size <= most
