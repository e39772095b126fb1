"""Laws of the workers: one process, two, or a cluster that loses one: same bytes; what can't be is one sentence."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import types
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import distributed
import numpy as np
import psutil
import pytest
from made_up import unbegun
from small_jobs import counted, die, die_or_say, fail, slow
from test_intensity import PEOPLE, TINY, windows

from melib import protocols
from melib.data import workers
from melib.errors import DataError
from melib.study import grid, intensity
from melib.study.run import Run

JOBS = [
    intensity.Job("made_up", "paper", fit["model"], fit["input"], fold, 0)
    for fit in TINY["fits"]["paper"]
    for fold in (0, 1)
]


def fitted(folder, jobs=1):
    """Run the grid of tiny fits below a folder."""
    folds = protocols.folds(PEOPLE, 2, seed=0)
    run = Run(folder / "run", "tiny", TINY, jobs=jobs)
    return intensity.run_grid(run, JOBS, {"paper": windows(folder / "cache")}, folds)


def written(folder):
    """Bytes of every record and all weights; what a killed worker was just writing has a hidden name."""
    files = (path for part in ("fits", "weights") for path in (folder / "run" / part).glob("[!.]*/*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    return fitted(folder), written(folder)


def assert_same(results, folder, one_process):
    expected, files = one_process
    assert list(results) == list(expected)
    for job, record in expected.items():
        assert record.keys() == results[job].keys()
        for name, value in record.items():
            assert value.dtype == results[job][name].dtype
            np.testing.assert_array_equal(value, results[job][name])
    assert written(folder) == files


# ---- clusters of processes of their own -----------------------------------------------------------------------


def started(*arguments):
    """A Dask command, in a process that can import this file."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)], env=environment, stderr=subprocess.DEVNULL
    )


@contextlib.contextmanager
def cluster(folder, n_workers=2):
    """A scheduler and its workers on loopback, as a user starts them: address, [scheduler, *workers]."""
    file = folder / "scheduler.json"
    port = ("--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", file)
    processes = [started("distributed.cli.dask_scheduler", *port)]
    try:
        until(file.exists)
        address = json.loads(file.read_text())["address"]
        for _ in range(n_workers):
            options = ("--nthreads", 1, "--no-nanny", "--no-dashboard", "--local-directory", folder / "dask")
            processes.append(started("distributed.cli.dask_worker", address, *options))
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(n_workers, timeout=60)
        yield address, processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


# A cluster inside this process: quick, for what needs no other one.
INSIDE = {"processes": False, "protocol": "tcp://", "dashboard_address": "127.0.0.1:0", "silence_logs": 50}


def until(ready, seconds=60):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)


@contextlib.contextmanager
def killed_after_a_record(folder, process):
    """Kill a process when the first fit is on disk; gives a list that then holds how many there were."""
    counts = []

    def records():
        return len(list((folder / "run" / "fits").glob("*/record.json")))

    def kill():
        until(records)
        counts.append(records())
        process.send_signal(signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    yield counts
    thread.join()


@pytest.mark.long
def test_a_cluster_that_loses_a_worker_in_the_middle_gives_the_bytes_of_one_process(tmp_path, one_process):
    with cluster(tmp_path) as (address, processes), workers.use("dask", address, tmp_path / "run"):
        with killed_after_a_record(tmp_path, processes[1]) as finished:
            results = fitted(tmp_path)
        assert processes[1].wait() == -signal.SIGKILL
        assert processes[2].poll() is None
    assert 0 < finished[0] < len(JOBS) - 1, "it was not in the middle"
    assert_same(results, tmp_path, one_process)
    assert not list((tmp_path / "run").glob(".engine-*"))


@pytest.mark.long
def test_a_lost_scheduler_is_one_sentence_and_the_rerun_repeats_nothing_finished(tmp_path, one_process):
    with (
        cluster(tmp_path) as (address, processes),
        workers.use("dask", address, tmp_path / "run"),
        killed_after_a_record(tmp_path, processes[0]),
        pytest.raises(DataError, match=r"scheduler was lost.*the same command continues from there"),
    ):
        fitted(tmp_path)
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("run/fits/*/record.json")}
    assert finished
    assert_same(fitted(tmp_path), tmp_path, one_process)
    assert all(path.stat().st_mtime_ns == when for path, when in finished.items())


@pytest.mark.long
def test_two_processes_and_a_cluster_of_this_machine_give_the_bytes_of_one_process(tmp_path, one_process):
    assert_same(fitted(tmp_path / "two", jobs=2), tmp_path / "two", one_process)
    with workers.use("dask", folder=tmp_path / "dask" / "run"):
        assert_same(fitted(tmp_path / "dask"), tmp_path / "dask", one_process)


# ---- jobs that end badly --------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_job_whose_process_dies_is_taken_up_again_twice_and_takes_no_other_along(tmp_path):
    tasks = [
        (str(tmp_path / name), kills) for name, kills in (("a", 0), ("b", 2), ("c", 0), ("d", 0), ("e", 1))
    ]
    pids = list(workers.run_jobs(counted, tasks, 2))
    begun = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert begun["b"] == 3 and 2 <= begun["e"] <= 3
    assert begun["a"] <= 2 and begun["c"] <= 2 and begun["d"] <= 2
    assert os.getpid() not in pids

    end = (str(tmp_path / "end"), 99)
    with pytest.raises(DataError, match=r"^counted killed 3 processes.*memory.*the same command continues"):
        list(workers.run_jobs(counted, [end, *tasks], 2))
    assert (tmp_path / "end").stat().st_size == 3
    assert list(workers.run_jobs(abs, [(-1,), (-2,)], 2)) == [1, 2]  # and the next call works


@pytest.mark.long
@pytest.mark.parametrize(("engine", "killed"), [("local", "3 processes"), ("dask", "4 workers")])
def test_a_fit_that_kills_every_worker_is_reported_and_the_others_end(tmp_path, engine, killed):
    tasks = [(types.SimpleNamespace(name=name),) for name in ("die", "b", "c", "d")]
    two = replace(unbegun("smoke", tmp_path), jobs=2)
    with workers.use(engine, folder=tmp_path):
        with pytest.raises(
            DataError, match=rf"1 of 4 fits failed.*die: killed {killed}, most often because memory"
        ):
            grid.run_tasks(die_or_say, two, tasks)
        with pytest.raises(DataError, match=rf"^die killed {killed}.*the same command continues"):
            list(workers.run_jobs(die, [()], 2))
        assert grid.run_tasks(die_or_say, two, tasks[1:]) == ["b", "c", "d"]


def failing(run, job):
    raise job.error


@pytest.mark.parametrize("error", [ValueError, OSError])
def test_a_fit_that_fails_stops_no_other_and_the_sentence_names_it(tmp_path, error):
    def fit(run, job):
        grid.record(run, "", {"job": job.name}, (), lambda: {"x": np.arange(3)})
        return failing(run, job) if job.error else job.name

    tasks = [
        (types.SimpleNamespace(name=name, error=error("why") if name == "b" else None),) for name in "abc"
    ]
    with pytest.raises(
        DataError, match=rf"1 of 3 fits failed.*\(b: {error.__name__}: why\); mend and run again"
    ):
        grid.run_tasks(fit, unbegun("smoke", tmp_path), tasks)
    assert len(list(tmp_path.glob("fits/*/record.json"))) == 3


STARTS = """
import sys; sys.path.insert(0, {tests!r})
import small_jobs
from melib.data import workers
with workers.use({engine!r}, folder={folder!r}):
    list(workers.run_jobs(small_jobs.endless, [({folder!r} + "/" + name,) for name in "abc"], 2))
"""


@contextlib.contextmanager
def begun(folder, engine):
    """A process with two jobs in the middle: it, and everything that it started."""
    code = STARTS.format(tests=str(Path(__file__).parent), engine=engine, folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: len([path for path in folder.iterdir() if len(path.name) == 1]) >= 2)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 3  # two workers and whoever tracks what they share
        yield process, family
    finally:
        process.kill()
        process.wait()


@pytest.mark.long
@pytest.mark.parametrize("engine", workers.ENGINES)
def test_no_process_outlives_one_that_was_killed(tmp_path, engine):
    with begun(tmp_path, engine) as (process, family):
        process.kill()
        process.wait()
        left = psutil.wait_procs(family, timeout=10)[1]
    assert not left


@pytest.mark.long
def test_ctrl_c_ends_the_jobs_at_once_and_leaves_no_process(tmp_path):
    with begun(tmp_path, "local") as (process, family):
        for member in (process, *family):  # as a terminal does
            member.send_signal(signal.SIGINT)
        output = process.communicate(timeout=10)[1]
        assert not psutil.wait_procs(family, timeout=3)[1]
    assert output.count("Traceback") == 1 and output.rstrip().endswith("KeyboardInterrupt")


def test_results_come_in_the_order_of_the_tasks_and_one_process_is_this_one():
    assert list(workers.run_jobs(slow, [(0.2,), (0.1,), (0.0,)], 2)) == [0.2, 0.1, 0.0]
    assert list(workers.run_jobs(os.getpid, [()] * 2, 1)) == [os.getpid()] * 2
    assert os.getpid() not in workers.run_jobs(os.getpid, [()] * 2, 2)
    assert list(workers.run_jobs(abs, [], 2)) == []


def threads_here():
    import cv2
    import torch
    from threadpoolctl import threadpool_info

    np.ones((9, 9)) @ np.ones((9, 9))
    return {
        torch.get_num_threads(),
        cv2.getNumThreads(),
        *(pool["num_threads"] for pool in threadpool_info()),
    }


@pytest.mark.long
@pytest.mark.parametrize("engine", workers.ENGINES)
def test_a_worker_has_one_thread_an_error_of_a_job_is_its_own_and_the_next_call_works(tmp_path, engine):
    with workers.use(engine, folder=tmp_path):
        assert list(workers.run_jobs(threads_here, [()] * 2, 2)) == [{1}, {1}]
        with pytest.raises(RuntimeError, match="third"):
            list(workers.run_jobs(fail, [("third",)] * 9, 2))
        assert list(workers.run_jobs(abs, [(-i,) for i in range(9)], 2)) == list(range(9))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("there", "due", "threads", "reason"),
    [
        (True, {}, 1, ""),
        (False, {}, 1, "doesn't see"),
        (True, {}, 2, "--nthreads 1"),
        (True, {"numpy": "1.0"}, 1, "other software .numpy .*, not 1.0"),
    ],
)
def test_a_worker_that_could_not_give_the_same_bytes_refuses_and_says_why(
    tmp_path, there, due, threads, reason
):
    token = tmp_path / "token"
    if there:
        token.touch()
    assert re.search(reason or "^$", workers._refusal(token, workers.installed() | due, threads))


@pytest.mark.parametrize(
    ("n_workers", "threads", "sentence"),
    [
        (1, 2, r"worker at .* has 2 threads: start it with --nthreads 1"),
        (0, 1, r"has no worker: start some with `dask worker .* --nthreads 1`"),
    ],
)
def test_a_cluster_that_can_not_be_used_runs_no_job_and_says_why(
    tmp_path, monkeypatch, n_workers, threads, sentence
):
    monkeypatch.setattr(workers, "_PATIENCE", 1)
    with (
        distributed.LocalCluster(n_workers=n_workers, threads_per_worker=threads, **INSIDE) as inside,
        pytest.raises(DataError, match=sentence),
        workers.use("dask", inside.scheduler_address, tmp_path),
    ):
        list(workers.run_jobs(abs, [(-1,)], 2))


# ---- what is asked for wrongly --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "tcp://no.such.host.invalid:8786", "nonsense://", "host"]
)
def test_a_scheduler_that_does_not_answer_is_one_sentence(address, monkeypatch):
    monkeypatch.setattr(workers, "_PATIENCE", 1)
    monkeypatch.setenv(workers.ADDRESS, address)
    for scheduler in (address, ""):
        with pytest.raises(DataError, match=r"no Dask scheduler answers at .*: start one") as raised:
            workers.check_engine("dask", scheduler)
        assert address in str(raised.value)


# ---- what travels to a worker ---------------------------------------------------------------------------------


def test_a_fit_is_sent_its_windows_tables_and_no_pixel(tmp_path, monkeypatch):
    sent = []

    def post(function, tasks, *_, **__):
        sent.extend(tasks)
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "run_jobs", post)
    prepared, folds = windows(tmp_path / "cache"), protocols.folds(PEOPLE, 2, seed=0)
    with pytest.raises(KeyboardInterrupt):
        intensity.run_grid(unbegun("smoke", tmp_path / "run"), JOBS, {"paper": prepared}, folds)
    weight = max(len(ForkingPickler.dumps(task)) for task in sent)
    pixels = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.npy"))
    assert weight < min(pixels / 3, 10_000 + 500 * len(prepared.table))
