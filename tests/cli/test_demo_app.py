"""`lensblend demo-app`: what the page does with a photo; and in a browser, from the upload to the file that is kept."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from lensblend.cli.demo_app import parser

SRC = Path(sys.modules["lensblend"].__file__).parents[1]
# Says where each process connects to; Python reads it before anything else.
WATCH = """
import os, sys
def watch(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        with open(os.environ["CONNECTED_TO"], "a") as file:
            file.write(f"{arguments[1][0]}\\n")
    elif event == "socket.getaddrinfo":
        with open(os.environ["CONNECTED_TO"], "a") as file:
            file.write(f"{arguments[0]}\\n")
sys.addaudithook(watch)
open(os.environ["CONNECTED_TO"], "a").write("watched\\n")
"""


def test_without_gradio_the_remedy_is_said(in_process, monkeypatch):
    monkeypatch.setattr("lensblend.cli.demo_app.find_spec", lambda name: None)
    done = in_process("demo_app")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "pip install 'lensblend[app]'" in done.err


@pytest.mark.parametrize(
    "flags", [["--port", "99999"], ["--queue", "0"], ["--max-megapixels", "nan"], ["--queue", "x"]]
)
def test_a_number_that_is_none_is_refused(flags, capsys):
    with pytest.raises(SystemExit) as stop:
        parser().parse_args(flags)
    assert stop.value.code == 2
    assert f"is a {'whole ' * (flags[0] != '--max-megapixels')}number from" in capsys.readouterr().err


@pytest.fixture
def gradio(tmp_path, monkeypatch):
    """The package, which keeps its files apart from everybody's."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    return pytest.importorskip("gradio", reason="the package gradio is not installed")


def test_an_address_that_is_taken_is_said_before_the_model_is_read(gradio, in_process):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = in_process("demo_app", "--port", taken.getsockname()[1], "--model", "none.ckpt")
    assert done.code == 2
    assert "cannot be served at (Address already in use); use" in done.err
    assert "--port 0" in done.err


@pytest.fixture
def handlers(gradio, tiny_model, tmp_path, one_thread):
    from lensblend.cli.app_page import Handlers
    from lensblend.cli.app_sessions import Sessions
    from lensblend.cli.app_studio import Studio

    sessions = Sessions(tmp_path)
    return Handlers(Studio(str(tiny_model), device="cpu", max_megapixels=0.1), sessions), sessions


def dropped(root, name="photo.png", size=(90, 60)):
    path = root / "0123" / name
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3)).astype(np.uint8)).save(path, "PNG")
    return str(path)


def test_a_photo_is_dropped_clicked_and_rendered_and_only_pictures_of_it_are_listed(handlers, tmp_path, gradio):
    handler, sessions = handlers
    preview = handler.take("a", dropped(tmp_path))[2]["value"]
    assert sessions.is_listed(preview)
    aimed, said, _ = handler.aim("a", [45, 15])
    assert said == "In focus: 51% from the left, 26% from the top."
    assert sessions.is_listed(aimed)
    handler.unaim("a")
    said, sides, _, maps, download = handler.render("a", "strength", 2, 1.0, lambda *_: None)
    assert "Rendered" in said
    assert [name for _, name in maps["value"]][:3] == ["W0-photo", "W1-gaussian3", "W2-gaussian5"]
    assert download["label"] == "Download photo-bokeh.png"
    sent = [*sides, download["value"], *(file for file, _ in maps["value"])]
    assert all(map(sessions.is_listed, sent))
    assert not sessions.is_listed(str(sessions.of("a").photo))
    handler.forget("a")
    assert not any(map(sessions.is_listed, sent))
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_what_goes_wrong_is_said_as_text(handlers, tmp_path, gradio):
    handler, _ = handlers

    def advance(*_):
        pass

    with pytest.raises(gradio.Error, match="There is no photo"):
        handler.render("a", "default", 1, 1, advance)
    with pytest.raises(gradio.Error, match="upload is gone"):
        handler.take("a", "/etc/passwd")
    with pytest.raises(gradio.Error) as large:
        handler.take("a", dropped(tmp_path, "<b>'x'&.png", (500, 500)))
    assert "megapixel" in large.value.message or "pixels" in large.value.message
    assert not set("<>'\"") & set(large.value.message)
    assert str(tmp_path) not in large.value.message
    handler.take("a", dropped(tmp_path))
    for way, value in (("strength", 1e9), ("strength", "2"), ("f-number", 0.0), ("strength", float("nan"))):
        with pytest.raises(gradio.Error, match="is a number from"):
            handler.render("a", way, value, value, advance)
    for index in ([1e9, 0], [-5, 0], ["a", "b"], None, 5, [1], [float("nan"), 0], {"a": 1}):
        with pytest.raises(gradio.Error, match="share of the photo"):
            handler.aim("a", index)


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    """The verb in a process of its own with the model in the box, and where it has connected to."""
    pytest.importorskip("gradio", reason="the package gradio is not installed")
    folder = tmp_path_factory.mktemp("serving")
    (folder / "tmp").mkdir()
    (folder / "watch").mkdir()
    (folder / "watch" / "sitecustomize.py").write_text(WATCH)
    path = os.pathsep.join([str(folder / "watch"), str(SRC)])
    own = {"PYTHONPATH": path, "TMPDIR": str(folder / "tmp"), "CONNECTED_TO": str(folder / "connected")}
    command = [sys.executable, "-m", "lensblend.cli.main", "demo-app", "--port", "0", "--device", "cpu"]
    with subprocess.Popen(
        command, cwd=folder, env={**os.environ, **own}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        line = process.stdout.readline()
        assert line.startswith("Open http://127.0.0.1:"), line + process.stdout.read()
        yield SimpleNamespace(
            address=line.split()[1], process=process, tmp=folder / "tmp", connected=folder / "connected", cwd=folder
        )
        process.kill()


@pytest.fixture(scope="module")
def astronaut(tmp_path_factory):
    """scikit-image's photo, smaller."""
    from skimage import data

    path = tmp_path_factory.mktemp("photo") / "astronaut <b>1.png"
    Image.fromarray(data.astronaut()).resize((240, 240)).save(path)
    return path


@pytest.mark.slow
def test_in_a_browser_a_photo_is_rendered_as_on_the_command_line_and_nothing_is_fetched_from_elsewhere(
    serving, browser, astronaut, lensblend, picture, tmp_path
):
    tab = browser.new_page(viewport={"width": 1400, "height": 1000})
    tab.set_default_timeout(120_000)
    requests, problems = [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("response", lambda answer: problems.append(answer.url) if answer.status >= 400 else None)
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    tab.goto(serving.address)
    tab.set_input_files("#photo input[type=file]", str(astronaut))
    tab.wait_for_selector("#preview img")
    tab.locator("#way").get_by_text("strength").click()
    tab.locator("#strength input[type=number]").fill("2")
    tab.locator("#strength input[type=number]").press("Enter")
    tab.click("#go")
    tab.wait_for_selector("#download")
    assert tab.locator("#result img").count() == 2
    assert tab.locator("#maps img").count() == 5
    with tab.expect_download() as kept:
        tab.click("#download")
    kept.value.save_as(tmp_path / "kept.png")
    done = lensblend("render", astronaut, "--strength", "2", "--device", "cpu", "-o", tmp_path / "line.png")
    assert done.code == 0, done.err
    np.testing.assert_array_equal(picture(tmp_path / "kept.png"), picture(tmp_path / "line.png"))
    assert kept.value.suggested_filename.endswith("-bokeh.png")
    assert not set("<>") & set(kept.value.suggested_filename)
    assert [url for url in requests if not url.startswith((serving.address, "data:", "blob:"))] == []
    assert problems == []
    assert [file for file in serving.tmp.rglob("*.png") if file.is_file()]
    tab.close()
    until = time.monotonic() + 60
    while time.monotonic() < until and [file for file in serving.tmp.rglob("*.*") if file.is_file()]:
        time.sleep(0.5)
    assert not [file for file in serving.tmp.rglob("*.*") if file.is_file()]


@pytest.mark.slow
def test_hostile_names_and_paths_stay_harmless(serving, astronaut):
    photo = astronaut.read_bytes()
    boundary = "x0123456789"
    names = [
        "../../etc/passwd", "..\\..\\boot.ini", "/etc/passwd.png", "<img src=x onerror=alert(1)>.png", "a\x00b.png",
        "x" * 5000 + ".png", "x" * 250 + ".png", ".bashrc", "$(touch here)`id`.png", "-rf.png", "街\u202egnp.png",
        "con.png", "",
    ]  # fmt: skip
    host, port = serving.address.removeprefix("http://").split(":")

    def asked(method, path, body=None, **headers):
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    for name in names:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
        head += "Content-Type: image/png\r\n\r\n"
        body = head.encode() + photo + f"\r\n--{boundary}--\r\n".encode()
        kind = f"multipart/form-data; boundary={boundary}"
        status, content = asked("POST", "/gradio_api/upload", body, **{"Content-Type": kind})
        assert status in (200, 400, 413), (name, content)
        if status != 200 or not isinstance(json.loads(content)[0], str):
            continue
        place = Path(json.loads(content)[0])
        assert place.resolve().is_relative_to(serving.tmp.resolve()), name
        assert asked("GET", f"/gradio_api/file={quote(str(place))}")[0] == 404
    for path in (*names, "/etc/passwd", "http://127.0.0.1:1/", "file:///etc/passwd", f"{serving.tmp}/../connected"):
        assert asked("GET", f"/gradio_api/file={quote(path)}")[0] == 404
        call = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}], "fn_index": 0, "session_hash": "h"}
        assert asked("POST", "/gradio_api/queue/join", json.dumps(call))[0] == 403
    assert asked("GET", "/", Host="evil.example")[0] == 421
    assert sorted(file.name for file in serving.cwd.iterdir()) == ["connected", "tmp", "watch"]
    assert asked("GET", "/")[0] == 200


@pytest.mark.slow
def test_a_signal_stops_it_in_good_order_and_it_has_spoken_to_nobody(serving):
    serving.process.send_signal(signal.SIGTERM)
    rest = serving.process.stdout.read()
    assert serving.process.wait(30) == 143
    assert "Stopped (SIGTERM); what was uploaded is deleted." in rest
    assert "Traceback" not in rest
    assert not [entry for entry in serving.tmp.iterdir() if entry.name.startswith("lensblend-app")]
    places = set(serving.connected.read_text().split())
    assert "watched" in places
    assert places <= {"watched", "127.0.0.1", "::1", "localhost"}
