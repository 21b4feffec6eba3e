"""docs/conventions.md says of each metric what its class says."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import lensblend.metrics
from lensblend.runs.roles import METRIC, plays

PAGE = Path(__file__).parents[2] / "docs" / "conventions.md"


def shipped():
    """Every metric of the package."""
    for module in pkgutil.iter_modules(lensblend.metrics.__path__, "lensblend.metrics."):
        for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if found.__module__ == module.name and plays(found, METRIC):
                yield found


def test_the_page_has_a_line_for_every_metric_with_its_heading_and_convention():
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.read_text().splitlines()]
    said = {cells[0].strip("`"): cells[1:3] for cells in lines if cells[0].startswith("`") and len(cells) == 4}
    assert said == {metric.name: [metric.title(), metric.convention] for metric in shipped()}
    assert len(said) == 16
