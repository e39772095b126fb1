"""How well curves and intervals agree with the truth.

Curves: ranks are taken after rounding predictions to .01: outside an event the target is exactly 0, so a
model that clamps its output to exact zeros would otherwise gain up to .15 in Spearman over one that says
.001.

Intervals: tables with one row an interval, columns subject, video, onset, offset (frames, closed; a negative
onset is legal) and where it matters emotion. Counts are pooled over all videos before a score is
formed.

    frame       0 1 2 3 4 5 6 7 8 9
    truth           |-------|              [2, 6], 5 frames
    predicted         |---------|          [3, 8], 6 frames      IoU = 4 shared / 7 in either
"""

import difflib
import math
import warnings
from collections import Counter
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from melib.errors import DataError

# Predictions are compared at this many decimals wherever ranks matter.
_DECIMALS = 2
# Fewest frames inside an event for a rank correlation to mean anything.
_FEWEST_INSIDE = 3
# Rows of the pair matrix that Kendall's tau looks at in one go; bounds its memory for whole videos.
_PAIR_ROWS = 512
# The least overlap of a true positive in every challenge of the field (inclusive frames).
_IOU = 0.5
# Overlaps over which F1 is averaged where no single one shall decide.
IOUS = (0.3, 0.4, 0.5, 0.6, 0.7)
# The field's coarse classes, which a truth may have although this one hasn't.
_CLASSES = ("negative", "positive", "surprise", "others")


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


# Intervals
# ---------------------------------------------------------------------------------------


def spotting(predicted, truth, iou=0.5, videos=None):
    """Count found, missed and invented intervals, blind to emotion.

    Parameters
    ----------
    predicted, truth : DataFrame
        subject, video, onset, offset (frames, closed; after sampling also between two frames); other columns
        are ignored. Tables without a row are legal.
    iou : float in (0, 1]
        Least intersection over union of a true positive, in frames, both ends included.
    videos : DataFrame, optional
        subject, video: only these are scored. By default all that occur in either table.

    Returns
    -------
    counts : dict
        tp, fp, fn (int), precision, recall, f1 (float, 0 with a zero denominator), matches (DataFrame:
        predicted, truth, the labels of the rows in the tables' index, and iou). Within a video the matching
        is one to one, of as many pairs as possible, and among those of largest total IoU, so the order of
        rows changes nothing.

    Raises
    ------
    DataError
        If a column is missing, a frame is no number, an interval ends before it starts, or something
        is predicted in a video that isn't listed.

    Examples
    --------
    >>> truth = pd.DataFrame({"subject": ["1"], "video": ["a"], "onset": [2], "offset": [6]})
    >>> counts = spotting(truth.assign(onset=3, offset=8), truth)
    >>> counts["tp"], counts["fp"], counts["fn"], counts["matches"]["iou"].round(3).tolist()
    (1, 0, 0, [0.571])
    """
    return _counts(predicted, truth, iou, videos)


def end_to_end(predicted, truth, iou=0.5, videos=None):
    """Count intervals that are found and whose emotion is right; anything else is wrong.

    Parameters
    ----------
    predicted, truth, iou, videos
        As in `spotting`, with a column emotion. The matching is maximal among pairs of the same emotion.

    Returns
    -------
    counts : dict
        As `spotting` returns.

    Raises
    ------
    DataError
        As `spotting`; also if an emotion is missing.
    """
    return _counts(predicted, truth, iou, videos, "emotion")


def strs(predicted, truth, emotions=None, rule="strict"):
    """Spot-then-recognise score: F1 of spotting times F1 of recognising what was spotted.

    Parameters
    ----------
    predicted, truth : DataFrame
        subject, video, onset, offset, emotion.
    emotions : sequence of str, optional
        The classes that recognition is judged on: pairs whose true emotion is another are left out, and
        macro means run over these. By default all of the truth's.
    rule : {"strict", "megc", "boosting"}
        - strict: the matching of `spotting`; every subject and video counts; a class with a zero denominator
          scores 0.
        - megc: the public scorer (github.com/genbing99/STRS-Metric). Only subjects with a prediction, and
          only their videos with a truth; predictions in the order of rows, each takes every free truth with
          IoU >= .5; a row whose offset lies before its onset holds no frame, so it overlaps none. An emotion that
          all pairs have, or none, scores 0.
        - boosting: the scorer of BoostingVRME (arXiv 2508.18834). Only videos with a truth; predictions in
          the order of time, each tries its best truth only (the last row of equally good ones). An emotion
          that all pairs have, or none, is left out of the macro means.

    Returns
    -------
    score : dict
        tp, fp, fn (int), precision, recall, spotting_f1 (float, 0 with a zero denominator), recognition_f1
        (harmonic mean of macro precision and macro recall) and strs. Where megc and boosting divide by zero
        or stop with an error (no pair is right, or there is none) recognition_f1 and strs are NaN; strict
        gives 0.

    Raises
    ------
    DataError
        If the rule is unknown or a table can't be read as `spotting` says; but for megc also if an offset lies
        before its onset.

    Warns
    -----
    UserWarning
        If an emotion is predicted that no truth can have, such as ``Negative`` for ``negative``.

    Examples
    --------
    >>> truth = pd.DataFrame({"subject": ["1"] * 2, "video": ["a"] * 2, "onset": [0, 50], "offset": [9, 59],
    ...                       "emotion": ["negative", "surprise"]})
    >>> score = strs(truth.head(1), truth)
    >>> round(score["spotting_f1"], 3), score["recognition_f1"], round(score["strs"], 3)
    (0.667, 0.5, 0.333)
    """
    if rule not in _RULES:
        raise DataError(f"there is no rule {rule!r}; use {', '.join(_RULES)}.")
    p = _intervals(predicted, "predicted", "emotion", empty=rule == "megc")
    t = _intervals(truth, "truth", "emotion", empty=rule == "megc")
    _say_strange(p.label, {*t.label, *(emotions or ())})
    pairs, scored = _RULES[rule](p, t)
    fp = sum(place in scored for place in p.place) - len({row for row, _ in pairs})
    fn = sum(place in scored for place in t.place) - len(pairs)
    emotions = sorted(set(t.label)) if emotions is None else list(emotions)
    true, predicted = [t.label[row] for _, row in pairs], [p.label[row] for row, _ in pairs]
    score = _ratios(len(pairs), fp, fn)
    f1, recognised = score.pop("f1"), _macro_f1(true, predicted, emotions, rule)
    return {**score, "spotting_f1": f1, "recognition_f1": recognised, "strs": f1 * recognised}


def f1_over_iou(predicted, truth, ious=IOUS, videos=None):
    """F1 of `spotting` at several thresholds, (len(ious),) float64."""
    return np.array([spotting(predicted, truth, iou, videos)["f1"] for iou in ious])


def found_in_order(predicted, truth, iou=0.5):
    """How many true intervals the m surest ones find, (N,) int64 for m = 1 to N; tables as in `average_precision`.

    Each number is the tp of `spotting`. An interval that comes later never loosens a pair, so that all N take one pass.
    """
    p, t = _intervals(predicted, "predicted", "score"), _intervals(truth, "truth")
    _check_iou(iou)
    owner: dict[int, int] = {}
    fitting = {
        row: np.array(columns, dtype=int)[fits].tolist()
        for _, rows, columns, overlap in _videos(p, t)
        for row, fits in zip(rows, overlap >= iou, strict=True)
    }

    def find_free(row, tried):
        for column in fitting[row]:
            if column not in tried:
                tried.add(column)
                if column not in owner or find_free(owner[column], tried):
                    owner[column] = row
                    return True
        return False

    return np.cumsum(
        [find_free(row, set()) for row in np.argsort(-p.label, kind="stable").tolist()], dtype=int
    )


def average_precision(predicted, truth, iou=0.5):
    """Area under precision over recall, when intervals are taken in the order of their confidence.

    Parameters
    ----------
    predicted : DataFrame
        subject, video, onset, offset, score (any finite numbers; only their order counts).
    truth : DataFrame
        subject, video, onset, offset.
    iou : float in (0, 1]

    Returns
    -------
    ap : float in [0, 1]
        Precision at each recall is the best at that recall or a higher one (all points, as in PASCAL VOC
        from 2010 on). In order of score each interval takes the free truth of its video with which it
        overlaps most. Equal scores enter together, so they say nothing about order. NaN without any truth.

    Raises
    ------
    DataError
        As `spotting`; also if a score is missing or infinite.
    """
    p, t = _intervals(predicted, "predicted", "score"), _intervals(truth, "truth")
    _check_iou(iou)
    n_true = len(t.place)
    if n_true == 0:
        return math.nan
    order = sorted(range(len(p.place)), key=lambda i: (-p.label[i], p.place[i], p.onset[i], p.offset[i]))

    def best_of_free(overlap, free):
        best = int(np.where(free, overlap, -1).argmax())
        return [best] if overlap[best] >= iou and free[best] else []

    hit = np.isin(order, [row for row, _ in _taken_in_turn(p, t, order, best_of_free)])
    last = np.flatnonzero(np.diff(p.label[order], append=np.inf))  # of each run of equal scores
    hits = np.cumsum(hit)[last]
    precision = np.maximum.accumulate((hits / (last + 1))[::-1])[::-1]
    return float((np.diff(hits, prepend=0) / n_true) @ precision)


def timing_errors(predicted, truth, matches, fps):
    """How far the landmarks of matched intervals lie from the true ones.

    Parameters
    ----------
    predicted, truth : DataFrame
        onset, apex, offset, frames; apex may be missing.
    matches : DataFrame
        As `spotting` returns for these two tables.
    fps : float
        Frames a second.

    Returns
    -------
    errors : DataFrame
        onset, apex, offset, one row a match: predicted minus true, in milliseconds; NaN where an apex is
        missing.

    Raises
    ------
    DataError
        If fps isn't above 0.
    """
    if not fps > 0:
        raise DataError(f"fps is {fps}; give the frames a second.")

    def frames(table, rows, landmark):
        if landmark not in table:
            return np.full(len(rows), np.nan)
        return _numbers(table.loc[rows, landmark])

    errors = {
        landmark: frames(predicted, matches["predicted"], landmark)
        - frames(truth, matches["truth"], landmark)
        for landmark in ("onset", "apex", "offset")
    }
    return pd.DataFrame(errors) * (1000 / fps)


def recall_by(truth, matches, column, bins=None):
    """Recall in groups of events: by amplitude, by duration, overlapped against isolated.

    Parameters
    ----------
    truth : DataFrame
        The table that was scored, with the column.
    matches : DataFrame
        As `spotting` returns.
    column : str
        What to group by.
    bins : sequence of float, optional
        Rising borders: groups are [a, b), the last one closed. By default each value is a group.

    Returns
    -------
    groups : DataFrame
        group (text), events, found (int), recall (NaN in an empty group). Events without a value or outside
        all bins form a last group, "elsewhere", where there are any.
    """
    group, order = truth[column], sorted(truth[column].dropna().unique())
    if bins is not None:
        borders = np.asarray(bins, dtype=float)
        if borders.size < 2 or not (np.diff(borders) > 0).all():
            raise DataError(f"bins must be two or more rising borders, got {list(bins)}.")
        order = [f"{low:g} to {high:g}" for low, high in pairwise(borders)]
        borders[-1] = np.nextafter(borders[-1], np.inf)  # closed
        group = pd.cut(pd.Series(_numbers(group), truth.index), borders, right=False, labels=order)
    named = pd.Series(np.where(group.isna(), "elsewhere", group.astype(str)), truth.index)
    order = [str(name) for name in order] + ["elsewhere"] * bool(group.isna().any())
    spotted = pd.Series(truth.index.isin(matches["truth"]), truth.index)
    counts = spotted.groupby(named).agg(["size", "sum"]).reindex(order, fill_value=0).to_numpy(int)  # (G, 2)
    table = pd.DataFrame({"group": order, "events": counts[:, 0], "found": counts[:, 1]})
    return table.assign(recall=table["found"] / table["events"].where(table["events"] > 0))


def uf1(true, predicted, classes):
    """Unweighted F1: mean over classes of 2 TP / (2 TP + FP + FN).

    Parameters
    ----------
    true, predicted : (N,) of str
    classes : sequence of str
        Samples whose true class is another are left out. A class that never occurs counts 0, so that no
        average flatters; give only the classes that the task has.

    Returns
    -------
    uf1 : float in [0, 1]
    """
    _say_strange(predicted, {*true, *classes})
    tp, n_true, n_predicted, _ = _class_counts(true, predicted, classes)
    return float((2 * tp / np.maximum(n_true + n_predicted, 1)).mean())


# Correlations
# ---------------------------------------------------------------------------------------


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


# Tables as arrays, and their matching
# ---------------------------------------------------------------------------------------


class _Intervals(NamedTuple):
    """A checked table as arrays, in the order of its rows."""

    place: list[tuple[str, str]]  # subject, video
    onset: np.ndarray  # (N,) float64
    offset: np.ndarray  # (N,) float64
    label: np.ndarray  # (N,) emotion (object) or score (float64) where it is needed, else zeros

    def in_time(self):
        """All rows in an order of their own, so that ties don't hang on the table's."""
        return sorted(range(len(self.onset)), key=lambda i: (self.onset[i], self.offset[i], self.label[i]))

    def rows(self, order=None):
        """(subject, video) -> its rows, in their order or that given."""
        rows: dict[tuple[str, str], list[int]] = {}
        for row in range(len(self.place)) if order is None else order:
            rows.setdefault(self.place[row], []).append(int(row))
        return rows


def _intervals(table, name, needed=None, empty=False):
    """Read the columns subject, video, onset, offset and the needed one (emotion or score).

    An offset before its onset is refused, unless ``empty`` intervals may be.
    """
    columns = ["subject", "video", "onset", "offset"] + ([needed] if needed else [])
    if len(table) == 0:
        return _Intervals([], np.empty(0), np.empty(0), np.empty(0))
    _need(table, name, columns)
    onset, offset = _numbers(table["onset"]), _numbers(table["offset"])
    label = np.zeros(len(table))
    faults = [
        (~np.isfinite(frames), f": {column} {{{column}}} is no frame number")
        for column, frames in (("onset", onset), ("offset", offset))
    ]
    faults.append(((offset < onset) & (not empty), ": offset {offset} lies before onset {onset}"))
    for column in [column for column in columns if column in ("subject", "video", "emotion")]:
        faults.append(((table[column].isna() | (table[column] == "")).to_numpy(), f" has no {column}"))
    if needed == "emotion":
        label = np.array([str(emotion) for emotion in table["emotion"]], dtype=object)
    elif needed == "score":
        label = _numbers(table["score"])
        faults.append((~np.isfinite(label), " has no finite score"))
    for wrong, fault in faults:
        for row in np.flatnonzero(wrong):
            reason = fault.format(**table[columns].iloc[row])
            raise DataError(f"{name}, row {row}{reason}; correct or remove that row.")
    return _Intervals(_places(table), onset, offset, label)


def _need(table, name, columns):
    lacking = [column for column in columns if column not in table]
    if lacking:
        raise DataError(f"{name} has no column {lacking[0]}; it needs {', '.join(columns)}.")


def _numbers(column):
    return pd.to_numeric(column, errors="coerce").to_numpy(float, na_value=np.nan)


def _places(table):
    return [
        (str(subject), str(video)) for subject, video in zip(table["subject"], table["video"], strict=True)
    ]


def _overlap(p, p_rows, t, t_rows):
    """Intersection over union of closed intervals in frames: (P, T) float64, 0 where both are empty."""
    onset, offset = p.onset[p_rows, None], p.offset[p_rows, None]
    start, stop = t.onset[None, t_rows], t.offset[None, t_rows]
    shared = np.maximum(np.minimum(offset, stop) - np.maximum(onset, start) + 1, 0)
    union = np.maximum(offset - onset + 1, 0) + np.maximum(stop - start + 1, 0) - shared
    return np.divide(shared, union, out=np.zeros(shared.shape), where=union > 0)


def _check_iou(iou):
    if not 0 < iou <= 1:
        raise DataError(f"iou is {iou}; a least overlap lies above 0 and at most at 1.")


def _videos(p, t, p_order=None, t_order=None):
    """Each video that occurs: (subject, video), predicted rows, true rows, and their overlaps (P, T)."""
    predicted, true = p.rows(p_order), t.rows(t_order)
    for place in dict.fromkeys([*predicted, *true]):
        rows, columns = predicted.get(place, []), true.get(place, [])
        yield place, rows, columns, _overlap(p, rows, t, columns)


def _matches(p, t, iou, same_label=False):
    """Largest one-to-one matching a video, then largest total IoU: (predicted row, true row, IoU), sorted."""
    _check_iou(iou)
    matches = []
    for _, rows, columns, overlap in _videos(p, t, p.in_time(), t.in_time()):
        fits = overlap >= iou
        if same_label:
            fits &= p.label[rows, None] == t.label[None, columns]
        # One more pair outweighs whatever all overlaps together could gain.
        gain = np.where(fits, min(fits.shape) + 1 + overlap, 0)
        for i, j in zip(*linear_sum_assignment(gain, maximize=True), strict=True):
            if fits[i, j]:
                matches.append((rows[i], columns[j], float(overlap[i, j])))
    return sorted(matches)


def _taken_in_turn(p, t, order, choose):
    """(predicted row, true row) where predictions take their truths in turn.

    ``choose(overlap, free)``, both (T,), names the places in its video that a prediction takes.
    """
    pairs = []
    for _, rows, columns, overlap in _videos(p, t, order):
        free = np.ones(len(columns), bool)
        for row, shared in zip(rows, overlap, strict=True) if columns else ():
            taken = choose(shared, free)
            free[taken] = False
            pairs += [(row, columns[place]) for place in taken]
    return pairs


def _counts(predicted, truth, iou, videos, same=None):
    """Counts of the largest matching, among pairs that share the column ``same`` where one is named."""
    p, t = _intervals(predicted, "predicted", same), _intervals(truth, "truth", same)
    n_true = len(t.place)
    if videos is not None:
        _need(videos, "the list of videos", ["subject", "video"])
        listed = set(_places(videos))
        stray = next((place for place in p.place if place not in listed), None)
        if stray is not None:
            raise DataError(
                f"something is predicted in {'/'.join(stray)}, which isn't among the {len(listed)} videos to "
                "score; list that video or remove the prediction."
            )
        n_true = sum(place in listed for place in t.place)  # the others have nothing to be matched with
    matches = _matches(p, t, iou, same is not None)
    table = {
        "predicted": predicted.index[[row for row, _, _ in matches]],
        "truth": truth.index[[column for _, column, _ in matches]],
        "iou": np.array([overlap for _, _, overlap in matches], float),
    }
    tp = len(matches)
    return _ratios(tp, len(p.place) - tp, n_true - tp) | {"matches": pd.DataFrame(table)}


def _ratios(tp, fp, fn):
    return {
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "precision": tp / max(tp + fp, 1),
        "recall": tp / max(tp + fn, 1),
        "f1": 2 * tp / max(2 * tp + fp + fn, 1),
    }


def _strict(p, t):
    """Pairs (predicted row, true row), and the videos that are scored; so do all rules."""
    return [(row, true) for row, true, _ in _matches(p, t, _IOU)], {*p.place, *t.place}


def _megc(p, t):
    """Every free truth that overlaps enough is taken, several by one prediction too."""
    subjects = {subject for subject, _ in p.place}
    pairs = _taken_in_turn(p, t, None, lambda overlap, free: np.flatnonzero((overlap >= _IOU) & free))
    return pairs, {place for place in t.place if place[0] in subjects}


def _boosting(p, t):
    """Only the best truth is tried; one that is taken already makes a false positive."""

    def best_if_free(overlap, free):
        best = overlap.size - 1 - int(overlap[::-1].argmax())  # the last of equally good ones
        return [best] if overlap[best] >= _IOU and free[best] else []

    return _taken_in_turn(p, t, np.argsort(p.onset, kind="stable"), best_if_free), {*t.place}


_RULES = {"strict": _strict, "megc": _megc, "boosting": _boosting}


def _say_strange(predicted, possible):
    """Warn of predicted classes that no truth can have: they are misspelt, or of another task.

    A coarse class that this truth happens to lack is none, unless the truth spells it otherwise.
    """

    def plain(label):
        return str(label).strip().lower()

    known = {*_CLASSES} - {plain(label) for label in possible} | {*possible}
    strange = Counter(str(label) for label in predicted if label not in known)
    if not strange:
        return
    named = []
    for name, n in strange.most_common(5):
        near = difflib.get_close_matches(name.strip().lower(), map(str, possible), 1)
        named.append(f'{n} "{name}"' + (f" ({near[0]}?)" if near else ""))
    warnings.warn(
        f"classes are predicted that no truth has, which counts as wrong: {', '.join(named)}; spell them as the truth does.",
        stacklevel=3,
    )


def _class_counts(true, predicted, classes):
    """Right, true and predicted of each class (K,) where the true one is among the classes; how many these are."""
    true, predicted = np.asarray(true, dtype=object), np.asarray(predicted, dtype=object)
    index = pd.Index(dict.fromkeys(classes), dtype=object)
    if true.shape != predicted.shape or index.empty:
        raise DataError(
            f"recognition needs as many predicted classes as true ones and a class to judge, got "
            f"{predicted.shape}, {true.shape} and {len(index)} classes."
        )
    true, predicted, n = index.get_indexer(true), index.get_indexer(predicted), len(index)
    true, predicted = true[true >= 0], predicted[true >= 0]
    counted = (true[true == predicted], true, predicted[predicted >= 0])
    return *(np.bincount(indices, minlength=n) for indices in counted), true.size


def _macro_f1(true, predicted, emotions, rule):
    """Harmonic mean of macro precision and macro recall, zero denominators as the rule has it."""
    if not emotions:
        return 0.0 if rule == "strict" else math.nan
    tp, n_true, n_predicted, n = _class_counts(true, predicted, emotions)
    lone = (n_true + n_predicted == 0) | (tp == n)  # a confusion matrix of one cell
    counted = ~lone if rule == "boosting" else np.full(lone.shape, True)
    tp = np.where(lone & (rule == "megc"), 0, tp)
    precision, recall = (tp / np.maximum(n_predicted, 1))[counted], (tp / np.maximum(n_true, 1))[counted]
    if not precision.any():
        return 0.0 if rule == "strict" else math.nan
    p, r = float(precision.mean()), float(recall.mean())
    return 2 * p * r / (p + r)
