"""A question before something is removed."""

from __future__ import annotations

import argparse
import sys

from lensblend.errors import RequestError, printable


def add_yes(verb: argparse._ActionsContainer) -> None:
    """Add the flag that answers the question before it is asked."""
    verb.add_argument("--yes", action="store_true", help="remove without asking")


def agreed(question: str, yes: bool) -> bool:
    """Ask on the terminal, and tell whether the answer is yes; anything else is no.

    Args:
        question: Ends with a question mark.
        yes: Whether the command line has answered.

    Raises:
        RequestError: Nobody can answer: standard input is no terminal.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise RequestError(
            "Nobody can be asked: standard input is no terminal; add --yes to remove without a question."
        )
    print(printable(f"{question} [y/N] "), end="", flush=True)
    answer = sys.stdin.readline().strip().lower()
    if answer in ("y", "yes"):
        return True
    print("Nothing is removed.")
    return False
