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
from melib.study import comparisons, results, spotting
from melib.study.class_priors import held_out_gains
from melib.study.spotting_decoding import (
    DECODERS,
    RECOGNITION,
    Material,
    System,
    accepted_intervals,
    curves_of,
    decode_system,
    fits_of,
)
from melib.study.spotting_tables import (
    COLUMNS,
    Evaluation,
    difference,
    pooled_scores,
    recognition_table,
    subject_weights,
    tally,
)

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

SHAM = replace(OURS, name="ours, another seed (sham)", sham=True)
# Parts of our system: what is asked of each, and which systems are held against the last one of its list. The synergy of the
# reference shares its body in every variant and counts neutral in different ways, so that it stands between separate
# networks and ours, which may reject. Of the prior, the loss has its shape (the target) and the decoder its durations.
PARTS = {
    "sharing": [
        replace(OURS, name="ours, shared without neutral", neutral=False),
        OURS,
        replace(OURS, name="ours, separate", training="separate"),
    ],
    "prior": [
        replace(OURS, name="ours, prior in the decoder", target="hard"),
        replace(OURS, name="ours, prior in the loss", decoder="extensible_interval"),
    ],
    "recognition": [
        *(replace(OURS, name=f"ours, {name}", recognition=name) for name in [*RECOGNITION, "vote"][1:]),
        OURS,
    ],
    "intensity": [BOTH, replace(OURS, name="ours, calibrated like it", unseen=True)],
    "sham": [SHAM, OURS],
}

_TIMELINES = 6  # videos that are drawn

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
    combinations = []
    for levels in itertools.product(*FACTORS.values()):
        parts: dict[str, Any] = dict(zip(FACTORS, levels, strict=True))
        ours = [parts[name] == FACTORS[name][1] for name in FACTORS if name != "decoder"]
        if full or sum(ours) % 2 == 0:
            combinations.append(System(", ".join(levels), **parts))
    return combinations


def spotting_variants(full=True):
    """Our system, its sham, and it with one part changed: bodies, targets, decoders, training; list of System.

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
    names = ["no grafts" if "graft" in c else str(*c.values()).replace("_", " ") for c in changed]
    return [
        OURS,
        SHAM,
        *(replace(OURS, name=f"ours, {name}", **c) for name, c in zip(names, changed, strict=True)),
    ]


def testable(systems, run, long):
    """Systems that this run can test; says which it can't.

    Those with the intensity model need its weights, trained on clips of the same subjects in the same folds.
    """
    unseen = spotting.unseen_by_intensity(run, long)
    ready = bool(unseen) and all(spotting.has_intensity(run, long.folds, seed) for seed in run.seeds)
    if not ready:
        print(f"{long.study.name}: no intensity model of these subjects and folds (notebook 04): left out.")
    return [system for system in systems if ready or not (system.needs_intensity or system.unseen)]


def gather(systems, run, long, *, repeat=0, options=None):
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
    seed = run.seeds[repeat]
    wanted = [fit for system in systems for fit in fits_of(system, long.study.name, long.folds, seed)]
    fits = sorted(set(wanted), key=lambda fit: (not fit.windowed, fit.name))
    curves = spotting.run_fits(run, fits, long, options=options)
    intensity, unseen = {}, {}
    if any(system.needs_intensity for system in systems):
        intensity = spotting.intensity_curves(run, long.study, long.videos, long.folds, seed)
        unseen = spotting.unseen_by_intensity(run, long)
    videos = [*long.videos, *long.transfer]
    return Material(long.study.name, videos, long.folds, curves, intensity, unseen, seed)


def lighter(system, material):
    """The material that a process needs to decode a system: its curves, and no features but those that are a curve."""
    fits = fits_of(system, material.dataset, material.folds, material.seed)
    motion = slice(None if system.body == "motion" else 0)
    videos = [replace(v, windows=v.windows[:0], motion=v.motion[motion]) for v in material.videos]
    return replace(material, videos=videos, curves={fit: material.curves[fit] for fit in fits})


def _predict_all(systems, materials, jobs, settings=(("", ""),)):
    """Intervals of all trainings, made in several processes: dict (name, dataset, statistics) -> list of tables."""
    tasks = [
        (system, light, *setting)
        for system, material in itertools.product(systems, materials)
        for light in [lighter(system, material)]
        for setting in settings
    ]
    done = workers.run_jobs(decode_system, tasks, jobs, label="decode", unit="system")
    trainings: dict[tuple, list] = {}
    for (system, _, *setting), intervals in zip(tasks, done, strict=True):
        trainings.setdefault((system.name, *setting), []).append(intervals)
    return trainings


def with_faults(systems):
    """Each system with each fault that changes what it predicts, one at a time: list of System."""
    changing = ("half_length_of_all", "epoch_on_test", "parameter_on_test")
    return [replace(s, name=f"{s.name}, {fault}", faults=(fault,)) for s in systems for fault in changing]


def spotting_study(run, longs):
    """Notebook 06: every named system, its differences, its faults and its details; written into the run's results.

    Parameters
    ----------
    run : Run
    longs : list of spotting.Long

    Returns
    -------
    tables : dict name -> DataFrame
        spotting, spotting_transfer, spotting_claims, system_differences, spotting_parts, class_priors, spotting_recall,
        spotting_timing, recognition, inflation_ledger, spotting_curves, spotting_intervals; each with the data set's name.
    """
    return _write(run, [(long, _spotting_study(run, long)) for long in longs])


def _spotting_study(run, long):
    ready = testable(list(dict.fromkeys([*SYSTEMS, *itertools.chain(*PARTS.values())])), run, long)
    materials, candidates = _repeated([*ready, *with_faults([REPAIRED, OURS])], run, long)
    systems = [system for system in SYSTEMS if system in ready]
    learned = [system for system in systems if system.learned]
    parts = {question: part for question, part in PARTS.items() if {*part} <= {*ready}}
    evaluation = Evaluation(materials[0], candidates)
    first = {system.name: evaluation.predictions[system.name][0] for system in systems}
    for name, intervals in first.items():
        _export(run, long, name, intervals)
    return {
        "spotting": evaluation.systems(systems),
        "spotting_transfer": transferred(systems, materials, run.jobs),
        "spotting_claims": evaluation.claims(),
        "system_differences": evaluation.differences(systems, "spotting_systems"),
        "spotting_parts": evaluation.parts(parts),
        "class_priors": class_prior_gains(materials[0]),
        **evaluation.details(systems),
        "recognition": recognition_table([*learned, *PARTS["recognition"][:-1]], materials[0]),
        "inflation_ledger": pd.concat(map(evaluation.ledger, (REPAIRED, OURS)), ignore_index=True),
        **chosen_timelines(first[OURS.name], materials[0]),
    }


def transferred(systems, materials, jobs):
    """The same systems in videos of a data set that nothing was trained on, with the decoders fitted at home.

    Parameters
    ----------
    systems : list of System
        Those that read windows or the intensity model are left out: neither is computed for these videos.
    materials, jobs : as in `decoder_comparison`

    Returns
    -------
    DataFrame
        Rows as in spotting.csv, with the name of that data set; none where there is none.
    """
    home, rows = materials[0], [pd.DataFrame(columns=["system", *COLUMNS])]
    systems = [s for s in systems if s.features != "reference" and not s.needs_intensity]
    for dataset in dict.fromkeys(v.dataset for v in home.videos if v.dataset != home.dataset):
        predicted = _predict_all(systems, materials, jobs, [(dataset, "")])
        candidates = {name: trainings for (name, *_), trainings in predicted.items()}
        rows.append(Evaluation(replace(home, dataset=dataset), candidates).systems(systems))
    return pd.concat(rows[1:] or rows, ignore_index=True)


def _repeated(systems, run, long):
    """Material of each training of the profile, and the intervals of every training: dict system's name -> list."""
    materials = [gather(systems, run, long, repeat=repeat) for repeat in range(len(run.seeds))]
    return materials, {
        name: trainings for (name, *_), trainings in _predict_all(systems, materials, run.jobs).items()
    }


def _export(run, long, name, intervals):
    """A system's intervals in the form of MEGC 2025, in the data set's own frame numbers."""
    file = f"{long.study.name}_{''.join(c if c.isalnum() else '_' for c in name)}.csv"
    numbers = {(v.subject, v.video): v.numbers for v in long.videos}
    path = run.folder / "results" / "challenge" / file
    annotations.export_challenge(intervals, numbers, long.study.manifest, path)


def class_prior_gains(material):
    """What the timing of an expression says of its class, among the training subjects of each fold.

    Parameters
    ----------
    material : Material

    Returns
    -------
    DataFrame
        fold, and the columns of `class_priors.held_out_gains`.
    """
    trained = {fold.index: spotting.annotated(material.home_of(fold.train)) for fold in material.folds}
    gains = [held_out_gains(events).assign(fold=index) for index, events in trained.items()]
    table = pd.concat(gains, ignore_index=True)
    return table[["fold", *table.columns.drop("fold")]]


def chosen_timelines(predicted, material):
    """Curves and intervals of some videos, chosen evenly over the share of their events that were found.

    Parameters
    ----------
    predicted : DataFrame
        Intervals of our system.
    material : Material

    Returns
    -------
    dict of DataFrame
        ``spotting_curves``: panel, seconds, score; ``spotting_intervals``: panel, what, start, stop (seconds), score.
    """
    home = {(v.subject, v.video): v for v in material.home if len(v.events_of("micro"))}
    truth = spotting.annotated(list(home.values()))
    hit = truth.index.isin(metrics.spotting(predicted, truth)["matches"]["truth"])
    share = truth.assign(hit=hit).groupby(["subject", "video"])["hit"].mean()
    order = sorted(home, key=lambda place: (share[place], *place))
    fold_of = {subject: fold for fold in material.folds for subject in fold.test}
    curves, intervals = [], []
    for i in np.unique(np.linspace(0, len(order) - 1, _TIMELINES).round().astype(int)):
        video, (subject, name) = home[order[i]], order[i]
        panel = f"{subject}, {name}: {share[order[i]]:.0%} of {len(video.events_of('micro'))} found"
        score = curves_of(OURS, material, fold_of[subject], video)["micro"]
        seconds = np.arange(len(video)) / video.fps
        curves.append(pd.DataFrame({"panel": panel, "seconds": seconds, "score": score}))
        own = predicted[(predicted["subject"] == subject) & (predicted["video"] == name)]
        for row in (*own.assign(kind="found").itertuples(), *video.events.assign(score=np.nan).itertuples()):
            intervals.append((panel, row.kind, row.onset / video.fps, row.offset / video.fps, row.score))
    columns = ["panel", "what", "start", "stop", "score"]
    return {
        "spotting_curves": pd.concat(curves, ignore_index=True),
        "spotting_intervals": pd.DataFrame(intervals, columns=columns),
    }


def ablations(run, longs):
    """Notebook 07: the full factorial, our system with one part changed, and the decoders under other priors.

    Parameters
    ----------
    run, longs : as in `spotting_study`

    Returns
    -------
    tables : dict name -> DataFrame
        ablations (rows as in spotting.csv), variant_differences, factorial, decoders, decoder_differences; each with the
        data set's name.
    """
    return _write(run, [(long, _ablations(run, long)) for long in longs])


def _ablations(run, long):
    full = run.settings["spotting"]["full_factorial"]
    combinations, changed = factorial(full), spotting_variants(full)
    materials, candidates = _repeated([*combinations, *changed], run, long)
    evaluation = Evaluation(materials[0], candidates)
    compared, differences = decoder_comparison(materials, run.jobs)
    return {
        "ablations": evaluation.systems([*changed, *combinations]),
        "variant_differences": evaluation.differences(changed, "spotting_ablations"),
        "factorial": evaluation.effects(combinations, FACTORS),
        "decoders": compared,
        "decoder_differences": differences,
    }


def decoder_comparison(materials, jobs):
    """Every decoder on the same curves of held-out subjects, with priors of its own and of other statistics.

    Parameters
    ----------
    materials : list of Material
        One a training run.
    jobs : int
        Processes.

    Returns
    -------
    decoders : DataFrame
        setting, decoder, iou, f1, low, high.
    differences : DataFrame
        setting, other, difference (of spotting F1, semi_markov minus the other), low, high, p, events, ours, metric, effect,
        subjects, seeds, family (decoder_differences), p_holm, significant.
    """
    family, seed = comparisons.declared()["decoder_differences"], materials[0].seed
    sets: dict[str, list] = {}
    for video in materials[0].videos:
        sets.setdefault(video.dataset, []).append(video)
    settings = list(itertools.product(sets, sets))
    systems = [replace(OURS, name=decoder, decoder=decoder) for decoder in DECODERS]
    predicted = _predict_all(systems, materials, jobs, settings)
    rows, differences = [], []
    for dataset, statistics in settings:
        videos, counts = sets[dataset], {}
        truth = spotting.annotated(videos)
        setting = f"{dataset}, prior of {'its own' if dataset == statistics else statistics}"
        for decoder in DECODERS:
            intervals = [*map(accepted_intervals, predicted[decoder, dataset, statistics])]
            for iou in metrics.IOUS:
                tallied = tally(intervals, truth, videos, iou)
                drawn = pooled_scores(tallied, subject_weights(tallied["subject"], seed))["spotting_f1"]
                f1 = pooled_scores(tallied)["spotting_f1"][0]
                rows.append((setting, decoder, iou, f1, *stats.interval(drawn)))
                if iou == 0.5:
                    counts[decoder] = tallied
        for other in (name for name in DECODERS if name != family["ours"]):
            gap = difference(counts[family["ours"]], counts[other], seed)
            gap = gap[gap["metric"].isin(family["metrics"])]
            differences.append(gap.assign(setting=setting, other=other, ours=family["ours"]))
    names = ["setting", "other", "difference", "low", "high", "p", "events"]
    names += ["ours", "metric", "effect", "subjects", "seeds"]
    table = pd.concat(differences, ignore_index=True)[names]
    return (
        pd.DataFrame(rows, columns=["setting", "decoder", "iou", "f1", "low", "high"]),
        comparisons.corrected(table, "decoder_differences", ["setting", "other", "metric"]),
    )


def _write(run, tables_of):
    """Tables of several data sets, one below the other, and on disk."""
    tables: dict[str, list[pd.DataFrame]] = {}
    for long, own in tables_of:
        for name, table in own.items():
            if "dataset" not in table:
                table.insert(0, "dataset", long.study.name)
            tables.setdefault(name, []).append(table)
    whole = {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}
    return {name: results.write_result(run, name, table) for name, table in whole.items()}
