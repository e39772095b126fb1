"""How well a curve agrees with another one, and how sure a mean over subjects is.

Ranks are taken after rounding predictions to .01: outside an event the target is exactly 0, so a model
that clamps its output to exact zeros would otherwise gain up to .15 in Spearman over one that says .001.
"""

import math

import numpy as np
from scipy.stats import rankdata

from melib.errors import DataError

# Predictions are compared at this many decimals wherever ranks matter.
_DECIMALS = 2
# Fewest frames inside an event for a rank correlation to mean anything.
_FEWEST_INSIDE = 3
# Rows of the pair matrix that Kendall's tau looks at in one go; bounds its memory for whole videos.
_PAIR_ROWS = 512
# Streams of random numbers.
_BOOTSTRAP, _SWAPS = range(2)


def curve_agreement(predicted, target, mask=None):
    """Agreement of one predicted curve with its target.

    Parameters
    ----------
    predicted, target : (T,) float
    mask : (T,) bool, optional
        False frames (no face) never count, whatever their values.

    Returns
    -------
    agreement : dict of float
        - spearman, kendall (tau-b): of ranks, predictions rounded to .01
        - pearson, ccc (Lin's concordance), mae: of the values as they are
        - apex_error: frames between the two curves' apexes (see `apex_of`)
        - inside_spearman: spearman over frames whose target is above 0; NaN under 3 of them
        - inside_auc: chance that a frame inside is predicted above one outside (ties half), predictions
          rounded

        A constant prediction scores 0 in every correlation, .5 in inside_auc, and its apex is the middle.
        NaN means that there is nothing to agree with: a constant target, or for inside_auc no frame on one
        side.

    Raises
    ------
    DataError
        (a ValueError) If shapes differ, or a frame that counts is NaN or infinite.

    Examples
    --------
    >>> agreement = curve_agreement([0, 0.2, 0.9, 0.4, 0], [0, 0.5, 1, 0.5, 0])
    >>> round(agreement["spearman"], 3), round(agreement["mae"], 3), agreement["inside_auc"]
    (0.973, 0.1, 1.0)
    """
    predicted, target = np.asarray(predicted, dtype=float), np.asarray(target, dtype=float)
    mask = np.ones(predicted.shape, bool) if mask is None else np.asarray(mask, dtype=bool)
    if predicted.ndim != 1 or not predicted.shape == target.shape == mask.shape:
        raise DataError(
            f"curves must be one-dimensional and equally long, got predicted {predicted.shape}, target "
            f"{target.shape}, mask {mask.shape}."
        )
    p, t = predicted[mask], target[mask]
    if not (np.isfinite(p).all() and np.isfinite(t).all()):
        raise DataError("a curve has NaN or infinite values; mask the frames without a face.")
    rounded = np.round(p, _DECIMALS)
    inside = t > 0
    return {
        "spearman": _pearson(rankdata(rounded), rankdata(t)),
        "kendall": _kendall(rounded, t),
        "pearson": _pearson(p, t),
        "ccc": _ccc(p, t),
        "mae": float(np.abs(p - t).mean()) if t.size else math.nan,
        "apex_error": _apex_error(predicted, target, mask),
        "inside_spearman": (
            _pearson(rankdata(rounded[inside]), rankdata(t[inside]))
            if inside.sum() >= _FEWEST_INSIDE
            else math.nan
        ),
        "inside_auc": _auc(rounded, inside),
    }


def apex_of(curves, mask=None):
    """Place of each curve's highest point, between frames.

    Parameters
    ----------
    curves : (N, T) float
    mask : (N, T) bool, optional
        False frames never hold the apex.

    Returns
    -------
    apex : (N,) float64, frames
        The vertex of the parabola through the highest frame and its two neighbours; the middle of the
        plateau where several neighbouring frames are equally high; the frame itself at an end or beside a
        masked frame. The first of several peaks of the same height; NaN where every frame is masked.

    Examples
    --------
    >>> apex_of([[0, 1, 3, 1, 0], [0, 2, 2, 0, 0], [0, 0, 0, 0, 0]]).tolist()
    [2.0, 1.5, 2.0]
    """
    curves = np.array(curves, dtype=float)  # a copy: masked frames are overwritten
    if curves.ndim != 2:
        raise DataError(f"apex_of takes curves of shape (N, T), got {curves.shape}.")
    n, length = curves.shape
    if mask is not None:
        curves[~np.asarray(mask, dtype=bool)] = -np.inf
    if n == 0 or length == 0:
        return np.full(n, np.nan)
    rows, frame = np.arange(n), np.arange(length)
    first = curves.argmax(axis=1)
    height = curves[rows, first]
    # End of the plateau: the last frame before the curve leaves the maximum for the first time.
    below = (curves < height[:, None]) & (frame > first[:, None])
    last = np.where(below.any(axis=1), below.argmax(axis=1) - 1, length - 1)
    apex = (first + last) / 2.0
    before = curves[rows, np.maximum(first - 1, 0)]
    after = curves[rows, np.minimum(first + 1, length - 1)]
    lone = (first == last) & (first > 0) & (first < length - 1) & np.isfinite(before) & np.isfinite(after)
    rise, fall = height[lone] - before[lone], height[lone] - after[lone]  # both above 0
    apex[lone] += (rise - fall) / (2 * (rise + fall))
    return np.where(np.isfinite(height), apex, np.nan)


def clip_swap(predictions, targets, subjects):
    """Mean Spearman with the own target minus that with targets of other subjects.

    0 for whatever knows only position; above 0 only by looking at the clip.

    Parameters
    ----------
    predictions, targets : (N, T) float
    subjects : (N,) of str

    Returns
    -------
    gain : float
        Mean of `clip_swap_each` over the clips whose target isn't constant.

    Raises
    ------
    DataError
        If shapes differ, a value isn't finite, or fewer than two subjects have a clip with an event.

    Examples
    --------
    >>> targets = [[0, 1, 0, 0], [0, 0, 1, 0]]
    >>> clip_swap(targets, targets, ["a", "b"]) > 1, clip_swap([targets[0]] * 2, targets, ["a", "b"])
    (True, 0.0)
    """
    gain = clip_swap_each(predictions, targets, subjects)
    if np.isnan(gain).all():
        raise DataError("clip_swap needs clips with an event from at least two subjects.")
    return float(np.nanmean(gain))


def clip_swap_each(predictions, targets, subjects):
    """`clip_swap` clip by clip, for intervals over subjects.

    A clip's value is Spearman of its own prediction with its target, minus the mean over other subjects'
    predictions with that same target. Swapped this way round, equal predictions give 0 exactly, also where
    subjects have unequally many clips.

    Parameters
    ----------
    predictions, targets, subjects
        As in `clip_swap`.

    Returns
    -------
    gain : (N,) float64
        NaN for a clip whose target is constant: it takes no part, on neither side. All NaN with one
        subject.

    Raises
    ------
    DataError
        If shapes differ or a value isn't finite.
    """
    predictions, targets = np.asarray(predictions, dtype=float), np.asarray(targets, dtype=float)
    subjects = np.asarray(subjects)
    if predictions.ndim != 2 or predictions.shape != targets.shape or subjects.shape != predictions.shape[:1]:
        raise DataError(
            f"clip_swap takes (N, T), (N, T) and (N,), got {predictions.shape}, {targets.shape} and "
            f"{subjects.shape}."
        )
    if not (np.isfinite(predictions).all() and np.isfinite(targets).all()):
        raise DataError("predictions or targets have NaN or infinite values.")
    takes_part = np.ptp(targets, axis=1) > 0
    own = subjects[takes_part]
    gain = np.full(len(subjects), np.nan)
    if np.unique(own).size < 2:
        return gain
    ranks = _unit(rankdata(np.round(predictions[takes_part], _DECIMALS), axis=1))
    rho = ranks @ _unit(rankdata(targets[takes_part], axis=1)).T  # (M, M): prediction i, target j
    other = own[:, None] != own[None, :]
    swapped = np.where(other, rho, 0.0).sum(axis=0) / other.sum(axis=0)
    gain[takes_part] = np.diag(rho) - swapped
    return gain


def bootstrap(values, subjects, *, n=2000, seed=0, statistic=None, runs=None):
    """Estimate and 95 % interval over subjects.

    Subjects are drawn with replacement, since clips of one face aren't independent.

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
    values = values[keep]
    people, owner = np.unique(subjects[keep], return_inverse=True)
    rng = np.random.default_rng([seed, _BOOTSTRAP])
    draws = rng.integers(people.size, size=(n, people.size))
    if statistic is not None:
        if runs is not None:
            raise DataError("bootstrap crosses runs with subjects for the default statistic only.")
        clips = [np.flatnonzero(owner == person) for person in range(people.size)]
        samples = np.array([float(statistic(values[np.concatenate([clips[i] for i in d])])) for d in draws])
        return _interval(float(statistic(values)), samples, people.size)
    means, present = _subject_means(values, owner, None if runs is None else np.asarray(runs)[keep])
    weight = np.stack([np.bincount(draw, minlength=people.size) for draw in draws])  # (n, S)
    n_runs = means.shape[1]
    drawn_runs = rng.integers(n_runs, size=(n, n_runs))
    run_weight = np.stack([np.bincount(draw, minlength=n_runs) for draw in drawn_runs])  # (n, R)
    samples = ((weight @ means) * run_weight).sum(axis=1) / ((weight @ present) * run_weight).sum(axis=1)
    return _interval(float(means.sum() / present.sum()), samples, people.size)


def paired_difference(a, b, subjects, *, n=2000, seed=0):
    """Return the mean difference of two models on the same clips, with its interval and p over subjects.

    Parameters
    ----------
    a, b : (N,) float
        The same clips in the same order; a clip where either is NaN is left out. Several runs of a clip
        may follow each other: they are averaged within their subject.
    subjects : (N,) of str
    n : int
        Resamples, and sign swaps.
    seed : int

    Returns
    -------
    difference : dict of float
        difference (a minus b, mean over subjects of their means), low, high (95 %, bootstrap over
        subjects), p (two-sided: how often swapping a and b for a random half of the subjects gives as
        large a difference; never below 1 / (n + 1)).

    Raises
    ------
    DataError
        If shapes differ or nothing is left.
    """
    a, b, subjects = np.asarray(a, dtype=float), np.asarray(b, dtype=float), np.asarray(subjects)
    if not a.shape == b.shape == subjects.shape or a.ndim != 1:
        raise DataError(f"paired values must be equally many, got {a.shape}, {b.shape} and {subjects.shape}.")
    estimate, low, high = bootstrap(a - b, subjects, n=n, seed=seed)
    keep = np.isfinite(a - b)
    people, owner = np.unique(subjects[keep], return_inverse=True)
    means, _ = _subject_means((a - b)[keep], owner, None)
    signs = np.random.default_rng([seed, _SWAPS]).choice([-1.0, 1.0], size=(n, people.size))
    swapped = (signs @ means[:, 0]) / people.size
    # A hair of tolerance: the unswapped sign pattern itself must count whatever the order of summation.
    larger = np.count_nonzero(np.abs(swapped) >= abs(estimate) - 1e-12)
    return {"difference": estimate, "low": low, "high": high, "p": float((larger + 1) / (n + 1))}


def tie_limit(q):
    """Return the highest Spearman of a curve without ties where a share q of the target is tied.

    Parameters
    ----------
    q : float or (...,) float array in [0, 1]

    Returns
    -------
    limit : float or (...,) float, sqrt(1 - q**3)
        In the limit of long windows, with no other ties.

    Raises
    ------
    DataError
        If a share lies outside [0, 1].

    Examples
    --------
    >>> round(tie_limit(0.6), 2)
    0.89
    """
    q = np.asarray(q, dtype=float)
    if not ((q >= 0) & (q <= 1)).all():
        raise DataError("a tied share lies in [0, 1].")
    limit = np.sqrt(1 - q**3)
    return float(limit) if limit.ndim == 0 else limit


def _interval(estimate, samples, n_subjects):
    if n_subjects < 2:
        return estimate, math.nan, math.nan
    # A resample on which a statistic is undefined (say, one subject with one event) tells nothing.
    low, high = np.nanpercentile(samples, [2.5, 97.5])
    return estimate, float(low), float(high)


def _subject_means(values, owner, runs):
    """Mean of each subject in each run, 0 where absent, and 1 where present: two (S, R) float arrays."""
    run = np.zeros(len(values), int) if runs is None else np.unique(runs, return_inverse=True)[1]
    shape = owner.max() + 1, run.max() + 1
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, (owner, run), values)
    np.add.at(count, (owner, run), 1)
    return total / np.maximum(count, 1), (count > 0).astype(float)


def _unit(rows):
    """Rows with their mean taken out and of length 1; a constant row becomes 0."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


def _pearson(p, t):
    if t.size == 0 or np.ptp(t) == 0:
        return math.nan
    if np.ptp(p) == 0:
        return 0.0
    # Scaled first, so that tiny or huge values neither vanish nor overflow when squared.
    p, t = (p - p.mean()) / np.ptp(p), (t - t.mean()) / np.ptp(t)
    return float(np.clip(p @ t / math.sqrt((p @ p) * (t @ t)), -1, 1))


def _ccc(p, t):
    if t.size == 0 or np.ptp(t) == 0:
        return math.nan
    covariance = ((p - p.mean()) * (t - t.mean())).mean()
    return float(2 * covariance / (p.var() + t.var() + (p.mean() - t.mean()) ** 2))


def _kendall(p, t):
    """Tau-b by counting every ordered pair: windows are short, and whole videos go in blocks of rows."""
    if t.size == 0 or np.ptp(t) == 0:
        return math.nan
    agreeing, different_p, different_t = 0.0, 0, 0
    for start in range(0, t.size, _PAIR_ROWS):
        rows = slice(start, start + _PAIR_ROWS)
        sign_p = np.sign(p[rows, None] - p)
        sign_t = np.sign(t[rows, None] - t)
        agreeing += float((sign_p * sign_t).sum())
        different_p += int(np.count_nonzero(sign_p))
        different_t += int(np.count_nonzero(sign_t))
    if different_p == 0:
        return 0.0
    return agreeing / math.sqrt(different_p * different_t)


def _auc(p, inside):
    """Area under the curve as the Mann-Whitney statistic."""
    n_inside = int(inside.sum())
    n_outside = inside.size - n_inside
    if n_inside == 0 or n_outside == 0:
        return math.nan
    rank_sum = float(rankdata(p)[inside].sum())
    return (rank_sum - n_inside * (n_inside + 1) / 2) / (n_inside * n_outside)


def _apex_error(predicted, target, mask):
    if not mask.any() or np.ptp(target[mask]) == 0:
        return math.nan
    predicted, target = apex_of(np.stack([predicted, target]), np.stack([mask, mask]))
    return float(abs(predicted - target))
