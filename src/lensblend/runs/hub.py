"""Models on the Hugging Face hub: named by their addresses, and fetched into the cache of its own client."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lensblend.errors import DataError, LensblendError, RequestError, StorageError, WeightsMissingError, short
from lensblend.runs.messages import say
from lensblend.runs.redaction import redact, secrets_of_environment
from lensblend.runs.safetensors_files import LARGEST, SUFFIX, holds_network
from lensblend.storage import DISK_ERRORS, cannot_write

SCHEME = "hf://"
FORM = "hf://OWNER/NAME[@REVISION][/FILE.safetensors]"
TIMEOUT = 10.0  # seconds without an answer
LOG_IN = "run `hf auth login`, or set HF_TOKEN"
_PART = r"\w(?:[\w.-]*\w)?"
_FILE = rf"(?:{_PART}/)*{_PART}\.safetensors"
_ADDRESS = re.compile(rf"hf://({_PART})/({_PART})(?:@({_PART}))?(?:/({_FILE}))?", re.ASCII)
_COMMIT = "[0-9a-f]{40}"
# How the client lays out its cache, see "Understand caching" in its documentation.
_KEPT = re.compile(rf"models--({_PART})--({_PART})/snapshots/({_COMMIT})/({_FILE})", re.ASCII)
_LONGEST = 96  # letters of an owner and a name together
_SHOWN = 5


@dataclass(frozen=True)
class Address:
    """A repository of models on the hub, and what in it is meant.

    Attributes:
        owner: A user or an organization.
        name: The repository's own name.
        revision: A branch, a tag or a commit; None for the branch ``main``.
        file: A file's path in the repository; None for the one that there is.
    """

    owner: str
    name: str
    revision: str | None = None
    file: str | None = None

    @property
    def repository(self) -> str:
        """What the hub calls it."""
        return f"{self.owner}/{self.name}"

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{SCHEME}{self.repository}{revision}{f'/{self.file}' if self.file else ''}"


class UnreachableError(WeightsMissingError):
    """The hub gave no answer, or none that can be used."""


def is_address(text: str | Path) -> bool:
    """Tell whether a text names something on the hub, well or badly; a path never does.

    Example:
        >>> is_address("hf://somebody/bokeh"), is_address("hf/somebody")
        (True, False)
    """
    return str(text).startswith(SCHEME)


def parse_address(text: str) -> Address:
    """Take an address apart.

    Raises:
        RequestError: It is none.

    Example:
        >>> parse_address("hf://somebody/bokeh@v1/dbsi.safetensors")
        Address(owner='somebody', name='bokeh', revision='v1', file='dbsi.safetensors')
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or ".." in text or "--" in f"{match[1]}/{match[2]}" or len(f"{match[1]}/{match[2]}") > _LONGEST:
        raise RequestError(
            f"A model on the hub is written {FORM}, of letters, digits and single . - _ between them, but got "
            f"{short(text)}."
        )
    return Address(*match.groups())


def fetched(text: str) -> Path:
    """Return the file of a model on the hub in the cache of its client; it is fetched where it is not there.

    Where the hub gives no answer, the copy that was fetched last is taken, and that is said.

    Args:
        text: Its address.

    Raises:
        RequestError: The text is no address, or there is nothing there that is meant and may be read.
        WeightsMissingError: The hub gives no answer, and there is no copy.
        DataError: The file holds no network of this project.
        StorageError: The file could not be written into the cache.
    """
    from huggingface_hub import constants

    address = parse_address(text)
    try:
        with explained(address):
            path = _download(address)
    except UnreachableError as error:
        kept = _kept(address, Path(constants.HF_HUB_CACHE))
        if kept is None:
            raise WeightsMissingError(
                f"{error}, and {constants.HF_HUB_CACHE} holds no copy; connect once, or give a file."
            ) from None
        path = kept
        say(f"{error}; the copy that was fetched before is taken: {origin(path)}")
    if not holds_network(path):
        raise DataError(
            f"{address}: {path.name} holds no network of lensblend's, whose files have its configuration in "
            "their metadata; name another repository or file."
        )
    return path


def origin(path: Path) -> str | None:
    """Return the address, with its commit, of a file in the cache of the hub's client; None of any other file."""
    if "snapshots" not in path.parts:
        return None
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE).absolute()
    if not path.absolute().is_relative_to(cache):
        return None
    match = _KEPT.fullmatch(path.absolute().relative_to(cache).as_posix())
    return str(Address(*match.groups())) if match else None


@contextmanager
def explained(address: Address) -> Iterator[None]:
    """Say in one line, with a remedy, what the hub's client cannot do.

    Raises:
        RequestError: There is no such repository or revision, or it may not be used by this user.
        UnreachableError: The hub gives no answer, or none that can be used; the message has no remedy yet.
        StorageError: A file could not be written.
    """
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError: of whatever package asks
        GatedRepoError,
        HfHubHTTPError,
        HTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    for name in ("httpx", "httpx2"):  # its client's, which logs every request where Hydra shows what is logged
        logging.getLogger(name).setLevel(logging.WARNING)
    repository, hub = f"{SCHEME}{address.repository}", redact(constants.ENDPOINT)
    try:
        yield
    except LensblendError:
        raise
    except GatedRepoError:
        raise RequestError(
            f"{repository} is gated: accept its terms at {hub}/{address.repository}, then {LOG_IN}."
        ) from None
    except RepositoryNotFoundError:
        raise RequestError(
            f"{repository} does not exist, or is private and not open to this user: correct the name, or {LOG_IN}."
        ) from None
    except RevisionNotFoundError:
        raise RequestError(f"{repository} has no revision `{address.revision or 'main'}`; name another.") from None
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403):
            raise RequestError(
                f"{repository}: {hub} does not accept the token, or not for this; {LOG_IN} to one that may."
            ) from None
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise StorageError(cannot_write(Path(constants.HF_HUB_CACHE), error)) from None
        offline = isinstance(error, OfflineModeIsEnabled)
        reason = "HF_HUB_OFFLINE is set" if offline else _reason(error.__cause__ or error, get_token())
        raise UnreachableError(f"{address}: {hub} gives no answer that can be used ({reason})") from None


def _reason(error: BaseException, token: str | None) -> str:
    """Return the first line of a message, without secrets."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    # Where it cannot be sent, the client shows it as Python writes bytes.
    secrets = [*secrets_of_environment(), *([token, repr(token.encode())[2:-1]] if token else [])]
    text: str = redact(lines[0].strip() if lines else "", secrets)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _download(address: Address) -> Path:
    """Ask which files there are, choose the one that is meant, and fetch it unless it is there."""
    from huggingface_hub import HfApi, hf_hub_download

    info = HfApi().model_info(address.repository, revision=address.revision, timeout=TIMEOUT, files_metadata=True)
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}
    file = _chosen(address, list(sizes))
    if sizes[file] > LARGEST:
        raise DataError(f"{address}: {file} has {sizes[file]:,} bytes, above {LARGEST:,}; name another file.")
    return Path(hf_hub_download(address.repository, file, revision=address.revision))


def _chosen(address: Address, names: Sequence[str]) -> str:
    """Return which of a repository's files is meant.

    Raises:
        RequestError: There is none, or several.
    """
    found = sorted(name for name in names if name.endswith(SUFFIX))
    listed = ", ".join(map(short, found[:_SHOWN])) + (f" and {len(found) - _SHOWN} more" * (len(found) > _SHOWN))
    if not found:
        raise RequestError(f"{address} holds no .safetensors file, and no others are read; name another repository.")
    if address.file is not None and address.file not in found:
        raise RequestError(f"{address} is not there; of .safetensors files there are: {listed}.")
    if address.file is None and len(found) > 1:
        raise RequestError(f"{address} holds several .safetensors files; name one, as {FORM}: {listed}.")
    file = address.file or found[0]
    if re.fullmatch(_FILE, file, re.ASCII) is None or ".." in file:
        raise RequestError(f"{address} calls its file {short(file)}, which cannot be named here: {FORM}.")
    return file


def _kept(address: Address, cache: Path) -> Path | None:
    """Return the copy in the cache of what was fetched last; None where there is none."""
    folder = cache / f"models--{address.owner}--{address.name}"
    reference = folder / "refs" / (address.revision or "main")
    commit = reference.read_text().strip() if reference.is_file() else address.revision or ""
    snapshot = folder / "snapshots" / commit
    if re.fullmatch(_COMMIT, commit) is None or not snapshot.is_dir():
        return None
    names = [file.relative_to(snapshot).as_posix() for file in snapshot.rglob(f"*{SUFFIX}") if file.is_file()]
    if not names or address.file not in (None, *names):
        return None
    return snapshot / _chosen(address, names)
