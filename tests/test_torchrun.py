"""Two real processes over gloo: the five training scripts, their gradients, workers stopped or killed."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from common.device import Runtime, start
from common.options import TrainingOptions
from common.rows import read_table
from common.training import Training
from q1_dcgan import classifier, dcgan
from q1_dcgan import train as q1_train
from q2_protonet import train as q2_train
from q3_pix2pix import train as q3_train
from q4_darts import train as q4_train
from q4_darts import train_search as q4_search
from q4_darts.architect import first_order, second_order
from q4_darts.model_search import Supernet
from tests.conftest import ENVIRONMENT, ROOT

pytestmark = pytest.mark.slow
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
DCGAN = {"synthetic_pictures": 1024, "batch_size": 128, "latent_size": 8, "base_channels": 4, "log_every": 1}
DCGAN |= {"conditional": True, "average_weights": 0.9, "quality_samples": 0, "test_samples": 200}
DARTS = {"train_pictures": 96, "init_channels": 4, "layers": 3, "batch_size": 8, "log_every": 1}
PROTONET = {"iterations": 3, "classes_per_it_tr": 5, "validation_episodes": 2, "test_episodes": 2}
PROTONET |= {"hidden_channels": 8, "log_every": 1}
SCRIPTS = {  # folder of the run -> script, options, and steps of an epoch on two processes
    "q1_dcgan/a": (q1_train, DCGAN, 4),
    "q2_protonet/a": (q2_train, PROTONET, 3),
    "q3_pix2pix/a": (q3_train, {"image_size": 32, "base_channels": 4, "batch_size": 8, "log_every": 1}, 4),
    "q4_darts/search": (q4_search, DARTS | {"order": "second"}, 3),
    "q4_darts/a": (q4_train, DARTS | {"genotype": "random:0"}, 6),
}


def train(run: str, folder: Path, **more: object) -> None:
    """Trains for one epoch by the script of `run`."""
    script, options, _ = SCRIPTS[run]
    roots = {"log_root": folder / "logs", "figure_root": folder / "figures", "data_root": folder / "data"}
    named = {"run_name": run.split("/")[1], "dataset": "synthetic", "device": "cpu", "epochs": 1}
    named["precision"] = "fp32"  # the same on every CPU
    script.main(script.Options(**(options | named | roots | more)))


def normalise_each_picture(x, mean, var, weight=None, bias=None, *_):
    """In place of BatchNorm, whose batch is one process's: the division of the pictures no longer matters."""
    return F.group_norm(x, 1, weight, bias)


def patch(setattr=setattr) -> None:
    """No BatchNorm, and a judge that is trained in a second."""
    setattr(F, "batch_norm", normalise_each_picture)
    setattr(classifier, "EPOCHS", 1)


# Run by torchrun --------------------------------------------------------------------------------------------


def all_scripts(folder: str) -> None:
    """Trains by each script; at every checkpoint all parameters and optimisers are those of rank 0."""
    compared = []

    def tensors_of(part):
        if isinstance(part, torch.Generator):
            return [part.get_state()]
        if isinstance(part, torch.nn.Module):
            return list(part.parameters())
        if not isinstance(part, torch.optim.Optimizer):
            return []
        kept = [value for state in part.state.values() for value in state.values()]
        return [value for value in kept if isinstance(value, torch.Tensor)]

    class Comparing(Training):
        def _save_last(self, stopping):
            for name, part in self.checkpoints.parts.items():
                for tensor in tensors_of(part):
                    of_first = tensor.detach().clone()
                    torch.distributed.broadcast(of_first, 0)
                    assert torch.equal(of_first, tensor), name
                    compared.append(name)
            super()._save_last(stopping)

    patch()
    for run, (script, _, _) in SCRIPTS.items():
        script.Training = Comparing
        train(run, Path(folder))
        assert compared, run
        compared.clear()


def gradients() -> None:
    """The mean of the processes' gradients is the gradient on the union of their batches."""
    patch()
    one = Runtime(torch.device("cpu"))
    runtime = start(TrainingOptions(device="cpu", precision="fp32"))
    # The union, and this process's half.
    parts = [(one, slice(None)), (runtime, slice(3 * runtime.rank, 3 * runtime.rank + 3))]

    networks = dcgan.Generator(8, 10, base_channels=4), dcgan.Discriminator(10, base_channels=4)
    optimizers = [torch.optim.SGD(network.parameters(), 0) for network in networks]  # weights stay
    real, noise, labels = torch.rand(6, 1, 28, 28), torch.randn(6, 8), torch.randint(0, 10, (6,))
    found = []
    for where, mine in parts:
        batch = (real[mine], noise[mine], labels[mine], labels[mine])
        q1_train.train_step(networks, optimizers, *batch, penalty=0.0, runtime=where)
        found.append([p.grad for network in networks for p in network.parameters()])
    torch.testing.assert_close(found[1], found[0])

    model = Supernet(4, 3, partial=2).double()
    optimizer = torch.optim.SGD(model.weights(), 0.05, 0.9, weight_decay=3e-4)
    batches = [(torch.randn(6, 3, 8, 8).double(), torch.randint(0, 10, (6,))) for _ in range(2)]
    found = []
    for where, mine in parts:
        losses = [lambda x=x[mine], y=y[mine]: F.cross_entropy(model(x), y) for x, y in batches]
        first_order(model, losses[1], mean=where.means)
        found.append([alphas.grad for alphas in model.architecture()])
        second_order(model, optimizer, *losses, mean=where.means)
        found[-1] += [alphas.grad for alphas in model.architecture()]
    torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=1e-9)


# Tests ------------------------------------------------------------------------------------------------------


def test_every_script_on_two_processes_and_the_same_steps_on_one(tmp_path, monkeypatch):
    subprocess.run([*TORCHRUN, __file__, tmp_path], cwd=ROOT, env=ENVIRONMENT, check=True)
    patch(monkeypatch.setattr)
    for run, (_, options, steps) in SCRIPTS.items():
        folder = tmp_path / "logs" / run
        assert read_table(folder / "metrics.csv")["epoch"] == [1] and (folder / "results.json").exists()
        assert json.loads((folder / "config.json").read_text())["legs"][0]["processes"] == 2
        two = read_table(folder / "steps.csv")
        assert two["step"] == list(range(1, steps + 1))  # one writer
        if "batch_size" in options and run != "q3_pix2pix/a":  # whose dropout differs on every process
            train(run, tmp_path, run_name="one", batch_size=2 * options["batch_size"], overwrite=True)
            one = read_table(folder.parent / "one" / "steps.csv")  # a batch is the union of two
            assert list(one) == list(two)
            for column in one:
                assert two[column] == pytest.approx(one[column], rel=1e-3), (run, column)


SEARCH = "q4_darts/train_search.py --train_pictures 320 --init_channels 4 --layers 3 --batch_size 16 "
SEARCH += "--log_every 2"
EPISODES = "q2_protonet/train.py --iterations 30 --classes_per_it_tr 5 --validation_episodes 2 "
EPISODES += "--test_episodes 2 --hidden_channels 8"


ENDS = {"killed and restarted": (EPISODES, signal.SIGKILL, 1, 0), "killed": (EPISODES, signal.SIGKILL, 0, 1)}
ENDS |= {"stopped": (SEARCH, signal.SIGTERM, 0, 1)}


@pytest.mark.parametrize("command, number, restarts, status", ENDS.values(), ids=ENDS)
def test_a_worker_ends(roots, tmp_path, command, number, restarts, status):
    folder = tmp_path / "logs" / command.partition("/")[0] / "a"
    command = [
        *command.split(),
        *"--dataset synthetic --device cpu --precision fp32 --epochs 3 --run_name a".split(),
        *roots,
    ]
    command = [*TORCHRUN, "--max_restarts", str(restarts), *command]
    torchrun = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    while not (folder / "checkpoints/last.pt").exists():
        assert torchrun.poll() is None, torchrun.stderr.read()
        time.sleep(0.01)
    workers = subprocess.check_output(["pgrep", "-P", str(torchrun.pid)], text=True).split()
    subprocess.run(["kill", f"-{number.value}", workers[-1]], check=True)
    errors = torchrun.communicate(timeout=300)[1]
    assert torchrun.returncode == status, errors
    config = json.loads((folder / "config.json").read_text())
    assert len(config["legs"]) == 1 + restarts and config["options"]["resume"] is False
    assert (folder / "results.json").exists() == bool(restarts)
    if restarts:
        assert read_table(folder / "metrics.csv")["epoch"] == [1, 2, 3]
        log = (folder / "train.log").read_text()
        assert log.count("from epoch") == 2 and log.count("from epoch 1, step 0") == 1
    if number == signal.SIGTERM:
        assert errors.count("Stopped and saved at epoch") == 2  # both, and the one that was not asked


def test_processes_agree_on_the_best_epoch(roots, tmp_path):
    """Each has BatchNorm statistics of its own, and with them another validation accuracy."""
    command = [*TORCHRUN, *EPISODES.split(), *"--dataset synthetic --device cpu --precision fp32".split()]
    command += [*"--epochs 8 --run_name a".split(), *roots]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "logs/q2_protonet/a"
    results = json.loads((folder / "results.json").read_text())
    validated = read_table(folder / "metrics.csv")["validation_accuracy"]
    assert results["best_validation_accuracy"] == pytest.approx(max(validated), abs=1e-5)
    assert results["best_epoch"] == 1 + validated.index(max(validated))


REFUSALS = {  # what is refused -> the status, and what is said
    "no such run": (["--dataset", "synthetic", "--resume"], 2, "--resume: there is no run"),
    "no data": (["--dataset", "folder", "--folder", "{0}"], 1, "no images in"),
    "a changed table": (["--dataset", "synthetic", "--resume"], 1, "metrics.csv was changed"),
}


@pytest.mark.parametrize("words, status, said", REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_ends_all_processes_with_one_status_and_one_line(roots, tmp_path, words, status, said):
    if said.startswith("metrics"):
        train("q2_protonet/a", tmp_path)
        config = tmp_path / "logs/q2_protonet/a/config.json"
        config.write_text(config.read_text().replace('"processes": 1', '"processes": 2'))
        (config.parent / "metrics.csv").write_text("")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"--{name}={value}" for name, value in PROTONET.items()]
    options += [f"--data_root={tmp_path}/data", "--epochs=1", "--run_name=a", "--device=cpu"]
    options += [*roots, *(word.format(tmp_path) for word in words)]
    ranks = []
    for rank in ("0", "1"):
        where = {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, "q2_protonet/train.py", *options]
        pipe = {"stderr": subprocess.PIPE, "text": True}
        ranks.append(subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT | where, **pipe))
    errors = [process.communicate(timeout=300)[1] for process in ranks]
    assert [process.returncode for process in ranks] == [status, status], errors
    assert said in errors[0]
    assert len(errors[0].splitlines()) == 1
    assert errors[1] in ("", errors[0])  # what rank 0 alone notices it alone says


if __name__ == "__main__":
    gradients()
    all_scripts(sys.argv[1])
