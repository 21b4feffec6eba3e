"""At which commit a checkout stands and in what its files differ: asked of git, in bounded time."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import lensblend

SECONDS = 2.0  # for all questions together; on a local disk each takes some milliseconds
DIFF_LIMIT = 1 << 20  # bytes
MOST_UNTRACKED = 100
_LISTED = 1 << 18  # bytes of names
# By which a caller, such as a hook, points git at another repository.
_POINTING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_EXTERNAL_DIFF", "GIT_NAMESPACE", "GIT_OBJECT_DIRECTORY")


@dataclass(frozen=True)
class Repository:
    """What git says of a checkout.

    Attributes:
        folder: Its top.
        commit: The hash of its commit; empty before the first one.
        is_dirty: Whether tracked files differ from it; None where git did not say so in time.
        diff: In what they differ.
        is_cut: Whether the diff is longer.
        untracked: Files and folders that git does not know, the first ones.
    """

    folder: Path
    commit: str
    is_dirty: bool | None = None
    diff: str = ""
    is_cut: bool = False
    untracked: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The commit, marked where files differ; empty before the first one."""
        return f"{self.commit}-dirty" if self.commit and self.is_dirty else self.commit


def package_folder() -> Path | None:
    """Return the checkout that this package runs from; None where it is installed."""
    folder = Path(lensblend.__file__).resolve().parents[2]
    return folder if (folder / ".git").exists() else None


def repository(folder: Path, seconds: float = SECONDS) -> Repository | None:
    """Ask git about the checkout that a folder lies in; nothing that the checkout itself configures is run.

    Args:
        folder: At its top, or below.
        seconds: After which no answer is waited for.

    Returns:
        What was learned in time; None where there is no checkout, no git, or no answer at all.
    """
    git = _Git(time.monotonic() + seconds)
    top = git.ask(folder, "rev-parse", "--show-toplevel")
    if not top:
        return None
    place = Path(os.fsdecode(top.rstrip(b"\n")))
    commit = git.ask(place, "rev-parse", "-q", "--verify", "HEAD")
    found = Repository(place, (commit or b"").decode("ascii", "replace").strip())
    settings = _without_filters(git, place)
    if settings is None:
        return found
    git.settings = settings
    listed = git.ask(
        place, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=normal", "--ignore-submodules=dirty"
    )
    if listed is None:
        return found
    entries = [os.fsdecode(entry) for entry in listed.split(b"\0") if entry]
    untracked = tuple(entry[3:] for entry in entries if entry.startswith("?? "))[:MOST_UNTRACKED]
    is_dirty = any(not entry.startswith("?? ") for entry in entries)
    shown = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--no-relative")
    diff = (
        git.ask(place, *shown, "--ignore-submodules=dirty", "HEAD", limit=DIFF_LIMIT + 1)
        if is_dirty and found.commit
        else b""
    )
    is_cut = diff is None or len(diff) > DIFF_LIMIT
    kept = (diff or b"")[:DIFF_LIMIT]
    kept = kept[: kept.rfind(b"\n") + 1]  # no half of a line, which may be half of a secret
    return Repository(place, found.commit, is_dirty, kept.decode("utf-8", "backslashreplace"), is_cut, untracked)


def _without_filters(git: _Git, folder: Path) -> Mapping[str, str] | None:
    """Return settings under which git starts no program that the checkout names; None where it does not say which."""
    names = git.ask(folder, "config", "--show-scope", "--name-only", "-z", "--get-regexp", r"^filter\.", fine=(0, 1))
    if names is None:
        return None
    parts = names.decode("utf-8", "surrogateescape").split("\0")
    own = {name for scope, name in zip(parts[::2], parts[1::2], strict=False) if scope in ("local", "worktree")}
    filters = {name.rpartition(".")[0] for name in own}
    nothing = {f"{name}.{key}": "" for name in filters for key in ("clean", "smudge", "process")}
    return {**nothing, **{f"{name}.required": "false" for name in filters}}


class _Git:
    """Ask git, until a moment after which it is not waited for."""

    def __init__(self, end: float) -> None:
        self._end = end
        self.settings: Mapping[str, str] = {}

    def ask(self, folder: Path, *arguments: str, limit: int = _LISTED, fine: tuple[int, ...] = (0,)) -> bytes | None:
        """Return what git prints, at most ``limit`` bytes of it; None where it fails or takes too long."""
        settings = {"core.fsmonitor": "false", **self.settings}
        begun = int(os.environ.get("GIT_CONFIG_COUNT") or 0) if "GIT_CONFIG_COUNT" in os.environ else 0
        variables = {
            **{name: value for name, value in os.environ.items() if name not in _POINTING},
            **{"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"},
            **{f"GIT_CONFIG_KEY_{begun + number}": key for number, key in enumerate(settings)},
            **{f"GIT_CONFIG_VALUE_{begun + number}": value for number, value in enumerate(settings.values())},
            "GIT_CONFIG_COUNT": str(begun + len(settings)),
        }
        if time.monotonic() >= self._end:
            return None
        try:
            process = subprocess.Popen(
                ["git", "-C", str(folder), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=variables,
                start_new_session=True,  # so that Ctrl-C is this process's alone, and helpers end with git
            )
        except (OSError, ValueError):
            return None
        return self._answer(process, limit, fine)

    def _answer(self, process: subprocess.Popen[bytes], limit: int, fine: tuple[int, ...]) -> bytes | None:
        said, is_over = b"", False
        pipe = process.stdout
        if pipe is None:
            raise AssertionError
        with pipe:
            while len(said) < limit and select.select([pipe], [], [], max(self._end - time.monotonic(), 0))[0]:
                part = os.read(pipe.fileno(), limit - len(said))
                if not part:
                    is_over = True
                    break
                said += part
        try:
            if not is_over:
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait(max(self._end - time.monotonic(), 0.1))
        except (subprocess.TimeoutExpired, ProcessLookupError):
            return None  # in the hands of a file system that does not answer
        return said if (is_over and code in fine) or len(said) >= limit else None
