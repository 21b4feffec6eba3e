"""The page in a real browser: by keyboard alone, through a killed server, without one, by mouse and touch."""

import json
import shutil
import subprocess
import tarfile

import pytest

from lensblend.survey.pages import export
from lensblend.survey.store import read_answers
from lensblend.survey.study import read_key

pytestmark = [pytest.mark.slow, pytest.mark.alone]
WIDE, NARROW = {"width": 1400, "height": 900}, {"width": 420, "height": 860}
AXE = "axe-core@4.10.2"


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """The text of axe-core, as the npm registry has it."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed, which fetches axe-core")
    folder = tmp_path_factory.mktemp("axe")
    command = ["npm", "pack", AXE, "--pack-destination", str(folder)]
    if subprocess.run(command, capture_output=True, cwd=folder, timeout=120, check=False).returncode:
        pytest.skip("axe-core could not be fetched from the npm registry")
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as package:
        return package.extractfile("package/axe.min.js").read().decode()


class Rater:
    """Somebody at a browser; what the page asks for and complains of is remembered."""

    def __init__(self, browser, viewport=WIDE, **options):
        self.context = browser.new_context(viewport=viewport, **options)
        self.requests, self.complaints = [], []
        self.open_tab()

    def open_tab(self):
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(90_000)
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.on("console", lambda message: self.complaints.append(message.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))

    def press(self, *keys):
        for key in keys:
            self.tab.keyboard.press(key)

    def tab_to(self, name):
        """Go by the Tab key to what has this id, and see that the focus is visible."""
        for _ in range(30):
            if self.tab.evaluate("document.activeElement.id") == name:
                style = self.tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert style == "solid", f"no focus is seen on {name}"
                return
            self.press("Tab")
        raise AssertionError(f"{name} is not reached by Tab")

    def begin(self):
        for name in ("agree", "begin"):
            self.tab_to(name)
            self.press("Enter")
        self.wait_for_pictures()

    def wait_for_pictures(self):
        # As it is served, before anything is filled in, the form is enabled too.
        self.tab.locator("#trial-title:has-text(' of ')").wait_for(state="attached")
        self.tab.locator("#trial input:enabled").first.wait_for(state="attached")

    @property
    def place(self):
        return self.tab.locator("#trial-title").inner_text()

    def sources(self):
        """The ids of what each pane shows, the original behind it left out."""
        images = self.tab.locator(".pane img:not(.behind)").evaluate_all("images => images.map((i) => i.src)")
        return [source.rsplit("/", 1)[1].partition(".")[0] for source in images]


@pytest.fixture
def study(made, tmp_path):
    """A study of ten trials, its key and its folder."""
    study = made(tmp_path / "study")
    return study, read_key(tmp_path / "study", study), tmp_path / "study"


def check(tab, axe):
    """See that a screen has no fault that axe-core finds, and fits its window's width, also on a telephone."""
    for viewport in (WIDE, NARROW):
        tab.set_viewport_size(viewport)
        assert tab.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        found = json.loads(tab.evaluate(f"{axe}\naxe.run().then((result) => JSON.stringify(result))"))
        assert [fault["id"] for fault in found["violations"]] == [], json.dumps(found["violations"], indent=1)
        assert len(found["passes"]) > 10
    tab.set_viewport_size(WIDE)


def test_no_screen_has_a_fault_that_axe_finds(browser, made, start, tmp_path, axe):
    for mode in ("levels", "pairs"):
        study = made(tmp_path / mode, mode, images=1)
        server = start(tmp_path / mode)
        rater = Rater(browser)
        rater.tab.goto(server.address)
        check(rater.tab, axe)
        rater.tab_to("agree")
        rater.press("Enter")
        check(rater.tab, axe)
        rater.tab_to("begin")
        rater.press("Enter")
        for trial in range(len(study.trials)):
            rater.wait_for_pictures()
            if trial == 1:
                check(rater.tab, axe)
            rater.press("1" if mode == "levels" else "ArrowLeft", "Enter")
        rater.tab.locator("#end").wait_for()
        check(rater.tab, axe)
        assert rater.complaints == []
        rater.context.close()
        server.end()


def test_a_rater_completes_a_study_by_keyboard_through_a_killed_server(browser, study, start):
    study, key, folder = study
    server = start(folder)
    rater = Rater(browser)
    rater.tab.goto(server.address)
    rater.begin()
    count, given = len(study.trials), {}
    trial_of = {(trial.target, trial.shown[0]): trial for trial in study.trials}

    def answer(level):
        rater.wait_for_pictures()
        given[trial_of[tuple(rater.sources())].id] = level
        rater.press(str(level), "Enter")

    for at in range(4):
        assert rater.place == f"Picture {at + 1} of {count}"
        answer(at)
    rater.wait_for_pictures()
    # The last one is thought over again.
    rater.press("Backspace")
    assert rater.place == f"Picture 4 of {count}"
    rater.wait_for_pictures()
    assert rater.tab.locator("input:checked").input_value() == "3"
    answer(2)
    rater.wait_for_pictures()
    assert rater.complaints == []
    port = server.server_port
    server.kill()
    assert [a.value for a in read_answers(folder)].count(2) == 2
    # The next pictures are here already; those after them are not.
    answer(4)
    rater.tab.locator("#status:has-text('is not saved yet. Keep this page open')").wait_for()
    answer(0)
    rater.tab.locator("#failed").wait_for()
    server = start(folder, "--port", port)
    rater.wait_for_pictures()
    assert rater.place == f"Picture 7 of {count}"
    assert not rater.tab.locator("#failed").is_visible()
    # What could not be sent is sent without being asked for.
    rater.tab.locator("#status:empty").wait_for(state="attached")
    assert len(read_answers(folder)) == 6
    # The tab is closed, and the page opened again.
    rater.tab.close()
    rater.open_tab()
    rater.tab.goto(server.address)
    rater.wait_for_pictures()
    assert rater.place == f"Picture 7 of {count}"
    for at in range(6, count):
        answer(at % 5)
    rater.tab.locator("#status:has-text('All your answers are saved')").wait_for()
    code = rater.tab.locator("#code").inner_text()
    kept = read_answers(folder)
    server.end()
    assert {answer.rater for answer in kept} == {code}
    wanted = [(*key.unblinded(study.by_id[trial]), value) for trial, value in sorted(given.items())]
    assert [(a.image, a.method, a.other, a.expected, a.value) for a in kept] == wanted
    assert all(answer.seconds < 600 for answer in kept)
    assert {url.split("/")[2] for url in rater.requests} == {f"127.0.0.1:{port}"}
    assert not rater.context.cookies()
    rater.context.close()


def test_an_exported_study_gives_a_file_of_answers_whose_sides_are_right(browser, made, tmp_path):
    """Whichever side it is on, the rater prefers the method whose name comes last."""
    study = made(tmp_path / "study", "pairs")
    key = read_key(tmp_path / "study", study)
    export(tmp_path / "study", study, tmp_path / "hosted")
    files = []
    for _ in range(2):
        rater = Rater(browser)
        rater.tab.goto((tmp_path / "hosted" / "index.html").as_uri())
        rater.begin()
        sides = []
        for _ in study.trials:
            rater.wait_for_pictures()
            left, _, right = (key.images[image].method for image in rater.sources())
            sides.append("ArrowLeft" if left > right else "ArrowRight")
            rater.press(sides[-1], "Enter")
        assert len(set(sides)) == 2
        rater.tab_to("download")
        assert rater.tab.locator("#another").is_disabled()
        with rater.tab.expect_download() as download:
            rater.press("Enter")
        files.append(tmp_path / "study" / "answers" / download.value.suggested_filename)
        download.value.save_as(files[-1])
        assert rater.tab.locator("#another").is_enabled()
        assert rater.complaints == []
        assert all(url.startswith(("file://", "blob:")) for url in rater.requests)
        rater.context.close()
    assert len(set(files)) == 2
    answers = read_answers(tmp_path / "study")
    assert len(answers) == 2 * len(study.trials)
    for answer in answers:
        assert answer.value == int(answer.method > answer.other)
        # Of the target and its blurred copy, too.
        assert answer.expected is None or answer.expected == answer.value


def transforms(rater):
    return set(rater.tab.locator(".pane img").evaluate_all("images => images.map((i) => i.style.transform)"))


def test_pictures_move_and_grow_together_and_give_way_to_the_original(browser, made, start, tmp_path):
    folder = tmp_path / "study"
    made(folder, size=(240, 360), images=1)
    server = start(folder)
    rater = Rater(browser, {"width": 800, "height": 600}, has_touch=True)
    rater.tab.goto(server.address)
    rater.begin()
    panes = rater.tab.locator(".pane")
    box = panes.nth(1).bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    seen = [transforms(rater)]

    def changed():
        seen.append(transforms(rater))
        assert len(seen[-1]) == 1, "the panes differ"
        assert seen[-1] != seen[-2]

    rater.tab.mouse.move(*middle)
    rater.tab.mouse.wheel(0, -400)
    rater.tab.wait_for_timeout(500)
    changed()
    rater.tab.mouse.down()
    rater.tab.mouse.move(middle[0] - 60, middle[1] - 40, steps=4)
    rater.tab.mouse.up()
    changed()
    for key in ("+", "d", "s", "-", "w", "a"):
        rater.press(key)
        changed()
    rater.press("f")
    assert transforms(rater) == seen[0]
    rater.press("z")
    assert rater.tab.locator("#enlargement").inner_text() == "100 %"
    rater.press("f")
    seen.append(transforms(rater))
    assert seen[-1] == seen[0]
    devtools = rater.context.new_cdp_session(rater.tab)
    pinch = {"x": middle[0], "y": middle[1], "scaleFactor": 2, "relativeSpeed": 4000, "gestureSourceType": "touch"}
    devtools.send("Input.synthesizePinchGesture", pinch)
    rater.tab.wait_for_timeout(500)
    changed()
    behind = rater.tab.locator("img.behind")
    style = "image => getComputedStyle(image).visibility"
    for down, up in (
        (lambda: rater.tab.keyboard.down("o"), lambda: rater.tab.keyboard.up("o")),
        (lambda: rater.tab.click("#original"), lambda: rater.tab.click("#original")),
    ):
        assert behind.evaluate(style) == "hidden"
        down()
        assert behind.evaluate(style) == "visible"
        assert panes.nth(1).locator("xpath=..").locator("figcaption").inner_text() == "Original"
        up()
    assert behind.evaluate(style) == "hidden"
    assert rater.complaints == []
    rater.context.close()
    server.end()
