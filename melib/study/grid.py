"""The grid of both papers: a job is one fit with a name; its record lies on disk, and what failed is told at the end.

    records = grid.run_tasks(fit, run, [(job, *arguments), ...])      one record a job, read or computed

    def fit(run, job, *arguments):                                      in another process, maybe on another machine
        ...
        return grid.record(run, code, about, contents, compute)

A record is addressed by all that it depends on, the source of the code that computes it included, so that a finished job is
never repeated and a changed one never read. A grid that was cut off anywhere goes on where it was.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from melib.data import cache, workers
from melib.errors import DataError
from melib.study.run import Run


class Failure(str):
    """Stands for the record of a job that failed: the reason."""


def run_tasks(fit: Callable, run: Run, tasks: Sequence[tuple]) -> list[Any]:
    """Run fits in several processes, to the last one even where some fail.

    Parameters
    ----------
    fit : callable
        Of a module; takes the run's folder and a task's parts. If it raises what bad data or too little memory raise, the
        job has failed.
    run : Run
    tasks : sequence of tuple
        A job, which has a ``name``, and what else the function takes.

    Returns
    -------
    list
        What the function returned, in the order of the tasks.

    Raises
    ------
    DataError
        If a fit failed: says which and why; the others are finished and kept.
    """
    calls = [(fit, Path(run), *task) for task in tasks]
    done = list(workers.run_jobs(_attempt, calls, run.jobs, label="fits", unit="fit", lost=Failure))
    failed = [
        (job.name, record)
        for (job, *_), record in zip(tasks, done, strict=True)
        if isinstance(record, Failure)
    ]
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed)
        raise DataError(
            f"{len(failed)} of {len(done)} fits failed, the others are kept ({reasons}); mend and run again."
        )
    return done


def _attempt(fit: Callable, *arguments: Any) -> Any:
    try:
        return fit(*arguments)
    except (ValueError, ArithmeticError, RuntimeError, OSError) as error:
        return Failure(f"{type(error).__name__}: {error}")


def record(
    run: Path, code: str, about: dict, contents: Sequence[str], compute: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Read the record of a fit, or compute and store it first.

    Parameters
    ----------
    run : Path
        The run's folder.
    code : str
        Hash of the source of whatever computes it.
    about : dict
        The job, its settings and its fold, as json has them.
    contents : sequence of str
        Hashes of the data that it reads.
    compute : callable
        Makes the record.

    Returns
    -------
    dict of arrays
        In memory and writable.
    """
    stored = cache.arrays(run / "fits", cache.key(code, about, *contents), compute)
    return {name: np.array(value) for name, value in stored.items()}
