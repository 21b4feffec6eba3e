"""The verbs on other people's machines, where things are not as on a developer's desk: done, or one clear line."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).with_name("lensblend")
TINY = [
    *("debug=smoke", "experiment=demo", "+backbone.width_divisor=16", "metrics.lpips=null", "metrics.ssim_wang=null"),
    *("logger=none", "callbacks.panels=null", "schedule.run=[phase1]", "data.train=4", "data.val=2"),
]
NOBODY = ["unshare", "--user", "--map-user=54321"]
# Root may write everywhere, but not without this.
AS_OTHERS = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"] if os.geteuid() == 0 else []
SMALL_SHM = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=256k tmpfs /dev/shm && exec "$0" "$@"']
STARTED = []
FOREIGN = "raise SystemExit('a module of the current folder was executed')"


@dataclass(frozen=True)
class Place:
    """What is unusual: variables (None removes one), a command before ours, a redirection, files that lie here."""

    variables: dict = field(default_factory=dict)
    before: tuple = ()
    redirection: str = ""
    files: tuple = ()
    read_only: bool = False


PLACES = {
    "no home, no passwd entry": Place({"HOME": None, "USER": None, "LOGNAME": None}, tuple(NOBODY)),
    "no output": Place(redirection=">&-"),
    "a reader that goes away": Place(redirection="| head -1"),
    "a read-only folder": Place(before=tuple(AS_OTHERS), read_only=True),
    "no temporary folder, no git, a poor terminal, nowhere for caches": Place(
        {"TMPDIR": "/nowhere/at/all", "PATH": "/nowhere", "TERM": "dumb", "COLUMNS": "20", "NO_COLOR": "1"}
        | {"WANDB_DIR": "/proc/no", "MPLCONFIGDIR": "/proc/no", "XDG_CACHE_HOME": "/proc/no"}
    ),
    "modules of common names; POSIX, not coerced": Place(
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        files=("queue.py", "random.py", "numpy.py", "lensblend.py"),
    ),
}


def requests(run, photo, out):
    """A request of each verb, and a file that it leaves."""
    compared = ["--output", out / "compare", "--limit", 1, "--gallery-limit", 1, "--device", "cpu", "--again"]
    return {
        "render": ([photo, "--model", run, "--output", out / "render"], out / "render" / photo.name),
        "evaluate": ([f"checkpoint={run}", f"output={out / 'scores'}", "limit=1"], out / "scores" / "metrics.json"),
        "compare": ([run, *compared], out / "compare" / "compare.md"),
    }


def start(place, cwd, *arguments, **more):
    """Start a verb in a place; Bash tells how the verb itself ended, whatever its output is put into."""
    changed = {"PYTHONPATH": str(CHECKOUT / "src"), "OMP_NUM_THREADS": "1", **place.variables}
    environment = {name: value for name, value in {**os.environ, **changed}.items() if value is not None}
    script = f'"$@" {place.redirection}; exit "${{PIPESTATUS[0]}}"'
    command = [shutil.which("bash"), "-c", script, "bash", *map(shutil.which, place.before[:1]), *place.before[1:]]
    command += [sys.executable, "-P", PROGRAM, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=cwd, env=environment, start_new_session=True, **pipes, **more)
    STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def nothing_goes_on():
    """Whatever a test that failed has left behind ends with it."""
    yield
    while STARTED:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(STARTED.pop().pid, signal.SIGKILL)


def needs(place):
    """Skip where this machine does not allow what a place is made with."""
    tried = [*place.before[:1], *(["true"] if not place.before else [*place.before[1:], "true"])]
    if place.before and subprocess.run(tried, capture_output=True, check=False).returncode:
        pytest.skip(f"{place.before[0]} is not allowed here")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished training, started as a user does."""
    folder = tmp_path_factory.mktemp("environments")
    done = start(Place(), folder, "train", *TINY, f"run_dir={folder / 'run'}")
    _, errors = done.communicate(timeout=600)
    assert done.returncode == 0, errors
    return folder / "run"


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", PLACES)
def test_every_verb_does_its_work(run, photo, tmp_path, name):
    place = PLACES[name]
    needs(place)
    here = tmp_path / "here"
    here.mkdir()
    for file in place.files:
        (here / file).write_text(FOREIGN, encoding="utf-8")
    if place.read_only:
        here.chmod(0o555)
    asked = requests(run, photo, tmp_path)
    started = {verb: start(place, here, verb, *arguments) for verb, (arguments, _) in asked.items()}
    for verb, process in started.items():
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, f"{verb}: {errors.decode()}"
        assert b"Traceback" not in errors, f"{verb}: {errors.decode()}"
        assert asked[verb][1].is_file(), verb
    assert sorted(path.name for path in here.iterdir()) == sorted(place.files)


@pytest.mark.slow
def test_where_nothing_can_be_written_a_verb_says_so_before_it_works(run, photo, tmp_path):
    place = Place(before=tuple(AS_OTHERS))
    needs(place)
    here = tmp_path / "here"
    here.mkdir(mode=0o555)
    asked = {"render": [photo, "--model", run, "--output", "out"], "compare": [run], "train": TINY}
    for verb, arguments in asked.items():
        process = start(place, here, verb, *arguments)
        out, errors = (text.decode() for text in process.communicate(timeout=600))
        assert process.returncode in (1, 2), (verb, errors)
        assert errors.count("\n") == 1, (verb, errors)
        assert "could not be written (Permission denied" in errors, (verb, errors)
        assert "Scoring" not in out + errors


@pytest.mark.slow
def test_a_training_whose_reader_goes_away_trains_on(tmp_path):
    place = Place(redirection="| head -3")
    process = start(place, tmp_path, "train", *TINY, "run_dir=run", "schedule.every_phase.max_epochs=4")
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert out.count(b"\n") == 3
    content = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (content["state"], content["phases"]["phase1"]["epochs"]) == ("done", 4)


@pytest.mark.slow
def test_too_little_shared_memory_is_said_with_what_to_do(tmp_path):
    place = Place(before=tuple(SMALL_SHM))
    needs(place)
    large = ["loader.num_workers=2", "schedule.every_phase.image_size=[256,384]"]
    process = start(place, tmp_path, "train", *TINY, *large, "run_dir=run")
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 2, errors
    assert b"Traceback" not in errors
    assert b"loader.num_workers=0" in errors, errors
