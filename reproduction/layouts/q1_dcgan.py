"""Lays out what the tables and the page show of DCGAN."""

from q1_dcgan import paper
from q1_dcgan.paper import DISTANCE, LABELS, REAL
from reproduction.layout import Control, Headline, Layout, Measure, Size, Table, Words

NEIGHBOUR = paper.name_neighbours(50_000)
ONE_NN = "1-NN error of 50,000 samples, %"
CONDITIONAL = ("mnist-conditional-penalised", "mnist-conditional")

LAYOUT = Layout(
    question="q1_dcgan",
    paper=paper,
    full_size={"q1_dcgan/train.py": (Size("epochs", 15, "epochs"), Size("base_channels", 64, "channels"))},
    stand_ins={"fashion_mnist": "Fashion-MNIST in place of MNIST"},
    headline=Headline(
        measure="test error of a nearest-neighbour classifier that knows 50,000 samples, %, lower is better",
        row=NEIGHBOUR,
        run="mnist-conditional-penalised",
        control=Control("chance", value=90),
        better="lower",
        paper=paper.PAPER["50,000 samples"],
        beside=(Control("50,000 real digits", NEIGHBOUR + REAL),),
    ),
    measures=(
        Measure("Fréchet distance", DISTANCE, Control("real digits", DISTANCE + REAL), ("mnist",)),
        Measure(
            "the same, with R1 and averaged weights",
            DISTANCE,
            Control("real digits", DISTANCE + REAL),
            ("mnist-penalised",),
        ),
        Measure("the same, conditional", DISTANCE, Control("real digits", DISTANCE + REAL), CONDITIONAL),
        Measure("label accuracy, conditional, %", LABELS, Control("chance 10"), CONDITIONAL),
        Measure(
            ONE_NN,
            NEIGHBOUR,
            Control("real digits", NEIGHBOUR + REAL),
            CONDITIONAL,
            paper=paper.PAPER["50,000 samples"],
        ),
    ),
    tables=(
        Table(
            columns={
                "Fréchet distance": DISTANCE,
                "after epoch 1": f"{DISTANCE} after epoch 1",
                "after epoch 7": f"{DISTANCE} after epoch 7",
                "rarest class, times uniform": "rarest class",
                "label accuracy, %": LABELS,
                ONE_NN: NEIGHBOUR,
            },
            references={
                "paper": {ONE_NN: paper.PAPER["50,000 samples"]},
                "paper, real digits": {ONE_NN: paper.PAPER["50,000 real digits"]},
            },
            controls={"real training pictures": REAL},
        ),
    ),
    words=Words(
        "DCGAN: {:.0f} % of the digits it was asked to draw are read as such (chance 10 %)", (("*", LABELS),)
    ),
    thumbnail="mnist-conditional-penalised/samples.png",
    pictures={
        "samples.png": "Samples from one fixed noise after the first, middle and last epoch; "
        "conditional: one class per row",
        "losses.png": "Losses of generator and discriminator, and the probability of being real that the "
        "discriminator gives to real and to generated pictures",
        "classes.png": "How often each digit is drawn, as the classifier reads it",
        "nearest.png": "Samples and, below each, the nearest training picture: they are not copies",
        "interpolation.png": "From one noise vector to another in equal steps",
        "curves.png": "Measures of 2,000 samples after every epoch: the Fréchet distance, how evenly the "
        "classes are drawn, and how surely the classifier reads them",
        "samples.gif": "The fixed noise after every epoch",
    },
)
