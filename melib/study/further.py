"""More to learn from, of training subjects alone: further clips, and movements laid over other people's rest.

    further clips   simulated at the rate that a window reads, with the noise of the mean of the frames it averages
    laid            motion of a whole event + motion of another person's window of rest = a window with the event's target

Both are appended to the windows of one fold: who validates and who is tested keeps the windows that they had. What learns
from more is trained for as many steps as what it is compared with, so that a difference is one of data, and not of time.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from melib import simulate
from melib.errors import DataError
from melib.simulate import nuisance, worlds
from melib.study import intensity
from melib.study.data import open_study, with_clips

# From the run's seed to that of further clips: under the same seed they would move as the tested ones do.
_APART = 250


def further_clips(prepared, times, run):
    """Windows of clips that nobody is tested on, drawn in the context protocol.

    Parameters
    ----------
    prepared : intensity.Prepared
        Windows of a simulated data set of the run.
    times : int
        So many clips for each that the data set has.
    run : Run

    Returns
    -------
    intensity.Prepared
        Of all people of the data set: `extended` takes those of a fold's training subjects.
    """
    [spec] = [spec for spec in run.settings["data"] if spec["name"] == prepared.dataset]
    step = run.settings["windows"]["context"]["step"]
    scales = nuisance.resolve(spec.get("nuisance", 1.0), worlds.find_world(spec.get("world", "first")))
    averaged = max(1, int(step * prepared.fps))
    scales = replace(scales, noise=tuple(sd / averaged**0.5 for sd in scales.noise))
    name = f"{prepared.dataset}_further{times}"
    settings = spec | {"name": name, "fps": 1 / step, "nuisance": scales, "seed": run.seed + _APART}
    settings |= {kind: times * spec[kind] for kind in ("clips", "empty")}
    out = simulate.write_clips(run.folder / "data" / name, jobs=run.jobs, **settings)
    study = with_clips(open_study(out / "manifest.yml", out), run)
    return intensity.prepare_windows(study, "context", run)


def extended(prepared, more, fold):
    """Windows, and after them those of a fold's training subjects among others.

    Parameters
    ----------
    prepared, more : intensity.Prepared
        With equally many samples, in the same cache.
    fold : protocols.Fold

    Returns
    -------
    intensity.Prepared
        Its first rows are those of ``prepared``.
    """
    return _appended(prepared, more, intensity.rows_of(more, fold.train))


def over_rest(prepared, fold, seed):
    """Windows, and after them each whole event of a training subject over the rest of another one.

    Parameters
    ----------
    prepared : intensity.Prepared
        Only its motion is laid over rest; grey values stay the event's own.
    fold : protocols.Fold
    seed : int
        Draws the rest.

    Returns
    -------
    intensity.Prepared
        Its first rows are those of ``prepared``.

    Raises
    ------
    DataError
        If no other training subject has a window of rest.
    """
    people = prepared.table["subject"].to_numpy()
    train = intensity.rows_of(prepared, fold.train)
    still = train[~prepared.pseudo[train].any(axis=1)]
    moved = train[prepared.complete()[train]]
    rng = np.random.default_rng([seed, fold.index])
    if any(not np.any(people[still] != person) for person in set(people[moved])):
        raise DataError(f"{prepared.dataset}: no window shows rest of another training subject to lay on.")
    under = np.array([rng.choice(still[people[still] != people[row]]) for row in moved], int)
    laid = _appended(prepared, prepared, moved)
    both = [(*prepared.entries[row], *prepared.entries[rest]) for row, rest in zip(moved, under, strict=True)]
    mask = np.concatenate([prepared.mask, prepared.mask[moved] & prepared.mask[under]])
    return replace(laid, entries=[*prepared.entries, *both], mask=mask)


def with_as_many_steps(budget, prepared, more, fold):
    """A budget whose epochs are fewer by as much as there is more to train on.

    Parameters
    ----------
    budget : dict
        Settings of a fit; ``epochs`` those of a fit on ``prepared``.
    prepared, more : intensity.Prepared
        Windows before and after something was appended.
    fold : protocols.Fold

    Returns
    -------
    dict
        With as many steps, to half an epoch of the larger set; at least one epoch.
    """
    few, many = (len(intensity.rows_of(windows, fold.train)) for windows in (prepared, more))
    return {**budget, "epochs": max(1, round(budget["epochs"] * few / many))}


def _appended(prepared, more, rows):
    """Windows, and after them some of others."""
    arrays = {name: value for name, value in vars(prepared).items() if isinstance(value, np.ndarray)}
    both = {name: np.concatenate([value, getattr(more, name)[rows]]) for name, value in arrays.items()}
    table = pd.concat([prepared.table, more.table.iloc[rows]], ignore_index=True)
    return replace(
        prepared, **both, table=table, entries=[*prepared.entries, *(more.entries[i] for i in rows)]
    )
