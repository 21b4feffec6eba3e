"""``lensblend evaluate``: a checkpoint and a split, or two folders, in; scores.csv and metrics.json out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig

from lensblend.cli.hydra_app import plain, run_verb
from lensblend.errors import DataError, RequestError

if TYPE_CHECKING:
    from lensblend.data.pairs import Source, Split


def evaluate(config: DictConfig) -> None:
    """Score what the request names and say where the scores are."""
    node = plain(config)
    folders = node["predictions"], node["targets"]
    if (node["checkpoint"] is None) == (folders == (None, None)) or (None in folders and folders != (None, None)):
        raise RequestError("Give either `checkpoint=PATH`, or both `predictions=DIR` and `targets=DIR`.")
    if node["split"] not in ("train", "val"):
        raise RequestError(f"`split` is train or val, but got {node['split']!r}.")
    from lensblend.training.runner import build_metrics

    metrics = build_metrics(node["metrics"])
    if node["checkpoint"] is None:
        _evaluate_folders(node, metrics)
    else:
        _evaluate_checkpoint(node, metrics)


def _evaluate_folders(node: dict[str, Any], metrics: dict[str, Any]) -> None:
    from rich.progress import track

    from lensblend.training.evaluation import match_folders, score_folders, write_scores

    files = match_folders(Path(node["predictions"]), Path(node["targets"]))
    scores = score_folders(metrics, track(files, "Scoring"))
    write_scores(Path(node["output"]), scores, {"predictions": node["predictions"], "targets": node["targets"]})
    _conclude(Path(node["output"]), {"predictions": scores})


def _evaluate_checkpoint(node: dict[str, Any], metrics: dict[str, Any]) -> None:
    import yaml
    from rich.progress import track

    from lensblend.training.checkpoints import load_network
    from lensblend.training.evaluation import Scores, bank_at, score, score_references, write_scores
    from lensblend.training.gallery import Gallery
    from lensblend.training.inference import choose_device, render_photo, weight_maps
    from lensblend.training.instantiate import build
    from lensblend.training.phases import image_size_of
    from lensblend.training.pictures import cells, to_8bit

    trained = load_network(node["checkpoint"])
    image_size = image_size_of(node["image_size"]) if node["image_size"] else trained.image_size
    network = trained.network.to(choose_device(node["device"]))
    data = node["data"] or yaml.safe_load(trained.record["config"])["data"]
    source = cast("Source", build(data, "data"))
    pairs = source.split(cast("Split", node["split"]))
    indices = range(min(len(pairs.ids), node["limit"] or len(pairs.ids)))
    if len(indices) == 0:
        raise DataError(
            f"The data set has no pairs in `split={node['split']}`; try the other split, or another `data`."
        )
    gallery = Gallery() if node["gallery"] else None
    scores: dict[str, Scores] = {}
    for index in track(indices, "Rendering and scoring"):
        pair = pairs.load(index)
        rendering = render_photo(network, pair.photo, image_size, node["blend_at"])
        bokeh = to_8bit(rendering.bokeh[0])
        scores[pair.id] = score(metrics, bokeh, pair.target)
        if gallery is not None:
            names = getattr(getattr(network, "bank", None), "names", ())
            gallery.add(pair.id, cells(pair.photo, pair.target, bokeh, weight_maps(rendering), names), scores[pair.id])
    output = Path(node["output"])
    about: dict[str, Any] = {
        "checkpoint": str(trained.path),
        "checkpoint_sha256": trained.sha256,
        "phase": trained.record["phase"],
        "image_size": list(image_size),
        "blend_at": node["blend_at"],
        "split": node["split"],
        "data": data,
    }
    bank = getattr(trained.network.cpu(), "bank", None)
    if node["references"] and bank is not None:
        height, width = pairs.load(0).photo.shape[:2]
        bank = bank_at(bank, image_size, (height, width))
        about["references"] = score_references(metrics, bank, pairs, track(indices, "Scoring photo and uniform blurs"))
    write_scores(output, scores, about)
    if gallery is not None:
        gallery.write(output, f"{trained.path} on {node['split']}")
    _conclude(output, {trained.record["phase"]: scores}, about.get("references", {}))


def _conclude(output: Path, scored: dict[str, Any], references: dict[str, Any] | None = None) -> None:
    from lensblend.training.evaluation import markdown_table, means

    rows = {**(references or {}), **{name: means(scores) for name, scores in scored.items()}}
    count = len(next(iter(scored.values())))
    print(f"\nMeans over {count} images:\n\n{markdown_table(rows)}\n\nscores.csv and metrics.json are in {output}")


def main() -> None:
    """Run the verb and exit."""
    run_verb(evaluate, "evaluate")


if __name__ == "__main__":
    main()
