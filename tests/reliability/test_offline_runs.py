"""Files in W&B's format, framed here by hand: whole, over several chunks, torn, damaged."""

import struct
import zlib

import pytest
from wandb.proto.wandb_internal_pb2 import Record

from lensblend.errors import DataError
from reliability.offline_runs import read_run, read_runs


def chunk(data, kind=1):
    return struct.pack("<IHB", zlib.crc32(bytes([kind]) + data), len(data), kind) + data


def history(**values):
    record = Record()
    for key, value in values.items():
        record.history.item.add(nested_key=key.split("__"), value_json=value)
    return record.SerializeToString()


def write(folder, content, name="offline-run-20260101_000000-abc"):
    path = folder / name / "run-abc.wandb"
    path.parent.mkdir(parents=True)
    path.write_bytes(b":W&B\xe1\xbe\x00" + content)
    return path


def test_a_record_may_lie_in_several_chunks_and_blocks(tmp_path):
    long = history(text='"' + "x" * 70000 + '"')
    first, second, third = long[: 32768 - 14], long[32768 - 14 : 65536 - 21], long[65536 - 21 :]
    content = chunk(first, 2) + chunk(second, 3) + chunk(third, 4) + chunk(history(a__b="2"))
    run = read_run(write(tmp_path, content))
    assert [len(run.history[0]["text"]), run.history[1]] == [70000, {"a": {"b": 2}}]


def test_the_rest_of_a_block_that_holds_no_header_is_skipped(tmp_path):
    filler = 32768 - 7 - 7 - 3
    padding = history(text='"' + "x" * (filler - len(history(text='""')) - 6) + '"')
    left = 32768 - 7 - 7 - len(padding)
    assert 0 < left < 7
    run = read_run(write(tmp_path, chunk(padding) + b"\0" * left + chunk(history(a="1"))))
    assert run.history[1] == {"a": 1}


def test_what_a_killed_process_left_half_written_is_the_end(tmp_path):
    whole = chunk(history(a="1"))
    for cut in (1, 8, len(whole) - 1):
        run = read_run(write(tmp_path / str(cut), whole + whole[:cut]))
        assert run.history == [{"a": 1}]
        assert run.exit_code is None


def test_damage_is_an_error(tmp_path):
    content = bytearray(chunk(history(a="1")))
    content[-1] ^= 1
    with pytest.raises(DataError, match="damaged at byte 7"):
        read_run(write(tmp_path, bytes(content)))
    (tmp_path / "other").write_text("metrics")
    with pytest.raises(DataError, match="not a W&B run"):
        read_run(tmp_path / "other")


def test_runs_come_in_the_order_in_which_they_started(tmp_path):
    for name in ("offline-run-20260102_000000-a", "offline-run-20260101_000000-b"):
        write(tmp_path, chunk(history(a="1")), name)
    assert [run.path.parent.name[-1] for run in read_runs(tmp_path)] == ["b", "a"]
