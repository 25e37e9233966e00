"""The commands of every preset, as data: what reproduce.py runs and what report.py names as missing."""

import json
import re
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """One command of a preset."""

    question: str  # "q1_dcgan"
    name: str  # of the run
    script: str
    flags: str  # may name {log_root}
    minutes: float | None = (
        None  # measured on two CPU cores, or on one beside another run; None: nobody has measured it
    )

    @property
    def evaluates(self) -> bool:
        """It measures the finished run of its name instead of training it."""
        return self.script.endswith("evaluate.py")

    @property
    def label(self) -> str:
        """Its name, which the run and its evaluation share, made different."""
        return f"{self.name}, evaluation" if self.evaluates else self.name

    def words(
        self, log_root: object = "logs", figure_root: object = "figures", data_root: object = "data"
    ) -> list[str]:
        """The command as it is typed, with these roots where they are not the usual ones."""
        run = ["--run_name", self.name]
        if self.evaluates:
            run = ["--checkpoint", f"{log_root}/{self.question}/{self.name}/checkpoints/last.pt"]
        words = ["python", self.script, *self.flags.format(log_root=log_root).split(), *run]
        for flag, root, usual in (
            ("data", data_root, "data"),
            ("log", log_root, "logs"),
            ("figure", figure_root, "figures"),
        ):
            words += (
                [f"--{flag}_root", str(root)]
                if str(root) != usual and not (self.evaluates and flag == "log")
                else []
            )
        return words

    def needs(self, other: "Row") -> bool:
        """True if `other` must be done first: the run that this one evaluates, or one that its flags name."""
        if other.evaluates or other.question != self.question:
            return False
        return self.evaluates and self.name == other.name or bool(re.search(named(other.name), self.flags))

    def state(self, log_root: Path) -> str:
        """What became of it, as `state` says; an evaluation is done when the results of its run have one, and new otherwise."""
        folder = log_root / self.question / self.name
        now = state(folder)
        if self.evaluates and (
            now != "done" or "evaluations" not in json.loads((folder / "results.json").read_text())
        ):
            return "new"
        return now


def state(folder: Path) -> str:
    """What became of a run: "done", "cut" (it can be resumed), "empty" (nothing to resume) or "new"."""
    if (folder / "results.json").exists():
        return "done"
    if any((folder / "checkpoints").glob("last.pt*")):
        return "cut"
    return "empty" if (folder / "config.json").exists() else "new"


def named(run: str) -> str:
    """The pattern of a run's name that is not a part of a longer one."""
    return rf"(?<![\w-]){re.escape(run)}(?![\w-])"


def more_seeds(run: str) -> bool:
    """True if a run only repeats another one with a seed of its own."""
    return bool(re.search(r"-seed\d+$", run))


def with_seeds(rows: list[Row], seeds: tuple[int, ...]) -> list[Row]:
    """Every row with every seed. A row keeps its name at its own seed and is called <name>-seed<n> at any other.

    Rows that only repeat another with a seed of their own give way to the seeds asked for.
    """
    if not seeds:
        return rows
    rows = [row for row in rows if not more_seeds(row.name)]
    own = {
        row.name: int(match[1]) if (match := re.search(r"--seed (\d+)", row.flags)) else 0
        for row in rows
        if not row.evaluates
    }
    made = []
    for seed in seeds:
        names = {name: name if seed == its else f"{name}-seed{seed}" for name, its in own.items()}
        for row in rows:
            flags = re.sub(r" ?--seed \d+", "", row.flags) + (
                f" --seed {seed}" if seed and not row.evaluates else ""
            )
            for name in own:  # what a search or a first training of the same seed left
                flags = re.sub(named(name), names[name], flags)
            made.append(row._replace(name=names[row.name], flags=flags.strip()))
    return made


Q2 = "q2_protonet/train.py"
ONE = "--num_support_tr 1 --num_support_val 1"
FIVE = "--num_support_tr 5 --num_support_val 5"
Q1 = "q1_dcgan/train.py"
Q3 = "q3_pix2pix/train.py"
DIGITS = "--dataset synthetic --synthetic_pictures 3072 --epochs 5 --quality_samples 500 --test_samples 1000"
TOWN = "--dataset synthetic --epochs 12 --image_size 64 --base_channels 16 --batch_size 4"
SYNTHETIC = "--dataset synthetic --epochs 4 --iterations 30 --classes_per_it_tr 30"
SEARCH, TRAIN = "q4_darts/train_search.py", "q4_darts/train.py"
SHAPES = "--dataset synthetic --init_channels 4 --layers 3 --batch_size 32 --train_pictures 1024"
FOUND = "--genotype {log_root}/q4_darts/%s/genotype.json"  # what a search of this preset found
BESIDE_L1 = "--l1_checkpoint {log_root}/q3_pix2pix/%s/checkpoints/last.pt"
# Train shot = test shot, 60-way episodes: Snell et al. 2017, section 3.1. The paper then trains on train + validation.
LONG = "--epochs 200"

Q2_PAPER = [
    row
    for way in (5, 20)
    for shot, options in ((1, ONE), (5, FIVE))
    for row in (
        Row("q2_protonet", f"paper-{way}w{shot}s", Q2, f"{LONG} {options} --classes_per_it_val {way}"),
        Row(
            "q2_protonet",
            f"paper-{way}w{shot}s-trainval",
            Q2,
            f"{options} --classes_per_it_val {way} --trainval paper-{way}w{shot}s",
        ),
    )
]

# What two CPU cores can do in some hours on real data: the committed runs.
SMALL_OMNIGLOT = "--split small --precision bf16"
JITTER = "--augment --average_weights 0.995"
OURS = f"{SMALL_OMNIGLOT} {JITTER}"
SMALL_MAPS = "--dataset aerial_maps --image_size 128 --base_channels 32 --epochs 20 --precision bf16"
SMALL_CIFAR = "--dataset cifar10_images"
SMALL_SEARCH = f"{SMALL_CIFAR} --train_pictures 6400 --epochs 10 --init_channels 8 --layers 4 --batch_size 32"
SMALL_SEARCH += (
    " --arch_learning_rate 3e-3 --precision bf16"  # ten times the paper's, for a twentieth of its steps
)
SMALL_TRAIN = f"{SMALL_CIFAR} --train_pictures 12800 --epochs 5 --init_channels 16 --layers 5"
SMALL = [
    Row("q1_dcgan", "mnist", Q1, "--precision bf16", 48),
    Row("q1_dcgan", "mnist-conditional", Q1, "--precision bf16 --conditional", 53),
    Row("q1_dcgan", "mnist", "q1_dcgan/evaluate.py", "", 0.7),
    Row("q1_dcgan", "mnist-conditional", "q1_dcgan/evaluate.py", "", 0.7),
    Row("q1_dcgan", "mnist-averaged", Q1, "--precision bf16 --seed 1 --average_weights 0.999", 53),
    Row(
        "q1_dcgan",
        "mnist-conditional-plane",
        Q1,
        "--precision bf16 --conditional --label_as plane --epochs 3",
        11,
    ),
    Row("q1_dcgan", "mnist-64", Q1, "--precision bf16 --image_size 64 --epochs 1", 10),
    Row("q2_protonet", "5w1s", Q2, f"{OURS} --epochs 40 {ONE} --classes_per_it_val 5", 11),
    Row("q2_protonet", "5w5s", Q2, f"{OURS} --epochs 40 {FIVE} --classes_per_it_val 5", 20),
    Row("q2_protonet", "20w1s", Q2, f"{OURS} --epochs 60 {ONE} --classes_per_it_val 20", 9),
    Row("q2_protonet", "20w5s", Q2, f"{OURS} --epochs 60 {FIVE} --classes_per_it_val 20", 32),
    Row(
        "q2_protonet", "plain-10-epochs", Q2, f"{SMALL_OMNIGLOT} --epochs 10 {ONE} --classes_per_it_val 20", 3
    ),
    Row("q3_pix2pix", "aerial-128", Q3, SMALL_MAPS, 37),
    Row("q3_pix2pix", "aerial-128-l1", Q3, f"{SMALL_MAPS} --gan_weight 0", 31),
    Row("q3_pix2pix", "aerial-128", "q3_pix2pix/evaluate.py", BESIDE_L1 % "aerial-128-l1", 0.4),
    Row("q4_darts", "small-search", SEARCH, SMALL_SEARCH, 28),
    Row("q4_darts", "small-found", TRAIN, f"{SMALL_TRAIN} {FOUND % 'small-search'}", 18),
    Row("q4_darts", "small-found", "q4_darts/evaluate.py", "", 1.6),
    Row("q4_darts", "small-darts-v2", TRAIN, f"{SMALL_TRAIN} --genotype DARTS_V2", 10),
    Row("q4_darts", "small-random", TRAIN, f"{SMALL_TRAIN} --genotype random:0", 14),
]

# Full length and full size on the same data, for a GPU, in the order of worth: what a short lease cuts off is the end.
FULL_OMNIGLOT = [
    Row(
        "q2_protonet",
        f"full-{split}-{way}w{shot}s",
        Q2,
        f"--split {split} {JITTER} {options} --classes_per_it_val {way}",
    )
    for split in ("small", "small1")
    for way, shot, options in ((20, 1, ONE), (20, 5, FIVE), (5, 1, ONE), (5, 5, FIVE))
]
FULL_MNIST = [
    Row("q1_dcgan", "full-mnist", Q1, ""),
    Row("q1_dcgan", "full-mnist", "q1_dcgan/evaluate.py", ""),
    Row("q1_dcgan", "full-mnist-conditional", Q1, "--conditional"),
    Row("q1_dcgan", "full-mnist-conditional", "q1_dcgan/evaluate.py", ""),
]
SEEDED = [
    *FULL_OMNIGLOT,
    Row("q2_protonet", "full-small-20w1s-plain", Q2, f"--split small {ONE} --classes_per_it_val 20"),
    *FULL_MNIST,
]
FULL = [
    *SEEDED,
    Row("q4_darts", "full-search-20", SEARCH, f"{SMALL_CIFAR} --epochs 20"),
    Row("q4_darts", "full-search-50", SEARCH, SMALL_CIFAR),
    Row("q4_darts", "full-found", TRAIN, f"{SMALL_CIFAR} --epochs 50 {FOUND % 'full-search-50'}"),
    Row("q4_darts", "full-random", TRAIN, f"{SMALL_CIFAR} --epochs 50 --genotype random:0"),
    Row("q4_darts", "full-darts-v2", TRAIN, f"{SMALL_CIFAR} --epochs 50 --genotype DARTS_V2"),
    *(
        Row("q4_darts", f"full-{name}", "q4_darts/evaluate.py", "")
        for name in ("found", "random", "darts-v2")
    ),
    Row("q3_pix2pix", "full-aerial", Q3, "--dataset aerial_maps"),
    Row("q3_pix2pix", "full-aerial-l1", Q3, "--dataset aerial_maps --gan_weight 0"),
    Row("q3_pix2pix", "full-aerial", "q3_pix2pix/evaluate.py", BESIDE_L1 % "full-aerial-l1"),
    *with_seeds(SEEDED, (1, 2)),
    Row("q4_darts", "full-search-20-second", SEARCH, f"{SMALL_CIFAR} --epochs 20 --order second"),
]

# What a precision costs in accuracy: the same short run at each, three seeds. tf32 is a GPU's.
BRIEF = {
    "q1_dcgan": (Q1, "--epochs 3"),
    "q2_protonet": (Q2, f"--split small --epochs 10 {ONE} --classes_per_it_val 20"),
    "q3_pix2pix": (Q3, "--dataset aerial_maps --image_size 128 --base_channels 32 --epochs 5"),
    "q4_darts": (
        SEARCH,
        f"{SMALL_CIFAR} --train_pictures 6400 --epochs 3 --init_channels 8 --layers 4 --batch_size 32",
    ),
}
PRECISION = with_seeds(
    [
        Row(question, f"precision-{precision}", script, f"{flags} --precision {precision}")
        for question, (script, flags) in BRIEF.items()
        for precision in ("fp32", "tf32", "bf16")
    ],
    (0, 1, 2),
)

PRESETS: dict[str, list[Row]] = {
    "quick": [
        Row("q1_dcgan", "quick-plain", Q1, DIGITS, 0.9),
        Row("q1_dcgan", "quick-conditional", Q1, f"{DIGITS} --conditional", 0.9),
        Row("q2_protonet", "quick-5w1s", Q2, f"{SYNTHETIC} {ONE} --classes_per_it_val 5", 0.3),
        Row("q2_protonet", "quick-20w5s", Q2, f"{SYNTHETIC} {FIVE} --classes_per_it_val 20", 0.4),
        Row("q3_pix2pix", "quick-gan", Q3, TOWN, 0.2),
        Row("q3_pix2pix", "quick-l1", Q3, f"{TOWN} --gan_weight 0", 0.2),
        Row("q4_darts", "quick-search", SEARCH, f"{SHAPES} --epochs 3 --arch_learning_rate 0.01", 0.5),
        Row("q4_darts", "quick-found", TRAIN, f"{SHAPES} --epochs 4 {FOUND % 'quick-search'}", 0.4),
        Row("q4_darts", "quick-random", TRAIN, f"{SHAPES} --epochs 4 --genotype random:0", 0.3),
    ],
    "small": SMALL,
    "full": FULL,
    "precision": PRECISION,
    "report": [
        Row("q1_dcgan", "report-plain", Q1, ""),
        Row("q1_dcgan", "report-conditional", Q1, "--conditional"),
        Row("q2_protonet", "report-5w1s", Q2, f"{ONE} --classes_per_it_val 5"),
        Row("q2_protonet", "report-5w5s", Q2, f"{FIVE} --classes_per_it_val 5"),
        Row("q2_protonet", "report-20w1s", Q2, f"{ONE} --classes_per_it_val 20"),
        Row("q2_protonet", "report-20w5s", Q2, f"{FIVE} --classes_per_it_val 20"),
        Row("q3_pix2pix", "report-maps", Q3, ""),
        Row("q3_pix2pix", "report-maps-l1", Q3, "--gan_weight 0"),
        Row("q4_darts", "report-search", SEARCH, "--epochs 20"),
        Row("q4_darts", "report-found", TRAIN, f"--epochs 100 {FOUND % 'report-search'}"),
        Row("q4_darts", "report-random", TRAIN, "--epochs 100 --genotype random:0"),
    ],
    "paper": [
        Row("q1_dcgan", "paper-plain", Q1, "--image_size 64 --latent_size 100 --batch_size 128"),
        Row(
            "q1_dcgan",
            "paper-conditional",
            Q1,
            "--image_size 64 --latent_size 100 --batch_size 128 --conditional",
        ),
        *Q2_PAPER,
        Row("q3_pix2pix", "paper-maps", Q3, ""),
        Row("q3_pix2pix", "paper-maps-l1", Q3, "--gan_weight 0"),
        Row("q4_darts", "paper-search-first", SEARCH, ""),
        Row("q4_darts", "paper-search-second", SEARCH, "--order second"),
        Row("q4_darts", "paper-search-pc", SEARCH, "--partial_channels 4"),
        Row("q4_darts", "paper-found-first", TRAIN, FOUND % "paper-search-first"),
        Row("q4_darts", "paper-found-second", TRAIN, FOUND % "paper-search-second"),
        Row(
            "q4_darts", "paper-found-pc", TRAIN, f"{FOUND % 'paper-search-pc'} --drop_path 0.3"
        ),  # as in its paper
        Row("q4_darts", "paper-darts-v2", TRAIN, "--genotype DARTS_V2"),
        Row("q4_darts", "paper-random", TRAIN, "--genotype random:0"),
    ],
}
