"""Real trainings in child processes, started in a moment: a parent that has imported everything forks them."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

# One thread a process: the networks here are small, several trainings run at once, and the parent must have started
# no threads when it forks.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("WANDB_MODE", "offline")

import torch
from pytorch_lightning.utilities import rank_zero_only
from wandb.sdk.data_types._private import MEDIA_TMP

# What every training imports, before it is forked.
import lensblend.cli.train
import lensblend.training.runner  # noqa: F401

torch.set_num_threads(1)
SMALL = (
    "experiment=demo",
    "debug=smoke",
    "+backbone.width_divisor=16",
    "metrics.lpips=null",
    "schedule.every_phase.max_epochs=3",
    "loader.limit_train=20",
    "loader.limit_val=6",
    "callbacks.panels=null",
    "checkpoint.every_steps=4",
)


@dataclass
class Child:
    """One process, or several that train together."""

    pids: list[int]
    log: Path
    codes: dict[int, int]

    def poll(self) -> int | None:
        """Return the exit code of the first process once all have ended (negative: the signal that ended it)."""
        for pid in self.pids:
            if pid not in self.codes:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    self.codes[pid] = os.waitstatus_to_exitcode(status)
        return self.codes[self.pids[0]] if len(self.codes) == len(self.pids) else None

    def wait(self, seconds: float = 300.0) -> int:
        """Wait for the end; a child that does not come to one is killed and reported."""
        end = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > end:
                self.kill()
                raise TimeoutError(f"a child ran longer than {seconds:.0f} s; its output is in {self.log}")
            time.sleep(0.01)
        return self.codes[self.pids[0]]

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to every process, and to none of their children."""
        for pid in self.pids:
            if pid not in self.codes:
                os.kill(pid, number)

    @property
    def output(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace")


def train(
    run_dir: Path,
    *overrides: str,
    world: int = 1,
    env: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
    small: Sequence[str] = SMALL,
) -> Child:
    """Start ``lensblend train`` in a folder.

    Args:
        run_dir: The run's folder.
        overrides: Of the command.
        world: Number of processes that train together over gloo.
        env: Environment variables of the child.
        before: Called in the child before the command.
        small: The overrides that come first.
    """
    arguments = [*small, *overrides, f"run_dir={run_dir}"]
    return start(arguments, run_dir.with_name(f"{run_dir.name}.log"), world, env, before)


def start(
    arguments: Sequence[str],
    log: Path,
    world: int = 1,
    env: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
) -> Child:
    """Start ``lensblend train`` with any arguments; see `train`."""
    variables = [dict(env or {})]
    arguments = list(arguments)
    if world > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world), "NODE_RANK": "0"}
        variables = [{**variables[0], **shared, "LOCAL_RANK": str(rank)} for rank in range(world)]
        arguments += ["trainer=ddp_cpu", f"trainer.devices={world}", "trainer.log_every_n_steps=1"]
    log.parent.mkdir(parents=True, exist_ok=True)
    return Child([_fork("train", arguments, log, values, before) for values in variables], log, {})


def call(
    verb: str,
    arguments: Sequence[str],
    log: Path,
    env: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
) -> Child:
    """Start any verb with its arguments; see `train`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    return Child([_fork(verb, arguments, log, env or {}, before)], log, {})


def _fork(
    verb: str, arguments: Sequence[str], log: Path, env: Mapping[str, str], before: Callable[[], None] | None
) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code: object = 1
    try:
        # PyTorch rebuilds its thread pool at the first use after a fork, without a lock: done here, where there is
        # one thread, or autograd's threads do it at once and one of them finds no pool ("Invalid thread pool!").
        torch.set_num_threads(1)
        # A temporary folder of its own for W&B: the parent's would be removed at this process's end.
        MEDIA_TMP._finalizer.detach()
        MEDIA_TMP.name = tempfile.mkdtemp(suffix="wandb-media")
        atexit.register(MEDIA_TMP.cleanup)
        os.setsid()  # a group of its own, so that signals to a group reach this training only
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", buffering=1) for descriptor in (1, 2))
        os.environ.update(env)
        rank_zero_only.rank = int(env.get("LOCAL_RANK", 0))  # read from the environment when Lightning is imported
        sys.argv = [f"lensblend {verb}", *arguments]
        if before is not None:
            before()
        import_module(f"lensblend.cli.{verb}").main()
        code = 0
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)
