"""DCGAN: the paper's and the first report's numbers."""

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

# Names of rows of results.json, which the tables look for.
DISTANCE = "Frechet distance"
LABELS = "label accuracy"
REAL = " of real training pictures (floor)"  # what the name of a measure's floor adds to its own


def name_neighbours(count: int) -> str:
    """Returns how a row calls the nearest-neighbour error among `count` samples."""
    return f"nearest-neighbour error among {count:,}"
