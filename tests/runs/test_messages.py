import pytest
import torch
from pytorch_lightning.utilities import rank_zero_only

from lensblend.runs.messages import is_first_process, say
from lensblend.training.cluster import tell_lightning_its_rank

PLACES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK", "NODE_RANK", "GROUP_RANK")


@pytest.fixture
def place(monkeypatch):
    """Let this process be told its place, and nothing else."""

    def tell(**environment):
        for name in PLACES:
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    monkeypatch.setattr(rank_zero_only, "rank", 0)
    return tell


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"NODE_RANK": "0"}, True),
        ({"NODE_RANK": "1"}, False),
        ({"GROUP_RANK": "2"}, False),
        ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, False),
        ({"LOCAL_RANK": "1"}, False),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "3"}, False),
    ],
)
def test_before_processes_join_the_environment_tells_which_is_first(environment, first, place, capsys):
    place(**environment)
    assert is_first_process() == first
    say("spoken")
    assert (capsys.readouterr().out == "spoken\n") == first
    tell_lightning_its_rank()
    assert (rank_zero_only.rank == 0) == first


def test_once_processes_have_joined_they_know(place, monkeypatch):
    place(LOCAL_RANK="0")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    assert not is_first_process()


def test_a_place_that_lightning_knows_stays(place, monkeypatch):
    place(NODE_RANK="2")
    monkeypatch.setattr(rank_zero_only, "rank", 5)
    tell_lightning_its_rank()
    assert rank_zero_only.rank == 5
