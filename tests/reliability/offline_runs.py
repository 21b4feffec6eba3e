"""Read back what W&B wrote of a run on this machine: LevelDB's log framing around protocol buffers."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # made by protoc, at import

from lensblend.errors import DataError

HEADER, MAGIC = 7, b":W&B"
BLOCK, CHUNK = 32768, struct.Struct("<IHB")
# A record lies in one chunk, or in a first, middle ones and a last.
WHOLE, LAST = 1, 4


@dataclass
class OfflineRun:
    """One run, as one process of it has recorded it.

    Attributes:
        path: The ``.wandb`` file; the pictures and tables are in ``files/`` beside it.
        id: The run's id.
        name: Its name in tables and legends.
        project: W&B's project.
        group: The training.
        job_type: The phase.
        tags: What was combined.
        config: Nested.
        summary: The last value of everything, or what was asked for instead; nested.
        history: One nested mapping for each call of ``log``.
        metrics: How each metric is drawn and summarised, by name (or by beginning and ``*``).
        notes: What is said of it beside.
        versions: What was added to artifacts: each one's name, its kind, its aliases and where its files lie.
        alerts: Title, text and level of what W&B's users are told.
        artifacts: Files outside ``files/``, such as a table's pictures: where each lies, by artifact and name.
        exit_code: How the process ended; None if it was killed.
        preempting: Whether the process said that it would be started again.
    """

    path: Path
    id: str = ""
    name: str = ""
    project: str = ""
    group: str = ""
    job_type: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Path]] = field(default_factory=dict)
    notes: str = ""
    versions: list[tuple[str, str, list[str], dict[str, Path]]] = field(default_factory=list)
    alerts: list[tuple[str, str, str]] = field(default_factory=list)
    exit_code: int | None = None
    preempting: bool = False

    @property
    def files(self) -> Path:
        """The folder that pictures and tables are named relative to."""
        return self.path.parent / "files"

    def series(self, key: str) -> list[tuple[int, Any]]:
        """Return a metric's values with the optimizer steps they belong to."""
        return [(int(row["trainer/global_step"]), row[key]) for row in self.history if key in row]

    def table(self, key: str) -> list[dict[str, Any]]:
        """Return a table's rows by column; a picture is the path of its file."""
        said = self.series(key)[-1][1]
        files = next(files for files in self.artifacts.values() if f"{key}.table.json" in files)
        content = json.loads(files[f"{key}.table.json"].read_text(encoding="utf-8"))
        if (len(content["columns"]), len(content["data"])) != (said["ncols"], said["nrows"]):
            raise DataError(f"{self.path}: the table `{key}` has another size than the run says.")
        cells = [[files[c["path"]] if isinstance(c, dict) else c for c in row] for row in content["data"]]
        return [dict(zip(content["columns"], row, strict=True)) for row in cells]


def read_runs(folder: Path) -> list[OfflineRun]:
    """Read every run below a folder, in the order in which they started."""
    return [read_run(path) for path in sorted(folder.rglob("*offline-run-*/run-*.wandb"), key=lambda p: p.parent.name)]


def read_run(path: Path) -> OfflineRun:
    """Read one ``.wandb`` file.

    Raises:
        DataError: It is none, or it is damaged before its end.
    """
    run = OfflineRun(path)
    for record in records(path):
        match record.WhichOneof("record_type"):
            case "run":
                said = record.run
                run.id, run.name, run.project = said.run_id, said.display_name, said.project
                run.group, run.job_type, run.tags = said.run_group, said.job_type, list(said.tags)
                run.notes = said.notes
                _add(said.config.update, run.config)
            case "config":
                _add(record.config.update, run.config)
            case "summary":
                _add(record.summary.update, run.summary)
            case "history":
                run.history.append({})
                _add(record.history.item, run.history[-1])
            case "metric":
                _define(record.metric, run.metrics)
            case "artifact":
                _keep(record.artifact, run)
            case kind:
                _end(kind, record, run)
    return run


def _end(kind: str | None, record: Any, run: OfflineRun) -> None:
    if kind == "alert":
        run.alerts.append((record.alert.title, record.alert.text, record.alert.level))
    elif kind == "exit":
        run.exit_code = record.exit.exit_code
    elif kind == "preempting":
        run.preempting = True


def records(path: Path) -> Iterator[Any]:
    """Yield the records of a ``.wandb`` file; one that a killed process left half written is the end.

    Raises:
        DataError: The file is none, or a checksum is wrong.
    """
    content = path.read_bytes()
    if content[:4] != MAGIC:
        raise DataError(f"{path} is not a W&B run: it does not begin with {MAGIC.decode()}.")
    position, parts = HEADER, list[bytes]()
    while position + CHUNK.size <= len(content):
        if BLOCK - position % BLOCK < CHUNK.size:
            position += BLOCK - position % BLOCK
            continue
        checksum, length, kind = CHUNK.unpack_from(content, position)
        end = position + CHUNK.size + length
        if end > len(content):
            return
        if zlib.crc32(content[position + CHUNK.size - 1 : end]) != checksum:
            raise DataError(f"{path} is damaged at byte {position}: the checksum is wrong.")
        parts.append(content[position + CHUNK.size : end])
        position = end
        if kind in (WHOLE, LAST):
            yield Record.FromString(b"".join(parts))
            parts = []


def _keep(artifact: Any, run: OfflineRun) -> None:
    files = {file.path: Path(file.local_path) for file in artifact.manifest.contents}
    run.artifacts[artifact.name] = files
    run.versions.append((artifact.name, artifact.type, list(artifact.aliases), files))


def _add(items: Any, content: dict[str, Any]) -> None:
    for item in items:
        *path, last = list(item.nested_key) or [item.key]
        node = content
        for key in path:
            node = node.setdefault(key, {})
        node[last] = json.loads(item.value_json)


def _define(metric: Any, metrics: dict[str, dict[str, Any]]) -> None:
    """Merge a definition into what was said of the same metric before, as W&B does."""
    said = metrics.setdefault(metric.name or metric.glob_name, {"summary": [], "hidden": False, "step": ""})
    said["summary"] += [kind for kind in ("min", "max", "mean", "last", "first") if getattr(metric.summary, kind)]
    said["hidden"] |= metric.options.hidden
    said["step"] = metric.step_metric or said["step"]
