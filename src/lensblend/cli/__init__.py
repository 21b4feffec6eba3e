"""Entry points; the only place that knows Hydra's main and DictConfig."""

import os
import sys

# Threads that wait by spinning take the core that another thread's work needs: with one more busy process on two
# cores, a training step took 0.96 s instead of 0.48 s; alone, sleeping costs a fifth. Read when PyTorch loads OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _leave_out_current_folder(ours: str) -> None:
    """Let `python -m lensblend.cli.VERB` import nothing from the current folder, where anybody's `queue.py` may lie.

    Args:
        ours: The folder that holds this project; where that is the current one, it stays.
    """
    if sys.flags.safe_path or sys.argv[:1] != ["-m"] or not sys.path:
        return
    if os.path.realpath(sys.path[0] or os.curdir) != os.path.realpath(ours):
        del sys.path[0]


_leave_out_current_folder(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
