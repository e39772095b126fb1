"""From predictions to the result tables: agreement of every curve, its controls, the face card and the claims.

intensity.csv   one row an event and metric, complete events only; rows without an event hold what only a set of clips has
windows.csv     the other windows of the context protocol: truncated events, and no event at all
transfer.csv    trained on one family of displacement fields, tested on the other
face_card.csv   clip_swap, apex_follow and frozen_correlation with their 95 % intervals; over all seeds where seed is empty
summary.csv     intensity.csv averaged over subjects, with 95 % intervals, for all events and by amplitude
claims.csv      what must hold before a model is said to see the face: claim, number, interval, whether it holds
model_differences.csv   every learned model less the controls that comparisons.yml sets beside it, on the same events

Intervals are over subjects, crossed with seeds where there are several. Everything below intensity.csv and face_card.csv is
computed from those two files alone.
"""

import itertools

import numpy as np
import pandas as pd

from melib import controls, metrics, stats
from melib.study import comparisons, data, published, results
from melib.study.comparisons import CANDIDATE
from melib.study.intensity import RISEN, SHIFTS, rows_of

KEYS = ["dataset", "protocol", "model", "input"]
COLUMNS = [*KEYS, "fold", "seed", "subject", "event", "peak_px", "metric", "value"]
# How `raw_verdict` words the verdict of controls.sees.
_SEES = {
    "yes": "sees the face",
    "in part": "sees the face in part",
    "no": "**doesn't see the face**",
    "not asked": "couldn't be asked whether it sees the face",
}
_FOLLOW = controls.LEAST_FOLLOW
_CURVES = 6  # events whose curves are drawn
# Peak of an event in pixels of the 112-pixel crop: the steps of every table by amplitude.
AMPLITUDES = (0.0, 0.5, 1.0, np.inf)


def window_curves(prepared, records, folds, seed=0):
    """Curve of every window by every model and control, each made without its own subject.

    Parameters
    ----------
    prepared : intensity.Prepared
    records : dict Job -> dict of arrays
        As run_grid returns; those of other protocols are passed over.
    folds : list of protocols.Fold
    seed : int

    Returns
    -------
    dict (model, input, seed) -> (N, T) float32
    """
    asked = (records, prepared.dataset, prepared)
    shuffled, frozen = (_put_together(*asked, name) for name in ("shuffled", "frozen"))
    out = {}
    for (model, used, training), curve in _put_together(*asked, "curve").items():
        out[model, used, training] = curve
        if model == "resnet18_bigru":
            out["shuffled_frames", used, training] = shuffled[model, used, training]
            out["frozen_clip", used, training] = frozen[model, used, training]
    n_windows, n_frames = prepared.pseudo.shape
    place = np.full((n_windows, n_frames), np.nan, np.float32)
    oracle = place.copy()
    landmarks = prepared.annotated if prepared.true is None else prepared.true
    for fold in folds:
        train, test = (rows_of(prepared, part) for part in (fold.train, fold.test))
        place[test] = controls.position_only(prepared.pseudo[train], len(test))
        whole = train[prepared.complete()[train]]
        shape = controls.mean_shape(
            prepared.pseudo[whole], prepared.annotated[whole, 0], prepared.annotated[whole, 2]
        )
        for i in test:
            onset, _, offset = landmarks[i]
            known = np.isfinite(onset)
            oracle[i] = controls.lay_shape(shape, onset, offset, np.arange(n_frames)) if known else 0
    top = prepared.magnitude.max(axis=1, keepdims=True)
    out[("position_only", "none", seed)] = place
    out[("oracle_interval", "none", seed)] = oracle
    # Within a window the unit of a magnitude is free: its maximum is set to 1.
    out[("flow_magnitude", "flow", seed)] = prepared.magnitude / np.maximum(top, 1e-6)
    out[("pseudo_label", "none", seed)] = prepared.pseudo
    if prepared.truth is not None:
        out[("truth", "none", seed)] = prepared.truth
    return out


def _put_together(records, dataset, prepared, name, rows="rows"):
    """One array of the folds' records: dict (model, input, seed) -> (N, ...), NaN where no record says anything.

    ``dataset`` is what the models were trained on, ``rows`` the record's numbers of the windows of ``prepared``.
    """
    out: dict[tuple, np.ndarray] = {}
    for job, record in records.items():
        if (job.dataset, job.protocol) == (dataset, prepared.protocol) and name in record:
            nothing = np.full((len(prepared.table), *record[name].shape[1:]), np.nan, record[name].dtype)
            out.setdefault((job.model, job.input, job.seed), nothing)[record[rows]] = record[name]
    return out


def tested_in(prepared, folds):
    """Fold that each window's subject is tested in, (N,) int."""
    tested = {subject: fold.index for fold in folds for subject in fold.test}
    return prepared.table["subject"].map(tested).to_numpy()


def intensity(prepared, curves, folds):
    """Agreement of every curve with the pseudo-label and the truth, a row an event and metric.

    Parameters
    ----------
    prepared : intensity.Prepared
    curves : dict (model, input, seed) -> (N, T)
    folds : list of protocols.Fold

    Returns
    -------
    DataFrame
        ``COLUMNS``; one window an event: the one that holds it whole.
    """
    fold_of = tested_in(prepared, folds)
    milliseconds = prepared.step() / prepared.fps * 1000
    out = []
    for (model, used, seed), curve in curves.items():
        for i in prepared.first_complete():
            start = (prepared.dataset, prepared.protocol, model, used, fold_of[i], seed)
            event = (prepared.table["subject"].iloc[i], prepared.table["event"].iloc[i], _peak(prepared, i))
            values = _agreement(prepared, curve[i], i, milliseconds[i])
            out += [(*start, *event, metric, value) for metric, value in values.items()]
    return pd.DataFrame(out, columns=COLUMNS)


def _peak(prepared, i):
    return np.nan if prepared.peak_px is None else prepared.peak_px[i]


def _agreement(prepared, curve, i, milliseconds):
    mask, pseudo = prepared.mask[i], prepared.pseudo[i]
    to_pseudo = metrics.curve_agreement(curve, pseudo, mask)
    values = {f"{name}_pseudo": to_pseudo[name] for name in ("spearman", "kendall")}
    landmarks = prepared.annotated[i]
    if prepared.truth is not None:
        landmarks = prepared.true[i]
        to_truth = metrics.curve_agreement(curve, prepared.truth[i], mask)
        values |= {f"{name}_true": to_truth[name] for name in ("spearman", "kendall", "ccc")}
        # What an incomplete return leaves behind after the offset is neither the event nor rest.
        clear = mask & (prepared.inside[i] | (prepared.truth[i] <= RISEN))
        own = metrics.curve_agreement(curve, prepared.event_truth(i), clear)
        values |= {f"{name}_true": own[name] for name in ("inside_spearman", "inside_auc")}
    error = abs(metrics.apex_of(curve[None])[0] - landmarks[1])  # samples
    values["apex_error_ms"] = error * milliseconds
    values["apex_position_error"] = error / max(landmarks[2] - landmarks[0], 1)
    return values


def over_clips(prepared, curves, records, folds):
    """What only a set of clips has: clip_swap, apex_follow, frozen_correlation and amplitude_spearman.

    Returns
    -------
    rows : DataFrame
        For intensity.csv: ``COLUMNS`` with fold, subject, event and peak empty.
    card : DataFrame
        ``KEYS``, seed, quantity, estimate, low, high, clips, subjects: 95 % intervals by bootstrap over subjects. Of a
        model with several seeds one more row, its seed empty: over subjects crossed with seeds.
    """
    chosen = prepared.first_complete()
    subjects = prepared.table["subject"].to_numpy()[chosen]
    fold_of = tested_in(prepared, folds)[chosen]
    slopes = _put_together(records, prepared.dataset, prepared, "slope")
    untrained = control_slopes(prepared)
    rows, card = [], []
    by_seed: dict[tuple, dict] = {}
    for (model, used, seed), curve in curves.items():
        if model in ("truth", "pseudo_label", "frozen_clip", "shuffled_frames"):
            continue
        about = (prepared.dataset, prepared.protocol, model, used)
        values = {"clip_swap": swaps_within_folds(curve[chosen], prepared.pseudo[chosen], subjects, fold_of)}
        slope = slopes.get((model, used, seed), untrained.get(model))
        if slope is not None:
            values["apex_follow"] = slope[chosen]
        if model == "resnet18_bigru":
            frozen = curves["frozen_clip", used, seed]
            values["frozen_correlation"] = controls.frozen_correlation(curve[chosen], frozen[chosen])
        for quantity, value in values.items():
            known = np.isfinite(value)
            if not known.any():
                continue
            estimate, low, high = stats.bootstrap(value[known], subjects[known])
            counts = (int(known.sum()), len(set(subjects[known])))
            card.append((*about, seed, quantity, estimate, low, high, *counts))
            rows.append((*about, "", seed, "", "", np.nan, quantity, estimate))
            by_seed.setdefault((*about, quantity), {})[seed] = value
        if prepared.peak_px is not None:
            top = prepared.magnitude if model == "flow_magnitude" else curve
            highest = top[chosen].max(axis=1)
            rho = metrics.curve_agreement(highest / max(highest.max(), 1e-9), prepared.peak_px[chosen])[
                "spearman"
            ]
            rows.append((*about, "", seed, "", "", np.nan, "amplitude_spearman", rho))
    card += [_crossed(about, seeds, subjects) for about, seeds in by_seed.items() if len(seeds) > 1]
    names = [*KEYS, "seed", "quantity", "estimate", "low", "high", "clips", "subjects"]
    return pd.DataFrame(rows, columns=COLUMNS), pd.DataFrame(card, columns=names)


def _crossed(about, by_seed, subjects):
    """Row of the face card over all seeds: ``by_seed`` is dict seed -> (n,) values of the same clips."""
    runs = np.repeat(list(by_seed), len(subjects))
    values = np.stack(list(by_seed.values()))  # (seeds, n)
    estimate = stats.bootstrap(values.ravel(), np.tile(subjects, len(by_seed)), runs=runs)
    known = np.isfinite(values).any(axis=0)
    return (*about[:-1], np.nan, about[-1], *estimate, int(known.sum()), len(set(subjects[known])))


def swaps_within_folds(curves, targets, subjects, fold_of):
    """clip_swap of each clip among the subjects of its own fold, whose curves one and the same model made.

    Across folds even position alone would differ a little, since each fold has its own mean. Where a fold has just one
    test subject (LOSO), there is nobody else: then all are swapped, and position alone scores slightly below 0, since its
    mean of a fold leaves out the very subject it is compared on.
    """
    alone = any(len(set(subjects[fold_of == fold])) < 2 for fold in set(fold_of))
    groups = np.zeros_like(fold_of) if alone else fold_of
    out = np.full(len(curves), np.nan)
    for group in sorted(set(groups)):
        rows = groups == group
        out[rows] = metrics.clip_swap_each(curves[rows], targets[rows], subjects[rows])
    return np.where(np.abs(out) < 1e-9, 0, out)  # equal curves differ by rounding alone


def control_slopes(prepared):
    """apex_follow of every window by the controls that aren't trained: dict model -> (N,), NaN where it can't be asked."""
    chosen = prepared.first_complete()
    magnitude = np.full(len(prepared.table), np.nan)
    magnitude[chosen] = controls.apex_follow(
        lambda x: x,
        prepared.magnitude[chosen],
        prepared.annotated[chosen, 1],
        np.asarray(SHIFTS) * prepared.positions.shape[1],
        prepared.table["subject"].to_numpy()[chosen],
    )["slopes"]
    # Position alone reads no frame, so that re-timing changes nothing.
    return {"position_only": np.zeros(len(prepared.table)), "flow_magnitude": magnitude}


def other_windows(prepared, curves, folds):
    """Windows that don't hold one whole event: agreement where it is truncated, the prediction's peak everywhere.

    Returns
    -------
    DataFrame
        ``COLUMNS`` and ``kind`` (complete, truncated, empty); ``event`` holds the number of the window in its video.
    """
    table, fold_of = prepared.table, tested_in(prepared, folds)
    kind = np.where(prepared.complete(), "complete", np.where(table["event"] != "", "truncated", "empty"))
    out = []
    for (model, used, seed), curve in curves.items():
        for i, row in enumerate(table.itertuples()):
            start = (prepared.dataset, prepared.protocol, model, used, fold_of[i], seed)
            event = (row.subject, f"{row.video}#{row.window}", _peak(prepared, i))
            values = {"predicted_peak": curve[i].max()}
            if kind[i] != "empty":
                agreement = metrics.curve_agreement(curve[i], prepared.pseudo[i], prepared.mask[i])
                values["spearman_pseudo"] = agreement["spearman"]
            out += [(*start, *event, metric, value, kind[i]) for metric, value in values.items()]
    return pd.DataFrame(out, columns=[*COLUMNS, "kind"])


def transferred(prepared, there, records, folds):
    """Agreement of models on a data set that they were not trained on, with the untrained and knowing controls.

    Returns
    -------
    DataFrame
        ``COLUMNS`` and ``trained_on``.
    """
    curves = window_curves(there, {}, folds)
    curves |= _put_together(records, prepared.dataset, there, "transfer_curve", "transfer_rows")
    return intensity(there, curves, folds).assign(trained_on=prepared.dataset)


# ---- before any fit -----------------------------------------------------------------------------------------


def reference(prepared):
    """How often the reference frame, chosen from the pixels alone, was truly neutral.

    Parameters
    ----------
    prepared : list of intensity.Prepared

    Returns
    -------
    DataFrame
        dataset, protocol, windows, neutral (share whose true intensity at the reference is below .1 of the event's
        peak; NaN where nobody knows), residual (mean true intensity there).
    """
    out = []
    for p in prepared:
        at = None if p.truth is None else p.truth[np.arange(len(p.table)), p.reference]
        known = (np.nan, np.nan) if at is None else (float((at <= RISEN).mean()), float(at.mean()))
        out.append((p.dataset, p.protocol, len(p.table), *known))
    return pd.DataFrame(out, columns=["dataset", "protocol", "windows", "neutral", "residual"])


def position_alone(prepared):
    """What position alone scores, leave one subject out, no pixel read.

    Parameters
    ----------
    prepared : list of intensity.Prepared

    Returns
    -------
    DataFrame
        dataset, protocol, metric, estimate, low, high, events, subjects: agreement of the other subjects' mean target
        with the pseudo-label and, where it is known, with the truth; over_events: its mean over events, not subjects.

    Raises
    ------
    DataError
        If a data set has a single subject.
    """
    keys = ["dataset", "protocol", "metric"]
    out = [pd.DataFrame(columns=[*keys, "estimate", "low", "high", "events", "subjects", "over_events"])]
    for p in prepared:
        subjects = p.table["subject"].to_numpy()
        data.check_people(p.dataset, subjects)
        curve = np.empty_like(p.pseudo)
        for subject in np.unique(subjects):
            tested = subjects == subject
            curve[tested] = controls.position_only(p.pseudo[~tested], int(tested.sum()))
        rows = intensity(p, {("position_only", "none", 0): curve}, [])
        plain = rows.groupby(keys)["value"].mean().rename("over_events")
        out.append(results.intervals(rows, keys).merge(plain, on=keys))
    return pd.concat(out[1:] or out, ignore_index=True)


def control_beside_published(control):
    """Position alone on this run's data, beside the paper's number and what the same control scores on the public table.

    Parameters
    ----------
    control : DataFrame
        As `position_alone` returns.

    Returns
    -------
    DataFrame
        dataset, metric, ours (mean over events, as published), events, subjects; of (the published data set), paper,
        control, their_events, their_subjects; data: "same" or "OTHER DATA" with what differs. A data set that was
        published stands beside its own row alone.
    """
    known = published.values("intensity")
    asked = control[(control["protocol"] == "paper") & control["metric"].isin(known["metric"])]
    rows = []
    for ours in results.records(asked):
        same = known[known["metric"] == ours["metric"]]
        own = same[same["dataset"] == ours["dataset"]]
        for dataset, part in (own if len(own) else same).groupby("dataset", sort=False):
            by_model = part.set_index("model")
            value, counted = (
                by_model["value"],
                by_model.loc["position_only", ["events", "subjects"]].astype(int),
            )
            theirs = {"dataset": dataset, **counted, "differs": ""}
            row = [ours[name] for name in ("dataset", "metric", "over_events", "events", "subjects")]
            row += [dataset, value.get("resnet18_bigru", np.nan), value["position_only"], *counted]
            rows.append((*row, published.mark(ours, theirs) or "same"))
    names = ["dataset", "metric", "ours", "events", "subjects", "of", "paper", "control"]
    return pd.DataFrame(rows, columns=[*names, "their_events", "their_subjects", "data"])


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


# ---- from the two files alone ---------------------------------------------------------------------------------


def summary_by_amplitude(table):
    """Mean over subjects with 95 % intervals, of every metric, for all events and by amplitude.

    Parameters
    ----------
    table : DataFrame
        intensity.csv.

    Returns
    -------
    DataFrame
        ``KEYS``, metric, amplitude (all, or the range of the true peak in pixels), estimate, low, high, events,
        subjects.
    """
    parts = [("all", table)]
    for low, high in itertools.pairwise(AMPLITUDES):
        name = f">= {low:g} px" if np.isinf(high) else f"{low:g} to {high:g} px"
        parts.append((name, table[(table["peak_px"] >= low) & (table["peak_px"] < high)]))
    means = [results.intervals(part, [*KEYS, "metric"]).assign(amplitude=name) for name, part in parts]
    return pd.concat(means, ignore_index=True)


def claims(table, card):
    """What must hold before the companion says that a model saw the face; each with its number, whatever it is.

    Parameters
    ----------
    table : DataFrame
        intensity.csv.
    card : DataFrame
        face_card.csv.

    Returns
    -------
    DataFrame
        dataset, protocol, model, input, claim, needed, estimate, low, high, events, holds, subjects, seeds; for the
        comparisons (family intensity_claims) p, effect, family, p_holm, significant.
    """
    family, out = comparisons.declared()["intensity_claims"], []
    for dataset, part in table[table["protocol"] == family["protocol"]].groupby("dataset", sort=False):
        own = _of_model(part, *CANDIDATE)
        about = {"dataset": dataset, "seeds": own["seed"].nunique()}
        answers = results.over_seeds(card[(card["dataset"] == dataset) & (card["protocol"] == "context")])
        answers = _of_model(answers, *CANDIDATE).set_index("quantity")
        for quantity, needed in (("clip_swap", "interval above 0"), ("apex_follow", f"at least {_FOLLOW}")):
            if quantity in answers.index:
                row = answers.loc[quantity]
                holds = row["low"] > 0 if quantity == "clip_swap" else row["estimate"] >= _FOLLOW
                known = row[["estimate", "low", "high", "subjects"]].to_dict() | {"events": row["clips"]}
                out.append({**about, **known, "claim": quantity, "needed": needed, "holds": holds})
        for metric, least in (("inside_spearman_true", 0.90), ("inside_auc_true", 0.95)):
            large = own[(own["peak_px"] >= 1) & (own["metric"] == metric)]
            for row in results.intervals(large, ["dataset"]).to_dict("records"):
                claim = {"claim": metric, "needed": f"at least {least} at 1 px or more"}
                out.append({**row, **about, **claim, "holds": row["estimate"] >= least})
        for control, least in itertools.product(family["controls"], family["least_px"]):
            large = part[(part["peak_px"] >= least) & (part["metric"] == family["metric"])]
            if less := paired(_of_model(large, *family["ours"]), _of_model(large, *control)):
                size = f"at {least:g} px or more" if least else "any size"
                needed = f"interval of the difference above 0, {size}"
                claim = {"claim": f"{family['metric']} over {control[0]}", "needed": needed}
                less |= {"estimate": less["difference"], "holds": less["low"] > 0}
                out.append({**about, **less, **claim})
    names = ["dataset", "claim", "needed", "estimate", "low", "high", "events", "holds"]
    result = pd.DataFrame(out, columns=[*names, "subjects", "seeds", "p", "effect"])
    for place, (name, value) in enumerate(
        zip(KEYS[1:], (family["protocol"], *CANDIDATE), strict=True), start=1
    ):
        result.insert(place, name, value)
    return comparisons.corrected(result, "intensity_claims", ["claim", "needed"])


def _of_model(table, model, used):
    return table[(table["model"] == model) & (table["input"] == used)]


def model_differences(table):
    """Every learned model less its controls on the same events, as comparisons.yml declares it.

    Parameters
    ----------
    table : DataFrame
        intensity.csv.

    Returns
    -------
    DataFrame
        ``KEYS``, control, control_input, metric, difference, low, high, p, effect, events, subjects, seeds, family
        (intensity_models), p_holm, significant. What the claims test already isn't tested again.
    """
    keys = [*KEYS, "control", "control_input", "metric"]
    family = comparisons.declared()["intensity_claims"]
    claimed = [(family["protocol"], family["metric"], CANDIDATE, control) for control in family["controls"]]
    out = []
    for asked in comparisons.declared()["intensity_models"]:
        protocol, metric = asked["protocol"], asked["metric"]
        asked_rows = table[(table["protocol"] == protocol) & (table["metric"] == metric)]
        for dataset, part in asked_rows.groupby("dataset", sort=False):
            models = [pair for pair in results.ordered(part) if pair[0] in results.LEARNED]
            for ours, control in itertools.product(models, asked["controls"]):
                if (protocol, metric, ours, control) in claimed:
                    continue
                if less := paired(_of_model(part, *ours), _of_model(part, *control)):
                    about = (dataset, protocol, *ours, *control, metric)
                    out.append(dict(zip(keys, about, strict=True)) | less)
    names = [*keys, "difference", "low", "high", "p", "effect", "events", "subjects", "seeds"]
    return comparisons.corrected(pd.DataFrame(out, columns=names), "intensity_models", keys)


def paired(ours, other, n=2000):
    """One model less another on the same events: over subjects, crossed with seeds.

    Parameters
    ----------
    ours, other : DataFrame
        subject, event, seed, value of one metric, of one data set and protocol. Trained with the same seeds, seed is paired
        with seed; else each of the one that has more with the mean of the other's.
    n : int
        Resamples and swaps.

    Returns
    -------
    dict
        As stats.paired_difference, and events, subjects, seeds; empty where they share no event.
    """
    keys = ["subject", "event", "seed"]
    sides = [rows.dropna(subset=["value"]).groupby(keys)["value"].mean() for rows in (ours, other)]
    seeds = [set(side.index.unique("seed")) for side in sides]
    if seeds[0] != seeds[1]:
        fewer = int(len(seeds[1]) <= len(seeds[0]))
        sides[fewer] = sides[fewer].groupby(keys[:2]).mean()
    first, second = (side.rename(name).reset_index() for side, name in zip(sides, "ab", strict=True))
    pair = first.merge(second).sort_values(keys)
    if pair.empty:
        return {}
    less = stats.paired_difference(
        *(pair[name].to_numpy() for name in ("a", "b", "subject")), runs=pair["seed"], n=n
    )
    events = len(pair.drop_duplicates(keys[:2]))
    return {**less, "events": events, "subjects": pair["subject"].nunique(), "seeds": pair["seed"].nunique()}


def evaluate_intensity(outcome, run):
    """Make and write every table of the intensity experiment.

    Parameters
    ----------
    outcome : intensity.Outcome
    run : str or Path

    Returns
    -------
    dict of DataFrame
        intensity, windows, transfer, face_card, summary, claims, model_differences.
    """
    parts: dict[str, list] = {"intensity": [], "windows": [], "face_card": [], "transfer": []}
    for p in outcome.prepared:
        folds, records = outcome.folds[p.dataset], outcome.records[p.dataset]
        curves = window_curves(p, records, folds, outcome.seed)
        rows, card = over_clips(p, curves, records, folds)
        parts["intensity"] += [intensity(p, curves, folds), rows]
        parts["face_card"].append(card)
        if p.protocol == "context":
            parts["windows"].append(other_windows(p, curves, folds))
        if p.protocol in outcome.transfer and outcome.transfer[p.protocol].dataset != p.dataset:
            parts["transfer"].append(transferred(p, outcome.transfer[p.protocol], records, folds))
    # A data set without a second family, or without context, leaves its table empty but there.
    empty = {"windows": [*COLUMNS, "kind"], "transfer": [*COLUMNS, "trained_on"]}
    tables = {
        name: pd.concat(part, ignore_index=True) if part else pd.DataFrame(columns=empty[name])
        for name, part in parts.items()
    }
    tables["summary"] = summary_by_amplitude(tables["intensity"])
    tables["claims"] = claims(tables["intensity"], tables["face_card"])
    tables["model_differences"] = model_differences(tables["intensity"])
    return {name: results.write_result(run, name, table) for name, table in tables.items()}


def transfer_loss(table, transfer):
    """What a model loses on the other family of fields, beside the control without training.

    Parameters
    ----------
    table, transfer : DataFrame
        intensity.csv and transfer.csv.

    Returns
    -------
    DataFrame
        dataset (trained on), protocol, model, input, metric, within, across, loss: means over subjects; 95 % intervals of
        the two (``*_low``, ``*_high``). The loss of flow_magnitude tells how much harder the other clips are by themselves.
    """
    shown, keys = ["inside_spearman_true", "inside_auc_true", "spearman_true"], [*KEYS, "metric"]
    sides = []
    for name, part in (("within", table), ("across", transfer.assign(dataset=transfer["trained_on"]))):
        means = results.intervals(part[part["metric"].isin(shown)], keys).set_index(keys)
        renamed = {"estimate": name, "low": f"{name}_low", "high": f"{name}_high"}
        sides.append(means[list(renamed)].rename(columns=renamed))
    both = pd.concat(sides, axis=1, join="inner").reset_index()
    values = [name for name in both if name not in (*keys, "within", "across")]
    return both[[*keys, "within", "across"]].assign(loss=both["within"] - both["across"]).join(both[values])


def ceilings(outcome, summary):
    """What the truth itself, the labels and the ties allow, beside which every number is to be read.

    Parameters
    ----------
    outcome : intensity.Outcome
    summary : DataFrame
        summary.csv.

    Returns
    -------
    DataFrame
        dataset, protocol, ceiling, metric, estimate.
    """
    rows = summary[summary["model"].isin(results.CEILINGS) & (summary["amplitude"] == "all")]
    out = [(r.dataset, r.protocol, r.model, r.metric, r.estimate) for r in rows.itertuples()]
    for p in outcome.prepared:
        chosen = p.first_complete()
        tied = float((p.pseudo[chosen] == 0).mean())
        out.append((p.dataset, p.protocol, "tie limit", "spearman_pseudo", float(metrics.tie_limit(tied))))
    return pd.DataFrame(out, columns=["dataset", "protocol", "ceiling", "metric", "estimate"])


def raw_verdict(card, summary):
    """Say in one paragraph whether the paper's own input saw the face; every word follows from the tables.

    Parameters
    ----------
    card, summary : DataFrame
        face_card.csv and summary.csv.

    Returns
    -------
    str
        Markdown.
    """
    keys, paragraphs = ["dataset", "protocol"], []
    raw_card = results.over_seeds(_of_model(card, "resnet18_bigru", "raw"))
    target = summary[(summary["amplitude"] == "all") & (summary["metric"] == "spearman_pseudo")]
    target = target.set_index([*KEYS])["estimate"]
    for (dataset, protocol), part in raw_card.groupby(keys, sort=False):
        raw = part.groupby("quantity")[["estimate", "low", "high"]].first()
        verdict = _SEES[controls.sees(raw.to_dict("index"))]
        values = "; ".join(
            f"{name} {row.estimate:.2f} ({row.low:.2f} to {row.high:.2f})" for name, row in raw.iterrows()
        )
        learned = target[dataset, protocol, "resnet18_bigru", "raw"]
        blind = target[dataset, protocol, "position_only", "none"]
        paragraphs.append(
            f"{dataset}, {protocol}: ResNet18 + BiGRU on raw frames {verdict} ({values}). "
            f"Spearman with the pseudo-label: {learned:.3f}, against {blind:.3f} by position alone."
        )
    return "\n\n".join(paragraphs) or "This run holds no fit on raw frames."


def amplitude_verdict(table):
    """Say whether the predicted peak follows the true peak across events; every word follows from the table.

    Parameters
    ----------
    table : DataFrame
        intensity.csv.

    Returns
    -------
    str
        Markdown.
    """
    keys, paragraphs = ["dataset", "protocol"], []
    rho = table[table["metric"] == "amplitude_spearman"].groupby(KEYS, sort=False)["value"].mean()
    for (dataset, protocol), part in rho.groupby(level=keys, sort=False):
        by_model = part.droplevel(keys)
        learned, control = by_model.get(CANDIDATE), by_model.get(("flow_magnitude", "flow"))
        if learned is None or control is None:
            continue
        word = "more closely than" if learned > control else "less closely than"
        paragraphs.append(
            f"{dataset}, {protocol}: the predicted peak of {CANDIDATE[0]} on {CANDIDATE[1]} follows the true peak "
            f"with a rank correlation of {learned:.2f}, {word} flow magnitude ({control:.2f}). The labels all peak "
            "at 1, so nothing in training asked for amplitude."
        )
    return "\n\n".join(paragraphs) or "Nobody knows the true peak of these events."


def intensity_beside_published(summary):
    """What was published for the data sets of a run, beside ours.

    Parameters
    ----------
    summary : DataFrame
        summary.csv.

    Returns
    -------
    DataFrame
        ``KEYS``, metric, ours, low, high, published, source; empty where nothing was published for these data.
    """
    ours = summary[summary["amplitude"] == "all"].rename(columns={"estimate": "ours"})
    theirs = published.values("intensity").rename(columns={"value": "published"})
    both = ours.merge(theirs, on=[*KEYS, "metric"], suffixes=("", "_published"))
    return both[[*KEYS, "metric", "ours", "low", "high", "published", "source"]]


def untestable(prepared):
    """Data sets whose clips are cut from onset to offset: position tells all, and no other protocol can ask.

    Parameters
    ----------
    prepared : list of intensity.Prepared

    Returns
    -------
    DataFrame
        dataset, protocol, verdict, reason; empty where every data set has frames around its events.
    """
    tested = {p.dataset for p in prepared if p.protocol == "context"}
    reason = "its clips hold no frames around the events"
    rows = [
        (name, "context", "not testable", reason)
        for name in dict.fromkeys(p.dataset for p in prepared)
        if name not in tested
    ]
    return pd.DataFrame(rows, columns=["dataset", "protocol", "verdict", "reason"])


def curve_table(outcome, table, protocol):
    """Curves of some events of the first data set, evenly from the worst to the best agreement of the candidate.

    Parameters
    ----------
    outcome : intensity.Outcome
    table : DataFrame
        intensity.csv.
    protocol : str

    Returns
    -------
    DataFrame
        panel, series, ms, value: what figures.curves draws; empty where the protocol wasn't run.
    """
    prepared = next((p for p in outcome.prepared if p.protocol == protocol), None)
    if prepared is None:
        return pd.DataFrame()
    folds, records = outcome.folds[prepared.dataset], outcome.records[prepared.dataset]
    curves = window_curves(prepared, records, folds, outcome.seed)
    metric = "spearman_pseudo" if prepared.truth is None else "inside_spearman_true"
    part = table[(table["dataset"] == prepared.dataset) & (table["protocol"] == protocol)]
    part = _of_model(part[part["metric"] == metric].dropna(subset=["value"]), *CANDIDATE)
    order = part.groupby(["subject", "event"])["value"].mean().sort_values(kind="stable")  # over seeds
    chosen = order.iloc[np.unique(np.linspace(0, len(order) - 1, min(_CURVES, len(order))).astype(int))]
    whole = prepared.first_complete()
    names = prepared.table.loc[whole, ["subject", "event"]].itertuples(index=False, name=None)
    window_of = dict(zip(names, whole, strict=True))
    out = []
    for event, value in chosen.items():
        i = window_of[event]
        time = (prepared.positions[i] - prepared.positions[i, 0]) / prepared.fps * 1000
        peak = "" if prepared.peak_px is None else f", {prepared.peak_px[i]:.2f} px"
        panel = f"{event[1]}{peak}, rho {value:.2f}"
        for (model, used, _), curve in curves.items():
            if model in (*results.CEILINGS, "resnet18_bigru") and used != "difference":
                series = model if model in results.CEILINGS else f"{model} {used}"
                out += [(panel, series, t, v) for t, v in zip(time, curve[i], strict=True)]
    return pd.DataFrame(out, columns=["panel", "series", "ms", "value"])
