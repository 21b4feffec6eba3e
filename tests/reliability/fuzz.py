"""R10: mutated files in a process that reads one after the other; one that dies or takes too long is noticed."""

from __future__ import annotations

import io
import os
import resource
import signal
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image

from lensblend.data.images import read_map, read_map_size, read_photo, read_size
from lensblend.data.originals import read_original
from lensblend.errors import DataError
from odd_pictures import GREY, RGB
from reliability.rows import Bench, Case

SECONDS, MEMORY = 5.0, 8 << 30
QUICK, FULL = 200, 2000
READERS: tuple[Callable[[Path], Any], ...] = (read_size, read_photo, read_original, read_map_size, read_map)
# Numbers with which headers lie about sizes and places.
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def fuzz(bench: Bench) -> Iterator[Case]:
    """R10: 2,000 mutations of files in all formats, each given to every reader; the quick form has 200."""
    sound = _sound()
    names = list(sound)
    count = FULL if bench.full else QUICK
    failures: dict[str, list[str]] = {name: [] for name in names}
    folder = bench.fresh("r10")
    folder.mkdir()
    start = 0
    while start < count:
        ended = _read_from(start, count, names, sound, folder, bench, failures)
        start = ended + 1
    for number, name in enumerate(names):
        tried = len(range(number, count, len(names)))
        yield Case(f"{tried} mutations of {name}", failures[name], tried)


def mutation(data: bytes, rng: Random) -> bytes:
    """Change a file in one to four places: bits, bytes, numbers, runs that go, are doubled, moved or cut off."""
    content = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        # Headers are short, and decide more than pixels do.
        at = rng.randrange(len(content)) if rng.random() < 0.5 else rng.randrange(min(len(content), 200))
        length = min(rng.choice((1, 2, 4, 8, 64)), len(content) - at)
        run = bytes(content[at : at + length])
        kind = rng.randrange(7)
        if kind == 0:
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            size = rng.choice((1, 2, 4))
            content[at : at + size] = (rng.choice(NUMBERS) % 256**size).to_bytes(size, rng.choice(("big", "little")))
        elif kind == 3:
            del content[at : at + length]
        elif kind == 4:
            content[at:at] = run * rng.randint(1, 50)
        elif kind == 5:
            to = rng.randrange(len(content))
            content[to : to + length] = run
        elif rng.random() < 0.3:
            del content[max(at, 1) :]
        if not content:
            break
    return bytes(content) or b"\0"


def _read_from(
    start: int,
    count: int,
    names: list[str],
    sound: dict[str, bytes],
    folder: Path,
    bench: Bench,
    failures: dict[str, list[str]],
) -> int:
    """Let a process read the mutations from one on; return the last that it came to."""
    receiving, sending = get_context("fork").Pipe(duplex=False)
    pid = os.fork()
    if pid == 0:
        receiving.close()
        _read_all(range(start, count), names, sound, folder, bench, sending)
    sending.close()
    last, said = start, ""
    with receiving:
        while True:
            if not receiving.poll(SECONDS):
                os.kill(pid, signal.SIGKILL)
                said = f"hangs longer than {SECONDS:g} s"
                break
            try:
                last, what = receiving.recv()
            except EOFError:
                break
            if what:
                failures[names[last % len(names)]].append(f"{_place(folder, last)}: {what}")
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if said or code != 0:
        failures[names[last % len(names)]].append(f"{_place(folder, last)}: {said or f'ends the process ({code})'}")
        return last
    return count


def _place(folder: Path, number: int) -> Path:
    return folder / f"{number}"


def _read_all(
    numbers: range, names: list[str], sound: dict[str, bytes], folder: Path, bench: Bench, sending: Connection
) -> None:
    """In the process that reads: say which mutation comes next, and what went wrong with it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)  # libtiff prints there
    for number in numbers:
        name = names[number % len(names)]
        path = _place(folder, number).with_suffix(".npy" if name == "NPY" else "")
        path.write_bytes(mutation(sound[name], bench.random("r10", number)))
        sending.send((number, ""))
        wrong = list(filter(None, (_attempt(read, path) for read in READERS)))
        if wrong:
            sending.send((number, "; ".join(wrong)))
        else:
            path.unlink()
    os._exit(0)


def _attempt(read: Callable[[Path], Any], path: Path) -> str | None:
    """Read a file, and say what went wrong: it must be read, or refused in one line."""
    try:
        read(path)
    except DataError as error:
        said = str(error)
        fine = "\n" not in said and f"`{path}`" in said and len(said) < 600
        return None if fine else f"{read.__name__} says {said[:300]!r}"
    except BaseException as error:
        return f"{read.__name__} raises {type(error).__name__}: {error}"[:300]
    return None


def _sound() -> dict[str, bytes]:
    """Return a file of each format, and of what decoders take further ways for."""
    exif = Image.Exif()
    exif[274], exif[271] = 6, "Canon"
    deep = RGB.astype(np.uint16) * 257
    photo, grey = Image.fromarray(RGB), Image.fromarray(GREY)
    saved: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "JPEG": (photo, "JPEG", {"exif": exif}),
        "progressive JPEG": (photo, "JPEG", {"progressive": True, "quality": 90}),
        "PNG": (photo, "PNG", {"exif": exif}),
        "palette PNG": (photo.convert("P"), "PNG", {"transparency": 3}),
        "WebP": (photo, "WEBP", {}),
        "lossless WebP": (photo, "WEBP", {"lossless": True, "exif": exif}),
        "TIFF": (photo, "TIFF", {}),
        "TIFF, LZW": (photo, "TIFF", {"compression": "tiff_lzw"}),
        "TIFF, JPEG": (photo, "TIFF", {"compression": "jpeg"}),
        "grey TIFF": (grey, "TIFF", {"compression": "tiff_deflate"}),
        "CMYK TIFF": (photo.convert("CMYK"), "TIFF", {}),
        "BMP": (photo, "BMP", {}),
        "PPM": (photo, "PPM", {}),
    }
    made = {}
    for name, (image, image_format, options) in saved.items():
        buffer = io.BytesIO()
        image.save(buffer, image_format, **options)
        made[name] = buffer.getvalue()
    made["16-bit PNG"] = bytes(cv2.imencode(".png", deep[..., ::-1])[1])
    for name, array in {"16-bit TIFF": deep, "float TIFF": (GREY / 255).astype(np.float32)}.items():
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, array)
        made[name] = buffer.getvalue()
    buffer = io.BytesIO()
    np.save(buffer, (GREY / 255).astype(np.float32))
    return {**made, "NPY": buffer.getvalue()}
