"""Joules out of the counters of a machine that has some, and none out of one that has not."""

import sys
from types import SimpleNamespace

import torch

from lensblend.runs.energy import Energy


def zone(folder, name, kind, microjoules, largest=262_143_328_850):
    place = folder / name
    place.mkdir(parents=True)
    (place / "name").write_text(f"{kind}\n")
    (place / "max_energy_range_uj").write_text(f"{largest}\n")
    (place / "energy_uj").write_text(f"{microjoules}\n")
    return place / "energy_uj"


def test_packages_and_memory_are_added_up_over_a_counter_that_begins_anew(tmp_path):
    first = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 9_000_000, largest=10_000_000)
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 0)
    within = zone(tmp_path, "intel-rapl:0:0", "core", 0)
    around = zone(tmp_path, "intel-rapl:2", "psys", 0)
    energy = Energy(folder=tmp_path)
    first.write_text("3500000")
    second.write_text("500000")
    memory.write_text("250000")
    within.write_text("1000000")
    around.write_text("9000000")
    assert energy.stop() == {"processors": 4.0, "memory": 0.25}  # 2.5 + (10 - 9 + 0.5)


def test_where_no_counter_can_be_read_nothing_is_said(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 0).write_text("")
    assert Energy(folder=tmp_path).stop() is None
    assert Energy(folder=tmp_path / "none").stop() is None


def test_gpus_are_found_by_their_ids_and_those_that_count_nothing_are_left_out(tmp_path, monkeypatch):
    millijoules = {b"GPU-a": [1000, 4500], b"GPU-b": [0, 500], b"GPU-old": []}

    class NVMLError(Exception):
        pass

    def total(handle):
        if not millijoules[handle]:
            raise NVMLError("not supported")
        return millijoules[handle].pop(0)

    names = {"nvmlInit": lambda: None, "nvmlDeviceGetHandleByUUID": lambda uuid: uuid, "NVMLError": NVMLError}
    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(nvmlDeviceGetTotalEnergyConsumption=total, **names))
    uuids = ["a", "b", "old"]
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(uuid=uuids[number]))
    assert Energy([0, 1, 2], tmp_path).stop() == {"gpus": 4.0}
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Energy([0], tmp_path).stop() is None
