"""``lensblend evaluate``: a checkpoint and a split, or two folders, in; scores.csv and metrics.json out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from lensblend.cli.hydra_app import plain, run_verb
from lensblend.cli.idle import refuse_set
from lensblend.errors import DataError, RequestError, one_of
from lensblend.storage import check_writable

if TYPE_CHECKING:
    from lensblend.data.pairs import Source, Split
    from lensblend.metrics.per_image import MetricClasses
    from lensblend.nn.rendering import BokehNetwork

# What is looked at only where a network renders.
RENDERING = (
    *("data", "split", "image_size", "blend_at", "score_at", "saliency", "disparity", "references", "gallery"),
    *("network", "device", "engine", "precision", "fast"),
)


def evaluate(config: DictConfig) -> None:
    """Score what the request names and say where the scores are."""
    # Paths are meant from where the command was typed, also with hydra.job.chdir=true.
    os.chdir(HydraConfig.get().runtime.cwd)
    node = plain(config)
    empty = [key for key in ("output", "predictions", "targets") if node[key] == ""]
    if empty:
        raise RequestError(f"`{empty[0]}` is a folder, but got ''; write . for the current one.")
    folders = node["predictions"], node["targets"]
    if (node["checkpoint"] is None) == (folders == (None, None)) or (None in folders and folders != (None, None)):
        raise RequestError("Give either `checkpoint=PATH`, or both `predictions=DIR` and `targets=DIR`.")
    one_of("split", node["split"], ("train", "val", "test"))
    for key in ("blend_at", "score_at"):
        one_of(key, node[key], ("photo", "network"))
    if node["limit"] is not None and node["limit"] < 1:
        raise RequestError(f"`limit` is 1 or more, or null for all pairs, but got {node['limit']}.")
    overrides: Any = OmegaConf.to_container(HydraConfig.get().overrides.task)
    if node["checkpoint"] is None:
        refuse_set(overrides, RENDERING, "`predictions` are scored as they are; it goes beside `checkpoint`")
    from lensblend.runs.building import build_metrics, check_parts

    check_parts(node, "data", "metrics", "saliency", "disparity")
    check_writable(Path(node["output"]))
    metrics, _ = build_metrics(node["metrics"])
    for name, metric in metrics.items():
        if metric.compares != "bokeh":
            raise RequestError(
                f"`metrics.{name}` scores {metric.compares}, but `evaluate` scores renderings; choose metrics=default, "
                f"or leave it out: metrics.{name}=null"
            )
    if node["checkpoint"] is None:
        _evaluate_folders(node, metrics)
    else:
        _evaluate_checkpoint(node, metrics, overrides)


def _evaluate_folders(node: dict[str, Any], metrics: dict[str, Any]) -> None:
    from rich.progress import track

    from lensblend.inference.evaluation import match_folders, means, score_folders, write_scores

    classes = {name: type(metric) for name, metric in metrics.items()}
    files = match_folders(Path(node["predictions"]), Path(node["targets"]))[: node["limit"]]
    scores = score_folders(metrics, track(files, "Scoring"))
    about = {"predictions": node["predictions"], "targets": node["targets"]}
    write_scores(Path(node["output"]), classes, scores, about)
    _conclude(Path(node["output"]), classes, {"predictions": means(scores)}, len(scores))


def _evaluate_checkpoint(node: dict[str, Any], metrics: dict[str, Any], overrides: Sequence[str]) -> None:
    from rich.progress import track

    from lensblend.cli.released import loader
    from lensblend.comparison.gallery import Gallery
    from lensblend.data.samples import Resized
    from lensblend.data.sizes import check_image_size
    from lensblend.inference.engines import check_engine, device_for
    from lensblend.inference.evaluation import means, means_by_f_number, score_network, score_references, write_scores
    from lensblend.inference.folding import folded
    from lensblend.inference.guidance import KNOWN, guides_of
    from lensblend.inference.guided_pairs import Guided, check_guides, give_maps
    from lensblend.inference.served import served
    from lensblend.runs.checkpoints import check_renders, load_ensemble
    from lensblend.runs.configuration import config_hash
    from lensblend.runs.fingerprints import changed_since
    from lensblend.runs.hub import origin
    from lensblend.runs.instantiate import build
    from lensblend.runs.messages import say
    from lensblend.runs.recorded import recorded_data
    from lensblend.runs.roles import DATA

    paths = node["checkpoint"] if isinstance(node["checkpoint"], list) else [node["checkpoint"]]
    wrong = [path for path in paths if not isinstance(path, str)]
    if wrong:
        raise RequestError(f"`checkpoint` is a .ckpt file or a run's folder, or a list of them, but got {wrong[0]!r}.")
    trained = load_ensemble(paths, loader(node["network"]))
    network, device = check_renders(trained), device_for(node["engine"], node["device"])
    rendering = network.quick() if node["fast"] else network
    check_engine(node["engine"], node["precision"], device)
    image_size = check_image_size(node["image_size"]) if node["image_size"] is not None else trained.image_size
    data = node["data"] or trained.config.get("data")
    if node["data"]:
        source: Source = build(node["data"], "data", DATA)
    else:
        source = recorded_data(trained.config, trained.path, trained.is_run)
        if trained.is_run and (changed := changed_since(trained.run_dir, source)):
            say(changed)
    _refuse_unused(network, source, overrides)
    for doubt in source.doubts():
        say(f"Doubt: {doubt}")
    maps = {name: node[name] or trained.config.get(name) for name in source.asks}
    is_test, split = node["split"] == "test", cast("Split", node["split"])
    asked = [] if is_test else [split]
    give_maps(source, maps, config_hash(data or {}), device, lambda indices, title: track(list(indices), title), asked)
    pairs = source.test() if is_test else source.split(split)
    guides = guides_of(trained, node)
    check_guides(guides, pairs, node["limit"])
    pairs = Guided(pairs, guides, KNOWN)
    if node["score_at"] == "network":
        pairs = Resized(pairs, image_size)
    indices = range(min(len(pairs.ids), node["limit"] or len(pairs.ids)))
    if len(indices) == 0:
        helps = "give +data.test_list or +data.test_photos" if is_test else "try the other split"
        raise DataError(f"There are no pairs in `split={node['split']}`; {helps}, or another `data`.")
    blurring = network
    network = served(folded(rendering).to(device), node["engine"], node["precision"], trained.sha256)
    classes = {name: type(metric) for name, metric in metrics.items()}
    gallery, output = Gallery(trained.label, classes) if node["gallery"] else None, Path(node["output"])
    show = gallery.show if gallery else None
    shown = track(indices, "Rendering and scoring")
    f_numbers: dict[str, float] = {}
    scores = score_network(network, metrics, pairs, shown, image_size, node["blend_at"], show, f_numbers)
    about = {key: node[key] for key in ("blend_at", "score_at", "split", "engine", "precision", "fast")}
    about |= {
        "checkpoint": origin(trained.path) or str(trained.path) if len(paths) == 1 else paths,
        "checkpoint_sha256": trained.sha256,
        "data": data,
    }
    about |= {"network": node["network"]} if node["network"] else {}
    about |= {"phase": trained.record["phase"], "image_size": list(image_size)}
    if node["references"] and blurring.reference_bank is not None:
        shown = track(indices, "Scoring photo and uniform blurs")
        about["references"] = score_references(metrics, blurring, pairs, shown, image_size)
    write_scores(output, classes, scores, about, f_numbers)
    rows = {**about.get("references", {}), trained.label: means(scores), **means_by_f_number(scores, f_numbers)}
    if gallery:
        gallery.write(output, f"{trained.path} on {node['split']}", rows)
    _conclude(output, classes, rows, len(scores))


def _refuse_unused(network: BokehNetwork, source: Source, overrides: Sequence[str]) -> None:
    """Refuse sources of maps that neither the network nor the data takes, and references to blurs that it lacks."""
    kind = type(network).__name__
    for name in ("saliency", "disparity"):
        if name not in (*network.guidance, *source.asks):
            refuse_set(overrides, [name], f"neither {kind} nor the data takes {name}; leave it out")
    if network.reference_bank is None:
        refuse_set(overrides, ["references"], f"{kind} has no bank of kernels; leave it out")


def _conclude(output: Path, classes: MetricClasses, rows: dict[str, Any], count: int) -> None:
    from lensblend.inference.evaluation import aligned, mean_cells
    from lensblend.runs.messages import say

    table = aligned(mean_cells(classes, rows))
    say(f"\nMeans over {count} images:\n\n{table}\n\nscores.csv and metrics.json are in {output}")


def main() -> None:
    """Run the verb and exit."""
    run_verb(evaluate, "evaluate")


if __name__ == "__main__":
    main()
