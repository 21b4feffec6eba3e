import pytest
from pytorch_lightning.utilities import rank_zero_only

from lensblend.training.messages import is_first_process, know_node


@pytest.mark.parametrize(
    ("environment", "first"),
    [({}, True), ({"NODE_RANK": "0"}, True), ({"NODE_RANK": "1"}, False), ({"GROUP_RANK": "2"}, False)],
)
def test_the_first_process_of_another_machine_is_not_the_trainings_first(environment, first, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    know_node(environment)
    assert is_first_process() == first


def test_a_place_that_is_known_stays(monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 5)
    know_node({"NODE_RANK": "2"})
    assert rank_zero_only.rank == 5
