"""The precision of a run that is resumed with --precision auto."""

from common.device import SLOW_BF16, Runtime, computes_bf16, use_tf32
from common.run_folder import RunFolder


def keep_precision(run: RunFolder, runtime: Runtime) -> None:
    """Sets the precision to the one the run began with, where `auto` means another on this machine.

    A run keeps one precision over all its legs; the change is added to the warnings of `run`. Only TF32,
    which no CPU has, becomes fp32 there.
    """
    began_in = run.began_in if runtime.rank == 0 else ""
    for precision in ("fp32", "tf32", "bf16"):
        began = runtime.on_any_rank(began_in == precision)
        if not began or runtime.precision == precision:
            continue
        if precision == "tf32" and runtime.device.type != "cuda":
            run.warnings.append("the run began in tf32, which only a CUDA GPU has: it goes on in fp32")
            runtime.precision = "fp32"
            continue
        use_tf32(precision == "tf32")
        here = runtime.precision
        run.warnings.append(
            f"the run began in {precision} and goes on in it; --precision auto means {here} here"
        )
        if precision == "bf16" and not computes_bf16(runtime.device):
            run.warnings.append(SLOW_BF16)
        runtime.precision = precision
