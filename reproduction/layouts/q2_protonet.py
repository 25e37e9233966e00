"""Lays out what the tables and the page show of ProtoNet."""

from q2_protonet import paper
from q2_protonet.paper import SHIFTED, UNTRAINED, name_setting
from reproduction.layout import Control, Headline, Layout, Measure, Size, Table, Words

SETTINGS = {setting: name_setting(*setting) for setting in paper.PAPER}


def setting(way: int, shot: int) -> Measure:
    """Returns the row of one of the paper's four settings: of the 20-way run (tested at both) or its own."""
    name = SETTINGS[way, shot]
    return Measure(
        f"{name}, %",
        name,
        Control("untrained", name + UNTRAINED, (f"omniglot-{way}w{shot}s",)),
        (f"omniglot-20w{shot}s", f"omniglot-{way}w{shot}s"),
        paper=paper.PAPER[way, shot],
        report=paper.REPORT[way, shot],
    )


def known_settings(numbers: dict[tuple[int, int], float]) -> dict[str, float]:
    """Returns numbers by (way, shot) by the head of their column."""
    return {f"{SETTINGS[each]}, %": number for each, number in numbers.items()}


SAMPLED_EPISODES = "sampled episodes, error in %"
LAKES_RUNS = "Lake's 20 runs, error in %"

LAYOUT = Layout(
    question="q2_protonet",
    paper=paper,
    full_size={
        "q2_protonet/train.py": (
            Size("epochs", 100, "epochs"),
            Size("classes_per_it_tr", 60, "classes per episode"),
        )
    },
    stand_ins={"small": "8 of 50 alphabets", "background": "the 20 evaluation alphabets held back whole"},
    headline=Headline(
        measure="20-way 1-shot accuracy on unseen characters, with additions, %",
        row=SETTINGS[20, 1] + SHIFTED,
        run="omniglot-20w1s-residual",
        control=Control("untrained network, without shifts", SETTINGS[20, 1] + UNTRAINED),
        better="higher",
        paper=paper.PAPER[20, 1],
        beside=(
            Control("without additions", SETTINGS[20, 1], ("omniglot-20w1s",)),
            Control(
                f"error on Lake's one-shot runs (people {paper.CHALLENGE['people']})",
                paper.LAKE_RUNS + SHIFTED,
                ("background-wide",),
            ),
        ),
    ),
    measures=(
        *(setting(*each) for each in SETTINGS),
        Measure(
            "20-way 1-shot, with additions, %",
            SETTINGS[20, 1] + SHIFTED,
            Control("without them", SETTINGS[20, 1], ("omniglot-20w1s",)),
            ("omniglot-20w1s-residual",),
            paper=paper.PAPER[20, 1],
            report=paper.REPORT[20, 1],
        ),
        Measure(
            "error on Lake's 20 one-shot runs, with additions, %",
            paper.LAKE_RUNS + SHIFTED,
            Control(f"people {paper.CHALLENGE['people']}, BPL {paper.CHALLENGE['BPL']}"),
            ("background-wide",),
            paper=f"{paper.CHALLENGE['a prototypical network']} (Lake et al. 2019)",
        ),
    ),
    tables=(
        Table(
            columns={f"{name}, %": name for name in SETTINGS.values()},
            references={
                "paper, all of Omniglot": known_settings(paper.PAPER),
                "first report, all of Omniglot": known_settings(paper.REPORT),
            },
            controls={"untrained network": UNTRAINED},
            variants={"": "", ", embeddings averaged over shifts": SHIFTED},
            folded=(
                "*-seed*",
                "*-trainval*",
                "precision-*",
                "plain-*",
                "20w1s*",
                "background*",
                "*-every-support",
                "*-wide",
            ),
        ),
        Table(  # within an alphabet
            columns={SAMPLED_EPISODES: paper.WITHIN_ALPHABET, LAKES_RUNS: paper.LAKE_RUNS},
            references={
                f"{who}, on Lake's 20 runs": {LAKES_RUNS: error} for who, error in paper.CHALLENGE.items()
            },
            variants={"": "", ", embeddings averaged over shifts": SHIFTED},
        ),
    ),
    words=Words(
        "ProtoNet: {:.0f} % of unseen characters are told apart from 19 others, given five drawings of each "
        "(untrained network {:.0f} %, chance 5 %)",
        (("*20w5s*", SETTINGS[20, 5]), ("*20w5s*", SETTINGS[20, 5] + UNTRAINED)),
    ),
    thumbnail="omniglot-20w1s/episode.png",
    pictures={
        "episode.png": "A test episode: the support and the first queries of each class",
        "embedding.png": "The episode's embeddings on their two principal axes, each prototype among its "
        "queries",
        "curves.png": "Loss, accuracy and learning rate, training and validation episodes",
    },
)
