"""What S1 and S2 share: a box in which a file or folder from somebody else meets the verbs, and what may come of it.

Every verb is a real process in a box of its own: a home, a temporary folder, a cache, an empty working folder, somebody
else's folder with things that matter to him, and what is hostile. Afterwards the box is compared with what it was.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

# Verbs import these when they need them; here they are there before a verb is forked, and their time does not count.
from reliability.children import SMALL, call, train
from reliability.resumes import signal_in_step, tidy
from reliability.rows import Bench, Case, expect, side_by_side

SECONDS = 10.0
SLACK = 1.5  # two verbs run at once, and perhaps other things
MEMORY, LARGEST_FILE = 12 << 30, 1 << 30
LINES, LETTERS = 6, 2000
REFUSED = (1, 2)
# A value that only the environment and a file of the victim's hold.
SECRET = "not-for-anybody-else"
TWO = "schedule.run=[phase1,phase2]"
PLACES = {"HOME": "home", "TMPDIR": "tmp", "LENSBLEND_CACHE": "cache"}
TINY = (
    *SMALL,
    "data.train=4",
    "data.val=2",
    "schedule.every_phase.max_epochs=2",
    "loader.limit_train=4",
    "loader.limit_val=2",
    "loader.num_workers=0",
    "checkpoint.every_steps=1",
)
GUIDED = (*(value for value in TINY if "backbone" not in value), "model=saliency_blend", "kernels=gaussian_75")
# A source of maps whose network is quickly built; with a checkpoint as weights, that one's network takes its place.
PRIOR = {
    "_target_": "lensblend.inference.prior_maps.NetworkMap",
    "network": {
        "_target_": "lensblend.priors.depth_network.DepthNetwork",
        "backbone": {"_target_": "lensblend.backbones.hourglass.Hourglass", "width_divisor": 16},
    },
    "weights": None,
    "published_size": [64, 64],
}


@dataclass(frozen=True)
class Box:
    """The folder in which a verb meets what is hostile.

    Attributes:
        folder: Holds all that the verb may see.
        given: The hostile file or folder, in ``given/``.
        base: What `genuine` has made.
    """

    folder: Path
    given: Path
    base: Path

    def fill(self, node: Any) -> Any:
        """Put paths in place of ``@given``, ``@base``, ``@box``, and ``@canary`` and others, which are in the box."""
        if isinstance(node, dict):
            return {self.fill(key): self.fill(value) for key, value in node.items()}
        if type(node) in (list, tuple):
            return type(node)(self.fill(value) for value in node)
        if isinstance(node, str) and "@" in node:
            paths = {"given": self.given, "base": self.base, "box": self.folder}
            paths |= {name: self.folder / name for name in ("canary", "fifo", "out", "victim")}
            for name, path in paths.items():
                node = node.replace(f"@{name}", str(path))
        return node


@dataclass(frozen=True)
class Verb:
    """A verb that takes what is hostile.

    Attributes:
        name: Of the verb.
        arguments: With words as `Box.fill` knows them.
        of: The genuine file or folder of which it is given a damaged copy.
        writes: Where it may write, in the same words.
    """

    name: str
    arguments: tuple[str, ...]
    of: str
    writes: tuple[str, ...] = ("@out",)


@dataclass(frozen=True)
class Hostile:
    """One hostile file or folder.

    Attributes:
        name: What is wrong with it.
        damage: Makes it so, from a copy of what is genuine.
        verbs: Those that are given it; the others have nothing to do with what is damaged.
        passes: Those of them that may do their work: they need not look at it, or there is another one to fall back to.
        notes: What they say in that case, one of these; anything if there are none.
        says: A refusal has one of these words, if it does not name the file or folder.
        codes: How those end that may not do their work.
        of: The genuine file or folder, if another than the verb's.
    """

    name: str
    damage: Callable[[Path, Box], object]
    verbs: tuple[str, ...]
    passes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    codes: tuple[int, ...] = REFUSED
    of: str = ""


def genuine(bench: Bench) -> Path:
    """Make, once, what is damaged afterwards: a finished run, one that was stopped, one of a network with guidance."""
    base = bench.folder / "hostile"
    if (base / "complete").exists():
        return base
    shutil.rmtree(base, ignore_errors=True)
    (base / "cache").mkdir(parents=True)
    env = {"LENSBLEND_CACHE": str(base / "cache")}
    pixels = np.random.default_rng(bench.seed).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(base / "photo.png")
    stop = partial(signal_in_step, "phase2", 2, signal.SIGTERM)
    compared = (str(base / "done"), "--output", str(base / "out"), "--gallery-limit", "1", "--limit", "1")
    made = {
        "done": train(base / "done", env=env, small=TINY).wait(),
        "stopped": train(base / "stopped", TWO, env=env, small=TINY, before=stop).wait() - 143,
        "guided": train(base / "guided", "saliency=truth", "schedule.run=[phase1]", env=env, small=GUIDED).wait(),
        "compared": call("compare", compared, base / "compared.log", env).wait(),
    }
    if any(made.values()):
        raise RuntimeError(f"what is genuine could not be made ({made}); see the logs in {base}")
    shutil.copyfile(base / "done" / "phase3" / "best.ckpt", base / "network.ckpt")
    content = torch.load(base / "guided" / "phase1" / "best.ckpt", weights_only=True)
    config = yaml.safe_load(content["lensblend"]["config"])
    content["lensblend"]["config"] = yaml.safe_dump({**config, "saliency": PRIOR})
    torch.save(content, base / "guided.ckpt")
    (base / "complete").touch()
    return base


def cases(
    bench: Bench, row: str, name: str, verbs: Mapping[str, Verb], kinds: Mapping[str, Sequence[Hostile]]
) -> Iterator[Case]:
    """Try all cases of a row; the quick form tries the first of each kind, with two verbs at most.

    Args:
        bench: Where, and how many.
        row: The row's name.
        name: Of the hostile file or folder.
        verbs: How each is called.
        kinds: The cases, by what is damaged.
    """
    base = genuine(bench)
    jobs = []
    for kind, members in kinds.items():
        for number, hostile in enumerate(members if bench.full else members[:1]):
            place = bench.fresh(f"{row}-{''.join(filter(str.isalnum, kind))}-{number}")
            calls = {key: verbs[key] for key in (hostile.verbs if bench.full else hostile.verbs[:2])}
            jobs.append(partial(_attempt, Case(f"{kind}: {hostile.name}"), hostile, place, base, name, calls))
    yield from side_by_side(jobs)


def _attempt(case: Case, hostile: Hostile, place: Path, base: Path, name: str, verbs: Mapping[str, Verb]) -> Case:
    """Give one hostile file or folder to verbs, to each in a box of its own."""
    for key, verb in verbs.items():
        box = _box(place / key / "box", base, name)
        source = base / (hostile.of or verb.of)
        if source.is_dir():
            shutil.copytree(source, box.given)
        else:
            shutil.copyfile(source, box.given)
        try:
            hostile.damage(box.given, box)
            case.failures += [f"{key}: {what}" for what in _call(hostile, key, verb, box, place / key)]
        except Exception as error:
            case.failures.append(f"{key}: could not be tried: {type(error).__name__}: {error}")
    return tidy(place, case)


def _box(folder: Path, base: Path, name: str) -> Box:
    box = Box(folder, folder / "given" / name, base)
    for place in (*PLACES.values(), "work", "given", "victim"):
        (folder / place).mkdir(parents=True)
    shutil.copytree(base / "cache", folder / "cache", copy_function=os.link, dirs_exist_ok=True)
    (folder / "home" / ".profile").write_text("precious\n")
    (folder / "victim" / "precious.txt").write_text("precious\n")
    (folder / "victim" / "secret.yaml").write_text(f"secret: {SECRET}\n")
    shutil.copyfile(base / "photo.png", folder / "victim" / "photo.png")
    shutil.copyfile(base / "network.ckpt", folder / "victim" / "best.ckpt")
    for script in ("evil.py", "hubconf.py"):
        (folder / "given" / script).write_text(box.fill("open('@canary', 'w').close()\n"))
    (folder / "given" / "evil.pkl").write_bytes(box.fill("cos\nsystem\n(Vtouch @canary\ntR.").encode())
    os.mkfifo(folder / "fifo")
    return box


def _call(hostile: Hostile, key: str, verb: Verb, box: Box, place: Path) -> list[str]:
    """Run a verb, and say in what it did not do as it must."""
    log, errors = place / "out.log", place / "err.log"
    free = [os.path.relpath(box.fill(path), box.folder) for path in verb.writes]
    before = _look(box.folder, free)
    env = {name: str(box.folder / part) for name, part in PLACES.items()} | {"LENSBLEND_SECRET": SECRET}
    child = call(verb.name, box.fill(verb.arguments), log, env, partial(_confine, box, errors))
    code = None
    with contextlib.suppress(TimeoutError):
        code = child.wait(SECONDS * SLACK)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pids[0], signal.SIGKILL)  # what it has left behind
    after = _look(box.folder, free)
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    said = errors.read_text(errors="replace") if errors.exists() else ""
    output = child.output + said
    left_out = [line for line in child.output.splitlines() if line.startswith("Left out: ")]
    message = [line for line in [*left_out, *said.splitlines()] if line.strip()]
    told = "\n".join(message)
    passed = key in hostile.passes and code == 0
    names, notes = (box.given.name, *hostile.says), hostile.notes
    return expect(
        (code is not None, f"hangs; see {log}"),
        (code is None or passed or code in hostile.codes, f"exit code {code}; see {log}"),
        ("Traceback" not in output, f"a traceback: {message[-1][:150] if message else ''}; see {errors}"),
        (code not in REFUSED or any(name in told for name in names), f"names none of {names}; see {errors}"),
        (not passed or not notes or any(note in output for note in notes), f"says none of {notes}; see {log}"),
        (len(message) <= LINES and len(told) <= LETTERS, f"{len(message)} lines, {len(told)} letters; see {errors}"),
        ("\x1b" not in told and "\0" not in told, f"sends signs to the terminal that steer it; see {errors}"),
        (not changed, f"touched {', '.join(changed[:5])}"),
        (SECRET not in output and not _tells(box.folder, free), "tells what the environment or another file holds"),
    )


def _confine(box: Box, errors: Path) -> None:
    """In the verb's process: its place, its limits, a file for its errors, and no network."""
    os.chdir(box.folder / "work")
    tempfile.tempdir = None
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 2)

    def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("socket.connect", "socket.getaddrinfo"):
            return
        host = arguments[1] if event == "socket.connect" else arguments[0]
        host = host[0] if isinstance(host, tuple) else host
        if host not in (None, "", "localhost", "127.0.0.1", "::1") and not str(host).startswith(("/", "b'")):
            (box.folder / "network").touch()
            raise OSError(101, "Network is unreachable")

    sys.addaudithook(refuse_network)


def _look(folder: Path, free: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Return kind, link, size and time of all that lies in a box, where nothing may change."""
    found: dict[str, tuple[Any, ...]] = {}
    for here, below, files in os.walk(folder):
        place = os.path.relpath(here, folder)
        below[:] = [name for name in below if os.path.normpath(f"{place}/{name}") not in ("tmp", "cache", *free)]
        for name in [*below, *files]:
            path = os.path.join(here, name)
            entry = os.lstat(path)
            link = os.readlink(path) if stat.S_ISLNK(entry.st_mode) else ""
            content = () if stat.S_ISDIR(entry.st_mode) else (entry.st_size, entry.st_mtime_ns)
            found[os.path.normpath(f"{place}/{name}")] = (entry.st_mode, link, *content)
    return {path: entry for path, entry in found.items() if path not in free}


def _tells(folder: Path, free: Sequence[str]) -> bool:
    """Return whether a verb has written the secret where it may write."""
    own = [folder / place for place in free if not (folder / place).is_symlink()]
    for path in (path for place in own for path in [place, *place.rglob("*")]):
        entry = os.lstat(path) if os.path.lexists(path) else None
        if entry and stat.S_ISREG(entry.st_mode) and entry.st_size < 1 << 22 and SECRET.encode() in path.read_bytes():
            return True
    return False
