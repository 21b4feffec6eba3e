"""How a command is written so that pasting it into a shell runs it, whatever characters its paths have."""

from __future__ import annotations

import os
import re
import shlex

# What Hydra's grammar takes as a text without quotes, and does not take for a number, a truth or nothing.
_BARE = re.compile(r"[A-Za-z0-9_./:%@+-]*[A-Za-z_/][A-Za-z0-9_./:%@+-]*")
_WORDS = re.compile(r"null|true|false|nan|inf|[+-](nan|inf)|[+-]?[0-9._]*e[+-]?[0-9_]+", re.IGNORECASE)


def override(key: str, value: object) -> str:
    r"""Return ``key=value`` as Hydra's grammar takes it for a text, one argument of a command.

    Args:
        key: The configuration's key.
        value: A path or another text.

    Example:
        >>> override("resume", "runs/one"), override("resume", "runs/lr=1e-3, a b")
        ('resume=runs/one', 'resume="runs/lr=1e-3, a b"')
    """
    return f"{key}={quoted(value)}"


def quoted(value: object) -> str:
    """Return a text as Hydra's grammar takes it for one, in quotes where it needs them."""
    text = str(value)
    if text == "???":  # which OmegaConf takes for a missing value
        text = "./???"
    if _BARE.fullmatch(text) and not _WORDS.fullmatch(text):
        return text
    # Of backslashes, only those before a quote are doubled; `${` would be looked up.
    text = text.replace("${", "\\${")
    body = re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + ('\\"' if found[2] else ""), text)
    return f'"{body}"'


def shell_word(text: str) -> str:
    r"""Return a word as bash and zsh take it; what a terminal cannot show stands as the bytes it is.

    Example:
        >>> print(shell_word("a b"), shell_word("it's"), shell_word("caf\udce9"))
        'a b' 'it'"'"'s' $'caf\351'
    """
    if text.isprintable():
        return shlex.quote(text)
    escaped = {"\\": "\\\\", "'": "\\'"}
    letters = (
        escaped.get(letter, letter)
        if letter.isprintable()
        else "".join(f"\\{byte:03o}" for byte in os.fsencode(letter))
        for letter in text
    )
    return f"$'{''.join(letters)}'"


def typed(key: str, value: object) -> str:
    """Return ``key=value`` as one argument to be typed in a shell.

    Example:
        >>> print(typed("resume", "runs/one"), typed("resume", "a b"))
        resume=runs/one 'resume="a b"'
    """
    return shell_word(override(key, value))


def command(verb: str, *arguments: str) -> str:
    """Return ``lensblend VERB ARGUMENTS`` to be pasted into a shell.

    Example:
        >>> print(command("train", override("resume", "a b")))
        lensblend train 'resume="a b"'
    """
    return " ".join(["lensblend", verb, *map(shell_word, arguments)])
