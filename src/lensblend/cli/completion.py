"""``lensblend completion``: a shell completes verbs, their parts and flags, and what Hydra knows of configurations."""

from __future__ import annotations

import argparse
import importlib
import os
import runpy
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from lensblend.cli.completion_scripts import SCRIPTS, SOURCED
from lensblend.cli.flags import run_flags, shared

FLAGS = ("-sc", "--shell-completion")
COMPOSED = ("train", "evaluate")  # verbs whose arguments Hydra completes
PARTED = ("prepare", "survey", "runs")  # verbs with parts
# Verbs with ordinary flags.
FLAGGED = ("render", "compare", "export", "push", "bench", "demo", "demo-app", "completion")


def parser() -> argparse.ArgumentParser:
    """Return the verb's command line."""
    verb = argparse.ArgumentParser(
        prog="lensblend completion",
        parents=[shared()],
        description="Print what a shell reads, so that it completes verbs, flags, and groups, options and keys of "
        "configurations.",
        epilog="\n".join(f"  {line}" for line in SOURCED.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.add_argument("shell", choices=list(SCRIPTS), help="which one reads it")
    return verb


def run(arguments: argparse.Namespace) -> None:
    """Print the script of a shell."""
    print(SCRIPTS[arguments.shell], end="")


def asked(arguments: Sequence[str]) -> str | None:
    """Return what a command line asks of completion: ``install=SHELL``, ``uninstall=SHELL``, ``query=SHELL``, or None.

    Example:
        >>> asked(["-sc", "install=bash"]), asked(["train", "data=ebb"])
        ('install=bash', None)
    """
    if not any(flag in arguments for flag in FLAGS):
        return None
    return next((a for a in arguments if a.startswith(("install=", "uninstall=", "query="))), "install=")


def complete(action: str, verbs: Iterable[str]) -> None:
    """Print a shell's set-up, or what can stand at the end of the line in ``COMP_LINE``, as Hydra's shells ask for it.

    Args:
        action: As `asked` returns it.
        verbs: Of the command.
    """
    composed = COMPOSED[0]
    if action.startswith("query="):
        words = os.environ.get("COMP_LINE", "").split(" ")
        words = [words[0], *filter(None, words[1:-1]), *words[-1:]]
        if len(words) < 3:
            print("\n".join(verb for verb in verbs if verb.startswith("".join(words[1:]))))
            return
        if words[1] not in COMPOSED or words[-1].startswith("-"):
            print("\n".join(_words(words[1], words[2:-1], words[-1])))
            return  # where that is nothing, the shell's own: names of files
        composed = words[1]
        os.environ["COMP_LINE"] = " ".join(["lensblend", *words[2:]])
    # Hydra registers the program that its own command line names.
    sys.argv = ["lensblend", FLAGS[0], action]
    runpy.run_module(f"lensblend.cli.{composed}", run_name="__main__")


def _words(verb: str, before: Sequence[str], begun: str) -> list[str]:
    """Return what can stand at the end of a line whose verb Hydra does not complete, or that begins a flag."""
    if verb in COMPOSED:
        return _offered(_hydra_flags(), begun)
    if verb in FLAGGED:
        module = "compare_depth" if verb == "compare" and "--depth" in before else verb.replace("-", "_")
        return flags(module, before[-1] if before else "", begun)
    if verb not in PARTED:
        return []
    parts: Iterable[str] = importlib.import_module(f"lensblend.cli.{verb}").PARTS
    if before and before[0] in parts:
        return flags(f"{verb}_{before[0]}", before[-1], begun)
    found = [part for part in parts if part.startswith(begun)] if not before else []
    return [*found, *flags(verb, before[-1] if before else "", begun, values_of_places=False)]


def flags(module: str, before: str, begun: str, values_of_places: bool = True) -> list[str]:
    """Return what ordinary flags offer at the end of a line: their names, or the values of the one before.

    Args:
        module: Of ``lensblend.cli``, with a ``parser()``.
        before: The word before the last.
        begun: The last word, as far as it is typed. Where it begins no flag, and the flag before has no fixed values,
            nothing is returned: the shell offers names of files.
        values_of_places: Whether arguments without a flag offer their fixed values too.

    Example:
        >>> flags("render", "photo.jpg", "--qu"), flags("render", "--format", "p"), flags("completion", "", "f")
        (['--quality'], ['png'], ['fish'])
    """
    taken = importlib.import_module(f"lensblend.cli.{module}").parser()._actions
    if begun[:1] == "-":
        return _offered((name for flag in taken for name in flag.option_strings), begun)
    of_flag = [flag for flag in taken if before in flag.option_strings and flag.nargs != 0]
    places = [flag for flag in taken if not flag.option_strings] if values_of_places else []
    values = [str(value) for flag in of_flag or places for value in flag.choices or ()]
    return [value for value in values if value.startswith(begun)]


def _hydra_flags() -> list[str]:
    """Return the flags of verbs whose other arguments are overrides; Hydra tells them nowhere else."""
    from hydra._internal.utils import get_args_parser

    parsers: list[Any] = [get_args_parser(), shared()]
    return [name for parser in parsers for flag in parser._actions for name in flag.option_strings]


def _offered(names: Iterable[str], begun: str) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith("--") and name.startswith(begun)]


def main() -> None:
    """Run the verb and exit."""
    run_flags(parser(), run)


if __name__ == "__main__":
    main()
