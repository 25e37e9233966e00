"""DARTS: the paper's and the first report's numbers."""

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

# Names of rows of results.json, which the tables look for.
SUPERNET = "supernet on the alphas' half"
SKIPS = "skip connections in the normal cell"
