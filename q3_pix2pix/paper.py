"""pix2pix: what the paper and the first report show."""

TITLE = "pix2pix, from satellite photo to map"
CITATION = (
    "Isola, Zhu, Zhou and Efros, Image-to-Image Translation with Conditional Adversarial Networks, 2017"
)
CLAIM = (  # the numbers are from table 4
    "An adversarial loss beside L1 makes translated pictures sharp. From photo to map 6.1 ± 1.3 % of the "
    "people asked took the result for real, and 2.8 ± 1.0 % with L1 alone; the paper gives no pixel "
    "measure for maps."
)
FIRST_REPORT = "Ten triplets of photo, true map and generated map, and the loss curves; no numbers."

# What ends the names of rows of results.json, which the tables look for.
INFERENCE = {  # the ways to run a generator
    "paper": "train-mode inference (the paper's)",
    "no_dropout": "own statistics without dropout",
    "eval": "eval mode",
}
L1_ONLY = "L1-only network, train-mode inference"
MEAN_MAP = "mean training map"
NEAREST_MAP = "nearest training pair's map"
RAW_WEIGHTS = "without averaging the weights"
