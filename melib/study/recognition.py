"""Which emotion an interval shows, from the logits of its frames.

    frame        0 . . . onset . . . . apex . . . . offset . . .
    logits       n n n n   n  n  p  p   P  p  p  n     n   n n n     (T, 5): four classes and neutral
    score        . . . . . . . / / / / ^ \\ \\ \\ . . . . . .        frames count by it
    interval                |------- positive -------|

`classify_adjusted` weighs evidence; `vote` is the reference's rule, kept as it is coded. Both look at one video.
"""

import re
from collections import Counter

import numpy as np
import pandas as pd
from scipy.special import softmax

from melib import metrics
from melib.errors import DataError

CLASSES = ("negative", "positive", "surprise", "others")
_NAMES = (*CLASSES, "neutral")  # of the logits


def classify_adjusted(intervals, score, logits, *, log_prior=None, evidence=None, reject=True):
    """Give each interval the class for which its frames together speak most.

    Frames count by their score, negative scores as 0; where it is 0 throughout, all count the same.

    Parameters
    ----------
    intervals : DataFrame
        onset, offset (0-based frames of the curves, closed) of one video; other columns are kept.
    score : (T,) float
        Score curve, at least 0 where something moves. NaN marks a frame without a face.
    logits : (T, 5) float
        Of `CLASSES`, and neutral. NaN marks a frame without a face.
    log_prior : (5,) float, optional
        Log share of each class among the frames trained on. It is subtracted (logit adjustment: Menon et al.,
        Long-tail learning via logit adjustment, ICLR 2021), so that rare classes aren't drowned. A class with
        share 0 (-inf) is never chosen: nothing was learned about it.
    evidence : (N, 5) float, optional
        What is known of each interval beside its frames, added to their mean logits (class_priors.py).
    reject : bool
        Drop intervals whose class is neutral. Otherwise neutral is no candidate.

    Returns
    -------
    classified : DataFrame
        The intervals (a rejected one is missing, the index stays) with emotion (text) and probabilities
        p_negative, p_positive, p_surprise, p_others, p_neutral in [0, 1], which sum to 1. An interval without
        any usable frame has no evidence of an expression and counts as neutral.

    Raises
    ------
    DataError
        If an interval isn't inside the curves.

    Examples
    --------
    >>> intervals = pd.DataFrame({"onset": [1], "offset": [2]})
    >>> logits = np.array([[0, 0, 0, 0, 9], [0, 3, 0, 0, 1], [0, 3, 0, 0, 1]])
    >>> classify_adjusted(intervals, np.array([0.1, 0.8, 0.9]), logits)["emotion"].tolist()
    ['positive']
    """
    onsets, offsets, logits = _checked(intervals, logits)
    score = np.asarray(score, dtype=float)
    prior = np.zeros(len(_NAMES)) if log_prior is None else np.asarray(log_prior, dtype=float)
    usable = np.isfinite(score) & np.isfinite(logits).all(axis=1)
    chance = np.zeros((len(intervals), len(_NAMES)))
    for row, (onset, offset) in enumerate(zip(onsets, offsets, strict=True)):
        frames = np.arange(onset, offset + 1)[usable[onset : offset + 1]]
        weight = np.maximum(score[frames], 0)
        if not weight.any():
            weight = np.ones(len(frames))
        if len(frames) == 0:
            chance[row, -1] = 1
            continue
        mean = weight @ logits[frames] / weight.sum() + (0 if evidence is None else evidence[row])
        never = np.isneginf(prior)
        chance[row] = softmax(np.where(never, -np.inf, mean - np.where(never, 0, prior)))
    chosen = (chance if reject else chance[:, :-1]).argmax(axis=1)
    table = intervals.assign(
        emotion=[_NAMES[i] for i in chosen],
        **{f"p_{name}": chance[:, i] for i, name in enumerate(_NAMES)},
    )
    return table[table["emotion"] != "neutral"] if reject else table


def vote(intervals, logits, *, reject=True):
    """Give each interval the class that most of its frames vote for: the reference's rule.

    The neutral logit is set to 0, each frame votes for its highest logit, and the frames onset + 1 to
    offset - 2 are counted (the published code leaves out two frames at the end). Of equally many votes the
    class whose vote came first wins. An interval without such a frame is neutral.

    Parameters
    ----------
    intervals, logits
        As in `classify_adjusted`. NaN frames don't vote.
    reject : bool
        Drop intervals voted neutral. Otherwise frames vote among the expressions only, and an interval
        without an inner frame lets all of its frames vote; without any it gets the first class.

    Returns
    -------
    classified : DataFrame
        The intervals (a rejected one is missing, the index stays) with emotion (text).

    Raises
    ------
    DataError
        As `classify_adjusted`.
    """
    onsets, offsets, logits = _checked(intervals, logits)
    usable = np.isfinite(logits).all(axis=1)
    logits[:, -1] = 0 if reject else -np.inf
    votes = np.where(usable, np.where(usable[:, None], logits, 0).argmax(axis=1), -1)  # (T,), -1 abstains
    emotions = []
    for onset, offset in zip(onsets, offsets, strict=True):
        inner = votes[onset + 1 : max(offset - 1, onset + 1)]
        cast = inner if reject or (inner >= 0).any() else votes[onset : offset + 1]
        count = Counter(cast[cast >= 0].tolist())  # most_common keeps the order of the first votes
        fallback = -1 if reject else 0
        emotions.append(_NAMES[count.most_common(1)[0][0] if count else fallback])
    table = intervals.assign(emotion=pd.Series(emotions, index=intervals.index, dtype="str"))
    return table[table["emotion"] != "neutral"] if reject else table


def unit_ceiling(aus, classes):
    """How well a class can be told by someone who is given the action units exactly.

    Each event gets the most frequent class among the other events with the same set of units (sides don't
    count); of equally frequent ones that which is more frequent over all other events, then the first by
    name. Where no other event has these units, all other events decide. Leaving the event itself out makes
    this what can be learned, not what can be memorised.

    Parameters
    ----------
    aus : (N,) of str
        Annotated units of each event, such as "4+L14"; any separators.
    classes : (N,) of str
        Emotion class of each event.

    Returns
    -------
    ceiling : dict
        predicted ((N,) array of str), accuracy and uf1 (float, over the classes that occur).

    Raises
    ------
    DataError
        If lengths differ or there are fewer than two events.

    Examples
    --------
    >>> ceiling = unit_ceiling(["4", "4", "L12", "R12"], ["negative", "negative", "positive", "positive"])
    >>> ceiling["accuracy"], ceiling["uf1"]
    (1.0, 1.0)
    """
    units = [frozenset(map(int, re.findall(r"\d+", str(text)))) for text in aus]
    true = [str(name) for name in classes]
    if len(units) != len(true) or len(true) < 2:
        raise DataError(
            f"a ceiling needs two or more events with units and class, got {len(units)} and {len(true)}."
        )
    overall, within = Counter(true), Counter(zip(units, true, strict=True))
    predicted = []
    for unit, own in zip(units, true, strict=True):
        others = {name: n - (name == own) for name, n in overall.items()}
        alike = {name: within[unit, name] - (name == own) for name in overall}
        predicted.append(min(overall, key=lambda name: (-alike[name], -others[name], name)))
    hits = np.array(predicted, dtype=object) == np.array(true, dtype=object)
    return {
        "predicted": np.array(predicted, dtype=object),
        "accuracy": float(hits.mean()),
        "uf1": metrics.uf1(true, predicted, sorted(overall)),
    }


def _checked(intervals, logits):
    """Onsets and offsets (int64) inside the curves, and a float64 copy of the logits."""
    logits = np.array(logits, dtype=float)
    if len(intervals) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64), logits
    onsets, offsets = (intervals[name].to_numpy(np.int64) for name in ("onset", "offset"))
    wrong = np.flatnonzero(~((onsets >= 0) & (onsets <= offsets) & (offsets < len(logits))))
    if wrong.size:
        raise DataError(
            f"interval {wrong[0]}, {onsets[wrong[0]]} to {offsets[wrong[0]]}, doesn't lie within the video's "
            f"{len(logits)} frames; decode and classify the same curve."
        )
    return onsets, offsets, logits
