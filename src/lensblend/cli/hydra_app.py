"""Run a verb under Hydra, and turn what goes wrong into one message and an exit code."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lensblend.cli.config import config_folder, register
from lensblend.errors import Interrupted, LensblendError
from lensblend.training.files import DISK_ERRORS, cannot_write

Task = Callable[[DictConfig], None]
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
    register()
    follow_launcher()
    full_errors = os.environ.get("HYDRA_FULL_ERROR") == "1"
    # Hydra would print errors itself and exit with 1; this makes it hand them over.
    _before["HYDRA_FULL_ERROR"] = os.environ.get("HYDRA_FULL_ERROR", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"

    @functools.wraps(task)
    def guarded(config: DictConfig) -> None:
        multirun = HydraConfig.get().mode == RunMode.MULTIRUN
        with _noted(config_name) if multirun else answered(config_name, full_errors), _environment_as_before():
            task(config)

    main = hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=config_name)(guarded)
    with answered(config_name, full_errors):
        main()


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


def follow_launcher() -> None:
    """Let a job of a sweep be told to save and stop when the process that started it dies, on Linux."""
    launcher = os.environ.pop("LENSBLEND_LAUNCHER", None)
    if launcher is not None and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SIGNAL_OF_A_DEAD_PARENT, signal.SIGTERM)
        if os.getppid() != int(launcher):
            sys.exit(Interrupted.exit_code)


@contextmanager
def answered(config_name: str, full_errors: bool = False) -> Iterator[None]:
    """Turn an error that a user can correct into its message and exit code, unless the whole traceback is wanted."""
    try:
        yield
    except (LensblendError, HydraException, OmegaConfBaseException) as error:
        if full_errors:
            raise
        sys.stderr.write(f"{explain(error, config_name)}\n")
        sys.exit(error.exit_code if isinstance(error, LensblendError) else 2)
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        sys.exit(Interrupted.exit_code)
    except OSError as error:
        # Hydra's own files in the run's folder.
        if full_errors or error.filename is None or error.errno not in DISK_ERRORS:
            raise
        sys.stderr.write(f"{cannot_write(Path(error.filename), error)}\n")
        sys.exit(1)


@contextmanager
def _noted(config_name: str) -> Iterator[None]:
    """Say at once why a job of a multirun failed; Hydra runs the others and raises the first error at the end."""
    try:
        yield
    except Exception as error:
        sys.stderr.write(f"Job {HydraConfig.get().job.num} failed: {explain(error, config_name)}\n")
        raise


def choices() -> dict[str, str]:
    """Return which option of each config group was chosen, e.g. ``{"kernels": "gaussian_75"}``."""
    chosen = HydraConfig.get().runtime.choices
    return {str(k): str(v) for k, v in chosen.items() if v is not None and not str(k).startswith("hydra/")}


def plain(config: DictConfig, leave_out: Sequence[str] = ()) -> dict[str, Any]:
    """Resolve a configuration to plain dicts, lists, numbers and strings, without the keys in ``leave_out``."""
    kept = OmegaConf.masked_copy(config, [str(key) for key in config if key not in leave_out])
    content = OmegaConf.to_container(kept, resolve=True, throw_on_missing=True)
    return {str(k): v for k, v in content.items()} if isinstance(content, dict) else {}


def explain(error: Exception, config_name: str) -> str:
    """Return one message for what a user can correct.

    Args:
        error: What was raised.
        config_name: The top-level file, whose keys are searched for the nearest to a misspelt one.
    """
    if isinstance(error, LensblendError):
        return str(error)
    lines = [line for line in _messages(error) if line]
    text = "\n".join(dict.fromkeys(lines))
    unknown = re.search(r"(?:Could not override '|Key ')([\w./@]+)'", text)
    if unknown and "not in" in text:
        key = unknown.group(1)
        close = get_close_matches(key, _known_keys(config_name), n=1, cutoff=0.65)
        guess = f"; did you mean `{close[0]}`?" if close else "; `--cfg job` prints the keys there are."
        return f"`{key}` is not a key of the configuration{guess}"
    missing = re.search(r"Missing mandatory value: [\s\S]*full_key: ([\w.]+)", text)
    if missing:
        key = missing.group(1)
        return f"`{key}` is not set; give it on the command line: {key}=VALUE."
    typed = re.search(r"(Value .* could not be converted to \w+)[\s\S]*full_key: (\S+)", text)
    if typed:
        return f"`{typed.group(2)}` has the wrong type: {typed.group(1)[0].lower()}{typed.group(1)[1:]}."
    option = re.search(r"Could not find '([\w/]+)/(\w+)'[\s\S]*Available options in '[\w/]+':([\s\S]*)", text)
    if option:
        group, value, listed = option.groups()
        names = re.findall(r"^\s+(\w+)$", listed, flags=re.MULTILINE)
        close = get_close_matches(value, names, n=1)
        guess = f"; did you mean `{group}={close[0]}`?" if close else "."
        return f"`{group}={value}` is not an option{guess} There are: {', '.join(names)}."
    return text


def _messages(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield str(error).strip()
        error = error.__cause__


def _known_keys(config_name: str) -> list[str]:
    """Return every key of the default configuration, dotted."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = hydra.compose(config_name)
    return list(_dotted(config, ""))


def _dotted(node: Any, prefix: str) -> Iterator[str]:
    if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
        for key in node:
            path = f"{prefix}.{key!s}" if prefix else str(key)
            yield path
            if not OmegaConf.is_missing(node, key):
                yield from _dotted(node._get_node(key), path)
