"""What README and docs tell people to type is understood as it stands there."""

import importlib
import shlex
import shutil
from pathlib import Path

import hydra
import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image
from skimage import data

from lensblend.cli.arguments import as_meant
from lensblend.cli.config import config_folder, register
from lensblend.cli.main import VERBS
from lensblend.cli.presets import sweeps_folder
from shown_commands import commands

CHECKOUT = Path(__file__).parents[1]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if not {"_build", "generated"} & set(page.parts)]
# Verbs with parts; all others have one command line.
PARTS = {"prepare", "survey", "bench", "runs"}


EVERY = [
    (page.relative_to(CHECKOUT).as_posix(), words) for page in PAGES for words in commands(page.read_text("utf-8"))
]


def composed(verb, overrides):
    """Compose a request as Hydra does; of a sweep its first job."""
    flags = {"--multirun", "-m"}
    words = [word for word in as_meant(overrides) if word not in flags]
    sweeps = [word.partition("=")[2] for word in words if word.startswith("+sweep=")]
    assert all((sweeps_folder() / f"{name}.yaml").is_file() for name in sweeps)
    first = []
    for override in OverridesParser.create().parse_overrides([w for w in words if not w.startswith("+sweep=")]):
        key = override.input_line.partition("=")[0]
        if override.is_sweep_override():
            first.append(f"{key}={next(iter(override.sweep_string_iterator()))}")
        else:
            first.append(override.input_line)
    register()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        hydra.compose(verb, overrides=first, return_hydra_config=True)


def parsed(verb, words):
    """Parse flags as the verb does."""
    module = f"lensblend.cli.{verb.replace('-', '_')}"
    if verb == "compare" and "--depth" in words:
        module = f"{module}_depth"
    if verb in PARTS and words and not words[0].startswith("-"):
        part = f"{module}_{words[0]}"
        if importlib.util.find_spec(part) is not None:
            module, words = part, words[1:]
        elif verb == "bench" and words[0] == "training":
            composed("train", [w for w in words[1:] if "=" in w])
            return
    importlib.import_module(module).parser().parse_args(words)


def test_there_are_commands_of_every_verb():
    assert {words[0] for _, words in EVERY} >= set(VERBS) - {"demo"}
    assert len(EVERY) > 100


@pytest.mark.parametrize("page", sorted({page for page, _ in EVERY}))
def test_what_a_page_says_to_type_is_understood(page, capsys):
    for verb, *words in [words for at, words in EVERY if at == page]:
        try:
            composed(verb, words) if verb in {"train", "evaluate"} else parsed(verb, words)
        except (Exception, SystemExit) as error:
            pytest.fail(f"lensblend {verb} {shlex.join(words)}\n{error}\n{capsys.readouterr().err}")


STORY = (
    "quickstart",
    "tutorials/train-on-ebb",
    "tutorials/render-and-export",
    "how-do-i",
    "tutorials/after-the-first-run",
    "tutorials/resume-a-phase",
    "tutorials/compare-in-wandb",
    "tutorials/sweep-kernels",
    "tutorials/train-on-your-photos",
)
SMOKE = ("debug=smoke", "+backbone.width_divisor=16", "metrics.lpips=null", "callbacks.panels=null")
# The same where a phase is made longer, or many are trained: `every_phase` would decide.
SHORT = (
    *("schedule.every_phase.image_size=[32,48]", "schedule.every_phase.batch_size=2", "loader.limit_train=4"),
    *("loader.limit_val=2", "loader.num_workers=0", *SMOKE[1:]),
    *(f"schedule.phases.phase{number}.max_epochs=1" for number in (1, 2, 3)),
)
BRIEF = {"how-do-i", "tutorials/after-the-first-run", "tutorials/compare-in-wandb", "tutorials/sweep-kernels"}
# Of machines that are not here.
ELSEWHERE = {"trainer=ddp", "hydra/launcher=slurm"}


def smoke(page, verb, words):
    """What makes a command of a page small; what goes on is it already."""
    trains = verb == "train" or (verb == "bench" and words[0] == "training")
    if not trains or any(word.startswith("resume=") for word in words):
        return []
    if "experiment=photos" in words:  # ImageNet's weights are a package that is not everywhere
        return [word for word in (*SMOKE, "backbone.weights=null") if "width_divisor" not in word]
    short = verb == "train" and page in BRIEF and "debug=smoke" not in words
    if not short:
        return SMOKE
    alone = not any(part in word for word in words for part in ("phase2", "phase3", "run_dir=", "schedule.run="))
    runs = next((word for word in words if word.startswith("schedule.run=")), "phase1" if alone else "phase1 2 3")
    chosen = [key for key in SHORT if "phases.phase" not in key or key.split(".")[2][-1] in runs]
    return [*chosen, *(["schedule.run=[phase1]"] if alone else [])]


def write_pairs(folders, numbers):
    generator = np.random.default_rng(min(numbers))
    for number in numbers:
        for kind, blur in (("original", 1), ("bokeh", 8)):
            folders[kind].mkdir(parents=True, exist_ok=True)
            coarse = generator.integers(0, 256, (96 // blur, 144 // blur, 3), np.uint8)
            picture = Image.fromarray(coarse).resize((144, 96), Image.BICUBIC)
            picture.save(folders[kind] / f"{number}.jpg", quality=95)


def write_masked(folder):
    for name, top in (("astronaut", 0), ("chelsea", 20), ("coffee", 40)):
        photo = Image.fromarray(getattr(data, name)())
        mask = np.zeros((photo.height, photo.width), np.uint8)
        mask[60 + top : 240 + top, 100:300] = 255
        for kind, picture in (("photos", photo), ("masks", Image.fromarray(mask))):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            picture.save(folder / kind / f"{name}.png")


@pytest.mark.slow
@pytest.mark.parametrize("page", STORY)
def test_a_tutorial_can_be_followed_in_its_smoke_form(in_process, lensblend, tmp_path, page):
    ebb = tmp_path / "download" / "Training"
    folders = {"original": ebb / "original", "bokeh": ebb / "bokeh"}
    write_pairs(folders, (0, 1, 2, 4400, 4401))
    write_pairs({"original": tmp_path / "PHOTOS", "bokeh": tmp_path / "TARGETS"}, range(40))
    write_pairs({"original": tmp_path / "TEST_PHOTOS", "bokeh": tmp_path / "TEST_TARGETS"}, (90, 91))
    Image.fromarray(data.coffee()).save(tmp_path / "PHOTO.jpg")
    Image.fromarray(data.coffee()[..., 0]).save(tmp_path / "MASK.png")
    write_masked(tmp_path / "mine")
    given = {"PHOTO": "PHOTO.jpg", "MASK": "MASK.png", "ARCHIVE": "download", "seed=0,1,2": "seed=0,1"}
    given |= {"kernels=gaussian_25_45_75,gaussian_75,disk_variance": "kernels=gaussian_75,disk_variance"}
    for verb, *words in commands((CHECKOUT / "docs" / f"{page}.md").read_text("utf-8")):
        # Other networks are trained by other tests.
        if ELSEWHERE & set(words) or any(word.startswith("baseline=") for word in words):
            continue
        if verb == "prepare" and words[0] == "check":
            continue  # noise has no partner that it fits
        words = [given.get(word, word) for word in words]
        # Processes that train together are started from the command line.
        together = any(word.startswith("trainer=ddp") for word in words)
        run = lensblend if together else in_process
        done = run(verb, *words, *smoke(page, verb, words), cwd=tmp_path)
        assert done.code == 0, f"lensblend {verb} {shlex.join(words)}\n{done.out}\n{done.err}"
    shutil.rmtree(tmp_path)
