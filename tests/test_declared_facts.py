"""What a class needs others to know stands in its base class: nothing in `src` looks for what may not be there."""

import ast
from pathlib import Path

import pytest

import lensblend

SOURCE = Path(lensblend.__file__).parent

# Constructors' signatures are what a configuration is checked by; fields of one's own class, one after the other;
# what another platform or another project's object may lack.
ALLOWED = {
    "data/metadata.py": {"getattr(image, 'applist', ())"},
    "data/modes.py": {"getattr(image, 'tag_v2', {})"},
    "data/photo_camera.py": {"getattr(self, name)"},
    "data/opening.py": {"getattr(image, 'n_frames', 1)"},
    "inference/exporting.py": {"isinstance(part, Backbone)"},  # which of a network's own parts are less precise
    "inference/folding.py": {"getattr(network, 'renders_channels_last', True)"},  # of a part, which says nothing
    "inference/lowering.py": {"getattr(data, name)"},  # scikit-image's photos
    "inference/served.py": {"isinstance(part, Backbone)"},  # which of a network's own parts an engine takes over
    "launchers/devices.py": {"hasattr(os, 'sched_getaffinity')"},
    "launchers/slurm.py": {"getattr(self, name)"},
    "runs/documents.py": {"getattr(yaml, 'CSafeLoader', yaml.SafeLoader)"},
    "runs/signals.py": {"getattr(signal, name)", "hasattr(signal, name)"},
    "runs/instantiate.py": {"inspect.signature(definition)", "inspect.signature(vars(kind)['__init__'])"},
    "training/callbacks/finite_guard.py": {"getattr(trainer.precision_plugin, 'scaler', None)"},
    "training/cluster.py": {"getattr(rank_zero_only, 'rank', 0)"},
    "training/interruption.py": {"hasattr(signal, 'sigtimedwait')"},
    "training/loggers/phase_logger.py": {"inspect.signature(kind)"},  # of Lightning's own loggers
    "training/phases.py": {"getattr(self, name)"},
    "training/speed.py": {"inspect.signature(kind)"},  # of PyTorch's own optimizers
}
PROBES = {"getattr", "hasattr", "inspect.signature", "signature"}
# A network's or a source's kind is what it declares, and not what it is called or derives from.
KINDS = {
    "Network",
    "BokehNetwork",
    "PriorNetwork",
    "DepthNetwork",
    "Backbone",
    "NetworkMap",
    "Guide",
    "Source",
    "Pairs",
}


def probes(text):
    """The expressions in a source text by which something is looked for."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            kinds = {name.id for argument in node.args[1:] for name in ast.walk(argument) if isinstance(name, ast.Name)}
            if called in PROBES or (called == "isinstance" and kinds & KINDS):
                found.add(ast.unparse(node))
        if isinstance(node, ast.Compare) and ".__name__" in ast.unparse(node).replace("module.__name__", ""):
            found.add(ast.unparse(node))
    return found


def test_nothing_is_looked_for_but_what_is_listed():
    found = {str(file.relative_to(SOURCE)): probes(file.read_text(encoding="utf-8")) for file in SOURCE.rglob("*.py")}
    assert {name: expressions for name, expressions in found.items() if expressions} == ALLOWED


@pytest.mark.parametrize(
    "text",
    [
        "names = getattr(network, 'guidance', ())",
        "if hasattr(source, 'summary'): pass",
        "takes = 'full_photo' in inspect.signature(network.forward).parameters",
        "if isinstance(guide, NetworkMap): pass",
        "if isinstance(guide, (list, Guide)): pass",
        "if type(network).__name__ == 'DepthBlend': pass",
    ],
)
def test_a_new_one_is_seen(text):
    assert probes(text)


def test_messages_may_name_a_class():
    assert not probes("raise DataError(f'{type(network).__name__} failed'); isinstance(value, int)")
