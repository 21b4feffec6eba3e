"""Errors that a user can act on: each message names the value that was wrong and the remedy."""


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
