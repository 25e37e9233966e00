"""ProtoNet: the paper's and the first report's numbers, what full size is, and how results are shown."""

QUESTION = "q2_protonet"
TITLE = "Prototypical Networks on Omniglot"
CITATION = "Snell, Swersky and Zemel, Prototypical Networks for Few-shot Learning, 2017"
CLAIM = (
    "A class is the mean of its few embedded examples, and a query belongs to the nearest mean. Accuracy "
    "on Omniglot: 98.8 % (5-way 1-shot), 99.7 % (5-way 5-shot), 96.0 % (20-way 1-shot), 98.9 % (20-way "
    "5-shot)."
)
FIRST_REPORT = (
    "97.06, 99.31, 91.47 and 97.61 % for the same four settings, on all of Omniglot, with the four pairs "
    "of curves."
)

# (way, shot) -> test accuracy in % on all of Omniglot
PAPER = {(5, 1): 98.8, (5, 5): 99.7, (20, 1): 96.0, (20, 5): 98.9}  # Snell et al. 2017, table 1
REPORT = {(5, 1): 97.06, (5, 5): 99.31, (20, 1): 91.47, (20, 5): 97.61}

# Lake et al. 2019: error in % within an alphabet, 20-way 1-shot, trained on the 30 background alphabets
CHALLENGE = {"people": 4.5, "BPL": 3.3, "a prototypical network": 13.7}
WITHIN_ALPHABET = "20-way 1-shot within an alphabet, error"
LAKE_RUNS = "20-way 1-shot within an alphabet, error on Lake's 20 runs"

# script -> (option, its value at full size, what it counts)
SIZES = ("epochs", 100, "epochs"), ("classes_per_it_tr", 60, "classes per episode")
FULL_SIZE = {"q2_protonet/train.py": SIZES}
# split -> how it differs from the paper's
STAND_INS = {"small": "8 of 50 alphabets", "small1": "7 of 50 alphabets"}
STAND_INS["background"] = "the 20 evaluation alphabets held back whole"

SETTINGS = {setting: f"{setting[0]}-way {setting[1]}-shot" for setting in PAPER}


def runs_of(way: int, shot: int) -> tuple:
    """Pairs, best first: a run that shows the setting (all are tested at both ways) and its control's."""
    own = f"omniglot-{way}w{shot}s"
    return (f"omniglot-20w{shot}s", own), (own, own)


UNTRAINED = ", untrained network"
# evaluate.py --shifts 1 of the network trained with all additions
ADDED = ("omniglot-20w1s-residual", "omniglot-20w1s")  # the run, and its control's


def front_row(each: tuple[int, int], runs: tuple, measure: str = "", row: str = "") -> tuple:
    """A setting's row of the front page; what is added to its name there and in results.json."""
    name = SETTINGS[each]
    beside = "untrained", name + UNTRAINED
    return f"{name}{measure}, %", PAPER[each], REPORT[each], name + row, beside, runs


# Rows of the front page; reproduction/tables.py explains FRONT and TABLES.
FRONT = tuple(front_row(each, runs_of(*each)) for each in SETTINGS)
FRONT += (front_row((20, 1), (ADDED,), ", with additions", ", shifts 1"),)
# The line that reproduce.py ends with: a text, and (run, row) for each of its numbers.
IN_WORDS = (
    "ProtoNet: {:.0f} % of unseen characters are told apart from 19 others, given five drawings of each "
    "(untrained network {:.0f} %, chance 5 %)",
    (("*20w5s*", SETTINGS[20, 5]), ("*20w5s*", SETTINGS[20, 5] + UNTRAINED)),
)
THUMBNAIL = "omniglot-20w1s/episode.png"  # run/picture beside the front rows

KNOWN = {"paper, all of Omniglot": PAPER, "first report, all of Omniglot": REPORT}
KNOWN = {who: {f"{SETTINGS[each]}, %": n for each, n in its.items()} for who, its in KNOWN.items()}
COLUMNS = {f"{name}, %": name for name in SETTINGS.values()}
# Ways of measuring one run: evaluate.py --shifts 0 1
VARIANTS = {"": "", ", embeddings averaged over shifts": ", shifts 1"}
ERRORS = {"sampled episodes, error in %": WITHIN_ALPHABET, "Lake's 20 runs, error in %": LAKE_RUNS}
LAKE = {f"{who}, on Lake's 20 runs": dict.fromkeys(ERRORS, n) for who, n in CHALLENGE.items()}
TABLES = (
    {
        "columns": COLUMNS,
        "references": KNOWN,
        "controls": {"untrained network": UNTRAINED},
        "variants": VARIANTS,
    },
    {"columns": ERRORS, "references": LAKE, "variants": VARIANTS},  # within an alphabet
)

# file -> caption, in the order of the page
PICTURES = {
    "curves.png": "Loss, accuracy and learning rate, training and validation episodes",
    "episode.png": "A test episode: the support and the first queries of each class",
    "embedding.png": "The episode's embeddings on their two principal axes, each prototype among its queries",
}
