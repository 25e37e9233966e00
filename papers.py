"""What the report page says of each question besides the numbers: the claim, the first report, what full size is, the captions."""

from typing import NamedTuple


class Paper(NamedTuple):
    """One question on the page."""

    title: str
    citation: str
    claim: str  # what the paper says
    first_report: str  # what the student report this project began with got
    main: tuple[str, ...]  # rows of results.json in the question's main table: those whose names begin so
    front: tuple[tuple[str, str], ...]  # (run, row) pairs for the first table of the README and the page
    thumbnail: str  # run/picture beside them
    full_size: dict[
        str, tuple[tuple[str, float, str], ...]
    ]  # script -> (option, its value at full size, what it counts)
    pictures: dict[str, str]  # file -> caption, in the order of the page


MARKS = {
    "full size": "the settings of the paper or the report, on the data set they used",
    "reduced": "fewer epochs, pictures, channels or pixels, or a smaller data set than the paper's, whose number is then a landmark",
    "own data": "a folder of pictures that is on no list",
    "synthetic": "pictures drawn by the program itself: such a row shows that the pipeline runs and says nothing about the paper",
}

STAND_INS = {  # (question, data set or split) -> how it differs from the paper's
    ("q1_dcgan", "fashion_mnist"): "Fashion-MNIST in place of MNIST",
    ("q2_protonet", "small"): "8 of 50 alphabets",
    ("q2_protonet", "small1"): "7 of 50 alphabets",
    ("q3_pix2pix", "aerial_maps"): "aerial_maps in place of maps",
    ("q4_darts", "cifar10_images"): "pictures saved as JPEG",
}

PAPERS = {
    "q1_dcgan": Paper(
        title="DCGAN on MNIST",
        citation="Radford, Metz and Chintala, Unsupervised Representation Learning with Deep Convolutional Generative Adversarial "
        "Networks, 2016",
        claim="A convolutional generator and discriminator with the right normalisation train stably and draw convincing pictures. "
        "The paper shows pictures; for digits its supplement (table 3) gives the error of a nearest-neighbour classifier that knows only "
        "generated ones, 2.98 % with 50,000 of them and 3.1 % with real ones, which is not measured here.",
        first_report="15 epochs on MNIST: samples after epochs 1, 7 and 15 and the loss curves, no numbers; and the remark that a plain "
        "DCGAN gives no control over the class, which a conditional one does.",
        main=("Frechet distance", "rarest class", "label accuracy"),
        front=(
            ("mnist", "Frechet distance"),
            ("mnist-conditional", "Frechet distance"),
            ("mnist-conditional", "label accuracy"),
        ),
        thumbnail="mnist-conditional/samples.png",
        full_size={"q1_dcgan/train.py": (("epochs", 15, "epochs"),)},
        pictures={
            "samples.png": "Samples from one fixed noise after the first, middle and last epoch; a conditional network has a class a row",
            "losses.png": "Losses of generator and discriminator, and what the discriminator believes of real and of generated pictures",
            "classes.png": "How often each digit is drawn, as the classifier reads it",
            "nearest.png": "Samples and, below each, the nearest training picture: they are not copies",
            "interpolation.png": "From one noise to another in equal steps",
            "curves.png": "The measures after every epoch, on 2,000 samples",
            "samples.gif": "The fixed noise after every epoch",
        },
    ),
    "q2_protonet": Paper(
        title="Prototypical Networks on Omniglot",
        citation="Snell, Swersky and Zemel, Prototypical Networks for Few-shot Learning, 2017",
        claim="A class is the mean of its few embedded examples, and a query belongs to the nearest mean. Accuracy on Omniglot: 98.8 % "
        "(5-way 1-shot), 99.7 % (5-way 5-shot), 96.0 % (20-way 1-shot), 98.9 % (20-way 5-shot).",
        first_report="97.06, 99.31, 91.47 and 97.61 % for the same four settings, on all of Omniglot, with the four pairs of curves.",
        main=tuple(f"{way}-way {shot}-shot" for way in (5, 20) for shot in (1, 5)),
        front=(
            ("5w1s", "5-way 1-shot"),
            ("5w5s", "5-way 5-shot"),
            ("20w1s", "20-way 1-shot"),
            ("20w5s", "20-way 5-shot"),
        ),
        thumbnail="20w1s/episode.png",
        full_size={
            "q2_protonet/train.py": (
                ("epochs", 100, "epochs"),
                ("classes_per_it_tr", 60, "classes an episode"),
            )
        },
        pictures={
            "curves.png": "Loss, accuracy and learning rate, training and validation episodes",
            "episode.png": "A test episode: support drawings, and queries with what they are taken for",
            "embedding.png": "The episode's embeddings on their two principal axes, each prototype among its queries",
        },
    ),
    "q3_pix2pix": Paper(
        title="pix2pix, from satellite photo to map",
        citation="Isola, Zhu, Zhou and Efros, Image-to-Image Translation with Conditional Adversarial Networks, 2017",
        claim="An adversarial loss beside L1 makes translated pictures sharp. From photo to map 6.1 ± 1.3 % of the people asked took the "
        "result for real, and 2.8 ± 1.0 % with L1 alone; the paper gives no pixel measure for maps.",
        first_report="Ten triplets of photo, true map and generated map, and the loss curves; no numbers.",
        main=("L1, ", "pixel accuracy, ", "sharpness, "),
        front=tuple(
            (run, f"{name}, train-mode inference (the paper's)")
            for name in ("pixel accuracy", "sharpness")
            for run in ("aerial-128", "aerial-128-l1")
        ),
        thumbnail="aerial-128/samples.gif",
        full_size={
            "q3_pix2pix/train.py": (
                ("epochs", 200, "epochs"),
                ("image_size", 256, "pixels a side"),
                ("base_channels", 64, "channels"),
            )
        },
        pictures={
            "triplets.png": "Ten validation pairs: photo, true map, generated map",
            "losses.png": "Losses of generator and discriminator",
            "worst.png": "The ten validation pairs with the largest L1",
            "curves.png": "The measures on all validation pairs after every epoch",
            "samples.gif": "Four validation pairs after every epoch",
        },
    ),
    "q4_darts": Paper(
        title="DARTS on CIFAR-10",
        citation="Liu, Simonyan and Yang, DARTS: Differentiable Architecture Search, 2019",
        claim="The architecture of a cell is found by gradient descent in GPU days, and its network, trained for 600 epochs, is right on "
        "97.00 ± 0.14 % (first order) and 97.24 ± 0.09 % (second order) of the test pictures. The accuracy of the search itself, in the "
        "published code's logs 88.8 to 89.1 % after 50 epochs, does not predict that of the cell.",
        first_report="83.81 % on the alphas' half after 20 epochs of search, in about three GPU days; no training of the found cell.",
        main=("supernet", "test, ", "skip connections"),
        front=(
            ("small-search", "supernet on the alphas' half, epoch 10"),
            ("small-found", "test, epoch 5"),
            ("small-darts-v2", "test, epoch 5"),
            ("small-random", "test, epoch 5"),
        ),
        thumbnail="small-search/cells.png",
        full_size={
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
        },
        pictures={
            "curves.png": "Loss and accuracy of both halves, or of the training, and the learning rate",
            "cells.png": "The normal and the reduction cell",
            "alphas.png": "The softmax weights of every edge over the epochs",
            "confusion.png": "What the test pictures of each class are taken for",
            "cells.gif": "The cell that the alphas stood for after every epoch",
        },
    ),
}
