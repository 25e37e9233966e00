from pathlib import Path

import pytest

from common.errors import RunError, UsageError
from q1_dcgan.class_names import class_names, find_class, folder_name, make_folders

CHECKPOINT = Path("last.pt")


def test_names_are_those_of_the_checkpoint():
    assert class_names(CHECKPOINT, {"classes": 2}, {"classes": ["a", "b"]}) == ["a", "b"]


def test_an_unconditional_generator_has_no_classes():
    assert class_names(CHECKPOINT, {"classes": 0}, {"classes": ["a", "b"]}) == []


@pytest.mark.parametrize("names", [[], ["a"], ["a", "a"], ["a", 1], "ab", None, ["a", "\ud800"]])
def test_names_that_do_not_fit_are_refused(names):
    with pytest.raises(RunError, match="last.pt"):
        class_names(CHECKPOINT, {"classes": 2}, {"classes": names})


def test_a_class_is_found_by_its_name_before_its_number():
    names = ["10", "a", "0"]
    assert find_class(names, "a", None) == 1
    assert find_class(names, None, 0) == 2
    assert find_class(names, None, 1) == 1
    assert find_class(names, None, None) is None


def test_a_class_is_found_in_either_unicode_form():
    assert find_class(["dog", "caf\u00e9"], "cafe\u0301", None) == 1
    assert find_class(["dog", "cafe\u0301"], "caf\u00e9", None) == 1


@pytest.mark.parametrize(
    "names, name, number, message",
    [
        (["a", "b"], "c", None, "--class c: the network's classes are a, b$"),
        (["a", "b"], None, 2, "--digit 2: the network's classes are a, b$"),
        (["a", "b"], None, -1, "--digit -1"),
        ([str(i) for i in range(30)], "x", None, "18, 19 and 10 more$"),
        ([], "a", None, "--class a: this generator is not conditional"),
    ],
)
def test_an_unknown_class_is_refused(names, name, number, message):
    with pytest.raises(UsageError, match=message):
        find_class(names, name, number)


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/etc", "../x", ".hidden", "a\0b", "é" * 300])
def test_a_class_is_one_folder_inside(tmp_path, name):
    parent = tmp_path / "files"
    (folder,) = make_folders(parent, [name])
    assert folder.resolve().parent == parent.resolve()
    assert [path.name for path in parent.iterdir()] == [folder.name]
    assert not folder.name.startswith(".")  # or --folder would not read it


def test_an_ordinary_class_keeps_its_name():
    assert folder_name("Ankle boot") == "Ankle boot"


def test_two_classes_never_share_a_folder(tmp_path):
    folders = make_folders(tmp_path, ["a/b", "a_b", "a_b_2", "..", "_.."])
    assert len(set(folders)) == 5
    assert all(folder.is_dir() for folder in folders)
