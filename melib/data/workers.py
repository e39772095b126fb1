"""Where jobs run: in this process, in others of this machine, or on the workers of a Dask cluster; results are the same.

    clips = list(workers.run_jobs(fill, tasks, jobs=2, label="faces", unit="clip"))      in the order of the tasks

    with workers.use("dask", "tcp://host:8786", run):      every run inside sends its jobs there
        outcome = intensity_study(run)

What a job reads and writes lies in the run's folder and in the cache beside it, so workers need the same file system and
are sent paths and small tables. A worker of a cluster refuses a job in one sentence where it couldn't give the same bytes:
other code, more than one thread, another file system. Processes of this machine (loky's) end with the one that started
them, even if that is killed; a job is lost only if it kills one process after another.
"""

import asyncio
import functools
import os
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from urllib.parse import urlsplit

import cv2
from loky import get_reusable_executor
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from melib import PACKAGE
from melib.data import cache
from melib.errors import DataError, Misuse

ENGINES = ("local", "dask")
ADDRESS = "DASK_SCHEDULER_ADDRESS"  # Dask's own variable, for whoever doesn't type an address

_RETRIES = 2  # times that a job is taken up again after a process of this machine died under it
_IDLE = 300  # seconds until a process without a job ends; the next grid follows sooner and finds everything imported
_PULSE = 1  # seconds from one look for the parent to the next
_LIBRARIES = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMBA", "NUMEXPR")
_ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in _LIBRARIES} | {"VECLIB_MAXIMUM_THREADS": "1"}
# Bytes; loky would replace a process that has grown by 300 MB, as each does that holds a network, which then begins anew.
_GROWTH = {"LOKY_MAX_MEMORY_LEAK_SIZE": "4e9"}
_PATIENCE = 8  # seconds for the scheduler to answer, and then for its first worker
_WORKERS = 2  # of the cluster that is started where no scheduler is named
# Dask's own setting hands memory back each time, so that fits took 1.6 times as long; these are where glibc's would end.
_MEMORY = {"MALLOC_TRIM_THRESHOLD_": 64 << 20, "MALLOC_MMAP_THRESHOLD_": 32 << 20}
# The second while a client that gives up waits for an answer.
_UNREACHABLE = (OSError, asyncio.CancelledError)
_AGAIN = "what is finished is kept, the same command continues from there"


def run_jobs(
    function: Callable,
    tasks: Iterable[tuple],
    jobs: int,
    *,
    label: str = "",
    unit: str = "job",
    lost: Callable[[str], Any] | None = None,
) -> Iterator[Any]:
    """Call a function once for each task, and yield what it returns in the order of the tasks.

    Parameters
    ----------
    function : callable
        Of a module, so that another process finds it.
    tasks : iterable of tuple
        Its arguments.
    jobs : int
        Processes of this machine, one thread each; with 1 everything runs in this process. A cluster's size is what its
        user made it.
    label, unit : str
        Of the progress bar; without a label there is none.
    lost : callable, optional
        Makes the result of a job that killed its workers, of the reason. Otherwise that ends all jobs.

    Yields
    ------
    object

    Raises
    ------
    DataError
        If a job killed its workers, or a worker can't do the work or the scheduler is lost; else what a job raised. Jobs
        that run on this machine are then ended, as they are on Ctrl-C.
    """
    tasks, cluster = list(tasks), _cluster_in_use.get()
    if cluster is None and jobs == 1:
        results: Iterator[Any] = (function(*task) for task in tasks)
    else:
        results = _results(cluster or _Processes(jobs), function, tasks, lost)
    return iter(tqdm(results, total=len(tasks), desc=label, unit=unit, disable=not label))


def count_workers(jobs: int) -> int:
    """How many jobs are done at a time: by the cluster in use, else by so many processes of this machine."""
    cluster = _cluster_in_use.get()
    return jobs if cluster is None else cluster.room()


def check_engine(engine: str, scheduler: str = "") -> None:
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
    if engine == "dask" and (address := scheduler or os.environ.get(ADDRESS, "")):
        _connected(address).close()


@contextmanager
def use(engine: str = "local", scheduler: str = "", folder: str | Path = ".") -> Iterator[None]:
    """Send every job that is run inside the block to an engine; results are the same, byte for byte.

    Parameters
    ----------
    engine, scheduler : str
        As in `check_engine`.
    folder : str or Path
        The run's, which every worker must see under the same path; made if missing.

    Raises
    ------
    Misuse, DataError
        As `check_engine`, and if the cluster has no worker, loses its scheduler, or a worker can't do the work.
    """
    if engine != "dask":
        check_engine(engine, scheduler)
        yield
        return
    address = scheduler or os.environ.get(ADDRESS, "")
    with _client(address) as client, _token(Path(folder)) as token:
        before = _cluster_in_use.set(_Cluster(client, client.get_executor(), token))
        try:
            yield
        finally:
            _cluster_in_use.reset(before)


@functools.cache
def installed() -> dict[str, str]:
    """What decides about bytes in this interpreter: hash of melib's source, versions of what computes."""
    source = sorted(PACKAGE.rglob("*.py"))
    packages = ("numpy", "scipy", "pandas", "opencv-contrib-python-headless", "dlib-bin", "torch")
    return {"melib": cache.content_hash(source), **{name: version(name) for name in packages}}


# ---- jobs, wherever they run ----------------------------------------------------------------------------------


class _Killed(Exception):
    """A worker died under a job: says how."""


def _results(
    place: "_Processes | _Cluster", function: Callable, tasks: list[tuple], lost: Callable[[str], Any] | None
) -> Iterator[Any]:
    """Keep a place busy, and yield results in order."""
    waiting, suspects = deque(range(len(tasks))), deque[int]()  # numbers of tasks
    out: dict[Future, int] = {}
    done: dict[int, Any] = {}
    deaths = Counter[int]()
    try:
        for number in range(len(tasks)):
            while number not in done:
                # Of those that were out when a process died, one killed it: alone, it shows, and has all memory.
                queue, free = (suspects, 1) if suspects else (waiting, place.room())
                while queue and len(out) < free:
                    try:
                        future = place.submit(function, tasks[queue[0]])
                    except BrokenExecutor:  # just now: what was out says so, and then there is a new one
                        break
                    out[future] = queue.popleft()
                for future in wait(out, return_when=FIRST_COMPLETED).done:
                    task = out.pop(future)
                    try:
                        done[task] = place.result(future)
                    except _Killed as error:
                        deaths[task] += 1
                        if deaths[task] <= place.retries:
                            suspects.append(task)
                        elif lost:
                            done[task] = lost(str(error))
                        else:
                            raise DataError(f"{function.__name__} {error}; {_AGAIN}") from None
            yield done.pop(number)
    except BaseException:  # Ctrl-C, and a caller who wants no more, too
        place.stop(list(out))
        raise


# ---- processes of this machine --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Processes:
    """loky's processes, which wait for the next call when one is over."""

    jobs: int
    retries = _RETRIES

    def room(self) -> int:
        """How many jobs may be out: one waits, so that no process does."""
        return self.jobs + 1

    def _executor(self) -> Any:
        """The one that is there, or a new one if that is broken."""
        begin = {"initializer": _begin, "initargs": (os.getpid(),), "env": _ONE_THREAD | _GROWTH}
        return get_reusable_executor(self.jobs, timeout=_IDLE, **begin)

    def submit(self, function: Callable, task: tuple) -> Future:
        """Send a job to a process."""
        return self._executor().submit(function, *task)

    def result(self, future: Future) -> Any:
        """What a job returned or raised."""
        try:
            return future.result()
        except BrokenExecutor:
            raise _Killed(
                f"killed {_RETRIES + 1} processes, most often because memory ran out: make room, or use fewer at a time"
            ) from None

    def stop(self, futures: list[Future]) -> None:
        """End the processes in the middle of their jobs."""
        self._executor().shutdown(kill_workers=True)


def _begin(parent: int) -> None:
    """Begin a process of loky's, whose libraries see `_ONE_THREAD`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which then ends its processes
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    # Linux could send a signal when a parent dies, but means the thread that started the process by it.
    while os.getppid() == parent:
        time.sleep(_PULSE)
    os._exit(1)


# ---- a cluster ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cluster:
    """Workers of a Dask cluster. How many may die under a job is Dask's setting ``allowed-failures``."""

    client: Any
    executor: Any
    token: Path  # by which a worker knows that it sees the run's folder
    retries = 0

    def room(self) -> int:
        """How many jobs may be out: one a worker, since whoever waits at one that dies is blamed, too."""
        with _scheduler_lost_on(*_UNREACHABLE):
            if self.client.scheduler is None:  # Dask's client asks it nevertheless
                raise ConnectionError
            return max(_WORKERS, len(self.client.nthreads()))  # one of this machine may just be coming back

    def submit(self, function: Callable, task: tuple) -> Future:
        """Send a job to the cluster."""
        job = functools.partial(function, *task)  # whole, or Dask looks into every list for tasks
        with _scheduler_lost_on(*_UNREACHABLE):
            return self.executor.submit(_run_alone, job, self.token, installed())

    def result(self, future: Future) -> Any:
        """What a job returned or raised; what happened to the cluster becomes one sentence."""
        from distributed import KilledWorker

        try:
            with _scheduler_lost_on():  # an OSError here may be the job's own
                return future.result()
        except KilledWorker as error:
            raise _Killed(
                f"killed {error.allowed_failures + 1} workers, most often because memory ran out: "
                "give each worker more, or start fewer on a machine"
            ) from None
        except ImportError as error:
            raise DataError(
                f"a worker lacks what melib needs ({error}): start it with this environment's interpreter; {_AGAIN}"
            ) from None

    def stop(self, futures: list[Future]) -> None:
        """Take back what no worker has begun."""
        if self.client.status == "running":
            for future in futures:
                future.cancel()


@contextmanager
def _scheduler_lost_on(*more: type[BaseException]) -> Iterator[None]:
    """Say in one sentence what Dask's errors of a lost scheduler mean, and more of them."""
    from distributed.client import ClosedClientError
    from distributed.comm import CommClosedError

    errors: tuple[type[BaseException], ...] = (ClosedClientError, CommClosedError, CancelledError, *more)
    try:
        yield
    except errors as error:
        raise DataError(
            f"the Dask scheduler was lost ({type(error).__name__}): start it and its workers again; {_AGAIN}"
        ) from None


_cluster_in_use: ContextVar[_Cluster | None] = ContextVar("cluster", default=None)


def _run_alone(job: Callable, token: Path, required: dict[str, str]) -> Any:
    """Run a job (on a worker) as a process of its own would: one thread, or not at all."""
    from distributed import get_worker

    worker = get_worker()
    reason = _refusal(token, required, worker.state.nthreads)
    if reason:
        raise DataError(f"the worker at {worker.address} {reason}; {_AGAIN}")
    cv2.setNumThreads(1)
    with threadpool_limits(1):
        return job()


def _refusal(token: Path, required: dict[str, str], threads: int) -> str:
    """Why this worker can't give the same bytes; empty if it can."""
    if threads != 1:
        # torch's random state belongs to a process: two fits in it would disturb each other.
        return f"has {threads} threads: start it with --nthreads 1"
    if not token.exists():
        return (
            f"doesn't see {token.parent}: put the run on a file system that all machines share, and give its "
            "absolute path"
        )
    here = installed()
    other = [f"{name} {here[name]}, not {due}" for name, due in required.items() if here[name] != due]
    return f"has other software ({'; '.join(other)}): start it again from this environment" if other else ""


@contextmanager
def _client(address: str) -> Iterator[Any]:
    """Client of the scheduler at an address, or of a cluster of this machine that ends with the block."""
    import dask
    from distributed import Client, LocalCluster

    if address:
        with closing(_connected(address)) as client:
            try:
                client.wait_for_workers(1, timeout=_PATIENCE)
            except TimeoutError:
                raise DataError(
                    f"the Dask scheduler at {address} has no worker: start some with "
                    f"`dask worker {address} --nthreads 1`, and wait until a queueing system has started them"
                ) from None
            yield client
        return
    # No limit of memory, as loky's processes have none, and nothing that listens to other machines.
    with (
        dask.config.set({f"distributed.nanny.pre-spawn-environ.{name}": n for name, n in _MEMORY.items()}),
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
    """Client of the scheduler at an address."""
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


@contextmanager
def _token(folder: Path) -> Iterator[Path]:
    """A file of the run's folder, by which a worker knows that it sees the same folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(".engine-*"):  # of a run that was killed; a folder has one run at a time
        stale.unlink(missing_ok=True)
    with NamedTemporaryFile(prefix=".engine-", dir=folder) as token:
        yield Path(token.name)
