"""The page on which raters answer: the same files for a server and for a folder that is hosted anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from lensblend.storage import write_atomically
from lensblend.survey.answers import LEVELS
from lensblend.survey.study import IMAGES, Study

PAGE = Path(__file__).parent / "page"
INDEX = "index.html"
FILES = {
    "survey.css": "text/css; charset=utf-8",
    "order.js": "text/javascript; charset=utf-8",
    "viewer.js": "text/javascript; charset=utf-8",
    "keeping.js": "text/javascript; charset=utf-8",
    "survey.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
IMAGE_TYPES = {"png": "image/png", "jpg": "image/jpeg"}
# Nothing but the page's own files: no inline code, no other host, no frame, no form that is sent.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'"
)
_SECONDS_A_TRIAL = 20


def index(study: Study, kept: Literal["server", "file"]) -> bytes:
    """Return the page.

    Args:
        study: What everybody may know; it stands in the page, which so needs no request for it.
        kept: Whether answers are sent to a server, or downloaded as a file at the end.
    """
    environment = Environment(loader=FileSystemLoader(PAGE), autoescape=True)
    trials = len(study.trials)
    # What would end the element that holds it is written as an escape of JSON.
    document = study.text().replace("<", "\\u003c")
    page = environment.get_template("survey.html").render(
        study=study,
        document=Markup(document),
        kept=kept,
        levels=LEVELS,
        trials=trials,
        minutes=max(1, round(trials * _SECONDS_A_TRIAL / 60)),
        policy=POLICY,
    )
    return page.encode("utf-8", errors="backslashreplace")


def export(folder: Path, study: Study, output: Path) -> int:
    """Write the page and its images, to be hosted anywhere; return how many files.

    Args:
        folder: The study's.
        study: What everybody may know of it.
        output: Receives them.

    Raises:
        StorageError: They could not be written.
    """
    write_atomically(output / INDEX, index(study, "file"))
    for name in FILES:
        write_atomically(output / name, (PAGE / name).read_bytes())
    for name in study.images:
        write_atomically(output / IMAGES / name, (folder / IMAGES / name).read_bytes())
    return 1 + len(FILES) + len(study.images)
