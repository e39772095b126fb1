"""Score curves and tables as decoders read them: checked once, for the rules and the learned selector alike."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from melib.errors import DataError

# Steps that an event of median length is divided into; none is shorter than this many frames, since more would say nothing.
_STEPS_AN_EVENT = 16
_SHORTEST_STEP = 0.5
# From the middles of an interval's first and last frame to its ends.
_OUTWARDS = np.array([-0.5, 0.5])


class Curve(NamedTuple):
    """A checked curve: scores with the lowest one at masked frames, and which frames are scored."""

    filled: np.ndarray  # (T,) float64
    scored: np.ndarray  # (T,) bool

    @classmethod
    def read(cls, scores):
        scores = np.asarray(scores, dtype=float)
        if scores.ndim != 1:
            raise DataError(
                f"a decoder takes one curve (T,), got shape {scores.shape}; pass one video at a time."
            )
        if np.isinf(scores).any():
            raise DataError(
                f"the score of frame {int(np.isinf(scores).argmax())} is infinite; "
                "mark frames without a score by NaN."
            )
        scored = ~np.isnan(scores)
        return cls(np.where(scored, scores, scores[scored].min() if scored.any() else 0.0), scored)

    @property
    def ranked(self):
        """Scores (T,) with masked frames below every other."""
        return np.where(self.scored, self.filled, -np.inf)


class Steps(NamedTuple):
    """Time in equal shares of an event of median length instead of frames; the middle of step 0 is that of frame 0.

    A curve is the line through its scores, so that the frame rate which it was sampled at hardly matters.
    """

    frames: float  # that a step lasts

    @classmethod
    def for_prior(cls, prior):
        return cls(max(float(np.exp(prior.duration.log_mean)) / _STEPS_AN_EVENT, _SHORTEST_STEP))

    def prior(self, prior):
        """The same prior with steps for frames."""
        own = prior.duration
        duration = dataclasses.replace(
            own,
            fps=own.fps / self.frames,
            log_mean=own.log_mean - float(np.log(self.frames)),
            half_length=max(1, round(own.half_length / self.frames)),
        )
        return dataclasses.replace(prior, duration=duration)

    def curve(self, scores):
        """The line through the scores (T,) at each step, (K,); NaN where the frame in its middle is masked.

        Of steps longer than a frame the mean over what a frame doesn't last itself.
        """
        curve = Curve.read(scores)
        n = curve.filled.size
        middle = self.frames * np.arange(int((n - 1) / self.frames) + 1 if n else 0)
        if not curve.scored.any():
            return np.full(middle.size, np.nan)
        points = 2 * int(np.ceil(self.frames))
        within = max(self.frames - 1, 0) * ((np.arange(points) + 0.5) / points - 0.5)
        known = np.flatnonzero(curve.scored)
        line = np.interp(middle[:, None] + within, known, curve.filled[known]).mean(axis=1)
        return np.where(curve.scored[np.rint(middle).astype(int).clip(max=n - 1)], line, np.nan)

    def spans(self, spans):
        """Onset and offset (N, 2), closed, from frames to steps, between whole ones."""
        return (spans + _OUTWARDS) / self.frames - _OUTWARDS

    def intervals(self, table, scores):
        """Intervals from steps to whole frames of the curve (T,), their apexes to the nearest scored frame within."""
        scored = np.flatnonzero(~np.isnan(np.asarray(scores, dtype=float)))
        spans = (table[["onset", "offset"]].to_numpy(float) + _OUTWARDS) * self.frames - _OUTWARDS
        onset, offset = np.floor(spans + 0.5).astype(int).clip(0, len(scores) - 1).T
        offset = np.maximum(onset, offset)
        rows = []
        for on, off, apex, score in zip(
            onset, offset, table["apex"] * self.frames, table["score"], strict=True
        ):
            inside = scored[np.searchsorted(scored, on) : np.searchsorted(scored, off, side="right")]
            if inside.size:
                rows.append((on, inside[np.abs(inside - apex).argmin()], off, score))
        return interval_table(rows)


def ranks(scores):
    """Rank of each score within its curve, (T,) in (0, 1); NaN stays. What another unit would round to the same is equal."""
    curve = Curve.read(scores)
    out = np.full(curve.filled.size, np.nan)
    if curve.scored.any():
        known = curve.filled[curve.scored]
        known = np.round((known - known.min()) / (np.ptp(known) or 1.0), 12)
        out[curve.scored] = (rankdata(known) - 0.5) / known.size
    return out


def interval_table(rows):
    table = pd.DataFrame(rows, columns=["onset", "apex", "offset", "score"])
    table = table.astype({"onset": "int64", "apex": "int64", "offset": "int64", "score": "float64"})
    return table.sort_values("onset", kind="stable", ignore_index=True)


def events_of_all(truth):
    """Events (N_i, 2) of several curves as one table, subject, video, onset, offset: video is the number of the curve."""
    spans = np.concatenate([np.zeros((0, 2)), *truth])
    video = np.repeat(np.arange(len(truth)), [len(events) for events in truth])
    return pd.DataFrame(spans, columns=["onset", "offset"]).assign(subject="any", video=video)


def numbered(subjects):
    """Number (N,) int of each subject, by first occurrence."""
    names = {subject: i for i, subject in enumerate(dict.fromkeys(subjects))}
    return np.array([names[subject] for subject in subjects], dtype=int)


def checked(curves, events, subjects, others):
    """What `fit` was given: curves (T_i,) float64, events (N_i, 2) float64, subjects, and kind -> curves."""
    curves = [np.asarray(curve, dtype=float) for curve in curves]
    for curve in curves:
        Curve.read(curve)
    subjects = list(range(len(curves)) if subjects is None else subjects)
    others = {kind: [np.asarray(o, dtype=float) for o in given] for kind, given in (others or {}).items()}
    for what, given in (("tables of events", events), ("subjects", subjects), *others.items()):
        if len(given) != len(curves):
            raise DataError(f"{len(curves)} curves, but {len(given)} {what}; give one a curve.")
    for kind, given in others.items():
        for number, (curve, other) in enumerate(zip(curves, given, strict=True)):
            if other.shape != curve.shape:
                raise DataError(
                    f"the {kind} curve of video {number} has shape {other.shape}, its scores {curve.shape}; "
                    "give it one value a frame."
                )
    return curves, [_spans(table, number) for number, table in enumerate(events)], subjects, others


def _spans(table, number):
    """Onset and offset (N, 2) float64 of one curve's events."""
    if not {"onset", "offset"} <= set(table.columns):
        raise DataError(f"the events of curve {number} need the columns onset and offset.")
    try:
        spans = table[["onset", "offset"]].to_numpy(float)
    except (TypeError, ValueError):
        spans = np.array([[np.nan, np.nan]])
    if not np.isfinite(spans).all() or (spans[:, 1] < spans[:, 0]).any():
        raise DataError(
            f"an event of curve {number} has no onset or offset in frames, or ends before it starts; "
            "correct or remove it."
        )
    return spans
