"""The tables of the second paper: spotting.csv, differences, effects of each part, the inflation ledger, recognition.

    intervals of every test subject + truth -> counts of each subject -> pooled scores
                                                                      -> 95 % intervals: subjects drawn again and again
                                                                      -> p of a difference: two systems swapped for a subject

Counts are pooled over folds and subjects before a score is formed, and the same resamples serve all that is compared. Where
training was repeated there are several tables of intervals, one a training: counts are pooled over these, too, and resamples
drawn over subjects crossed with trainings.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from melib import metrics, stats
from melib.study import comparisons, recognition, spotting
from melib.study.recognition import CLASSES
from melib.study.run import SEEDS_APART
from melib.study.spotting_decoding import (
    FAULTS,
    Material,
    accepted_intervals,
    class_prior_of,
    classify,
    curves_of,
    fits_of,
    most_frequent,
)

# The classes that recognition is scored on, as published: "others" is left out.
SCORED = CLASSES[:3]
# What is counted of each subject: `right` are true positives whose class is right, then how often a true positive of one
# class was called another.
_CONFUSED = [f"{true} called {named}" for true in CLASSES for named in CLASSES]
COUNTS = ["tp", "fp", "fn", "right", "hours", *_CONFUSED]
# Streams of random numbers.
_BOOTSTRAP, _SWAPS = 6, 7


# ---- counts and scores ----------------------------------------------------------------------------------------


def tally(predicted, truth, videos, iou=0.5):
    """Count what was found, missed and invented for each subject: from these counts every pooled score follows.

    Parameters
    ----------
    predicted : list of DataFrame
        subject, video, onset, offset, emotion; one table a training.
    truth : DataFrame
        The same columns.
    videos : list of spotting.Video
        Everything that is scored; a prediction elsewhere isn't counted.
    iou : float

    Returns
    -------
    DataFrame
        run, subject and ``COUNTS`` (float), a row a training run and subject, sorted by both.
    """
    searched = [(v.subject, v.video, len(v) / v.fps / 3600) for v in videos]
    searched = pd.DataFrame(searched, columns=["subject", "video", "hours"])
    truth = _within(truth, searched)
    parts = []
    for run, intervals in enumerate(predicted):
        spans = _within(intervals, searched)
        pairs, right = (rule(spans, truth, iou)["matches"] for rule in (metrics.spotting, metrics.end_to_end))
        hit, named = truth.loc[pairs["truth"]], spans.loc[pairs["predicted"], "emotion"]
        called = [f"{true} called {name}" for true, name in zip(hit["emotion"], named, strict=True)]
        # An event without an emotion says nothing about recognition: its pair isn't among the counts.
        table = hit.assign(called=called, n=1)
        table = table.pivot_table(index="subject", columns="called", values="n", aggfunc="sum")
        counted = {
            "tp": hit,
            "fp": spans.drop(index=pairs["predicted"]),
            "fn": truth.drop(index=pairs["truth"]),
            "right": truth.loc[right["truth"]],
        }
        counted = {name: rows["subject"].value_counts() for name, rows in counted.items()}
        own = searched.groupby("subject")[["hours"]].sum().assign(**counted).join(table)
        parts.append(own.reindex(columns=COUNTS).fillna(0.0).reset_index().assign(run=run))
    return pd.concat(parts, ignore_index=True)


def _within(table, videos):
    """Rows of a table that lie in one of some videos."""
    pairs = (part["subject"].astype(str) + "/" + part["video"].astype(str) for part in (table, videos))
    return table[next(pairs).isin(next(pairs))].reset_index(drop=True)


def pooled_scores(counts, weight=None, *, skip_absent=False):
    """Pooled scores of a tally.

    Parameters
    ----------
    counts : DataFrame
        As `tally` returns.
    weight : (n, S) float, optional
        How often each row is drawn; by default once each.
    skip_absent : bool
        Leave classes that occur neither in truth nor in prediction out of the means: a fault, for the inflation ledger.

    Returns
    -------
    dict of (n,) float64
        spotting_f1, recognition_f1, strs, end_to_end_f1, fp_per_hour. The macro means of recognition run over ``SCORED``;
        a class with a zero denominator scores 0.
    """
    weight = np.ones((1, len(counts))) if weight is None else weight
    drawn = weight @ counts[COUNTS].to_numpy(float)  # (n, counts)
    tp, fp, fn, right, hours = drawn.T[:5]
    n = len(SCORED)
    confusion = drawn[:, 5:].reshape(-1, len(CLASSES), len(CLASSES))[:, :n]  # true class "others" left out
    hit = np.einsum("nii->ni", confusion[:, :, :n])
    named, occurs = confusion.sum(1)[:, :n], confusion.sum(2)
    counted = (named + occurs > 0) if skip_absent else np.ones_like(occurs)
    precision, recall = (
        _ratio((_ratio(hit, part) * counted).sum(1), counted.sum(1)) for part in (named, occurs)
    )
    spotted = _ratio(2 * tp, 2 * tp + fp + fn)
    recognised = _ratio(2 * precision * recall, precision + recall)
    return {
        "spotting_f1": spotted,
        "recognition_f1": recognised,
        "strs": spotted * recognised,
        "end_to_end_f1": _ratio(2 * right, 2 * tp + fp + fn),
        "fp_per_hour": _ratio(fp, hours),
    }


def _ratio(a, b):
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b > 0)


def subject_weights(subjects, seed=0):
    """How often each row of a tally is drawn in each resample: the same draws for all that is compared.

    Parameters
    ----------
    subjects : (S,) of str
        Column of the tally. A subject that stands there several times was scored in as many training runs: runs are then
        drawn too, crossed with the subjects.
    seed : int

    Returns
    -------
    weight : (n, S) float
    """
    people, owner = np.unique(subjects, return_inverse=True)
    run = pd.Series(owner).groupby(owner).cumcount().to_numpy()
    weight, run_weight = stats.draws((seed, _BOOTSTRAP), people.size, int(run.max()) + 1, lone=True)
    return (weight[:, owner] * run_weight[:, run]).astype(float)


def difference(ours, other, seed=0):
    """Scores of one system minus another's, paired over subjects.

    Parameters
    ----------
    ours, other : DataFrame
        As `tally` returns, of the same videos and training runs.
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
    people, owner = np.unique(ours["subject"], return_inverse=True)
    seeds = len(owner) // people.size
    weight = subject_weights(ours["subject"], seed)
    swap = stats.swaps((seed, _SWAPS), people.size, n=len(weight), uniform=True)
    one, two = pooled_scores(ours), pooled_scores(other)
    drawn = [pooled_scores(counts, weight) for counts in (ours, other)]
    without = [pooled_scores(counts, 1 - np.eye(people.size)[:, owner]) for counts in (ours, other)]
    stays, both = (~swap[:, owner]).astype(float), pd.concat([ours, other])
    first, second = (
        pooled_scores(both, np.hstack(sides)) for sides in ([stays, 1 - stays], [1 - stays, stays])
    )
    events = round(float(ours["tp"].sum() + ours["fn"].sum()) / seeds)
    rows = []
    for name in one:
        gap = float(one[name][0] - two[name][0])
        low, high = stats.interval(drawn[0][name] - drawn[1][name])
        reach = gap - low if gap > 0 else high - gap  # from the difference to its bound on the side of 0
        own = people.size * gap - (people.size - 1) * (without[0][name] - without[1][name])
        row = {"metric": name, "ours": one[name][0], "other": two[name][0]}
        row |= {
            "difference": gap,
            "low": low,
            "high": high,
            "p": stats.swap_p(gap, first[name] - second[name]),
        }
        row |= {"events": events, "events_needed": np.nan}
        if gap and not name.startswith("fp"):
            row["events_needed"] = events * (reach / gap) ** 2
        rows.append({**row, "effect": stats.effect_size(gap, own), "subjects": people.size, "seeds": seeds})
    return pd.DataFrame(rows)


# ---- tables ---------------------------------------------------------------------------------------------------

COLUMNS = [
    *("dataset", "body", "features", "target", "decoder", "training", "seed", "rule", "videos", "minutes"),
    *("tp", "fp", "fn", "precision", "recall", "spotting_f1", "recognition_f1", "strs", "end_to_end_f1"),
    *("fp_per_hour", "ap"),
]
# Scores that have an interval, and those of a whole factorial.
_BOUNDED = ("spotting_f1", "strs", "end_to_end_f1", "fp_per_hour")
# What is claimed of each metric of the family spotting_claims, and what must be so for it to hold.
_CLAIMED = (
    ("end-to-end F1 above the repaired reference's", "end_to_end_f1", "interval above 0"),
    ("STRS above the repaired reference's", "strs", "interval above 0"),
    ("fewer false alarms an hour than the repaired reference", "fp_per_hour", "interval below 0"),
    ("STRS 1.5 times the repaired reference's", "strs", "1.5 times, and above 0"),
)
# Borders of the bins of recall: peak in pixels of the 112-pixel crop, duration in seconds.
BINS = {
    "peak_px": (0, 0.5, 0.7, 1.0, 1.5, np.inf),
    "duration_s": (0, 0.3, 0.4, 0.5, np.inf),
    "overlapped": None,
}


@dataclass(frozen=True)
class Evaluation:
    """What systems found in the videos that were trained on, every subject by fits that never saw it, beside the truth.

    Attributes
    ----------
    material : Material
    candidates : dict name -> list of DataFrame
        All intervals that a system considered, as `spotting_decoding.decode_system` returns them; one table a training.
    """

    material: Material
    candidates: dict[str, list[pd.DataFrame]]

    @cached_property
    def predictions(self):
        """Intervals that each system stands by: dict name -> list of DataFrame."""
        return {name: [*map(accepted_intervals, trainings)] for name, trainings in self.candidates.items()}

    @cached_property
    def truth(self):
        """Micro-expressions of the videos, as `spotting.annotated` gives them."""
        return spotting.annotated(self.material.home)

    @cached_property
    def counts(self):
        """Tally of each system: dict name -> DataFrame."""
        home = self.material.home
        return {name: tally(intervals, self.truth, home) for name, intervals in self.predictions.items()}

    def systems(self, systems):
        """Rows of spotting.csv: every system under every rule, counts beside every score.

        Parameters
        ----------
        systems : list of System

        Returns
        -------
        DataFrame
            system, ``COLUMNS``, and 95 % intervals over subjects of the strict rule's scores (``*_low``, ``*_high``). A row
            a training run; where there are several, one more by the strict rule without a seed: counts of all runs, and
            intervals over subjects crossed with runs. Average precision is taken over all candidates.
        """
        videos, seed, rows = self.material.home, self.material.seed, []
        for system in systems:
            about = {
                "system": system.name,
                "dataset": self.material.dataset,
                "body": system.body + "+intensity" * system.add_intensity,
                "features": system.features,
                "target": system.target,
                "decoder": system.decoder,
                "training": system.training,
                "videos": len(videos),
                "minutes": sum(len(v) / v.fps for v in videos) / 60,
            }
            counts = self.counts[system.name]
            candidates = self.candidates[system.name]
            ap = [metrics.average_precision(intervals, self.truth) for intervals in candidates]
            for run, intervals in enumerate(self.predictions[system.name]):
                bounded = _bounded(counts[counts["run"] == run], seed)
                shared = {name: bounded[name] for name in ("end_to_end_f1", "fp_per_hour")}
                row = {**about, "seed": seed + SEEDS_APART * run, **shared, "ap": ap[run]}
                for rule in ("strict", "megc", "boosting"):
                    by_rule = metrics.strs(intervals, self.truth, emotions=SCORED, rule=rule)
                    rows.append({**row, "rule": rule, **(bounded if rule == "strict" else {}), **by_rule})
            if len(candidates) > 1:
                tp, fp, fn = counts[["tp", "fp", "fn"]].sum().astype(int)
                pooled: dict[str, float] = {"tp": tp, "fp": fp, "fn": fn}
                pooled |= {"precision": tp / max(tp + fp, 1), "recall": tp / max(tp + fn, 1)}
                row = {**about, "seed": np.nan, "rule": "strict", "ap": float(np.mean(ap))}
                rows.append({**row, **_bounded(counts, seed), **pooled})
        table = pd.DataFrame(rows)
        return table[["system", *COLUMNS, *(name for name in table if name not in (*COLUMNS, "system"))]]

    def differences(self, systems, family):
        """Every system less the one that comparisons.yml sets beside it, on the same videos.

        Parameters
        ----------
        systems : list of System
            The one beside which they stand may be among them, and one that the claims test against it: neither is
            tested.
        family : str
            spotting_systems or spotting_ablations.

        Returns
        -------
        DataFrame
            system, against, and the columns of `difference` of the family's metrics; family, p_holm, significant, tests;
            floor, where a sham is among them, which isn't tested: the size of its own difference.
        """
        declared, claimed = (comparisons.declared()[name] for name in (family, "spotting_claims"))
        other = declared["other"]
        left_out = {other, *([claimed["ours"]] if other == claimed["other"] else [])}
        pairs = [({"system": one.name, "against": other}, one) for one in systems if one.name not in left_out]
        table = comparisons.corrected(self._less(pairs, declared["metrics"]), family, ["system", "metric"])
        shams = {system.name for system in systems if system.sham}
        return _with_floor(table, table["system"].isin(shams)) if shams else table

    def _less(self, pairs, wanted):
        """Differences in some metrics; of each pair what a row says of it, ``against`` whom, and the system."""
        parts = []
        for about, system in pairs:
            part = difference(self.counts[system.name], self.counts[about["against"]], self.material.seed)
            part = part[part["metric"].isin(wanted)].assign(**about)
            parts.append(part.assign(p=np.nan if system.sham else part["p"]))
        table = pd.concat(parts, ignore_index=True)
        return table[[*about, *table.columns.drop([*about])]]

    def parts(self, questions):
        """What single parts of our system do, each held against what it is asked about.

        Parameters
        ----------
        questions : dict question -> list of System
            The last of a list is what its others are held against; those of "sham" differ in nothing but the seed, and
            of them nothing is claimed.

        Returns
        -------
        DataFrame
            question, system, against, and the columns of `difference` of the declared metrics; floor (size of the sham's own
            difference; NaN where both decode the same fits), family (spotting_parts), p_holm, significant, tests.
        """
        pairs = []
        for question, (*systems, other) in questions.items():
            decoded = fits_of(other, "", self.material.folds, self.material.seed)
            for system in systems:
                trained = fits_of(system, "", self.material.folds, self.material.seed) != decoded
                about = {
                    "question": question,
                    "system": system.name,
                    "against": other.name,
                    "trained": trained,
                }
                pairs.append((about, system))
        table = self._less(pairs, comparisons.declared()["spotting_parts"]["metrics"])
        table = comparisons.corrected(table, "spotting_parts", ["question", "system", "metric"])
        table = _with_floor(table, table["question"] == "sham")
        return table.assign(floor=table["floor"].where(table["trained"])).drop(columns="trained")

    def claims(self):
        """What must hold of our system against the repaired reference, each with its interval.

        Returns
        -------
        DataFrame
            claim, metric, ours, other, difference, low, high, p, events, events_needed, needed, holds, effect, subjects,
            seeds, family (spotting_claims), p_holm, significant. Two claims about one metric are one test.
        """
        family = comparisons.declared()["spotting_claims"]
        ours, theirs = (self.counts[family[name]] for name in ("ours", "other"))
        table = difference(ours, theirs, self.material.seed).set_index("metric")
        claims = []
        for claim, metric, needed in _CLAIMED:
            row = table.loc[metric]
            holds = {
                "interval above 0": row["low"] > 0,
                "interval below 0": row["high"] < 0,
                "1.5 times, and above 0": row["ours"] >= 1.5 * row["other"] and row["low"] > 0,
            }[needed]
            claims.append({"claim": claim, "metric": metric, "needed": needed, "holds": bool(holds), **row})
        first = [*table.columns[: table.columns.get_loc("effect")], "needed", "holds"]
        columns = ["claim", "metric", *first, "effect", "subjects", "seeds"]
        claims = pd.DataFrame(claims, columns=columns).astype({"events": int, "subjects": int, "seeds": int})
        return comparisons.corrected(claims, "spotting_claims", ["metric"])

    def effects(self, systems, factors):
        """What each part brings: the mean score with ours less the mean score with the reference's.

        Parameters
        ----------
        systems : list of System
            A factorial over the levels of ``factors``, full or a fraction in which each level of one factor meets each
            level of another equally often.
        factors : dict attribute -> (reference's level, our level)

        Returns
        -------
        DataFrame
            factor, reference, ours, metric, effect, low, high (95 %, over subjects), combinations (how many systems), seeds
            (trainings of each).
        """
        weight = subject_weights(self.counts[systems[0].name]["subject"], self.material.seed)
        known = [pooled_scores(self.counts[system.name]) for system in systems]
        drawn = [pooled_scores(self.counts[system.name], weight) for system in systems]
        half, rows = len(systems) / 2, []
        size = len(systems), self.counts[systems[0].name]["run"].nunique()
        for factor, (reference, ours) in factors.items():
            signs = [1 if getattr(system, factor) == ours else -1 for system in systems]
            for name in _BOUNDED:
                effect = sum(sign * one[name][0] for sign, one in zip(signs, known, strict=True)) / half
                spread = sum(sign * one[name] for sign, one in zip(signs, drawn, strict=True)) / half
                rows.append((factor, reference, ours, name, effect, *stats.interval(spread), *size))
        columns = ["factor", "reference", "ours", "metric", "effect", "low", "high", "combinations", "seeds"]
        return pd.DataFrame(rows, columns=columns)

    def ledger(self, system):
        """How much STRS each published fault of evaluation adds, switched on alone.

        Parameters
        ----------
        system : System
            Without faults. Those that change predictions are the systems named ``f"{system.name}, {fault}"``.

        Returns
        -------
        DataFrame
            system, fault, meaning, strs, inflation, low, high (95 %, over subjects), events, subjects, seeds.
        """
        truth, clean = self.truth, self.counts[system.name]
        weight = subject_weights(clean["subject"], self.material.seed)
        base, base_drawn = pooled_scores(clean)["strs"][0], pooled_scores(clean, weight)["strs"]
        size = len(truth), clean["subject"].nunique(), clean["run"].nunique()
        rows = [(system.name, "none", "nothing is wrong", base, 0.0, 0.0, 0.0, *size)]
        for fault, meaning in FAULTS.items():
            faulty = f"{system.name}, {fault}"
            counts = self.counts.get(faulty, clean)
            if fault == "events_only":
                intervals = [_within(intervals, truth) for intervals in self.predictions[system.name]]
                counts = tally(intervals, truth, self.material.home)
            if fault == "dropped_subjects":
                counts = counts.assign(fn=counts["fn"].where(counts["tp"] + counts["fp"] > 0, 0))
            skipping = fault == "skipped_classes"
            value = pooled_scores(counts, skip_absent=skipping)["strs"][0]
            ends = stats.interval(pooled_scores(counts, weight, skip_absent=skipping)["strs"] - base_drawn)
            rows.append((system.name, fault, meaning, value, value - base, *ends, *size))
        columns = [
            "system",
            "fault",
            "meaning",
            "strs",
            "inflation",
            "low",
            "high",
            "events",
            "subjects",
            "seeds",
        ]
        return pd.DataFrame(rows, columns=columns)

    def details(self, systems):
        """Recall by kind of event and errors of the landmarks.

        Parameters
        ----------
        systems : list of System

        Returns
        -------
        dict of DataFrame
            ``spotting_recall``: system, by, group, events, found, recall. ``spotting_timing``: system, landmark, events,
            median_ms, p90_ms (absolute error), bias_ms (median of found minus true) over true positives. All of the
            first training run.
        """
        truth, recall, timing = self.truth, [], []
        for name in (system.name for system in systems):
            intervals = self.predictions[name][0]
            matches = metrics.spotting(intervals, truth)["matches"]
            for column, bins in BINS.items():
                if truth[column].notna().any():
                    part = metrics.recall_by(truth, matches, column, bins)
                    recall.append(part.assign(system=name, by=column))
            errors = metrics.timing_errors(intervals, truth, matches, self.material.home[0].fps)
            for landmark in ("onset", "apex", "offset"):
                off = errors[landmark].to_numpy(float)
                if len(off):
                    middle, far = np.percentile(np.abs(off), [50, 90])
                    timing.append((name, landmark, len(off), middle, far, float(np.median(off))))
        columns = ["system", "landmark", "events", "median_ms", "p90_ms", "bias_ms"]
        return {
            "spotting_recall": pd.concat(recall, ignore_index=True),
            "spotting_timing": pd.DataFrame(timing, columns=columns),
        }


def _with_floor(table, sham):
    """Beside each difference the size of the sham's (rows ``sham``) in the same metric: what another seed alone does."""
    return table.assign(floor=table["metric"].map(table[sham].set_index("metric")["difference"].abs()))


def recognition_table(systems, material):
    """Class of the true intervals by each system, beside what can be known at all.

    Parameters
    ----------
    systems : list of System
    material : Material

    Returns
    -------
    DataFrame
        system, classes, events, uf1, uar, accuracy, and ``_low`` and ``_high`` of these (95 %, subjects drawn again and
        again, the same for all systems). ``action units`` is given the true units of each event (the best
        that recognition can do here), ``most frequent`` the training fold's most frequent class. Events without an emotion
        don't count; empty where fewer than two have one.
    """
    truth = spotting.annotated(material.home)
    truth = truth[truth["emotion"].isin(CLASSES)].reset_index(drop=True)
    rates = ("uf1", "uar", "accuracy")
    ends = (f"{rate}_{end}" for rate in rates for end in ("low", "high"))
    columns = ["system", "classes", "events", *rates, *ends]
    if len(truth) < 2:
        return pd.DataFrame(columns=columns)
    named = {system.name: pd.Series(index=truth.index, dtype=object) for system in systems}
    common = pd.Series(index=truth.index, dtype=object)
    for fold in material.folds:
        train = material.home_of(fold.train)
        timings = [class_prior_of(system, train) for system in systems]
        for video in material.home_of(fold.test):
            events = truth[(truth["subject"] == video.subject) & (truth["video"] == video.video)]
            common[events.index] = most_frequent(train)
            for system, timing in zip(systems if len(events) else (), timings, strict=False):
                # A rejection has no place where the intervals are given.
                curves = curves_of(system, material, fold, video)
                named[system.name][events.index] = classify(system, events, curves, timing, reject=False)[
                    "emotion"
                ]
    named["most frequent"] = common
    named["action units"] = recognition.unit_ceiling(truth["aus"], truth["emotion"])["predicted"]
    rows = [
        (name, len(CLASSES), len(truth), *_rates(truth["emotion"], classes, truth["subject"], material.seed))
        for name, classes in named.items()
    ]
    return pd.DataFrame(rows, columns=columns)


def _rates(true, named, subjects, seed):
    """UF1, UAR and accuracy, then the ends of the interval of each: list of 9 float."""
    # metrics.uf1 and uar on counts: 4000 resamples of labels would take them a minute.
    cells = np.zeros((len(true), len(CLASSES), len(CLASSES) + 1))  # true, named; the last: none of them
    cells[np.arange(len(true)), *(pd.Index(CLASSES).get_indexer(side) for side in (true, named))] = 1
    rules = (
        lambda hit, named, occurs: _ratio(2 * hit, named + occurs).mean(),
        lambda hit, named, occurs: _ratio(hit, occurs).mean(),
        lambda hit, named, occurs: hit.sum() / occurs.sum(),
    )
    scored = [
        stats.bootstrap(
            cells, subjects, statistic=lambda drawn, rule=rule: rule(*_counted(drawn.sum(0))), seed=seed
        )
        for rule in rules
    ]
    return [*(value for value, _, _ in scored), *(end for _, *ends in scored for end in ends)]


def _counted(confusion):
    """Of each class, how often it was right, named, and true: 3 (K,) of a confusion (K, K + 1)."""
    return confusion.diagonal(), confusion.sum(0)[:-1], confusion.sum(1)


def _bounded(counts, seed):
    """Pooled scores of a tally, some with the bounds of their 95 % interval: dict of float."""
    drawn = pooled_scores(counts, subject_weights(counts["subject"], seed))
    return {name: float(value[0]) for name, value in pooled_scores(counts).items()} | {
        f"{name}_{side}": float(end)
        for name in _BOUNDED
        for side, end in zip(("low", "high"), stats.interval(drawn[name]), strict=True)
    }
