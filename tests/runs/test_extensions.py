"""The door for users' own code: only the user opens it, and what comes in still plays a role."""

import sys
from pathlib import Path

import pytest
import torch

from lensblend.errors import DataError, RequestError
from lensblend.runs import extensions, roles
from lensblend.runs.checkpoints import describe, load_network
from lensblend.runs.extensions import GROUP, VARIABLE, admit, config_folders, packages, verbs
from lensblend.runs.instantiate import build
from lensblend.runs.recorded import recorded_data
from lensblend.runs.roles import find_class, plays
from lensblend.training.checkpoint_io import AtomicCheckpointIO

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "own-project"
BANK = {"_target_": "lensblend.nn.kernel_bank.KernelBank", "sizes": [3, 5]}
OWN = {"_target_": "own_project.networks.TinyBlend", "bank": BANK}
# A class for every role that is open, and what plays none.
CODE = """
import sys
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.strategies import DDPStrategy
from torch import nn, optim
from lensblend.data.pairs import Source
from lensblend.inference.prior_maps import Guide
from lensblend.metrics.fidelity import Psnr
from lensblend.networks.patch_discriminator import MultiscalePatchDiscriminator
from lensblend.nn.kernel_bank import KernelBank
from lensblend.nn.rendering import Backbone, BokehNetwork, PriorNetwork, Rendering
from lensblend.training.restoration import Restoration

class Network(BokehNetwork):
    def __init__(self, width: int = 4):
        super().__init__()
        self.body = nn.Conv2d(3, width, 1)
class _Hidden(Network): pass
class Greedy(BokehNetwork):
    def __init__(self, length: int):
        super().__init__()
        self.register_buffer("table", torch.empty(length), persistent=False)
class Prior(PriorNetwork): pass
class Trunk(Backbone): pass
class Bank(KernelBank): pass
class Judge(MultiscalePatchDiscriminator): pass
class Loss(nn.Module): pass
class Score(Psnr): pass
class Optimizer(optim.SGD): pass
class Pairs(Source):
    def split(self, name): return self
class Maps(Guide):
    def __call__(self, pair): return None
class Module(Restoration): pass
class Told(Callback): pass
class Log(CSVLogger): pass
class Way(DDPStrategy): pass
def network(): return Network()
"""
PLAYS = {
    "NETWORK": "Network", "PRIOR": "Prior", "BACKBONE": "Trunk", "BANK": "Bank", "DISCRIMINATOR": "Judge",
    "LOSS": "Loss", "METRIC": "Score", "OPTIMIZER": "Optimizer", "DATA": "Pairs", "MAP_SOURCE": "Maps",
    "MODULE": "Module", "CALLBACK": "Told", "LOGGER": "Log", "STRATEGY": "Way",
}  # fmt: skip


@pytest.fixture(autouse=True)
def shut(monkeypatch):
    """Leave the door as it was, and nothing of the packages imported."""
    monkeypatch.setenv(VARIABLE, "")
    extensions._installed.cache_clear()
    yield
    extensions._installed.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] in ("own_project", "strangers")]:
        del sys.modules[name]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A package that leaves a mark when it is imported."""
    folder = tmp_path / "strangers"
    folder.mkdir()
    mark = tmp_path / "imported"
    (folder / "__init__.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n", encoding="utf-8")
    (folder / "code.py").write_text(CODE, encoding="utf-8")
    (folder / "needy.py").write_text("import no_such_package_of_anyone\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return mark


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))


@pytest.fixture
def installed(example, tmp_path, monkeypatch):
    """The example as `pip install` leaves it: found by its entry point."""
    notes = tmp_path / "site" / "own_project-0.1.0.dist-info"
    notes.mkdir(parents=True)
    (notes / "METADATA").write_text("Metadata-Version: 2.1\nName: own-project\nVersion: 0.1.0\n", encoding="utf-8")
    (notes / "entry_points.txt").write_text(f"[{GROUP}]\nown_project = own_project\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(notes.parent))


def test_without_the_users_word_nothing_is_imported_and_the_message_names_the_door(own):
    for name, target in PLAYS.items():
        with pytest.raises(RequestError, match=r"If strangers is your own code, say so: --allow strangers \(docs/ext"):
            find_class(f"strangers.code.{target}", "x", (getattr(roles, name),))
    assert not own.exists()
    assert "strangers" not in sys.modules


@pytest.mark.parametrize("target", ["os.system", "torch.hub.load", "lensblend.runs.files.write_atomically", "nonsense"])
def test_the_door_is_named_only_for_what_could_be_the_users_own(target):
    with pytest.raises(RequestError) as raised:
        find_class(target, "x", roles.MODELS)
    assert "--allow" not in str(raised.value)


def test_a_package_that_was_let_in_plays_every_open_role_by_its_base_class(own):
    admit(["strangers"])
    assert not own.exists()  # saying so imports nothing either
    closed = {name for name, role in vars(roles).items() if isinstance(role, roles.Role) and not role.is_open}
    assert closed == {"LAYER", "GENERATED_DATA"}
    for name, target in PLAYS.items():
        role = getattr(roles, name)
        definition, found = find_class(f"strangers.code.{target}", "x", (role,))
        assert (definition.__name__, found) == (target, role)
    assert own.exists()
    for name in closed:
        with pytest.raises(RequestError, match="may not be built there"):
            find_class("strangers.code.Loss", "x", (getattr(roles, name),))
    # A data set of one's own may read files, whatever a checkpoint says of it.
    assert not plays(sys.modules["strangers.code"].Pairs, roles.GENERATED_DATA)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("strangers.code.Loss", "one of your own derives from lensblend.nn.rendering.BokehNetwork"),
        ("strangers.code.network", "is named by the module that defines it"),
        ("strangers.code.KernelBank", "may not be built there"),
        ("strangers.code.sys.exit", "there is no strangers.code.sys"),
        ("strangers.code._Hidden", "may not be built there"),
        ("strangers.code.Netwrok", "did you mean `Network`"),
        ("strangers.needy.Network", "needs no_such_package_of_anyone: it is not installed"),
        ("strangers_of_others.code.Network", "--allow strangers_of_others"),
    ],
)
def test_what_was_let_in_keeps_the_rules(own, target, says):
    admit(["strangers"])
    with pytest.raises(RequestError, match=says):
        find_class(target, "x", roles.MODELS)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("os", "--allow os`: which classes"),
        ("torch.nn", "decided already"),
        ("lensblend", "decided already"),
        ("hydra_plugins", "decided already"),
        ("no_such_package_of_anyone", "there is no package"),
        ("strangers.no_such", "there is no package strangers.no_such"),
        ("strangers.code", "there is no package"),
        ("../strangers", "such as `my_project`"),
        ("strangers:code", "such as `my_project`"),
        ("_strangers", "such as `my_project`"),
    ],
)
def test_what_is_no_users_own_package_is_not_let_in(own, name, says):
    with pytest.raises(RequestError, match=says):
        admit([name])
    assert not own.exists()


def test_names_add_up_and_reach_the_processes_that_are_started(own, example, monkeypatch):
    monkeypatch.setenv(VARIABLE, "strangers")
    admit(["own_project, strangers", ""])
    assert packages() == ("strangers", "own_project")
    assert extensions.os.environ[VARIABLE] == "strangers,own_project"
    admit([])
    assert packages() == ("strangers", "own_project")


def test_an_entry_point_lets_a_package_in_with_its_configurations_and_verbs(installed):
    admit([])
    assert packages() == ("own_project",)
    assert config_folders() == [EXAMPLE / "own_project" / "conf"]
    assert verbs() == {"draw": "own_project.cli.draw"}
    assert "own_project" not in sys.modules
    assert type(build(OWN, "model", *roles.MODELS)).__module__ == "own_project.networks"


def saved(path, node, state=None):
    record = describe(node, "phase1", [32, 48], {"data": {"_target_": "own_project.data.Lights"}}, {})
    AtomicCheckpointIO().save_checkpoint({"state_dict": state or {}, "lensblend": record}, path)
    return path


def test_a_checkpoint_of_an_own_network_opens_by_the_users_word_alone(example, tmp_path):
    file = tmp_path / "best.ckpt"
    with pytest.raises(RequestError, match=r"best.ckpt.*say so: --allow own_project"):
        load_network(saved(file, OWN))
    assert "own_project" not in sys.modules
    admit(["own_project"])
    network = build(OWN, "model", *roles.MODELS)
    saved(file, OWN, network.state_dict())
    loaded = load_network(file).network
    assert all(torch.equal(ours, loaded.state_dict()[key]) for key, ours in network.state_dict().items())


def test_an_own_network_that_claims_memory_is_refused_as_ours_are(own, tmp_path):
    admit(["strangers"])
    node = {"_target_": "strangers.code.Greedy", "length": 10**13}
    with pytest.raises(DataError, match="describes a network of 40,000,000,000,000 bytes"):
        load_network(saved(tmp_path / "best.ckpt", node))


def test_a_single_checkpoint_does_not_choose_an_own_data_set(example, tmp_path):
    admit(["own_project"])
    inner = {"_target_": "lensblend.data.embedded.Embedded", "cache": "/elsewhere"}
    for node in ({"_target_": "own_project.data.Lights"}, {"_target_": "own_project.data.Exposures", "source": inner}):
        with pytest.raises(RequestError, match="which a single checkpoint does not choose"):
            recorded_data({"data": node}, tmp_path, is_run=False)
    made = recorded_data({"data": node}, tmp_path, is_run=True)
    assert type(made).__name__ == "Exposures"
    assert "/elsewhere" not in str(vars(made._source))
