"""Pretrained weights: which files there are, and how they get here."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lensblend.caches import cache_folder, expanded
from lensblend.errors import DataError, RequestError, StorageError, WeightsMissingError
from lensblend.storage import flush, replace, temporary_beside

TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 20
TORCHVISION = "https://download.pytorch.org/models"
TORCHVISION_LICENCE = "BSD-3-Clause (torchvision); trained on ImageNet, whose own terms may bind its use"


@dataclass(frozen=True)
class PretrainedFile:
    """One published file of weights.

    Attributes:
        name: What configs call it.
        file_name: Its name at the source and in the cache.
        url: Where it is published.
        sha256: All or the first hexadecimal digits of its hash, as far as a source states them. Torchvision writes
            eight into the file's name: enough to find damage, not a forger, for whom HTTPS is the guard.
            Nothing where no source states any; then only a local path is accepted.
        licence: Of the weights, as stated by the source.
        mebibytes: Size of the file, where known.
    """

    name: str
    file_name: str
    url: str
    sha256: str | None
    licence: str
    mebibytes: float | None = None


def _torchvision(name: str, file_name: str, mebibytes: float) -> PretrainedFile:
    digits = Path(file_name).stem.rsplit("-", 1)[1]
    return PretrainedFile(name, file_name, f"{TORCHVISION}/{file_name}", digits, TORCHVISION_LICENCE, mebibytes)


MANIFEST = {
    file.name: file
    for file in (
        _torchvision("alexnet", "alexnet-owt-7be5be79.pth", 233.1),
        _torchvision("vgg16", "vgg16-397923af.pth", 527.8),
        _torchvision("vgg19", "vgg19-dcbb9e9d.pth", 548.1),
        _torchvision("resnet34", "resnet34-b627a593.pth", 83.3),
        _torchvision("resnet50", "resnet50-0676ba61.pth", 97.8),
        _torchvision("densenet121", "densenet121-a639ec97.pth", 30.8),
        PretrainedFile(
            name="megadepth",
            file_name="best_generalization_net_G.pth",
            url="http://www.cs.cornell.edu/projects/megadepth/dataset/models/best_generalization_net_G.pth",
            sha256=None,
            licence="MIT (MegaDepth)",
        ),
    )
}


def weights_path(name: str, local: str | os.PathLike[str] | None = None, download: bool = False) -> Path:
    """Find a pretrained file: a local path first, then the cache, then a download where it is asked for.

    The cache is ``$LENSBLEND_CACHE/weights``, by default ``~/.cache/lensblend/weights``; ``$LENSBLEND_WEIGHTS_URL``
    names a mirror that serves the same file names. Files from both are checked against the manifest's SHA-256;
    a local path is the caller's own choice and is not.

    Args:
        name: A key of ``MANIFEST``.
        local: A file on this machine.
        download: Whether the network may be used.

    Returns:
        The path of an existing file.

    Raises:
        RequestError: The name is unknown, or the local path is no file.
        WeightsMissingError: The file is not here and could not be fetched; the message says how to get it.
        DataError: The cached or downloaded file is not the published one.

    Example:
        >>> weights_path("alexnet", local=__file__).name
        'weights.py'
    """
    if name not in MANIFEST:
        raise RequestError(f"Pretrained weights are one of {sorted(MANIFEST)}, but got {name!r}; or give a local path.")
    if local is not None:
        path = expanded(local)
        if not path.is_file():
            state = "is no file" if path.exists() else "does not exist"
            raise RequestError(f"`weights` is the path of a file, but got {local}, which {state}; correct it.")
        return path
    file = MANIFEST[name]
    if file.sha256 is None:
        raise WeightsMissingError(
            f"The `{name}` weights are accepted from a local path only, because no source states their SHA-256, "
            f"so a download could not be checked: fetch {file.url} and set `weights` to its path."
        )
    path = cache_folder("weights") / file.file_name
    if os.path.exists(path):
        try:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise DataError(
                f"{path} cannot be read ({error.strerror}): change its permissions, or let LENSBLEND_CACHE name a "
                "folder of your own."
            ) from None
        _check_digest(file, digest, f"{path} is damaged; delete it and fetch it again")
    elif download:
        _download(file, path)
    else:
        raise WeightsMissingError(_missing(file, path, "are not on this machine") + ", or set `download: true`.")
    return path


def _source_url(file: PretrainedFile) -> str:
    mirror = os.environ.get("LENSBLEND_WEIGHTS_URL")
    url = f"{mirror.rstrip('/')}/{file.file_name}" if mirror else file.url
    if not url.startswith(("https://", "http://")):
        raise RequestError(f"`LENSBLEND_WEIGHTS_URL` starts with https:// or http://, but got {mirror}; correct it.")
    return url


def _missing(file: PretrainedFile, path: Path, why: str) -> str:
    return (
        f"The `{file.name}` weights {why}: save {_source_url(file)} as {path.name} in {path.parent}, "
        "or set `weights` to the path of a local copy"
    )


def _check_digest(file: PretrainedFile, digest: str, problem: str) -> None:
    if file.sha256 is None or not digest.startswith(file.sha256):
        raise DataError(
            f"{problem}: its SHA-256 starts with {digest[:12]}, but that of `{file.name}` with {file.sha256}."
        )


def _download(file: PretrainedFile, path: Path) -> None:
    """Put a checked file in place at once, or nothing."""
    url = _source_url(file)
    try:
        # Several processes may fetch at a time: each has a temporary of its own, and the last complete one stays.
        with temporary_beside(path) as temporary:
            digest = hashlib.sha256()
            with temporary.open("wb") as stream:
                for chunk in _chunks(url, file.file_name):
                    stream.write(chunk)
                    digest.update(chunk)
                flush(stream.fileno())
            _check_digest(file, digest.hexdigest(), f"{url} served another file, which was not kept")
            replace(temporary, path)
    except (StorageError, http.client.HTTPException) as error:
        # URLError, HTTPError and timeouts are OSErrors. Not in a variable: it would keep the connection open.
        why = f"could not be downloaded ({error.__cause__ or error})"
        raise WeightsMissingError(_missing(file, path, why) + ".") from error


def _chunks(url: str, title: str) -> Iterator[bytes]:
    """Read a body to its announced end, showing progress on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    request = urllib.request.Request(url, headers={"User-Agent": "lensblend"})
    console = Console(stderr=True)
    with (
        urllib.request.urlopen(request, timeout=TIMEOUT) as response,
        Progress(console=console, disable=not console.is_terminal, transient=True) as progress,
    ):
        announced = response.length
        task = progress.add_task(title, total=announced)
        received = 0
        while chunk := response.read(CHUNK):
            received += len(chunk)
            progress.advance(task, len(chunk))
            yield chunk
        if announced is not None and received != announced:
            raise OSError(f"the connection ended after {received} of {announced} bytes")
