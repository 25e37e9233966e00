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
FIRST_REPORT = (
    "83.81 % on the alphas' half after 20 epochs of search, in about three GPU days; the cell found was "
    "not trained."
)

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
FULL_SIZE = {
    "q4_darts/train_search.py": (
        ("epochs", 50, "epochs"),
        ("init_channels", 16, "channels"),
        ("layers", 8, "cells"),
        ("train_pictures", 50000, "pictures"),
    ),
    "q4_darts/train.py": (
        ("epochs", 600, "epochs"),
        ("init_channels", 36, "channels"),
        ("layers", 20, "cells"),
        ("train_pictures", 50000, "pictures"),
    ),
}
STAND_INS = {"cifar10_images": "pictures saved as JPEG"}  # data set -> how it differs from the paper's

# Rows of the front page; reproduction/tables.py explains FRONT and TABLES.
FRONT = (
    (
        "supernet of the search, %",
        PAPER["supernet"],
        REPORT["supernet"],
        "supernet on the alphas' half, epoch *",
        "chance 10",
        ("search-pc-20", "small-search"),
    ),
    (
        "test of the cell found, %",
        PAPER["DARTS_V1"],
        None,
        "test, epoch *",
        ("random cell", "test, epoch *"),
        (("pc-20-found", "pc-20-random"), ("small-found", "small-random")),
    ),
    (
        "test of the paper's cell, %",
        PAPER["DARTS_V2"],
        None,
        "test, epoch *",
        ("random cell", "test, epoch *"),
        (("pc-20-darts-v2", "pc-20-random"), ("small-darts-v2", "small-random")),
    ),
)
# The line that reproduce.py ends with: a text, and (run, row) for each of its numbers.
IN_WORDS = (
    "DARTS: {:.0f} % of the pictures are classified right during the search, {:.0f} % by the cell found once "
    "trained (a random cell {:.0f} %, chance 10 %)",
    (("*search*", FRONT[0][3]), ("*found*", "test, epoch *"), ("*random*", "test, epoch *")),
)
THUMBNAIL = "small-search/cells.png"  # run/picture beside the front rows

TABLES = (
    {
        "columns": {
            "supernet on the alphas' half, %": "supernet on the alphas' half, epoch *",
            "skip connections in the normal cell, of 8": "skip connections in the normal cell",
        },
        "references": {
            "published code, 50 epochs": {"supernet on the alphas' half, %": "88.8 to 89.1"},
            "first report, 20 epochs": {"supernet on the alphas' half, %": "83.81"},
        },
        "controls": {},
    },
    {
        "columns": {"test, %": "test, epoch *", "parameters, millions": "parameters"},
        "references": {
            "paper, first order": {"test, %": PAPER["DARTS_V1"]},
            "paper, second order (DARTS_V2)": {"test, %": PAPER["DARTS_V2"]},
            "paper, the best of 24 random cells": {"test, %": PAPER["random"]},
        },
        "controls": {},
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
