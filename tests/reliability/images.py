"""R9: every kind of bad image, through the loader and every verb that takes images; the page of what each says."""

from __future__ import annotations

import csv
import ctypes
import json
import os
import shutil
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from lensblend.data.images import read_size
from lensblend.data.listing import rendered_name
from lensblend.errors import DataError
from lensblend.storage import write_atomically
from reliability.bad_images import KINDS, PLAIN, Kind
from reliability.bad_images_page import PAGE, READ, Outcomes, cell, loaded, page, read_page, told
from reliability.children import call
from reliability.rows import Bench, Case, expect

SECONDS = 60.0
SMALL = (
    *("debug=smoke", "+backbone.width_divisor=16", "metrics.lpips=null", "metrics.ssim=null", "callbacks.panels=null"),
    *("schedule.run=[phase1]", "loader.num_workers=0", "schedule.every_phase.batch_size=1", "data=folder"),
)
# What `prepare check` finds of pairs whose photo and target are one picture.
OF_EQUAL_PAIRS = ("equal", "duplicate", "swapped", "misaligned", "unrelated")
# The quick form gives each verb one kind that is read, one that its header gives away, one that only its pixels do.
QUICK = ("truncated JPEG", "wrong checksum", "EXIF orientation 6")


def bad_images(bench: Bench) -> Iterator[Case]:
    """R9: all kinds through all entry points; the quick form gives some of them to the verbs."""
    give_up_powers()
    folder = bench.fresh("r9").resolve()
    run, pairs = folder / "run", folder / "pairs"
    sound = Kind("sound", "b.png", lambda path: Image.fromarray(PLAIN).save(path), PLAIN)
    sound.lay(folder / "train")
    sound.lay(pairs)
    for image in (folder / "train").rglob("a.png"):
        image.unlink()
    for image in (folder / "train").rglob("b.png"):
        image.rename(image.with_name("c.png"))
    child = call("train", [*SMALL, *_data(folder / "train", pairs), f"run_dir={run}"], folder / "run.log")
    if child.wait() != 0:
        raise RuntimeError(f"the run that is compared could not be made; see {child.log}")
    known = read_page(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    found: Outcomes = {}
    for kind in KINDS:
        entries = kind.entries if bench.full or kind.name in QUICK else ("loader",)
        for entry in entries:
            case = Case(f"{kind.name}: {entry}")
            path = kind.lay(pairs)
            said, case.failures = loaded(kind, path) if entry == "loader" else _called(kind, entry, path, folder)
            found[kind.name, entry] = said = said.replace(str(folder / "pairs"), "…").replace(str(folder), "…")
            if not bench.rewrite and known.get((kind.name, entry)) != said:
                case.failures.append(f"{PAGE.name} has {known.get((kind.name, entry))!r}, but it is {said!r}")
            yield case
    yield _all_at_once(folder)
    if bench.rewrite:
        write_atomically(PAGE, page({**known, **found}))
    elif bench.full:
        yield Case("the page names nothing else", expect((known.keys() == found.keys(), f"{PAGE.name} is out of date")))


def give_up_powers() -> None:
    """Let the superuser's process, and those below it, be held to the permissions of files, as anybody is (Linux)."""
    if os.geteuid() == 0:
        header = struct.pack("Ii", 0x20080522, 0)  # capabilities, version 3, of this process
        if ctypes.CDLL(None, use_errno=True).capset(header, bytes(24)) != 0:
            raise OSError(ctypes.get_errno(), "capset")


def _data(photos: Path, validation: Path | None = None) -> list[str]:
    chosen = [f"data.photos={photos}/photos", f"data.targets={photos}/targets"]
    val = [f"data.val_photos={validation}/photos", f"data.val_targets={validation}/targets"]
    return chosen + (val if validation else [])


def _called(kind: Kind, entry: str, path: Path, folder: Path) -> tuple[str, list[str]]:
    """Run a verb, and check what it says and what it has made of what it can read."""
    out, log, errors = folder / "out", folder / "out.log", folder / "err.log"
    shutil.rmtree(out, ignore_errors=True)
    for file in (log, errors):
        file.unlink(missing_ok=True)
    pairs, run = folder / "pairs", folder / "run"
    data, network = _data(pairs), f"checkpoint={run}/phase1/best.ckpt"
    if (pairs / "list.csv").exists():
        (pairs / "val.csv").write_text("b.png\n")
        data = ["data=ebb", f"data.root={pairs}/ebb", f"data.train_list={pairs}/list.csv"]
        data += [f"data.val_list={pairs}/val.csv"]
    scores = ("metrics.lpips=null", "metrics.ssim=null", f"output={out}")
    verb, arguments = {
        "train": ("train", [*SMALL, *(data if "data=ebb" in data else _data(pairs, folder / "train"))]),
        "evaluate": ("evaluate", [network, "data=folder", *data, "split=train", *scores]),
        "folders": ("evaluate", [f"predictions={pairs}/photos", f"targets={pairs}/targets", *scores]),
        "render": ("render", [str(path), "--model", str(run), "--output", str(out)]),
        "compare": ("compare", [str(run), "--output", str(out), "--gallery-limit", "1"]),
        "check": ("prepare", ["check", str(pairs), "--json", str(out / "check.json")]),
    }[entry]
    arguments += [f"run_dir={out}"] if entry == "train" else []
    child = call(verb, arguments, log, before=partial(_errors_apart, errors))
    code = child.wait(SECONDS)
    # A bar says how long the work took.
    lines = [line for line in errors.read_text(errors="replace").splitlines() if line.strip() and "━" not in line]
    if entry == "check":
        lines = _findings(out / "check.json", lines)
        code = code if lines else 0
    if code == 0:
        wrong = _made(kind, entry, out) if kind.is_read(entry) else ["does its work all the same"]
        return READ, expect(("Traceback" not in child.output, f"a traceback; see {log}")) + wrong
    checks = told(kind, path, lines)
    checks += [
        (not kind.is_read(entry), f"is refused: {' '.join(lines)[-300:]}"),
        (code in (1, 2), f"exit code {code}"),
    ]
    checks += [("Traceback" not in child.output, f"a traceback; see {log}")]
    return cell(code, "\n".join(lines)), expect(*checks)


def _findings(file: Path, lines: list[str]) -> list[str]:
    """Return what was found of the odd photo; what was said instead where nothing was written."""
    if not file.exists():
        return lines
    content = json.loads(file.read_text(encoding="utf-8"))
    found = [f for f in content["findings"] if not f["note"] and f["kind"] not in OF_EQUAL_PAIRS]
    return [f"{f['file']}: {f['kind']}: {f['what']}; {f['remedy']}" for f in found]


def _errors_apart(errors: Path) -> None:
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 2)
    os.environ["LENSBLEND_CACHE"] = str(errors.with_name("cache"))


def _made(kind: Kind, entry: str, out: Path) -> list[str]:
    """Check what a verb has made of an image that it can read."""
    if kind.pixels is None:
        return []
    if entry == "render":
        with Image.open(out / rendered_name(Path(kind.file))) as image:
            shape = (image.height, image.width)
        return expect((shape == kind.pixels.shape[:2], f"a rendering of {shape}"))
    if entry == "folders":
        with (out / "scores.csv").open(encoding="utf-8", newline="") as file:
            score = {row["id"]: float(row["psnr"]) for row in csv.DictReader(file)}[Path(kind.file).stem]
        return expect((score >= 20 * np.log10(255 / kind.within), f"scored as {score:.1f} dB"))
    return []


def _all_at_once(folder: Path) -> Case:
    """Give a training all kinds that a header gives away, in one folder."""
    pairs, every = folder / "pairs", folder / "every"
    shutil.rmtree(every, ignore_errors=True)
    bad = []
    for number, kind in enumerate(kind for kind in KINDS if kind.pixels is None):
        path = kind.lay(pairs)
        for part, file in (("photos", path), ("targets", next((pairs / "targets").glob("b.*")))):
            (every / part).mkdir(parents=True, exist_ok=True)
            file.rename(every / part / f"{number}{file.suffix}")
        try:
            read_size(every / "photos" / f"{number}{path.suffix}")
        except DataError:
            bad.append(f"{number}{path.suffix}")
    log = folder / "every.log"
    child = call("train", [*SMALL, *_data(every, folder / "train"), f"run_dir={folder}/out"], log)
    code, said = child.wait(SECONDS), child.output
    listed = [name for name in bad if f"/{name}`" in said]
    return Case(
        f"{len(bad)} bad files in one folder",
        expect(
            (code == 1, f"exit code {code}"),
            (f"{len(bad)} problem(s)" in said, f"does not count them; see {log}"),
            (len(listed) == min(len(bad), 20), f"lists {len(listed)} of {len(bad)}; see {log}"),
        ),
    )
