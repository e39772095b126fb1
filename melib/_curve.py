"""Score curves and tables as decoders read them: checked once, for the rules and the learned selector alike."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from melib.errors import DataError


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


def checked(curves, events, subjects, others):
    """What `fit` was given: curves (T_i,) float64, events (N_i, 2) float64, subjects, and kind -> curves."""
    curves = [np.asarray(curve, dtype=float) for curve in curves]
    for curve in curves:
        Curve.read(curve)
    subjects = list(range(len(curves)) if subjects is None else subjects)
    others = {kind: [np.asarray(o, dtype=float) for o in of] for kind, of in (others or {}).items()}
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
