"""What notebooks 06 and 07 run: the named systems, everything that they need, and the tables that come of them.

The systems were named before any test subject was scored; a profile may leave some out, none is chosen by its result.
"""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from melib import annotations, metrics, stats
from melib.data import workers
from melib.study import comparisons, results, spotting, spotting_tables
from melib.study.run import SEEDS_APART
from melib.study.spotting_decoding import DECODERS, Material, System, curves_of, fits_of, kept, predict

# The reference: its features, windows, target, causal state space at two rates, decoder, vote and faults, at the size, rate
# of learning and number of steps of all our fits (its own has 8.4 M parameters); and the same with its faults mended.
PUBLISHED = System(
    "reference, published",
    body="windowed_ssm",
    features="reference",
    target="hard",
    decoder="extensible_interval",
    recognition="vote",
    faults=("published",),
)
REPAIRED = replace(PUBLISHED, name="reference, repaired", faults=())
OURS = System("ours")
INTENSITY = System("intensity model", body="intensity", features="dense", training="separate")
BOTH = replace(OURS, name="ours + intensity model", add_intensity=True)
CHANCE = System("chance", body="chance", features="none", target="none", training="none", decoder="none")
MOTION = System("motion", body="motion", target="none", training="none")
SYSTEMS = (CHANCE, MOTION, PUBLISHED, REPAIRED, OURS, INTENSITY, BOTH)

FACTORS = {
    "features": ("reference", "regional"),
    "target": ("hard", "triangular"),
    "body": ("windowed_ssm", OURS.body),
    "decoder": ("extensible_interval", "semi_markov"),
    "training": ("separate", "joint"),
}


def factorial(full=True):
    """Combinations of the levels of ``FACTORS``: list of System.

    Parameters
    ----------
    full : bool
        All of them. Otherwise the half in which the number of our levels among features, target, body and training is even:
        with both decoders a fraction of resolution IV, whose main effects no interaction of two parts disturbs.
    """
    found = []
    for levels in itertools.product(*FACTORS.values()):
        parts: dict[str, Any] = dict(zip(FACTORS, levels, strict=True))
        ours = [parts[name] == FACTORS[name][1] for name in FACTORS if name != "decoder"]
        if full or sum(ours) % 2 == 0:
            found.append(System(", ".join(levels), **parts))
    return found


def variants(full=True):
    """Our system with one part changed: bodies, targets, decoders, training; list of System.

    Parameters
    ----------
    full : bool
        All of them. Otherwise all but the BiGRU, which takes four times as long to train as the others.
    """
    changed: list[dict[str, Any]] = [
        *({"body": body} for body in (("ssm", "bigru") if full else ("ssm",))),
        *({"target": target} for target in ("hard", "gaussian")),
        *({"decoder": decoder} for decoder in DECODERS if decoder != OURS.decoder),
        {"training": "separate"},
        {"recognition": "vote"},
        {"graft": False},
    ]
    return [OURS, *(replace(OURS, name=f"ours, {_said(c)}", **c) for c in changed)]


def _said(change):
    (name, value), *_ = change.items()
    return "no grafts" if name == "graft" else str(value).replace("_", " ")


def testable(systems, run, long):
    """Systems that this run can test; says which it can't.

    Those with the intensity model need its weights, trained on clips of the same subjects in the same folds.
    """
    unseen = spotting.unseen_by_intensity(run, long)
    seeds = run.seeds
    ready = bool(unseen) and all(spotting.has_intensity(run, long.folds, each) for each in seeds)
    if not ready:
        print(f"{long.study.name}: no intensity model of these subjects and folds (notebook 04): left out.")
    return [s for s in systems if ready or not (s.add_intensity or s.body == "intensity")]


def gather(systems, run, long, *, repeat=0, options=None, jobs=2):
    """Run every fit that some systems need, and the intensity model where they ask for it.

    Parameters
    ----------
    systems : list of System
    run : Run
    long : spotting.Long
    repeat : int
        Which of the profile's trainings: 0 is that with the run's seed.
    options : dict or None
        As for `spotting.run_fits`.
    jobs : int

    Returns
    -------
    Material

    Raises
    ------
    DataError
        Before any fit, if a fold has no micro-expression to train on.
    """
    for fold in long.folds:
        spotting.prior_of([video for video in long.videos if video.subject in fold.train])
    mine = run.seed + SEEDS_APART * repeat
    wanted = [fit for system in systems for fit in fits_of(system, long.study.name, long.folds, mine)]
    fits = sorted(set(wanted), key=lambda fit: (not fit.windowed, fit.name))
    said = spotting.run_fits(run, fits, long, options=options, jobs=jobs)
    intensity, unseen = {}, {}
    if any(system.add_intensity or system.body == "intensity" for system in systems):
        intensity = spotting.intensity_curves(run, long.study, long.videos, long.folds, mine, jobs=jobs)
        unseen = spotting.unseen_by_intensity(run, long)
    return Material(
        long.study.name, [*long.videos, *long.transfer], long.folds, said, intensity, unseen, mine
    )


# The data set that was trained on, with the priors of its own training folds.
_HOME = (("", ""),)


def _predict_all(systems, material, jobs, asked=_HOME):
    """Intervals of several systems in several processes: dict name -> intervals, or (name, *asked) where that varies."""
    tasks = []
    for system in systems:
        # A process gets the curves that it decodes, and no features but those that are themselves a curve.
        wanted = fits_of(system, material.dataset, material.folds, material.seed)
        motion = slice(None if system.body == "motion" else 0)
        videos = [
            replace(video, windows=video.windows[:0], motion=video.motion[motion])
            for video in material.videos
        ]
        light = replace(material, videos=videos, said={fit: material.said[fit] for fit in wanted})
        tasks += [(system, light, *each) for each in asked]
    done = workers.run(predict, tasks, jobs, label="decode", unit="system")
    names = [task[0].name if asked == _HOME else (task[0].name, *task[2:]) for task in tasks]
    return dict(zip(names, done, strict=True))


def with_faults(systems):
    """Each system with each fault that changes what it predicts, one at a time: list of System."""
    changing = ("half_length_of_all", "epoch_on_test", "parameter_on_test")
    return [replace(s, name=f"{s.name}, {fault}", faults=(fault,)) for s in systems for fault in changing]


def spotting_study(run, longs, *, jobs=2):
    """Notebook 06: every named system, its differences, its faults and its details; written into the run's results.

    Parameters
    ----------
    run : Run
    longs : list of spotting.Long
    jobs : int

    Returns
    -------
    tables : dict name -> DataFrame
        spotting, spotting_claims, system_differences, spotting_iou, spotting_recall, spotting_timing, recognition,
        inflation_ledger, spotting_curves, spotting_intervals; each with the data set's name.
    """
    return _write(run, [(long, _spotting_study(run, long, jobs)) for long in longs])


def _spotting_study(run, long, jobs):
    systems = testable(SYSTEMS, run, long)
    faulty = with_faults([REPAIRED, OURS])
    materials, candidates = _repeated([*systems, *faulty], run, long, jobs)
    material = materials[0]
    predictions = {name: kept(found) for name, found in candidates.items()}
    for system in systems:
        _export(run, long, system, spotting_tables.by_run(predictions[system.name])[0])
    learned = [s for s in systems if s.body not in ("chance", "motion", "intensity")]
    ledger = [spotting_tables.ledger(system, predictions, material) for system in (REPAIRED, OURS)]
    return {
        "spotting": spotting_tables.spotting_table(systems, predictions, candidates, material),
        "spotting_claims": claims(predictions, material),
        "system_differences": spotting_tables.system_differences(
            systems, predictions, material, "spotting_systems"
        ),
        **spotting_tables.details(systems, predictions, material),
        "recognition": spotting_tables.recognition_table(learned, material),
        "inflation_ledger": pd.concat(ledger, ignore_index=True),
        **timelines(spotting_tables.by_run(predictions[OURS.name])[0], material),
    }


def _repeated(systems, run, long, jobs):
    """Material of each training, and the intervals of every training of the profile, together a system."""
    materials = [gather(systems, run, long, repeat=repeat, jobs=jobs) for repeat in range(len(run.seeds))]
    found = [_predict_all(systems, material, jobs) for material in materials]
    return materials, {name: spotting_tables.together([each[name] for each in found]) for name in found[0]}


def _export(run, long, system, predicted):
    """The challenge's csv of a system, in the data set's own frame numbers."""
    name = "".join(c if c.isalnum() else "_" for c in system.name)
    path = run.folder / "results" / "challenge" / f"{long.study.name}_{name}.csv"
    numbers = {(v.subject, v.video): v.numbers for v in long.videos}
    annotations.export_challenge(predicted, numbers, long.study.manifest, path)


# What is claimed of each metric of the family spotting_claims, and what must be so for it to hold.
_CLAIMED = (
    ("end-to-end F1 above the repaired reference's", "end_to_end_f1", "interval above 0"),
    ("STRS above the repaired reference's", "strs", "interval above 0"),
    ("fewer false alarms an hour than the repaired reference", "fp_per_hour", "interval below 0"),
    ("STRS 1.5 times the repaired reference's", "strs", "1.5 times, and above 0"),
)


def claims(predictions, material):
    """What must hold of our system against the repaired reference, each with its interval.

    Returns
    -------
    DataFrame
        claim, metric, ours, other, difference, low, high, p, events, events_needed, needed, holds, effect, subjects, seeds,
        family (spotting_claims), p_holm, significant. Two claims about one metric are one test.
    """
    family = comparisons.declared()["spotting_claims"]
    videos = [v for v in material.videos if v.dataset == material.dataset]
    truth = spotting.annotated(videos)
    ours, theirs = (
        spotting_tables.tally(predictions[family[name]], truth, videos) for name in ("ours", "other")
    )
    table = spotting_tables.difference(ours, theirs, material.seed).set_index("metric")
    later = ["effect", "subjects", "seeds"]
    rows = []
    for claim, metric, needed in _CLAIMED:
        row = table.loc[metric]
        holds = {
            "interval above 0": row["low"] > 0,
            "interval below 0": row["high"] < 0,
            "1.5 times, and above 0": row["ours"] >= 1.5 * row["other"] and row["low"] > 0,
        }[needed]
        about = {"claim": claim, "metric": metric, **row.drop(later), "needed": needed, "holds": bool(holds)}
        rows.append({**about, **row[later]})
    found = pd.DataFrame(rows).astype({"events": int, "subjects": int, "seeds": int})
    return comparisons.corrected(found, "spotting_claims", ["metric"])


def timelines(predicted, material, n=6):
    """Curves and intervals of some videos, chosen evenly over the share of their events that were found.

    Returns
    -------
    dict of DataFrame
        ``spotting_curves``: panel, seconds, score; ``spotting_intervals``: panel, what, start, stop (seconds), score.
    """
    home = [v for v in material.videos if v.dataset == material.dataset and len(v.of("micro"))]
    truth = spotting.annotated(home)
    pairs = {(v.subject, v.video) for v in home}
    inside = [pair in pairs for pair in zip(predicted["subject"], predicted["video"], strict=True)]
    matches = metrics.spotting(predicted[inside], truth)["matches"]
    found = (
        truth.assign(found=truth.index.isin(matches["truth"])).groupby(["subject", "video"])["found"].mean()
    )
    order = sorted(home, key=lambda v: (found[v.subject, v.video], v.subject, v.video))
    chosen = [order[i] for i in np.unique(np.linspace(0, len(order) - 1, n).round().astype(int))]
    fold_of = {subject: fold for fold in material.folds for subject in fold.test}
    curves, intervals = [], []
    for video in chosen:
        panel = f"{video.subject}, {video.video}: {found[video.subject, video.video]:.0%} of {len(video.of('micro'))} found"
        score = curves_of(OURS, material, fold_of[video.subject], video)["micro"]
        curves.append(
            pd.DataFrame({"panel": panel, "seconds": np.arange(len(video)) / video.fps, "score": score})
        )
        mine = predicted[(predicted["subject"] == video.subject) & (predicted["video"] == video.video)]
        for table, what in ((mine, "found"), (video.events, None)):
            for row in table.itertuples():
                kind = what or row.kind
                seconds = (row.onset / video.fps, row.offset / video.fps)
                intervals.append((panel, kind, *seconds, row.score if what else np.nan))
    return {
        "spotting_curves": pd.concat(curves, ignore_index=True),
        "spotting_intervals": pd.DataFrame(intervals, columns=["panel", "what", "start", "stop", "score"]),
    }


def ablations(run, longs, *, jobs=2):
    """Notebook 07: the full factorial, our system with one part changed, and the decoders under other priors.

    Parameters
    ----------
    run, longs, jobs : as in `spotting_study`

    Returns
    -------
    tables : dict name -> DataFrame
        ablations (rows as in spotting.csv), variant_differences, factorial, decoders, decoder_differences; each with the
        data set's name.
    """
    return _write(run, [(long, _ablations(run, long, jobs)) for long in longs])


def _ablations(run, long, jobs):
    full = run.settings["spotting"]["full_factorial"]
    combinations, changed = factorial(full), variants(full)
    materials, candidates = _repeated([*combinations, *changed], run, long, jobs)
    material = materials[0]
    predictions = {name: kept(found) for name, found in candidates.items()}
    rows = spotting_tables.spotting_table([*changed, *combinations], predictions, candidates, material)
    compared, differences = decoder_comparison(materials, long, jobs=jobs)
    return {
        "ablations": rows,
        "variant_differences": spotting_tables.system_differences(
            changed, predictions, material, "spotting_ablations"
        ),
        "factorial": spotting_tables.effects(combinations, predictions, material, FACTORS),
        "decoders": compared,
        "decoder_differences": differences,
    }


def decoder_comparison(materials, long, *, jobs=2):
    """Every decoder on the same curves of held-out subjects, with priors of its own and of other statistics.

    Parameters
    ----------
    materials : list of Material
        One a training run.
    long : spotting.Long
    jobs : int

    Returns
    -------
    decoders : DataFrame
        setting, decoder, iou, f1, low, high.
    differences : DataFrame
        setting, other, difference (of spotting F1, semi_markov minus the other), low, high, p, events, ours, metric, effect,
        subjects, seeds, family (decoder_differences), p_holm, significant.
    """
    family, material = comparisons.declared()["decoder_differences"], materials[0]
    sets = {material.dataset: long.videos}
    for video in long.transfer:
        sets.setdefault(video.dataset, []).append(video)
    rows, differences = [], []
    asked = list(itertools.product(sets, sets))
    systems = [replace(OURS, name=decoder, decoder=decoder) for decoder in DECODERS]
    predicted = [_predict_all(systems, each, jobs, asked) for each in materials]
    for dataset, statistics in asked:
        videos = sets[dataset]
        truth = spotting.annotated(videos)
        setting = f"{dataset}, prior of {'its own' if dataset == statistics else statistics}"
        counts = {}
        for decoder in DECODERS:
            found = kept(spotting_tables.together([each[decoder, dataset, statistics] for each in predicted]))
            for iou in spotting_tables.IOUS:
                each = spotting_tables.tally(found, truth, videos, iou)
                weight = spotting_tables.subject_weights(each.subjects, material.seed)
                low, high = stats.interval(spotting_tables.scores(each, weight)["spotting_f1"])
                rows.append(
                    (setting, decoder, iou, spotting_tables.scores(each)["spotting_f1"][0], low, high)
                )
                if iou == 0.5:
                    counts[decoder] = each
        for other in DECODERS:
            if other != family["ours"]:
                gap = spotting_tables.difference(counts[family["ours"]], counts[other], material.seed)
                gap = gap[gap["metric"].isin(family["metrics"])]
                differences.append(gap.assign(setting=setting, other=other, ours=family["ours"]))
    names = ["setting", "other", "difference", "low", "high", "p", "events"]
    names += ["ours", "metric", "effect", "subjects", "seeds"]
    return (
        pd.DataFrame(rows, columns=["setting", "decoder", "iou", "f1", "low", "high"]),
        comparisons.corrected(
            pd.concat(differences, ignore_index=True)[names],
            "decoder_differences",
            ["setting", "other", "metric"],
        ),
    )


def _write(run, found):
    """Tables of several data sets, one below the other, and on disk."""
    tables: dict[str, list[pd.DataFrame]] = {}
    for long, each in found:
        for name, table in each.items():
            if "dataset" not in table:
                table.insert(0, "dataset", long.study.name)
            tables.setdefault(name, []).append(table)
    whole = {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}
    return {name: results.write_result(run, name, table) for name, table in whole.items()}
