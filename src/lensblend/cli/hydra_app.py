"""Run a verb under Hydra, and turn what goes wrong into one message and an exit code."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lensblend.cli.arguments import as_meant
from lensblend.cli.config import config_folder, register
from lensblend.cli.explanations import answered, dotted, explain, unknown_key
from lensblend.cli.flags import shared
from lensblend.cli.surroundings import settle
from lensblend.errors import Interrupted, LensblendError, RequestError, StorageError, printable
from lensblend.runs.extensions import admit
from lensblend.storage import DISK_ERRORS, cannot_write

Task = Callable[[DictConfig], None]
# What OmegaConf says of a key below one that is null.
_BELOW_NULL = ("Unexpected type for root: NoneType", "'NoneType' object has no attribute")
_STANDARD = frozenset(sys.stdlib_module_names)
_before: dict[str, str] = {}
_SIGNAL_OF_A_DEAD_PARENT = 1  # PR_SET_PDEATHSIG of Linux's prctl


def run_verb(task: Task, config_name: str) -> None:
    """Compose the verb's configuration from the command line, run the task and exit.

    Exit codes: 0 done, 1 the work failed, 2 the request was wrong, 143 stopped by a signal. A request that Hydra or
    the schema refuses is answered with one message that names the value and the nearest valid one.

    Args:
        task: Takes the composed configuration.
        config_name: The top-level file in conf/.
    """
    settle()
    register()
    sys.argv[1:] = as_meant(sys.argv[1:])
    stop_with_launcher()
    full_errors = os.environ.get("HYDRA_FULL_ERROR") == "1"
    # Hydra would print errors itself and exit with 1; this makes it hand them over.
    _before["HYDRA_FULL_ERROR"] = os.environ.get("HYDRA_FULL_ERROR", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"

    @functools.wraps(task)
    def guarded(config: DictConfig) -> None:
        multirun = HydraConfig.get().mode == RunMode.MULTIRUN
        explained = _explained_at_once(config_name) if multirun else explained_errors(config_name, full_errors)
        with explained, _environment_as_before():
            check_keys(config)
            task(config)

    main = hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=config_name)(guarded)
    # Hydra knows its own flags only.
    known, sys.argv[1:] = shared().parse_known_args()
    with explained_errors(config_name, full_errors):
        admit(known.allow)
        try:
            main()
        except OSError as error:
            if error.filename is None or not _raised_by_hydra(error):
                raise
            raise StorageError(cannot_write(Path(error.filename), error)) from error
        except (ValueError, TypeError, AttributeError, AssertionError, LookupError) as error:
            if not _raised_by_hydra(error):
                raise
            raise RequestError(_refusal(error)) from error


def _raised_by_hydra(error: BaseException) -> bool:
    """Tell whether it is Hydra that stumbled over the command, and not what it has started."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = any(name.startswith("lensblend.") and name not in (__name__, "lensblend.cli.config") for name in frames[1:])
    last = next(name for name in reversed(frames) if name.partition(".")[0] not in _STANDARD)
    return not ours and last.partition(".")[0] in ("hydra", "omegaconf")


def _refusal(error: BaseException) -> str:
    if known := answered(str(error)):
        return known
    reason = " ".join(str(error).partition("reference_type=")[0].split())[:300]
    null = "; a key below one that is null is set after an option for the group, such as data=embedded"
    return f"Hydra refuses the command: {reason.rstrip('.')}{null if reason.startswith(_BELOW_NULL) else ''}."


def environment_before() -> dict[str, str]:
    """Return the variables that this process has changed for itself, as they were: for processes that it starts."""
    return dict(_before)


@contextmanager
def _environment_as_before() -> Iterator[None]:
    """Let what the task starts, such as the other processes of a training, find the variables as they were."""
    ours = {name: os.environ[name] for name in _before}
    os.environ.update(_before)
    try:
        yield
    finally:
        os.environ.update(ours)


def stop_with_launcher() -> None:
    """Let a job of a sweep be told to save and stop when the process that started it dies, on Linux."""
    launcher = os.environ.pop("LENSBLEND_LAUNCHER", None)
    if launcher is not None and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SIGNAL_OF_A_DEAD_PARENT, signal.SIGTERM)
        if os.getppid() != int(launcher):
            sys.exit(Interrupted.exit_code)


@contextmanager
def explained_errors(config_name: str, full_errors: bool = False) -> Iterator[None]:
    """Turn an error that a user can correct into its message and exit code, unless the whole traceback is wanted."""
    try:
        yield
    except (LensblendError, HydraException, OmegaConfBaseException) as error:
        if full_errors:
            raise
        sys.stderr.write(f"{printable(explain(error, config_name))}\n")
        sys.exit(error.exit_code if isinstance(error, LensblendError) else 2)
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        sys.exit(Interrupted.exit_code)
    except OSError as error:
        # Hydra's own files in the run's folder.
        if full_errors or error.filename is None or error.errno not in DISK_ERRORS:
            raise
        sys.stderr.write(f"{printable(cannot_write(Path(error.filename), error))}\n")
        sys.exit(1)


@contextmanager
def _explained_at_once(config_name: str) -> Iterator[None]:
    """Say at once why a job of a multirun failed; Hydra runs the others and raises the first error at the end."""
    try:
        yield
    except Exception as error:
        sys.stderr.write(f"Job {HydraConfig.get().job.num} failed: {printable(explain(error, config_name))}\n")
        raise


def check_keys(config: DictConfig) -> None:
    """Refuse what ``+key=value`` added where a dataclass says which keys there are: nothing would ever read it."""
    groups = [folder.name for folder in config_folder().iterdir() if folder.is_dir()]
    for place, node in [("", config), *dotted(config)]:
        schema = OmegaConf.get_type(node) if isinstance(node, DictConfig) else None
        if not is_dataclass(schema) or node._is_none() or node._is_missing():
            continue
        known = [field.name for field in fields(schema)]
        unknown = [str(key) for key in node if key not in known]
        if unknown and not place:
            raise RequestError(unknown_key(unknown[0], [*known, *groups, "+sweep"]))
        if unknown:
            raise RequestError(unknown_key(f"{place}.{unknown[0]}", [place, *(f"{place}.{name}" for name in known)]))


def choices() -> dict[str, str]:
    """Return which option of each config group was chosen, e.g. ``{"kernels": "gaussian_75"}``."""
    chosen = HydraConfig.get().runtime.choices
    return {str(k): str(v) for k, v in chosen.items() if v is not None and not str(k).startswith("hydra/")}


def plain(config: DictConfig, leave_out: Sequence[str] = ()) -> dict[str, Any]:
    """Resolve a configuration to plain dicts, lists, numbers and strings, without the keys in ``leave_out``."""
    kept = OmegaConf.masked_copy(config, [str(key) for key in config if key not in leave_out])
    content = OmegaConf.to_container(kept, resolve=True, throw_on_missing=True)
    return {str(k): v for k, v in content.items()} if isinstance(content, dict) else {}
