"""The look of every figure, whatever a user's matplotlibrc or notebook sets; theirs is back afterwards."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import matplotlib
import matplotlib.style

Given = ParamSpec("Given")
Drawn = TypeVar("Drawn")

# Laid over matplotlib's defaults: a user's matplotlibrc may turn images over, or set text in LaTeX.
STYLE = {"font.size": 11, "axes.titlesize": 12, "lines.linewidth": 1.6, "savefig.dpi": 130}
STYLE |= {"axes.grid": True, "axes.axisbelow": True, "grid.alpha": 0.3, "legend.frameon": False}
STYLE |= {"axes.spines.top": False, "axes.spines.right": False}
STYLE |= {"text.parse_math": False}  # a $ in a class or file name is a dollar


def in_our_style(draw: Callable[Given, Drawn]) -> Callable[Given, Drawn]:
    """Decorates a function that draws or writes a figure: matplotlib has our settings within it alone."""

    @functools.wraps(draw)
    def draw_in_our_style(*arguments: Given.args, **keywords: Given.kwargs) -> Drawn:
        with matplotlib.rc_context():
            matplotlib.style.use(["default", STYLE])
            return draw(*arguments, **keywords)

    return draw_in_our_style
