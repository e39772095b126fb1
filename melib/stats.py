"""How sure a number over subjects is: one bootstrap, one swap of pairs, and Holm's correction.

Clips of one face aren't independent, so whole subjects are drawn with replacement, and where training was repeated
training runs as well, crossed with them:

    subjects        a  b  c  d      runs   0  1  2
    as they are     1  1  1  1             1  1  1     ->  estimate
    resample 1      0  1  3  0             0  3  0     ->  the same statistic again
    resample 2      0  2  1  1             1  1  1     ->  ...                           95 % of these: the interval

Nobody else draws subjects (`draws`), cuts off the outer 5 % (`interval`) or swaps pairs (`swaps`). Whoever draws names a
stream of random numbers, (seed, a number of its own), so that the same seed gives the same resamples to all that is
compared.
"""

import math
from functools import lru_cache

import numpy as np

from melib.errors import DataError

# Streams of random numbers.
_BOOTSTRAP, _SWAPS = range(2)
# What rounding alone can make of two equal numbers, or of a spread of 0.
_HAIR = 1e-12


@lru_cache(maxsize=16)
def draws(stream, subjects, runs=1, *, n=2000, lone=False):
    """How often each subject and each run is drawn in each resample.

    Parameters
    ----------
    stream : tuple of int
        Key of the random numbers: (seed, the caller's constant).
    subjects, runs : int
        How many there are.
    n : int
        Number of resamples.
    lone : bool
        Draw a single subject as well. By default there are no resamples then: one person tells nothing about others.

    Returns
    -------
    weight : (n, subjects) int64
        Rows sum to `subjects`. Shared by all that ask for the same, so it can't be written to.
    run_weight : (n, runs) int64
        Rows sum to `runs`.

    Examples
    --------
    >>> weight, run_weight = draws((0, 0), 3, n=2)
    >>> weight.tolist(), run_weight.tolist()
    ([[0, 2, 1], [3, 0, 0]], [[1], [1]])
    """
    picked = _picked(stream, subjects, runs, n, lone)
    weights = tuple(_counts(numbers, size) for numbers, size in zip(picked, (subjects, runs), strict=True))
    for weight in weights:
        weight.setflags(write=False)
    return weights


def interval(samples, *, upper="linear"):
    """Ends of the middle 95 % of resamples.

    Parameters
    ----------
    samples : (n,) or (n, ...) float
        A statistic of each resample. NaN is left out: a resample on which a statistic is undefined (say, one subject with
        one event) tells nothing.
    upper : str
        How numpy.percentile finds the upper end between two samples; "higher" where some are infinite.

    Returns
    -------
    low, high : float64, or (...) float64
        NaN where nothing is defined or there are no resamples.

    Examples
    --------
    >>> [float(end) for end in interval(np.arange(201.0))]
    [5.0, 195.0]
    """
    samples = np.asarray(samples, dtype=float)
    if np.isnan(samples).all():
        nothing = np.full(samples.shape[1:], np.nan)[()]
        return nothing, nothing
    with np.errstate(invalid="ignore"):  # between two infinite samples
        low = np.nanpercentile(samples, 2.5, axis=0)
        high = np.nanpercentile(samples, 97.5, axis=0, method=upper)
    return low, high


def bootstrap(values, subjects, *, n=2000, seed=0, statistic=None, runs=None):
    """Estimate and 95 % interval over subjects.

    Parameters
    ----------
    values : (N,) float, or (N, ...) with `statistic`
        One a clip. NaN (undefined for this clip) is left out.
    subjects : (N,) of str
    n : int
        Number of resamples.
    seed : int
    statistic : function, optional
        (M, ...) values -> float, evaluated on the clips of the drawn subjects; say a correlation over
        events. By default the mean over subjects of each subject's mean, so that no subject counts for
        having more clips.
    runs : (N,) of int, optional
        Seed of the training run behind each value: runs are then drawn too, crossed with the subjects.
        Only with the default statistic.

    Returns
    -------
    estimate, low, high : float
        low and high are NaN with a single subject: one person tells nothing about others.

    Raises
    ------
    DataError
        If no value is left.
    """
    values, subjects = np.asarray(values, dtype=float), np.asarray(subjects)
    if subjects.shape != values.shape[:1]:
        raise DataError(f"bootstrap needs one subject a value, got {subjects.shape} and {values.shape}.")
    keep = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    if not keep.any():
        raise DataError("bootstrap has no value to work on: all are undefined, or there are none.")
    if statistic is not None:
        if runs is not None:
            raise DataError("bootstrap crosses runs with subjects for the default statistic only.")
        values = values[keep]
        people, owner = np.unique(subjects[keep], return_inverse=True)
        clips = [np.flatnonzero(owner == person) for person in range(people.size)]
        estimate = float(statistic(values))
        # Clips in the order drawn: a sum in another order is another number in its last digit.
        picked, _ = _picked((seed, _BOOTSTRAP), people.size, 1, n)
        samples = [float(statistic(values[np.concatenate([clips[i] for i in row])])) for row in picked]
    else:
        means, present = _subject_means(values, subjects, runs, keep)
        estimate = float(means.sum() / present.sum())
        weight, run_weight = draws((seed, _BOOTSTRAP), *means.shape, n=n)
        samples = ((weight @ means) * run_weight).sum(axis=1) / ((weight @ present) * run_weight).sum(axis=1)
    low, high = interval(samples)
    return estimate, float(low), float(high)


def swaps(stream, subjects, *, n=2000, uniform=False):
    """Which subjects have the two sides of a comparison swapped, each with a chance of one half.

    Parameters
    ----------
    stream : tuple of int
        As in `draws`.
    subjects : int
    n : int
        Number of swaps.
    uniform : bool
        Toss by a number in [0, 1) that is below a half, instead of by a choice of two. Both are fair; each table keeps the
        coin that its numbers were made with.

    Returns
    -------
    swapped : (n, subjects) bool
    """
    rng = np.random.default_rng(stream)
    if uniform:
        return rng.random((n, subjects)) < 0.5
    return rng.choice([True, False], size=(n, subjects))


def swap_p(difference, swapped):
    """How often swapping gives as large a difference: two-sided p.

    Parameters
    ----------
    difference : float
        As it came out.
    swapped : (n,) float
        The same after each of the `swaps`.

    Returns
    -------
    p : float
        Never below 1 / (n + 1): the data as they are count as one swap.
    """
    # The unswapped pattern itself must count whatever the order of summation.
    larger = np.count_nonzero(np.abs(swapped) >= abs(difference) - _HAIR)
    return float((larger + 1) / (len(swapped) + 1))


def effect_size(difference, subjects):
    """Cohen's d of pairs: a difference divided by the standard deviation over subjects of what each contributes to it.

    Parameters
    ----------
    difference : float
    subjects : (S,) float

    Returns
    -------
    effect : float
        NaN with one subject or where all contribute the same.
    """
    spread = float(subjects.std(ddof=1)) if subjects.size > 1 else 0.0
    return float(difference / spread) if spread > _HAIR else math.nan


def paired_difference(a, b, subjects, *, n=2000, runs=None):
    """Return the mean difference of two models on the same clips, with its interval and p over subjects.

    Parameters
    ----------
    a, b : (N,) float
        The same clips in the same order; a clip where either is NaN is left out. Several runs of a clip
        may follow each other: they are averaged within their subject.
    subjects : (N,) of str
    n : int
        Resamples, and swaps.
    runs : (N,) of int, optional
        Seed of the training run behind each value: the interval is then drawn over subjects crossed with
        runs.

    Returns
    -------
    difference : dict of float
        - difference: a minus b, mean over subjects of their means
        - low, high: 95 %, bootstrap over subjects, crossed with runs where there are several
        - p: two-sided, from swapping a and b for a random half of the subjects (`swap_p`)
        - effect: mean over subjects of their difference over its standard deviation (`effect_size`)

    Raises
    ------
    DataError
        If shapes differ or nothing is left.
    """
    a, b, subjects = np.asarray(a, dtype=float), np.asarray(b, dtype=float), np.asarray(subjects)
    if not a.shape == b.shape == subjects.shape or a.ndim != 1:
        raise DataError(f"paired values must be equally many, got {a.shape}, {b.shape} and {subjects.shape}.")
    estimate, low, high = bootstrap(a - b, subjects, n=n, runs=runs)
    means, present = _subject_means(a - b, subjects, runs, np.isfinite(a - b))
    # A subject is swapped in all runs at once: its clips are the same in each.
    total = means.sum(axis=1)
    signs = np.where(swaps((0, _SWAPS), len(means), n=n), -1.0, 1.0)
    by_subject = total / present.sum(axis=1)
    return {
        "difference": estimate,
        "low": low,
        "high": high,
        "p": swap_p(estimate, (signs @ total) / present.sum()),
        "effect": effect_size(by_subject.mean(), by_subject),
    }


def holm(p):
    """Adjust the p-values of one family of tests by Holm's step-down rule.

    Whoever calls significant what is at most .05 after it errs anywhere in the family with a chance of at
    most .05, however the tests depend on each other.

    Parameters
    ----------
    p : (n,) float in [0, 1]
        NaN is no test: it stays NaN and doesn't count.

    Returns
    -------
    adjusted : (n,) float64
        In the order given; never below p, at most 1.

    Raises
    ------
    DataError
        If a value lies outside [0, 1].

    Examples
    --------
    >>> holm([0.04, 0.01, float("nan"), 0.03]).round(3).tolist()
    [0.06, 0.03, nan, 0.06]
    """
    p = np.asarray(p, dtype=float)
    counted = np.flatnonzero(~np.isnan(p))
    if not ((p[counted] >= 0) & (p[counted] <= 1)).all():
        raise DataError("holm takes p-values, which lie in [0, 1].")
    rising = counted[np.argsort(p[counted], kind="stable")]
    factor = np.arange(rising.size, 0, -1)  # the smallest is one of all, the largest stands alone
    adjusted = np.full(p.shape, np.nan)
    adjusted[rising] = np.minimum(np.maximum.accumulate(p[rising] * factor), 1)
    return adjusted


# Helpers
# ---------------------------------------------------------------------------------------


def _picked(stream, subjects, runs, n, lone=False):
    """Numbers of the drawn subjects (n, S) and runs (n, R), in the order drawn."""
    rng, n = np.random.default_rng(stream), n if subjects > 1 or lone else 0
    return tuple(rng.integers(size, size=(n, size)) for size in (subjects, runs))


def _counts(picked, size):
    """(n, size) int64: how often each number occurs in each row."""
    row = np.arange(len(picked))[:, None]
    return np.bincount((row * size + picked).ravel(), minlength=len(picked) * size).reshape(-1, size)


def _subject_means(values, subjects, runs, keep):
    """Mean of each subject in each run, 0 where absent, and 1 where present: two (S, R) float arrays."""
    owner = np.unique(subjects[keep], return_inverse=True)[1]
    runs = np.zeros(len(keep)) if runs is None else np.asarray(runs)
    run = np.unique(runs[keep], return_inverse=True)[1]
    shape = owner.max() + 1, run.max() + 1
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, (owner, run), values[keep])
    np.add.at(count, (owner, run), 1)
    return total / np.maximum(count, 1), (count > 0).astype(float)
