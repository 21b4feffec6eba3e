"""What of ``lensblend demo-app``'s server can be reached: a list of addresses, in number and size limited."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from lensblend.cli.app_sessions import Sessions

Scope = Mapping[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]

# What the page itself asks for; all else that Gradio's server offers is closed.
_READ = re.compile(
    r"/|/config|/theme\.css|/favicon\.ico|/(assets|static|svelte)/[\w./@+-]+"
    r"|/gradio_api/(info|theme\.css|startup-events|app_id|upload_progress|queue/data|heartbeat/\w+)"
)
_FILE = "/gradio_api/file="
_UPLOAD, _JOIN, _CANCEL = "/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/cancel"
_LONGEST_CALL = 64 * 1024  # bytes
_MINUTE = 60.0
# The page's scripts and styles are Gradio's own files and what stands in the page; nothing else is fetched by anybody.
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; manifest-src 'none'; worker-src 'none'; "
    "frame-ancestors 'none'; form-action 'none'; base-uri 'self'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
_REPLACED = {name for name, _ in _HEADERS}


class Pace:
    """How often each address may do something within a minute.

    Args:
        most: How often.
        addresses: How many addresses are kept in mind; more begin anew.
    """

    def __init__(self, most: int, addresses: int = 1024) -> None:
        self._most, self._addresses = most, addresses
        self._times: dict[str, deque[float]] = {}

    def allows(self, address: str, now: float) -> bool:
        """Tell whether an address may do it once more, and count that."""
        times = self._times.pop(address, deque())
        while times and now - times[0] >= _MINUTE:
            times.popleft()
        allowed = len(times) < self._most
        if allowed:
            times.append(now)
        self._times[address] = times  # the last of all
        while len(self._times) > self._addresses:
            del self._times[next(iter(self._times))]
        return allowed


class Gate:
    """Stands before the server: what is not the page's own business gets no further.

    A file is sent only where a session lists it; a path that a call names must be an upload. Requests have to come
    from the page itself: by the name of this machine, so that no other site's name leads here, and with no other
    site's origin.

    Args:
        app: The server.
        sessions: Uploads and listed files.
        hosts: Names by which it may be called; none for any, of a server that others reach.
        uploads: How many photos each address may send in a minute.
        calls: How many calls it may make in a minute.
    """

    def __init__(
        self, app: App, sessions: Sessions, hosts: Collection[str] = (), uploads: int = 20, calls: int = 120
    ) -> None:
        self._app, self._sessions, self._hosts = app, sessions, hosts
        self._paces = {_UPLOAD: Pace(uploads), _JOIN: Pace(calls)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refusal(scope, headers)
        body: bytes | None = None
        if refused is None and scope["path"] in (_JOIN, _CANCEL):
            body = await _read(receive)
            refused = self._refused_call(body)
        if refused is not None:
            await _answer(send, *refused)
            return
        await self._app(scope, receive if body is None else _replayed(body, receive), _guarded(send))

    def _refusal(self, scope: Scope, headers: Mapping[str, str]) -> tuple[int, str] | None:
        path, host = scope["path"], headers.get("host", "")
        if self._hosts and _name(host) not in self._hosts:
            return 421, "This server is not called so."
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "Only the page itself may ask."
        if scope["method"] == "POST" and path in (_UPLOAD, _JOIN, _CANCEL):
            client = (scope.get("client") or ("",))[0]
            pace = self._paces.get(path)
            within = pace is None or pace.allows(client, time.monotonic())
            return None if within else (429, "Too many requests; wait a minute.")
        if scope["method"] in ("GET", "HEAD"):
            if path.startswith(_FILE):
                return None if self._sessions.is_listed(path.removeprefix(_FILE)) else (404, "There is no such file.")
            if _READ.fullmatch(path) and ".." not in path:
                return None
        return 404, "There is nothing here."

    def _refused_call(self, body: bytes | None) -> tuple[int, str] | None:
        """Tell what is wrong with a call: too long, no JSON, or a path in it that is no upload."""
        if body is None:
            return 413, "The call is too long."
        try:
            call = json.loads(body)
        except (ValueError, RecursionError):
            return 400, "The call is no JSON."
        if not isinstance(call, dict):
            return 400, "The call is no JSON object."
        for entry in _mappings(call):
            if "path" in entry and not self._is_upload(entry["path"]):
                return 403, "A call names uploads only."
            if not str(entry.get("url") or _FILE).startswith(("http://", "https://", _FILE)) or _outside(entry):
                return 403, "A call names uploads only."
        return None

    def _is_upload(self, path: Any) -> bool:
        # What was shown comes back where Gradio sends a whole component; it is not read.
        try:
            return isinstance(path, str) and (self._sessions.is_upload(path) or self._sessions.is_listed(path))
        except (OSError, ValueError):  # too long, or with a NUL
            return False


def _outside(entry: Mapping[str, Any]) -> bool:
    """Tell whether a file is named by an address alone, which a server would fetch."""
    return bool(entry.get("url")) and "path" not in entry


def _mappings(content: Any) -> Iterator[Mapping[str, Any]]:
    """Go through all objects of a JSON document."""
    left = [content]
    while left:
        entry = left.pop()
        if isinstance(entry, dict):
            yield entry
            left += entry.values()
        elif isinstance(entry, list):
            left += entry


def _name(host: str) -> str:
    """Return a host without its port.

    Example:
        >>> _name("localhost:7860"), _name("[::1]:80"), _name("127.0.0.1")
        ('localhost', '::1', '127.0.0.1')
    """
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


async def _read(receive: Receive) -> bytes | None:
    """Return a request's body; None where it is too long."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > _LONGEST_CALL:
            return None
        if not message.get("more_body"):
            return body


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that has been read once more, and then what comes after it."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


def _guarded(send: Send) -> Send:
    """Return what sends an answer with headers by which a browser fetches nothing from elsewhere, and keeps nothing."""

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message["headers"] if name.lower() not in _REPLACED]
            message = {**message, "headers": [*kept, *_HEADERS]}
        await send(message)

    return guarded


async def _answer(send: Send, status: int, text: str) -> None:
    start: Message = {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]}
    guarded = _guarded(send)
    await guarded(start)
    await guarded({"type": "http.response.body", "body": text.encode()})
