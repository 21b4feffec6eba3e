"""Keep secrets out of what leaves this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

REDACTED = "(redacted)"
_NAMES = re.compile(r"(?:^|[_.\W])(?:token|secret|password|passwd|credentials?|(?:api|access|private)_?key)$", re.I)
_VARIABLES = re.compile(r"(?:KEY|KEY_ID|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.I)
_IN_URL = re.compile(r"(?<=://)([^/:@\s]*):[^/@\s]+@")
# A name as above, and what is assigned to it: a text in quotes, or a word that ends the line.
_ASSIGNED = re.compile(
    r"""((?:^|[^A-Za-z0-9])(?:token|secret|password|passwd|credentials?|(?:api|access|private)_?key)["']?\s*[:=]\s*)"""
    r"""(?:"[^"\n]+"|'[^'\n]+'|[^\s"'()\[\]{},;]{8,}$)""",
    re.I | re.M,
)
# Shorter values (`1`, `none`) are nobody's secret, and would be found in many texts.
_SHORTEST = 8


def secrets_of_environment() -> list[str]:
    """Return the values of environment variables whose names say that they are secret, longest first."""
    found = {v for k, v in os.environ.items() if _VARIABLES.search(k) and len(v) >= _SHORTEST}
    return sorted(found, key=len, reverse=True)


def redact(node: Any, secrets: Iterable[str] | None = None, name: str = "") -> Any:
    """Return nested plain values without secrets.

    A secret is what stands under a name like ``api_key`` or ``token``, the password in a URL, and wherever the value of
    such an environment variable occurs in a text.

    Args:
        node: Mappings, lists and plain values.
        secrets: Texts to hide; default: those of the environment.
        name: The key that ``node`` stands under.

    Example:
        >>> redact({"api_key": "abc", "kernels": ["gaussian", "my hunter22"]}, ["hunter22"])
        {'api_key': '(redacted)', 'kernels': ['gaussian', 'my (redacted)']}
        >>> redact("postgresql://me:hunter2@host/study")
        'postgresql://me:(redacted)@host/study'
    """
    secrets = secrets_of_environment() if secrets is None else list(secrets)
    if isinstance(node, Mapping):
        return {redact(key, secrets): redact(value, secrets, str(key)) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [redact(value, secrets, name) for value in node]
    if not isinstance(node, str):
        return node
    if node and _NAMES.search(name):
        return REDACTED
    for secret in secrets:
        node = node.replace(secret, REDACTED)
    return _IN_URL.sub(rf"\1:{REDACTED}@", node)


def redact_text(text: str) -> str:
    r"""Return a text, such as a diff, without secrets: also without what its lines assign to a name of one.

    Example:
        >>> print(redact_text("+api_key: abcdefgh12\n+my_token = 'abc'\n+token = next(tokens)"))
        +api_key: (redacted)
        +my_token = (redacted)
        +token = next(tokens)
    """
    return str(redact(_ASSIGNED.sub(rf"\1{REDACTED}", text)))


def redact_arguments(arguments: Iterable[str]) -> list[str]:
    """Return a command line without secrets: neither under a name of one, nor anywhere in a text.

    Example:
        >>> redact_arguments(["+data.token=abc", "--password", "seed=1"])
        ['+data.token=(redacted)', '--password', 'seed=1']
    """
    secrets = secrets_of_environment()
    told = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        told.append(f"{redact(name, secrets)}{equals}{redact(value, secrets, name)}")
    return told


def holds_secret(arguments: Iterable[str]) -> bool:
    """Tell whether a command line holds a secret.

    Example:
        >>> holds_secret(["kernels=gaussian_75", "+data.token=abc"])
        True
    """
    secrets = secrets_of_environment()
    for argument in arguments:
        name, _, value = argument.partition("=")
        if redact(value, secrets, name) != value or redact(name, secrets) != name:
            return True
    return False
