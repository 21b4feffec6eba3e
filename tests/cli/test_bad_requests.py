"""Bad requests end with exit code 2 or 1 and one message that names the value and the remedy, without a traceback."""

import pytest

COMPOSED = [
    (["train", "kernels=gausian_75"], "did you mean `kernels=gaussian_75`"),
    (["train", "experiment=nope"], "There are: dbsi, demo"),
    (["train", "shedule.run=[phase1]"], "did you mean `schedule.run`"),
    (["train", "schedule.phases.phase1.batchsize=3"], "did you mean `schedule.phases.phase1.batch_size`"),
    (["train", "trainer.device=2"], "did you mean `trainer.devices`"),
    (["train", "data.imagesize=[3,4]"], "did you mean `data.image_size`"),
    (["train", "seed=abc"], "`seed` has the wrong type"),
    (["train", "loader.num_workers=many"], "`loader.num_workers` has the wrong type"),
    (["train", "kernels.sizes=[25"], "no viable alternative"),
    (["evaluate", "splitt=val"], "did you mean `split`"),
]
STARTED = [
    (["train", "data=ebb"], 2, "`data.root` is not set; give it on the command line: data.root=VALUE"),
    (["train", "data=ebb", "data.root=/nowhere/ebb"], 2, "/nowhere/ebb"),
    (["train", "schedule.run=[phase9]"], 2, "did you mean `phase"),
    (["train", "schedule.every_phase.image_size=[384,512,3]"], 2, "[384, 512, 3]"),
    (["train", "+kernels.famly=box"], 2, "did you mean `family`"),
    (["train", "kernels.sizes=[25,44]"], 2, "[25, 44]"),
    (["train", "model._target_=os.system"], 2, "may not be built"),
    (["train", "init_from=/nowhere/w.ckpt"], 2, "/nowhere/w.ckpt does not exist"),
    (["train", "trainer.accelerator=quantum"], 2, "quantum"),
    (["train", "loader.flips=diagonal"], 2, "diagonal"),
    (["train", "-m", "seed=0,1", "run_dir=somewhere"], 2, "every job of a multirun into one folder"),
    (["evaluate", "output=o"], 2, "Give either `checkpoint=PATH`"),
    (["evaluate", "checkpoint=/nowhere", "output=o"], 2, "/nowhere does not exist"),
    (["evaluate", "checkpoint=a", "split=test", "output=o"], 2, "'test'"),
]


@pytest.mark.parametrize(("request_", "said"), COMPOSED, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_what_hydra_refuses_names_the_nearest_valid_value(lensblend, request_, said, tmp_path):
    done = lensblend(*request_, cwd=tmp_path)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("request_", "code", "said"), STARTED, ids=lambda v: " ".join(v) if isinstance(v, list) else ""
)
def test_what_a_verb_refuses_names_value_and_remedy(in_process, request_, code, said, tmp_path):
    arguments = [*request_, "debug=smoke"] if request_[0] == "train" else request_
    done = in_process(*arguments, cwd=tmp_path)
    assert done.code == code, done.err
    assert said in done.err
    assert "Traceback" not in done.err


def test_damaged_inputs_are_named(in_process, tmp_path):
    (tmp_path / "broken.ckpt").write_bytes(b"not a checkpoint")
    (tmp_path / "photo.jpg").write_bytes(b"<html>not a photo</html>")
    done = in_process(
        "render", tmp_path / "photo.jpg", "--model", tmp_path / "broken.ckpt", "--output", tmp_path / "out"
    )
    assert done.code == 1
    assert "broken.ckpt cannot be read as a checkpoint" in done.err
    assert "Traceback" not in done.err
    done = in_process("render", tmp_path / "none.jpg", "--model", "m", "--output", tmp_path / "out")
    assert done.code == 2
    assert "none.jpg does not exist" in done.err
