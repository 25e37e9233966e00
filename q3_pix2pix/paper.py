"""pix2pix: the paper's and the first report's numbers, what full size is, and how results are shown."""

QUESTION = "q3_pix2pix"
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
# script -> (option, its value at full size, what it counts)
SIZES = ("epochs", 200, "epochs"), ("image_size", 256, "pixels a side"), ("base_channels", 64, "channels")
FULL_SIZE = {"q3_pix2pix/train.py": SIZES}
STAND_INS = {"aerial_maps": "aerial_maps in place of maps"}  # data set -> how it differs from the paper's

TRAIN_MODE = ", train-mode inference (the paper's)"
RUNS = (("aerial-128-100", "aerial-128-100-l1"),)
# Rows of the front page; reproduction/tables.py explains FRONT and TABLES.
FRONT = tuple(
    (f"{name}, {unit}", None, None, name + TRAIN_MODE, ("L1-only network", name + TRAIN_MODE), RUNS)
    for name, unit in (("pixel accuracy", "%"), ("sharpness", "1 is the true maps'"))
)
# The line that reproduce.py ends with: a text, and (run, row) for each of its numbers.
TRANSLATED = (
    "pix2pix: maps generated from photos are {:.1f} grey levels off (the mean training map {:.1f}, the map "
    "of the nearest training photo {:.1f})"
)
NEAREST = "nearest training pair's map"
IN_WORDS = (TRANSLATED, tuple(("*", f"L1, {name}") for name in ("train-mode*", "mean training map", NEAREST)))
THUMBNAIL = "aerial-128-100/samples.gif"  # run/picture beside the front rows

COLUMNS = {"L1, grey levels": "L1", "PSNR, dB": "PSNR", "SSIM": "SSIM"}
COLUMNS |= {"sharpness, 1 is the true maps'": "sharpness", "pixel accuracy, %": "pixel accuracy"}
CONTROLS = {"mean training map": ", mean training map", "map of the nearest training photo": f", {NEAREST}"}
MODES = {"": TRAIN_MODE, ", eval mode": ", eval mode"}
TABLES = ({"columns": COLUMNS, "variants": MODES, "controls": CONTROLS},)

# file -> caption, in the order of the page
PICTURES = {
    "triplets.png": "Ten validation pairs: photo, true map, generated map",
    "losses.png": "Losses of generator and discriminator",
    "worst.png": "The ten validation pairs with the largest L1",
    "curves.png": "The measures on all validation pairs after every epoch",
    "samples.gif": "Four validation pairs after every epoch",
}
