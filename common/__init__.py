"""Plumbing that all four questions share.

Every script imports this package first, so that the two things below come before anything heavy. They are for
scripts alone: a notebook that imports the library keeps its backend, and needs only what it uses.
"""

import importlib.util
import os
import sys
from pathlib import Path

REQUIRED = "torch torchvision numpy matplotlib tqdm PIL tyro torchmetrics tensorboard filelock jinja2".split()

script = getattr(sys.modules["__main__"], "__file__", None)
if script and Path(__file__).resolve().parents[1] in Path(script).resolve().parents[:2]:
    if missing := [name for name in REQUIRED if importlib.util.find_spec(name) is None]:
        wanted = "run `make setup`, then start scripts with .venv/bin/python"
        sys.exit(f"error: {sys.executable} has no {', '.join(missing)}: {wanted}")
    os.environ["MPLBACKEND"] = "agg"  # figures go to files; a notebook's backend is inherited otherwise
