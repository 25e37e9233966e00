"""Lays out what the tables and the page show of pix2pix."""

from q3_pix2pix import paper
from q3_pix2pix.paper import INFERENCE, L1_ONLY, MEAN_MAP, NEAREST_MAP, RAW_WEIGHTS
from reproduction.layout import Control, Headline, Layout, Measure, Size, Table, Words

TRAIN_MODE = f", {INFERENCE['paper']}"

LAYOUT = Layout(
    question="q3_pix2pix",
    paper=paper,
    full_size={
        "q3_pix2pix/train.py": (
            Size("epochs", 200, "epochs"),
            Size("image_size", 256, "pixels a side"),
            Size("base_channels", 64, "channels"),
        )
    },
    stand_ins={"aerial_maps": "aerial_maps in place of maps"},
    headline=Headline(
        measure="pixels of the right colour on validation maps, %",
        row="pixel accuracy" + TRAIN_MODE,
        run="aerial-128-50",
        control=Control("L1 alone", f"pixel accuracy, {L1_ONLY}"),
        better="higher",
        difference=f"pixel accuracy, minus {L1_ONLY}",
    ),
    measures=(
        Measure(
            "pixel accuracy, %",
            "pixel accuracy" + TRAIN_MODE,
            Control("L1-only network", "pixel accuracy" + TRAIN_MODE, ("aerial-128-50-l1",)),
            ("aerial-128-50",),
        ),
        Measure(
            "sharpness, 1 is the true maps'",
            "sharpness" + TRAIN_MODE,
            Control("L1-only network", "sharpness" + TRAIN_MODE, ("aerial-128-50-l1",)),
            ("aerial-128-50",),
        ),
    ),
    tables=(
        Table(
            columns={
                "L1, grey levels": "L1",
                "PSNR, dB": "PSNR",
                "SSIM": "SSIM",
                "sharpness, 1 is the true maps'": "sharpness",
                "pixel accuracy, %": "pixel accuracy",
                "on the legend, %": "on the legend",
            },
            variants={
                "": TRAIN_MODE,
                ", eval mode": f", {INFERENCE['eval']}",
                ", without averaging the weights": f", {RAW_WEIGHTS}",
            },
            controls={MEAN_MAP: f", {MEAN_MAP}", "map of the nearest training photo": f", {NEAREST_MAP}"},
            folded=("*-30-*",),
        ),
    ),
    words=Words(
        "pix2pix: maps generated from photos are {:.1f} grey levels off (the mean training map {:.1f}, the "
        "map of the nearest training photo {:.1f})",
        (("*", "L1, train-mode*"), ("*", f"L1, {MEAN_MAP}"), ("*", f"L1, {NEAREST_MAP}")),
    ),
    thumbnail="aerial-128-50/triplets.png",
    pictures={
        "triplets.png": "Ten validation pairs: photo, true map, generated map",
        "losses.png": "Losses of generator and discriminator",
        "worst.png": "The ten validation pairs with the largest L1",
        "curves.png": "The measures on all validation pairs after every epoch",
        "samples.gif": "Four validation pairs after every epoch",
    },
)
