import json

import numpy as np
import pytest

from common.errors import RunError, UsageError
from q4_darts import genotypes
from q4_darts.genotype_text import read, short_name
from q4_darts.genotypes import DARTS_V2, Genotype, check, derive, edge_index, random_genotype, save
from q4_darts.model import Network


def test_published_cells_keep_the_rules_and_have_their_sizes():
    for genotype in genotypes.NAMED.values():
        check(genotype)
    assert sum(p.numel() for p in Network(DARTS_V2).parameters()) == 3_349_342
    assert genotypes.skip_count(DARTS_V2) == 2


def test_edges_are_sorted_by_node_then_state():
    assert [edge_index(node, state) for node in range(4) for state in range(node + 2)] == list(range(14))
    leaving = ["".join(map(str, genotypes.edges_from(state))) for state in range(5)]
    assert leaving == ["0123", "0123", "123", "23", "3"]


def test_derive_by_hand():
    weights = np.full((14, 8), 0.01)
    weights[:, 0] = 0.9  # `none` is strongest everywhere and must never be chosen
    sep, skip = genotypes.PRIMITIVES.index("sep_conv_3x3"), genotypes.PRIMITIVES.index("skip_connect")
    weights[edge_index(0, 0), sep], weights[edge_index(0, 1), skip] = 0.3, 0.2
    weights[edge_index(3, 4), skip] = 0.5
    weights[edge_index(3, 2), [sep, skip]] = 0.4, 0.39
    genotype = derive(weights, weights)
    assert genotype.normal[:2] == (("sep_conv_3x3", 0), ("skip_connect", 1))
    # One operation per edge, and distinct states.
    assert genotype.normal[6:] == (("skip_connect", 4), ("sep_conv_3x3", 2))


def test_derived_and_random_genotypes_keep_the_rules():
    draw = np.random.default_rng(0)
    for seed in range(50):
        check(derive(draw.random((14, 8)), draw.random((14, 8))))
        check(random_genotype(seed))
    assert random_genotype(3) == random_genotype(3) != random_genotype(4)


def test_json_round_trip_names_and_seeds(tmp_path):
    save(DARTS_V2, tmp_path / "g.json")
    assert read(str(tmp_path / "g.json")) == DARTS_V2 == read("DARTS_V2")
    assert read("random:7") == random_genotype(7)


def test_a_search_inside_of_its_own_folder_still_has_its_name(tmp_path, monkeypatch):
    (tmp_path / "search-20").mkdir()
    monkeypatch.chdir(tmp_path / "search-20")
    assert short_name("genotype.json") == short_name("../search-20/genotype.json") == "search-20"


WRONG = ["", "[]", "{}", '{"normal": 3, "reduce": 4}', "__import__('os').system('true')"]
WRONG.append('{"normal": [["sep_conv_3x3", 1.0]], "reduce": []}')


@pytest.mark.parametrize("content", WRONG)
def test_a_file_that_is_not_a_genotype(tmp_path, content):
    (tmp_path / "g.json").write_text(content)
    with pytest.raises(RunError, match="g.json is not a genotype"):
        read(str(tmp_path / "g.json"))


@pytest.mark.parametrize(
    "edge, message",
    [
        (("conv_7x7", 0), "unknown operation"),
        (("none", 0), "unknown operation"),
        (("skip_connect", 2), "does not come before"),
        (("skip_connect", 1), "twice"),
    ],
)
def test_rules_are_checked(tmp_path, edge, message):
    broken = Genotype((edge, *DARTS_V2.normal[1:]), DARTS_V2.reduce)
    (tmp_path / "g.json").write_text(json.dumps(broken._asdict()))
    with pytest.raises(UsageError, match=f"g.json: .*{message}"):
        read(str(tmp_path / "g.json"))
    with pytest.raises(UsageError, match="edges instead of 8"):
        check(Genotype(DARTS_V2.normal[:6], DARTS_V2.reduce))


def printed(concat="range(2, 6)"):
    normal, reduce = [list(DARTS_V2.normal), list(DARTS_V2.reduce)]
    return f"Genotype(normal={normal}, normal_concat={concat}, reduce={reduce}, reduce_concat={concat})"


@pytest.mark.parametrize("concat", ["[2, 3, 4, 5]", "range(2, 6)"])
def test_genotypes_as_the_published_code_prints_them(tmp_path, concat):
    assert read(printed(concat)) == DARTS_V2
    texts = {"log.txt": f"11/25 genotype = {printed(concat)}\n", "g.py": f"G = {printed(concat)}"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        assert read(str(tmp_path / name)) == DARTS_V2
    (tmp_path / "g.json").write_text(json.dumps(DARTS_V2._asdict()), "utf-8-sig")  # with a byte-order mark
    assert read(str(tmp_path / "g.json")) == DARTS_V2


@pytest.mark.parametrize(
    "text, message",
    [
        (printed() * 2, "2 genotypes in one text"),
        (printed("range(3, 6)"), "must concatenate the nodes"),
        (printed("range(2, 10**12)"), "is not a genotype"),
        ("Genotype(normal=__import__('os').system('true'), reduce=[])", "is not a genotype"),
        (printed()[:-9], "is not a genotype"),
        (f"Genotype(normal={'[' * 5000}, reduce=[])", "is not a genotype"),
    ],
)
def test_printed_text_is_never_run_and_its_faults_are_named(text, message):
    with pytest.raises(UsageError, match=message):
        read(text)


def test_unknown_names():
    for impossible in ("x" * 5000, "a\0b", "."):
        with pytest.raises(RunError, match="no genotype file"):
            read(impossible)
    with pytest.raises(RunError, match="DARTS_V1"):
        read("DARTS_V9")
    with pytest.raises(UsageError, match="random:0"):
        read("random:x")
