"""The precision of a run that is resumed with --precision auto."""

from common.device import SLOW_BF16, Runtime, computes_bf16
from common.run_folder import RunFolder


def keep_precision(run: RunFolder, runtime: Runtime) -> None:
    """Sets the precision to the one the run began with, where `auto` means another on this machine.

    A run keeps one precision over all its legs; the change is added to the warnings of `run`.
    """
    began_in = run.began_in if runtime.rank == 0 else ""
    for precision in ("fp32", "bf16"):  # what `auto` can mean
        began = runtime.on_any_rank(began_in == precision)
        if not began or runtime.precision == precision:
            continue
        here = runtime.precision
        run.warnings.append(
            f"the run began in {precision} and goes on in it; --precision auto means {here} here"
        )
        if precision == "bf16" and not computes_bf16(runtime.device):
            run.warnings.append(SLOW_BF16)
        runtime.precision = precision
