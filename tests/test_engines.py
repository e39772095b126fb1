"""Laws of the engines: one process, two, or a cluster that loses a worker: same bytes; what can't be is one sentence."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import types
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import distributed
import joblib
import numpy as np
import pandas as pd
import pytest
import test_spotting
from test_experiments import PEOPLE, TINY, windows
from test_spotting import LENGTH, made_up_material, made_up_video

from melib import protocols
from melib.errors import DataError, Misuse
from melib.study import engines, intensity, run, spotting, spotting_runs
from melib.study.spotting_decoding import fits_of
from melib.vision import faces

JOBS = [
    intensity.Job("made_up", "paper", fit["model"], fit["input"], fold, seed)
    for seed in (0, 1)
    for fit in TINY["fits"]["paper"]
    for fold in (0, 1)
]


def grid(folder, jobs=1):
    """Run the grid of tiny fits below a folder."""
    folds = protocols.folds(PEOPLE, 2, seed=0)
    return intensity.run_grid(
        folder / "run", "tiny", JOBS, {"paper": windows(folder / "cache")}, folds, jobs=jobs
    )


def written(folder):
    """Bytes of every record and all weights."""
    files = (path for part in ("fits", "weights") for path in (folder / "run" / part).rglob("*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if path.is_file()}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(run, "profile_settings", lambda profile: TINY)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "profile_settings", lambda profile: TINY)
        return grid(folder), written(folder)


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
    found = []

    def records():
        return len(list((folder / "run" / "fits").glob("*/record.json")))

    def kill():
        until(records)
        found.append(records())
        process.send_signal(signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    yield found
    thread.join()


@pytest.mark.long
def test_a_cluster_that_loses_a_worker_in_the_middle_gives_the_bytes_of_one_process(tmp_path, one_process):
    with cluster(tmp_path) as (address, processes), engines.use("dask", address, tmp_path / "run"):
        with killed_after_a_record(tmp_path, processes[1]) as found:
            results = grid(tmp_path)
        assert processes[1].wait() == -signal.SIGKILL
        assert processes[2].poll() is None
    assert 0 < found[0] < len(JOBS) - 1, "it was not in the middle"
    assert_same(results, tmp_path, one_process)
    assert not list((tmp_path / "run").glob(".engine-*"))


@pytest.mark.long
def test_a_lost_scheduler_is_one_sentence_and_the_rerun_repeats_nothing_finished(tmp_path, one_process):
    with (
        cluster(tmp_path) as (address, processes),
        engines.use("dask", address, tmp_path / "run"),
        killed_after_a_record(tmp_path, processes[0]),
        pytest.raises(DataError, match=r"scheduler was lost.*the same command continues from there"),
    ):
        grid(tmp_path)
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("run/fits/*/record.json")}
    assert finished
    assert_same(grid(tmp_path), tmp_path, one_process)
    assert all(path.stat().st_mtime_ns == when for path, when in finished.items())


@pytest.mark.long
def test_two_processes_and_a_cluster_of_this_machine_give_the_bytes_of_one_process(tmp_path, one_process):
    assert_same(grid(tmp_path / "two", jobs=2), tmp_path / "two", one_process)
    with engines.use("dask", folder=tmp_path / "dask" / "run"):
        assert_same(grid(tmp_path / "dask"), tmp_path / "dask", one_process)


# ---- jobs that end badly --------------------------------------------------------------------------------------


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


@engines.tells_failure
def die_or_say(what):
    return die() if what == "die" else what


def fail(what):
    raise RuntimeError(what)


@pytest.mark.long
def test_a_job_that_kills_every_worker_is_reported_and_the_others_end(tmp_path):
    tasks = [joblib.delayed(die_or_say)(what) for what in ("die", 1.0, 2.0, 3.0)]
    with engines.use("dask", folder=tmp_path):
        with pytest.raises(
            DataError, match=r"1 of 4 fits failed.*a: killed 4 workers, most often because memory"
        ):
            intensity.finish(tasks, "abcd", 2)
        with pytest.raises(DataError, match=r"^die killed 4 workers.*the same command continues"):
            list(joblib.Parallel(return_as="generator")([joblib.delayed(die)()]))
        assert intensity.finish(tasks[1:], "bcd", 2) == [1.0, 2.0, 3.0]


class FakeClient:
    """Keeps what is submitted."""

    def __init__(self):
        self.keys = []

    def submit(self, *_, key):
        self.keys.append(key)
        return types.SimpleNamespace(key=key, add_done_callback=lambda _: None)


@pytest.mark.parametrize("began", [0, 1, 3, 4])
def test_a_job_is_blamed_for_four_dead_workers_only_where_it_was_begun_on_each(tmp_path, began):
    backend = engines._Backend(FakeClient(), engines._Terms(tmp_path / "token", {}))
    job = types.SimpleNamespace(items=[(die_or_say, (), {})])
    first = backend.submit(job)
    engines._starts(backend.terms, first.key).write_bytes(b"." * began)
    error = distributed.KilledWorker(first.key, None, allowed_failures=3)
    ended = types.SimpleNamespace(key=first.key, status="error", exception=lambda: error)
    told = []
    backend._ended(ended, told.append)
    if began > 3:
        assert told == [ended] and backend.client.keys == [first.key]
    else:  # it only waited there: sent again, under another key
        assert not told and len(set(backend.client.keys)) == 2
        assert list(backend.running) == backend.client.keys[1:]


@pytest.mark.long
def test_workers_that_never_come_back_are_replaced():
    with engines._cluster("") as client:
        for nanny in list(client.cluster.workers.values()):
            client.cluster.sync(nanny.close)
        assert not client.nthreads()
        assert client.submit(abs, -1).result(timeout=120) == 1


def page_faults():
    """Of allocating and freeing a megabyte a hundred times."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        np.ones(1 << 17)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.long
def test_a_worker_reuses_the_memory_it_freed_as_a_process_does(tmp_path):
    with engines.use("dask", folder=tmp_path):
        faults = joblib.Parallel()(joblib.delayed(page_faults)() for _ in range(4))
    assert max(faults) < 10 * 256  # a megabyte is 256 pages, and handed back each time would be faulted anew


@pytest.mark.long
def test_a_killed_process_of_this_machine_is_one_sentence():
    with pytest.raises(DataError, match="a process was killed while it fitted"):
        intensity.finish([joblib.delayed(os._exit)(1) for _ in range(2)], "ab", 2)


@pytest.fixture(scope="module")
def threads():
    """Address of a scheduler and one worker of one thread."""
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, **INSIDE) as inside:
        yield inside.scheduler_address


def test_an_error_of_a_job_is_its_own_and_the_next_call_works(tmp_path, threads):
    with engines.use("dask", threads, tmp_path):
        with pytest.raises(RuntimeError, match="third"):
            joblib.Parallel()(joblib.delayed(fail)("third") for _ in range(9))
        assert joblib.Parallel()(joblib.delayed(abs)(-i) for i in range(9)) == list(range(9))
        unordered = joblib.Parallel(n_jobs=1, return_as="generator_unordered")
        assert sorted(unordered(joblib.delayed(abs)(-i) for i in range(9))) == list(range(9))
    assert not list(tmp_path.iterdir())


def test_a_worker_that_could_not_give_the_same_bytes_refuses_and_says_why(tmp_path, monkeypatch):
    token = tmp_path / "token"
    terms = engines._Terms(token, engines.installed())
    assert "doesn't see" in engines._refusal(terms, 1)
    token.touch()
    assert engines._refusal(terms, 1) == ""
    assert "--nthreads 1" in engines._refusal(terms, 2)
    other = engines._Terms(token, engines.installed() | {"numpy": "1.0"})
    assert "numpy" in engines._refusal(other, 1) and "not 1.0" in engines._refusal(other, 1)


def test_a_worker_with_two_threads_runs_no_job(tmp_path):
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, **INSIDE) as inside,
        engines.use("dask", inside.scheduler_address, tmp_path),
        pytest.raises(DataError, match=r"worker at .* has 2 threads: start it with --nthreads 1"),
    ):
        joblib.Parallel()([joblib.delayed(abs)(-1)])


# ---- what is asked for wrongly --------------------------------------------------------------------------------


def test_an_engine_that_is_not_there_is_refused():
    with pytest.raises(Misuse, match="engine 'slurm' is unknown: use one of local, dask"):
        engines.check("slurm")
    with pytest.raises(Misuse, match="engine 'local' has no scheduler"):
        engines.check("local", "tcp://127.0.0.1:8786")
    with pytest.raises(Misuse, match="unknown"), engines.use("slurm"):
        pytest.fail("it ran")


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "tcp://no.such.host.invalid:8786", "nonsense://", "host"]
)
def test_a_scheduler_that_does_not_answer_is_one_sentence_within_ten_seconds(address, monkeypatch):
    assert engines._PATIENCE <= 10
    monkeypatch.setattr(engines, "_PATIENCE", 1)
    monkeypatch.setenv(engines.ADDRESS, address)
    start = time.monotonic()
    for given in (address, ""):
        with pytest.raises(DataError, match=r"no Dask scheduler answers at .*: start one") as raised:
            engines.check("dask", given)
        assert address in str(raised.value)
    assert time.monotonic() - start < 10


def test_a_cluster_without_a_worker_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "_PATIENCE", 1)
    with (
        distributed.LocalCluster(n_workers=0, **INSIDE) as empty,
        pytest.raises(DataError, match=r"has no worker: start some with `dask worker .* --nthreads 1`"),
        engines.use("dask", empty.scheduler_address, tmp_path),
    ):
        pytest.fail("it ran")


@pytest.mark.long
def test_dask_is_imported_only_where_it_is_asked_for():
    code = (
        "import sys; from melib import engines, experiments, notebooks, spotting_runs\n"
        "engines.check('local')\n"
        "with engines.use():\n    pass\n"
        "print([name for name in ('dask', 'distributed') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


# ---- what travels to a worker ---------------------------------------------------------------------------------


class Sent(Exception):
    """What a call wanted to run."""


class _Post:
    """Stands for joblib.Parallel, and takes the tasks."""

    def __init__(self, *_, **__):
        pass

    def __call__(self, tasks):
        raise Sent(list(tasks))


def sizes(monkeypatch, call, *arguments, **named):
    """Bytes of each task that a call sends away, pickled."""
    with monkeypatch.context() as patch:
        patch.setattr(joblib, "Parallel", _Post)
        with pytest.raises(Sent) as sent:
            call(*arguments, **named)
    return [len(ForkingPickler.dumps(task)) for task in sent.value.args[0]]


def test_a_window_of_a_long_clip_weighs_no_more_than_that_of_a_short_one(tmp_path, monkeypatch):
    row = {"dataset": "x", "subject": "s", "video": "v", "event": "v", "onset": 1, "apex": 9, "offset": 17}
    events = pd.DataFrame([row | {"kind": "micro", "status": "ok", "fps": 200.0}])
    weights = []
    for length in (60, 6000):
        pixels = np.zeros((length, 32, 32), np.uint8)
        clip = faces.Clip(
            "x", "s", "v", 200.0, np.arange(length), pixels, np.ones(length, bool), np.zeros((68, 2)), "key"
        )
        study = types.SimpleNamespace(
            name="x",
            events=events,
            clips=(clip,),
            manifest=types.SimpleNamespace(fps=200.0, has_context=False),
        )
        monkeypatch.setattr(run, "profile_settings", lambda _: {"windows": {"paper": {"T": 16}}})
        weights += sizes(monkeypatch, intensity.prepare, study, "paper", tmp_path / "run", "tiny")
    assert weights[0] == weights[1] < 2000


def test_a_fit_of_long_videos_weighs_no_more_than_one_of_short_ones(tmp_path, monkeypatch):
    monkeypatch.undo()  # the real settings
    weights = []
    for length in (LENGTH, 8 * LENGTH):
        monkeypatch.setattr(test_spotting, "LENGTH", length)
        videos = [
            made_up_video(s, "v", [("micro", "negative", 40, 50, 60)], np.random.default_rng(i))
            for i, s in enumerate(PEOPLE)
        ]
        folds = protocols.folds(PEOPLE, 2, seed=0)
        # A study's truth has a row a frame, and isn't needed to fit.
        long = spotting.Long(pd.DataFrame({"frame": np.arange(length)}), videos, [], videos, folds)
        fits = fits_of(spotting_runs.OURS, "toy", folds, 0)
        weights.append(sizes(monkeypatch, spotting.run_fits, tmp_path / "run", "smoke", fits, long))
    assert weights[0] == weights[1]
    assert max(weights[0]) < 3000 * len(videos)


def test_a_fit_weighs_what_its_windows_tables_do_and_no_pixel(tmp_path, monkeypatch):
    prepared, folds = windows(tmp_path / "cache"), protocols.folds(PEOPLE, 2, seed=0)
    (weight, *_) = sizes(
        monkeypatch, intensity.run_grid, tmp_path / "run", "smoke", JOBS, {"paper": prepared}, folds
    )
    pixels = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.npy"))
    assert weight < pixels / 3
    assert weight < 10_000 + 500 * len(prepared.table)


def test_a_video_comes_out_of_the_cache_as_it_went_in(tmp_path):
    for video in made_up_material().videos[:2]:
        kept = spotting.keep(video, tmp_path)
        again = spotting.opened(kept)
        assert spotting._content(again) == spotting._content(video)
        for name in spotting._ARRAYS:
            np.testing.assert_array_equal(getattr(again, name), getattr(video, name))
            assert getattr(again, name).dtype == getattr(video, name).dtype


@pytest.mark.long
def test_a_fit_that_is_sent_places_gives_the_bytes_of_one_that_is_sent_arrays(tmp_path, monkeypatch):
    monkeypatch.undo()  # the real settings
    material = made_up_material()
    long = spotting.Long(None, material.videos, [], material.videos[:4], material.folds)
    options = run.profile_settings("smoke")["spotting"]
    fits = [
        fit
        for system in (spotting_runs.OURS, spotting_runs.REPAIRED)
        for fit in fits_of(system, "toy", material.folds, 0)[:1]
    ]
    one = [spotting._run_fit(tmp_path / "one" / "run", fit, options, long) for fit in fits]
    two = spotting.run_fits(tmp_path / "two" / "run", "smoke", fits, long)
    with engines.use("dask", folder=tmp_path / "dask" / "run"):
        dask = spotting.run_fits(tmp_path / "dask" / "run", "smoke", fits, long)
    for fit, expected in zip(fits, one, strict=True):
        for found in (two[fit], dask[fit]):
            assert found.keys() == expected.keys()
            for name, curves in expected.items():
                np.testing.assert_array_equal(found[name].scores, curves.scores)
                np.testing.assert_array_equal(found[name].logits, curves.logits)
    assert written(tmp_path / "one") == written(tmp_path / "two") == written(tmp_path / "dask")
