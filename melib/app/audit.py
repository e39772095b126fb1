"""Hold anybody's intensity curves against what knows the position alone: no pixel, no weights, no code of theirs needed.

    CURVES.csv   subject, video, frame, intensity [, fold]     a row a frame; frames counted as in EVENTS
    EVENTS.csv   subject, video, onset, apex, offset [, fps]   a row a micro-expression, onset and offset included

A clip cut at its annotation tells its intensity by position. So each measure stands beside the same measure of
`position_only`, the mean target of the other subjects, which never saw a pixel, with the paired interval of the difference;
and the clip swap asks whether a curve fits its own clip better than those of other people.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from melib import controls, metrics, priors, stats
from melib.app.interval_files import numbers_of, read_text_table
from melib.errors import DataError
from melib.paper.answers import interval_text
from melib.study.evaluation import swaps_within_folds
from melib.study.results import records

# Places in a window that curves of unequal length are read off at, to be compared with each other.
_PLACES = 64
# Frame numbers closer than this are times: at 10 frames a second two frames lie .1 s apart.
_SECONDS = 0.1
# Resamples behind an interval of a pooled correlation, which ranks every frame anew each time.
_POOLED = 400
_FEWEST = 3  # frames that a correlation takes
_SURE = 0.05  # level of p and intervals
NUMBERS = ("frame", "intensity", "onset", "apex", "offset", "fps")
MEASURES = (
    "spearman",
    "kendall",
    "spearman_pooled",
    "kendall_pooled",
    "inside_spearman",
    "inside_auc",
    "apex_error",
    "clip_swap",
)


@dataclass(frozen=True)
class AuditedClip:
    """One video's curve beside its target.

    Without a column ``fold`` each subject is a fold of its own; ``curve`` (T,) float64, NaN where no intensity is given;
    ``target`` (T,) float64, the triangle of the annotation; ``apex`` in samples of the curve, NaN where the video holds
    several events; ``milliseconds`` of one sample, NaN where nobody knows the frame rate; ``cut``: the curve begins at the
    onset and ends at the offset.
    """

    subject: str
    video: str
    fold: str
    curve: np.ndarray
    target: np.ndarray
    apex: float
    milliseconds: float
    cut: bool

    @property
    def mask(self) -> np.ndarray:
        """Frames with an intensity, (T,) bool."""
        return np.isfinite(self.curve)


@dataclass(frozen=True)
class CurveAudit:
    """What was measured, and what a reader must know of it.

    Attributes
    ----------
    table : DataFrame
        A row a measure: measure, curves, low, high (estimate over subjects with its 95 % interval), position_only,
        difference, difference_low, difference_high, p (of the pair, by swaps over subjects), tie_limit, clips, subjects.
    verdict : str
        One sentence.
    notes : list of str
    """

    table: pd.DataFrame
    verdict: str
    notes: list[str]


def audit_curves(curves: pd.DataFrame, events: pd.DataFrame, *, fps: float | None = None) -> CurveAudit:
    """Compare curves with the annotation's triangle, and with what position alone scores.

    Parameters
    ----------
    curves : DataFrame
        subject, video, frame, intensity; optionally fold: the group of subjects that one model was tested on. Position
        alone then leaves the whole fold out, and clips are swapped within it, as `melib.study.evaluation` does.
    events : DataFrame
        subject, video, onset, apex, offset; optionally fps.
    fps : float, optional
        Frames a second of all videos.

    Returns
    -------
    CurveAudit

    Raises
    ------
    DataError
        If a column is missing, a frame occurs twice or at uneven steps, or fewer than two subjects are left.
    """
    clips, notes = _clips(_checked(curves, "curves", ("frame", "intensity")), _checked_events(events), fps)
    subjects = np.array([clip.subject for clip in clips])
    if len(set(subjects)) < 2:
        raise DataError(
            f"position alone is the mean of other subjects, and only {len(set(subjects))} subject has a clip "
            f"that can be scored ({'; '.join(notes) or 'none was left out'}); give curves of two subjects or more."
        )
    clips, note = _in_unit(clips)
    notes += note
    lengths = {len(clip.curve) for clip in clips}
    places = lengths.pop() if len(lengths) == 1 else _PLACES
    targets = np.stack([_at_places(clip.target, places) for clip in clips])  # (N, P)
    folds = np.array([clip.fold for clip in clips])
    position = np.empty_like(targets)
    for fold in np.unique(folds):
        inside = folds == fold
        position[inside] = controls.position_only(targets[~inside], int(inside.sum()))
    alone = [_at_places(row, len(clip.curve)) for row, clip in zip(position, clips, strict=True)]
    given = [clip.curve for clip in clips]

    rows = [_pair(name, *values, subjects) for name, values in _per_clip(clips, given, alone).items()]
    rows += [_pooled(name, clips, given, alone, subjects) for name in ("spearman", "kendall")]
    laid = np.stack([_at_places(curve, places) for curve in given])
    rows.append(_swapped(laid, position, targets, subjects, folds))
    table = pd.DataFrame(rows).set_index("measure").loc[[*MEASURES]].reset_index()
    # No curve without ties can rank the frames whose target is 0 as the target does.
    ties = [metrics.tie_limit(float((clip.target[clip.mask] == 0).mean())) for clip in clips]
    table["tie_limit"] = np.where(table["measure"] == "spearman", np.mean(ties), np.nan)
    return CurveAudit(table, _verdict(table), [*notes, *_reading(clips)])


def read_csv(file: str | Path) -> pd.DataFrame:
    """Read somebody's csv; names of people and videos stay text ("006" isn't 6).

    Raises
    ------
    DataError
        If it can't be read as a table, or a cell that should hold a number holds something else.
    """
    table = read_text_table(file, ("subject", "video"))
    return table.assign(**{name: numbers_of(table, name, file) for name in NUMBERS if name in table})


# ---- from tables to clips -------------------------------------------------------------------------------------


def _checked(table: pd.DataFrame, what: str, numbers: Sequence[str]) -> pd.DataFrame:
    """The columns that are needed, as text and numbers."""
    lacking = [name for name in ("subject", "video", *numbers) if name not in table]
    if lacking:
        raise DataError(
            f"{what} have no column {', '.join(lacking)}; there are {', '.join(map(str, table.columns))}."
        )
    checked = table.reset_index(drop=True)
    names = {name: checked[name].astype(str) for name in ("subject", "video", "fold") if name in checked}
    values = {name: pd.to_numeric(checked[name], errors="coerce").astype(float) for name in numbers}
    return checked.assign(**names, **values)


def _checked_events(events: pd.DataFrame) -> pd.DataFrame:
    checked = _checked(events, "events", ("onset", "apex", "offset"))
    order = checked[["onset", "apex", "offset"]].to_numpy()
    wrong = np.flatnonzero((np.diff(order, axis=1) < 0).any(axis=1) | (order[:, 2] < order[:, 0]))
    if wrong.size:
        row = checked.iloc[wrong[0]]
        raise DataError(
            f"event {wrong[0] + 1} ({row.subject}/{row.video}) has onset {row.onset:g}, apex {row.apex:g}, offset "
            f"{row.offset:g}; they must be in order."
        )
    return checked


def _clips(
    curves: pd.DataFrame, events: pd.DataFrame, fps: float | None
) -> tuple[list[AuditedClip], list[str]]:
    """Videos that can be scored, and how many can't, by reason."""
    by_video = dict(iter(events.groupby(["subject", "video"], sort=False)))
    clips: list[AuditedClip] = []
    left_out: dict[str, int] = {}
    for (subject, video), rows in curves.groupby(["subject", "video"], sort=False):
        frames, curve = _spaced(rows, f"{subject}/{video}")
        own = by_video.pop((subject, video), None)
        reason = None
        if own is None:
            reason = "have no event"
        elif own[["onset", "apex", "offset"]].isna().any(axis=None):
            reason = "have an event without onset, apex or offset"
        elif (own["offset"] < frames[0]).any() or (own["onset"] > frames[-1]).any():
            reason = "have an event outside the curve's frames: are both counted from the same frame?"
        elif np.isfinite(curve).sum() < _FEWEST:
            reason = f"have an intensity in fewer than {_FEWEST} frames"
        if reason:
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        fold = str(rows["fold"].iloc[0]) if "fold" in rows else subject
        clips.append(_clip((subject, video, fold), frames, curve, own, fps))
    if by_video:
        left_out["of the events' have no curve"] = len(by_video)
    return clips, [f"{count} videos {reason}" for reason, count in left_out.items()]


def _spaced(rows: pd.DataFrame, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Frames at even steps and the curve at them, NaN where one is missing."""
    rows = rows.sort_values("frame", kind="stable")
    frame = rows["frame"].to_numpy()
    if not np.isfinite(frame).all():
        raise DataError(f"{where}: a row has no frame number.")
    if frame.size == 1:
        return frame, rows["intensity"].to_numpy()
    steps = np.diff(frame)
    if (steps == 0).any():
        twice = frame[:-1][steps == 0][0]
        raise DataError(f"{where}: frame {twice:g} occurs twice; give one intensity a frame.")
    step = float(np.median(steps))
    if step < _SECONDS:
        raise DataError(
            f"{where}: frames are {step:.4g} apart, which looks like seconds; give frame numbers."
        )
    place = (frame - frame[0]) / step
    whole = np.rint(place)
    # Numbers of resampled frames are often written with few digits.
    if np.abs(place - whole).max() > 0.05 or np.unique(whole).size < whole.size:
        raise DataError(f"{where}: frames follow each other at uneven steps; give every sample of the curve.")
    frames = np.linspace(frame[0], frame[-1], int(whole[-1]) + 1)
    curve = np.full(frames.size, np.nan)
    curve[whole.astype(int)] = rows["intensity"].to_numpy()
    curve[np.isinf(curve)] = np.nan
    return frames, curve


def _clip(
    names: tuple[str, str, str], frames: np.ndarray, curve: np.ndarray, own: pd.DataFrame, fps: float | None
) -> AuditedClip:
    first, step = frames[0], (frames[-1] - frames[0]) / max(len(frames) - 1, 1) or 1.0
    marks = (own[["onset", "apex", "offset"]].to_numpy() - first) / step  # (events, 3), in samples
    triangles = [priors.triangular(onset, apex, offset, len(frames)) for onset, apex, offset in marks]
    target = np.max(triangles, axis=0).astype(float)
    rate = fps or (float(pd.to_numeric(own["fps"], errors="coerce").iloc[0]) if "fps" in own else np.nan)
    ends = marks[0, [0, 2]] - [0, len(frames) - 1]  # of the event, from those of the curve
    cut = len(marks) == 1 and bool((np.abs(ends) <= 0.5).all())
    apex = marks[0, 1] if len(marks) == 1 else np.nan
    return AuditedClip(*names, curve, target, float(apex), 1000 * step / rate, cut)


def _in_unit(clips: list[AuditedClip]) -> tuple[list[AuditedClip], list[str]]:
    """Curves in [0, 1]: ranks are taken after rounding to .01, which means nothing in another unit."""
    everything = np.concatenate([clip.curve[clip.mask] for clip in clips])
    low, high = float(everything.min()), float(everything.max())
    if low >= 0 and high <= 1:
        return clips, []
    span = (high - low) or 1.0
    scaled = [AuditedClip(**vars(clip) | {"curve": (clip.curve - low) / span}) for clip in clips]
    return scaled, [f"intensities run from {low:.4g} to {high:.4g}: all were scaled to 0 to 1 together"]


def _at_places(curve: np.ndarray, n: int) -> np.ndarray:
    """A curve (T,) at n evenly spread places, (n,); masked frames are bridged."""
    known = np.flatnonzero(np.isfinite(curve))
    if n == len(curve) == known.size:
        return np.asarray(curve, dtype=float)
    return np.interp(np.linspace(0, len(curve) - 1, n), known, curve[known])


# ---- measures ---------------------------------------------------------------------------------------------------


def _per_clip(
    clips: list[AuditedClip], given: list[np.ndarray], alone: list[np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Measures of each clip, of the curves and of position alone: name -> two (N,)."""
    sides = [
        [_measures(clip, curve) for clip, curve in zip(clips, side, strict=True)] for side in (given, alone)
    ]
    return {name: tuple(np.array([m[name] for m in side]) for side in sides) for name in sides[0][0]}  # type: ignore[misc]


def _measures(clip: AuditedClip, curve: np.ndarray) -> dict[str, float]:
    agreement = metrics.curve_agreement(np.where(clip.mask, curve, 0), clip.target, clip.mask)
    error = abs(float(metrics.apex_of(curve[None], clip.mask[None])[0]) - clip.apex)
    return {
        **{name: agreement[name] for name in ("spearman", "kendall", "inside_spearman", "inside_auc")},
        "apex_error": error * clip.milliseconds,
    }


def _pair(name: str, ours: np.ndarray, position: np.ndarray, subjects: np.ndarray) -> dict:
    known = np.isfinite(ours) & np.isfinite(position)
    if not known.any():
        return {"measure": name, "clips": 0, "subjects": 0}
    ours, position, subjects = ours[known], position[known], subjects[known]
    pair = stats.paired_difference(ours, position, subjects)
    difference = {
        "difference": pair["difference"],
        "difference_low": pair["low"],
        "difference_high": pair["high"],
    }
    beside = stats.bootstrap(position, subjects)[0]
    return _row(name, stats.bootstrap(ours, subjects), beside, subjects) | difference | {"p": pair["p"]}


def _row(name: str, estimate: Sequence[float], position: float, subjects: np.ndarray) -> dict:
    measured = dict(zip(("curves", "low", "high"), estimate, strict=True))
    counted = {"clips": len(subjects), "subjects": len(set(subjects))}
    return {"measure": name, **measured, "position_only": position, **counted}


def _pooled(
    name: str,
    clips: list[AuditedClip],
    given: list[np.ndarray],
    alone: list[np.ndarray],
    subjects: np.ndarray,
) -> dict:
    """A correlation over all frames of all clips; its interval draws subjects with all their frames."""
    frames = [
        np.stack([g[c.mask], a[c.mask], c.target[c.mask]])
        for c, g, a in zip(clips, given, alone, strict=True)
    ]

    def agreement(rows: np.ndarray, side: int = 0) -> float:
        together = np.concatenate([frames[int(row)] for row in rows], axis=1)
        return metrics.curve_agreement(together[side], together[2])[name]

    everything = np.arange(len(clips))
    estimate = stats.bootstrap(everything, subjects, n=_POOLED, statistic=agreement)
    return _row(f"{name}_pooled", estimate, agreement(everything, 1), subjects)


def _swapped(
    curves: np.ndarray, position: np.ndarray, targets: np.ndarray, subjects: np.ndarray, folds: np.ndarray
) -> dict:
    numbers = np.unique(folds, return_inverse=True)[1]
    ours, alone = (swaps_within_folds(side, targets, subjects, numbers) for side in (curves, position))
    return _pair("clip_swap", ours, alone, subjects)


# ---- words ------------------------------------------------------------------------------------------------------


def _verdict(table: pd.DataFrame) -> str:
    by_measure = table.set_index("measure")
    swap, pair = by_measure.loc["clip_swap"], by_measure.loc["spearman"]
    interval = interval_text(swap, "curves", 3)
    if not swap["low"] > controls.LEAST_SWAP:
        return (
            f"These curves fit other people's clips as well as their own (clip swap {interval}): nothing here shows "
            "that a face was looked at."
        )
    beside = "not told apart from"
    if pair["p"] <= _SURE and not pair["difference_low"] <= 0 <= pair["difference_high"]:
        beside = "above" if pair["difference"] > 0 else "below"
    return (
        f"These curves belong to their own clips (clip swap {interval}); their agreement, {pair['curves']:.3f}, is {beside} "
        f"that of position alone, {pair['position_only']:.3f}."
    )


def screen_rows(made: CurveAudit) -> list[tuple[str, ...]]:
    """The table as a screen shows it: measure, curves, position alone, difference, clips."""
    rows = []
    for row in records(made.table):
        name = row["measure"] + ", ms" * (row["measure"] == "apex_error")
        name += f" (ties allow {row['tie_limit']:.2f})" if np.isfinite(row["tie_limit"]) else ""
        sides = (row, "curves"), ({"estimate": row["position_only"]}, "estimate"), (row, "difference")
        cells = [interval_text(*side, 3) if np.isfinite(side[0][side[1]]) else "" for side in sides]
        rows.append((name, *cells, str(row["clips"])))
    return rows


def _reading(clips: list[AuditedClip]) -> list[str]:
    """What the kind of window means for the measures."""
    cut = sum(clip.cut for clip in clips)
    notes = []
    if cut:
        notes.append(
            f"{cut} of {len(clips)} clips are cut from onset to offset: there the place in the clip nearly gives "
            "the target away"
        )
    if cut < len(clips):
        notes.append(
            "agreement over a window that shows more than the event is mostly spotting; of intensity speaks "
            "inside_spearman"
        )
    if not np.isfinite([clip.milliseconds for clip in clips]).all():
        notes.append("apex_error needs a frame rate: a column fps in the events, or --fps")
    return notes
