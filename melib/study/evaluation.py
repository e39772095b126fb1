"""From predictions to the result tables: agreement of every curve, its controls, the face card and the claims.

intensity.csv   one row an event and metric, complete events only; rows without an event hold what only a set of clips has
face_card.csv   clip_swap, apex_follow and frozen_correlation with their 95 % intervals; over all seeds where seed is empty
summary.csv     intensity.csv averaged over subjects, with 95 % intervals, for all events and by amplitude
claims.csv      what must hold before a model is said to see the face: claim, number, interval, whether it holds
model_differences.csv   every learned model less the controls that comparisons.yml sets beside it, on the same events
transfer_loss.csv       trained on one family of displacement fields, tested on the other
ceilings.csv            what the truth itself, the labels and the ties allow
../curves/              every event's curve of every model, as `melib audit` reads them

Intervals are over subjects, crossed with seeds where there are several.
"""

import itertools

import numpy as np
import pandas as pd

from melib import controls, metrics, stats
from melib.data import cache
from melib.study import comparisons, results
from melib.study.comparisons import CANDIDATE
from melib.study.intensity import RISEN, SHIFTS, rows_of

KEYS = ["dataset", "protocol", "model", "input"]
COLUMNS = [*KEYS, "fold", "seed", "subject", "event", "peak_px", "metric", "value"]
# Curves that have no face card of their own.
_NO_CARD = ("truth", "pseudo_label", "frozen_clip", "shuffled_frames")
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
        samples = np.tile(np.arange(n_frames), (len(test), 1))
        oracle[test] = controls.lay_shape(shape, landmarks[test, 0], landmarks[test, 2], samples)
    out[("position_only", "none", seed)] = place
    out[("oracle_interval", "none", seed)] = oracle
    out[("flow_magnitude", "flow", seed)] = scaled(prepared.magnitude)
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


def scaled(magnitude):
    """Magnitudes (N, T) with a maximum of 1 each: within a window their unit is free."""
    return magnitude / np.maximum(magnitude.max(axis=1, keepdims=True), 1e-6)


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
    peaks = np.full(len(fold_of), np.nan) if prepared.peak_px is None else prepared.peak_px
    out = []
    for (model, used, seed), curve in curves.items():
        for i in prepared.first_complete():
            start = (prepared.dataset, prepared.protocol, model, used, fold_of[i], seed)
            event = (prepared.table["subject"].iloc[i], prepared.table["event"].iloc[i], peaks[i])
            values = _agreement(prepared, curve[i], i, milliseconds[i])
            out += [(*start, *event, metric, value) for metric, value in values.items()]
    return pd.DataFrame(out, columns=COLUMNS)


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
        model with several seeds one more row, its seed empty: over subjects crossed with seeds. Beside apex_follow
        ceiling, that of the truth itself; NaN where nobody knows it.
    """
    slopes = window_slopes(prepared, records)
    asked = {key: curve for key, curve in curves.items() if key[0] not in _NO_CARD}
    scores = clip_scores(prepared, curves, slopes, tested_in(prepared, folds), asked)
    card = results.intervals(scores, [*KEYS, "seed", "metric"])
    values = card.rename(columns={"estimate": "value"})
    chosen = prepared.first_complete()
    if prepared.peak_px is not None:
        follow = []
        for key, curve in asked.items():
            highest = (prepared.magnitude if key[0] == "flow_magnitude" else curve)[chosen].max(axis=1)
            rho = metrics.curve_agreement(highest / max(highest.max(), 1e-9), prepared.peak_px[chosen])
            follow.append((prepared.dataset, prepared.protocol, *key, "amplitude_spearman", rho["spearman"]))
        values = pd.concat([values, pd.DataFrame(follow, columns=[*KEYS, "seed", "metric", "value"])])
    order = list(asked)
    place = [
        order.index(key) for key in values[["model", "input", "seed"]].itertuples(index=False, name=None)
    ]
    values = values.iloc[np.argsort(place, kind="stable")]
    values = values.assign(fold="", subject="", event="", peak_px=np.nan)[COLUMNS]
    several = scores.groupby(KEYS)["seed"].transform("nunique") > 1
    if several.any():
        card = pd.concat([card, results.intervals(scores[several], [*KEYS, "metric"])])
    ceiling = _mean_slope(slopes.get(("truth", "none", None)), prepared)
    card = card.rename(columns={"metric": "quantity", "events": "clips"}).reset_index(drop=True)
    names = [*KEYS, "seed", "quantity", "estimate", "low", "high", "clips", "subjects"]
    return values, card[names].assign(ceiling=np.where(card["quantity"] == "apex_follow", ceiling, np.nan))


def clip_scores(prepared, curves, slopes, fold_of, asked):
    """clip_swap, apex_follow and frozen_correlation of some curves, a row an event.

    Parameters
    ----------
    prepared : intensity.Prepared
    curves : dict (model, input, seed) -> (N, T)
    slopes : dict
        As `window_slopes` returns.
    fold_of : (N,) int
        Whose model made the curve of a window.
    asked : iterable of (model, input, seed)

    Returns
    -------
    DataFrame
        ``KEYS``, seed, subject, event, metric, value.
    """
    chosen = prepared.first_complete()
    events = prepared.table.iloc[chosen][["subject", "event"]]
    events = events.assign(dataset=prepared.dataset, protocol=prepared.protocol)
    subjects, fold_of = events["subject"].to_numpy(), fold_of[chosen]
    out = []
    for model, used, seed in asked:
        curve = curves[model, used, seed][chosen]
        values = {"clip_swap": swaps_within_folds(curve, prepared.pseudo[chosen], subjects, fold_of)}
        slope = slopes.get((model, used, seed), slopes.get((model, used, None)))
        if slope is not None:
            values["apex_follow"] = slope[chosen]
        if model == "resnet18_bigru":
            frozen = curves["frozen_clip", used, seed][chosen]
            values["frozen_correlation"] = controls.frozen_correlation(curve, frozen)
        rows = events.assign(model=model, input=used, seed=seed)
        out += [rows.assign(metric=name, value=value) for name, value in values.items()]
    return pd.concat(out, ignore_index=True)


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


def window_slopes(prepared, records):
    """apex_follow of every window, NaN where it can't be asked.

    Returns
    -------
    dict (model, input, seed) -> (N,) float
        Of every fit; with seed None of position alone, which reads no frame, of flow magnitude, and of the truth itself,
        the ceiling.
    """
    out = _put_together(records, prepared.dataset, prepared, "slope")
    out["position_only", "none", None] = np.zeros(len(prepared.table))
    retimed = {("flow_magnitude", "flow", None): prepared.magnitude, ("truth", "none", None): prepared.truth}
    chosen = prepared.first_complete()
    shifts = np.asarray(SHIFTS) * prepared.positions.shape[1]
    for key, curves in retimed.items():
        if curves is not None:
            apex, people = prepared.annotated[chosen, 1], prepared.table["subject"].to_numpy()[chosen]
            out[key] = np.full(len(prepared.table), np.nan)
            out[key][chosen] = controls.apex_follow(lambda x: x, curves[chosen], apex, shifts, people)[
                "slopes"
            ]
    return out


def _mean_slope(slopes, prepared):
    """Mean over subjects, NaN where there is none."""
    if slopes is None or np.isnan(slopes).all():
        return np.nan
    return stats.bootstrap(slopes, prepared.table["subject"].to_numpy(), n=1)[0]


def transferred(prepared, there, records, folds):
    """Agreement of models on a data set that they were not trained on, with the untrained and knowing controls.

    Returns
    -------
    DataFrame
        ``COLUMNS``; the data set is what was trained on.
    """
    curves = window_curves(there, {}, folds)
    curves |= _put_together(records, prepared.dataset, there, "transfer_curve", "transfer_rows")
    return intensity(there, curves, folds).assign(dataset=prepared.dataset)


# ---- from intensity.csv and face_card.csv alone ---------------------------------------------------------------


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
        comparisons (family intensity_claims) p, effect, family, p_holm, significant. What the number stands beside:
        ceiling (apex_follow of the truth itself), labels and magnitude (the same metric of the pseudo-label and of the
        untrained flow magnitude on the same events).
    """
    family, out = comparisons.declared()["intensity_claims"], []
    beside = {"labels": ("pseudo_label", "none"), "magnitude": ("flow_magnitude", "flow")}
    for dataset, part in table[table["protocol"] == family["protocol"]].groupby("dataset", sort=False):
        own = _of_model(part, *CANDIDATE)
        about = {"dataset": dataset, "seeds": own["seed"].nunique()}
        answers = results.over_seeds(card[(card["dataset"] == dataset) & (card["protocol"] == "context")])
        answers = _of_model(answers, *CANDIDATE).set_index("quantity")
        for quantity in ("clip_swap", "apex_follow"):
            if quantity in answers.index:
                row = answers.loc[quantity]
                ceiling = row.get("ceiling", np.nan)
                least = controls.least_follow(ceiling)
                share = f", {controls.SHARE_OF_CEILING:g} of the truth's own" if ceiling == ceiling else ""
                needed, holds = f"at least {least:.2f}{share}", row["estimate"] >= least
                if quantity == "clip_swap":
                    needed, holds = "interval above 0", row["low"] > 0
                known = row[["estimate", "low", "high", "subjects"]].to_dict() | {"events": row["clips"]}
                claim = {"claim": quantity, "needed": needed, "holds": holds, "ceiling": ceiling}
                out.append({**about, **known, **claim})
        for metric, least in (("inside_spearman_true", 0.90), ("inside_auc_true", 0.95)):
            large = part[(part["peak_px"] >= 1) & (part["metric"] == metric)]
            others = {
                name: results.intervals(_of_model(large, *pair), ["dataset"])["estimate"].max()
                for name, pair in beside.items()
            }
            for row in results.intervals(_of_model(large, *CANDIDATE), ["dataset"]).to_dict("records"):
                claim = {"claim": metric, "needed": f"at least {least} at 1 px or more", **others}
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
    stands_beside = ["ceiling", *beside]
    result = pd.DataFrame(out, columns=[*names, "subjects", "seeds", *stands_beside, "p", "effect"])
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
    run : Run

    Returns
    -------
    dict of DataFrame
        intensity, face_card, summary, claims, model_differences, transfer_loss, ceilings, untestable; curves_paper and
        curves_context where there are any.
    """
    scores, cards, across = [], [], []
    drawn: dict[str, list] = {}
    for p in outcome.prepared:
        folds, records = outcome.folds[p.dataset], outcome.records[p.dataset]
        curves = window_curves(p, records, folds, outcome.seed)
        rows, card = over_clips(p, curves, records, folds)
        scores += [intensity(p, curves, folds), rows]
        cards.append(card)
        drawn.setdefault(p.protocol, []).append((p, curves))
        for name, one in whole_curves(p, curves, folds).items():
            cache.write_table(run.folder / "curves" / f"{p.dataset}_{p.protocol}_{name}.csv", one)
        if p.protocol in outcome.transfer and outcome.transfer[p.protocol].dataset != p.dataset:
            across.append(transferred(p, outcome.transfer[p.protocol], records, folds))
    table, card = (pd.concat(parts, ignore_index=True) for parts in (scores, cards))
    tables = {"intensity": table, "face_card": card, "summary": summary_by_amplitude(table)}
    tables |= {"claims": claims(table, card), "model_differences": model_differences(table)}
    tables["transfer_loss"] = transfer_loss(table, pd.concat(across or [table[:0]], ignore_index=True))
    tables["ceilings"] = ceilings(outcome, tables["summary"], card)
    tables["untestable"] = untestable(outcome.prepared, run)
    for protocol, parts in drawn.items():
        tables[f"curves_{protocol}"] = pd.concat(
            [curve_table(p, curves, table) for p, curves in parts], ignore_index=True
        )
    return {name: results.write_result(run, name, table) for name, table in tables.items()}


def transfer_loss(table, transfer):
    """What a model loses on the other family of fields, beside the control without training.

    Parameters
    ----------
    table, transfer : DataFrame
        intensity.csv, and the same on the other family, where the data set is what was trained on.

    Returns
    -------
    DataFrame
        dataset (trained on), protocol, model, input, metric, within, across, loss: means over subjects; 95 % intervals of
        the two (``*_low``, ``*_high``). The loss of flow_magnitude tells how much harder the other clips are by themselves.
    """
    shown, keys = ["inside_spearman_true", "inside_auc_true", "spearman_true"], [*KEYS, "metric"]
    sides = []
    for name, part in (("within", table), ("across", transfer)):
        means = results.intervals(part[part["metric"].isin(shown)], keys).set_index(keys)
        renamed = {"estimate": name, "low": f"{name}_low", "high": f"{name}_high"}
        sides.append(means[list(renamed)].rename(columns=renamed))
    both = pd.concat(sides, axis=1, join="inner").reset_index()
    values = [name for name in both if name not in (*keys, "within", "across")]
    return both[[*keys, "within", "across"]].assign(loss=both["within"] - both["across"]).join(both[values])


def ceilings(outcome, summary, card):
    """What the truth itself, the labels and the ties allow, beside which every number is to be read.

    Parameters
    ----------
    outcome : intensity.Outcome
    summary, card : DataFrame
        summary.csv and face_card.csv.

    Returns
    -------
    DataFrame
        dataset, protocol, ceiling, metric, estimate.
    """
    rows = summary[summary["model"].isin(results.CEILINGS) & (summary["amplitude"] == "all")]
    out = [(r.dataset, r.protocol, r.model, r.metric, r.estimate) for r in rows.itertuples()]
    known = card.dropna(subset=["ceiling"]).drop_duplicates(["dataset", "protocol"])
    out += [(r.dataset, r.protocol, "truth", r.quantity, r.ceiling) for r in known.itertuples()]
    for p in outcome.prepared:
        tied = float((p.pseudo[p.first_complete()] == 0).mean())
        out.append((p.dataset, p.protocol, "tie limit", "spearman_pseudo", float(metrics.tie_limit(tied))))
    return pd.DataFrame(out, columns=["dataset", "protocol", "ceiling", "metric", "estimate"])


def untestable(prepared, run):
    """Data sets without windows of the context protocol, where position doesn't tell all; and why.

    Parameters
    ----------
    prepared : list of intensity.Prepared
    run : Run

    Returns
    -------
    DataFrame
        dataset, protocol, verdict, reason; empty where every data set was asked in every protocol.
    """
    verdict, reason = "not testable", "its clips hold no frames around the events"
    if "context" not in run.settings["windows"]:
        verdict, reason = "not asked", f"profile {run.profile} follows the paper's protocol alone"
    tested = {p.dataset for p in prepared if p.protocol == "context"}
    names = [name for name in dict.fromkeys(p.dataset for p in prepared) if name not in tested]
    rows = [(name, "context", verdict, reason) for name in names]
    return pd.DataFrame(rows, columns=["dataset", "protocol", "verdict", "reason"])


def curve_table(prepared, curves, table):
    """Curves of some events, evenly from the worst to the best agreement of the candidate (without flow, of the model).

    Parameters
    ----------
    prepared : intensity.Prepared
    curves : dict (model, input, seed) -> (N, T)
        As `window_curves` returns.
    table : DataFrame
        intensity.csv.

    Returns
    -------
    DataFrame
        panel, series, seed (of the training), ms, value: what figures.curves draws.
    """
    metric = "spearman_pseudo" if prepared.truth is None else "inside_spearman_true"
    part = table[(table["dataset"] == prepared.dataset) & (table["protocol"] == prepared.protocol)]
    part = part[(part["metric"] == metric) & (part["model"] == CANDIDATE[0])].dropna(subset=["value"])
    part = part[part["input"] == (CANDIDATE[1] if CANDIDATE[1] in set(part["input"]) else "raw")]
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
        name = event[1] if event[1].startswith(event[0]) else "/".join(event)
        panel = f"{name}{peak}, rho {value:.2f}"
        for (model, used, seed), curve in curves.items():
            if model in (*results.CEILINGS, "resnet18_bigru") and used != "difference":
                series = model if model in results.CEILINGS else f"{model} {used}"
                out += [(panel, series, seed, t, v) for t, v in zip(time, curve[i], strict=True)]
    return pd.DataFrame(out, columns=["panel", "series", "seed", "ms", "value"])


def whole_curves(prepared, curves, folds):
    """The curve of every event on the window that it is scored on, as `melib audit` reads them.

    Parameters
    ----------
    prepared : intensity.Prepared
    curves : dict (model, input, seed) -> (N, T)
        As `window_curves` returns; of several trainings the first is taken.
    folds : list of protocols.Fold

    Returns
    -------
    dict of DataFrame
        events: subject, video (the event's name), onset, apex, offset in samples of the window, fps (samples a second).
        ``<model>_<input>``: subject, video, fold, frame (sample of the window), intensity (NaN without a face).
    """
    whole = prepared.first_complete()
    names = prepared.table.loc[whole, ["subject", "event"]].rename(columns={"event": "video"})
    marks = pd.DataFrame(prepared.annotated[whole], whole, ["onset", "apex", "offset"])
    out = {"events": names.join(marks).assign(fps=prepared.fps / prepared.step()[whole])}
    n_frames = prepared.positions.shape[1]
    names = names.assign(fold=tested_in(prepared, folds)[whole])
    names = names.loc[np.repeat(whole, n_frames)].assign(frame=np.tile(np.arange(n_frames), len(whole)))
    for (model, used, _), curve in curves.items():
        shown = np.where(prepared.mask, curve, np.nan)[whole]
        out.setdefault(f"{model}_{used}", names.assign(intensity=shown.ravel()))
    return out
