import pytest
import torch
import yaml

from lensblend.errors import DataError, RequestError
from lensblend.runs.checkpoints import describe, find_checkpoint, load_ensemble, load_network
from lensblend.runs.files import file_sha256
from lensblend.runs.instantiate import build
from lensblend.runs.roles import MODELS
from lensblend.training.checkpoint_io import AtomicCheckpointIO

NETWORK = {
    "_target_": "lensblend.networks.depth_blend.DepthBlend",
    "backbone": {"_target_": "lensblend.backbones.hourglass.Hourglass", "width_divisor": 16},
    "bank": {"_target_": "lensblend.nn.kernel_bank.KernelBank", "sizes": [3, 5]},
}


def save(path, node=NETWORK, network=None, **changes):
    network = network or build(node, "model", *MODELS)
    record = {**describe(node, "phase1", [32, 48], {"seed": 0}, {}), **changes}
    AtomicCheckpointIO().save_checkpoint({"state_dict": network.state_dict(), "lensblend": record}, path)
    return network


def test_a_checkpoint_rebuilds_its_network_alone(tmp_path):
    photo = torch.rand(1, 3, 40, 48)
    network = save(tmp_path / "best.ckpt").eval()
    trained = load_network(tmp_path / "best.ckpt")
    torch.testing.assert_close(trained.network(photo).bokeh, network(photo).bokeh, rtol=0, atol=0)
    assert trained.image_size == (32, 48)
    assert trained.sha256 == file_sha256(tmp_path / "best.ckpt")


@pytest.mark.parametrize(
    ("phase", "run", "label"),
    [
        ("member2", ["member1", "member2"], "mean of 2"),
        ("member1", ["member1", "member2"], "mean of 2 after member1"),
        ("member2", None, "mean of 2"),
    ],
)
def test_an_ensembles_result_is_called_their_mean_and_not_its_last_member(tmp_path, phase, run, label):
    node = {"_target_": "lensblend.networks.ensemble.Ensemble", "members": [NETWORK, NETWORK]}
    config = yaml.safe_dump({"schedule": {"run": run}} if run else {})
    save(tmp_path / "best.ckpt", node, phase=phase, config=config)
    assert load_network(tmp_path / "best.ckpt").label == label
    save(tmp_path / "alone.ckpt", phase=phase, config=config)
    assert load_network(tmp_path / "alone.ckpt").label == phase
    assert load_ensemble([tmp_path / "alone.ckpt"] * 3).label == "mean of 3"


def test_a_checkpoint_does_not_ask_for_the_files_its_parts_started_from():
    node = {"backbone": {"name": "resnet18", "weights": "/gone/resnet18.pth"}, "parts": [{"weights": "/gone/too.pth"}]}
    record = describe(node, "phase1", [32, 48], {}, {})
    assert record["network"] == {"backbone": {"name": "resnet18", "weights": None}, "parts": [{"weights": None}]}


def test_folders_stand_for_their_best_checkpoint(tmp_path):
    save(tmp_path / "phase1" / "best.ckpt")
    save(tmp_path / "phase2" / "best.ckpt")
    (tmp_path / "status.json").write_text('{"phases": {"phase1": {}, "phase2": {}}}')
    assert find_checkpoint(tmp_path / "phase1") == tmp_path / "phase1" / "best.ckpt"
    assert find_checkpoint(tmp_path) == tmp_path / "phase2" / "best.ckpt"


def test_missing_checkpoints_are_wrong_requests(tmp_path):
    with pytest.raises(RequestError, match="does not exist"):
        load_network(tmp_path / "none.ckpt")
    with pytest.raises(RequestError, match=r"without best\.ckpt"):
        load_network(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_damaged_file_is_refused(tmp_path, share):
    path = tmp_path / "best.ckpt"
    save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"best\.ckpt is damaged: its SHA-256 is not the one in best\.ckpt\.sha256"):
        load_network(path)
    path.with_name("best.ckpt.sha256").unlink()
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        load_network(path)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    torch.save({"lensblend": Harmful()}, tmp_path / "best.ckpt")
    with pytest.raises(DataError, match="cannot be read"):
        load_network(tmp_path / "best.ckpt")
    assert not (tmp_path / "made").exists()


def test_foreign_and_newer_checkpoints_are_told_apart(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(DataError, match="not a lensblend checkpoint"):
        load_network(tmp_path / "foreign.ckpt")
    save(tmp_path / "newer.ckpt", format=99)
    with pytest.raises(DataError, match="format 99, newer than"):
        load_network(tmp_path / "newer.ckpt")


def test_weights_of_another_network_are_refused_with_what_differs(tmp_path):
    other = {**NETWORK, "bank": {**NETWORK["bank"], "sizes": [3, 5, 7]}}
    save(tmp_path / "best.ckpt", node=other, network=build(NETWORK, "model", *MODELS))
    with pytest.raises(DataError, match=r"2 have another shape \(first: head"):
        load_network(tmp_path / "best.ckpt")


def test_an_ensemble_of_checkpoints_renders_the_mean_and_finds_every_map(tmp_path):
    saliency = {
        "_target_": "lensblend.networks.saliency_blend.SaliencyBlend",
        "bank": {"_target_": "lensblend.nn.kernel_bank.KernelBank", "sizes": [5]},
    }
    source = {"_target_": "lensblend.inference.guidance.Truth"}
    save(tmp_path / "a.ckpt")
    save(tmp_path / "b.ckpt", saliency, config="saliency: {_target_: lensblend.inference.guidance.Truth}")
    both = load_ensemble([tmp_path / "a.ckpt", tmp_path / "b.ckpt"])
    photo, mask = torch.rand(1, 3, 40, 48), torch.rand(1, 1, 40, 48)
    alone = [load_network(tmp_path / "a.ckpt").network(photo).bokeh]
    alone.append(load_network(tmp_path / "b.ckpt").network(photo, saliency=mask).bokeh)
    torch.testing.assert_close(both.network(photo, saliency=mask).bokeh, (alone[0] + alone[1]) / 2)
    assert both.record["phase"] == "mean of 2"
    assert yaml.safe_load(both.record["config"]) == {"seed": 0, "saliency": source}
    assert both.sha256 not in (load_network(tmp_path / "a.ckpt").sha256, load_network(tmp_path / "b.ckpt").sha256)


def test_one_checkpoint_is_no_ensemble_and_none_is_refused(tmp_path):
    save(tmp_path / "a.ckpt")
    assert load_ensemble([tmp_path / "a.ckpt"]).record["phase"] == "phase1"
    with pytest.raises(RequestError, match="one checkpoint at least"):
        load_ensemble([])


def test_members_of_different_sizes_are_refused(tmp_path):
    save(tmp_path / "a.ckpt")
    save(tmp_path / "b.ckpt", image_size=[64, 96])
    with pytest.raises(RequestError, match=r"one size.*a\.ckpt.*\(32, 48\).*b\.ckpt.*\(64, 96\)"):
        load_ensemble([tmp_path / "a.ckpt", tmp_path / "b.ckpt"])
