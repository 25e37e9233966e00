"""The commands of every preset, as data: what reproduce.py runs and what report.py lists as missing."""

from q1_dcgan.paper import name_neighbours
from q2_protonet import paper as protonet
from q2_protonet.paper import SHIFTED
from q3_pix2pix.paper import L1_ONLY
from reproduction.commands import USUAL, Measures, Row, evaluate, on_train_and_validation, train, with_seeds

# The precision is auto's, but in preset quick: bf16 where the device has instructions for it, as in the
# committed runs, and fp32 elsewhere. Three seeds of ProtoNet show no difference in accuracy.


# Additions that are not in the papers -----------------------------------------------------------------------

PENALISED = "--average_weights 0.999 --gradient_penalty 1"
TURNED = "--turns --average_weights 0.999"
JITTERED = "--augment --average_weights 0.999 --lr_scheduler_step 40"
IN_TURN = f"{JITTERED} --every_support"
WIDE = f"{IN_TURN} --hidden_channels 64 64 128 256"
RESIDUAL = f"{WIDE} --residual_convs 1"


# What is measured, and on what ------------------------------------------------------------------------------

FOUR = [protonet.name_setting(*setting) for setting in protonet.PAPER]
ALL_SETTINGS = Measures("--way 5 20 --shot 1 5 --shifts 0 1", (*FOUR, *(f"{name}{SHIFTED}" for name in FOUR)))
WITHIN_ALPHABET = Measures(
    "--within_alphabet --shifts 0 1", (protonet.WITHIN_ALPHABET, protonet.WITHIN_ALPHABET + SHIFTED)
)
NEIGHBOURS = Measures("--nearest_neighbour 50000", (name_neighbours(50_000),))
BESIDE_L1 = Measures(
    "--l1_checkpoint {log_root}/q3_pix2pix/{after}/checkpoints/last.pt", (f"L1, minus {L1_ONLY}",)
)
CIFAR = "--dataset cifar10_images"
MAPS_128 = "--dataset aerial_maps --image_size 128 --base_channels 32"


# Commands of one question -----------------------------------------------------------------------------------


def q1(name: str, flags: str = "", minutes: float | None = None, seed: int = 0) -> Row:
    """Returns the training of a DCGAN."""
    return train("q1_dcgan", name, flags, minutes, seed)


def q2(name: str, way: int, shot: int, flags: str = "", minutes: float | None = None) -> Row:
    """Returns the training of a ProtoNet for a setting: train shot = test shot (Snell et al. 2017, 3.1)."""
    setting = f"--num_support_tr {shot} --num_support_val {shot} --classes_per_it_val {way}"
    return train("q2_protonet", name, f"{flags} {setting}".strip(), minutes)


def q3(name: str, flags: str = "", minutes: float | None = None) -> Row:
    """Returns the training of a pix2pix."""
    return train("q3_pix2pix", name, flags, minutes)


def q4(name: str, flags: str = "", minutes: float | None = None) -> Row:
    """Returns the training of a genotype that the flags name."""
    return train("q4_darts", name, flags, minutes)


def search(name: str, flags: str = "", minutes: float | None = None) -> Row:
    """Returns a search."""
    return Row("q4_darts", name, "train_search", flags, minutes=minutes)


def found(name: str, by: str, flags: str = "", minutes: float | None = None) -> Row:
    """Returns the training of the genotype that the search `by` found."""
    flags = f"{flags} --genotype {{log_root}}/q4_darts/{{after}}/genotype.json".strip()
    return q4(name, flags, minutes)._replace(after=(by,))


def measured(run: Row, measures: Measures = USUAL, minutes: float | None = None) -> list[Row]:
    """Returns a run and its evaluation."""
    return [run, evaluate(run, measures, minutes)]


def with_l1(name: str, flags: str, discriminator: str = "") -> list[Row]:
    """Returns a pix2pix, the same generator trained with L1 alone, and the evaluation of both.

    Args:
        flags: of both.
        discriminator: flags that L1 alone has no use for.
    """
    run = q3(name, f"{flags} {discriminator}".strip())
    control = q3(f"{name}-l1", f"{flags} --gan_weight 0")
    return [run, control, evaluate(run, BESIDE_L1, after=(control.name,))]


def cells(name: str, by: str, flags: str) -> list[Row]:
    """Returns the cell found by a search, three random ones and the two papers', trained alike."""
    return [
        found(f"{name}-found", by, flags),
        q4(f"{name}-random", f"{flags} --genotype random:0"),
        q4(f"{name}-random-1", f"{flags} --genotype random:1"),
        q4(f"{name}-random-2", f"{flags} --genotype random:2"),
        q4(f"{name}-darts-v2", f"{flags} --genotype DARTS_V2"),
        q4(f"{name}-pc-darts", f"{flags} --genotype PC_DARTS"),
    ]


# quick: synthetic data, under five minutes on two CPU cores; narrow networks and large learning rates -------

# In fp32, in which these times were measured, so that every CPU computes the same, to rounding.
DRAWN = "--precision fp32 --dataset synthetic"
DIGITS = (
    f"{DRAWN} --epochs 16 --synthetic_pictures 3072 --quality_samples 500 --test_samples 1000 "
    "--base_channels 16 --latent_size 32 --batch_size 32 --learning_rate 2e-3 --average_weights 0.99"
)
CHARACTERS = f"{DRAWN} --epochs 4 --iterations 30 --classes_per_it_tr 30"
TOWNS = f"{DRAWN} --epochs 40 --image_size 64 --base_channels 16 --batch_size 2 --learning_rate 4e-4"
SHAPES = f"{DRAWN} --layers 3"
SEARCH_SHAPES = (
    f"{SHAPES} --epochs 3 --init_channels 2 --batch_size 16 --learning_rate 0.1 --arch_learning_rate 0.1"
)
# Four epochs need no regularisation. At a rate of 0.1 some of the cells that are found do not learn.
TRAIN_SHAPES = (
    f"{SHAPES} --epochs 4 --init_channels 4 --batch_size 32 --learning_rate 0.03 "
    "--cutout 0 --drop_path 0 --auxiliary 0"
)

QUICK = [
    q1("quick-plain", DIGITS, 0.6),
    q1("quick-conditional", f"{DIGITS} --conditional", 0.6),
    q2("quick-5w1s", 5, 1, CHARACTERS, 0.3),
    q2("quick-20w5s", 20, 5, CHARACTERS, 0.6),
    q3("quick-gan", TOWNS, 0.7),
    q3("quick-l1", f"{TOWNS} --gan_weight 0", 0.6),
    search("quick-search", SEARCH_SHAPES, 1.0),
    found("quick-found", "quick-search", TRAIN_SHAPES, 0.4),
    q4("quick-random", f"{TRAIN_SHAPES} --genotype random:0", 0.4),
]


# small: real data, an hour and a half on two CPU cores ------------------------------------------------------

# Times of 3 and 5 epochs are scaled from 15 and 20.
SMALL_OMNIGLOT = q2("20w1s", 20, 1, "--split small --augment --average_weights 0.995 --epochs 60", 9)
# The alphas' rate is ten times the paper's, for a twentieth of its steps.
SMALL_SEARCH = (
    f"{CIFAR} --train_pictures 6400 --init_channels 8 --layers 4 --batch_size 32 --epochs 10 "
    "--arch_learning_rate 3e-3"
)
SMALL_TRAIN = f"{CIFAR} --train_pictures 12800 --epochs 5 --init_channels 16 --layers 5"

SMALL = [
    SMALL_OMNIGLOT,
    q1("small-conditional", "--conditional --epochs 3", 11),
    q3("small-aerial", f"{MAPS_128} --epochs 5", 9),
    search("small-search", SMALL_SEARCH, 28),
    found("small-found", "small-search", SMALL_TRAIN, 18),
    q4("small-random", f"{SMALL_TRAIN} --genotype random:0", 14),
]


# evidence: the committed results, as near to full size as two CPU cores get; most useful runs first, days ---

PLAIN_1_SHOT = q2("omniglot-20w1s", 20, 1)
PLAIN_5_SHOT = q2("omniglot-20w5s", 20, 5)
PLAIN = measured(PLAIN_1_SHOT, ALL_SETTINGS) + measured(PLAIN_5_SHOT, ALL_SETTINGS)
BEST = q2("omniglot-20w1s-residual", 20, 1, RESIDUAL)
CHALLENGE = q2("background-wide", 20, 1, f"--split background {WIDE}")
CHALLENGES = [
    *measured(CHALLENGE, WITHIN_ALPHABET),
    *measured(on_train_and_validation(CHALLENGE), WITHIN_ALPHABET),
]
DIGITS_SEEDED = [
    *measured(q1("mnist", minutes=48), minutes=0.7),
    *measured(q1("mnist-penalised", PENALISED)),
    *measured(q1("mnist-conditional-penalised", f"--conditional {PENALISED}", 60), NEIGHBOURS, 1.5),
]
CELLS = cells("pc-20", "search-pc-20", f"{CIFAR} --epochs 7 --init_channels 16 --layers 8")  # one budget

EVIDENCE = [
    *PLAIN,
    search("search-pc-20", f"{CIFAR} --partial_channels 4 --epochs 20"),
    q2("omniglot-5w1s", 5, 1),
    q2("omniglot-5w5s", 5, 5),
    *measured(CHALLENGE, WITHIN_ALPHABET),
    *DIGITS_SEEDED,
    *measured(BEST, ALL_SETTINGS),
    *with_l1("aerial-128-100", f"{MAPS_128} --epochs 100"),
    *with_l1("aerial-128-50", f"{MAPS_128} --epochs 50 {TURNED}", "--gradient_penalty 10"),
    *with_seeds(PLAIN, (1, 2)),
    *with_seeds(DIGITS_SEEDED, (1, 2)),
    *CELLS,
    *map(evaluate, CELLS),
    *with_seeds(measured(BEST, ALL_SETTINGS), (1, 2)),
    *with_seeds(CHALLENGES, (1, 2)),
    *measured(on_train_and_validation(PLAIN_1_SHOT), ALL_SETTINGS),
    *measured(on_train_and_validation(PLAIN_5_SHOT), ALL_SETTINGS),
    *measured(on_train_and_validation(BEST), ALL_SETTINGS),
    *measured(on_train_and_validation(CHALLENGE), WITHIN_ALPHABET),
    # Ablations, each beside a run above.
    *measured(q2("omniglot-20w1s-every-support", 20, 1, IN_TURN), ALL_SETTINGS),
    *measured(q2("omniglot-20w1s-wide", 20, 1, WIDE), ALL_SETTINGS),
    *measured(q2("background", 20, 1, f"--split background {JITTERED}"), WITHIN_ALPHABET),
    *measured(q2("background-residual", 20, 1, f"--split background {RESIDUAL}"), WITHIN_ALPHABET),
    q1("mnist-averaged", "--average_weights 0.999", 53, seed=1),
    *measured(q1("mnist-conditional-averaged", "--conditional --average_weights 0.999", 53), NEIGHBOURS, 1.5),
    *measured(q1("mnist-conditional", "--conditional", 53), minutes=0.7),
    q1("mnist-conditional-plane", "--conditional --label_as plane --epochs 3", 11),
    q1("mnist-64", "--image_size 64 --epochs 1", 10),
    q2("plain-10-epochs", 20, 1, "--split small --epochs 10", 3),
    # The additions to pix2pix, for a choice on validation. An averaged run measures its raw weights too.
    q3("aerial-128-30-all", f"{MAPS_128} --epochs 30 --turns {PENALISED}"),
    q3("aerial-128-30-turns-averaged", f"{MAPS_128} --epochs 30 {TURNED}"),
    q3("aerial-128-30-averaged", f"{MAPS_128} --epochs 30 --average_weights 0.999"),
    q3("aerial-128-30-penalty-10", f"{MAPS_128} --epochs 30 {TURNED} --gradient_penalty 10"),
    # The author's small sets of Omniglot, in place of which the runs above take all of it.
    SMALL_OMNIGLOT,
]


# full: full length and full size on the data at hand, for a GPU; most useful runs first ---------------------

FULL_SEEDED = [
    q2("full-20w1s", 20, 1),
    q2("full-20w5s", 20, 5),
    q2("full-5w1s", 5, 1),
    q2("full-5w5s", 5, 5),
    q2("full-20w1s-residual", 20, 1, RESIDUAL),
    *measured(q1("full-mnist")),
    *measured(q1("full-mnist-penalised", PENALISED)),
    *measured(q1("full-mnist-conditional", "--conditional")),
    *measured(q1("full-mnist-conditional-penalised", f"--conditional {PENALISED}"), NEIGHBOURS),
]
FULL_CELLS = cells("full", "full-search-50", f"{CIFAR} --epochs 50")

FULL = [
    *FULL_SEEDED,
    search("full-search-20", f"{CIFAR} --epochs 20"),
    *with_l1("full-aerial", "--dataset aerial_maps"),
    search("full-search-50", CIFAR),
    *FULL_CELLS,
    *map(evaluate, FULL_CELLS),
    *with_seeds(FULL_SEEDED, (1, 2)),
    *measured(q2("full-background-wide", 20, 1, f"--split background {WIDE}"), WITHIN_ALPHABET),
    search("full-search-20-second", f"{CIFAR} --epochs 20 --order second"),
    q2("full-small-20w1s", 20, 1, f"--split small {RESIDUAL}"),
]


# report: the first report's settings and data, on a GPU -----------------------------------------------------

REPORT = [
    q1("report-plain"),
    q1("report-conditional", "--conditional"),
    q2("report-5w1s", 5, 1),
    q2("report-5w5s", 5, 5),
    q2("report-20w1s", 20, 1),
    q2("report-20w5s", 20, 5),
    q3("report-maps"),
    q3("report-maps-l1", "--gan_weight 0"),
    search("report-search", "--epochs 20"),
    found("report-found", "report-search", "--epochs 100"),
    q4("report-random", "--epochs 100 --genotype random:0"),
]


# paper: the papers' settings and data, on a GPU -------------------------------------------------------------

TUTORIAL = "--image_size 64 --latent_size 100 --batch_size 128"
PAPER_SETTINGS = [
    q2("paper-5w1s", 5, 1, "--epochs 200"),
    q2("paper-5w5s", 5, 5, "--epochs 200"),
    q2("paper-20w1s", 20, 1, "--epochs 200"),
    q2("paper-20w5s", 20, 5, "--epochs 200"),
]

PAPER = [
    q1("paper-plain", TUTORIAL),
    q1("paper-conditional", f"{TUTORIAL} --conditional"),
    *PAPER_SETTINGS,
    *map(on_train_and_validation, PAPER_SETTINGS),
    q3("paper-maps"),
    q3("paper-maps-l1", "--gan_weight 0"),
    search("paper-search-first"),
    search("paper-search-second", "--order second"),
    search("paper-search-pc", "--partial_channels 4"),
    found("paper-found-first", "paper-search-first"),
    found("paper-found-second", "paper-search-second"),
    found("paper-found-pc", "paper-search-pc", "--drop_path 0.3"),  # as in its paper
    q4("paper-darts-v2", "--genotype DARTS_V2"),
    q4("paper-random", "--genotype random:0"),
]

PRESETS: dict[str, list[Row]] = {
    "quick": QUICK,
    "small": SMALL,
    "evidence": EVIDENCE,
    "full": FULL,
    "report": REPORT,
    "paper": PAPER,
}
