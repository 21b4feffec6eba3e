"""What cards say of the code that trained a network, and of weights that it took over."""

from dataclasses import replace

import pytest
import yaml

from lensblend.priors.weights import MANIFEST
from lensblend.runs.cards import UNKNOWN, facts
from lensblend.runs.checkpoints import load_network


@pytest.fixture
def said(tiny_model):
    """The facts of a network whose record is changed."""
    trained = load_network(tiny_model)

    def of(config=None, **record):
        given = {**yaml.safe_load(trained.record["config"]), **(config or {})}
        return facts(replace(trained, record={**trained.record, **record, "config": yaml.safe_dump(given)}))

    return of


def test_commits_are_told_where_they_are_known(said):
    assert ("commit", UNKNOWN) in said()["Training"]
    known = said(commits={"lensblend": "0123-dirty", "project": "4567"})
    assert ("commit", "lensblend 0123-dirty, project 4567") in known["Training"]


def test_a_published_file_has_its_licence_by_its_name_and_no_other_has_one(said):
    vgg = {"_target_": "a.VggFeatures", "weights": "/models/vgg19-dcbb9e9d.pth"}
    own = {"_target_": "a.Own", "weights": "mine.pth"}
    told = dict(said({"saliency": {"network": own}, "disparity": vgg})["Licences"])
    assert told["VggFeatures, weights vgg19-dcbb9e9d.pth"] == MANIFEST["vgg19"].licence
    assert told["Own, weights mine.pth"] == UNKNOWN
