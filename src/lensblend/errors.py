"""Errors that a user can act on: each message names the value that was wrong and the remedy."""

from collections.abc import Collection
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


def closest(word: str, known: Collection[str], least: float = 0.6) -> str | None:
    """Return the valid word that is most like a wrong one, if any is alike enough.

    Args:
        word: The wrong one.
        known: The valid ones.
        least: How much alike, from 0 to 1.

    Example:
        >>> closest("phase4", ["phase1", "warm_up"]), closest("x", ["phase1"])
        ('phase1', None)
    """
    return next(iter(get_close_matches(word, known, n=1, cutoff=least)), None)


def nearest(word: str, known: Collection[str]) -> str:
    """Finish an error message with the nearest valid word, or with all of them.

    Example:
        >>> nearest("phase4", ["phase1", "warm_up"])
        '; did you mean `phase1`? There are: phase1, warm_up.'
        >>> nearest("phase4", [])
        '; there are none.'
    """
    if not known:
        return "; there are none."
    close = closest(word, known)
    guess = f"; did you mean `{close}`?" if close else "."
    return f"{guess} There are: {', '.join(known)}."


def one_of(key: str, value: str, known: Collection[str]) -> str:
    """Return the value of an option, or refuse one that is not known.

    Args:
        key: The option's name, for the message.
        value: What was asked for.
        known: What may be asked for.

    Raises:
        RequestError: It is not known; the message names the nearest that is.

    Example:
        >>> one_of("family", "disc", ["gaussian", "disk"])
        Traceback (most recent call last):
        lensblend.errors.RequestError: `family` is one of gaussian, disk, but got 'disc'; did you mean 'disk'?
    """
    if value not in list(known):
        guess = closest(str(value), known, least=0.0)
        raise RequestError(f"`{key}` is one of {', '.join(known)}, but got {value!r}; did you mean {guess!r}?")
    return value
