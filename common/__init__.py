"""Plumbing that all four questions share.

Every script imports this package first, before anything heavy, so that the two things below come in time.
"""

import importlib.util
import os
import sys

REQUIRED = "torch torchvision numpy matplotlib tqdm PIL tyro torchmetrics tensorboard filelock jinja2".split()

if missing := [name for name in REQUIRED if importlib.util.find_spec(name) is None]:
    sys.exit(
        f"error: {sys.executable} has no {', '.join(missing)}: run `make setup`, then use .venv/bin/python"
    )
if (
    "IPython" not in sys.modules
):  # figures are drawn to files; a notebook's backend does not exist in its subprocesses
    os.environ["MPLBACKEND"] = "agg"
