"""Checkpoints on disk: whatever happens while one is written, a valid one stays."""

import os
import signal
import stat
import subprocess
import sys

import pytest
import torch

from lensblend.errors import DataError, StorageError
from lensblend.runs.checkpoint_files import (
    copy_checkpoint,
    known_hashes,
    newest_valid,
    read_checkpoint,
    set_aside,
)
from lensblend.runs.files import clear_temporaries, file_sha256
from lensblend.storage import write_atomically
from lensblend.training.checkpoint_io import AtomicCheckpointIO


def save(path, step, **record):
    content = {"global_step": step, "state_dict": {"w": torch.full((1000,), float(step))}}
    AtomicCheckpointIO().save_checkpoint({**content, "lensblend": {"network": {}, **record}}, path)


def step(path):
    return read_checkpoint(path)["global_step"]


def test_two_are_kept_each_with_its_hash_as_sha256sum_reads_it(tmp_path):
    for number in (1, 2, 3):
        save(tmp_path / "last.ckpt", number)
    assert (step(tmp_path / "last.ckpt"), step(tmp_path / "previous.ckpt")) == (3, 2)
    names = ["last.ckpt", "last.ckpt.sha256", "previous.ckpt", "previous.ckpt.sha256"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    checked = ["sha256sum", "--check", "last.ckpt.sha256", "previous.ckpt.sha256"]
    assert subprocess.run(checked, cwd=tmp_path, capture_output=True, check=False).returncode == 0


def test_a_copy_is_independent_of_its_original(tmp_path):
    save(tmp_path / "last.ckpt", 1)
    copy_checkpoint(tmp_path / "last.ckpt", tmp_path / "best.ckpt")
    save(tmp_path / "last.ckpt", 2)
    assert (step(tmp_path / "best.ckpt"), step(tmp_path / "last.ckpt")) == (1, 2)
    assert known_hashes(tmp_path / "best.ckpt") == [file_sha256(tmp_path / "best.ckpt")]


def test_a_file_system_without_links_gets_a_copy(tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError

    monkeypatch.setattr("lensblend.runs.checkpoint_files.os.link", no_links)
    save(tmp_path / "last.ckpt", 1)
    save(tmp_path / "last.ckpt", 2)
    assert (step(tmp_path / "previous.ckpt"), step(tmp_path / "last.ckpt")) == (1, 2)


@pytest.mark.parametrize("renames", range(8))
def test_a_crash_at_any_rename_leaves_valid_files_only(tmp_path, monkeypatch, renames):
    save(tmp_path / "last.ckpt", 1)
    save(tmp_path / "last.ckpt", 2)
    original, done = os.replace, []

    class Crash(BaseException):
        pass

    def replace(*arguments):
        if len(done) == renames:
            raise Crash
        done.append(arguments)
        original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("lensblend.storage.os.replace", replace)
        try:
            save(tmp_path / "last.ckpt", 3)
            assert renames >= 6  # a hash file, the file and the hash file again, for `previous` and for `last`
        except Crash:
            assert renames < 6
    assert step(tmp_path / "last.ckpt") == (3 if renames >= 5 else 2)
    assert step(tmp_path / "previous.ckpt") in (1, 2)


@pytest.mark.parametrize("byte", [0, 0.3, 0.6, 0.999])
def test_one_wrong_bit_is_found_and_the_one_before_taken(tmp_path, byte):
    save(tmp_path / "last.ckpt", 1)
    save(tmp_path / "last.ckpt", 2)
    last = tmp_path / "last.ckpt"
    content = bytearray(last.read_bytes())
    content[int(byte * len(content))] ^= 4
    last.write_bytes(content)
    path, damaged = newest_valid(tmp_path)
    assert path == tmp_path / "previous.ckpt"
    assert [p for p, _ in damaged] == [last]
    assert "is damaged" in str(damaged[0][1])


def test_the_newest_is_the_one_with_the_most_steps_whatever_its_name_and_age(tmp_path):
    for name, number in (("best.ckpt", 5), ("previous.ckpt", 7), ("last.ckpt", 6)):
        save(tmp_path / name, number)
    save(tmp_path / "previous.ckpt", 7)
    os.utime(tmp_path / "best.ckpt", (2e9, 2e9))
    assert newest_valid(tmp_path) == (tmp_path / "previous.ckpt", [])
    assert newest_valid(tmp_path / "none") == (None, [])


def test_a_newer_format_is_no_damage(tmp_path):
    save(tmp_path / "previous.ckpt", 1)
    save(tmp_path / "last.ckpt", 2, format=99)
    with pytest.raises(DataError, match="format 99, newer than"):
        newest_valid(tmp_path)


def test_file_and_folder_are_flushed_to_disk(tmp_path, monkeypatch):
    flushed, original = [], os.fsync

    def fsync(descriptor):
        flushed.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        original(descriptor)

    monkeypatch.setattr("lensblend.storage.os.fsync", fsync)
    save(tmp_path / "last.ckpt", 1)
    # The file and its folder, and both again for each of the two writes of its hash.
    assert (flushed.count(False), flushed.count(True)) == (3, 3)


def test_what_is_set_aside_is_not_read_again(tmp_path):
    save(tmp_path / "last.ckpt", 1)
    assert set_aside(tmp_path / "last.ckpt") == tmp_path / "last.ckpt.damaged"
    assert newest_valid(tmp_path) == (None, [])
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt.damaged"]


def test_a_failing_write_names_path_reason_and_free_space_and_keeps_the_old_file(tmp_path, monkeypatch):
    save(tmp_path / "last.ckpt", 1)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lensblend.storage.os.fsync", full)
    with pytest.raises(StorageError, match=r"last\.ckpt could not be written \(No space left on device; [\d,]+ bytes"):
        save(tmp_path / "last.ckpt", 2)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.slow
def test_the_disks_own_error_is_said_and_not_pytorchs(tmp_path):
    """The system refuses files of more than 1 MB: a real error in the middle of `torch.save`."""
    program = (
        "import resource, sys, torch; from lensblend.training.checkpoint_io import AtomicCheckpointIO; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)); "
        "AtomicCheckpointIO().save_checkpoint({i: torch.rand(100_000) for i in range(9)}, sys.argv[1] + '/last.ckpt')"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "StorageError" in done.stderr
    assert "last.ckpt could not be written (File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_temporaries_of_a_killed_process_are_cleared(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path; from lensblend.storage import temporary_beside\n"
        "with temporary_beside(Path(sys.argv[1]) / 'last.ckpt') as path:\n"
        "    path.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    (tmp_path / ".hidden").touch()
    (tmp_path / "notes.tmp").touch()
    clear_temporaries(tmp_path)
    assert not left.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden", "notes.tmp"]


def test_text_is_replaced_as_a_whole_and_readable_by_others(tmp_path):
    path = tmp_path / "folder" / "status.json"
    write_atomically(path, "old")
    write_atomically(path, "nächste")
    assert path.read_text(encoding="utf-8") == "nächste"
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode
