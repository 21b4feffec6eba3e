"""Serve a study to raters: the listed files and their answers, and nothing else."""

from __future__ import annotations

import json
import re
import signal
import socket
import socketserver
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

from lensblend.data.regular_files import open_regular
from lensblend.errors import DataError, RequestError, StorageError, short
from lensblend.runs.messages import say
from lensblend.runs.signals import heeded
from lensblend.storage import json_text
from lensblend.survey.pages import FILES, IMAGE_TYPES, PAGE, POLICY, index
from lensblend.survey.store import Store
from lensblend.survey.study import IMAGES, Study

LOOPBACK = ("127.0.0.1", "::1", "localhost")
LONGEST_BODY = 1024  # bytes of an answer, which has about 40
_ANSWERS = re.compile(r"/answers/([0-9a-f]{16})")
_ANSWER = re.compile(r"/answers/([0-9a-f]{16})/([0-9a-f]{16})")
_JSON = "application/json"
_HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Server(ThreadingHTTPServer):
    """A thread for each connection; answers go into a store.

    Args:
        folder: The study's.
        study: What everybody may know of it.
        host: Address to listen at.
        port: 0 for any that is free.

    Raises:
        RequestError: Nothing can listen there.
        DataError: An image of the study is missing.
        StorageError: Answers could not be kept.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, folder: Path, study: Study, host: str, port: int) -> None:
        self.study = study
        self._complained = ""
        self.files: Mapping[str, tuple[bytes | Path, str]] = {
            "/": (index(study, "server"), "text/html; charset=utf-8"),
            **{f"/{name}": ((PAGE / name).read_bytes(), kind) for name, kind in FILES.items()},
            **{f"/{IMAGES}/{name}": (folder / IMAGES / name, IMAGE_TYPES[study.suffix]) for name in study.images},
        }
        missing = [file for file, _ in self.files.values() if isinstance(file, Path) and not file.is_file()]
        if missing:
            raise DataError(f"`{missing[0]}` is missing ({len(missing)} images); restore it, or make the study again.")
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise RequestError(f"Nothing can listen at {host}, port {port} ({error}); choose others.") from None
        try:
            self.store = Store(folder)
        except StorageError:
            self.server_close()
            raise

    def server_bind(self) -> None:
        """Bind without asking a name server what this machine is called."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    @property
    def address(self) -> str:
        """What to open in a browser."""
        host = f"[{self.server_name}]" if ":" in self.server_name else self.server_name
        return f"http://{host}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong with a request, unless its connection just broke off."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError | StorageError):
            self.complain(f"A request failed: {error!r}")

    def complain(self, text: str) -> None:
        """Tell whoever serves the study, the same thing once."""
        if text != self._complained:
            self._complained = text
            say(text)


class Handler(BaseHTTPRequestHandler):
    """Answers requests; what is not listed does not exist. No address is logged, no cookie set."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "lensblend", ""
    timeout = 30  # seconds without a byte
    server: Server

    def do_GET(self) -> None:
        """Send a listed file, or what a rater has answered."""
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # its body is not read
        if rater := _ANSWERS.fullmatch(self.path):
            answers = self.server.store.of_rater(rater[1])
            self._send(HTTPStatus.OK, json_text({t: list(a) for t, a in answers.items()}, None).encode(), _JSON)
        elif self.path in self.server.files:
            content, kind = self.server.files[self.path]
            try:
                self._send(HTTPStatus.OK, content if isinstance(content, bytes) else _read(content), kind)
            except (FileNotFoundError, DataError):
                self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def do_PUT(self) -> None:
        """Keep an answer: it is on the disk before it is acknowledged."""
        named = _ANSWER.fullmatch(self.path)
        if named is None or named[2] not in self.server.study.by_id:
            return self.send_error(HTTPStatus.NOT_FOUND)
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not re.fullmatch("[0-9]{1,4}", length) or int(length) > LONGEST_BODY:
            return self.send_error(HTTPStatus.BAD_REQUEST, f"an answer has a length, of {LONGEST_BODY} bytes at most")
        body = self.rfile.read(int(length))
        try:
            value, seconds = _parsed(body)
            problem = self.server.study.wrong(value, seconds)
        except (ValueError, RecursionError):
            problem = f"an answer is an object of value and seconds, but got {short(body)}"
        if problem is not None:
            return self.send_error(HTTPStatus.BAD_REQUEST, problem)
        try:
            self.server.store.put(named[1], named[2], value, float(seconds))
        except StorageError as error:
            self.server.complain(str(error))
            return self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "the answer could not be kept; try again")
        return self._send(HTTPStatus.OK, b"{}\n", _JSON)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a request, in plain text; its connection ends, as its body may be unread."""
        self.close_connection = True
        text = message or HTTPStatus(code).phrase
        self._send(code, f"{text}\n".encode(errors="backslashreplace"), "text/plain; charset=utf-8")

    def log_message(self, format: str, *args: Any) -> None:
        """Keep nothing of who asked."""

    def _send(self, code: int, content: bytes, kind: str) -> None:
        self.request_version = self.protocol_version  # a line that says none is answered with a status all the same
        self.send_response(code)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "private, max-age=86400" if kind in IMAGE_TYPES.values() else "no-store")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)


def _read(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read()


def _parsed(body: bytes) -> tuple[Any, Any]:
    """Return value and seconds of an answer's JSON, which has nothing else."""
    content = json.loads(body.decode("utf-8"), parse_constant=lambda text: text)
    if not isinstance(content, dict) or set(content) != {"value", "seconds"}:
        raise ValueError
    return content["value"], content["seconds"]


def serve(server: Server) -> None:
    """Serve until a signal asks to stop; then refuse what is new, finish what is being written, and close.

    Args:
        server: Bound already; it says where it listens, and how it ended.
    """
    received: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        received.append(number)
        threading.Thread(target=server.shutdown, daemon=True).start()  # it waits for the loop that a signal interrupts

    before = {number: signal.signal(number, stop) for number in heeded()}
    say(f"Open {server.address} (Ctrl-C stops)")
    try:
        server.serve_forever(poll_interval=0.1)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        server.server_close()
        answers, raters = server.store.counts()
        server.store.close()  # whoever sends something now hears that it was not kept
    by = f" by {signal.Signals(received[0]).name}" if received else ""
    say(f"Stopped{by}: {answers} answers of {raters} raters are kept.")
