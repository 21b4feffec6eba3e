"""Tell how much GPU memory each published recipe trains with, on a GPU that is not there.

    python benchmarks/gpu_memory.py --output docs/benchmarks/gpu_memory.md

Networks, losses and optimizers are those of `conf/`, at the sizes and batches of every phase. Tensors are fakes, which
have shapes and hold no values: what a forward pass keeps for the backward pass is counted, and nothing is computed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # where the fake GPU is
EXPERIMENTS = ("joint", "depth", "photos", "saliency_basnet", "saliency_dss", "saliency_scrn")
CARDS = (12, 24, 40, 80)  # GiB
PRECISIONS = ("fp32", "bf16")
SPARE = 2  # GiB for CUDA itself, workspaces, fragments, and what backward makes on its way
GIB = 2**30


def main() -> None:
    """Count what the command line asks for, and print or write the page."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--recipes", nargs="+", metavar="KIND/NAME", help="e.g. baseline/dbsi experiment/depth; default: all"
    )
    parser.add_argument("--output", type=Path, help="Markdown page to write")
    options = parser.parse_args()
    baselines = sorted(f"baseline/{file.stem}" for file in (ROOT / "conf" / "baseline").glob("*.yaml"))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        vgg = vgg_file(Path(folder))
        for recipe in options.recipes or [*baselines, *(f"experiment/{name}" for name in EXPERIMENTS)]:
            for row in phases(recipe, vgg):
                print(*row, file=sys.stderr, flush=True)
                rows.append(row)
    text = page(rows)
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


def vgg_file(folder: Path) -> str:
    """Write a file like torchvision's of VGG-19: losses that look through it have no features without one."""
    import torch
    from torchvision.models import vgg19

    with torch.device("meta"):
        layers = vgg19(weights=None).features.state_dict()
    path = folder / "vgg19.pth"
    torch.save({f"features.{name}": torch.zeros(value.shape) for name, value in layers.items()}, path)
    return str(path)


def phases(recipe: str, vgg: str) -> Iterator[tuple[Any, ...]]:
    """Yield recipe, phase, batch, size, and the bytes in both precisions, of each phase that trains something."""
    import hydra
    from omegaconf import OmegaConf

    from lensblend.cli.config import config_folder, register
    from lensblend.training.phases import Schedule

    kind, name = recipe.split("/")
    register()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = hydra.compose("train", overrides=["run_dir=x", f"{kind}={name}"])
    config: Any = OmegaConf.to_container(composed, resolve=True)
    if (config["model"].get("backbone") or {}).get("weights") is not None:
        config["model"]["backbone"]["weights"] = None  # their values do not matter, and their file may be missing
    schedule = Schedule.from_config(config["schedule"])
    for phase_name in schedule.run:
        phase = schedule.phases[phase_name]
        for term in phase.loss.values():
            if term and "weights" in term["loss"]:
                term["loss"]["weights"] = vgg
        size = largest(phase.crop or phase.image_size, config["module"].get("scales", [1.0]))
        found = [held(config, phase, size, precision) for precision in PRECISIONS]
        if all(found):
            yield recipe, phase_name, phase.batch_size, size, *found


def largest(size: Sequence[int], scales: Sequence[float]) -> tuple[int, int]:
    """Return the largest size at which a batch is trained, where it is trained at several."""
    from lensblend.training.estimation import MULTIPLE

    height, width = (side if max(scales) == 1 else round(side * max(scales) / MULTIPLE) * MULTIPLE for side in size)
    return height, width


def held(config: dict[str, Any], phase: Any, size: tuple[int, int], precision: str) -> int:
    """Return the bytes held after forward, with gradients and the optimizer's state; 0 if nothing is trained."""
    import torch

    from fake_cuda import GPU, fake_gpu, moved
    from lensblend.inference.guidance import guidance_of
    from lensblend.runs.building import build_loss, freeze_all_but
    from lensblend.runs.instantiate import build
    from lensblend.runs.roles import MODELS, MODULE, OPTIMIZER
    from lensblend.training.truths import needed_maps

    network = build(config["model"], "model", *MODELS)
    freeze_all_but(network, phase.trainable)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        return 0
    loss, _ = build_loss(phase.loss)
    optimizer = build({**phase.optimizer, "_partial_": True, "lr": phase.lr}, "optimizer", OPTIMIZER)
    module = build(config["module"], "module", MODULE, network=network, loss=loss, metrics={}, optimizer=optimizer)
    names = needed_maps(loss.compares.values(), guidance_of(config["model"], "model"))
    per_weight = 1 + (2 if "Adam" in phase.optimizer["_target_"] else 1)  # gradient; moments, or momentum
    height, width = size
    kept: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    with fake_gpu(), torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
        moved(module).train()
        batch = {key: torch.rand(phase.batch_size, 3, height, width, device=GPU) for key in ("photo", "target")}
        batch |= {key: torch.rand(phase.batch_size, 1, height, width, device=GPU) for key in names}
        weights = list(module.parameters())
        trained = sum(p.numel() * p.element_size() for p in weights if p.requires_grad)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            results = forward(module, batch)
        for tensor in (*weights, *module.buffers(), *batch.values(), *results):
            keep(tensor)
        return sum(storage.nbytes() for storage in kept.values()) + per_weight * trained


def forward(module: Any, batch: dict[str, Any]) -> list[Any]:
    """Return the results of a step's forward pass, with its graph."""
    import torch
    from torch.utils._pytree import tree_leaves

    from lensblend.training.adversarial import Adversarial
    from lensblend.training.truths import truths

    answer = module.answer(batch)
    total, _ = module.loss(answer, truths(batch, module.loss.compares.values()))
    results = [total, *tree_leaves(answer)]
    if isinstance(module, Adversarial):
        condition = [batch["photo"], *(batch[name] for name in module.network.guidance)]
        with torch.no_grad():
            real = module._judge(condition, batch["target"])
        module.discriminator.requires_grad_(False)  # as while the network's step is taken
        fake = module._judge(condition, answer["bokeh"])
        results += [module.generator_loss(fake), module.feature_loss(real, fake)]
    return [result for result in results if isinstance(result, torch.Tensor)]


def page(rows: list[tuple[Any, ...]]) -> str:
    """Return the page."""
    lines = [
        "# GPU memory of the recipes",
        "",
        "Weights, gradients, the optimizer's state, the batch and all that is kept for the gradient, added up, in GiB.",
        "What is kept is freed while gradients come: where there are many weights (SLYYM), a step takes less.",
        "Counted on tensors without values, **without a GPU**, by `python benchmarks/gpu_memory.py`.",
        "Sizes are height × width of what is trained on, the largest of SCRN's three; the batch is that of one",
        f"GPU. `fits` is the least of {', '.join(map(str, CARDS))} GiB that leaves {SPARE} GiB for CUDA, workspaces,",
        "fragments and what backward makes on its way. `bf16` is `trainer.precision=bf16-mixed`. Networks that",
        "estimate guidance are not in it, nor is validation, which keeps nothing for a gradient.",
        "",
        "| recipe | phase | batch | size | fp32 | fits | bf16 | fits |",
        "|---|---|---:|---|---:|---:|---:|---:|",
    ]
    for recipe, phase, batch, (height, width), *found in rows:
        cells = " | ".join(f"{each / GIB:.1f} | {least_card(each / GIB)}" for each in found)
        lines.append(f"| {recipe} | {phase} | {batch} | {height}×{width} | {cells} |")
    return "\n".join(lines) + "\n"


def least_card(gib: float) -> str:
    """Return the smallest card that a step fits on."""
    fitting = [card for card in CARDS if gib + SPARE <= card]
    return str(fitting[0]) if fitting else "none"


if __name__ == "__main__":
    main()
