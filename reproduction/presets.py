"""The commands of every preset, as data: what reproduce.py runs and what report.py lists as missing."""

import json
from functools import partial
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """One command of a preset."""

    question: str  # "q1_dcgan"
    name: str  # of the run
    script: str
    options: dict[str, object] = {}  # flag -> value: text may name {log_root} and {after}; True: a flag alone
    seed: int = 0
    after: tuple[str, ...] = ()  # runs of the question that must be finished first; {after} is the first
    # measured on two CPU cores, or on one beside another run, whose kind was not recorded; None: never
    minutes: float | None = None
    repeats: str = ""  # the row that this one repeats with another seed

    @property
    def evaluates(self) -> bool:
        """It measures the finished run of its name instead of training it."""
        return self.script.endswith("evaluate.py")

    @property
    def label(self) -> str:
        """Its name, told apart from that of the run it evaluates."""
        return f"{self.name}, evaluation" if self.evaluates else self.name

    def words(self, log_root="logs", figure_root="figures", data_root="data") -> list[str]:
        """The command as it is typed; a root is named only where it is not the default."""
        words, after = ["python", self.script], self.after[0] if self.after else ""
        for flag, value in self.options.items():
            values = value if isinstance(value, tuple) else () if value is True else (value,)
            words += [f"--{flag}", *(str(each).format(log_root=log_root, after=after) for each in values)]
        if self.evaluates:
            kept = "best" if self.question == "q2_protonet" else "last"  # q2 tests the best validation epoch
            words += ["--checkpoint", f"{log_root}/{self.question}/{self.name}/checkpoints/{kept}.pt"]
        else:
            words += ["--seed", str(self.seed)] if self.seed else []
            words += ["--run_name", self.name]
        words += ["--data_root", str(data_root)] if str(data_root) != "data" else []
        words += ["--log_root", str(log_root)] if str(log_root) != "logs" and not self.evaluates else []
        return words + (["--figure_root", str(figure_root)] if str(figure_root) != "figures" else [])

    def needs(self, other: "Row") -> bool:
        """True if `other` must be done first."""
        if other.evaluates or other.question != self.question:
            return False
        return other.name in self.after or self.evaluates and other.name == self.name

    def state(self, log_root: Path) -> str:
        """What became of it: "done", "cut" (it can be resumed), "empty" (nothing to resume) or "new".

        An evaluation is done when the results of its run hold one, and new otherwise.
        """
        folder = log_root / self.question / self.name
        results = folder / "results.json"
        if self.evaluates:
            done = results.exists() and "evaluations" in json.loads(results.read_text())
            return "done" if done else "new"
        if results.exists():
            return "done"
        if any((folder / "checkpoints").glob("last.pt*")):
            return "cut"
        return "empty" if (folder / "config.json").exists() else "new"


def with_seeds(rows: list[Row], seeds: tuple[int, ...]) -> list[Row]:
    """Every row with every seed: it keeps its name at its own seed and is called <name>-seed<n> at any other.

    Rows that repeat another with a seed of their own are replaced by the seeds given here.
    """
    if not seeds:
        return rows
    rows = [row for row in rows if not row.repeats]
    own = {row.name: row.seed for row in rows if not row.evaluates}
    made = []
    for seed in seeds:
        names = {name: name if seed == its else f"{name}-seed{seed}" for name, its in own.items()}
        for row in rows:
            after = tuple(names[name] for name in row.after)
            again = row._replace(name=names[row.name], seed=seed, after=after)
            made.append(again if again.name == row.name else again._replace(repeats=row.name))
    return made


SEARCH, TRAIN = "q4_darts/train_search.py", "q4_darts/train.py"


def training(question: str, name: str, minutes: float | None = None, seed: int = 0, **options) -> Row:
    return Row(question, name, f"{question}/train.py", options, seed, minutes=minutes)


q1, q3 = partial(training, "q1_dcgan"), partial(training, "q3_pix2pix")


def q2(name: str, way: int, shot: int, minutes: float | None = None, **options: object) -> Row:
    """Train shot = test shot, 60-way training episodes: Snell et al. 2017, section 3.1."""
    options |= dict(num_support_tr=shot, num_support_val=shot, classes_per_it_val=way)
    return training("q2_protonet", name, minutes, **options)


def q4(name: str, script: str, minutes: float | None = None, found: str = "", **options: object) -> Row:
    """A search, or the training of a genotype; `found` is the search that found it."""
    options |= {"genotype": "{log_root}/q4_darts/{after}/genotype.json"} if found else {}
    return Row("q4_darts", name, script, options, after=(found,) if found else (), minutes=minutes)


def evaluation(run: Row, minutes: float | None = None, after: tuple = (), **options: object) -> Row:
    """The evaluation of a finished run; `after` is another run measured beside it."""
    return run._replace(script=f"{run.question}/evaluate.py", options=options, after=after, minutes=minutes)


def q2_settings(name: str) -> list[Row]:
    """The paper's four settings."""
    return [q2(f"{name}-{way}w{shot}s", way, shot) for way in (5, 20) for shot in (1, 5)]


def measured(run: Row, minutes: float | None = None, **options: object) -> list[Row]:
    """A run and its evaluation."""
    return [run, evaluation(run, minutes, **options)]


def as_paper_ends(run: Row, **options: object) -> list[Row]:
    """The same training on train + validation for the best number of epochs of `run`, and its evaluation."""
    again = run.options | {"trainval": "{after}"}
    again = run._replace(name=f"{run.name}-trainval", options=again, after=(run.name,), minutes=None)
    return measured(again, **options)


def with_l1(name: str, **options: object) -> list[Row]:
    """pix2pix, the same generator trained with L1 alone, and the evaluation of both."""
    run, l1 = q3(name, **options), q3(f"{name}-l1", **options, gan_weight=0)
    checkpoint = "{log_root}/q3_pix2pix/{after}/checkpoints/last.pt"
    return [run, l1, evaluation(run, after=(l1.name,), l1_checkpoint=checkpoint)]


def cells(name: str, found: str, **options: object) -> list[Row]:
    """The cell found by a search, a random one and the paper's, trained alike."""
    given = [q4(f"{name}-random", TRAIN, **options, genotype="random:0")]
    given += [q4(f"{name}-darts-v2", TRAIN, **options, genotype="DARTS_V2")]
    return [q4(f"{name}-found", TRAIN, found=found, **options), *given]


CIFAR = {"dataset": "cifar10_images"}
MAPS_128 = dict(dataset="aerial_maps", image_size=128, base_channels=32)
TURNS = dict(turns=True)
ALL_ADDED = TURNS | dict(average_weights=0.999, gradient_penalty=1)
MAPS_30 = [  # the additions to pix2pix one by one, for a choice on validation
    q3("aerial-128-30-all", **MAPS_128, epochs=30, **ALL_ADDED),
    q3("aerial-128-30-turns", **MAPS_128, epochs=30, **TURNS),
    q3("aerial-128-30-turns-averaged", **MAPS_128, epochs=30, **TURNS, average_weights=0.999),
    q3("aerial-128-30-turns-penalised", **MAPS_128, epochs=30, **TURNS, gradient_penalty=1),
    q3("aerial-128-30-plain", **MAPS_128, epochs=30),
]

# The precision is auto's: bf16 where the device has instructions for it, as in the committed runs, and fp32
# elsewhere. Three seeds of ProtoNet show no difference in accuracy (preset precision).
# Real data, an hour and a half on two CPU cores. Times of 3 and 5 epochs are scaled from 15 and 20.
SMALL_NET = dict(train_pictures=6400, init_channels=8, layers=4, batch_size=32)
# The alphas' rate is ten times the paper's, for a twentieth of its steps.
SMALL_SEARCH = CIFAR | SMALL_NET | {"epochs": 10, "arch_learning_rate": "3e-3"}
SMALL_TRAIN = CIFAR | dict(train_pictures=12800, epochs=5, init_channels=16, layers=5, precision="fp32")
SMALL_OMNIGLOT = q2("20w1s", 20, 1, 9, split="small", augment=True, average_weights=0.995, epochs=60)
SMALL = [
    SMALL_OMNIGLOT,
    q1("small-conditional", 11, conditional=True, epochs=3),
    q3("small-aerial", 9, **MAPS_128, epochs=5),
    q4("small-search", SEARCH, 28, **SMALL_SEARCH),
    q4("small-found", TRAIN, 18, found="small-search", **SMALL_TRAIN),
    q4("small-random", TRAIN, 14, **SMALL_TRAIN, genotype="random:0"),
]

# The committed results: as near to full size as two CPU cores get, most useful runs first, days in all.
ADDITIONS = dict(augment=True, average_weights=0.999, lr_scheduler_step=40)
ALL_WAYS = dict(way=(5, 20), shot=(1, 5), shifts=(0, 1))
PLAIN = [q2(f"omniglot-20w{n}s", 20, n) for n in (1, 5)]
SHOTS = [row for run in PLAIN for row in measured(run, **ALL_WAYS)]
IN_TURN = ADDITIONS | dict(every_support=True)
WIDE = IN_TURN | dict(hidden_channels=(64, 64, 128, 256))
RESIDUAL = WIDE | dict(residual_convs=1)
BEST = q2("omniglot-20w1s-residual", 20, 1, **RESIDUAL)
ADDED = measured(BEST, **ALL_WAYS)
CHALLENGE = q2("background-wide", 20, 1, split="background", **WIDE)
WITHIN = dict(within_alphabet=True, shifts=(0, 1))
DIGITS_SEEDED = measured(q1("mnist", 48), 0.7)
PENALISED = dict(average_weights=0.999, gradient_penalty=1)
DIGITS_SEEDED += measured(q1("mnist-penalised", **PENALISED))
NEIGHBOURS = dict(nearest_neighbour=50000)
ASKED_FOR = q1("mnist-conditional-penalised", 60, conditional=True, **PENALISED)
DIGITS_SEEDED += measured(ASKED_FOR, 1.5, **NEIGHBOURS)
AVERAGED = q1("mnist-conditional-averaged", 53, conditional=True, average_weights=0.999)
BUDGET = CIFAR | dict(epochs=7, init_channels=16, layers=8)  # one for all three cells
CELLS = cells("pc-20", "search-pc-20", **BUDGET)
EVIDENCE = [
    *SHOTS,
    q4("search-pc-20", SEARCH, **CIFAR, partial_channels=4, epochs=20),
    *(q2(f"omniglot-5w{shot}s", 5, shot) for shot in (1, 5)),
    *measured(CHALLENGE, **WITHIN),
    *(DIGITS_SEEDED + ADDED + with_l1("aerial-128-100", **MAPS_128, epochs=100)),
    *with_seeds(SHOTS, (1, 2)),
    *with_seeds(DIGITS_SEEDED, (1, 2)),
    *CELLS,
    *map(evaluation, CELLS),
    *with_seeds(ADDED, (1, 2)),
    *(row for run in (*PLAIN, BEST) for row in as_paper_ends(run, **ALL_WAYS)),
    *as_paper_ends(CHALLENGE, **WITHIN),
    # ablations, each beside a run above
    *measured(q2("omniglot-20w1s-every-support", 20, 1, **IN_TURN), **ALL_WAYS),
    *measured(q2("omniglot-20w1s-wide", 20, 1, **WIDE), **ALL_WAYS),
    *measured(q2("background", 20, 1, split="background", **ADDITIONS), **WITHIN),
    *measured(q2("background-residual", 20, 1, split="background", **RESIDUAL), **WITHIN),
    q1("mnist-averaged", 53, seed=1, average_weights=0.999),
    *measured(AVERAGED, 1.5, **NEIGHBOURS),
    *measured(q1("mnist-conditional", 53, conditional=True), 0.7),
    q1("mnist-conditional-plane", 11, conditional=True, label_as="plane", epochs=3),
    q1("mnist-64", 10, image_size=64, epochs=1),
    q2("plain-10-epochs", 20, 1, 3, split="small", epochs=10),
    *MAPS_30,
    # the author's small sets of Omniglot, in place of which the runs above take all of it
    SMALL_OMNIGLOT,
    q2("small1-20w1s", 20, 1, split="small1", augment=True, average_weights=0.995),
]

# Full length and full size on the data at hand, for a GPU; most useful runs first.
SEEDED = [q2(f"full-{way}w{shot}s", way, shot) for way in (20, 5) for shot in (1, 5)]
SEEDED += [q2("full-20w1s-residual", 20, 1, **RESIDUAL)]
SEEDED += measured(q1("full-mnist")) + measured(q1("full-mnist-penalised", **PENALISED))
SEEDED += measured(q1("full-mnist-conditional", conditional=True))
SEEDED += measured(q1("full-mnist-conditional-penalised", conditional=True, **PENALISED), **NEIGHBOURS)
FULL_CELLS = cells("full", "full-search-50", **CIFAR, epochs=50)
FULL = [
    *SEEDED,
    q4("full-search-20", SEARCH, **CIFAR, epochs=20),
    *with_l1("full-aerial", dataset="aerial_maps"),
    q4("full-search-50", SEARCH, **CIFAR),
    *FULL_CELLS,
    *map(evaluation, FULL_CELLS),
    *with_seeds(SEEDED, (1, 2)),
    *measured(q2("full-background-wide", 20, 1, split="background", **WIDE), **WITHIN),
    q4("full-search-20-second", SEARCH, **CIFAR, epochs=20, order="second"),
    *(q2(f"full-{split}-20w1s", 20, 1, split=split, **RESIDUAL) for split in ("small", "small1")),
]

# What a precision costs in accuracy: the same short run at each, three seeds. tf32 needs a GPU.
BRIEF_MAPS = dict(dataset="aerial_maps", image_size=128, base_channels=32, epochs=5)
BRIEF_SEARCH = CIFAR | SMALL_NET | {"epochs": 3}
PRECISIONS = ("fp32", "tf32", "bf16")
PRECISION = [q1(f"precision-{each}", epochs=3, precision=each) for each in PRECISIONS]
PRECISION += [q2(f"precision-{p}", 20, 1, split="small", epochs=10, precision=p) for p in PRECISIONS]
PRECISION += [q3(f"precision-{each}", **BRIEF_MAPS, precision=each) for each in PRECISIONS]
PRECISION += [q4(f"precision-{each}", SEARCH, **BRIEF_SEARCH, precision=each) for each in PRECISIONS]
PRECISION = with_seeds(PRECISION, (0, 1, 2))

# Synthetic data, under five minutes on two CPU cores: narrow networks and large learning rates.
# In fp32, in which these times were measured, so that every CPU computes the same, to rounding.
FP32 = {"precision": "fp32"}
DIGITS = FP32 | dict(dataset="synthetic", epochs=16, synthetic_pictures=3072)
DIGITS |= dict(quality_samples=500, test_samples=1000)
DIGITS |= dict(base_channels=16, latent_size=32, batch_size=32, learning_rate="2e-3", average_weights=0.99)
SYNTHETIC = FP32 | dict(dataset="synthetic", epochs=4, iterations=30, classes_per_it_tr=30)
TOWN = FP32 | dict(dataset="synthetic", epochs=40, image_size=64, base_channels=16, batch_size=2)
TOWN |= dict(learning_rate="4e-4")
SHAPES = FP32 | dict(dataset="synthetic", layers=3, learning_rate=0.1)
SEARCH_SHAPES = SHAPES | dict(epochs=3, init_channels=2, batch_size=16, arch_learning_rate=0.1)
TRAIN_SHAPES = SHAPES | dict(epochs=4, init_channels=4, batch_size=32)
TRAIN_SHAPES |= dict(cutout=0, drop_path=0, auxiliary=0)  # four epochs need no regularisation
QUICK = [
    q1("quick-plain", 0.6, **DIGITS),
    q1("quick-conditional", 0.6, **DIGITS, conditional=True),
    q2("quick-5w1s", 5, 1, 0.3, **SYNTHETIC),
    q2("quick-20w5s", 20, 5, 0.6, **SYNTHETIC),
    q3("quick-gan", 0.7, **TOWN),
    q3("quick-l1", 0.6, **TOWN, gan_weight=0),
    q4("quick-search", SEARCH, 1.0, **SEARCH_SHAPES),
    q4("quick-found", TRAIN, 0.4, found="quick-search", **TRAIN_SHAPES),
    q4("quick-random", TRAIN, 0.4, **TRAIN_SHAPES, genotype="random:0"),
]

REPORT = [q1("report-plain"), q1("report-conditional", conditional=True), *q2_settings("report")]
REPORT += [q3("report-maps"), q3("report-maps-l1", gan_weight=0), q4("report-search", SEARCH, epochs=20)]
REPORT += cells("report", "report-search", epochs=100)[:2]

TUTORIAL = dict(image_size=64, latent_size=100, batch_size=128)
PAPER = [q1("paper-plain", **TUTORIAL), q1("paper-conditional", **TUTORIAL, conditional=True)]
for run in q2_settings("paper"):
    PAPER += [run._replace(options={"epochs": 200} | run.options), as_paper_ends(run)[0]]
PAPER += [q3("paper-maps"), q3("paper-maps-l1", gan_weight=0), q4("paper-search-first", SEARCH)]
PAPER += [q4("paper-search-second", SEARCH, order="second")]
PAPER += [q4("paper-search-pc", SEARCH, partial_channels=4)]
PAPER += [q4(f"paper-found-{name}", TRAIN, found=f"paper-search-{name}") for name in ("first", "second")]
PAPER += [q4("paper-found-pc", TRAIN, found="paper-search-pc", drop_path=0.3)]  # as in its paper
PAPER += [q4("paper-darts-v2", TRAIN, genotype="DARTS_V2"), q4("paper-random", TRAIN, genotype="random:0")]

PRESETS: dict[str, list[Row]] = dict(
    quick=QUICK, small=SMALL, evidence=EVIDENCE, full=FULL, precision=PRECISION, report=REPORT, paper=PAPER
)
