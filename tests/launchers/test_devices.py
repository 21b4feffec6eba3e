"""Which GPUs and how many threads jobs get that run at once."""

import os
from pathlib import Path

import pytest

from lensblend.errors import RequestError
from lensblend.launchers.devices import Pool, on_gpu, visible_gpus
from lensblend.launchers.jobs import Job
from lensblend.runs.processes import processes

FOUR = {"CUDA_VISIBLE_DEVICES": "0,1,GPU-abc,7", "HOME": "/home"}


def job(number=0, processes=1, on_gpu=True):
    return Job(number, (f"seed={number}",), Path(str(number)), (), processes, on_gpu)


@pytest.mark.parametrize(("named", "gpus"), [("2,3", ["2", "3"]), ("", []), ("-1", []), (" 0 , GPU-a", ["0", "GPU-a"])])
def test_only_the_gpus_that_this_process_may_use_are_shared_out(named, gpus):
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": named}) == gpus


@pytest.mark.parametrize(
    ("trainer", "count", "gpu"),
    [
        ({"accelerator": "cpu", "devices": "auto"}, 1, False),
        ({"accelerator": "cpu", "devices": 2}, 2, False),
        ({"accelerator": "gpu", "devices": -1}, None, True),
        ({"accelerator": "gpu", "devices": "auto"}, None, True),
        ({"accelerator": "cuda", "devices": [0, 1, 2]}, 3, True),
        ({"accelerator": "auto", "devices": "0,1"}, 2, None),
        ({"accelerator": "auto", "devices": 1}, 1, None),
    ],
)
def test_processes_and_kind_of_device_come_from_the_trainer(trainer, count, gpu):
    assert (processes(trainer), on_gpu(trainer)) == (count, gpu)


def test_jobs_at_once_have_gpus_of_their_own_and_give_them_back():
    jobs = [job(0), job(1, processes=2), job(2, processes=2)]
    pool = Pool(3, jobs, FOUR)
    (first, first_gpus), (second, second_gpus) = pool.take(jobs[0]), pool.take(jobs[1])
    assert (first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]) == ("0", "1,GPU-abc")
    assert not pool.has_room(jobs[2])
    pool.give_back(first_gpus)
    assert pool.has_room(jobs[2])
    assert set(pool.take(jobs[2])[1]) == {"7", "0"}
    assert second_gpus == ["1", "GPU-abc"]


def test_a_job_for_all_gpus_gets_its_share():
    jobs = [job(0, processes=None), job(1, processes=None)]
    pool = Pool(2, jobs, FOUR)
    assert [len(pool.take(each)[1]) for each in jobs] == [2, 2]


def test_a_job_on_the_cpu_takes_no_gpu_and_sees_none():
    pool = Pool(2, [job(0, on_gpu=False), job(1)], FOUR)
    environment, gpus = pool.take(job(0, on_gpu=False))
    assert (environment["CUDA_VISIBLE_DEVICES"], gpus) == ("", [])


def test_one_slot_leaves_everything_as_it_is():
    pool = Pool(1, [job(processes=8)], FOUR)
    assert pool.take(job(processes=8)) == (FOUR, [])


def test_a_job_that_can_never_start_is_refused_before_any_does():
    with pytest.raises(RequestError, match=r"Job 1 \(seed=1\) asks for 5 GPUs, but there are 4"):
        Pool(2, [job(0), job(1, processes=5)], FOUR)
    with pytest.raises(RequestError, match=r"asks for 1 GPUs, but there are 0"):
        Pool(2, [job(0), job(1)], {"CUDA_VISIBLE_DEVICES": ""})


def test_cpu_cores_are_shared_by_slots_and_processes(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    pool = Pool(2, [job(0, on_gpu=False), job(1, on_gpu=None)], {"CUDA_VISIBLE_DEVICES": ""})
    assert pool.take(job(0, on_gpu=False))[0]["OMP_NUM_THREADS"] == "8"
    assert pool.take(job(1, processes=4, on_gpu=None))[0]["OMP_NUM_THREADS"] == "2"
    set_by_hand = Pool(2, [job(0, on_gpu=False)], {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "3"})
    assert set_by_hand.take(job(0, on_gpu=False))[0]["OMP_NUM_THREADS"] == "3"


def test_what_another_training_told_its_processes_is_not_handed_on():
    told = {"LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_PORT": "4711", "RANK": "1", "HOME": "/home"}
    assert Pool(1, [job()], told).take(job())[0] == {"HOME": "/home"}
