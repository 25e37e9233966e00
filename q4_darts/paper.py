"""DARTS: the paper's and the first report's numbers, what full size is, and how results are shown."""

QUESTION = "q4_darts"
TITLE = "DARTS on CIFAR-10"
CITATION = "Liu, Simonyan and Yang, DARTS: Differentiable Architecture Search, 2019"
CLAIM = (
    "The architecture of a cell is found by gradient descent in GPU days, and its network, trained for "
    "600 epochs, classifies 97.00 ± 0.14 % (first order) and 97.24 ± 0.09 % (second order) of the test "
    "pictures correctly. The accuracy of the search itself, in the published code's logs 88.8 to 89.1 % "
    "after 50 epochs, does not predict that of the cell."
)
FIRST_REPORT = "83.81 % on the alphas' half after 20 epochs, about three GPU days; the cell was not trained."

# Accuracy in %: of the supernet on the alphas' half; of each genotype's network on the test set.
PAPER = {
    "supernet": "88.8 to 89.1 (50 epochs)",
    "DARTS_V1": "97.00 ± 0.14",
    "DARTS_V2": "97.24 ± 0.09",
    "PC_DARTS": "97.43 ± 0.07",  # Xu et al. 2020
    "random": "96.71 ± 0.15",  # the best of 24 random cells
}
REPORT = {"supernet": "83.81 (20 epochs)"}

# script -> (option, its value at full size, what it counts)
SEARCH_SIZE = ("epochs", 50, "epochs"), ("init_channels", 16, "channels"), ("layers", 8, "cells")
TRAIN_SIZE = ("epochs", 600, "epochs"), ("init_channels", 36, "channels"), ("layers", 20, "cells")
SIZES = {"q4_darts/train_search.py": SEARCH_SIZE, "q4_darts/train.py": TRAIN_SIZE}
FULL_SIZE = {script: (*size, ("train_pictures", 50000, "pictures")) for script, size in SIZES.items()}
STAND_INS = {"cifar10_images": "pictures saved as JPEG"}  # data set -> how it differs from the paper's

# Rows of the front page; reproduction/tables.py explains FRONT and TABLES.
SUPERNET, TEST = "supernet on the alphas' half, epoch *", "test, epoch *"
RANDOM = ("random cell", TEST)
FOUND, GIVEN = ((f"pc-20-{cell}", "pc-20-random") for cell in ("found", "darts-v2"))
SEARCH = "supernet of the search (ours: PC-DARTS), %"
FRONT = (
    (SEARCH, PAPER["supernet"], REPORT["supernet"], SUPERNET, "chance 10", ("search-pc-20",)),
    ("test of the cell found, %", PAPER["DARTS_V1"], None, TEST, RANDOM, (FOUND,)),
    ("test of the paper's cell, %", PAPER["DARTS_V2"], None, TEST, RANDOM, (GIVEN,)),
)
# The line that reproduce.py ends with: a text, and (run, row) for each of its numbers.
IN_WORDS = (
    "DARTS: {:.0f} % of the pictures are classified right during the search, {:.0f} % by the cell found once "
    "trained (a random cell {:.0f} %, chance 10 %)",
    (("*search*", SUPERNET), ("*found*", TEST), ("*random*", TEST)),
)
THUMBNAIL = "search-pc-20/cells.png"  # run/picture beside the front rows

SEARCHED = "supernet on the alphas' half, %"
SKIPS = {"skip connections in the normal cell, of 8": "skip connections in the normal cell"}
KNOWN = {"published code, 50 epochs": "88.8 to 89.1", "first report, 20 epochs": "83.81"}
CELLS = {"first order": "DARTS_V1", "second order (DARTS_V2)": "DARTS_V2"}
CELLS |= {"the best of 24 random cells": "random"}
TABLES = (
    {
        "columns": {SEARCHED: SUPERNET} | SKIPS,
        "references": {name: {SEARCHED: number} for name, number in KNOWN.items()},
    },
    {
        "columns": {"test, %": TEST, "parameters, millions": "parameters"},
        "references": {f"paper, {name}": {"test, %": PAPER[cell]} for name, cell in CELLS.items()},
    },
)

# file -> caption, in the order of the page
PICTURES = {
    "curves.png": "Loss and accuracy of both halves, or of the training, and the learning rate",
    "cells.png": "The normal and the reduction cell",
    "alphas.png": "The softmax weights of every edge over the epochs",
    "confusion.png": "Which class the test pictures of each class are classified as",
    "cells.gif": "The cell that the alphas stood for after every epoch",
}
