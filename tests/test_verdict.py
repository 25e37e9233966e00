"""The rule behind the four words on the front page."""

import pytest

from reproduction.verdict import MEANINGS, Bounds, beats, bounds, reaches, verdict

CONTROL = {"value": 50.0, "interval": 1.0}


def row(value, interval=None):
    return {"value": value, "interval": interval}


def judge(ours, control=CONTROL, full_size=True, paper=96.0, **more):
    return verdict(ours, control, "higher", full_size, paper, **more)


@pytest.mark.parametrize(
    "made, expected",
    [
        (row(10.0, 2.0), Bounds(8.0, 12.0)),
        (row(10.0, [9.5, 11.0]), Bounds(9.5, 11.0)),
        (row(10.0), Bounds(10.0, 10.0)),
    ],
)
def test_bounds_are_those_of_the_interval(made, expected):
    assert bounds(made) == expected


def test_to_beat_is_to_lie_beyond():
    assert beats(Bounds(3, 4), Bounds(1, 2), "higher")
    assert beats(Bounds(1, 2), Bounds(3, 4), "lower")
    assert not beats(Bounds(1, 3), Bounds(2, 4), "lower")
    assert not beats(Bounds(2, 4), Bounds(1, 2), "higher")


def test_the_papers_number_is_reached_within_the_interval():
    assert reaches(Bounds(95, 96), 96.0, "higher")
    assert not reaches(Bounds(95, 95.9), 96.0, "higher")
    assert reaches(Bounds(2.9, 3.2), 3.0, "lower")
    assert not reaches(Bounds(3.1, 3.2), 3.0, "lower")


VERDICTS = {
    "reproduced": [judge(row(95.9, 0.2)), judge(row(98.0))],
    "partly reproduced": [judge(row(95.0, 0.2)), judge(row(95.0), paper=None)],
    "reduced": [judge(row(95.9, 0.2), full_size=False), judge(row(52.0, 0.5), full_size=False)],
    "not shown yet": [
        judge(None),
        judge(row(97.0), control=None),
        judge(row(51.5, 0.6)),  # their bounds meet
        judge(row(40.0), full_size=False),
    ],
}


@pytest.mark.parametrize("word", MEANINGS)
def test_a_verdict(word):
    assert set(VERDICTS[word]) == {word}


def test_a_difference_pair_by_pair_decides_where_there_is_one():
    """A number that looks like a win is none where its difference to the control may be 0."""
    assert judge(row(99.0), difference=row(1.8, 3.5)) == "not shown yet"
    assert judge(row(51.0, 5.0), full_size=False, difference=row(1.8, 0.5)) == "reduced"
