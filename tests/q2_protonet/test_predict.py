import csv
import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from common.device import Runtime
from common.errors import RunError, UsageError
from q2_protonet import predict
from q2_protonet.drawings import read_ink
from q2_protonet.few_shot import FewShot
from q2_protonet.omniglot_dataset import synthetic_characters
from tests.q2_protonet.conftest import run


@pytest.fixture
def pictures(tmp_path):
    """support/ and query/ with one folder per class: class1, class2, class10, and in query/ also class3."""
    part = synthetic_characters(0, 4, 4)
    for i, number in enumerate((1, 2, 10, 3)):
        for j, folder in enumerate(("support", "query", "query", "query")):
            path = tmp_path / folder / f"class{number}" / f"{j}.png"
            if number != 3 or folder == "query":
                path.parent.mkdir(parents=True, exist_ok=True)  # light ink on dark in query/
                image = Image.fromarray(255 - part.images[i, j].numpy())
                (image if folder == "support" else ImageOps.invert(image)).resize((90, 90)).save(path)
    return tmp_path


def predict_table(best, folder, *words):
    run(predict, "--checkpoint", best, "--support", folder / "support", "--output", folder / "p.csv", *words)
    with open(folder / "p.csv", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def flat(pictures):
    """The query folders of three classes; each also holds the support itself, same.png."""
    folders = [pictures / "query" / f"class{number}" for number in (1, 2, 10)]
    for folder in folders:
        Image.open(pictures / "support" / folder.name / "0.png").save(folder / "same.png")
    return folders


def test_the_support_itself_is_its_own_class(best, pictures, flat):
    rows = predict_table(best, pictures, "--query", *flat)
    assert len(rows) == 12
    assert [row["predicted"] for row in rows if "same" in row["file"]] == ["class1", "class2", "class10"]


def test_the_table_has_the_classes_in_natural_order_and_probabilities(best, pictures, flat):
    rows = predict_table(best, pictures, "--query", *flat)
    assert list(rows[0]) == ["file", "predicted", "p(class1)", "p(class2)", "p(class10)"]
    for row in rows:
        probabilities = [float(value) for name, value in row.items() if name[:2] == "p("]
        assert sum(probabilities) == pytest.approx(1, abs=1e-4)


def test_without_classes_there_is_a_picture_and_no_confusion_matrix(best, pictures, flat):
    predict_table(best, pictures, "--query", *flat)
    assert (pictures / "p_picture.png").exists()
    assert not (pictures / "p_confusion.png").exists()


def test_a_damaged_query_is_named_and_the_others_are_classified(best, pictures, flat, monkeypatch):
    (flat[0] / "1.png").write_bytes(b"")
    os.rename(flat[0] / "same.png", os.fsencode(flat[0]) + b"/\xe9.png")  # a name that is not UTF-8
    monkeypatch.chdir(pictures / "support")
    with pytest.raises(RunError, match="class1/1.png"):
        run(predict, "--checkpoint", best, "--support", ".", "--query", flat[0], "--output", "../q.csv")
    with open(pictures / "q.csv", errors="surrogateescape") as file:
        names = {os.path.basename(os.fsencode(row["file"])): row["predicted"] for row in csv.DictReader(file)}
    assert names.keys() == {b"2.png", b"3.png", b"\xe9.png"}
    assert names[b"\xe9.png"] == "class1"


def test_a_damaged_example_is_named(best, pictures, flat):
    (pictures / "support" / "class1" / "0.png").write_bytes(b"")
    with pytest.raises(RunError, match="class1/0.png"):
        predict_table(best, pictures, "--query", flat[1])


def test_a_class_without_examples_is_refused_or_left_out_by_name(best, pictures, flat, capsys):
    (pictures / "support" / "class1" / "0.png").unlink()
    with pytest.raises(UsageError, match="class1"):
        predict_table(best, pictures, "--query", flat[1])
    rows = predict_table(best, pictures, "--query", flat[1], "--skip_small", 1)
    assert "p(class1)" not in rows[0]
    assert "left out, with fewer than 1 images: class1 (0)" in capsys.readouterr().err


def test_pictures_beside_the_classes_of_the_support_are_named(best, pictures, flat, capsys):
    shutil.copy(pictures / "support" / "class1" / "0.png", pictures / "support" / "loose.png")
    predict_table(best, pictures, "--query", flat[1])
    assert "1 picture beside the classes: loose.png" in capsys.readouterr().err


def test_two_classes_of_one_name_in_two_forms_are_refused(best, pictures, flat):
    for number, form in ((1, "NFC"), (2, "NFD")):
        (pictures / "support" / f"class{number}").rename(
            pictures / "support" / unicodedata.normalize(form, "café")
        )
    with pytest.raises(UsageError, match="have one name, written in two Unicode forms"):
        predict_table(best, pictures, "--query", flat[1])


def test_folders_of_classes_give_the_accuracy_and_a_confusion_matrix(best, pictures, capsys):
    rows = predict_table(best, pictures, "--query", pictures / "query")
    shown = capsys.readouterr()
    right = sum(row["class"] == row["predicted"] for row in rows)
    assert [row["class"] for row in rows] == [f"class{n}" for n in (1, 1, 1, 2, 2, 2, 10, 10, 10)]
    assert f"accuracy  {round(100 * right / 9, 2)}" in shown.out
    assert "query/class3, no class" in shown.err
    with Image.open(pictures / "p_confusion.png") as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


def test_a_picture_that_is_named_twice_keeps_the_class_of_its_folder(best, pictures, capsys):
    queries = [pictures / "query", pictures / "query/class1/1.png", pictures / "query/class1"]
    once = predict_table(best, pictures, "--query", pictures / "query")
    twice = predict_table(best, pictures, "--query", *queries)
    assert twice == once


def test_far_queries_are_called_unknown(best, pictures):
    rows = predict_table(best, pictures, "--query", pictures / "query", "--unknown")
    assert len(rows) == 12
    for row in rows:
        assert (row["predicted"] == "unknown") == (float(row["distance"]) > 1)
    assert [row["class"] for row in rows if row["class"] == "unknown"] == ["unknown"] * 3


def test_the_distance_is_a_share_of_the_calibrated_limit(best, pictures):
    rows = predict_table(best, pictures, "--query", pictures / "query", "--unknown")
    few_shot = FewShot.load(best, Runtime(torch.device("cpu")))
    files = [Path(rows[0]["file"]), *sorted((pictures / "support").glob("*/*.png"))]
    query, *support = few_shot.embed(torch.from_numpy(np.stack([read_ink(file) for file in files])))
    nearest = min(float(((query - other) ** 2).sum()) for other in support)
    assert float(rows[0]["distance"]) == pytest.approx(nearest / (2 * few_shot.unknown_distance), rel=1e-3)


def test_both_errors_of_unknown_are_shown(best, pictures, capsys, monkeypatch):
    load = FewShot.load

    def load_strict(*words):
        few_shot = load(*words)
        few_shot.unknown_distance = 1e-9
        return few_shot

    monkeypatch.setattr(predict.FewShot, "load", load_strict)
    rows = predict_table(best, pictures, "--query", pictures / "query", "--unknown")
    shown = " ".join(capsys.readouterr().out.split())
    assert {row["predicted"] for row in rows} == {"unknown"}
    assert "accuracy 25" in shown
    assert "called unknown 100.0" in shown
    assert "accepted 0.0" in shown


def test_a_class_called_unknown_is_refused(best, pictures):
    (pictures / "support" / "class1").rename(pictures / "support" / "unknown")
    with pytest.raises(UsageError, match="rename the class 'unknown'"):
        predict_table(best, pictures, "--query", pictures / "query", "--unknown")


def test_a_class_like_a_formula_is_text_in_the_table(best, pictures, flat):
    (pictures / "support" / "class1").rename(pictures / "support" / "=1+1")
    rows = predict_table(best, pictures, "--query", flat[0] / "same.png")
    assert rows[0]["predicted"] == "'=1+1"
