"""Files that a run writes after its epochs, such as samples/epoch_007.png, in the epochs' order."""

from pathlib import Path


def epoch_of(file: Path) -> int:
    """Returns the epoch in a file's name, 7 of "epoch_007.png"."""
    return int(file.stem.removeprefix("epoch_"))


def epoch_files(folder: Path, suffix: str) -> list[Path]:
    """Lists the files "epoch_*" with this suffix, by number: as text, epoch 1000 would come before 999."""
    return sorted(folder.glob(f"epoch_*{suffix}"), key=epoch_of)
