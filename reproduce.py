"""Runs the four questions at a preset: what is not done yet, from where it was cut, and ends with tables and figures.

python reproduce.py --preset quick              # synthetic data, a CPU, minutes
python reproduce.py --preset report --only q2_protonet
python reproduce.py --preset small              # real data, a CPU, hours: the committed runs
python reproduce.py --preset paper --dry_run    # only shows the commands
"""

import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

import report

Q2 = "q2_protonet/train.py"
ONE = "--num_support_tr 1 --num_support_val 1"
FIVE = "--num_support_tr 5 --num_support_val 5"
Q1 = "q1_dcgan/train.py"
Q3 = "q3_pix2pix/train.py"
DIGITS = "--dataset synthetic --synthetic_pictures 4096 --epochs 6 --quality_samples 500 --test_samples 1000"
TOWN = "--dataset synthetic --epochs 12 --image_size 64 --base_channels 16 --batch_size 4"
SYNTHETIC = "--dataset synthetic --epochs 4 --iterations 30 --classes_per_it_tr 30"
SEARCH, TRAIN = "q4_darts/train_search.py", "q4_darts/train.py"
SHAPES = "--dataset synthetic --init_channels 4 --layers 3 --batch_size 32 --train_pictures 1024"
FOUND = "--genotype {log_root}/q4_darts/%s/genotype.json"  # what a search of this preset found
# Train shot = test shot, 60-way episodes: Snell et al. 2017, section 3.1. The paper then trains on train + validation.
LONG = "--epochs 200"

Q2_PAPER = [
    row
    for way in (5, 20)
    for shot, options in ((1, ONE), (5, FIVE))
    for row in (
        ("q2_protonet", f"paper-{way}w{shot}s", Q2, f"{LONG} {options} --classes_per_it_val {way}"),
        ("q2_protonet", f"paper-{way}w{shot}s-trainval", Q2, f"{options} --classes_per_it_val {way} --trainval paper-{way}w{shot}s"),
    )
]

# What two CPU cores can do in some hours on real data: the committed runs.
SMALL_OMNIGLOT = "--split small --precision bf16"
OURS = f"{SMALL_OMNIGLOT} --augment --average_weights 0.995"
SMALL_MAPS = "--dataset aerial_maps --image_size 128 --base_channels 32 --epochs 8 --precision bf16"
SMALL_CIFAR = "--dataset cifar10_images"
SMALL_SEARCH = f"{SMALL_CIFAR} --train_pictures 6400 --epochs 10 --init_channels 8 --layers 4 --batch_size 32"
SMALL_SEARCH += " --arch_learning_rate 3e-3 --precision bf16"  # ten times the paper's, for a twentieth of its steps
SMALL_TRAIN = f"{SMALL_CIFAR} --train_pictures 12800 --epochs 5 --init_channels 16 --layers 5"
SMALL = [
    ("q1_dcgan", "mnist", Q1, "--precision bf16"),
    ("q1_dcgan", "mnist-conditional", Q1, "--precision bf16 --conditional"),
    ("q1_dcgan", "mnist-averaged", Q1, "--precision bf16 --seed 1 --average_weights 0.999"),
    ("q1_dcgan", "mnist-conditional-plane", Q1, "--precision bf16 --conditional --label_as plane --epochs 3"),
    ("q1_dcgan", "mnist-64", Q1, "--precision bf16 --image_size 64 --epochs 1"),
    ("q2_protonet", "5w1s", Q2, f"{OURS} --epochs 40 {ONE} --classes_per_it_val 5"),
    ("q2_protonet", "5w5s", Q2, f"{OURS} --epochs 40 {FIVE} --classes_per_it_val 5"),
    ("q2_protonet", "20w1s", Q2, f"{OURS} --epochs 60 {ONE} --classes_per_it_val 20"),
    ("q2_protonet", "20w5s", Q2, f"{OURS} --epochs 60 {FIVE} --classes_per_it_val 20"),
    ("q2_protonet", "plain-10-epochs", Q2, f"{SMALL_OMNIGLOT} --epochs 10 {ONE} --classes_per_it_val 20"),
    ("q3_pix2pix", "aerial-128", Q3, SMALL_MAPS),
    ("q3_pix2pix", "aerial-128-l1", Q3, f"{SMALL_MAPS} --gan_weight 0"),
    ("q4_darts", "small-search", SEARCH, SMALL_SEARCH),
    ("q4_darts", "small-found", TRAIN, f"{SMALL_TRAIN} {FOUND % 'small-search'}"),
    ("q4_darts", "small-darts-v2", TRAIN, f"{SMALL_TRAIN} --genotype DARTS_V2"),
    ("q4_darts", "small-random", TRAIN, f"{SMALL_TRAIN} --genotype random:0"),
]

# preset -> rows of (question, run name, script, options)
PRESETS: dict[str, list[tuple[str, str, str, str]]] = {
    "quick": [
        ("q1_dcgan", "quick-plain", Q1, DIGITS),
        ("q1_dcgan", "quick-conditional", Q1, f"{DIGITS} --conditional"),
        ("q2_protonet", "quick-5w1s", Q2, f"{SYNTHETIC} {ONE} --classes_per_it_val 5"),
        ("q2_protonet", "quick-20w5s", Q2, f"{SYNTHETIC} {FIVE} --classes_per_it_val 20"),
        ("q3_pix2pix", "quick-gan", Q3, TOWN),
        ("q3_pix2pix", "quick-l1", Q3, f"{TOWN} --gan_weight 0"),
        ("q4_darts", "quick-search", SEARCH, f"{SHAPES} --epochs 3 --arch_learning_rate 0.01"),
        ("q4_darts", "quick-found", TRAIN, f"{SHAPES} --epochs 4 {FOUND % 'quick-search'}"),
        ("q4_darts", "quick-random", TRAIN, f"{SHAPES} --epochs 4 --genotype random:0"),
    ],
    "small": SMALL,
    "report": [
        ("q1_dcgan", "report-plain", Q1, ""),
        ("q1_dcgan", "report-conditional", Q1, "--conditional"),
        ("q2_protonet", "report-5w1s", Q2, f"{ONE} --classes_per_it_val 5"),
        ("q2_protonet", "report-5w5s", Q2, f"{FIVE} --classes_per_it_val 5"),
        ("q2_protonet", "report-20w1s", Q2, f"{ONE} --classes_per_it_val 20"),
        ("q2_protonet", "report-20w5s", Q2, f"{FIVE} --classes_per_it_val 20"),
        ("q3_pix2pix", "report-maps", Q3, ""),
        ("q3_pix2pix", "report-maps-l1", Q3, "--gan_weight 0"),
        ("q4_darts", "report-search", SEARCH, "--epochs 20"),
        ("q4_darts", "report-found", TRAIN, f"--epochs 100 {FOUND % 'report-search'}"),
        ("q4_darts", "report-random", TRAIN, "--epochs 100 --genotype random:0"),
    ],
    "paper": [
        ("q1_dcgan", "paper-plain", Q1, "--image_size 64 --latent_size 100 --batch_size 128"),
        ("q1_dcgan", "paper-conditional", Q1, "--image_size 64 --latent_size 100 --batch_size 128 --conditional"),
        *Q2_PAPER,
        ("q3_pix2pix", "paper-maps", Q3, ""),
        ("q3_pix2pix", "paper-maps-l1", Q3, "--gan_weight 0"),
        ("q4_darts", "paper-search-first", SEARCH, ""),
        ("q4_darts", "paper-search-second", SEARCH, "--order second"),
        ("q4_darts", "paper-search-pc", SEARCH, "--partial_channels 4"),
        ("q4_darts", "paper-found-first", TRAIN, FOUND % "paper-search-first"),
        ("q4_darts", "paper-found-second", TRAIN, FOUND % "paper-search-second"),
        ("q4_darts", "paper-found-pc", TRAIN, f"{FOUND % 'paper-search-pc'} --drop_path 0.3"),  # as in its paper
        ("q4_darts", "paper-darts-v2", TRAIN, "--genotype DARTS_V2"),
        ("q4_darts", "paper-random", TRAIN, "--genotype random:0"),
    ],
}
QUESTIONS = sorted({row[0] for rows in PRESETS.values() for row in rows})


@dataclass
class Options:
    """Reproduce the questions at a preset."""

    # quick: synthetic data; small: real data on a CPU, hours, the committed runs; report, paper: their settings, for a GPU
    preset: Literal["quick", "small", "report", "paper"] = "quick"
    only: tuple[Literal[tuple(QUESTIONS)], ...] = ()  # only these questions
    dry_run: bool = False  # show the commands and do nothing
    data_root: Path = Path("data")  # folder of the data sets
    log_root: Path = Path("logs")  # folder of the run folders
    figure_root: Path = Path("figures")  # folder of the pictures
    device: Literal["auto", "cuda", "cpu"] = "auto"  # where to compute


def state(folder: Path) -> str:
    """What became of a run: "done", "cut" (it can be resumed), "empty" (nothing to resume) or "new"."""
    if (folder / "results.json").exists():
        return "done"
    if any((folder / "checkpoints").glob("last.pt*")):
        return "cut"
    return "empty" if (folder / "config.json").exists() else "new"


def main(options: Options) -> int:
    os.chdir(Path(__file__).resolve().parent)  # the scripts, and the roots unless absolute, are found from here
    rows = [row for row in PRESETS[options.preset] if not options.only or row[0] in options.only]
    failed: list[str] = []
    began = time.perf_counter()
    for number, (question, name, script, flags) in enumerate(rows, 1):
        folder = options.log_root / question / name
        now = state(folder)
        command = ["python", script, *flags.format(log_root=options.log_root).split(), "--run_name", name]
        for root in ("data_root", "log_root", "figure_root"):
            if str(getattr(options, root)) != root.removesuffix("_root").replace("log", "logs").replace("figure", "figures"):
                command += [f"--{root}", str(getattr(options, root))]
        if options.device != "auto":
            command += ["--device", options.device]
        command += {"cut": ["--resume"], "empty": ["--overwrite"]}.get(now, [])
        print(f"[{number}/{len(rows)}] {question} {name}: {'done' if now == 'done' else shlex.join(command)}", flush=True)
        if options.dry_run or now == "done":
            continue
        stopped = False
        process = subprocess.Popen([sys.executable, *command[1:]])
        while process.poll() is None:
            try:
                process.wait()
            except KeyboardInterrupt:  # the script has it too, saves and ends by itself
                stopped = True
        status = process.returncode
        if stopped or status == 130:
            print("Stopped. The same command goes on from here.", file=sys.stderr)
            return 130
        if status:
            failed.append(f"{question} {name} (exit status {status}, {folder / 'train.log'})")
    if options.dry_run:
        return 0
    page = report.main(report.Options(options.log_root, options.figure_root, runs=tuple(f"{row[0]}/{row[1]}" for row in rows)))
    print(f"{(time.perf_counter() - began) / 60:.1f} minutes. Figures: {options.figure_root}/<question>/<run>. Page: {page}")
    for line in failed:
        print(f"FAILED: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__, use_underscores=True, config=(tyro.conf.FlagCreatePairsOff,))))
