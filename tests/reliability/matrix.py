"""The rows of the matrix: what is done in each, and when a case passes."""

from __future__ import annotations

from reliability import (
    averages,
    extensions,
    faults,
    fuzz,
    hostile_archives,
    hostile_checkpoints,
    hostile_runs,
    hostile_targets,
    hostile_values,
    images,
    kills,
    metrics_ddp,
    numerics,
    overrides,
    requests,
    resumes,
    starts,
    streams,
    sweeps,
    tracking,
)
from reliability.rows import Row

SAFE = (
    "exit code 1 or 2 within seconds, a short message that names the file or the key, no traceback; or the work is "
    "done without the damaged part; nothing else runs, is written, is removed, is told or is asked of a network"
)
ROWS = (
    Row(
        "R1",
        "`kill -9` while saving, TMPDIR on the same and on another file system",
        "a valid checkpoint, every checkpoint loads, no temporary outlives the next start",
        kills.kills_while_saving,
    ),
    Row(
        "R2",
        "SIGTERM at a step, then the same command: save points × workers {0, 2} × processes {1, 2} × phases",
        "every logged value and the final weights, optimizer and learning-rate state equal the uninterrupted run's "
        "bit by bit (CPU)",
        resumes.exact_resume,
    ),
    Row(
        "R3",
        "three `kill -9` over a whole three-phase run, then the same command until done",
        "as R2 for all phases; metrics.csv has neither gap nor double row",
        kills.kills_of_a_whole_run,
    ),
    Row(
        "R4",
        "SIGTERM, SIGUSR1, SIGINT in a step, a validation, a save and a phase change; SIGINT with data workers and to "
        "the whole group; SIGINT twice",
        "exit 143, no process left, saved at most one step back, goes on as R2",
        resumes.interruption,
    ),
    Row(
        "R5",
        "full disk in a run, read-only folder, failing rename, full TMPDIR",
        "the message names path and free bytes, exit 1, the checkpoint before is intact, after the repair as R2; a "
        "full TMPDIR changes nothing",
        faults.disks,
    ),
    Row(
        "R6",
        "checkpoints empty, cut at 10, 50, 99 %, one bit flipped; of another network, configuration, phase, of a newer "
        "format",
        "damaged: the valid one before, as R2; other: refused with the reason, nothing touched",
        faults.damages,
    ),
    Row(
        "R7",
        "infinite loss, NaN in gradient, weights, target, photo; all-black pairs",
        "stops or goes on by policy, says where, logs it; no checkpoint holds a NaN",
        faults.not_finite,
    ),
    Row(
        "R8",
        "allocation refused in a step, in a validation, in job 1 of 3",
        "advice, exit 1, the other jobs are trained",
        faults.no_memory,
    ),
    Row(
        "R9",
        "48 kinds of bad images × the loader, train, evaluate, evaluate of folders, render, compare, "
        "prepare check ([what each says](../bad-images.md)); 20 of them in one folder",
        "right pixels (±1), or exit code 1 or 2 and one line that names the file and what helps, as the page says; all "
        "are listed at once",
        images.bad_images,
    ),
    Row(
        "R10",
        "mutated JPEG, PNG, WebP, TIFF, BMP, PPM and NPY files, in a process that reads one after the other, each with "
        "every reader of photos, maps and sizes",
        "read, or refused in one line that names the file; the process goes on, and no file takes it 5 s",
        fuzz.fuzz,
    ),
    Row(
        "R11",
        "the samples that a training draws from a folder of files: flips, epochs, workers, stops, seeds, processes",
        "equal or different as they must be, byte by byte; photo and target alike",
        streams.augmentation,
    ),
    Row(
        "R12",
        "sweeps: 1 or 2 processes a job × 1 or 2 jobs at once × all done, one fails, a job killed, the launcher "
        "killed; Ctrl-C; mixed processes and list-valued kernels; jobs in one process",
        "one folder, and one W&B run per phase, for each job; the others go on; no process is left; a sweep that is "
        "resumed leaves out what is done and ends as R2",
        sweeps.sweeps,
    ),
    Row(
        "R13",
        "validation: processes {1, 2, 3, 4} × {7, 8, 294} images",
        "means equal one process's within 1e-6, and each image is scored once",
        metrics_ddp.ddp_metrics,
    ),
    Row(
        "R14",
        "W&B offline runs of trainings that end, fail, are stopped and requeued by SLURM, killed, of two processes, "
        "jobs of a sweep: runs, ids, group, job type, tags, config, history, summary, images, table, exit codes, "
        "secrets",
        "two readers, one of them W&B's own, find what the training's own files say",
        tracking.offline_runs,
    ),
    Row(
        "R15",
        "networks in float32, bfloat16 and float16: weights, colour, SSIM, SSIM loss",
        "weights sum to 1 and colours stay within 1e-6; SSIM within 1e-4 of float32",
        numerics.half_precision,
    ),
    Row(
        "R17",
        "checkpoints exchanged between compiled and plain networks",
        "equal names, the training goes on",
        numerics.compiled,
    ),
    Row(
        "R18",
        "every loss of a three-phase run against a loop in plain PyTorch",
        "within 1e-6",
        numerics.loss_curve,
    ),
    Row(
        "R19",
        "every option of every group, every point of every sweep; misspelt, mistyped, missing and impossible requests",
        "composes and resolves; exit 2, one message with the value and the nearest valid one, no traceback, nothing "
        "trained",
        requests.requests,
    ),
    Row(
        "R20",
        "phases made longer, finished or stopped within an epoch, by epochs or by steps × processes {1, 2} × data "
        "workers {0, 2}; a constant rate",
        "losses, rates and the final state are bit by bit those of a run that was so long from the start; the same "
        "command again adds nothing",
        extensions.extended,
    ),
    Row(
        "R21",
        "another batch size, accumulation or number of processes after a stop at a step",
        "each step's rate is that of its place in the epochs, by the cosine written out; the last one the last",
        extensions.other_steps,
    ),
    Row(
        "R22",
        "a change that was allowed once, then another one of the same key without leave",
        "carried out, then refused with nothing touched; the command that was carried out goes on",
        extensions.consent,
    ),
    Row(
        "R23",
        "what a run keeps of its starts: fresh, stopped and resumed, killed and resumed, in a changed project, outside "
        "of any checkout and without git, failed",
        "provenance.json has one entry for each start, with command, code, diff, packages, machine and end (of one "
        "that was killed: that it was); train.log says what was said; no secret in either",
        starts.starts,
    ),
    Row(
        "R24",
        "EMA and SWA: SIGTERM at a step or within a validation, one and two processes, then the same command",
        "as R2, with the average and the trained weights",
        averages.averages,
    ),
    Row(
        "S1",
        "checkpoints from somebody else: interpolations, dangerous and odd targets, nodes, sizes, records, "
        "configurations, data, weights, pickles, archives, special files, hashes × render, evaluate, train from it, "
        "train and render with its maps",
        SAFE,
        hostile_checkpoints.checkpoints,
    ),
    Row(
        "S2",
        "runs' folders from somebody else: config.yaml, its nodes, phases and values, status.json, metrics.csv, the "
        "lock, links, checkpoints and each part of them, kept comparisons × train resume=, compare, evaluate, render",
        SAFE,
        hostile_runs.run_folders,
    ),
    Row(
        "S3",
        "40 dangerous `_target_`s in a folder of configurations and in overrides, in each place where something is "
        "built, × train, evaluate; as a checkpoint's network × render",
        SAFE,
        hostile_targets.targets,
    ),
    Row(
        "S4",
        "archives whose members are absolute, lead out, are links, pipes or devices, differ in case or accents alone, "
        "have names that steer a terminal, or unpack to a thousandfold, as zip and tar.gz × prepare data",
        "exit code 1 and one line that names the member; nothing is left of the archive",
        hostile_archives.archives,
    ),
    Row(
        "S5",
        "random and mutated overrides of every key and group, one to three a command, as `lensblend train` composes "
        "and checks them",
        "a training would begin, or exit code 2 and one message; no traceback",
        overrides.overrides,
    ),
    Row(
        "S6",
        "10 photos whose names are markup, formulas and templates × train with W&B, evaluate, compare: pages, tables, "
        "keys, what is printed",
        "a page's parser finds no script and no attribute of theirs, no cell of a table begins a formula, keys are "
        "plain, nothing steers the terminal",
        hostile_values.names,
    ),
    Row(
        "S7",
        "6 secrets in the environment × train with W&B, evaluate, compare, export; versions of packages with known "
        "holes or of another licence",
        "no secret in any file that is written nor in what is printed; the project's requirements exclude the versions",
        hostile_values.secrets_and_versions,
    ),
)
