"""What of the page's server can be reached: addresses, names of files, calls, hosts, origins, how often."""

import asyncio
import json

import pytest

from lensblend.cli.app_gate import Gate, Pace
from lensblend.cli.app_sessions import Sessions

JOIN, UPLOAD = "/gradio_api/queue/join", "/gradio_api/upload"


async def server(scope, receive, send):
    """Answers with the body of the request, and would let everything be embedded."""
    body = (await receive()).get("body", b"")
    headers = [(b"content-type", b"text/html"), (b"cache-control", b"public")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def asked(gate, path, method="GET", body=b"", host="127.0.0.1:7860", **headers):
    """The status, the headers and the body of an answer."""
    sent = []
    pairs = [(name.encode(), value.encode()) for name, value in {"host": host, **headers}.items()]
    scope = {"type": "http", "path": path, "method": method, "headers": pairs, "client": ("127.0.0.1", 1)}

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(gate(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


@pytest.fixture
def sessions(tmp_path):
    (tmp_path / "root" / "0123abcd").mkdir(parents=True)
    (tmp_path / "root" / "0123abcd" / "photo.jpg").write_bytes(b"photo")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    return Sessions(tmp_path / "root")


@pytest.fixture
def gate(sessions):
    return Gate(server, sessions, {"localhost", "127.0.0.1"})


def call(gate, data):
    return asked(gate, JOIN, "POST", json.dumps({"data": data, "fn_index": 0, "session_hash": "x"}).encode())[0]


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/proxy=http://example.com/",
        "/gradio_api/file=http://example.com/a.png",
        "/gradio_api/call/render",
        "/gradio_api/run/predict",
        "/gradio_api/api/predict",
        "/gradio_api/openapi.json",
        "/gradio_api/vibe-code",
        "/gradio_api/runs",
        "/gradio_api/mcp/",
        "/gradio_api/dev/reload",
        "/gradio_api/custom_component/1/client/component/../../../../etc/passwd",
        "/monitoring",
        "/assets/../../../../etc/passwd",
        "/static/..%2f",
        "/pwa_icon",
        "/login",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_the_page_does_not_ask_for_is_not_there(gate, path, method):
    assert asked(gate, path, method)[0] == 404


@pytest.mark.parametrize("path", ["/", "/config", "/theme.css", "/assets/index-Xy_1.js", "/gradio_api/queue/data"])
def test_the_page_itself_is_there_and_fetches_nothing_from_elsewhere(gate, path):
    status, headers, _ = asked(gate, path)
    assert status == 200
    policy = headers[b"content-security-policy"].decode()
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "*" not in policy
    assert headers[b"cache-control"] == b"no-store"


def test_a_file_is_sent_only_where_a_session_lists_it(gate, sessions, tmp_path):
    upload = tmp_path / "root" / "0123abcd" / "photo.jpg"
    assert asked(gate, f"/gradio_api/file={upload}")[0] == 404
    session = sessions.begin("x", upload)
    shown = session.folder / "shown" / "1.jpg"
    shown.write_bytes(b"shown")
    sessions.list(session, [shown])
    assert asked(gate, f"/gradio_api/file={shown}")[0] == 200
    for other in (
        tmp_path / "secret.jpg", session.photo, session.folder / "shown" / ".." / session.photo.name,
        session.folder, "/etc/passwd", "../../etc/passwd", f"{shown}\0", f"{shown}/", "",
    ):  # fmt: skip
        assert asked(gate, f"/gradio_api/file={other}")[0] == 404, other
    sessions.forget("x")
    assert asked(gate, f"/gradio_api/file={shown}")[0] == 404


def test_a_call_may_name_an_upload_and_no_other_path(gate, tmp_path):
    upload = str(tmp_path / "root" / "0123abcd" / "photo.jpg")
    meta = {"_type": "gradio.FileData"}
    assert call(gate, [{"path": upload, "meta": meta}]) == 200
    (tmp_path / "root" / "0123abcd" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    for path in (
        "/etc/passwd", str(tmp_path / "secret.jpg"), f"{upload}/../../../secret.jpg", "http://127.0.0.1/a.jpg",
        str(tmp_path / "root" / "0123abcd" / "link.jpg"), str(tmp_path / "root" / "0123abcd"), "x" * 10_000, "a\0b",
        "", None, 5, ["/etc/passwd"], {"path": "/etc/passwd"},
    ):  # fmt: skip
        assert call(gate, [{"path": path, "meta": meta}]) == 403, path
        assert call(gate, [[{"a": [{"path": path, "meta": meta}]}]]) == 403, path
    assert call(gate, [{"url": "http://example.com/a.jpg", "meta": meta}]) == 403
    assert call(gate, [{"path": upload, "url": "file:///etc/passwd", "meta": meta}]) == 403


def test_a_call_arrives_whole(gate):
    body = json.dumps({"data": ["strength", 1.0]}).encode()
    assert asked(gate, JOIN, "POST", body)[2] == body


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"{", 400), (b"[]", 400), (b"[" * 60_000, 400), (b"\xff", 400), (b'"' + b"x" * 70_000 + b'"', 413)],
)
def test_a_call_that_is_none_is_refused(gate, body, status):
    assert asked(gate, JOIN, "POST", body)[0] == status


def test_another_sites_name_or_page_is_refused(gate, sessions):
    assert asked(gate, "/", host="evil.example:7860")[0] == 421
    assert asked(gate, "/", host="")[0] == 421
    assert asked(gate, "/", host="[")[0] == 421
    assert asked(gate, "/", host="localhost:7860")[0] == 200
    assert asked(gate, UPLOAD, "POST", origin="https://evil.example")[0] == 403
    assert asked(gate, UPLOAD, "POST", origin="null")[0] == 403
    assert asked(gate, UPLOAD, "POST", origin="http://127.0.0.1:7860")[0] == 200
    assert asked(Gate(server, sessions), "/", host="render.example")[0] == 200


def test_each_address_has_so_many_uploads_and_calls_a_minute(sessions):
    gate = Gate(server, sessions, uploads=2, calls=3)
    assert [asked(gate, UPLOAD, "POST")[0] for _ in range(3)] == [200, 200, 429]
    assert [asked(gate, JOIN, "POST", b"{}")[0] for _ in range(4)] == [200, 200, 200, 429]


def test_after_a_minute_an_address_may_again_and_others_are_not_held_up():
    pace = Pace(2, addresses=2)
    assert [pace.allows("a", now) for now in (0.0, 1.0, 2.0, 59.9, 60.1)] == [True, True, False, False, True]
    assert pace.allows("b", 60.2)
    assert pace.allows("c", 60.3)  # the least recent of three begins anew
    assert [pace.allows("a", now) for now in (60.4, 60.5, 60.6)] == [True, True, False]


def test_sockets_are_closed(gate):
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(gate({"type": "websocket", "path": "/", "headers": []}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
