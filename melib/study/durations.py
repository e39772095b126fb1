"""How long events last, where their apex lies and what they overlap: of any data set, beside what is published of it.

    o . . A . . . f         duration   (f - o) / fps, as the public statistics count it
    0     |       1         position   (A - o) / (f - o)
                  f ... o   gap        to the next event of the video, whatever its kind; negative where they overlap

Tables of annotations are all that is read here, and the lengths of the videos.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from melib import priors
from melib.study import results

PERCENTILES = (5, 25, 50, 75, 95)


def event_durations(studies):
    """Usable events of some data sets, in seconds.

    Parameters
    ----------
    studies : list of data.Study

    Returns
    -------
    DataFrame
        dataset, subject, video, event, kind, frames (closed), seconds (offset - onset), position (of the apex, 0 to 1; NaN
        where there is none), gap_s (NaN after a video's last event), overlaps_macro (bool, of micro-expressions).
    """
    return pd.concat([_in_seconds(study) for study in studies], ignore_index=True)


def _in_seconds(study):
    used = study.events[study.events["status"] != "dropped"].sort_values(
        ["subject", "video", "onset"], kind="stable"
    )
    onset, apex, offset = (
        used[name].astype("Float64").to_numpy(float, na_value=np.nan) for name in ("onset", "apex", "offset")
    )
    length = offset - onset
    following = used.assign(start=onset).groupby(["subject", "video"])["start"].shift(-1).to_numpy(float)
    return used[["dataset", "subject", "video", "event", "kind"]].assign(
        frames=length + 1,
        seconds=length / used["fps"],
        position=np.divide(apex - onset, length, out=np.full(len(used), np.nan), where=length > 0),
        gap_s=(following - offset) / used["fps"],
        overlaps_macro=used.index.isin(_overlapping(used)),
    )


def _overlapping(used):
    """Index of the micro-expressions that share a frame with a macro-expression."""
    names = ["subject", "video", "onset", "offset"]
    micro, macro = (used.loc[used["kind"] == kind, names] for kind in ("micro", "macro"))
    pairs = micro.reset_index().merge(macro, on=["subject", "video"], suffixes=("", "_macro"))
    return pairs.loc[
        (pairs["onset_macro"] <= pairs["offset"]) & (pairs["offset_macro"] >= pairs["onset"]), "index"
    ]


def published():
    """Statistics of public annotation tables: dataset, kind, statistic, value, source (published_durations.csv).

    Returns
    -------
    DataFrame
    """
    return results.read_result(Path(__file__).with_name("published_durations.csv"))


def duration_statistics(events):
    """Durations, apex positions, gaps and overlaps in numbers, beside the published ones.

    Parameters
    ----------
    events : DataFrame
        As `event_durations` returns.

    Returns
    -------
    DataFrame
        dataset, kind (or all), statistic, value, published (NaN where nothing is), source.
    """
    rows = []
    for (dataset, kind), part in events.groupby(["dataset", "kind"], sort=False):
        rows += [(dataset, kind, *number) for number in _numbers(part).items()]
        if kind == "micro":
            rows.append((dataset, kind, "overlapping_macro", int(part["overlaps_macro"].sum())))
    for dataset, part in events.groupby("dataset", sort=False):
        rows += [(dataset, "all", *number) for number in _percentiles("gap_s", part["gap_s"]).items()]
    keys = ["dataset", "kind", "statistic"]
    known = published().rename(columns={"value": "published"})
    return pd.DataFrame(rows, columns=[*keys, "value"]).merge(known, on=keys, how="left")


def _numbers(part):
    lasting = part["seconds"][part["seconds"] > 0]
    return {
        "events": len(part),
        "subjects": part["subject"].nunique(),
        "without_apex": int(part["position"].isna().sum()),
        **_percentiles("duration_s", part["seconds"]),
        "log_duration_sd": float(np.log(lasting).std()),
        **_percentiles("apex_position", part["position"]),
        **{f"frames_{name}": float(getattr(part["frames"], name)()) for name in ("min", "median", "max")},
    }


def _percentiles(name, values):
    known = values.dropna()
    return {f"{name}_p{q:02d}": float(np.percentile(known, q)) for q in PERCENTILES if len(known)}


def fits(studies):
    """Priors fitted on all usable events of each kind; experiments fit theirs again on each training fold.

    Parameters
    ----------
    studies : list of data.Study

    Returns
    -------
    DataFrame
        dataset, kind, events, fps, log_mean, log_spread (of the duration in frames), half_length, frames_p05, frames_p50,
        frames_p95 (of the fitted distribution); where videos are long apex_a, apex_b, events_per_minute, else NaN.
    """
    rows = []
    for study in studies:
        used = study.events[study.events["status"] != "dropped"]
        for kind, part in used.groupby("kind", sort=False):
            rows.append({"dataset": study.name, "kind": kind, **_fit(study, part)})
    return pd.DataFrame(rows)


def _fit(study, events):
    duration = priors.DurationPrior.fit(events, study.manifest.fps)
    record = {"events" if name == "n_events" else name: value for name, value in duration.to_dict().items()}
    record |= {f"frames_p{q:02d}": duration.quantile(q / 100) for q in (5, 50, 95)}
    when = dict.fromkeys(("apex_a", "apex_b", "events_per_minute"), np.nan)
    if study.long and len(study.videos):
        prior = priors.IntervalPrior.fit(events, study.videos, study.manifest.fps)
        when = {name: getattr(prior, name) for name in when}
    return record | when
