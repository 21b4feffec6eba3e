"""Errors that a user can act on: each message names the value that was wrong and the remedy."""

from collections.abc import Sequence
from difflib import get_close_matches

_SHORT = 120


class LensblendError(Exception):
    """The work could not be done; a command ends with ``exit_code`` and prints the message alone."""

    exit_code = 1


class RequestError(LensblendError, ValueError):
    """The request itself was wrong: an unknown option, a value out of range, a missing path."""

    exit_code = 2


class DataError(LensblendError, ValueError):
    """A file is missing, unreadable, damaged, or does not fit its partner."""


class WeightsMissingError(LensblendError, FileNotFoundError):
    """Pretrained weights are not on this machine and could not be downloaded."""


class StorageError(LensblendError, OSError):
    """A file could not be written: the disk is full, the folder is read-only, a rename failed."""


class TrainingError(LensblendError, RuntimeError):
    """A training cannot go on: a loss or weights that are not finite, no memory left, a dead data worker."""


class Interrupted(BaseException):
    """A signal asked this process to stop; not an `Exception`, so that nothing between takes it for a failure.

    Attributes:
        signal: The signal's name.
        saved: Whether a checkpoint of the last finished step lies on disk.
    """

    exit_code = 143

    def __init__(self, signal: str, saved: bool = False) -> None:
        super().__init__(signal)
        self.signal = signal
        self.saved = saved


def short(value: object) -> str:
    """Return how a value is written, for a message: its beginning where it is long.

    Example:
        >>> short("x" * 1000)[-6:], short([1, "a"])
        ('xxx...', "[1, 'a']")
    """
    text = repr(value)
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}..."


def printable(text: str) -> str:
    r"""Return a message as a terminal may print it: what would steer the terminal, in a file's name say, is escaped.

    Example:
        >>> printable("a\tb\x1b[2J")
        'a\tb\\x1b[2J'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def nearest(word: str, known: Sequence[str]) -> str:
    """Finish an error message with the nearest valid word, or with all of them.

    Example:
        >>> nearest("phase4", ["phase1", "warm_up"])
        '; did you mean `phase1`? There are: phase1, warm_up.'
    """
    close = get_close_matches(word, known, n=1)
    guess = f"; did you mean `{close[0]}`?" if close else "."
    return f"{guess} There are: {', '.join(known)}."
