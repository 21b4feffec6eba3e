"""Shell completion of the ``lensblend`` command: its verbs, then what Hydra knows of their configurations."""

from __future__ import annotations

import importlib
import os
import runpy
import sys
from collections.abc import Iterable, Sequence

FLAGS = ("-sc", "--shell-completion")
COMPOSED = ("train", "evaluate")  # verbs whose arguments Hydra completes
FLAGGED = ("render", "compare", "bench", "demo", "demo-app")  # verbs with ordinary flags


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
        if len(words) < 3:
            print("\n".join(verb for verb in verbs if verb.startswith("".join(words[1:]))))
            return
        if words[1] in FLAGGED:
            print("\n".join(flags(words[1], words[-2], words[-1])))
        if words[1] not in COMPOSED:
            return  # the shell's own: names of files
        composed = words[1]
        os.environ["COMP_LINE"] = " ".join(["lensblend", *words[2:]])
    # Hydra registers the program that its own command line names.
    sys.argv = ["lensblend", FLAGS[0], action]
    runpy.run_module(f"lensblend.cli.{composed}", run_name="__main__")


def flags(verb: str, before: str, begun: str) -> list[str]:
    """Return what a verb with ordinary flags takes at the end of a line: its flags, or the values of the one before.

    Args:
        verb: One of ``FLAGGED``.
        before: The word before the last.
        begun: The last word, as far as it is typed. Where it begins no flag, and the flag before has no fixed values,
            nothing is returned: the shell offers names of files.

    Example:
        >>> flags("render", "photo.jpg", "--qu"), flags("render", "--format", "p")
        (['--quality'], ['png'])
    """
    taken = importlib.import_module(f"lensblend.cli.{verb.replace('-', '_')}").parser()._actions
    values = [str(value) for flag in taken if before in flag.option_strings for value in flag.choices or ()]
    names = (
        [name for flag in taken for name in flag.option_strings if name.startswith("--")] if begun[:1] == "-" else []
    )
    return [word for word in values or names if word.startswith(begun)]
