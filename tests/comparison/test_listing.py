"""What is listed of the runs below a folder."""

from datetime import UTC, datetime

import pytest
import yaml

from lensblend.comparison import listing
from lensblend.comparison.listing import SCORES, chosen, list_runs, set_apart
from lensblend.errors import DataError, RequestError
from lensblend.metrics.fidelity import Psnr, Ssim
from lensblend.metrics.perceptual import Lpips
from lensblend.runs.status import Lock
from made_runs import CONFIG, made


def test_a_run_is_told_by_its_own_files(tmp_path):
    folder = made(tmp_path / "a" / "10", psnr=21.5, padding=5000)
    made(tmp_path / "a" / "9", seed=1)
    second, first = set_apart(list_runs(tmp_path))
    assert (first.folder, second.folder.name) == (folder, "9")
    assert (first.state, first.phase, first.number, first.phases) == ("done", "two", 2, 2)
    assert (first.step, first.epochs, first.max_epochs) == (7, 4, 4)
    assert first.scores == {"psnr": 21.5, "lpips": 0.3}
    assert first.size == sum(file.stat().st_size for file in folder.iterdir())
    assert (datetime.now(UTC) - first.updated).total_seconds() < 60
    assert (first.differs, second.differs) == ({"seed": 0}, {"seed": 1})
    assert first.config["schedule.phases.one.lr"] == 0.1
    assert first.config["note"] == CONFIG["note"]


def test_states_that_files_alone_do_not_tell(tmp_path):
    made(tmp_path / "1-killed", state="running")
    trained = made(tmp_path / "2-running", state="failed", error="before\nit was repaired")
    elsewhere = made(tmp_path / "3-elsewhere", state="running")
    (elsewhere / ".lock").write_text("process 1 on another-machine\n")
    (tmp_path / "4-new" / ".hydra").mkdir(parents=True)
    (made(tmp_path / "5-damaged") / "status.json").write_text("{")
    (made(tmp_path / "6-config") / "config.yaml").write_text("a: [")
    lost = made(tmp_path / "7-lost")
    (lost / "status.json").unlink()
    (lost / ".hydra").mkdir()
    (lost / "one").mkdir()
    (lost / "one" / "last.ckpt").touch()
    made(tmp_path / "8-odd", state="dancing")
    with Lock(trained):
        runs = list_runs(tmp_path)
    assert [run.state for run in runs] == [
        *("killed", "running", "elsewhere", "new", "damaged", "done", "damaged", "damaged")
    ]
    assert "status.json is damaged" in runs[4].fault
    assert "config.yaml is damaged" in runs[5].fault
    assert runs[6].fault == "status.json is missing"
    assert [run.state for run in list_runs(trained)] == ["failed"]
    assert list_runs(trained)[0].fault == "before\nit was repaired"


def test_lists_are_narrowed_and_sorted(tmp_path):
    made(tmp_path / "a", psnr=20.0, age=300, seed=1, padding=10)
    made(tmp_path / "b", psnr=22.0, age=100, seed=2, padding=9000)
    made(tmp_path / "c", psnr=21.0, age=200, seed=1, state="failed", padding=500, phases={})
    runs = list_runs(tmp_path)

    def names(**asked):
        return [run.folder.name for run in chosen(runs, **asked)]

    assert names() == ["a", "b", "c"]
    assert names(sort="psnr") == ["b", "a", "c"]  # without a score, the last
    assert names(sort="age") == ["b", "c", "a"]
    assert names(sort="size") == ["b", "c", "a"]
    assert names(states=["failed"]) == ["c"]
    assert names(where=["seed=1"], states=["done"]) == ["a"]
    assert names(where=["kernels=g", "schedule.phases.one.lr=1e-1"]) == ["a", "b", "c"]
    assert names(where=["kernels.sizes=[25, 45, 75]", "seed=2"]) == names(where=["model._target_=a.B", "seed=2"])
    with pytest.raises(RequestError, match=r"no run here has the key sede; did you mean `seed`"):
        names(where=["sede=1"])
    with pytest.raises(RequestError, match="is KEY=VALUE"):
        names(where=["seed"])
    with pytest.raises(RequestError, match="is not a folder"):
        list_runs(tmp_path / "none")


def test_scores_are_sorted_as_their_metrics_say():
    assert {kind.name: kind.higher_is_better for kind in (Psnr, Ssim, Lpips)} == SCORES


@pytest.mark.parametrize(
    "text",
    [
        yaml.safe_dump(CONFIG, sort_keys=False),
        "a: &x [1, 2]\nb: *x\n",
        'a: "begun\nb: and ended"\nc: 1\n',
        "a: |\n  b: 1\n\n  c: 2\nrun:\n- one\n- two\nempty:\n",
        "{a: 1, b: 2}\n",
        "# a comment\na: 1\na: 2\n",
    ],
)
def test_a_configuration_read_by_parts_is_the_one_read_whole(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    known = {}
    for _ in range(2):
        assert listing._read_config(tmp_path / "config.yaml", known) == yaml.safe_load(text)


def test_two_documents_are_no_configuration(tmp_path):
    (tmp_path / "config.yaml").write_text("a: 1\n...\nb: 2\n")
    with pytest.raises(DataError, match="is damaged"):
        listing._read_config(tmp_path / "config.yaml", {})


def test_what_many_configurations_share_is_parsed_once(tmp_path, monkeypatch):
    """Parsing is nearly all of the time that a list of 1,000 runs would take."""
    parsed = []
    parse = listing.parse_yaml
    monkeypatch.setattr(listing, "parse_yaml", lambda text, file: parsed.append(text) or parse(text, file))
    for number in range(20):
        made(tmp_path / f"{number}", seed=number)
    runs = set_apart(list_runs(tmp_path))
    assert len(parsed) == len(set(parsed)) == len(CONFIG) + 19
    assert [run.differs for run in runs] == [{"seed": number} for number in range(20)]
