"""A process that waits for the next job of a sweep, with all that a training imports already in its memory.

``python -m lensblend.cli.standby`` reads one line from standard input, JSON with ``module``, ``arguments``,
``environment`` and ``log``, and becomes that process: fresh but for its imports. Nothing is computed before, no file is
written and no GPU is looked at. When the other end is closed, it ends.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from importlib import import_module

# All that lensblend.cli.train imports, early or late; it is to be imported as the job's main module itself.
WARM = (
    *("lensblend.training.runner", "lensblend.training.request", "lensblend.cli.hydra_app"),
    *("lensblend.cli.identity", "lensblend.cli.idle", "lensblend.cli.restored"),
)


def main() -> None:
    """Import, wait, and run what is asked for."""
    for name in WARM:
        import_module(name)
    line = sys.stdin.readline()
    if not line:
        return
    asked = json.loads(line)
    os.environ.clear()
    os.environ.update(asked["environment"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if asked["log"] is not None:
        log = os.open(asked["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
    sys.argv = [asked["module"], *asked["arguments"]]
    runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
