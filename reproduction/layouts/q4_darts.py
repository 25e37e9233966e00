"""Lays out what the tables and the page show of DARTS."""

from q4_darts import paper
from reproduction.layout import Control, Headline, Layout, Measure, Size, Table, Words

SUPERNET = f"{paper.SUPERNET}, epoch *"
TEST = "test, epoch *"
SEARCHED = "supernet on the alphas' half, %"
SKIPS = "skip connections in the normal cell, of 8"
RANDOM_CELLS = Control(
    "mean of three random cells", TEST, ("pc-20-random", "pc-20-random-1", "pc-20-random-2")
)
PICTURES_USED = Size("train_pictures", 50000, "pictures")

LAYOUT = Layout(
    question="q4_darts",
    paper=paper,
    full_size={
        "q4_darts/train_search.py": (
            Size("epochs", 50, "epochs"),
            Size("init_channels", 16, "channels"),
            Size("layers", 8, "cells"),
            PICTURES_USED,
        ),
        "q4_darts/train.py": (
            Size("epochs", 600, "epochs"),
            Size("init_channels", 36, "channels"),
            Size("layers", 20, "cells"),
            PICTURES_USED,
        ),
    },
    stand_ins={"cifar10_images": "pictures saved as JPEG"},
    headline=Headline(
        measure="test accuracy of the cell found, %",
        row=TEST,
        run="pc-20-found",
        control=RANDOM_CELLS,
        better="higher",
        paper=97.43,  # PC-DARTS, as ours
    ),
    measures=(
        Measure(
            "supernet of the search (ours: PC-DARTS), %",
            SUPERNET,
            Control("chance 10"),
            ("search-pc-20",),
            paper=paper.PAPER["supernet"],
            report=paper.REPORT["supernet"],
        ),
        Measure(
            "test of the cell found, %", TEST, RANDOM_CELLS, ("pc-20-found",), paper=paper.PAPER["PC_DARTS"]
        ),
        Measure(
            "test of the paper's cell, %",
            TEST,
            RANDOM_CELLS,
            ("pc-20-darts-v2",),
            paper=paper.PAPER["DARTS_V2"],
        ),
    ),
    tables=(
        Table(
            columns={SEARCHED: SUPERNET, SKIPS: paper.SKIPS},
            references={
                "published code, 50 epochs": {SEARCHED: "88.8 to 89.1"},
                "first report, 20 epochs": {SEARCHED: "83.81"},
            },
        ),
        Table(
            columns={"test, %": TEST, "parameters, millions": "parameters"},
            references={
                "paper, first order": {"test, %": paper.PAPER["DARTS_V1"]},
                "paper, second order (DARTS_V2)": {"test, %": paper.PAPER["DARTS_V2"]},
                "PC-DARTS (Xu et al. 2020)": {"test, %": paper.PAPER["PC_DARTS"]},
                "paper, the best of 24 random cells": {"test, %": paper.PAPER["random"]},
            },
        ),
    ),
    words=Words(
        "DARTS: {:.0f} % of the pictures are classified right during the search, {:.0f} % by the cell found "
        "once trained (a random cell {:.0f} %, chance 10 %)",
        (("*search*", SUPERNET), ("*found*", TEST), ("*random*", TEST)),
    ),
    thumbnail="search-pc-20/cells.png",
    pictures={
        "cells.png": "The normal and the reduction cell",
        "curves.png": "Loss and accuracy of both halves, or of the training, and the learning rate",
        "alphas.png": "The softmax weights of every edge over the epochs",
        "confusion.png": "Which class the test pictures of each class are classified as",
        "cells.gif": "The cell that the alphas stood for after every epoch",
    },
)
