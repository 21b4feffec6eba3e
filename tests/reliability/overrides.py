"""S5: random and mutated overrides, composed and checked as `lensblend train` does, in one process."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra

import lensblend.cli.train
from lensblend.cli.config import config_folder, register
from lensblend.cli.explanations import dotted
from lensblend.training import runner
from reliability.rows import Bench, Case, expect

QUICK, FULL, EACH = 40, 1000, 20
LINES, LETTERS = 8, 2500
VALUES = (
    *("null", "true", "no", "0", "1", "-1", "1.5", "1e3", "-1e400", "nan", "inf", "1_000", "0x10", "9" * 40),
    *("", "''", '""', "a", "a b", "a,b", "a=b", "a/b", "a:b", "a.b", "x" * 300, "街", "é", "\u202eabc", "[", "]", "{"),
    *("[]", "{}", "[1,2]", "[64,96]", "[[1],[2]]", "[a,null,{b:1}]", "{a:1}", "{a:{b:[1,2]}}", "{_target_:os.system}"),
    *("{_target_:torch.nn.Identity}", "{_target_:5}", "[" * 60 + "]" * 60, "{a:" * 60 + "1" + "}" * 60),
    *("${seed}", "${nothing}", "${seed", "${..x}", "${.}", "${oc.env:HOME}", "${oc.env:NOTHING}", "\\${seed}", "$x"),
    *("range(1,3)", "choice(a,b)", "interval(0,1)", "glob(*)", "sort(3,1)", "str(1)", "int(a)", "cast", "???"),
)
SIGNS = "=[]{}(),:'\"\\$@+~.|*?é街\x1b\n\t%#&;<>-_ 0a"


def overrides(bench: Bench) -> Iterator[Case]:
    """S5: a thousand commands of one to three overrides; the quick form tries some of them."""
    folder = bench.fresh("s5")
    folder.mkdir()
    os.chdir(folder)
    known = _keys(), _options()
    runner.Training = _Composed  # type: ignore[misc, assignment]
    count = FULL if bench.full else QUICK
    for first in range(0, count, EACH):
        failures = []
        for number in range(first, first + EACH):
            rng = bench.random("s5", number)
            command = [override(rng, *known) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
            failures += [f"{command}: {what}" for what in _attempt(command)]
        yield Case(f"commands {first} to {first + EACH - 1}", failures, EACH)


class _Composed:
    """Stands for a training: that one would begin is enough."""

    def __init__(self, *_: object) -> None:
        sys.exit(0)


def _keys() -> list[str]:
    register()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        return [key for key, _ in dotted(hydra.compose("train"))]


def _options() -> list[tuple[str, str]]:
    # hparams_search chooses a sweeper: a Python function by its name, if one wants.
    files = sorted(config_folder().glob("*/*.yaml"))
    return [(file.parent.name, file.stem) for file in files if file.parent.name not in ("hydra", "hparams_search")]


def override(rng: Random, keys: Sequence[str], options: Sequence[tuple[str, str]]) -> str:
    """Return an override that may be right, or nearly so."""
    while True:
        text = _unchanged(rng, keys, options)
        for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
            text = _changed(rng, text)
        # Flags are another thing, and what Hydra's own node names is run.
        if text and not text.startswith("-") and "hydra" not in text:
            return text


def _unchanged(rng: Random, keys: Sequence[str], options: Sequence[tuple[str, str]]) -> str:
    kind = rng.randrange(10)
    key, value = rng.choice(keys), rng.choice(VALUES)
    group, option = rng.choice(options)
    if kind < 5:
        return f"{key}={value}"
    if kind == 5:
        return f"{rng.choice(('', '+', '++', '~'))}{group}={rng.choice((option, value, f'[{option},{option}]'))}"
    if kind == 6:
        return f"{rng.choice(('+', '++'))}{key}.{rng.choice(('a', '0', '_target_', 'ä', 'a b', ''))}={value}"
    if kind == 7:
        return f"~{key}{rng.choice(('', f'={value}'))}"
    if kind == 8:
        return f"{rng.choice(('', '+'))}{group}@{rng.choice((key, 'a', '_global_', '', 'a:b'))}={option}"
    return f"{key}.{rng.choice(keys)}={value}"


def _changed(rng: Random, text: str) -> str:
    at, other = rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)
    kind = rng.randrange(4)
    if kind == 0:
        return text[:at] + rng.choice(SIGNS) + text[at:]
    if kind == 1:
        return text[:at] + text[at + 1 :]
    if kind == 2:
        return text[:at] + text[min(at, other) : max(at, other)] + text[at:]
    return text[:at] + rng.choice(SIGNS) + text[at + 1 :]


def _attempt(command: Sequence[str]) -> list[str]:
    """Compose and check a command, and say in what it did not do as it must."""
    sys.argv = ["lensblend train", *command]
    os.environ["HYDRA_FULL_ERROR"] = "0"
    said = io.StringIO()
    code: Any = 0
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            lensblend.cli.train.main()
        except SystemExit as stop:
            code = stop.code
        except BaseException as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            return [f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"[:500]]
    text = said.getvalue().strip()
    return expect(
        (code in (0, 2), f"exit code {code}: {text[:300]}"),
        (code == 0 or bool(text), "no message"),
        ("Traceback" not in text, f"a traceback: {text[-300:]}"),
        (text.count("\n") < LINES and len(text) <= LETTERS, f"{text.count(chr(10)) + 1} lines: {text[:300]}"),
        ("\x1b" not in text, "a sign that steers the terminal"),
    )
