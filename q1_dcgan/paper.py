"""DCGAN: the paper's and the first report's numbers, what full size is, and how results are shown."""

QUESTION = "q1_dcgan"
TITLE = "DCGAN on MNIST"
CITATION = (
    "Radford, Metz and Chintala, Unsupervised Representation Learning with Deep Convolutional Generative "
    "Adversarial Networks, 2016"
)
CLAIM = (
    "A convolutional generator and discriminator with the right normalisation train stably and draw "
    "convincing pictures. The paper shows pictures; for digits its supplement (table 3) gives the error "
    "of a nearest-neighbour classifier that knows only generated ones: 2.98 % with 50,000 of them, 3.1 % "
    "with 50,000 real ones."
)
FIRST_REPORT = (
    "15 epochs on MNIST: samples after epochs 1, 7 and 15 and the loss curves, no numbers; and the remark"
    " that a plain DCGAN gives no control over the class, which a conditional one does."
)

# Error in % on the MNIST test set of 1-nearest-neighbour on raw pixels (supplement, table 3).
PAPER = {"50,000 samples": 2.98, "10,000,000 samples": 1.48, "50,000 real digits": 3.1}
# script -> (option, its value at full size, what it counts)
FULL_SIZE = {"q1_dcgan/train.py": (("epochs", 15, "epochs"), ("base_channels", 64, "channels"))}
# data set -> how it differs from the paper's
STAND_INS = {"fashion_mnist": "Fashion-MNIST in place of MNIST"}

DISTANCE, NEIGHBOUR, LABELS = "Frechet distance", "nearest-neighbour error among 50,000", "label accuracy"
REAL = " of real training pictures (floor)"  # what the name of a measure's floor adds to its own
FLOORS = {row: ("real digits", row + REAL) for row in (DISTANCE, NEIGHBOUR)}
ONE_NN, CONDITIONAL = "1-NN error of 50,000 samples, %", ("mnist-conditional-penalised", "mnist-conditional")
# Rows of the front page; reproduction/tables.py explains FRONT and TABLES.
FRONT = (
    ("Fréchet distance", None, None, DISTANCE, FLOORS[DISTANCE], ("mnist",)),
    ("the same, with R1 and averaged weights", None, None, DISTANCE, FLOORS[DISTANCE], ("mnist-penalised",)),
    ("the same, conditional", None, None, DISTANCE, FLOORS[DISTANCE], CONDITIONAL),
    ("label accuracy, conditional, %", None, None, LABELS, "chance 10", CONDITIONAL),
    (ONE_NN, PAPER["50,000 samples"], None, NEIGHBOUR, FLOORS[NEIGHBOUR], CONDITIONAL),
)
# The line that reproduce.py ends with: a text, and (run, row) for each of its numbers.
ASKED = "DCGAN: {:.0f} % of the digits it was asked to draw are read as such (chance 10 %)"
IN_WORDS = (ASKED, (("*", LABELS),))
THUMBNAIL = "mnist-conditional-penalised/samples.png"  # run/picture beside the front rows

COLUMNS = {"Fréchet distance": DISTANCE}
COLUMNS |= {f"after epoch {epoch}": f"{DISTANCE} after epoch {epoch}" for epoch in (1, 7)}
COLUMNS |= {"rarest class, times uniform": "rarest class", "label accuracy, %": LABELS, ONE_NN: NEIGHBOUR}
KNOWN = {"paper": "50,000 samples", "paper, real digits": "50,000 real digits"}
KNOWN = {name: {ONE_NN: PAPER[known]} for name, known in KNOWN.items()}
TABLES = ({"columns": COLUMNS, "references": KNOWN, "controls": {"real training pictures": REAL}},)

# file -> caption, in the order of the page
PICTURES = {
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
}
