"""Where the jobs of a grid run: in processes of this machine, or on the workers of a Dask cluster.

    with engines.use("dask", "tcp://host:8786", run):      every joblib.Parallel inside sends its jobs there
        outcome = experiments.intensity(run, profile)

joblib stays the one way to run a grid; this file only tells it where. What a job reads and writes lies in the run's folder
and in the cache beside it, so workers need the same file system and are sent paths and small tables. A worker refuses a
job in one sentence where it couldn't give the same bytes: other code, more than one thread, another file system.
"""

import ctypes
import functools
import os
import platform
import socket
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import joblib
from joblib.parallel import ParallelBackendBase, SequentialBackend
from threadpoolctl import threadpool_limits

from melib import PACKAGE
from melib.data import cache
from melib.errors import DataError, Misuse

ENGINES = ("local", "dask")
ADDRESS = "DASK_SCHEDULER_ADDRESS"  # Dask's own variable, for whoever doesn't type an address

_PATIENCE = 8  # seconds for the scheduler to answer, and then for its first worker
_WORKERS = 2  # of the cluster that is started where no scheduler is named
_TRIM, _MMAP = -1, -3  # glibc's mallopt: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
_KEPT = 32 << 20  # bytes: where glibc's own thresholds end as they grow
# Between two grids an idle process of joblib ends and is replaced: nothing is lost, and the warning that says so misleads.
warnings.filterwarnings("ignore", message="A worker stopped while some jobs", category=UserWarning)
_AGAIN = "what is finished is kept, the same command continues from there"


def check(engine: str, scheduler: str = "") -> None:
    """Refuse an engine that can't be used, before anything is computed.

    Parameters
    ----------
    engine : str
        One of ``ENGINES``.
    scheduler : str
        Address of a Dask scheduler, such as ``tcp://host:8786``. Empty: that in the environment variable
        DASK_SCHEDULER_ADDRESS, else two processes are started as a cluster of this machine.

    Raises
    ------
    Misuse
        If there is no such engine, or a scheduler is named that it doesn't use.
    DataError
        If the scheduler doesn't answer.
    """
    if engine not in ENGINES:
        raise Misuse(f"engine {engine!r} is unknown: use one of {', '.join(ENGINES)}")
    if scheduler and engine != "dask":
        raise Misuse(f"engine {engine!r} has no scheduler: leave {scheduler} out, or use engine dask")
    if engine == "dask" and (address := _address(scheduler)):
        _connected(address).close()


@contextmanager
def use(engine: str = "local", scheduler: str = "", folder: str | Path = ".") -> Iterator[None]:
    """Send every job that is run with joblib inside the block to an engine; results are the same, byte for byte.

    Parameters
    ----------
    engine, scheduler : str
        As in `check`.
    folder : str or Path
        The run's, which every worker must see under the same path; made if missing.

    Raises
    ------
    Misuse, DataError
        As `check`, and if the cluster has no worker, loses its scheduler, or a worker can't do the work.
    """
    if engine != "dask":
        check(engine, scheduler)
        yield
        return
    with (
        _cluster(_address(scheduler)) as client,
        _token(Path(folder)) as token,
        joblib.parallel_config(backend=_Backend(client, _Terms(token, installed()))),
    ):
        yield


def tells_failure(function: Callable) -> Callable:
    """Mark a job whose failures come back as a str, the reason; that of killing its workers then does, too."""
    function.tells_failure = True  # type: ignore[attr-defined]
    return function


@functools.cache
def installed() -> dict[str, str]:
    """What decides about bytes in this interpreter: hash of melib's source, versions of what computes."""
    source = sorted(PACKAGE.rglob("*.py"))
    packages = ("numpy", "scipy", "pandas", "opencv-contrib-python-headless", "dlib-bin", "torch")
    return {"melib": cache.content_hash(source), **{name: version(name) for name in packages}}


# ---- the cluster ----------------------------------------------------------------------------------------------


def _address(scheduler: str) -> str:
    return scheduler or os.environ.get(ADDRESS, "")


@contextmanager
def _cluster(address: str) -> Iterator[Any]:
    """Client of the scheduler at an address, or of a cluster of this machine that ends with the block."""
    from distributed import Client, LocalCluster

    if address:
        client = _connected(address)
        try:
            _wait_for_worker(client, address)
            yield client
        finally:
            client.close()
        return
    # No limit of memory, as processes of joblib have none, and nothing that listens to other machines.
    with (
        LocalCluster(
            n_workers=_WORKERS,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=None,
            silence_logs=50,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        # A worker that was killed comes back by itself, but not always: then another one is started in its place.
        cluster.adapt(minimum=_WORKERS, maximum=_WORKERS)
        yield client


def _connected(address: str) -> Any:
    from distributed import Client

    try:
        # Dask's client, left alone with a port where nobody answers, writes tracebacks when it is thrown away.
        place = urlsplit(address if "://" in address else f"tcp://{address}")
        socket.create_connection((place.hostname or "", place.port or 0), timeout=_PATIENCE).close()
        return Client(address, timeout=_PATIENCE, set_as_default=False, name="melib")
    except (OSError, ValueError) as error:
        raise DataError(
            f"no Dask scheduler answers at {address}: start one with `dask scheduler` and give the address that it "
            f"prints as --scheduler or {ADDRESS}, or leave both out to use this machine"
        ) from error


def _wait_for_worker(client: Any, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError:
        raise DataError(
            f"the Dask scheduler at {address} has no worker: start some with "
            f"`dask worker {address} --nthreads 1`, and wait until a queueing system has started them"
        ) from None


@contextmanager
def _token(folder: Path) -> Iterator[Path]:
    """A file of the run's folder, by which a worker knows that it sees the same folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".engine-*"):  # by a run that was killed; a folder has one run at a time
        left.unlink(missing_ok=True)
    token = folder / f".engine-{uuid.uuid4().hex}"
    token.touch()
    try:
        yield token
    finally:
        for trace in (token, *folder.glob(f"{token.name}-*")):
            trace.unlink(missing_ok=True)


# ---- joblib's jobs on it --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Terms:
    """What a worker must fulfil."""

    token: Path
    installed: dict[str, str]


class _Backend(ParallelBackendBase):
    """joblib's jobs as Dask's, one each.

    joblib brings a Dask backend of its own, which isn't used: it waits for ever for a job that kills its workers, and it
    leaves larger arguments with one worker alone, so that the jobs of the others are lost with that one.
    """

    supports_retrieve_callback = True

    def __init__(self, client: Any, terms: _Terms) -> None:
        super().__init__(nesting_level=0)
        self.client, self.terms = client, terms
        self.running: dict[str, tuple] = {}  # by key: future, job

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Count the workers: the cluster's size is the user's choice, and not that of a call."""
        return max(2, len(self.client.nthreads()))  # of one, joblib makes the calling process

    def submit(self, func: Any, callback: Any = None) -> Any:
        """Send a job to the cluster."""
        key = f"{_function(func).__name__}-{uuid.uuid4().hex}"
        future = self.client.submit(_alone, func, self.terms, _starts(self.terms, key), key=key)
        self.running[key] = future, func
        future.add_done_callback(functools.partial(self._ended, callback=callback))
        return future

    def _ended(self, future: Any, callback: Any) -> None:
        """Tell joblib that a job ended; one that only waited on workers which another job killed is sent again."""
        from distributed import KilledWorker

        error = future.exception() if future.status == "error" else None
        if isinstance(error, KilledWorker) and future.key in self.running:
            starts = _starts(self.terms, future.key)
            began = starts.stat().st_size if starts.exists() else 0
            if began <= error.allowed_failures:
                _, func = self.running.pop(future.key)
                self.submit(func, callback)
                return
        callback(future)

    def retrieve_result_callback(self, out: Any) -> list:
        """Results of a job that ended; what happened to the cluster becomes one sentence."""
        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        _, func = self.running.pop(out.key)
        function = _function(func)
        try:
            return out.result()
        except KilledWorker as error:
            reason = (
                f"killed {error.allowed_failures + 1} workers, most often because memory ran out: "
                "give each worker more, or start fewer on a machine"
            )
            if getattr(function, "tells_failure", False):
                return [reason]
            raise DataError(f"{function.__name__} {reason}; {_AGAIN}") from None
        except ImportError as error:
            raise DataError(
                f"a worker lacks what melib needs ({error}): start it with this environment's interpreter; {_AGAIN}"
            ) from None
        except (CancelledError, CommClosedError) as error:
            raise DataError(
                f"the Dask scheduler was lost ({type(error).__name__}): start it and its workers again; {_AGAIN}"
            ) from None

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Take back what no worker has begun."""
        futures, self.running = [future for future, _ in self.running.values()], {}
        if self.client.status == "running":
            self.client.cancel(futures, force=True)

    def get_nested_backend(self) -> tuple:
        """Whatever a job runs with joblib stays in its own process."""
        return SequentialBackend(nesting_level=1), None


def _function(batch: Any) -> Callable:
    return batch.items[0][0]


def _starts(terms: _Terms, key: str) -> Path:
    """Where a job that has begun leaves one byte each time, until it ends: the scheduler knows only where it waited."""
    return terms.token.with_name(f"{terms.token.name}-{key}")


def _alone(batch: Callable, terms: _Terms, starts: Path) -> list:
    """Run a job (on a worker) as a process of its own would: one thread, or not at all."""
    from distributed import get_worker

    worker = get_worker()
    reason = _refusal(terms, worker.state.nthreads)
    if reason:
        raise DataError(f"the worker at {worker.address} {reason}; {_AGAIN}")
    _keep_memory()
    with starts.open("ab") as trace:
        trace.write(b".")
    try:
        with threadpool_limits(1):
            return batch()
    finally:
        starts.unlink(missing_ok=True)


@functools.cache
def _keep_memory() -> None:
    """Let a worker reuse what it freed: Dask hands it back each time, so that fits took 1.6 times as long."""
    if "MALLOC_TRIM_THRESHOLD_" in os.environ and platform.libc_ver()[0] == "glibc":
        glibc = ctypes.CDLL(None)
        for what, size in ((_MMAP, _KEPT), (_TRIM, 2 * _KEPT)):
            glibc.mallopt(what, size)


def _refusal(terms: _Terms, threads: int) -> str:
    """Why this worker can't give the same bytes; empty if it can."""
    if threads != 1:
        # torch's random state belongs to a process: two fits in it would disturb each other.
        return f"has {threads} threads: start it with --nthreads 1"
    if not terms.token.exists():
        return (
            f"doesn't see {terms.token.parent}: put the run on a file system that all machines share, and give its "
            "absolute path"
        )
    mine = installed()
    other = [
        f"{name} {mine[name]}, not {wanted}"
        for name, wanted in terms.installed.items()
        if mine[name] != wanted
    ]
    return f"has other software ({'; '.join(other)}): start it again from this environment" if other else ""
