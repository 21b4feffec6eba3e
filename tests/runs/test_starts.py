"""A training starts from those weights of another that fit and are wanted, and says which are not."""

import math

import pytest
import torch
from torch import nn

from lensblend.backbones.hourglass import Hourglass
from lensblend.errors import DataError, RequestError
from lensblend.networks.depth_blend import DepthBlend
from lensblend.nn.kernel_bank import KernelBank
from lensblend.runs.checkpoints import describe, start_from
from lensblend.runs.starts import Start, load_part
from lensblend.training.checkpoint_io import AtomicCheckpointIO

NODE = {"_target_": "lensblend.networks.depth_blend.DepthBlend"}


def network(*sizes, width_divisor=16):
    return DepthBlend(Hourglass(width_divisor=width_divisor), KernelBank(sizes=list(sizes)))


@pytest.fixture
def saved(tmp_path):
    """A checkpoint of a network of two kernels, its state, and its path."""
    torch.manual_seed(1)
    theirs, path = network(3, 5), tmp_path / "theirs.ckpt"
    record = describe(NODE, "phase1", [32, 48], {"seed": 0}, {})
    AtomicCheckpointIO().save_checkpoint({"state_dict": theirs.state_dict(), "lensblend": record}, path)
    return theirs.state_dict(), path


def taken(ours, before, theirs):
    """Names of the weights that are the file's now; the others are as they were."""
    state = ours.state_dict()
    found = {name for name, value in state.items() if value.shape == theirs[name].shape and name in theirs}
    found = {name for name in found if torch.equal(state[name], theirs[name])}
    assert all(torch.equal(state[name], before[name]) for name in state.keys() - found)
    return found


def test_another_number_of_kernels_keeps_all_but_the_head(saved, capsys):
    theirs, path = saved
    torch.manual_seed(2)
    ours = network(3, 5, 7)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(DataError, match=r"holds another network.*or take what fits: init_from\.strict=false"):
        start_from(ours, path)
    said = start_from(ours, Start(str(path), strict=False))
    left = {"head.weight", "head.bias"}
    assert taken(ours, before, theirs) == before.keys() - left
    assert said == (path, f"{len(before) - 2} of {len(before)} weights of ")
    out = capsys.readouterr().out
    shapes = [f"{name}: {list(before[name].shape)} here, {list(theirs[name].shape)} there" for name in ("head.weight",)]
    assert f"Not from {path}: 2 of {len(before)} weights ({shapes[0]}, head.bias: [4] here, [3] there)." in out
    assert f"Not used of {path}: 2 of {len(theirs)} weights (head.bias, head.weight)." in out


@pytest.mark.parametrize(
    ("wanted", "is_taken"),
    [
        ({"only": ("backbone",)}, lambda name: name.startswith("backbone.")),
        ({"only": ("*.weight",), "without": ("head",)}, lambda n: n.endswith(".weight") and not n.startswith("head.")),
        ({"without": ("head.*",)}, lambda name: not name.startswith("head.")),
        ({"only": ("head.bias",)}, lambda name: name == "head.bias"),
    ],
)
def test_only_what_is_wanted_is_taken(saved, wanted, is_taken):
    theirs, path = saved
    torch.manual_seed(2)
    # The heads are as large only where they are wanted.
    ours = network(*((5, 7) if wanted.get("only") == ("head.bias",) else (3, 5, 7)))
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    start_from(ours, Start(str(path), **wanted))
    same = {name for name in before if before[name].shape == theirs[name].shape and before[name].equal(theirs[name])}
    assert taken(ours, before, theirs) == {name for name in before if is_taken(name)} | same


def test_names_and_patterns_are_those_of_the_network():
    names = ["backbone.layer.weight", "head.weight", "head.bias"]
    assert Start("a", only=("head",)).wanted(names) == names[1:]
    with pytest.raises(
        RequestError, match=r"`init_from.only` names 'bakbone', which no weight is called; did you mean `ba"
    ):
        Start("a", only=("bakbone",)).wanted(names)
    with pytest.raises(RequestError, match=r"`init_from.without` names 'head.wieght'.*did you mean `head.weight`"):
        Start("a", without=("head.wieght",)).wanted(names)
    with pytest.raises(RequestError, match=r"`init_from.without` names 'hea'"):
        Start("a", without=("hea",)).wanted(names)
    with pytest.raises(RequestError, match="leaves no weight to start from"):
        Start("a", only=("head",), without=("head.*",)).wanted(names)


def test_what_is_wanted_has_to_be_there_and_something_has_to_fit(saved):
    _, path = saved
    with pytest.raises(DataError, match=r"0 weights are missing, 2 have another shape \(head.weight: .*strict=false"):
        start_from(network(3, 5, 7), Start(str(path), only=("head",)))
    with pytest.raises(DataError, match=r"holds no weight that fits \(head.weight: "):
        start_from(network(3, 5, 7), Start(str(path), strict=False, only=("head",)))
    # A counter fits anything, and is no weight that was learned.
    counting = nn.Sequential(nn.BatchNorm2d(2))
    with pytest.raises(DataError, match="holds no weight that fits"):
        load_part(counting, {"0.num_batches_tracked": torch.tensor(3)}, path, Start(str(path), strict=False))


def test_what_is_taken_is_finite(tmp_path):
    ours, state = nn.Linear(1, 1), {"weight": torch.tensor([[math.nan]]), "bias": torch.zeros(1)}
    with pytest.raises(DataError, match=r"1 weights that are not finite \(first: weight\)"):
        load_part(ours, state, tmp_path, Start("a", strict=False))


def test_an_authors_file_is_taken_whole(tmp_path):
    torch.save({"x": torch.zeros(1)}, tmp_path / "theirs.pth")
    with pytest.raises(RequestError, match=r"is a file of a network's authors, taken whole; give init_from=.* alone"):
        start_from(network(3, 5), Start(str(tmp_path / "theirs.pth"), strict=False))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (5, "`init_from` is a path, or {path, strict, only, without}, but got 5"),
        ({"pth": "a"}, "`init_from.pth` is not a key; did you mean `path`?"),
        ({"strict": False}, "`init_from.path` is a path, but got None: init_from=PATH"),
        ({"path": "a", "strict": "no"}, "`init_from.strict` is true or false, but got 'no'"),
        (
            {"path": "a", "only": "backbone"},
            "`init_from.only` is a list of names, such as [backbone], but got 'backbone'",
        ),
        ({"path": "a", "without": []}, "`init_from.without` is a list of names, such as [backbone], but got []"),
    ],
)
def test_other_values_are_refused(value, said):
    with pytest.raises(RequestError) as refused:
        Start.from_config(value)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("value", "shortest"),
    [
        (None, None),
        ({"path": None, "strict": None}, None),
        ("a", "a"),
        ({"path": "a", "strict": True, "only": None}, "a"),
        ({"path": "a", "strict": False}, {"path": "a", "strict": False}),
        ({"path": "a", "without": ["x"]}, {"path": "a", "without": ["x"]}),
    ],
)
def test_a_configuration_says_it_as_shortly_as_it_can(value, shortest):
    start = Start.from_config(value)
    assert (None if start is None else start.as_config()) == shortest
    assert Start.from_config(shortest) == start
