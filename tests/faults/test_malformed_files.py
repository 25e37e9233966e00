"""Files that claim or hold what they should not are refused by name, before they fill the memory."""

import hashlib
import json
import re
import struct
import subprocess
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from common import checkpoint
from common.errors import RunError, UsageError
from common.image_reader import read_image
from q1_dcgan import evaluate as q1_evaluate
from q1_dcgan import mnist_files
from q1_dcgan.dcgan import Generator
from q2_protonet import drawings, omniglot_files
from q2_protonet import evaluate as q2_evaluate
from q2_protonet.protonet import ProtoNet
from q3_pix2pix import evaluate as q3_evaluate
from q3_pix2pix.pix2pix import UNet
from q4_darts import evaluate as q4_evaluate
from q4_darts import genotype_text, genotypes
from q4_darts.model_search import Supernet
from tests.common.test_image_reader import png


def claims(side_x, side_y):
    """Files of under 200 bytes, whose headers claim so many pixels: name -> bytes."""

    yield "b.png", png(side_x, side_y, 8, 0, bytes(99))
    screen = struct.pack("<HH", min(side_x, 65535), min(side_y, 65535))
    frame = b"," + bytes(4) + screen + b"\0\x02\x02\x4c\x01\0;"
    yield "b.gif", b"GIF89a" + screen + b"\x80\0\0" + bytes(6) + frame
    tags = [(256, 4, side_x), (257, 4, side_y), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8)]
    tags += [(278, 4, side_y), (279, 4, 99)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    yield "b.tif", b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    header = struct.pack("<IIIIiiHHIIiiII", 99, 0, 54, 40, side_x, side_y, 1, 24, 0, 0, 0, 0, 0, 0)
    yield "b.bmp", b"BM" + header + bytes(99)
    yield "b.ppm", b"P5 %d %d 255\n" % (side_x, side_y) + bytes(99)


READ_CLAIMS = """
import re, resource, sys
from pathlib import Path
from common.errors import RunError
from common.image_reader import read_image
from q2_protonet.drawings import read_ink
from q3_pix2pix.pair_reader import open_rgb
mine = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (mine + (90 << 20),) * 2)  # less than one byte a pixel
for file in map(Path, sys.argv[1:]):
    for read in (read_ink, open_rgb, lambda f: read_image(f, "RGB"), lambda f: read_image(f, "L")):
        try:
            read(file)
        except RunError as error:
            print(error)
"""


@pytest.mark.parametrize("sides", [(100_000, 100_000), (12_000, 12_500), (100_000_001, 1)])
def test_enormous_claims_are_refused_before_decoding(script, tmp_path, sides):
    files = []
    for name, data in claims(*sides):
        if name != "b.gif" or min(sides) > 1:  # a GIF of one row cannot be too large
            (tmp_path / name).write_bytes(data)
            files.append(str(tmp_path / name))
    done = script("-c", READ_CLAIMS, *files)
    lines = done.stdout.splitlines()
    assert done.stderr == "" and len(lines) == 4 * len(files)  # no warning either
    claim = r"b\.\w+ cannot be read as an image \(.*(claims [\d,]+ x [\d,]+|size \(\d{9,}) pixels"
    for line in lines:
        assert re.search(claim, line), line


def test_a_thin_picture_is_refused(tmp_path):
    Image.new("L", (1_000_000, 1)).save(tmp_path / "thin.png")
    with pytest.raises(RunError, match="thin.png is 1,000,000 x 1 pixels: too many"):
        drawings.read_ink(tmp_path / "thin.png")


def test_no_program_is_started_for_an_image(tmp_path, monkeypatch):
    """Pillow gives EPS, under any ending, to Ghostscript."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n"
    (tmp_path / "e.png").write_bytes(eps)
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("a program was started"))
    with pytest.raises(RunError, match="e.png cannot be read as an image"):
        read_image(tmp_path / "e.png", "RGB")


# IDX, lists, genotypes --------------------------------------------------------------------------------------


def test_idx_files(tmp_path, monkeypatch):
    from torchvision import datasets

    folder = tmp_path / "MNIST/raw"
    folder.mkdir(parents=True)
    shapes = {"train-images-idx3": (60_000, 28, 28), "train-labels-idx1": (60_000,)}
    shapes |= {"t10k-images-idx3": (10_000, 28, 28), "t10k-labels-idx1": (10_000,)}
    monkeypatch.setitem(mnist_files.MD5, "mnist", {})
    for name, shape in shapes.items():
        content = struct.pack(f">{1 + len(shape)}I", 0x800 + len(shape), *shape)
        content += np.arange(np.prod(shape), dtype=np.uint8).tobytes()
        (folder / f"{name}-ubyte").write_bytes(content)
        monkeypatch.setitem(mnist_files.MD5["mnist"], f"{name}-ubyte", hashlib.md5(content).hexdigest())
    parts = mnist_files.read_mnist(tmp_path, "mnist")
    plain = datasets.MNIST(str(tmp_path), train=False)
    assert torch.equal(parts["test"].images, plain.data) and torch.equal(parts["test"].labels, plain.targets)
    for name, shape in list(shapes.items())[1:]:
        file = folder / f"{name}-ubyte"
        whole, md5 = file.read_bytes(), mnist_files.MD5["mnist"][file.name]
        changed = (whole[:3] + b"\x09" + whole[4:], whole[:99] + b"\x99\x01" + whole[101:])
        for damaged in (b"", whole[:7], whole[:-1], whole + b"x", *changed):
            file.write_bytes(damaged)
            with pytest.raises(RunError, match=f"{name}-ubyte is damaged, or another file"):
                mnist_files.read_idx(file, md5, shape)
    with pytest.raises(RunError, match="train-labels-idx1-ubyte is damaged"):
        mnist_files.read_mnist(tmp_path, "mnist")


LINES = ["Greek/character99/rot000", "Greek/character01/rot045", "Greek", "/", "x" * 10**6, "\0", "\udcff"]


@pytest.mark.parametrize("line", LINES)
def test_a_foreign_line_of_a_split_list(tmp_path, line):
    good = "".join(f"Greek/character01/rot{turn:03d}\n" for turn in (0, 90, 180, 270))
    (tmp_path / "val.txt").write_text(good)
    assert omniglot_files.read_list(tmp_path / "val.txt", {"Greek/character01"}) == ["Greek/character01"]
    (tmp_path / "val.txt").write_bytes((good + line).encode(errors="surrogateescape"))
    with pytest.raises(RunError, match="val.txt, line 5: ") as caught:
        omniglot_files.read_list(tmp_path / "val.txt", {"Greek/character01"})
    assert len(str(caught.value)) < 500


CELL, SKIP = json.dumps(genotypes.DARTS_V2.normal).encode(), b'"skip_connect"'
NO_CELLS = [b"[[S, NaN], [S, 1]]", b"[[S, true], [S, 0]]", b"[[S, 1, 1]]", b"[[[S], 1]]"]
NO_CELLS += [b'{"ab": 1}', b"null"]
NO_CELLS = [cell.replace(b"S", SKIP) for cell in NO_CELLS]
NO_CELLS += [CELL + b', "epoch": ' + b"9" * 5000, CELL + b', "reduce": ' + CELL]
NO_GENOTYPES = [b'{"normal": %b, "reduce": %b}' % (CELL, cell) for cell in NO_CELLS]
NO_GENOTYPES += [b"[" * 100_000, b'{"normal": ' * 100_000, b'"normal"', b"NaN"]
NO_GENOTYPES += [b"\xff\xfe{}", b"\x80\x04\x95"]


@pytest.mark.parametrize("content", NO_GENOTYPES)
def test_files_that_are_no_genotype(tmp_path, content):
    (tmp_path / "g.json").write_bytes(content)
    with pytest.raises(RunError, match="g.json is not a genotype"):
        genotype_text.read(str(tmp_path / "g.json"))


def test_huge_numbers_in_a_genotype(tmp_path):
    edges = [[operation, state] for operation, state in genotypes.DARTS_V2.normal]
    edges[3][1] = 10**4000
    (tmp_path / "g.json").write_text(json.dumps({"normal": edges, "reduce": genotypes.DARTS_V2.reduce}))
    with pytest.raises(UsageError, match="does not come before"):
        genotype_text.read(str(tmp_path / "g.json"))
    with pytest.raises(UsageError, match="random:0"):
        genotype_text.read("random:" + "9" * 5000)


NAMED = {"format": checkpoint.FORMAT, "question": "q"}
ODD = [{"format": torch.zeros(2)}, {"format": checkpoint.FORMAT}, NAMED | {"architecture": [3]}]
ODD += [NAMED | {"question": torch.zeros(2), "architecture": {}}]
ODD += [NAMED | {"architecture": {"width": torch.zeros(2)}}, {"x": 1}, [1], claims]


@pytest.mark.parametrize("content", ODD)
def test_checkpoints_of_odd_contents(tmp_path, content):
    torch.save(content, tmp_path / "last.pt")
    refused = "holds more than .* refused" if callable(content) else "is not a checkpoint of this project"
    with pytest.raises(RunError, match=f"last.pt {refused}"):
        checkpoint.load(tmp_path / "last.pt", "q", {"width": 3})


def unet(image_size, base_channels, direction):
    return UNet(image_size, base_channels)


NETWORKS = {  # a script that loads one, the numbers of a small one, and the network
    "q1_dcgan": (q1_evaluate, {"latent_size": 2, "classes": 2, "base_channels": 1}, Generator),
    "q2_protonet": (q2_evaluate, {"hidden_channels": 2}, ProtoNet),
    "q3_pix2pix": (q3_evaluate, {"image_size": 32, "base_channels": 1, "direction": "AtoB"}, unet),
    "q4_darts": (q4_evaluate, {"channels": 4, "layers": 3, "classes": 2}, Supernet),
}
SPOILT = {  # what is done to the weights, the first parameter and the last variance
    "a missing key": lambda weights, first, _: weights.pop(first),
    "a foreign key": lambda weights, *_: weights.update(odd=torch.zeros(1)),
    "another shape": lambda weights, first, _: weights.update({first: torch.zeros(1, 2)}),
    "no tensor": lambda weights, first, _: weights.update({first: [1]}),
    "no network": lambda weights, *_: weights.clear(),
    "a NaN": lambda weights, first, _: weights[first].fill_(torch.nan),
    "an infinite statistic": lambda weights, _, last: weights[last].fill_(torch.inf),
    "a foreign number": lambda *_: None,  # in the architecture
}


@pytest.mark.parametrize("spoilt", SPOILT)
@pytest.mark.parametrize("question", NETWORKS)
def test_weights_that_are_not_those_of_the_architecture_are_refused_by_name(tmp_path, question, spoilt):
    script, numbers, build = NETWORKS[question]
    weights = build(**numbers).state_dict()
    variances = [name for name in weights if name.endswith("running_var")]
    SPOILT[spoilt](weights, list(weights)[0], variances[-1])
    numbers = numbers | ({"depth": 3} if spoilt == "a foreign number" else {})
    checkpoint.save(tmp_path / "best.pt", question, numbers, model=weights, options={}, facts={}, epoch=1)
    with pytest.raises(RunError, match="best.pt .*(not finite|can be built|does not fit)") as caught:
        script.main(script.Options(checkpoint=tmp_path / "best.pt", device="cpu", data_root=tmp_path))
    assert ("not finite" in str(caught.value)) == (spoilt in ("a NaN", "an infinite statistic"))


def test_a_compressed_checkpoint_is_a_bomb(tmp_path):
    checkpoint.save(tmp_path / "last.pt", "q", {"width": 3}, weight=torch.zeros(1_000_000))
    whole = zipfile.ZipFile(tmp_path / "last.pt")
    with zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as small:
        for name in whole.namelist():
            small.writestr(name, whole.read(name))
    with pytest.raises(checkpoint.Damaged, match="b.pt"):
        checkpoint.load(tmp_path / "b.pt", "q")
