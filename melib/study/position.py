"""What is known before any network is trained: position alone, the labels' own worth, the reference frame.

    targets of the other people --mean--> a guess for each clip, no pixel read --agreement--> what position alone scores
    annotation tables           --------> the same without an image, beside what was published

Position alone is the control that every learned number stands beside; the labels' agreement with the truth bounds it from
above.
"""

from collections import Counter

import numpy as np
import pandas as pd

from melib import controls, metrics, protocols, stats
from melib.errors import DataError
from melib.study import data, evaluation, results
from melib.study.intensity import RISEN


def reference(prepared):
    """How often the reference frame was truly neutral, and how well the untrained magnitude since it agrees with the labels.

    Parameters
    ----------
    prepared : list of intensity.Prepared

    Returns
    -------
    DataFrame
        dataset, protocol, reference (first frame, or calmest stretch), used (bool: by every model), windows, neutral
        (share whose true intensity at the reference is below .1 of the event's peak; NaN where nobody knows), residual
        (mean true intensity there), magnitude_spearman (mean over events). Where the first frame is used, a second row
        tells what the calmest stretch would give.
    """
    out = []
    for p in prepared:
        kinds = {"calmest stretch": (p.calmest, p.calmest_magnitude)}
        if p.protocol == "paper":
            kinds = {"first frame": (p.reference, p.magnitude), **kinds}
        for number, (name, (index, magnitude)) in enumerate(kinds.items()):
            at = None if p.truth is None else p.truth[np.arange(len(p.table)), index]
            known = (np.nan, np.nan) if at is None else (float((at <= RISEN).mean()), float(at.mean()))
            rows = evaluation.intensity(p, {("flow_magnitude", "flow", 0): evaluation.scaled(magnitude)}, [])
            rho = rows.loc[rows["metric"] == "spearman_pseudo", "value"].mean()
            out.append((p.dataset, p.protocol, name, number == 0, len(p.table), *known, rho))
    names = ["reference", "used", "windows", "neutral", "residual", "magnitude_spearman"]
    return pd.DataFrame(out, columns=["dataset", "protocol", *names])


def position_alone(prepared):
    """What position alone scores, leave one subject out, no pixel read.

    Parameters
    ----------
    prepared : list of intensity.Prepared

    Returns
    -------
    DataFrame
        dataset, protocol, metric, estimate, low, high, events, subjects: agreement of the other subjects' mean target
        with the pseudo-label and, where it is known, with the truth; over_events, over_events_low, over_events_high: its
        mean over events, as published, with the 95 % interval over subjects, each drawn with all of its events.

    Raises
    ------
    DataError
        If a data set has a single subject.
    """
    rows = []
    for p in prepared:
        guess = _mean_of_others(p.dataset, p.pseudo, p.table["subject"].to_numpy())
        rows.append(evaluation.intensity(p, {("position_only", "none", 0): guess}, []))
    return _over_subjects_and_events(rows)


def control_of_tables(tables, T=16):
    """What position alone scores on annotation tables, without an image: clips cut from onset to offset.

    Parameters
    ----------
    tables : list of DataFrame
        Events of one data set each, as annotations.read_events gives them.
    T : int
        Samples a clip.

    Returns
    -------
    DataFrame
        As `position_alone`, under the paper's protocol and of the pseudo-label alone; left_out: which events of the table
        aren't among them, with the reason; repaired: how many of them have a landmark that was repaired, and
        without_repaired: over_events of the others, NaN where those are of one subject.

    Raises
    ------
    DataError
        If a table has no event with onset, apex and offset, or a single subject.
    """
    rows, out = [], []
    for events in tables:
        micro = events[events["kind"] == "micro"]
        every, left_out = _scores_of_table(micro, T)
        rows.append(every)
        annotated = micro[micro["status"] != "repaired"]
        others = every if len(annotated) == len(micro) else every[:0]
        if others.empty and len(set(annotated.dropna(subset=["apex"])["subject"])) > 1:
            others, _ = _scores_of_table(annotated, T)
        means, repaired = others.groupby("metric")["value"].mean(), len(micro) - len(annotated)
        for metric in ("spearman_pseudo", "kendall_pseudo"):
            about = (str(events["dataset"].iloc[0]), metric, left_out, repaired)
            out.append((*about, means.get(metric, np.nan)))
    names = ["dataset", "metric", "left_out", "repaired", "without_repaired"]
    return _over_subjects_and_events(rows).merge(pd.DataFrame(out, columns=names), on=names[:2])


def _scores_of_table(micro, T):
    """Agreement of the others' mean target with each event's own, a row an event and metric; and what is left out, why."""
    spans = micro.groupby(["subject", "video"], as_index=False)
    spans = spans.agg(n_first=("onset", "min"), n_last=("offset", "max")).dropna()
    windows = protocols.paper_windows(micro, spans, T=T)
    reasons = Counter(event["reason"] for event in windows.attrs["left_out"])
    left_out = ", ".join(f"{count} because {reason}" for reason, count in reasons.items())
    if windows.empty:
        name = " and ".join(micro["dataset"].unique()) or "the table"
        raise DataError(
            f"{name}: no micro-expression has onset, apex and offset ({left_out or 'none is there'})."
        )
    targets, subjects = protocols.targets(windows, micro, T), windows["subject"].to_numpy()
    dataset, rows = str(micro["dataset"].iloc[0]), []
    names = (windows["video"] + "/" + windows["event"]).tolist()
    for i, guess in enumerate(_mean_of_others(dataset, targets, subjects)):
        agreement = metrics.curve_agreement(guess, targets[i])
        start = (dataset, "paper", subjects[i], names[i])
        rows += [(*start, f"{metric}_pseudo", agreement[metric]) for metric in ("spearman", "kendall")]
    columns = ["dataset", "protocol", "subject", "event", "metric", "value"]
    return pd.DataFrame(rows, columns=columns), left_out


def _mean_of_others(dataset, targets, subjects):
    """Mean target of the other subjects for every window, (N, T)."""
    data.check_people(dataset, subjects)
    guess = np.empty_like(targets)
    for subject in np.unique(subjects):
        own = subjects == subject
        guess[own] = controls.position_only(targets[~own], int(own.sum()))
    return guess


def _over_subjects_and_events(parts):
    """Mean over subjects and mean over events, each with its interval, of each data set, protocol and metric."""
    keys, out = ["dataset", "protocol", "metric"], []
    names = [*keys, "over_events", "over_events_low", "over_events_high"]
    for rows in parts:
        known = rows.dropna(subset=["value"]).groupby(keys)
        plain = [
            (*key, *stats.bootstrap(part["value"], part["subject"], statistic=np.mean)) for key, part in known
        ]
        out.append(results.intervals(rows, keys).merge(pd.DataFrame(plain, columns=names), on=keys))
    empty = pd.DataFrame(columns=[*keys, "estimate", "low", "high", "events", "subjects", *names[3:]])
    return pd.concat(out or [empty], ignore_index=True)


def labels(prepared):
    """How far the annotated landmarks are from the true ones, and what their triangle is worth.

    Parameters
    ----------
    prepared : list of intensity.Prepared

    Returns
    -------
    DataFrame
        dataset, protocol, events, median and 95th percentile of the error of each landmark in ms, and the mean
        agreement of the pseudo-label with the truth inside the event. Empty where nobody knows the truth.
    """
    out = []
    for p in prepared:
        if p.true is None:
            continue
        rows = p.first_complete()
        error = np.abs(p.annotated - p.true)[rows] * (p.step() / p.fps * 1000)[rows, None]  # (n, 3)
        matched = [metrics.curve_agreement(p.pseudo[i], p.event_truth(i), p.mask[i]) for i in rows]
        inside = [agreement["inside_spearman"] for agreement in matched]
        spread = [v for k in range(3) for v in np.percentile(error[:, k], [50, 95])]
        out.append((p.dataset, p.protocol, len(rows), *spread, float(np.nanmean(inside))))
    names = [f"{mark}_{q}_ms" for mark in ("onset", "apex", "offset") for q in ("median", "p95")]
    return pd.DataFrame(out, columns=["dataset", "protocol", "events", *names, "inside_spearman_true"])
