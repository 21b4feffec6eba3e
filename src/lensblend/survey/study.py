"""A study's two documents: ``study.json``, which everybody may read, and ``key.json``, which says what was shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lensblend.errors import DataError, RequestError, short
from lensblend.runs.documents import read_json
from lensblend.storage import json_text
from lensblend.survey.answers import LEVELS

PUBLIC, KEY, IMAGES = "study.json", "key.json", "images"
MODES = ("levels", "pairs")
#: What catch trials show, in place of a method's name.
TARGET, BLURRED = "target", "blurred target"
#: Ids of raters, trials, images and studies: 64 random bits, which no file name can be mistaken for.
ID = re.compile(r"[0-9a-f]{16}")
LONGEST_LOOK = 24 * 3600  # seconds


@dataclass(frozen=True)
class Trial:
    """What is judged at once.

    Attributes:
        id: Names it.
        target: Id of the original's image.
        shown: Id of the one image that is compared with it, or of the two of which the closer one is chosen.
        height: Of all of them, in pixels.
        width: Likewise.
    """

    id: str
    target: str
    shown: tuple[str, ...]
    height: int
    width: int


@dataclass(frozen=True)
class Study:
    """What everybody may know.

    Attributes:
        study: Its id.
        title: Heads its pages.
        mode: ``levels`` or ``pairs``.
        seed: By which each rater's order is chosen.
        suffix: Of the images: ``png`` or ``jpg``.
        trials: In an order that says nothing.
    """

    study: str
    title: str
    mode: str
    seed: int
    suffix: str
    trials: tuple[Trial, ...]

    @cached_property
    def by_id(self) -> dict[str, Trial]:
        """The trials by their ids."""
        return {trial.id: trial for trial in self.trials}

    @cached_property
    def images(self) -> list[str]:
        """The names of the image files, in an order that says nothing."""
        ids = {image for trial in self.trials for image in (trial.target, *trial.shown)}
        return [f"{image}.{self.suffix}" for image in sorted(ids)]

    def wrong(self, value: object, seconds: object) -> str | None:
        """Say what is wrong with an answer; None where nothing is."""
        most = len(LEVELS) - 1 if self.mode == "levels" else 1
        if type(value) is not int or not 0 <= value <= most:
            return f"`value` is a whole number from 0 to {most}, but got {short(value)}"
        if type(seconds) not in (int, float) or not 0 <= seconds <= LONGEST_LOOK:  # type: ignore[operator]
            return f"`seconds` is a number from 0 to {LONGEST_LOOK}, but got {short(seconds)}"
        return None

    def text(self) -> str:
        """Return it as JSON."""
        return json_text(asdict(self)) + "\n"


@dataclass(frozen=True)
class Shown:
    """One image of the key: which photo it shows, and whose rendering of it."""

    image: str
    method: str


@dataclass(frozen=True)
class Key:
    """What nobody who answers may know: by the id of each image, what it is."""

    images: Mapping[str, Shown]

    def unblinded(self, trial: Trial) -> tuple[str, str, str | None, int | None]:
        """Return a trial's photo, the method shown, the other method or None, and the right answer of a catch trial."""
        first, *second = [self.images[image] for image in trial.shown]
        if not second:
            return first.image, first.method, None, 0 if first.method == TARGET else None
        methods = (first.method, second[0].method)
        return first.image, *methods, int(methods[0] == TARGET) if TARGET in methods else None


def read_study(folder: Path) -> Study:
    """Read what everybody may know of a study.

    Raises:
        RequestError: The folder holds no study.
        DataError: Its document is damaged.
    """
    try:
        content = read_json(folder / PUBLIC)
    except FileNotFoundError:
        hint = "it was not finished; remove it, and make it again" if (folder / IMAGES).is_dir() else "name one"
        raise RequestError(f"`{folder}` is no study of `lensblend survey make`: no {PUBLIC}; {hint}.") from None
    try:
        trials = tuple(Trial(**{**trial, "shown": tuple(trial["shown"])}) for trial in content["trials"])
        study = Study(**{**content, "trials": trials})
    except (KeyError, TypeError) as error:
        raise _damaged(folder / PUBLIC, str(error)) from None
    if problem := _problem(study):
        raise _damaged(folder / PUBLIC, problem)
    return study


def _problem(study: Study) -> str | None:
    if not isinstance(study.title, str) or study.mode not in MODES or study.suffix not in ("png", "jpg"):
        return "its title, mode or suffix"
    if type(study.seed) is not int or not study.trials or len(study.by_id) < len(study.trials):
        return "its seed, no trials, or a trial twice"
    for trial in study.trials:
        sides: list[Any] = [trial.height, trial.width]
        if any(type(side) is not int or side < 1 for side in sides):
            return f"the size of trial {short(trial.id)}"
        if len(trial.shown) != 1 + (study.mode == "pairs") or not all(
            isinstance(text, str) and ID.fullmatch(text) for text in (study.study, trial.id, trial.target, *trial.shown)
        ):
            return f"the ids of trial {short(trial.id)}"
    return None


def read_key(folder: Path, study: Study) -> Key:
    """Read what the images of a study are.

    Raises:
        DataError: The key is missing, damaged, or not this study's.
    """
    try:
        content = read_json(folder / KEY)
    except FileNotFoundError:
        raise DataError(f"`{folder / KEY}` is missing: without it nobody knows which method was shown.") from None
    try:
        images = {name: Shown(str(entry["image"]), str(entry["method"])) for name, entry in content["images"].items()}
        own = content["study"]
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder / KEY, str(error)) from None
    lacking = [name for name in study.images if name.partition(".")[0] not in images]
    if own != study.study or lacking:
        raise DataError(f"`{folder / KEY}` is the key of another study; put this one's in its place.")
    return Key(images)


def _damaged(file: Path, what: str) -> DataError:
    return DataError(f"`{file}` is damaged ({what}); restore it, or make the study again.")
