"""Who is tested on whom, and which frames a window shows.

Folds: subjects are split, never clips. Validation subjects come out of the training subjects.

Windows, in native frames (0-based, closed); o onset, A apex, f offset, `|` first and last sample:

    paper      . . . . . |o . . . A . . . . . f| . . . . .      cut at the annotation: position tells all
    context    . . |. . . o . . . A . . . . . f . . |. . .      complete, at a random place
               . . . . . . o . . |A . . . . . f . . . . |.      truncated by a random border
               |. . . .| . o . . . A . . . . . f . . . . .      without any expression

In the paper protocol the T samples are spread evenly from onset to offset, whatever its length. In the
context protocol they lie `stride` frames apart, so that every window lasts equally long.
"""

import warnings
import zlib
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd

from melib import priors
from melib.errors import DataError

# Streams of random numbers, one a purpose, so that a change to one leaves the others as they were.
_GROUPS, _VALIDATION, _AROUND_EVENT, _EMPTY_CLIP = range(4)
# How far beyond "just missing the event" a random window may start, as a share of its length: with .25,
# about a quarter of these windows miss the event in a long video.
_BEYOND = 0.25

_VIDEO = ["dataset", "subject", "video"]
_COLUMNS = [*_VIDEO, "event", "protocol", "window", "start", "stop", "complete", "truncated"]


@dataclass(frozen=True)
class Fold:
    """Subjects of one fold, three disjoint sorted tuples that together are everyone."""

    index: int
    train: tuple
    validation: tuple
    test: tuple


def folds(subjects, k, *, seed, validation_share=0.15):
    """Split subjects into folds that each subject is tested in exactly once.

    Parameters
    ----------
    subjects : iterable of str
        One entry a subject or one a clip: repetitions and order don't matter.
    k : int or "loso"
        Number of groups of test subjects; "loso" (or k = number of subjects) leaves one out at a time.
    seed : int
        Decides the groups and who validates.
    validation_share : float in [0, 1)
        Share of a fold's training subjects that validate; at least one unless it is 0.

    Returns
    -------
    folds : list of Fold

    Raises
    ------
    DataError
        If k doesn't fit the number of subjects, or nobody would be left to train on.

    Examples
    --------
    >>> [fold.test for fold in folds(["a", "b", "c"], "loso", seed=0)]
    [('a',), ('b',), ('c',)]
    """
    people = sorted(set(subjects))
    k = len(people) if k == "loso" else k
    if not 2 <= k <= len(people):
        raise DataError(
            f"{k} folds need at least 2 and at most as many as the {len(people)} subjects there are."
        )
    if not 0 <= validation_share < 1:
        raise DataError(f"validation_share is a share in [0, 1), got {validation_share}.")
    order = people
    if k < len(people):
        order = [people[i] for i in np.random.default_rng([seed, _GROUPS]).permutation(len(people))]
    result = []
    for index, group in enumerate(np.array_split(np.arange(len(people)), k)):
        test = {order[i] for i in group}
        rest = [person for person in people if person not in test]
        n_validation = max(1, round(validation_share * len(rest))) if validation_share > 0 else 0
        if n_validation >= len(rest):
            raise DataError(
                f"fold {index} would train on nobody: {len(rest)} subjects remain, {n_validation} of them "
                "validate; give more subjects or a smaller validation_share."
            )
        chosen = np.random.default_rng([seed, _VALIDATION, index]).permutation(len(rest))[:n_validation]
        validation = {rest[i] for i in chosen}
        train = tuple(person for person in rest if person not in validation)
        result.append(Fold(index, train, tuple(sorted(validation)), tuple(sorted(test))))
    return result


def paper_windows(events, clips, T=16):
    """One window an event, from onset to offset: the intensity paper's protocol.

    Parameters
    ----------
    events : DataFrame
        Events table (see `melib.annotations`).
    clips : DataFrame
        subject, video, n_first, n_last (first and last native frame that exists; closed) and, where events
        of several data sets come together, dataset.
    T : int
        Samples a window, at least 2; the paper's is 16.

    Returns
    -------
    windows : DataFrame
        dataset, subject, video, event ("" if none), protocol, window (running number within a video), start
        and stop (int, native frames of the first and the last sample), complete (the whole annotated event
        lies inside), truncated (only part of it does). Sorted by dataset, subject, video, window.
        ``attrs["left_out"]`` lists what gave no window, with the reason; a warning counts it.
    """
    if T < 2:
        raise DataError(f"a window needs at least 2 samples, got T={T}.")
    rows = []
    table, usable, left_out = _sort_out(events, clips)
    for row in usable:
        if table[_key(row)].n_first <= row.onset and row.offset <= table[_key(row)].n_last:
            rows.append([*_key(row), row.event, int(row.onset), int(row.offset), True, False])
        else:
            left_out.append(_left_out(row, "its frames aren't all there"))
    return _windows(rows, "paper", left_out)


def context_windows(events, clips, *, T=32, stride, per_event=2, per_empty=1, seed):
    """Windows of equal length whose borders fall at random: position says nothing about the target.

    Each event's first window shows it whole, at a uniformly random place, if it fits. Further windows start
    anywhere from a quarter of a window before the event could be seen to a quarter after it: they may show
    it whole, cut it, or miss it. Clips without events give windows at random places.

    A window depends on the seed and on its clip and event only, not on which others are in the table. A
    video with an event that can't be used (dropped, or without apex) is left out whole, since its frames
    can't be called neutral; an empty clip is one that the events table doesn't mention at all.

    Parameters
    ----------
    events, clips : DataFrame
        As in `paper_windows`. Pass every kind of event whose movement the target shall contain.
    T : int
        Samples a window, at least 2.
    stride : int
        Native frames from one sample to the next, at least 1.
    per_event, per_empty : int
        Windows drawn for each event and for each clip without events.
    seed : int

    Returns
    -------
    windows : DataFrame
        As in `paper_windows`. A window that shows no part of an event has event "". A clip shorter than a
        window is left out.
    """
    if T < 2 or stride < 1 or int(stride) != stride:
        raise DataError(
            f"a window needs T of 2 or more and a whole stride of 1 or more, got T={T}, stride={stride}."
        )
    span = (T - 1) * int(stride)
    table, usable, left_out = _sort_out(events, clips)
    unusable = {tuple(event[name] for name in _VIDEO) for event in left_out}
    by_video = _by_video(usable)
    rows = []
    for key, clip in sorted(table.items()):
        if key in unusable:
            left_out.append(_left_out(clip, "an event in it can't be used"))
            continue
        last = clip.n_last - span  # last possible start
        if last < clip.n_first:
            left_out.append(_left_out(clip, "the clip is shorter than a window"))
            continue
        shown, starts = by_video.get(key, []), []
        for event in shown:
            rng = np.random.default_rng([seed, _AROUND_EVENT, _stable(*key), _stable(event.event)])
            starts += _starts_around(event, clip.n_first, last, span, per_event, rng)
        if not shown:
            rng = np.random.default_rng([seed, _EMPTY_CLIP, _stable(*key)])
            starts += [int(rng.integers(clip.n_first, last + 1)) for _ in range(per_empty)]
        rows += [[*key, *_describe(start, start + span, shown)] for start in starts]
    return _windows(rows, "context", left_out)


def window_frames(row, T):
    """Native frame positions that a window samples.

    Parameters
    ----------
    row : named tuple or Series
        A row of a windows table, with start and stop.
    T : int

    Returns
    -------
    positions : (T,) float64
        From start to stop in even steps; whole numbers in the context protocol, not in the paper's.
    """
    return np.linspace(row.start, row.stop, T)


def targets(windows, events, T, prior=priors.triangular):
    """Target curve of every window.

    In the context protocol the curves of all events of the video that overlap a window count, and where
    several overlap each other, their maximum. In the paper protocol only the event that the window was cut
    at counts, so that its target is `priors.resampled_triangle` to the letter.

    Parameters
    ----------
    windows : DataFrame
        From `paper_windows` or `context_windows`.
    events : DataFrame
        The same events that the windows were drawn with.
    T : int
    prior : function
        One of `melib.priors` with the signature (onset, apex, offset, n_frames).

    Returns
    -------
    targets : (N, T) float32 in [0, 1]
    """
    by_video = _by_video(row for row in _by_time(events) if not _unusable(row))
    result = np.zeros((len(windows), T), np.float32)
    for i, window in enumerate(windows.itertuples(index=False)):
        for event in by_video.get(_key(window), []):
            if window.protocol == "paper":
                counts = event.event == window.event
            else:
                counts = event.onset <= window.stop and event.offset >= window.start
            if counts:
                places = [_position(frame, window, T) for frame in (event.onset, event.apex, event.offset)]
                curve = prior(*places, T if window.stop > window.start else 1)  # one frame
                result[i] = np.maximum(result[i], curve)
    return result


def landmarks(windows, events, T):
    """Landmarks of the event that each window names, in samples of that window.

    Parameters
    ----------
    windows, events, T
        As in `targets`.

    Returns
    -------
    landmarks : DataFrame, one row a window
        onset, apex, offset (float, samples; 0 is the first, T - 1 the last, outside where the window cuts
        them off); NaN where the window shows no event.
    """
    by_name = {(*_key(row), row.event): row for row in _by_time(events) if not _unusable(row)}
    result = np.full((len(windows), 3), np.nan)
    for i, window in enumerate(windows.itertuples(index=False)):
        event = by_name.get((*_key(window), window.event))
        if event is not None:
            result[i] = [_position(frame, window, T) for frame in (event.onset, event.apex, event.offset)]
    return pd.DataFrame(result, columns=["onset", "apex", "offset"], index=windows.index)


def _position(frame, window, T):
    """A native frame's place among the samples, multiplied before divided so that ends come out whole."""
    if window.stop == window.start:
        return float(frame - window.start)
    return float((frame - window.start) * (T - 1) / (window.stop - window.start))


def _starts_around(event, first, last, span, count, rng):
    """Starts of windows: one that shows the event whole, if it fits, the others anywhere near it."""
    onset, offset = int(event.onset), int(event.offset)
    whole = max(first, offset - span), min(last, onset)
    beyond = round(_BEYOND * span)
    near = max(first, onset - span - beyond), min(last, offset + beyond)
    near = near if near[0] <= near[1] else (first, last)  # an event outside the frames that exist
    starts = []
    for i in range(count):
        low, high = whole if i == 0 and whole[0] <= whole[1] else near
        starts.append(int(rng.integers(low, high + 1)))
    return starts


def _describe(start, stop, events):
    """Event shown most (its name or ""), start, stop, complete, truncated."""
    shown = [event for event in events if event.onset <= stop and event.offset >= start]
    if not shown:
        return ["", start, stop, False, False]
    event = max(shown, key=lambda e: min(stop, e.offset) - max(start, e.onset))
    complete = bool(start <= event.onset and event.offset <= stop)
    return [event.event, start, stop, complete, not complete]


def _windows(rows, protocol, left_out):
    columns = [name for name in _COLUMNS if name not in ("protocol", "window")]
    frame = pd.DataFrame(rows, columns=columns).astype(
        {"start": int, "stop": int, "complete": bool, "truncated": bool}
    )
    frame = frame.sort_values(_VIDEO, kind="stable", ignore_index=True)
    frame["protocol"] = protocol
    frame["window"] = frame.groupby(_VIDEO).cumcount()
    frame = frame[_COLUMNS]
    frame.attrs["left_out"] = left_out
    if left_out:
        counts = Counter(entry["reason"] for entry in left_out)
        listed = "; ".join(f"{number} because {reason}" for reason, number in counts.items())
        warnings.warn(f"{protocol} windows: left out {listed} (attrs['left_out'] names them).", stacklevel=3)
    return frame


def _left_out(row, reason):
    return {**dict(zip(_VIDEO, _key(row), strict=True)), "event": getattr(row, "event", ""), "reason": reason}


def _sort_out(events, clips):
    """(dataset, subject, video) -> row of clips; events with a clip that give a target; all others, with the reason."""
    if "dataset" not in clips:
        names = events["dataset"].unique()
        if len(names) != 1:
            raise DataError(f"events come from {len(names)} data sets; give the clips a column dataset.")
        clips = clips.assign(dataset=names[0])
    if clips.duplicated(_VIDEO).any():
        raise DataError("a clip is listed twice; give one row a dataset, subject and video.")
    table = {_key(row): row for row in clips.itertuples(index=False)}
    usable, left_out = [], []
    for row in _by_time(events):
        reason = _unusable(row) or ("" if _key(row) in table else "its clip is missing")
        if reason:
            left_out.append(_left_out(row, reason))
        else:
            usable.append(row)
    return table, usable, left_out


def _by_video(rows):
    """(dataset, subject, video) -> list of its events."""
    by_video: dict = {}
    for row in rows:
        by_video.setdefault(_key(row), []).append(row)
    return by_video


def _key(row):
    return row.dataset, row.subject, row.video


def _by_time(events):
    """Rows of the events table in an order that doesn't depend on the table's."""
    order = events.sort_values([*_VIDEO, "onset", "offset", "event"], kind="stable")
    return order.itertuples(index=False)


def _unusable(event):
    """Why an event gives no target, or ""."""
    if getattr(event, "status", "ok") == "dropped":
        return "the event was dropped"
    if pd.isna(event.onset) or pd.isna(event.offset):
        return "the event has no onset or offset"
    if pd.isna(event.apex):
        return "the event has no apex"
    return "" if event.onset <= event.apex <= event.offset else "the event's landmarks are out of order"


def _stable(*names):
    """Return a number for a name that is the same on every machine and in every run."""
    return zlib.crc32("/".join(str(name) for name in names).encode())
