"""What may stand in each place of a configuration and of a checkpoint's record: classes by their role."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

from lensblend.errors import RequestError, nearest, short
from lensblend.runs import extensions
from lensblend.runs.earlier import class_today

_PATH = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+")
_LONGEST = 200


@dataclass(frozen=True)
class Role:
    """One role that objects play.

    A class plays it if it derives from ``base``, is defined in one of the ``packages`` or in a user's own that was let
    in (`lensblend.runs.extensions`), and is called by the module that defines it, or by an ``exporter``. Nothing with
    a leading underscore in its path does.

    Attributes:
        title: What plays it, for messages.
        base: Dotted name of the class from which all derive.
        packages: Modules, or packages with all their modules.
        exporters: Packages of other projects, by which their users call classes that are defined below.
        parts: Names, in this module, of the roles that may stand within the arguments.
        waits: Whether it is built later, when the training knows the rest of its arguments (``_partial_: true``).
        is_open: Whether classes of the users' own packages play it as well.
    """

    title: str
    base: str
    packages: tuple[str, ...]
    exporters: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    waits: bool = False
    is_open: bool = True

    @property
    def rooms(self) -> tuple[str, ...]:
        """The packages in which its classes are defined, those of users included."""
        return (*self.packages, *(extensions.packages() if self.is_open else ()))

    @property
    def within(self) -> tuple[Role, ...]:
        """The roles that may stand within the arguments."""
        return tuple(globals()[name] for name in self.parts)

    @property
    def places(self) -> str:
        """Where its classes are found, for messages."""
        return " or ".join(self.exporters or self.packages)


# Those of torch.nn.modules whose classes are as large as their arguments say, and repeat nothing.
_LAYERS = (
    "activation",
    "batchnorm",
    "channelshuffle",
    "container",
    "conv",
    "dropout",
    "flatten",
    "fold",
    "instancenorm",
    "linear",
    "normalization",
    "padding",
    "pixelshuffle",
    "pooling",
    "upsampling",
)
LAYER = Role(
    "a layer of PyTorch",
    "torch.nn.Module",
    tuple(f"torch.nn.modules.{name}" for name in _LAYERS),
    ("torch.nn",),
    parts=("LAYER",),
    is_open=False,
)
BANK = Role("a kernel bank", "lensblend.nn.kernel_bank.KernelBank", ("lensblend.nn",))
BACKBONE = Role("a backbone", "lensblend.nn.rendering.Backbone", ("lensblend.backbones",), parts=("LAYER",))
PRIOR = Role(
    "a prior network", "lensblend.nn.rendering.PriorNetwork", ("lensblend.priors",), parts=("BACKBONE", "LAYER")
)
NETWORK = Role(
    "a network that renders bokeh",
    "lensblend.nn.rendering.BokehNetwork",
    ("lensblend.networks",),
    parts=("NETWORK", "PRIOR", "BACKBONE", "BANK", "LAYER"),
)
DISCRIMINATOR = Role(
    "a discriminator",
    "lensblend.networks.patch_discriminator.MultiscalePatchDiscriminator",
    ("lensblend.networks",),
)
LOSS = Role(
    "a loss", "torch.nn.Module", ("lensblend.losses", "torch.nn.modules.loss"), ("lensblend.losses", "torch.nn")
)
METRIC = Role("a metric", "lensblend.metrics.per_image.PerImageMetric", ("lensblend.metrics",))
OPTIMIZER = Role("an optimizer", "torch.optim.Optimizer", ("torch.optim",), ("torch.optim",), waits=True)
SCHEDULER = Role(
    "a learning-rate scheduler",
    "torch.optim.lr_scheduler.LRScheduler",
    ("torch.optim.lr_scheduler",),
    ("torch.optim.lr_scheduler",),
    waits=True,
)
# One that changes the pairs of another holds it.
DATA = Role("a data set", "lensblend.data.pairs.Source", ("lensblend.data",), parts=("DATA",))
GENERATED_DATA = Role(
    "a data set that reads no files",
    "lensblend.data.pairs.Source",
    ("lensblend.data.embedded", "lensblend.data.scenes"),
    is_open=False,
)
MAP_SOURCE = Role(
    "a source of maps",
    "lensblend.inference.prior_maps.Guide",
    ("lensblend.inference.guidance", "lensblend.inference.onnx_maps", "lensblend.inference.prior_maps"),
    parts=("PRIOR",),
)
MODULE = Role(
    "a module that trains",
    "lensblend.training.fit.Fit",
    ("lensblend.training.restoration", "lensblend.training.estimation", "lensblend.training.adversarial"),
    parts=("DISCRIMINATOR", "LOSS", "OPTIMIZER"),
)
CALLBACK = Role(
    "a callback",
    "pytorch_lightning.callbacks.Callback",
    ("lensblend.training.callbacks", "pytorch_lightning.callbacks"),
    ("lensblend.training.callbacks", "pytorch_lightning.callbacks"),
)
LOGGER = Role(
    "a logger",
    "pytorch_lightning.loggers.Logger",
    (
        "lensblend.training.loggers",
        *(f"pytorch_lightning.loggers.{name}" for name in ("csv_logs", "mlflow", "tensorboard")),
    ),
    ("lensblend.training.loggers", "pytorch_lightning.loggers"),
    waits=True,
)
STRATEGY = Role(
    "a way in which processes share a training",
    "pytorch_lightning.strategies.Strategy",
    ("lensblend.training.strategies", "pytorch_lightning.strategies"),
    ("lensblend.training.strategies", "pytorch_lightning.strategies"),
)
# A network may render, or estimate what another is guided by.
MODELS = (NETWORK, PRIOR)


def find_class(target: object, where: str, roles: Sequence[Role]) -> tuple[type, Role]:
    """Return the class that a ``_target_`` names, and which of the roles it plays.

    Only modules of the roles' packages are imported for it.

    Args:
        target: What stands there.
        where: Its place, for messages.
        roles: The roles that may stand there.

    Raises:
        RequestError: It names no class of these roles, or one that does not exist.

    Example:
        >>> find_class("torch.nn.Linear", "head", (LAYER,))[0]
        <class 'torch.nn.modules.linear.Linear'>
        >>> find_class("os.system", "head", (LAYER,))
        Traceback (most recent call last):
        lensblend.errors.RequestError: `head` is 'os.system', which may not be built there: it takes a layer of \
PyTorch (a public class of torch.nn).
    """
    if not isinstance(target, str) or len(target) > _LONGEST or not _PATH.fullmatch(target):
        raise _refusal(target, where, roles)
    module_name, _, name = class_today(target).rpartition(".")
    near = [role for role in roles if _is_in(module_name, (*role.rooms, *role.exporters))]
    if not near:
        raise _refusal(target, where, roles)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not _is_in(module_name, [str(error.name)]):
            raise RequestError(f"`{where}` is {target!r}, which needs {error.name}: it is not installed.") from error
        raise RequestError(f"`{where}` is {target!r}, which cannot be found: there is no {module_name}.") from None
    definition = vars(module).get(name)
    if definition is None:
        public = [n for n, value in vars(module).items() if any(_plays(value, n, module, role) for role in near)]
        raise RequestError(f"`{where}` is {target!r}, which cannot be found{nearest(name, sorted(public))}")
    for role in near:
        if _plays(definition, name, module, role):
            return definition, role
    raise _refusal(target, where, roles)


def _plays(definition: object, name: str, module: ModuleType, role: Role) -> bool:
    """Tell whether what a module calls so is a class of a role, and its own or one that it exports."""
    if not inspect.isclass(definition) or definition.__qualname__ != name:
        return False
    its_own = definition.__module__ == module.__name__ or module.__name__ in role.exporters
    return its_own and plays(definition, role)


def plays(definition: type, role: Role) -> bool:
    """Tell whether a class plays a role."""
    return (
        not inspect.isabstract(definition)
        and _is_in(definition.__module__, role.rooms)
        and issubclass(definition, pkgutil.resolve_name(role.base))
    )


def _is_in(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _refusal(target: object, where: str, roles: Sequence[Role]) -> RequestError:
    wanted = ", or ".join(f"{role.title} (a public class of {role.places})" for role in roles)
    takes = f"it takes {wanted}" if roles else "it takes no further nodes"
    return RequestError(f"`{where}` is {short(target)}, which may not be built there: {takes}{_door(target, roles)}.")


def _door(target: object, roles: Sequence[Role]) -> str:
    """Say how a class that may be the user's own comes to play a role."""
    named = isinstance(target, str) and len(target) <= _LONGEST and _PATH.fullmatch(target)
    opened = [role for role in roles if role.is_open]
    if not named or not opened or not extensions.could_be_own(package := str(target).partition(".")[0]):
        return ""
    if not any(_is_in(str(target), [name]) for name in extensions.packages()):
        return f". If {package} is your own code, say so: --allow {package} (docs/extending.md)"
    bases = " or ".join(dict.fromkeys(role.base for role in opened))
    return f"; one of your own derives from {bases}, and is named by the module that defines it"
