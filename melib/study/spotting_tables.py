"""The tables of the second paper: spotting.csv, differences, effects of each part, the inflation ledger, recognition.

    intervals of every test subject + truth -> counts of each subject -> pooled scores
                                                                      -> 95 % intervals: subjects drawn again and again
                                                                      -> p of a difference: two systems swapped for a subject

Counts are pooled over folds and subjects before a score is formed, and the same resamples serve all that is compared. Where
training was repeated, intervals carry a column ``run``: counts are pooled over runs, too, and resamples drawn over subjects
crossed with runs.
"""

import dataclasses
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from melib import metrics, stats
from melib.study import comparisons, published, recognition, spotting
from melib.study.recognition import CLASSES
from melib.study.run import SEEDS_APART
from melib.study.spotting_decoding import FAULTS, IOUS, classify, curves_of, most_frequent

# The classes that recognition is scored on, as published: "others" is left out (facts of the spotting paper).
SCORED = CLASSES[:3]
# Streams of random numbers.
_BOOTSTRAP, _SWAPS = 6, 7


@dataclass(frozen=True)
class Tally:
    """Counts of each subject, from which every pooled score follows; a subject stands there once for each training run.

    ``subjects`` (S,); ``tp``, ``fp``, ``fn``, ``right`` (true positives whose class is right), ``fp_empty`` (false alarms in
    videos without an event), ``hours``, ``hours_empty``: (S,) float; ``confusion`` (S, 4, 4): true and predicted class of
    the true positives.
    """

    subjects: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    right: np.ndarray
    fp_empty: np.ndarray
    hours: np.ndarray
    hours_empty: np.ndarray
    confusion: np.ndarray


def tally(predicted, truth, videos, iou=0.5):
    """Count what was found, missed and invented for each subject.

    Parameters
    ----------
    predicted, truth : DataFrame
        subject, video, onset, offset, emotion. Intervals of several training runs have a column run, whose categories
        are all runs, those without any interval included.
    videos : list of spotting.Video
        Everything that is scored; a prediction elsewhere isn't counted.
    iou : float

    Returns
    -------
    Tally
    """
    return _joined([_tally(each, truth, videos, iou) for each in by_run(predicted)])


def together(found):
    """Intervals of several training runs in one table.

    Parameters
    ----------
    found : list of DataFrame
        One a run, in their order.

    Returns
    -------
    DataFrame
        With the column run where there are several.
    """
    if len(found) == 1:
        return found[0]
    runs = np.repeat(np.arange(len(found)), [len(each) for each in found])
    return pd.concat(found, ignore_index=True).assign(run=pd.Categorical(runs, categories=range(len(found))))


def by_run(found):
    """Take what `together` has put together apart: list of DataFrame."""
    if "run" not in found:
        return [found]
    return [
        found[found["run"] == run].drop(columns="run").reset_index(drop=True)
        for run in found["run"].cat.categories
    ]


def _joined(tallies):
    """Tallies one below the other."""
    fields = [[getattr(each, field.name) for each in tallies] for field in dataclasses.fields(Tally)]
    return Tally(*(np.concatenate(parts) for parts in fields))


def _tally(predicted, truth, videos, iou):
    subjects = np.array(sorted({video.subject for video in videos}))
    length = [(v.subject, v.video, len(v) / v.fps / 3600) for v in videos]
    hours = pd.DataFrame(length, columns=["subject", "video", "hours"])
    hours["empty"] = ~_pairs(hours).isin(_pairs(truth))
    predicted, truth = (t[_pairs(t).isin(_pairs(hours))].reset_index(drop=True) for t in (predicted, truth))
    found = metrics.spotting(predicted, truth, iou)["matches"]
    right = metrics.end_to_end(predicted, truth, iou)["matches"]

    def count(names):
        return names.value_counts().reindex(subjects, fill_value=0).to_numpy(float)

    missed, invented = truth.drop(index=found["truth"]), predicted.drop(index=found["predicted"])
    in_empty = _pairs(invented).isin(_pairs(hours[hours["empty"]]))
    confusion = np.zeros((len(subjects), len(CLASSES), len(CLASSES)))
    true, said = truth.loc[found["truth"]], predicted.loc[found["predicted"]]
    for subject, *pair in zip(true["subject"], true["emotion"], said["emotion"], strict=True):
        if set(pair) <= set(CLASSES):  # an event without an emotion says nothing about recognition
            confusion[np.searchsorted(subjects, subject), CLASSES.index(pair[0]), CLASSES.index(pair[1])] += 1
    each = hours.groupby("subject")["hours"].sum().reindex(subjects).to_numpy()
    alone = hours[hours["empty"]].groupby("subject")["hours"].sum().reindex(subjects, fill_value=0).to_numpy()
    return Tally(
        subjects,
        tp=count(true["subject"]),
        fp=count(invented["subject"]),
        fn=count(missed["subject"]),
        right=count(truth.loc[right["truth"], "subject"]),
        fp_empty=count(invented["subject"][in_empty]),
        hours=each,
        hours_empty=alone,
        confusion=confusion,
    )


def _pairs(table):
    """Subject and video of each row as one text."""
    return table["subject"].astype(str) + "/" + table["video"].astype(str)


def scores(counts, weight=None, *, skip_absent=False):
    """Pooled scores of a tally.

    Parameters
    ----------
    counts : Tally
    weight : (n, S) float, optional
        How often each subject is drawn; by default once each.
    skip_absent : bool
        Leave classes that occur neither in truth nor in prediction out of the means: a fault, for the inflation ledger.

    Returns
    -------
    dict of (n,) float64
        spotting_f1, recognition_f1, strs, end_to_end_f1, fp_per_hour, fp_per_hour_empty. The macro means of recognition
        run over ``SCORED``; a class with a zero denominator scores 0.
    """
    weight = np.ones((1, len(counts.subjects))) if weight is None else weight
    tp, fp, fn, right = (weight @ each for each in (counts.tp, counts.fp, counts.fn, counts.right))
    confusion = np.einsum("ns,sij->nij", weight, counts.confusion)[
        :, : len(SCORED)
    ]  # true class "others" left out
    hit = np.einsum("nii->ni", confusion[:, :, : len(SCORED)])
    said, true = confusion.sum(1)[:, : len(SCORED)], confusion.sum(2)
    counted = (said + true > 0) if skip_absent else np.ones_like(true)
    precision = _ratio((_ratio(hit, said) * counted).sum(1), counted.sum(1))
    recall = _ratio((_ratio(hit, true) * counted).sum(1), counted.sum(1))
    spotted = _ratio(2 * tp, 2 * tp + fp + fn)
    hours = weight @ counts.hours_empty
    recognised = _ratio(2 * precision * recall, precision + recall)
    return {
        "spotting_f1": spotted,
        "recognition_f1": recognised,
        "strs": spotted * recognised,
        "end_to_end_f1": _ratio(2 * right, 2 * tp + fp + fn),
        "fp_per_hour": _ratio(fp, weight @ counts.hours),
        "fp_per_hour_empty": np.where(hours > 0, _ratio(weight @ counts.fp_empty, hours), np.nan),
    }


def _ratio(a, b):
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b > 0)


def subject_weights(subjects, seed=0, n=2000):
    """How often each row of a tally is drawn in each resample: the same draws for all that is compared.

    Parameters
    ----------
    subjects : (S,) of str
        A subject that stands there several times was scored in as many training runs: runs are then drawn too, crossed with
        the subjects.
    seed, n : int

    Returns
    -------
    weight : (n, S) float
    """
    people, owner = np.unique(subjects, return_inverse=True)
    run = pd.Series(owner).groupby(owner).cumcount().to_numpy()
    weight, run_weight = stats.draws((seed, _BOOTSTRAP), people.size, int(run.max()) + 1, n=n, lone=True)
    return (weight[:, owner] * run_weight[:, run]).astype(float)


# ---- tables ---------------------------------------------------------------------------------------------------

COLUMNS = [
    *("dataset", "body", "features", "target", "decoder", "training", "seed", "rule", "videos", "minutes"),
    *("tp", "fp", "fn", "precision", "recall", "spotting_f1", "recognition_f1", "strs", "end_to_end_f1"),
    *("fp_per_hour", "ap"),
]


def spotting_table(systems, predictions, candidates, material, dataset=""):
    """Rows of spotting.csv: every system under every rule, counts beside every score.

    Parameters
    ----------
    systems : list of System
    predictions, candidates : dict name -> DataFrame
        What each system stands by, and all that it considered: average precision is taken over the latter.
    material : Material
    dataset : str
        The one that was decoded.

    Returns
    -------
    DataFrame
        system, ``COLUMNS``, and 95 % intervals over subjects of the strict rule's scores (``*_low``, ``*_high``),
        fp_per_hour_empty. A row a training run; where there are several, one more by the strict rule without a seed: counts
        of all runs, and intervals over subjects crossed with runs.
    """
    dataset = dataset or material.dataset
    videos = [v for v in material.videos if v.dataset == dataset]
    truth = spotting.annotated(videos)
    seconds = sum(len(v) / v.fps for v in videos)
    rows = []
    for system in systems:
        found = by_run(predictions[system.name])
        about = {
            "system": system.name,
            "dataset": dataset,
            "body": system.body + "+intensity" * system.add_intensity,
            "features": system.features,
            "target": system.target,
            "decoder": system.decoder,
            "training": system.training,
            "videos": len(videos),
            "minutes": seconds / 60,
        }
        ap = [metrics.average_precision(each, truth) for each in by_run(candidates[system.name])]
        for run, each in enumerate(found):
            bounded = _bounded(_tally(each, truth, videos, 0.5), material.seed)
            known = {name: bounded[name] for name in ("end_to_end_f1", "fp_per_hour", "fp_per_hour_empty")}
            mine = {**about, "seed": material.seed + SEEDS_APART * run, **known, "ap": ap[run]}
            for rule in ("strict", "megc", "boosting"):
                by_rule = metrics.strs(each, truth, emotions=SCORED, rule=rule)
                rows.append({**mine, "rule": rule, **(bounded if rule == "strict" else {}), **by_rule})
        if len(found) > 1:
            counts = tally(predictions[system.name], truth, videos)
            tp, fp, fn = (int(each.sum()) for each in (counts.tp, counts.fp, counts.fn))
            pooled = {
                "tp": tp,
                "fp": fp,
                "fn": fn,
                "precision": tp / max(tp + fp, 1),
                "recall": tp / max(tp + fn, 1),
            }
            mine = {**about, "seed": np.nan, "rule": "strict", "ap": float(np.mean(ap))}
            rows.append({**mine, **_bounded(counts, material.seed), **pooled})
    table = pd.DataFrame(rows)
    return table[["system", *COLUMNS, *(name for name in table if name not in (*COLUMNS, "system"))]]


def _bounded(counts, seed):
    """Pooled scores of a tally, some with the bounds of their 95 % interval: dict of float."""
    drawn = scores(counts, subject_weights(counts.subjects, seed))
    return {name: float(value[0]) for name, value in scores(counts).items()} | {
        f"{name}_{side}": float(end)
        for name in ("spotting_f1", "strs", "end_to_end_f1", "fp_per_hour")
        for side, end in zip(("low", "high"), stats.interval(drawn[name]), strict=True)
    }


def beside_published(table):
    """Every system's scores above those published for the same data set.

    Parameters
    ----------
    table : DataFrame
        spotting.csv.

    Returns
    -------
    DataFrame
        dataset, system, rule, strs, spotting_f1, recognition_f1, source ("this run", or whose); empty where nothing was
        published for these data.
    """
    known = published.values("spotting").rename(columns={"method": "system"})
    known = known.pivot_table(
        index=["system", "dataset", "source"], columns="metric", values="value", sort=False
    )
    known = known.reset_index()
    both = set(known["dataset"]) & set(table["dataset"])
    rows = [table.assign(source="this run"), known.assign(rule="its own")]
    columns = ["dataset", "system", "rule", "strs", "spotting_f1", "recognition_f1", "source"]
    found = pd.concat(rows, ignore_index=True)[columns]
    return found[found["dataset"].isin(both)].sort_values("dataset", kind="stable", ignore_index=True)


def difference(ours, other, seed=0):
    """Scores of one system minus another's, paired over subjects.

    Parameters
    ----------
    ours, other : Tally
        Of the same videos and training runs.
    seed : int

    Returns
    -------
    DataFrame
        metric, ours, other, difference, low, high (95 %, bootstrap over subjects, crossed with runs), p (swaps of a
        subject's predictions between the two, in all runs at once; two-sided), events (true ones), events_needed (how many
        a difference of this size needs for its interval to touch 0 and no more, if intervals shrink with the root of their
        number; about twice as many for it to do so in four of five samples; NaN for rates and for a difference of 0),
        effect, subjects, seeds.

        The effect is the difference divided by the standard deviation over subjects of what each contributes to it: its
        jackknife pseudo-value, S times the difference less S - 1 times the difference without that subject. Of a score that
        is a mean over subjects this is Cohen's d of pairs, as in stats.paired_difference.
    """
    people, owner = np.unique(ours.subjects, return_inverse=True)
    seeds = len(owner) // people.size
    weight = subject_weights(ours.subjects, seed)
    swap = stats.swaps((seed, _SWAPS), people.size, n=len(weight), uniform=True)
    one, two = scores(ours), scores(other)
    drawn = [scores(each, weight) for each in (ours, other)]
    without = [scores(each, 1 - np.eye(people.size)[:, owner]) for each in (ours, other)]
    swapped = _swap_scores(ours, other, swap[:, owner])
    events = round(float(ours.tp.sum() + ours.fn.sum()) / seeds)
    rows = []
    for name in one:
        gap = float(one[name][0] - two[name][0])
        low, high = stats.interval(drawn[0][name] - drawn[1][name])
        reach = gap - low if gap > 0 else high - gap  # from the difference to its bound on the side of 0
        needed = events * (reach / gap) ** 2 if gap and not name.startswith("fp") else np.nan
        p = stats.swap_p(gap, swapped[name])
        own = people.size * gap - (people.size - 1) * (without[0][name] - without[1][name])
        found = (name, one[name][0], two[name][0], gap, low, high, p, events, needed)
        rows.append((*found, stats.effect_size(gap, own), people.size, seeds))
    columns = ["metric", "ours", "other", "difference", "low", "high", "p", "events", "events_needed"]
    return pd.DataFrame(rows, columns=[*columns, "effect", "subjects", "seeds"])


def system_differences(systems, predictions, material, family):
    """Every system less the one that comparisons.yml sets beside it, on the same videos.

    Parameters
    ----------
    systems : list of System
        The one beside which they stand may be among them, and one that the claims test against it: neither is tested.
    predictions : dict name -> DataFrame
    material : Material
    family : str
        spotting_systems or spotting_ablations.

    Returns
    -------
    DataFrame
        system, against, and the columns of `difference` of the family's metrics; family, p_holm, significant, tests.
    """
    asked, claimed = (comparisons.declared()[name] for name in (family, "spotting_claims"))
    left_out = {asked["other"], *([claimed["ours"]] if asked["other"] == claimed["other"] else [])}
    videos = [v for v in material.videos if v.dataset == material.dataset]
    truth = spotting.annotated(videos)
    theirs = tally(predictions[asked["other"]], truth, videos)
    parts = []
    for system in systems:
        if system.name not in left_out:
            found = difference(tally(predictions[system.name], truth, videos), theirs, material.seed)
            part = found[found["metric"].isin(asked["metrics"])].copy()
            part.insert(0, "system", system.name)
            part.insert(1, "against", asked["other"])
            parts.append(part)
    return comparisons.corrected(pd.concat(parts, ignore_index=True), family, ["system", "metric"])


def _swap_scores(ours, other, swap):
    """Difference of scores after swapping the two systems for some subjects: dict metric -> (n,)."""
    stays = (~swap).astype(float)
    both = _joined([ours, other])
    first = scores(both, np.hstack([stays, 1 - stays]))
    second = scores(both, np.hstack([1 - stays, stays]))
    return {name: first[name] - second[name] for name in first}


def effects(systems, predictions, material, factors):
    """What each part brings: the mean score with ours less the mean score with the reference's.

    Parameters
    ----------
    systems : list of System
        A factorial over the levels of ``factors``, full or a fraction in which each level of one factor meets each level of
        another equally often.
    predictions : dict name -> DataFrame
    material : Material
    factors : dict attribute -> (reference's level, our level)

    Returns
    -------
    DataFrame
        factor, reference, ours, metric, effect, low, high (95 %, over subjects), combinations (how many systems).
    """
    videos = [v for v in material.videos if v.dataset == material.dataset]
    truth = spotting.annotated(videos)
    tallies = {system: tally(predictions[system.name], truth, videos) for system in systems}
    weight = subject_weights(next(iter(tallies.values())).subjects, material.seed)
    known = {system: scores(each) for system, each in tallies.items()}
    drawn = {system: scores(each, weight) for system, each in tallies.items()}
    rows = []
    for factor, (reference, ours) in factors.items():
        sign = {system: 1 if getattr(system, factor) == ours else -1 for system in systems}
        half = len(systems) / 2
        for name in ("spotting_f1", "strs", "end_to_end_f1", "fp_per_hour"):
            effect = sum(sign[system] * known[system][name][0] for system in systems) / half
            spread = sum(sign[system] * drawn[system][name] for system in systems) / half
            low, high = stats.interval(spread)
            rows.append((factor, reference, ours, name, effect, low, high, len(systems)))
    columns = ["factor", "reference", "ours", "metric", "effect", "low", "high", "combinations"]
    return pd.DataFrame(rows, columns=columns)


def ledger(system, predictions, material):
    """How much STRS each published fault of evaluation adds, switched on alone.

    Parameters
    ----------
    system : System
        Without faults.
    predictions : dict name -> DataFrame
        Of the system itself and of ``f"{system.name}, {fault}"`` for the faults that change predictions.
    material : Material

    Returns
    -------
    DataFrame
        system, fault, meaning, strs, inflation, low, high (95 %, over subjects), events, subjects.
    """
    videos = [v for v in material.videos if v.dataset == material.dataset]
    truth = spotting.annotated(videos)
    clean = tally(predictions[system.name], truth, videos)
    weight = subject_weights(clean.subjects, material.seed)
    base, base_drawn = scores(clean)["strs"][0], scores(clean, weight)["strs"]
    counted = len(truth), len(set(clean.subjects))
    rows = [(system.name, "none", "nothing is wrong", base, 0.0, 0.0, 0.0, *counted)]
    for fault, meaning in FAULTS.items():
        found = predictions.get(f"{system.name}, {fault}", predictions[system.name])
        counts = tally(found, truth, videos)
        if fault == "events_only":
            inside = set(zip(truth["subject"], truth["video"], strict=True))
            kept = [pair in inside for pair in zip(found["subject"], found["video"], strict=True)]
            counts = tally(found[kept], truth, videos)
        if fault == "dropped_subjects":
            silent = counts.tp + counts.fp == 0
            counts = replace(counts, fn=np.where(silent, 0, counts.fn))
        skipping = fault == "skipped_classes"
        value = scores(counts, skip_absent=skipping)["strs"][0]
        low, high = stats.interval(scores(counts, weight, skip_absent=skipping)["strs"] - base_drawn)
        rows.append((system.name, fault, meaning, value, value - base, low, high, *counted))
    columns = ["system", "fault", "meaning", "strs", "inflation", "low", "high", "events", "subjects"]
    return pd.DataFrame(rows, columns=columns)


# Borders of the bins of recall: peak in pixels of the 112-pixel crop, duration in seconds.
BINS = {
    "peak_px": (0, 0.5, 0.7, 1.0, 1.5, np.inf),
    "duration_s": (0, 0.3, 0.4, 0.5, np.inf),
    "overlapped": None,
}


def details(systems, predictions, material):
    """F1 over IoU, recall by kind of event and errors of the landmarks.

    Returns
    -------
    dict of DataFrame
        ``spotting_iou``: system, iou, f1. ``spotting_recall``: system, by, group, events, found, recall.
        ``spotting_timing``: system, landmark, events, median_ms, p90_ms (absolute error), bias_ms (median of found minus
        true) over true positives. All of the first training run.
    """
    videos = [v for v in material.videos if v.dataset == material.dataset]
    truth = spotting.annotated(videos)
    over, recall, timing = [], [], []
    for system in systems:
        found = by_run(predictions[system.name])[0]
        f1 = metrics.f1_over_iou(found, truth, IOUS)
        over += [(system.name, iou, value) for iou, value in zip(IOUS, f1, strict=True)]
        matches = metrics.spotting(found, truth)["matches"]
        for column, bins in BINS.items():
            if truth[column].notna().any():
                part = metrics.recall_by(truth, matches, column, bins)
                recall.append(part.assign(system=system.name, by=column))
        errors = metrics.timing_errors(found, truth, matches, videos[0].fps)
        for landmark in ("onset", "apex", "offset"):
            off = errors[landmark].to_numpy(float)
            if len(off):
                middle, far = np.percentile(np.abs(off), [50, 90])
                timing.append((system.name, landmark, len(off), middle, far, float(np.median(off))))
    return {
        "spotting_iou": pd.DataFrame(over, columns=["system", "iou", "f1"]),
        "spotting_recall": pd.concat(recall, ignore_index=True),
        "spotting_timing": pd.DataFrame(
            timing, columns=["system", "landmark", "events", "median_ms", "p90_ms", "bias_ms"]
        ),
    }


def recognition_table(systems, material):
    """Class of the true intervals by each system, beside what can be known at all.

    Returns
    -------
    DataFrame
        system, classes, events, uf1, uar, accuracy, and ``_low`` and ``_high`` of these (95 %, subjects drawn again and
        again, the same for all systems). ``action units`` is given the true units of each event (the best
        that recognition can do here), ``most frequent`` the training fold's most frequent class. Events without an emotion
        don't count; empty where fewer than two have one.
    """
    home = [v for v in material.videos if v.dataset == material.dataset]
    truth = spotting.annotated(home)
    truth = truth[truth["emotion"].isin(CLASSES)].reset_index(drop=True)
    rates = ("uf1", "uar", "accuracy")
    ends = (f"{rate}_{end}" for rate in rates for end in ("low", "high"))
    columns = ["system", "classes", "events", *rates, *ends]
    if len(truth) < 2:
        return pd.DataFrame(columns=columns)
    rows = []
    for system in systems:
        said: dict[int, str] = {}
        for fold, video, mine in _true_intervals(material, home, truth):
            # A rejection has no place where the intervals are given.
            named = classify(system, mine, curves_of(system, material, fold, video), reject=False)
            said |= dict(zip(mine.index, named["emotion"], strict=True))
        rows.append((system.name, truth.index.map(said)))
    common: dict[int, str] = {}
    for fold, _, mine in _true_intervals(material, home, truth):
        common |= dict.fromkeys(mine.index, most_frequent([v for v in home if v.subject in fold.train]))
    rows.append(("most frequent", truth.index.map(common)))
    rows.append(("action units", recognition.unit_ceiling(truth["aus"], truth["emotion"])["predicted"]))
    scored = [_rates(truth["emotion"], found, truth["subject"], material.seed) for _, found in rows]
    about = [(of, len(CLASSES), len(truth)) for of, _ in rows]
    return pd.DataFrame([(*first, *rest) for first, rest in zip(about, scored, strict=True)], columns=columns)


def _rates(true, found, subjects, seed):
    """UF1, UAR and accuracy, then the ends of the interval of each: list of 9 float."""
    # metrics.uf1 and uar on counts: 4000 resamples of labels would take them a minute.
    cells = np.zeros((len(true), len(CLASSES), len(CLASSES) + 1))  # true, said; the last: none of them
    cells[np.arange(len(true)), *(pd.Index(CLASSES).get_indexer(side) for side in (true, found))] = 1
    rules = (
        lambda hit, named, occurs: _ratio(2 * hit, named + occurs).mean(),
        lambda hit, named, occurs: _ratio(hit, occurs).mean(),
        lambda hit, named, occurs: hit.sum() / occurs.sum(),
    )
    scored = [
        stats.bootstrap(
            cells,
            subjects,
            statistic=lambda drawn, rule=rule: rule(*_counted(drawn.sum(0))),
            seed=seed,
        )
        for rule in rules
    ]
    return [*(each[0] for each in scored), *(end for each in scored for end in each[1:])]


def _counted(confusion):
    """Of each class, how often it was right, named, and true: 3 (K,) of a confusion (K, K + 1)."""
    return confusion.diagonal(), confusion.sum(0)[:-1], confusion.sum(1)


def _true_intervals(material, videos, truth):
    """Every video with its fold and its true intervals."""
    for fold in material.folds:
        for video in (v for v in videos if v.subject in fold.test):
            mine = truth[(truth["subject"] == video.subject) & (truth["video"] == video.video)]
            if len(mine):
                yield fold, video, mine
