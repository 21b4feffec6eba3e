"""R5 to R8: full disks, damaged checkpoints, numbers that are none, and no memory."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lensblend.runs.checkpoint_files import read_checkpoint
from lensblend.training.checkpoint_io import AtomicCheckpointIO
from lensblend.training.loggers.metrics_csv import read_rows
from lensblend.training.restoration import Restoration
from reliability.children import SMALL, start, train
from reliability.resumes import before_call, reference, signal_in_step, tidy
from reliability.rows import PHASES, Bench, Case, checkpoints_are_whole, differences, expect, position, side_by_side

ONE = ("schedule.run=[phase1]", "loader.num_workers=0")


def disks(bench: Bench) -> Iterator[Case]:
    """R5: what happens when the disk says no."""
    reference(bench, 1)
    yield _failing_rename(bench)
    with_mount = [_full_disk, _read_only_disk, _full_temporary_folder]
    if not _can_mount(bench):
        return
    yield from (fault(bench) for fault in with_mount)


def _can_mount(bench: Bench) -> bool:
    probe = bench.fresh("mount")
    probe.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(probe)], capture_output=True).returncode:
        print("R5: this user may not mount file systems; full and read-only disks are left out")
        return False
    subprocess.run(["umount", str(probe)], check=True)
    return True


class _Disk:
    """A small file system of its own, in memory."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder, self.megabytes = folder, megabytes

    def __enter__(self) -> _Disk:
        self.folder.mkdir(parents=True)
        size = f"size={self.megabytes}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self.folder)], check=True)
        return self

    def __exit__(self, *error: object) -> None:
        subprocess.run(["umount", str(self.folder)], check=True)
        self.folder.rmdir()

    def read_only(self, yes: bool) -> None:
        option = "remount,ro" if yes else "remount,rw"
        subprocess.run(["mount", "-o", option, str(self.folder)], check=True)

    def fill(self) -> Path:
        """Leave next to nothing free, as another program would."""
        ballast = self.folder / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(65536))
            except OSError:
                # Enough is left for a line of text, not for a checkpoint.
                file.truncate(file.tell() - 100_000)
        return ballast


def _stopped_at_step_7(run: Path) -> None:
    code = train(run, *ONE, before=partial(signal_in_step, "phase1", 6, signal.SIGTERM)).wait()
    if code != 143:
        raise RuntimeError(f"could not be stopped: exit code {code}; see {run}.log")


def _fails_and_recovers(
    case: Case,
    bench: Bench,
    run: Path,
    said: str,
    spoil: Callable[[], object],
    repair: Callable[[], object],
    while_running: bool = False,
) -> Case:
    """Stop a training, start it again, spoil its disk before that or in step 8, repair the disk, and let it end."""
    log = bench.folder / f"{case.name.replace(' ', '-')}.log"
    log.unlink(missing_ok=True)
    _stopped_at_step_7(run)
    if not while_running:
        spoil()
    before = partial(_in_step, 8, spoil) if while_running else None
    code = start([*SMALL, *ONE, f"run_dir={run}"], log, before=before).wait()
    output, reached, damaged = log.read_text(), position(run, "phase1"), checkpoints_are_whole(run)
    repair()
    end = train(run, *ONE).wait()
    case.failures = expect(
        (code == 1, f"exit code {code}, not 1"),
        (said in output and "bytes are free" in output, f"the message does not say it; see {log}"),
        (f"{run}{os.sep}" in output, f"the message does not name the path; see {log}"),
        ("Traceback" not in output, f"a traceback; see {log}"),
        # 10 where the disk fails after `best` of that step has been written and before `last`.
        (reached in (7, 10) and not damaged, f"the checkpoint before is not intact: step {reached}, {damaged}"),
        (end == 0, f"exit code {end} after the repair"),
    )
    if end == 0:
        case.failures += differences(run, reference(bench, 1), PHASES[:1])
    return case


def _in_step(step: int, act: Callable[[], object]) -> None:
    """Let something happen in a step of this process's training."""
    before_call(Restoration, "training_step", lambda module, *_: act() if module.trainer.global_step == step else None)


def _failing_rename(bench: Bench) -> Case:
    run = bench.fresh("r5-rename")
    last = run / "phase1" / "last.ckpt"

    def spoil() -> None:
        last.rename(last.with_name("previous.ckpt"))
        for name in ("last.ckpt.sha256", "previous.ckpt.sha256"):
            last.with_name(name).unlink()
        last.mkdir()

    return tidy(run, _fails_and_recovers(Case("failing rename"), bench, run, "Is a directory", spoil, last.rmdir))


def _full_disk(bench: Bench) -> Case:
    with _Disk(bench.fresh("r5-full"), 4) as disk:
        ballast = disk.folder / "ballast"
        case = Case("disk full at the target")
        run = disk.folder / "run"
        return _fails_and_recovers(case, bench, run, "No space left", disk.fill, ballast.unlink, while_running=True)


def _read_only_disk(bench: Bench) -> Case:
    with _Disk(bench.fresh("r5-read-only"), 8) as disk:
        spoil, repair = partial(disk.read_only, True), partial(disk.read_only, False)
        return _fails_and_recovers(
            Case("read-only folder"), bench, disk.folder / "run", "Read-only file system", spoil, repair
        )


def _full_temporary_folder(bench: Bench) -> Case:
    case = Case("disk full at TMPDIR")
    run = bench.fresh("r5-tmpdir")
    with _Disk(bench.fresh("r5-tmp"), 1) as disk:
        disk.fill()
        code = train(run, *ONE, env={"TMPDIR": str(disk.folder)}).wait()
    case.failures = expect((code == 0, f"exit code {code}; see {run}.log")) or differences(
        run, reference(bench, 1), PHASES[:1]
    )
    return tidy(run, case)


def damages(bench: Bench) -> Iterator[Case]:
    """R6: checkpoints that are damaged, or others than they should be."""
    reference(bench, 1)

    def cut(share: float) -> Callable[[Path], None]:
        return lambda path: os.truncate(path, int(path.stat().st_size * share))

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    falls_back = {
        "empty file": cut(0),
        "cut at 10 %": cut(0.1),
        "cut at 50 %": cut(0.5),
        "cut at 99 %": cut(0.99),
        "one bit flipped": flip,
    }
    refused: dict[str, tuple[list[str], Callable[[dict[str, Any]], None], str]] = {
        "another architecture": ([], _other_network, "holds another network"),
        "another configuration": (["seed=9"], lambda content: None, "seed: 0 then, 9 now"),
        "another phase": ([], lambda content: content["lensblend"].update(phase="phase2"), "a checkpoint of phase2"),
        "newer format": ([], lambda content: content["lensblend"].update(format=99), "format 99, newer than"),
    }
    jobs = [partial(_falls_back, bench, name, damage) for name, damage in falls_back.items()]
    yield from side_by_side([*jobs, *(partial(_explains, bench, name, *how) for name, how in refused.items())])


def _other_network(content: dict[str, Any]) -> None:
    content["state_dict"]["head.weight"] = content["state_dict"]["head.weight"][:2]


def _falls_back(bench: Bench, name: str, damage: Callable[[Path], None]) -> Case:
    case = Case(f"{name}: falls back to the valid one before")
    run = bench.fresh(f"r6-{''.join(filter(str.isalnum, name))}")
    _stopped_at_step_7(run)
    damage(run / "phase1" / "last.ckpt")
    child = train(run, *ONE)
    code = child.wait()
    case.failures = expect(
        (code == 0, f"exit code {code}; see {run}.log"),
        ("continues after step 4" in child.output, "does not say where it goes on"),
        ("is damaged" in child.output or "cannot be read" in child.output, "does not say that it was damaged"),
        ((run / "phase1" / "last.ckpt.damaged").exists(), "the damaged file is not set aside"),
    ) or differences(run, reference(bench, 1), PHASES[:1])
    return tidy(run, case)


def _explains(
    bench: Bench, name: str, overrides: list[str], change: Callable[[dict[str, Any]], None], said: str
) -> Case:
    case = Case(f"{name}: refused with the reason, nothing is touched")
    run = bench.fresh(f"r6-{''.join(filter(str.isalnum, name))}")
    _stopped_at_step_7(run)
    last = run / "phase1" / "last.ckpt"
    content = read_checkpoint(last)
    change(content)
    AtomicCheckpointIO().save_checkpoint(content, last)
    before = {p: p.read_bytes() for p in (run / "phase1").iterdir()}
    child = train(run, *ONE, *overrides)
    code = child.wait()
    case.failures = expect(
        (code in (1, 2), f"exit code {code}"),
        (said in child.output, f"the message does not say it; see {run}.log"),
        ("Traceback" not in child.output, f"a traceback; see {run}.log"),
        (before == {p: p.read_bytes() for p in (run / "phase1").iterdir()}, "the phase's folder was changed"),
    )
    return tidy(run, case)


def not_finite(bench: Bench) -> Iterator[Case]:
    """R7: NaN or infinity wherever it can come from."""
    yield from side_by_side(
        [
            partial(_poisoned, bench, "loss", "stop", "the loss is"),
            partial(_poisoned, bench, "gradient", "skip", "the gradient is not finite"),
            partial(_poisoned, bench, "weights", "stop", "the weights `head.weight` are not finite"),
            partial(_poisoned, bench, "target", "roll_back", "`target` of the batch is not finite"),
            partial(_poisoned, bench, "photo", "skip", "`photo` of the batch is not finite"),
            partial(_black, bench),
        ]
    )


def _poisoned(bench: Bench, what: str, policy: str, said: str) -> Case:
    case = Case(f"{what}, policy {policy}")
    run = bench.fresh(f"r7-{what}")
    child = train(run, *ONE, f"not_finite.policy={policy}", before=partial(_poison, what))
    code = child.wait()
    logged = [row["train/not_finite"] for row in read_rows(run / "metrics.csv") if "train/not_finite" in row]
    saved = [read_checkpoint(path)["state_dict"] for path in (run / "phase1").glob("*.ckpt")]
    goes_on = policy != "stop"
    case.failures = expect(
        (code == (0 if goes_on else 1), f"exit code {code}; see {run}.log"),
        (f"phase1, step 12: {said}" in child.output, f"the message does not say it; see {run}.log"),
        ("Traceback" not in child.output, f"a traceback; see {run}.log"),
        (bool(saved) and all(v.isfinite().all() for s in saved for v in s.values()), "a checkpoint is not finite"),
        (not goes_on or logged == ["1"], f"logged {logged}"),
        (position(run, "phase1") == (30 if goes_on else 10), f"last checkpoint at {position(run, 'phase1')}"),
    )
    return tidy(run, case)


def _poison(what: str) -> None:
    """Put a NaN in step 12 of phase 1, or rather infinity in the loss."""
    step, transfer = Restoration.training_step, Restoration.on_after_batch_transfer

    def is_time(module: Restoration) -> bool:
        return module.trainer.training and module.trainer.global_step == 12

    def training_step(self: Restoration, *arguments: Any) -> Any:
        if not is_time(self):
            return step(self, *arguments)
        head = self.network.get_parameter("head.weight")
        if what == "weights":
            head.data[0, 0, 0, 0] = float("nan")
        loss = step(self, *arguments)
        if what == "gradient":
            handle = head.register_hook(lambda gradient: handle.remove() or gradient * float("nan"))  # type: ignore[func-returns-value]
        return loss * float("inf") if what == "loss" else loss

    def on_after_batch_transfer(self: Restoration, batch: dict[str, Any], index: int) -> dict[str, Any]:
        batch = transfer(self, batch, index)
        if what in batch and is_time(self):
            batch[what][0, 0, 3, 3] = float("nan")
        return batch

    Restoration.training_step = training_step  # type: ignore[method-assign]
    Restoration.on_after_batch_transfer = on_after_batch_transfer  # type: ignore[method-assign]


def _black(bench: Bench) -> Case:
    case = Case("all-black pairs")
    run, pictures = bench.fresh("r7-black"), bench.fresh("r7-black-pictures")
    for name in ("photos", "targets"):
        (pictures / name).mkdir(parents=True)
        for index in range(6):
            Image.fromarray(np.zeros((32, 48, 3), np.uint8)).save(pictures / name / f"{index}.png")
    small = [value for value in SMALL if value != "experiment=demo"]
    folders = ["data=folder", f"data.photos={pictures / 'photos'}", f"data.targets={pictures / 'targets'}"]
    split = ["data.val_fraction=0.34", "loader.num_workers=0"]
    child = start(
        [*small, *folders, *split, "schedule.run=[phase1,phase3]", f"run_dir={run}"], run.with_name("r7-black.log")
    )
    code = child.wait()
    values = [float(v) for row in read_rows(run / "metrics.csv") for k, v in row.items() if k.startswith("train/")]
    case.failures = expect(
        (code == 0, f"exit code {code}; see {run}.log"),
        (bool(values) and bool(np.isfinite(values).all()), "a training value is not finite"),
        (not checkpoints_are_whole(run), "a checkpoint cannot be loaded"),
    )
    return tidy(run, case)


def no_memory(bench: Bench) -> Iterator[Case]:
    """R8: allocations that the system really refuses."""
    for moment in ("step", "validation"):
        case = Case(f"out of memory in a {moment}")
        run = bench.fresh(f"r8-{moment}")
        size = ["schedule.every_phase.image_size=[384,512]", "loader.limit_train=6", "loader.limit_val=2"]
        child = train(run, *ONE, *size, before=partial(_refuse_memory, moment))
        code = child.wait()
        case.failures = expect(
            (code == 1, f"exit code {code}; see {run}.log"),
            ("ran out of memory at batch 2 and 384×512" in child.output, f"no advice; see {run}.log"),
            ("Traceback" not in child.output, f"a traceback; see {run}.log"),
            (json.loads((run / "status.json").read_text())["state"] == "failed", "status.json does not say `failed`"),
        )
        yield tidy(run, case)
    yield _one_job_of_three(bench)


def _one_job_of_three(bench: Bench) -> Case:
    case = Case("job 1 of 3 out of memory: the others are trained")
    sweep = bench.fresh("r8-sweep")
    sizes = "schedule.every_phase.image_size=[32,48],[1536,2048],[40,48]"
    arguments = ["--multirun", *SMALL, *ONE, sizes, "schedule.every_phase.max_epochs=1", f"hydra.sweep.dir={sweep}"]
    child = start(arguments, sweep.with_name("r8-sweep.log"), before=partial(_limit_memory, 1 << 30))
    code = child.wait()
    states = [json.loads((sweep / job / "status.json").read_text())["state"] for job in "012"]
    case.failures = expect(
        (code == 1, f"exit code {code}; see {sweep}.log"),
        (states == ["done", "failed", "done"], f"states {states}"),
        ("ran out of memory at batch 2 and 1536×2048" in child.output, f"no advice; see {sweep}.log"),
        ("Traceback" not in child.output, f"a traceback; see {sweep}.log"),
    )
    return tidy(sweep, case)


def _limit_memory(more: int) -> None:
    """Let the system refuse what this process wants beyond so many bytes more than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _refuse_memory(moment: str) -> None:
    if moment == "step":
        _in_step(1, partial(_limit_memory, 1 << 20))
    else:
        before_call(Restoration, "validation_step", lambda *_: _limit_memory(1 << 20))
