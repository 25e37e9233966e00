"""Which files are found, and that whatever is not read is named."""

import os
import subprocess
import sys
import unicodedata

import pytest
from PIL import Image

from common import folder_listing
from common.errors import RunError, UsageError
from common.image_files import (
    find_inputs,
    find_parts,
    list_classes,
    list_folders,
    list_images,
    list_labelled,
    require_folder_option,
    skip_small,
)
from common.image_reader import FORMATS


def make(folder, *names):
    """Makes empty files at these places, and the folders they lie in."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names_of(paths):
    return [path.name for path in paths]


def test_the_endings_are_those_of_pillow():
    registered = Image.registered_extensions().items()
    assert set(folder_listing.ENDINGS) >= {ending for ending, kind in registered if kind in FORMATS}
    assert set(folder_listing.ENDINGS) <= {*Image.EXTENSION, ".avif", ".avifs"}


def test_listing_loads_neither_torch_nor_pillow():
    code = "import sys, common.image_files; print({'torch', 'numpy', 'PIL'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# Order and names --------------------------------------------------------------------------------------------


def test_images_are_in_natural_order_and_their_endings_in_any_case(tmp_path):
    make(tmp_path, "10.png", "2.PNG", "1.jpeg", "a.TIF")
    assert names_of(list_images(tmp_path)) == ["1.jpeg", "2.PNG", "10.png", "a.TIF"]


def test_classes_are_in_natural_order(tmp_path):
    make(tmp_path, "10/a.png", "2/a.png", "1/a.png")
    assert list(list_classes(tmp_path)) == ["1", "2", "10"]


JUNK = [".DS_Store", "._1.png", "Thumbs.db", "desktop.ini", ".gitkeep", "CACHEDIR.TAG"]
JUNK_FOLDERS = [".ipynb_checkpoints", "__MACOSX", "@eaDir", ".git", "$RECYCLE.BIN", "lost+found"]


def test_what_systems_leave_behind_is_passed_over_in_silence(tmp_path, capsys):
    make(tmp_path, "a/1.png", *JUNK, *(f"a/{name}" for name in JUNK))
    make(tmp_path, *(f"{name}/1.png" for name in JUNK_FOLDERS), *(f"a/{name}/1.png" for name in JUNK_FOLDERS))
    assert list_classes(tmp_path) == {"a": [tmp_path / "a/1.png"]}
    assert capsys.readouterr().err == ""


def test_a_class_may_be_called_as_a_file_that_systems_leave_behind(tmp_path):
    make(tmp_path, "CACHEDIR.TAG/1.png", "Thumbs.db/1.png")
    assert list(list_classes(tmp_path)) == ["CACHEDIR.TAG", "Thumbs.db"]


def test_hidden_pictures_and_folders_are_named(tmp_path, capsys):
    make(tmp_path, "a/1.png", "a/.2.png", ".NET/1.png")
    assert list(list_classes(tmp_path)) == ["a"]
    said = capsys.readouterr().err
    assert said == f"left out of {tmp_path}: 2 hidden pictures or folders: .NET, a/.2.png\n"


NFC = unicodedata.normalize("NFC", "café")
NFD = unicodedata.normalize("NFD", "café")


def test_two_unicode_forms_of_a_class_are_one_class(tmp_path):
    make(tmp_path, f"train/{NFC}/1.png", f"test/{NFD}/1.png")
    parts, names = list_labelled(tmp_path, {part: tmp_path / part for part in ("train", "test")})
    assert names == [NFC]
    assert parts["test"] == [(tmp_path / "test" / NFD / "1.png", 0)]


def test_two_folders_of_one_name_in_two_forms_are_refused(tmp_path):
    make(tmp_path, f"{NFC}/1.png", f"{NFD}/1.png")
    with pytest.raises(RunError, match="have one name, written in two Unicode forms"):
        list_classes(tmp_path)


# Nothing is left out without a word -------------------------------------------------------------------------


def test_files_that_are_no_pictures_are_counted_and_named_once(tmp_path, capsys):
    make(tmp_path, "cat/1.png", *(f"cat/{i}.HEIC" for i in range(6)), "dog/1.png", "dog/2")
    for _ in range(2):
        list_classes(tmp_path)
    assert capsys.readouterr().err == (
        f"left out of {tmp_path}: 7 files that are no pictures (.heic, no ending): "
        "cat/0.HEIC, cat/1.HEIC, cat/2.HEIC, cat/3.HEIC, cat/4.HEIC and 2 more\n"
    )


def test_a_folder_inside_a_class_is_named(tmp_path, capsys):
    make(tmp_path, "cat/1.png", "cat/more/2.png")
    list_classes(tmp_path)
    assert capsys.readouterr().err == f"left out of {tmp_path}: 1 folder inside a class: cat/more\n"


def test_a_picture_beside_the_classes_is_named(tmp_path, capsys):
    make(tmp_path, "cat/1.png", "2.png")
    list_classes(tmp_path)
    assert capsys.readouterr().err == f"left out of {tmp_path}: 1 picture beside the classes: 2.png\n"


def test_a_folder_beside_the_parts_is_named(tmp_path, capsys):
    make(tmp_path, "train/a/1.png", "test/a/1.png", "extra/a/1.png", "README.txt")
    find_parts(tmp_path, "train", "test")
    assert capsys.readouterr().err == f"left out of {tmp_path}: 1 folder that is no part: extra\n"


def test_a_folder_inside_a_folder_of_images_is_named(tmp_path, capsys):
    make(tmp_path, "1.png", "more/2.png")
    assert names_of(list_images(tmp_path)) == ["1.png"]
    assert capsys.readouterr().err == f"left out of {tmp_path}: 1 folder inside: more\n"


def test_a_pipe_among_the_pictures_is_named_and_not_read(tmp_path, capsys):
    make(tmp_path, "1.png")
    os.mkfifo(tmp_path / "2.png")
    assert names_of(list_images(tmp_path)) == ["1.png"]
    assert capsys.readouterr().err == f"left out of {tmp_path}: 1 pipe or device: 2.png\n"


def test_a_link_that_leads_nowhere_is_listed_for_its_reader_to_miss(tmp_path):
    (tmp_path / "1.png").symlink_to("nowhere")
    assert names_of(list_images(tmp_path)) == ["1.png"]


def test_classes_with_few_images_are_named(tmp_path, capsys):
    assert skip_small({"a": [tmp_path], "b": [tmp_path] * 2}, 2) == {"b": [tmp_path] * 2}
    assert capsys.readouterr().err == "left out, with fewer than 2 images: a (1)\n"


def test_a_cache_of_our_own_is_no_class_and_a_tagged_class_stays(tmp_path):
    make(tmp_path, "cache/CACHEDIR.TAG", "cache/pictures-0.pt", "a/CACHEDIR.TAG", "a/1.png")
    assert list(list_classes(tmp_path)) == ["a"]
    make(tmp_path, "cache/1.png")
    assert list(list_classes(tmp_path)) == ["a", "cache"]


@pytest.mark.parametrize("kept", ["1.HEIC", "notes", "more/1.png"])
def test_a_users_folder_called_cache_is_told_whatever_it_holds(tmp_path, kept):
    make(tmp_path, "a/1.png", "cache/CACHEDIR.TAG", f"cache/{kept}")
    with pytest.raises(RunError, match="no images in the class .*cache"):
        list_classes(tmp_path)


@pytest.mark.parametrize("rank, lines", [("0", 1), ("1", 0)])
def test_of_torchruns_processes_rank_0_names_what_is_left_out(tmp_path, capsys, monkeypatch, rank, lines):
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    monkeypatch.setenv("RANK", rank)
    make(tmp_path, "1.png", "2.HEIC")
    list_images(tmp_path)
    assert capsys.readouterr().err.count("left out") == lines


def test_a_folder_without_permission_is_named_itself(tmp_path, monkeypatch):
    make(tmp_path, "cat/1.png", "dog/1.png")
    scandir = os.scandir

    def refuse(path):
        if path == tmp_path / "cat":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(RunError, match="/cat cannot be read .Permission denied.$"):
        list_classes(tmp_path)


# Parts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", ["val", "validation", "valid", "test", "Val"])
def test_a_part_by_any_usual_name(tmp_path, second):
    make(tmp_path, "Train/a/1.png", f"{second}/a/1.png")
    assert find_parts(tmp_path, "train", "val") == {"train": tmp_path / "Train", "val": tmp_path / second}


def test_three_parts(tmp_path):
    make(tmp_path, "train/a/1.png", "val/b/1.png", "test/c/1.png")
    found = find_parts(tmp_path, "train", "validation", "test")
    assert names_of(found.values()) == ["train", "val", "test"]


def test_parts_with_a_suffix(tmp_path, capsys):
    make(tmp_path, "trainA/1.png", "trainB/1.png", "valA/1.png", "valB/1.png")
    assert names_of(find_parts(tmp_path, "train", "val", suffix="B").values()) == ["trainB", "valB"]
    assert capsys.readouterr().err == ""


def test_train_may_be_a_class(tmp_path):
    make(tmp_path, "bus/1.png", "train/1.png", "tram/1.png")
    assert find_parts(tmp_path, "train", "test") == {}
    assert list(list_classes(tmp_path)) == ["bus", "train", "tram"]


def test_a_missing_part_is_told_with_what_is_there(tmp_path):
    make(tmp_path, "train/a/1.png", "evaluation/a/1.png")
    with pytest.raises(UsageError, match="must hold train/, test/ or val/, and holds evaluation/, train/"):
        find_parts(tmp_path, "train", "test")


# Classes ----------------------------------------------------------------------------------------------------


def test_labels_count_the_classes_in_order(tmp_path):
    make(tmp_path, "train/b/1.png", "train/a/1.png", "train/a/2.png")
    parts, names = list_labelled(tmp_path, {"train": tmp_path / "train"})
    assert names == ["a", "b"]
    assert [label for _, label in parts["train"]] == [0, 0, 1]


def test_a_class_in_one_part_only_is_refused(tmp_path):
    make(tmp_path, "train/a/1.png", "test/a/1.png", "test/b/1.png")
    with pytest.raises(RunError, match="must hold the same classes: b is in one only"):
        list_labelled(tmp_path, {part: tmp_path / part for part in ("train", "test")})


def test_a_class_without_images_is_told_with_what_is_there(tmp_path):
    make(tmp_path, "a/1.png", "b/2.heic")
    with pytest.raises(RunError, match="no images in the class .*/b, which holds 2.heic"):
        list_classes(tmp_path)


def test_a_folder_without_classes_is_told_with_what_is_there(tmp_path):
    make(tmp_path, *(f"{i}.png" for i in range(7)))
    with pytest.raises(RunError, match="<class>/<image>, and holds 0.png, .*, 4.png and 2 more"):
        list_classes(tmp_path)


def test_a_linked_folder_is_a_class(tmp_path):
    make(tmp_path, "tree/a/1.png", "elsewhere/1.png")
    (tmp_path / "tree/b").symlink_to(tmp_path / "elsewhere")
    assert names_of(list_folders(tmp_path / "tree")) == ["a", "b"]


# Flags ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset, there", [("synthetic", True), ("folder", False), ("folder", None)])
def test_a_folder_needs_dataset_folder_and_the_other_way_round(tmp_path, dataset, there):
    folder = {True: tmp_path, False: tmp_path / "none", None: None}[there]
    with pytest.raises(UsageError, match="--pairs (needs --dataset folder|DIR)"):
        require_folder_option(dataset, folder, "with pairs", "--pairs")


def test_inputs_are_files_and_folders_each_image_once(tmp_path):
    make(tmp_path, "a/1.png", "a/2.png", "3.dat")
    found = find_inputs([tmp_path / "a/2.png", tmp_path / "a", tmp_path / "3.dat"])
    assert names_of(found) == ["2.png", "1.png", "3.dat"]


def test_inputs_by_class(tmp_path, capsys):
    make(tmp_path, "1.png", "a/2.png", "b/3.png")
    assert names_of(find_inputs([tmp_path], by_class=True)) == ["1.png", "2.png", "3.png"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "name, reason", [("none", "does not exist"), ("empty", "no images"), ("pipe", "is no regular file")]
)
def test_an_input_that_cannot_be_is_told(tmp_path, name, reason):
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=reason):
        find_inputs([tmp_path / name])
