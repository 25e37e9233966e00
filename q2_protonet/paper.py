"""ProtoNet: the paper's and the first report's numbers."""

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

# What ends the names of rows of results.json, which the tables look for.
UNTRAINED = ", untrained network"  # those of the control
SHIFTED = ", shifts 1"  # those with embeddings averaged over shifts


def name_setting(way: int, shot: int) -> str:
    """Returns how a row calls a setting."""
    return f"{way}-way {shot}-shot"
