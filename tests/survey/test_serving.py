"""A server of a study: what it gives, what it refuses, and what is left when it is killed."""

import http.client
import json
import re
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lensblend.errors import DataError, RequestError, StorageError
from lensblend.survey.serving import Server
from lensblend.survey.store import read_answers

RATER = "0123456789abcdef"


@pytest.fixture
def served(made, tmp_path):
    """A study and its server, which listens."""
    folder = tmp_path / "study"
    study = made(folder)
    server = Server(folder, study, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    yield study, server, folder
    server.shutdown()
    thread.join()
    server.server_close()
    server.store.close()


def ask(server, method, path, body=None, **headers):
    """Make one request; return its status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    try:
        connection.request(method, path, body, headers)
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


def put(server, rater, trial, value=1, seconds=2.5):
    return ask(server, "PUT", f"/answers/{rater}/{trial}", json.dumps({"value": value, "seconds": seconds}))


def test_what_is_listed_is_served_and_nothing_else(served):
    study, server, folder = served
    status, headers, page = ask(server, "GET", "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    for path in re.findall(rb'(?:src|href)="([^"#]+)"', page):
        assert ask(server, "GET", f"/{path.decode()}")[0] == 200, path
    for name in study.images:
        status, headers, content = ask(server, "GET", f"/images/{name}")
        assert (status, headers["Content-Type"], content) == (200, "image/png", (folder / "images" / name).read_bytes())
    for name in ("key.json", "study.json", "answers.sqlite", "images", "images/", "../study/key.json", "survey.html"):
        assert ask(server, "GET", f"/{name}")[0] == 404


def test_every_reply_forbids_what_is_not_the_pages_own_and_sets_no_cookie(served):
    study, server, _ = served
    for method, path in (
        ("GET", "/"),
        ("GET", "/nothing"),
        ("GET", f"/images/{study.images[0]}"),
        ("PUT", "/"),
        ("X", "/"),
    ):
        _, headers, _ = ask(server, method, path)
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert set(re.findall(r"'[^']*'", policy)) == {"'none'", "'self'"}
        assert "http" not in policy
        assert headers["Set-Cookie"] is None
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_holds_its_study_whatever_the_title(made, tmp_path):
    title = "</script><script>alert(1)</script> & \"'"
    study = made(tmp_path / "study", title=title)
    server = Server(tmp_path / "study", study, "127.0.0.1", 0)
    page = server.files["/"][0].decode()
    server.server_close()
    server.store.close()
    document = re.search(r'<script type="application/json" id="study">(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(document) == json.loads((tmp_path / "study" / "study.json").read_text())
    assert json.loads(document)["title"] == title
    assert "<script>" not in page


def test_an_answer_is_kept_before_it_is_acknowledged_and_given_back_to_its_rater(served):
    study, server, folder = served
    trial = study.trials[0].id
    assert put(server, RATER, trial, 3)[0] == 200
    assert [(a.rater, a.value, a.seconds) for a in read_answers(folder)] == [(RATER, 3, 2.5)]
    assert put(server, RATER, trial, 1)[0] == 200
    assert json.loads(ask(server, "GET", f"/answers/{RATER}")[2]) == {trial: [1, 2.5]}
    assert json.loads(ask(server, "GET", "/answers/ffffffffffffffff")[2]) == {}


def test_fifty_raters_at_once_lose_nothing(served):
    study, server, folder = served
    start = threading.Barrier(50)

    def rate(number):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=120)
        start.wait()
        for at, trial in enumerate(study.trials):
            body = json.dumps({"value": (number + at) % 5, "seconds": number})
            connection.request("PUT", f"/answers/{number:016x}/{trial.id}", body)
            reply = connection.getresponse()
            assert (reply.status, reply.read()) == (200, b"{}\n")
        connection.close()

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(rate, range(50)))
    kept = {(a.rater, a.value, a.seconds) for a in read_answers(folder)}
    assert len(read_answers(folder)) == 50 * len(study.trials)
    assert kept == {(f"{n:016x}", (n + at) % 5, n) for n in range(50) for at in range(len(study.trials))}


def hostile_paths(trial):
    """Paths of answers that are none."""
    raters = [
        "..",
        "%2e%2e",
        "%00",
        RATER[:-1],
        RATER + "0",
        RATER.upper(),
        "é" * 16,
        "0" * 5000,
        "' OR 1=1 --",
        "",
        "١" * 16,
    ]
    trials = ["..", "%2e%2e", "f" * 16, f"{trial}%00", f"{trial}/", f"{trial}?a", f"{trial}#a", trial.upper() + "g", ""]
    yield from (f"/answers/{rater}/{trial}" for rater in raters)
    yield from (f"/answers/{RATER}/{wrong}" for wrong in trials)
    yield from (f"//answers/{RATER}//{trial}", f"/./answers/{RATER}/{trial}", "/answers", f"/images/../answers/{RATER}")


HOSTILE_BODIES = [
    *(b"", b"null", b"[]", b"5", b"{", b"\xff\xfe", b'{"value": 1}', b'{"seconds": 1}', b"[" * 1000, b'{"a":' * 200),
    *(b'{"value": 5, "seconds": 1}', b'{"value": -1, "seconds": 1}', b'{"value": 1.0, "seconds": 1}'),
    *(b'{"value": true, "seconds": 1}', b'{"value": "1", "seconds": 1}', b'{"value": null, "seconds": 1}'),
    *(b'{"value": 1, "seconds": NaN}', b'{"value": 1, "seconds": -1}', b'{"value": 1, "seconds": 1e999}'),
    *(b'{"value": 1, "seconds": 1, "more": 1}', b'{"value": 1, "seconds": true}', b'{"value": 1e3, "seconds": 1}'),
    *(b'{"value": 1, "seconds": 1' + b" " * 1000 + b"}", b'{"value": ' + b"9" * 900 + b', "seconds": 1}'),
]


def test_hostile_requests_are_refused_and_have_no_effect(served):
    study, server, folder = served
    trial = study.trials[0].id
    sound = b'{"value": 1, "seconds": 1}'
    for path in hostile_paths(trial):
        assert raw(server, f"PUT {path} HTTP/1.1".encode(), sound) in (400, 404, 414), path
    for body in HOSTILE_BODIES:
        assert raw(server, f"PUT /answers/{RATER}/{trial} HTTP/1.1".encode(), body) == 400, body
    line = f"PUT /answers/{RATER}/{trial} HTTP/1.1".encode()
    for headers in (
        b"",
        b"Content-Length: -5",
        b"Content-Length: 99999999999",
        b"Content-Length: 5_0",
        b"Transfer-Encoding: chunked",
    ):
        assert raw(server, line, sound, headers) == 400, headers
    for method in (b"POST", b"DELETE", b"OPTIONS", b"TRACE", b"HEAD", b"PATCH"):
        assert raw(server, method + line[3:], sound) == 501
    for first in (b"GET /\0 HTTP/1.1", b"GET / HTTP/9", b"GET", b"\0\xff", b"GET " + b"/" * 70000 + b" HTTP/1.1"):
        assert raw(server, first, b"") in (400, 404, 414, 505)
    assert read_answers(folder) == []
    assert put(server, RATER, trial)[0] == 200  # it still serves


def raw(server, line, body, headers=None):
    """Send bytes as they are; return the status of the reply."""
    head = f"Content-Length: {len(body)}".encode() if headers is None else headers
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as connection:
        connection.sendall(line + b"\r\nHost: x\r\n" + head + b"\r\n\r\n" + body)
        with connection.makefile("rb") as reply:
            return int(reply.readline().split()[1])


def test_an_answer_that_breaks_off_has_no_effect(served):
    study, server, folder = served
    line = f"PUT /answers/{RATER}/{study.trials[0].id} HTTP/1.1\r\nContent-Length: 26\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as connection:
        connection.sendall(line + b'{"value": 1, "sec')
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100).split()[1] == b"400"
    assert read_answers(folder) == []


def test_an_answer_that_cannot_be_kept_is_not_acknowledged_and_whoever_serves_hears_of_it(served, capsys, monkeypatch):
    study, server, _ = served

    def full(*_):
        raise StorageError("the disk is full")

    monkeypatch.setattr(server.store, "put", full)
    for _ in range(3):
        assert put(server, RATER, study.trials[0].id)[0] == 503
    monkeypatch.setattr(server.store, "of_rater", lambda _: {}["a fault of ours"])
    with pytest.raises(http.client.RemoteDisconnected):
        ask(server, "GET", f"/answers/{RATER}")
    assert capsys.readouterr().out == "the disk is full\nA request failed: KeyError('a fault of ours')\n"


def test_what_cannot_be_served_is_said(made, tmp_path):
    study = made(tmp_path / "study")
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(RequestError, match="Nothing can listen at"):
        Server(tmp_path / "study", study, "127.0.0.1", taken.getsockname()[1])
    (tmp_path / "study" / "images" / study.images[0]).unlink()
    with pytest.raises(DataError, match=f"{study.images[0]}` is missing"):
        Server(tmp_path / "study", study, "127.0.0.1", 0)


def test_a_killed_server_has_kept_what_it_acknowledged_and_one_that_is_asked_stops_in_order(made, start, tmp_path):
    folder = tmp_path / "study"
    study = made(folder)
    server = start(folder)
    acknowledged = []

    def rate(number):
        try:
            for trial in study.trials:
                if put(server, f"{number:016x}", trial.id, 2, number)[0] == 200:
                    acknowledged.append((f"{number:016x}", 2, float(number)))
                if len(acknowledged) >= 25:
                    server.process.kill()
        except (OSError, http.client.HTTPException):
            pass  # it is gone

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(rate, range(8)))
    assert server.kill() == -signal.SIGKILL
    kept = [(a.rater, a.value, a.seconds) for a in read_answers(folder)]
    assert len(acknowledged) >= 25
    assert not set(acknowledged) - set(kept)
    assert len(acknowledged) <= len(kept) <= len(acknowledged) + 8  # those in flight
    again = start(folder)
    assert f"{len(kept)} answers of" in again.said[0]
    assert put(again, RATER, study.trials[0].id)[0] == 200
    assert again.end() == 0
    raters = len({rater for rater, *_ in kept} | {RATER})
    assert again.said[-1] == f"Stopped by SIGTERM: {len(kept) + 1} answers of {raters} raters are kept.\n"
    assert not [path for path in folder.iterdir() if path.name.endswith(("-wal", "-shm"))]


@pytest.mark.slow
def test_ctrl_c_stops_and_another_host_is_warned_of(made, start, tmp_path):
    made(tmp_path / "study")
    server = start(tmp_path / "study", "--host", "0.0.0.0")
    assert "Warning: whoever reaches 0.0.0.0 sees the images" in server.said[0]
    assert server.end(signal.SIGINT) == 0
    assert "Stopped by SIGINT" in server.said[-1]
