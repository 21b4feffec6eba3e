"""A run finds its own data, folder and record from wherever it is taken up, and nobody else's."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import yaml
from PIL import Image

from hostile_names import NAMES
from lensblend.data.pairs import Pairs, Source
from lensblend.runs.checkpoint_files import read_checkpoint
from lensblend.runs.fingerprints import changes, fingerprint
from lensblend.runs.places import placed, started_in
from lensblend.runs.status import LOCK, Lock
from lensblend.storage import LONGEST, fitting, new_folder, temporary_beside, write_atomically
from lensblend.training.checkpoint_io import AtomicCheckpointIO

SMALL = [
    *("debug=smoke", "+backbone.width_divisor=16", "metrics.lpips=null", "metrics.ssim=null"),
    *("callbacks.panels=null", "schedule.run=[phase1]", "loader.num_workers=0"),
]
DATA = ["data=folder", "data.photos=photos", "data.targets=targets", "data.val_fraction=0.4"]


def pairs(folder, level, count=8):
    """Make pairs that differ by so many levels."""
    for name in ("photos", "targets"):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.full((44, 60, 3), 20 * index + (level if name == "targets" else 0), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder in which a run was trained on photos beside it, by relative paths, from within the run's folder."""
    home = tmp_path_factory.mktemp("home")
    pairs(home, 10)
    command = [sys.executable, "-m", "lensblend.cli.train", *SMALL, *DATA, "run_dir=out", "hydra.job.chdir=true"]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return home


@pytest.fixture
def elsewhere(home, tmp_path):
    """Another folder, with a copy of the run, and with other photos of the same relative paths and names."""
    pairs(tmp_path, 90)
    shutil.copytree(home / "out", tmp_path / "run")
    return tmp_path


def test_a_run_lies_where_it_was_told_to_and_names_its_data_whole(home):
    assert not (home / "out" / "out").exists()
    config = yaml.safe_load((home / "out" / "config.yaml").read_text())
    assert config["data"]["photos"] == str(home / "photos")


@pytest.mark.parametrize("of_earlier_version", [False, True])
def test_a_run_is_evaluated_on_its_own_photos_from_anywhere(in_process, home, elsewhere, of_earlier_version):
    run = elsewhere / "run"
    if of_earlier_version:
        _as_earlier(run, home)
    done = in_process("evaluate", f"checkpoint={run}", "references=true", "output=out", cwd=elsewhere)
    assert done.code == 0, done.err
    about = json.loads((elsewhere / "out" / "metrics.json").read_text())
    # Photo and target are 10 levels apart there, 90 here.
    assert about["references"]["photo"]["psnr"] == pytest.approx(20 * np.log10(255 / 10), abs=0.01)
    assert "Not the pairs" not in done.out


def _as_earlier(run, home):
    """Let a run be as an earlier version left it, whose paths were as they were typed."""
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(f"{home}/", ""))
    for file in (run / "phase1").glob("*.ckpt"):
        content = read_checkpoint(file)
        content["lensblend"]["config"] = content["lensblend"]["config"].replace(f"{home}/", "")
        AtomicCheckpointIO().save_checkpoint(content, file)
    status = json.loads((run / "status.json").read_text())
    del status["ids"]
    (run / "status.json").write_text(json.dumps(status))
    assert started_in(run) == home


def test_a_run_goes_on_with_its_own_pairs_only(in_process, home, elsewhere):
    run = elsewhere / "run"
    more = [f"resume={run}", "schedule.run=[phase1,phase2]"]
    hidden = [path.rename(path.with_name(f".{path.name}")) for path in (home / "photos/5.png", home / "targets/5.png")]
    try:
        done = in_process("evaluate", f"checkpoint={run}", "split=train", "output=out", cwd=elsewhere)
        assert done.code == 0, done.err
        assert f"Not the pairs that {run} was trained with" in done.out
        done = in_process("train", *more, cwd=elsewhere)
        assert done.code == 2
        assert "was trained with other pairs" in done.err
        assert "resume_overrides=[data]" in done.err
        shutil.move(home / "photos", home / "moved")
        done = in_process("train", *more, cwd=elsewhere)
        shutil.move(home / "moved", home / "photos")
        assert done.code == 2
        assert f"{home}/photos` is not a folder" in done.err
    finally:
        for path in hidden:
            path.rename(path.with_name(path.name[1:]))
    assert "phase2" not in json.loads((run / "status.json").read_text())["phases"]
    done = in_process("train", *more, cwd=elsewhere)
    assert done.code == 0, done.err
    assert f"{home}/photos" in done.out


def test_nothing_is_written_to_a_folder_that_is_being_trained_in(home, elsewhere, in_process):
    run = elsewhere / "run"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != LOCK}
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"""
from pathlib import Path
from lensblend.runs.status import Lock
with Lock(Path({str(run)!r})):
    print(flush=True)
    input()
""",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    holder.stdout.readline()
    for name in ("run_dir", "hydra.run.dir", "resume"):
        done = in_process("train", "seed=7", f"{name}={run}", cwd=elsewhere)
        assert done.code == 2
        assert "is being trained in by process" in done.err
    holder.communicate("\n")
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != LOCK}


def test_a_lock_is_taken_once_and_leaves_no_empty_folder(tmp_path):
    folder = tmp_path / "a" / "b"
    with Lock(folder):
        with Lock(folder):
            assert (folder / LOCK).exists()
        assert folder in Lock._taken
    assert not (tmp_path / "a").exists()
    with Lock(folder):
        (folder / "status.json").touch()
    assert sorted(path.name for path in folder.iterdir()) == [LOCK, "status.json"]


def test_folders_made_at_once_are_all_different(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_folder(tmp_path / "12-00-00"), range(40)))
    assert len(set(made)) == 40
    assert {path.name for path in made} == {"12-00-00", *(f"12-00-00-{n}" for n in range(2, 41))}


def test_trainings_and_sweeps_of_the_same_second_have_folders_of_their_own(tmp_path):
    code = """
import sys
from datetime import datetime
from lensblend.cli import config
class Then(datetime):
    @classmethod
    def now(cls): return cls(2026, 1, 2, 3, 4, 5)
config.datetime = Then
def one(*arguments):
    config._fresh_folder.cache_clear()
    sys.argv[1:] = arguments
    return config.sweep_folder("") if "-m" in arguments else config.run_folder(None, None, "")
print(one(), one("seed=1"), one("-m"), one("-m", "seed=1"), one("--cfg", "job"), config.run_folder(None, None, ""))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    run, sweep = "outputs/train/2026-01-02/03-04-05", "outputs/multirun/2026-01-02/03-04-05"
    assert done.stdout.split() == [run, f"{run}-2", sweep, f"{sweep}-2", run, run]
    made = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("outputs/*/*/*"))
    assert made == sorted([run, f"{run}-2", sweep, f"{sweep}-2"])


class Numbered(Source):
    def __init__(self, **ids):
        self._ids = ids

    def split(self, name):
        found = type("Found", (Pairs,), {"load": None})()
        found.ids = self._ids[name]
        return found


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (["a", "b"], []),
        (["b", "a"], ["2 training pairs then, 2 now, of other names"]),
        (["a"], ["2 training pairs then, 1 now"]),
        (["a\0b"], ["2 training pairs then, 1 now"]),
    ],
)
def test_other_pairs_are_noticed(train, said):
    then = fingerprint(Numbered(train=["a", "b"], val=list(NAMES.values())))
    assert changes(json.loads(json.dumps(then)), Numbered(train=train, val=list(NAMES.values()))) == said
    assert changes(None, Numbered(train=train, val=[])) == []


def test_test_pairs_are_noted_where_there_are_any():
    class Tested(Numbered):
        def test(self):
            return self.split("val")

    then, none = fingerprint(Tested(train=["a"], val=["b"])), fingerprint(Numbered(train=["a"], val=["b"]))
    assert then == {**none, "test": then["val"]}
    said = ["1 validation pairs then, 1 now, of other names", "1 test pairs then, 1 now, of other names"]
    assert changes(then, Tested(train=["a"], val=["c"])) == said
    # A run of an earlier version has noted none.
    assert changes(none, Tested(train=["a"], val=["b"])) == []


def test_only_what_names_a_place_becomes_whole(tmp_path):
    (tmp_path / "lists").mkdir()
    node = {
        "seed": 0,
        "init_from": "runs/a",
        "data": {
            "_target_": "own.Data",
            "root": "x",
            "exclude": [1, 2],
            "cache": None,
            "own": "lists/",
            "flips": "lists",
        },
        "saliency": {"weights": "/abs", "folder": "sqlite:///x", "name": "timm/resnet18"},
        "loss": [{"weights": "vgg.pth"}],
    }
    whole = placed(node, tmp_path)
    assert whole == placed(whole, tmp_path / "other")
    assert whole["data"] == {**node["data"], "root": str(tmp_path / "x"), "own": str(tmp_path / "lists")}
    assert whole["saliency"] == node["saliency"]
    assert whole["loss"] == [{"weights": str(tmp_path / "vgg.pth")}]
    assert whole["init_from"] == str(tmp_path / "runs/a")
    assert placed({"weights": "~/x"}, tmp_path)["weights"].startswith("/")


@pytest.mark.parametrize("name", [*NAMES.values(), "x" * LONGEST, "街" * 85], ids=[*NAMES, "longest", "longest 街"])
def test_files_of_any_name_are_written_whole(tmp_path, name):
    write_atomically(tmp_path / name, f"{name}\n")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with temporary_beside(tmp_path / name) as temporary:
        temporary.touch()
    beside = tmp_path / fitting(name, "-W0-gaussian25.png")
    beside.touch()
    assert beside.name.endswith("-W0-gaussian25.png")
