"""No script replaces a file that it reads."""

import dataclasses

import pytest

from common.errors import UsageError
from q1_dcgan import options as q1
from q2_protonet import options as q2
from q3_pix2pix import options as q3
from q4_darts import genotypes
from q4_darts import options as q4


@pytest.mark.parametrize("question", [q1, q2, q3, q4], ids=["q1", "q2", "q3", "q4"])
def test_an_output_never_replaces_the_checkpoint(tmp_path, question):
    """Whatever the checkpoint is called: its ending may be that of the output."""
    options_type, resolve, ending = {
        q1: (q1.SampleOptions, q1.resolve_sampling, "png"),
        q2: (q2.PredictOptions, q2.resolve_prediction, "csv"),
        q3: (q3.PredictOptions, q3.resolve_prediction, "png"),
        q4: (q4.PredictOptions, q4.resolve_prediction, "csv"),
    }[question]
    for name in ("support/a/1.png", "support/b/1.png", f"network.{ending}"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    picture = tmp_path / "support/a/1.png"
    inputs = {"input": (picture,), "query": (picture,), "support": tmp_path / "support"}
    fields = {field.name for field in dataclasses.fields(options_type)}
    given = {name: value for name, value in inputs.items() if name in fields}
    network = tmp_path / f"network.{ending}"
    with pytest.raises(UsageError, match="would replace .*network"):
        resolve(options_type(checkpoint=network, output=network, **given))


def test_a_drawing_of_cells_never_replaces_its_genotype(tmp_path):
    file = tmp_path / "cells.svg"
    genotypes.save(genotypes.NAMED["DARTS_V2"], file)
    with pytest.raises(UsageError, match="would replace .*cells.svg"):
        q4.resolve_visualization(q4.VisualizeOptions(genotype=str(file), output=file))
