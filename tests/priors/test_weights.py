from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torchvision.models as published

from lensblend import caches
from lensblend.errors import DataError, RequestError, WeightsMissingError
from lensblend.priors import weights
from lensblend.priors.weights import MANIFEST, weights_path

BODY = bytes(range(256)) * 12_000  # three chunks
FILE = "alexnet-owt-7be5be79.pth"


class Mirror(ThreadingHTTPServer):
    """Serve one file on this machine, well or badly."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.body, self.announced, self.status = BODY, len(BODY), 200
        self.stall = threading.Event()
        self.stall.set()
        self.requests: list[str] = []


class Answer(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(self.server.announced))
        self.end_headers()
        self.wfile.write(self.server.body)
        self.wfile.flush()
        self.server.stall.wait(10)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    with Mirror() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        monkeypatch.setenv("LENSBLEND_WEIGHTS_URL", f"http://127.0.0.1:{server.server_port}/models/")
        yield server
        server.stall.set()
        server.shutdown()
        thread.join(5)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a manifest whose AlexNet is the mirror's file."""
    monkeypatch.setenv("LENSBLEND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("LENSBLEND_WEIGHTS_URL", raising=False)
    digits = hashlib.sha256(BODY).hexdigest()[:8]
    monkeypatch.setitem(MANIFEST, "alexnet", replace(MANIFEST["alexnet"], sha256=digits))
    return tmp_path / "cache" / "weights"


def test_a_download_is_checked_kept_and_used_again(mirror: Mirror, cache: Path) -> None:
    path = weights_path("alexnet", download=True)
    assert path == cache / FILE
    assert path.read_bytes() == BODY
    assert weights_path("alexnet", download=True) == weights_path("alexnet") == path
    assert mirror.requests == [f"/models/{FILE}"]
    assert [entry.name for entry in cache.iterdir()] == [FILE]


def test_another_file_is_refused_and_nothing_left_behind(mirror: Mirror, cache: Path) -> None:
    mirror.body = BODY[:-1] + b"\x00"
    with pytest.raises(DataError, match=r"/models/alexnet.* served another file, which was not kept.*SHA-256"):
        weights_path("alexnet", download=True)
    assert list(cache.iterdir()) == []


def test_a_whole_hash_is_checked_to_its_last_digit(
    mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = hashlib.sha256(BODY).hexdigest()
    monkeypatch.setitem(MANIFEST, "alexnet", replace(MANIFEST["alexnet"], sha256=whole[:-1] + "x"))
    with pytest.raises(DataError, match="its SHA-256 starts with"):
        weights_path("alexnet", download=True)
    monkeypatch.setitem(MANIFEST, "alexnet", replace(MANIFEST["alexnet"], sha256=whole))
    assert weights_path("alexnet", download=True).read_bytes() == BODY


def test_a_connection_that_breaks_leaves_nothing_behind(mirror: Mirror, cache: Path) -> None:
    mirror.announced = len(BODY) + 1
    with pytest.raises(WeightsMissingError, match=f"{len(BODY)} of {len(BODY) + 1} bytes"):
        weights_path("alexnet", download=True)
    assert list(cache.iterdir()) == []


def test_a_server_that_stalls_is_given_up(mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "TIMEOUT", 0.3)
    mirror.announced = len(BODY) + 1
    mirror.stall.clear()
    with pytest.raises(WeightsMissingError, match="timed out"):
        weights_path("alexnet", download=True)
    assert list(cache.iterdir()) == []


def test_a_missing_page_is_said_with_the_way_out(mirror: Mirror, cache: Path) -> None:
    mirror.status = 404
    with pytest.raises(WeightsMissingError, match=r"404.*save http://127.*as alexnet-owt-7be5be79.pth in .*`weights`"):
        weights_path("alexnet", download=True)
    assert list(cache.iterdir()) == []


def test_offline_is_said_with_the_way_out(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:  # a port that nobody listens on
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("LENSBLEND_WEIGHTS_URL", f"http://127.0.0.1:{probe.getsockname()[1]}")
        with pytest.raises(WeightsMissingError, match=r"could not be downloaded.*save .*, or set `weights`"):
            weights_path("alexnet", download=True)
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_said(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(WeightsMissingError, match="could not be downloaded"):
        weights_path("alexnet", download=True)


def test_progress_is_shown_on_a_terminal(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    weights_path("alexnet", download=True).unlink()
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    weights_path("alexnet", download=True)
    assert "alexnet" in capsys.readouterr().err


def test_nothing_is_fetched_unless_asked(mirror: Mirror) -> None:
    with pytest.raises(WeightsMissingError, match=r"not on this machine: save .*`download: true`"):
        weights_path("alexnet")
    assert mirror.requests == []


def test_a_local_file_is_taken_as_it_is(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = tmp_path / "mine.pth"
    local.write_bytes(b"fine-tuned")
    assert weights_path("alexnet", local=str(local), download=True) == local
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_path("megadepth", local="~/mine.pth") == local
    assert mirror.requests == []


def test_a_local_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"nowhere.pth, which does not exist"):
        weights_path("alexnet", local="nowhere.pth", download=True)
    with pytest.raises(RequestError, match="is no file"):
        weights_path("alexnet", local=str(tmp_path))


def test_a_damaged_file_in_the_cache_is_named(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / FILE).write_bytes(BODY[:100])
    with pytest.raises(DataError, match=rf"{FILE} is damaged; delete it"):
        weights_path("alexnet")


def test_a_file_without_a_published_hash_comes_from_a_local_path_only(mirror: Mirror) -> None:
    with pytest.raises(WeightsMissingError, match=r"no source states their SHA-256.*fetch http://.*net_G.pth"):
        weights_path("megadepth", download=True)
    assert mirror.requests == []


def test_unknown_names_and_mirrors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match=r"\['alexnet', .*\], but got 'alexnett'"):
        weights_path("alexnett")
    monkeypatch.setenv("LENSBLEND_WEIGHTS_URL", "file:///etc")
    with pytest.raises(RequestError, match="starts with https:// or http://, but got file:///etc"):
        weights_path("alexnet", download=True)


def test_the_cache_is_in_the_home_folder_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LENSBLEND_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert caches.cache_folder("weights") == tmp_path / ".cache/lensblend/weights"


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "vgg19", "resnet34", "resnet50", "densenet121"])
def test_the_manifest_says_what_torchvision_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the manifest as it ships
    entry = published.get_model_weights(name).IMAGENET1K_V1
    file = MANIFEST[name]
    assert file.url == entry.url
    assert file.url.endswith(f"-{file.sha256}.pth")
    assert len(file.sha256) == 8
    assert file.mebibytes == pytest.approx(entry.meta["_file_size"], abs=0.1)
