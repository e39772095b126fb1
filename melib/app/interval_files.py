"""`melib decode` and `melib score`: anybody's curves to intervals, and intervals against the truth, from files alone.

    CURVES  a csv (subject, video, frame, score; macro, blink and head, where there are such curves), an npy (T,), OpenFace's
            csv of one video, or a folder of npy or OpenFace's csv: VIDEO.npy or SUBJECT/VIDEO.npy
    EVENTS  a csv (subject, video, onset, offset; kind and emotion, where known)

Frames are counted from 0 and intervals closed, in every file that is read or written; OpenFace alone counts from 1.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from melib import decoders, metrics, priors, stats
from melib.data import cache
from melib.errors import DataError

CONVENTION = "frames counted from 0, intervals closed (the offset is the last frame)"
# Kinds of other movement whose curves a file may hold as columns.
OTHERS = ("macro", "blink", "head")
# Groups of subjects at most that are left out in turn.
_GROUPS = 6
_COLUMNS = ["subject", "video", "onset", "offset", "emotion", "apex", "confidence", "kept"]
_RULES = [
    "rule",
    "tp",
    "fp",
    "fn",
    "precision",
    "recall",
    "spotting_f1",
    "low",
    "high",
    "recognition_f1",
    "strs",
]
MISSES = ("no candidate", "threshold", "geometry", "class")


@dataclass(frozen=True)
class ScoreCurve:
    """Scores (T,) of one video from frame `first` on, and curves (T,) of other movement by kind; NaN where unknown."""

    subject: str
    video: str
    first: int
    scores: np.ndarray
    others: dict


def read_curves(path, column=""):
    """Read the curves of a file or a folder.

    Parameters
    ----------
    path : Path
        See the head of this file.
    column : str
        The column to decode; by default score. Of OpenFace's csv an intensity such as AU12_r.

    Returns
    -------
    curves : list of ScoreCurve

    Raises
    ------
    DataError
        If a column is missing, a frame is no whole number, occurs twice or leaves a gap, or nothing is there.
    """
    path = Path(path)
    files = [path]
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if file.suffix in (".npy", ".csv")]
    folder = path if path.is_dir() else path.parent
    curves = [curve for file in files for curve in _read_file(file, column, folder)]
    if not curves:
        raise DataError(f"{path} holds no curve; give a csv with subject, video, frame, score, or npy files.")
    for place, times in Counter((curve.subject, curve.video) for curve in curves).items():
        if times > 1:
            raise DataError(f"{path} holds {times} curves of {'/'.join(place)}; keep one.")
    return curves


def read_truth(path, curves):
    """Read micro-expressions; DataFrame subject, video, onset, offset (float), apex and emotion where the file has them.

    Raises
    ------
    DataError
        If a column is missing, a frame is no whole number, an event ends before it starts, a row occurs twice, or an event
        is of a video without a curve or lies outside of it; curves is None where any video will do.
    """
    events = read_text_table(path, ("subject", "video", "onset", "offset"))
    if "kind" in events:
        events = events[events["kind"].fillna("micro") == "micro"].reset_index(drop=True)
    for name in ("onset", "offset"):
        events[name] = _whole(events, name, path)
    if "apex" in events:
        events["apex"] = pd.to_numeric(events["apex"], errors="coerce")
    keys = ["subject", "video"]
    _refuse(
        path, events, events["offset"] < events["onset"], "ends before its onset; correct or remove that row"
    )
    twice = events.duplicated([*keys, "onset", "offset"])
    _refuse(path, events, twice, "occurs twice; remove a row")
    if curves is None:
        return events
    bounds = {(c.subject, c.video): (c.first, c.first + c.scores.size - 1) for c in curves}
    inside = [bounds.get(place) for place in zip(*(events[name] for name in keys), strict=True)]
    strange = [place is None for place in inside]
    _refuse(path, events, strange, "is of a video that has no curve; give its curve, or remove its rows")
    first, last = np.array(inside).reshape(-1, 2).T
    outside = (events["onset"] > last) | (events["offset"] < first)
    _refuse(
        path, events, outside, "lies outside its curve; give events in frames of the curve, counted from 0"
    )
    return events


def _refuse(path, events, wrong, what):
    """Name the first event of which something is wrong."""
    for event in events[np.asarray(wrong, bool)].itertuples():
        raise DataError(
            f"{path}: event {event.subject}/{event.video} {event.onset} to {event.offset} {what}."
        )


def decode_curves(curves, events, decoder="selector", rate=30.0, apply=None):
    """Intervals of every video, by a decoder that was fitted without its subject.

    Parameters
    ----------
    curves : list of ScoreCurve
    events : DataFrame
        As `read_truth` returns.
    decoder : str
        One of decoders.NAMES.
    rate : float
        Frames a second.
    apply : list of ScoreCurve, optional
        Other curves: the decoder is fitted on all of `curves`, and these are decoded.

    Returns
    -------
    intervals : DataFrame
        subject, video, onset, offset, emotion (empty), apex, confidence, kept (bool): sorted by subject, video, onset. What
        isn't kept scored less than the fitted least.
    """
    if events.empty:
        raise DataError(
            "there is no micro-expression to learn from; give events of some of the curves' videos."
        )
    if apply is not None:
        fitted = _fit(decoder, curves, events, rate)
        parts = [_intervals(fitted, curve) for curve in apply]
    else:
        names = sorted({curve.subject for curve in curves})
        if len(names) < 2:
            raise DataError(
                f"all curves are of subject {names[0]}: none can be left out; give more subjects, or fit on these and "
                "--apply to others."
            )
        group = {name: i % _GROUPS for i, name in enumerate(names)}
        parts = []
        for left_out in sorted(set(group.values())):
            known = [curve for curve in curves if group[curve.subject] != left_out]
            of_known = events[events["subject"].map(group) != left_out]
            if of_known.empty:
                raise DataError(
                    "all events are of one group of subjects: nothing is left to learn from without it."
                )
            fitted = _fit(decoder, known, of_known, rate)
            parts += [_intervals(fitted, curve) for curve in curves if group[curve.subject] == left_out]
    table = pd.concat(parts, ignore_index=True)[_COLUMNS]
    return table.sort_values(["subject", "video", "onset"], kind="stable", ignore_index=True)


def score_intervals(predicted, truth, rate=30.0):
    """What is found, invented and missed, by three rules, and why each event was missed.

    Parameters
    ----------
    predicted : DataFrame
        subject, video, onset, offset; where known emotion, apex, confidence, kept. Rows that aren't kept explain misses, and
        count for nothing else.
    truth : DataFrame
        subject, video, onset, offset; where known apex, emotion.
    rate : float
        Frames a second.

    Returns
    -------
    rules : DataFrame
        rule, tp, fp, fn, precision, recall, spotting_f1, low, high (95 % over subjects), recognition_f1, strs (NaN without
        emotions).
    over_iou : DataFrame
        iou, f1, ap (NaN without confidence).
    timing : DataFrame
        landmark, events, mean_error_ms, median_absolute_error_ms.
    misses : DataFrame
        subject, video, onset, offset, reason (one of ``MISSES``), best_iou.
    """
    accepted = predicted[predicted["kept"]] if "kept" in predicted else predicted
    accepted, truth = accepted.reset_index(drop=True), truth.reset_index(drop=True)
    both = (accepted, truth)
    named = len(accepted) > 0 and all("emotion" in table and table["emotion"].notna().all() for table in both)
    if not named:
        both = (accepted.assign(emotion="any"), truth.assign(emotion="any"))
    rows = []
    for rule in ("strict", "megc", "boosting"):
        low, high = _interval(both, rule)
        rows.append({**metrics.strs(both[0], both[1], rule=rule), "rule": rule, "low": low, "high": high})
    rules = pd.DataFrame(rows)
    if not named:
        rules[["recognition_f1", "strs"]] = np.nan
    over_iou = pd.DataFrame({"iou": metrics.IOUS, "f1": metrics.f1_over_iou(accepted, truth, metrics.IOUS)})
    over_iou["ap"] = np.nan
    if "confidence" in predicted:
        ranked = predicted.assign(score=predicted["confidence"])
        over_iou["ap"] = [metrics.average_precision(ranked, truth, iou) for iou in metrics.IOUS]
    matches = metrics.spotting(accepted, truth)["matches"]
    errors = metrics.timing_errors(accepted, truth, matches, rate)
    timing = pd.DataFrame(
        {
            "landmark": errors.columns,
            "events": errors.notna().sum().to_numpy(),
            "mean_error_ms": errors.mean().to_numpy(),
            "median_absolute_error_ms": errors.abs().median().to_numpy(),
        }
    )
    return rules[_RULES], over_iou, timing, _misses(predicted, accepted, truth, matches, named)


def read_intervals(path):
    """Read predicted intervals: as `read_truth` does, with confidence (or score) and kept (yes, no) where known."""
    table = read_truth(path, None)
    if "confidence" not in table and "score" in table:
        table = table.rename(columns={"score": "confidence"})
    if "confidence" in table:
        table["confidence"] = pd.to_numeric(table["confidence"], errors="coerce")
    if "kept" in table:
        table["kept"] = table["kept"].isin(["yes", "True", "true", "1"])
    return table


def write_intervals(path, intervals, everything=False):
    """Write intervals as csv: the challenge's columns, then apex and confidence; with everything also what wasn't kept."""
    table = intervals if everything else intervals[intervals["kept"]]
    accepted = table["kept"].map({True: "yes", False: "no"})
    table = table.assign(kept=accepted) if everything else table.drop(columns="kept")
    cache.write_table(path, table)


def _fit(name, curves, events, rate):
    events = events.reset_index(drop=True)
    lengths = pd.DataFrame({"n_frames": [curve.scores.size for curve in curves]}).assign(fps=rate)
    prior = priors.IntervalPrior.fit(events.assign(fps=rate), lengths, rate)
    own = dict(list(events.groupby(["subject", "video"])))
    tables = []
    for curve in curves:
        table = own.get((curve.subject, curve.video), events.head(0))
        tables.append(table[["onset", "offset"]] - curve.first)
    kinds = set.intersection(*(set(curve.others) for curve in curves))
    return decoders.fit(
        name,
        [curve.scores for curve in curves],
        tables,
        prior,
        subjects=[curve.subject for curve in curves],
        others={kind: [curve.others[kind] for curve in curves] for kind in sorted(kinds)},
    )


def _intervals(fitted, curve):
    table = fitted.propose(curve.scores, curve.others)
    frames = table[["onset", "apex", "offset"]] + curve.first
    about = {"subject": curve.subject, "video": curve.video, "emotion": "", "confidence": table["score"]}
    return frames.assign(**about, kept=table["score"] >= fitted.least)


def _interval(both, rule):
    """95 % interval of spotting F1 over subjects; NaN with a single one."""
    names = sorted({name for table in both for name in table["subject"]})
    if len(names) < 2:
        return np.nan, np.nan
    parts = ([table[table["subject"] == name] for table in both] for name in names)
    scores = (metrics.strs(part[0], part[1], rule=rule) for part in parts)
    counts = np.array([[score[name] for name in ("tp", "fp", "fn")] for score in scores], float)

    def f1(drawn):
        tp, fp, fn = drawn.sum(axis=0)
        return 2 * tp / max(2 * tp + fp + fn, 1)

    return stats.bootstrap(counts, np.array(names), statistic=f1)[1:]


def _misses(predicted, accepted, truth, matches, named):
    matched = set(matches["truth"])
    right = set(metrics.end_to_end(accepted, truth)["matches"]["truth"]) if named else matched
    by_video = dict(list(predicted.groupby(["subject", "video"])))
    rows = []
    for i, event in enumerate(truth.itertuples()):
        if i in matched & right:
            continue
        near = by_video.get((event.subject, event.video), predicted.head(0))
        shared = np.minimum(near["offset"], event.offset) - np.maximum(near["onset"], event.onset) + 1
        shared = shared.clip(lower=0)
        iou = shared / (near["offset"] - near["onset"] + event.offset - event.onset + 2 - shared)
        middle = (near["onset"] + near["offset"]) / 2
        peak = near["apex"].fillna(middle) if "apex" in near else middle
        low = ~near["kept"] if "kept" in near else np.zeros(len(near), bool)
        if i in matched:
            reason = "class"
        elif ((iou >= 0.5) & low).any():
            reason = "threshold"
        else:
            inside = peak.between(event.onset, event.offset).any()
            reason = "geometry" if inside else "no candidate"
        best = float(iou.max()) if len(iou) else 0.0
        rows.append((event.subject, event.video, event.onset, event.offset, reason, best))
    return pd.DataFrame(rows, columns=["subject", "video", "onset", "offset", "reason", "best_iou"])


def _read_file(path, column, folder):
    subject = path.parent.name if path.parent != folder else path.stem
    if path.suffix == ".npy":
        try:
            scores = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} can't be read as an npy array ({error}); save it by numpy.save."
            ) from None
        if scores.ndim != 1 or scores.dtype.kind not in "fiub":
            raise DataError(
                f"{path} holds shape {scores.shape}, {scores.dtype}; save one number a frame, (T,)."
            )
        return [ScoreCurve(subject, path.stem, 0, scores.astype(float), {})]
    table = read_text_table(path, ("frame",))
    if "subject" in table and "video" in table:
        _need(table, path, (column or "score",))
        return [
            _curve(part, path, str(place[0]), str(place[1]), column or "score", 0)
            for place, part in table.groupby(["subject", "video"], sort=False)
        ]
    if not column:
        raise DataError(
            f"{path} has no columns subject and video; add them, or of OpenFace's csv say which intensity to read, as in "
            "--column AU12_r."
        )
    _need(table, path, (column,))
    if "success" in table:
        table.loc[pd.to_numeric(table["success"], errors="coerce") == 0, column] = np.nan
    return [_curve(table, path, subject, path.stem, column, 1)]


def _curve(table, path, subject, video, column, first_number):
    frame = _whole(table, "frame", path)
    order = np.argsort(frame, kind="stable")
    frame = frame[order]
    where, step = f"{path}: {subject}/{video}", np.diff(frame)
    if (step == 0).any():
        raise DataError(f"{where} has frame {frame[:-1][step == 0][0]} twice; remove a row.")
    if (step > 1).any():
        at = int(np.argmax(step > 1))
        raise DataError(
            f"{where} has no frames between {frame[at]} and {frame[at + 1]}; give every frame a row (its score may be empty"
            "), and number the samples of a sampled video 0, 1, 2, its events alike."
        )
    columns = (column, *(kind for kind in OTHERS if kind in table))
    values = {name: numbers_of(table, name, path).to_numpy(float)[order] for name in columns}
    scores = values.pop(column)
    return ScoreCurve(subject, video, int(frame[0]) - first_number, scores, values)


def read_text_table(path, columns):
    """Read a csv as text, names of columns and cells without blanks around them."""
    try:
        table = pd.read_csv(
            path,
            dtype=str,
            skipinitialspace=True,
            encoding="utf-8-sig",
            na_values=[""],
            keep_default_na=False,
        )
    except FileNotFoundError:
        raise DataError(f"{path} doesn't exist; give the path of a csv.") from None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} can't be read as csv ({str(error).splitlines()[0][:120]}); save it as UTF-8 csv."
        ) from None
    table = table.rename(columns=lambda name: str(name).strip())
    _need(table, path, columns)
    for name in ("subject", "video"):
        if name in table:
            if table[name].isna().any():
                raise DataError(
                    f"{path}, line {int(table[name].isna().to_numpy().argmax()) + 2}: no {name}; fill it in."
                )
            table[name] = table[name].map(cache.restored)
    return table


def numbers_of(table, name, path):
    """A column of `read_text_table` as numbers, NaN where a cell is empty or says nan.

    Raises
    ------
    DataError
        If a cell holds something else: names its line.
    """
    text = table[name].astype("string").str.strip()
    blank = text.fillna("").str.lower().isin(["", "nan", "na"])
    numbers = pd.to_numeric(text.mask(blank), errors="coerce").astype(float)
    wrong = np.flatnonzero(~np.isfinite(numbers) & ~blank)
    if wrong.size:
        line = int(table.index[wrong[0]]) + 2
        raise DataError(
            f"{path}, line {line}: {name} is {text.iloc[wrong[0]]!r}, which is no number; leave what is unknown empty."
        )
    return numbers


def _need(table, path, columns):
    for name in columns:
        if name not in table:
            raise DataError(
                f"{path} has no column {name}; its columns are {', '.join(map(str, table.columns))[:200]}."
            )


def _whole(table, name, path):
    """A column of whole frames, (N,) int64."""
    numbers = pd.to_numeric(table[name], errors="coerce").to_numpy(float)
    for row in np.flatnonzero(~(np.isfinite(numbers) & (numbers == np.rint(numbers)))):
        raise DataError(
            f"{path}, line {table.index[row] + 2}: {name} {table[name].iloc[row]!r} is no whole frame; give frames, counted "
            "from 0, and not seconds."
        )
    return numbers.astype(np.int64)
