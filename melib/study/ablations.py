"""What each part of the intensity model is worth, one change at a time; and which prior is right.

    line       a base (protocol, input, budget of the fit), and the variants that are held against it
    variant    the base with one change: its network, its loss, its target, its windows' samples, its labels

    04's records --+
                   +-- curve and apex_follow of every base and variant -- on the base's samples --> scores
    new fits ------+

intensity_ablations.csv    agreement and face card of every variant, beside its base, controls and ceilings
ablation_differences.csv   each less its base, on the same events, with the same seeds
prior_match.csv            every prior as a label: how well it matches the true intensity, no fit

Only training and validation ever see a changed target or label: every variant is tested on the same windows, undisturbed.
Which lines a profile runs stands in profiles.yml; what it leaves to the profile ``paper`` is told by `left_out`.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torchvision.models import ResNet18_Weights

from melib import controls, metrics, priors, protocols, stats
from melib.data import workers
from melib.study import comparisons, evaluation, grid, intensity, results

PRIORS = {
    "triangular": priors.triangular,
    "boxcar": priors.boxcar,
    "half_apex": priors.half_apex,
    "gaussian": priors.gaussian,
    "raised_cosine": priors.raised_cosine,
}
# Errors of the labels, native frames; 0 is the base.
JITTERS = (1, 2, 3, 4, 5, 6)
# Draws of a label's error in prior_match: their mean is reported.
DRAWS = 3
# Swaps of a test: p can't be smaller than one in so many, and a family of a hundred tests is corrected by a hundred.
_SWAPS = 20_000
# What the two priors' differences are judged by: ranks can't tell two monotone flanks apart, values can.
MATCH = "ccc"
KEYS = ["dataset", "protocol", "base", "family", "variant", "model", "input"]
TABLE = ["dataset", "protocol", "family", "variant", "model", "input", "metric"]
DIFFERENCES = [
    *(
        "dataset",
        "protocol",
        "family",
        "variant",
        "base",
        "metric",
        "difference",
        "low",
        "high",
        "p",
        "effect",
    ),
    *("p_holm", "significant", "events", "subjects", "seeds", "model", "input"),
]


@dataclass(frozen=True)
class Change:
    """What a variant changes in its base; what it doesn't name stays."""

    family: str
    model: str = ""
    input: str = ""
    fit: Mapping[str, Any] = field(default_factory=dict)
    target: str = "triangular"
    n_samples: int = 0
    jitter: int = 0


CHANGES = {
    "no temporal model": Change("temporal", model="framewise"),
    "no ranking term": Change("loss", fit={"rank": 0.0}),
    "no smoothness term": Change("loss", fit={"smooth": 0.0}),
    **{f"{prior.replace('_', ' ')} target": Change("target", target=prior) for prior in [*PRIORS][1:]},
    **{f"{n} samples": Change("samples", n_samples=n) for n in (8, 16, 32)},
    "raw frames": Change("input", input="raw"),
    "differences of frames": Change("input", input="difference"),
    "flow": Change("input", input="flow"),
    **{f"labels off by {n} frame{'s' * (n > 1)}": Change("labels", jitter=n) for n in JITTERS},
    "pretrained encoder": Change("pretrained", fit={"weights": "imagenet"}),
}


@dataclass(frozen=True)
class Line:
    """A base and its variants: ``fit`` is laid over the profile's budget, for the base as for the variants."""

    protocol: str
    input: str
    fit: Mapping[str, Any]
    variants: tuple

    @property
    def base(self):
        """What a reader calls the base: the input, and what its budget changes."""
        changed = ", ".join(f"{name} {value:g}" for name, value in self.fit.items())
        return f"ResNet18 + BiGRU, {self.input}" + (f" ({changed})" if changed else "")


@dataclass(frozen=True)
class Curves:
    """Curves of one variant and seed over all windows of its `Prepared`, NaN where it wasn't asked.

    ``curve`` (N, T) on the base's samples; ``slope`` (N,) apex_follow; ``about`` the values of `KEYS`.
    """

    about: tuple
    seed: int
    curve: np.ndarray
    slope: np.ndarray


def lines(run):
    """Lines of a profile, each with the names of its variants; ``all`` means every one that changes something.

    Parameters
    ----------
    run : Run

    Returns
    -------
    list of Line
    """
    options = run.settings
    out = []
    for spec in options["ablations"]:
        line = Line(spec["protocol"], spec["input"], spec.get("fit", {}), ())
        asked = [*CHANGES] if spec["variants"] == "all" else spec["variants"]
        names = [name for name in asked if _changes(line, CHANGES[name], options) and _possible(name, run)]
        out.append(replace(line, variants=tuple(names)))
    return out


def _changes(line, change, options):
    """Whether a change makes a variant that isn't the base itself."""
    same_samples = change.n_samples == options["windows"][line.protocol]["T"]
    return not (change.input == line.input or same_samples)


def _possible(name, run):
    return name != "pretrained encoder" or not _no_weights(run)


def _no_weights(run):
    """Why no encoder can be started from pretrained weights; empty if it can. Nothing is ever downloaded for it."""
    name = Path(ResNet18_Weights.IMAGENET1K_V1.url).name
    if not (Path(torch.hub.get_dir()) / "checkpoints" / name).is_file():
        return f"{name} isn't in the local cache of torch hub"
    width = run.settings["fit"]["width"]
    return "" if width == 64 else f"{name} has width 64, and this profile's encoders have {width}"


def left_out(run):
    """What the profile doesn't run, in sentences.

    Parameters
    ----------
    run : Run

    Returns
    -------
    list of str
    """
    options = run.settings
    mine = lines(run)
    said = []
    for protocol in intensity.PROTOCOLS:
        here = [line for line in mine if line.protocol == protocol]
        shown = {name for line in here for name in line.variants} | {"pretrained encoder"}
        probe = Line(protocol, here[0].input if here else "none", {}, ())
        rest = [
            name for name, change in CHANGES.items() if name not in shown and _changes(probe, change, options)
        ]
        if rest:
            said.append(f"Left to profile `paper`, {protocol} protocol: {', '.join(rest)}.")
    reason = _no_weights(run)
    if reason:
        said.append(f"Pretrained or not wasn't asked: {reason}.")
    return said


# ---- fits -------------------------------------------------------------------------------------------------------


def fit_all(outcome, run, *, jobs=2):
    """Curves of every line's base and variants, on every data set; what notebook 04 fitted is taken from there.

    Parameters
    ----------
    outcome : intensity.Outcome
        Of notebook 04.
    run : Run
    jobs : int
        Processes.

    Returns
    -------
    dict (dataset, protocol) -> list of Curves

    Raises
    ------
    DataError
        If a fit failed: says which and why; the others are finished and kept.
    """
    options = run.settings
    elsewhere = {p.dataset for p in outcome.transfer.values()}
    wanted, tasks = [], []
    for p in outcome.prepared:
        if p.dataset in elsewhere:  # the other family of fields is tested on, and not taken apart
            continue
        folds = [f for f in outcome.folds[p.dataset] if len(intensity.rows_of(p, f.test))]
        for line in (line for line in lines(run) if line.protocol == p.protocol):
            for name in ("", *line.variants):
                change = CHANGES[name] if name else Change("base")
                cut = _recut(outcome, p, change.n_samples, run, jobs)
                for seed in run.seeds:
                    changed = relabelled(outcome.studies, cut, change, seed)
                    for fold in folds:
                        job, fit = _job(p, line, name, change, fold, seed)
                        known = outcome.records[p.dataset].get(job)
                        wanted.append((p, line, name, change, seed, known))
                        if known is None:
                            job = replace(job, variant=job.variant or "base")
                            seen = _for_training(cut, changed, fold)
                            budget = {**options["fit"], **fit}
                            tasks.append((job, budget, seen, fold))
    fitted = iter(grid.run(intensity.run_job, run, tasks, jobs))
    records = [next(fitted) if known is None else known for *_, known in wanted]
    return _gathered(wanted, records)


def _job(p, line, name, change, fold, seed):
    """The job of a variant and its settings; without a name of its own where notebook 04 may have it."""
    fit = {**line.fit, **change.fit}
    plain = not fit and change.target == "triangular" and not change.n_samples and not change.jitter
    slug = "" if plain else (name or "base").replace(" ", "_")
    model, used = change.model or "resnet18_bigru", change.input or line.input
    return intensity.Job(p.dataset, p.protocol, model, used, fold.index, seed, slug), fit


def _recut(outcome, p, n_samples, run, jobs):
    """The same windows on another number of samples."""
    if n_samples in (0, p.positions.shape[1]):
        return p
    return intensity.seen(outcome.studies[p.dataset], p.table, n_samples, run, jobs=jobs)


def relabelled(studies, prepared, change, seed):
    """Targets that a change makes of the annotated events.

    Parameters
    ----------
    studies : dict dataset -> data.Study
    prepared : intensity.Prepared
    change : Change
    seed : int
        Of the fit: the labels' errors are drawn from it, event by event.

    Returns
    -------
    (N, T) float32
        Those of ``prepared`` where neither target nor labels change.
    """
    if change.target == "triangular" and not change.jitter:
        return prepared.pseudo
    events = jittered(studies[prepared.dataset].events, change.jitter, seed)
    return protocols.targets(prepared.table, events, prepared.positions.shape[1], PRIORS[change.target])


def jittered(events, sd, seed):
    """Events whose landmarks are each off by a normal error; a larger sd stretches the same errors.

    Parameters
    ----------
    events : DataFrame
    sd : float
        Frames; 0 gives the events as they are.
    seed : int
        An event's error depends on the seed and the event alone.

    Returns
    -------
    DataFrame
        Onset, apex and offset float and in order: where errors pass each other, the landmarks change places.
    """
    if not sd:
        return events
    moved = events.astype(dict.fromkeys(("onset", "apex", "offset"), float))
    for i, row in zip(moved.index, events.itertuples(), strict=True):
        stable = zlib.crc32(f"{row.dataset}/{row.subject}/{row.video}/{row.event}".encode())
        error = np.random.default_rng([seed, stable]).normal(0, 1, 3)
        marks = moved.loc[i, ["onset", "apex", "offset"]].to_numpy(float) + sd * error
        moved.loc[i, ["onset", "apex", "offset"]] = np.sort(marks)  # NaN stay last: such an event isn't used
    return moved


def _for_training(prepared, pseudo, fold):
    """Windows whose training and validation targets are the changed ones; tested on what was annotated."""
    if pseudo is prepared.pseudo:
        return prepared
    mine = prepared.table["subject"].isin([*fold.train, *fold.validation]).to_numpy()[:, None]
    return replace(prepared, pseudo=np.where(mine, pseudo, prepared.pseudo))


def _gathered(wanted, records):
    """Records of the folds of one variant and seed, put together on the base's samples."""
    found: dict[tuple, dict] = {}
    for (p, line, name, change, seed, _), record in zip(wanted, records, strict=True):
        model, used = change.model or "resnet18_bigru", change.input or line.input
        about = (p.dataset, p.protocol, line.base, change.family, name or line.base, model, used)
        each = found.setdefault((p.dataset, p.protocol), {}).setdefault(
            (about, seed),
            (np.full(p.pseudo.shape, np.nan, np.float32), np.full(len(p.table), np.nan)),
        )
        each[0][record["rows"]] = onto(record["curve"], p.positions.shape[1])
        each[1][record["rows"]] = record["slope"]
    return {
        key: [Curves(about, seed, curve, slope) for (about, seed), (curve, slope) in each.items()]
        for key, each in found.items()
    }


def onto(curves, n_samples):
    """Curves on other samples of the same span, by linear interpolation.

    Parameters
    ----------
    curves : (n, T) float
    n_samples : int

    Returns
    -------
    (n, n_samples) float32
        The same numbers where T is n_samples.
    """
    curves = np.asarray(curves, np.float32)
    if curves.shape[1] == n_samples:
        return curves
    old, new = np.linspace(0, 1, curves.shape[1]), np.linspace(0, 1, n_samples)
    return np.stack([np.interp(new, old, curve) for curve in curves]).astype(np.float32)


# ---- scores -----------------------------------------------------------------------------------------------------


def scores(outcome, curves, *, jobs=2):
    """Score of every variant, control and ceiling, a row an event, seed and metric.

    Parameters
    ----------
    outcome : intensity.Outcome
    curves : dict
        As `fit_all` returns.
    jobs : int

    Returns
    -------
    DataFrame
        ``KEYS``, seed, subject, event, metric, value; the base of controls is empty. clip_swap and apex_follow are metrics
        like the others.
    """
    out = []
    for p in outcome.prepared:
        mine = curves.get((p.dataset, p.protocol))
        if mine:
            every = [*mine, *_controls(outcome, p, mine)]
            out.append(_scored(p, every, outcome.folds[p.dataset], jobs))
    return pd.concat(out, ignore_index=True)


def _controls(outcome, p, mine):
    """Controls and ceilings of one `Prepared`, those of every target that was trained on included."""
    folds = outcome.folds[p.dataset]
    known = evaluation.curves_of(p, outcome.records[p.dataset], folds, outcome.seed)
    slopes = {}
    chosen, shifts = p.first_complete(), np.asarray(intensity.SHIFTS) * p.positions.shape[1]
    slopes["position_only"] = np.zeros(len(p.table))  # it reads no frame, so that re-timing changes nothing
    slopes["flow_magnitude"] = np.full(len(p.table), np.nan)
    slopes["flow_magnitude"][chosen] = controls.apex_follow(
        lambda x: x,
        p.magnitude[chosen],
        p.annotated[chosen, 1],
        shifts,
        p.table["subject"].to_numpy()[chosen],
    )["slopes"]
    unknown = np.full(len(p.table), np.nan)
    out = []
    for (model, used, seed), curve in known.items():
        if model in ("resnet18_bigru", "framewise"):
            continue
        said = results.CEILINGS.get(model, results.label(model, used))
        about = (p.dataset, p.protocol, "", "control", said, model, used)
        out.append(Curves(about, seed, curve, slopes.get(model, unknown)))
    for name in dict.fromkeys(each.about[4] for each in mine if each.about[3] == "target"):
        pseudo = relabelled(outcome.studies, p, CHANGES[name], outcome.seed)
        curve = np.full(p.pseudo.shape, np.nan, np.float32)
        for fold in folds:
            train, test = intensity.rows_of(p, fold.train), intensity.rows_of(p, fold.test)
            curve[test] = controls.position_only(pseudo[train], len(test))
        about = (p.dataset, p.protocol, "", "control", f"position only, {name}", "position_only", "none")
        out.append(Curves(about, outcome.seed, curve, slopes["position_only"]))
    return out


def _scored(p, every, folds, jobs):
    tasks = [(p, {(str(i), "", each.seed): each.curve}, folds) for i, each in enumerate(every)]
    found = list(workers.run(evaluation.intensity, tasks, jobs))
    chosen = p.first_complete()
    about = p.table.iloc[chosen]
    subjects = about["subject"].to_numpy()
    fold_of = about["subject"].map({s: fold.index for fold in folds for s in fold.test}).to_numpy()
    card = []
    for i, each in enumerate(every):
        if each.about[5] in results.CEILINGS:
            continue
        values = {
            "clip_swap": evaluation.swaps(each.curve[chosen], p.pseudo[chosen], subjects, fold_of),
            "apex_follow": each.slope[chosen],
        }
        for metric, value in values.items():
            part = about[["dataset", "protocol", "subject", "event"]]
            card.append(part.assign(model=str(i), seed=each.seed, metric=metric, value=value))
    rows = pd.concat([*found, *card], ignore_index=True)
    named = pd.DataFrame([each.about for each in every], columns=KEYS).iloc[rows["model"].astype(int)]
    left = rows[["seed", "subject", "event", "metric", "value"]]
    return pd.concat([named.reset_index(drop=True), left], axis=1)


def evaluate(outcome, curves, run, *, jobs=2):
    """Make and write the tables of the ablations.

    Parameters
    ----------
    outcome : intensity.Outcome
    curves : dict
        As `fit_all` returns.
    run : str or Path
    jobs : int

    Returns
    -------
    dict of DataFrame
        intensity_ablations, ablation_differences.
    """
    rows = scores(outcome, curves, jobs=jobs)
    table = results.intervals(rows, [*KEYS, "metric"])
    table = table[[*TABLE, "estimate", "low", "high", "events", "subjects", "base"]]
    made = {"intensity_ablations": table, "ablation_differences": differences(rows)}
    for name, each in made.items():
        results.write_result(run, name, each)
    return made


def differences(rows):
    """Every variant less its base, and position alone less every base, on the same events with the same seeds.

    Parameters
    ----------
    rows : DataFrame
        As `scores` returns.

    Returns
    -------
    DataFrame
        ``DIFFERENCES``. p, p_holm and significant in the metric that was declared (comparisons.yml) and for variants alone;
        effect is the mean over subjects of the difference, divided by its standard deviation over subjects.
    """
    out = []
    for (_, protocol), part in rows.groupby(["dataset", "protocol"], sort=False):
        known_metrics = set(part.dropna(subset=["value"])["metric"])
        declared = comparisons.metric_of("intensity_ablations", protocol, known_metrics)
        known: dict[Any, pd.DataFrame] = dict(list(part.groupby([*KEYS, "metric"], sort=False)))
        bases = {(about[2], about[7]): mine for about, mine in known.items() if about[3] == "base"}
        for about, mine in known.items():
            family, variant, model, metric = about[3], about[4], about[5], about[7]
            if family == "base" or (family == "control" and model != "position_only"):
                continue
            for base in [about[2]] if about[2] else dict.fromkeys(line for line, _ in bases):
                tested = metric == declared and family != "control"
                found = _paired(mine, bases[(base, metric)], _SWAPS if tested else 2000)
                if found:
                    p = found["p"] if tested else np.nan
                    row = (*about[:2], family, variant, base, metric)
                    row += (
                        found["difference"],
                        found["low"],
                        found["high"],
                        p,
                        found["effect"],
                        np.nan,
                        False,
                    )
                    out.append((*row, found["events"], found["subjects"], found["seeds"], model, about[6]))
    table = pd.DataFrame(out, columns=DIFFERENCES)
    for _, part in table[table["p"].notna()].groupby("dataset"):
        adjusted = stats.holm(part["p"].to_numpy())
        table.loc[part.index, "p_holm"] = adjusted
        table.loc[part.index, "significant"] = adjusted <= comparisons.alpha()
    return table


def _paired(mine, base, n):
    """The one less the other on the same events and seeds; a control without seeds stands beside every seed."""
    keys = ["subject", "event", "seed"] if set(base["seed"]) <= set(mine["seed"]) else ["subject", "event"]
    both = base.merge(mine, on=keys, suffixes=("_base", "")).dropna(subset=["value", "value_base"])
    if both.empty:
        return None
    runs = both["seed_base" if "seed_base" in both else "seed"].to_numpy()
    found = stats.paired_difference(
        both["value"].to_numpy(), both["value_base"].to_numpy(), both["subject"].to_numpy(), runs=runs, n=n
    )
    events = len(both.drop_duplicates(["subject", "event"]))
    return found | {"events": events, "subjects": both["subject"].nunique(), "seeds": len(set(runs))}


# ---- which prior is right? --------------------------------------------------------------------------------------


def prior_match(outcome, *, jobs=2):
    """How well every prior matches the true intensity, given exact, annotated and disturbed landmarks; no fit.

    Parameters
    ----------
    outcome : intensity.Outcome
    jobs : int

    Returns
    -------
    DataFrame
        dataset, protocol, prior, landmarks, jitter (native frames; NaN where the annotators' own), metric, estimate, low,
        high, events, subjects; in `MATCH` alone less_triangle, less_triangle_low, less_triangle_high, p, on the same
        events. Empty where nobody knows the truth.
    """
    names = ["dataset", "protocol", "prior", "landmarks", "jitter", "metric"]
    out = []
    elsewhere = {p.dataset for p in outcome.transfer.values()}
    asked = {p.dataset: p for p in outcome.prepared if p.true is not None and p.dataset not in elsewhere}
    for p in (
        asked.values()
    ):  # under the last protocol it has: context, unless its clips are cut at the annotation
        given = [
            ("exact", 0.0),
            ("annotated", np.nan),
            *((f"off by {n} frame{'s' * (n > 1)}", float(n)) for n in JITTERS),
        ]
        tasks = [
            (p, prior, landmarks, jitter, outcome.seed) for prior in PRIORS for landmarks, jitter in given
        ]
        rows = pd.concat(workers.run(_matched, tasks, jobs), ignore_index=True)
        for (landmarks, jitter, metric), part in rows.groupby(
            ["landmarks", "jitter", "metric"], sort=False, dropna=False
        ):
            wide = part.pivot_table(index=["subject", "event"], columns="prior", values="value", sort=False)
            people = wide.index.get_level_values("subject").to_numpy()
            for prior in PRIORS:
                known = wide[prior].notna().to_numpy() if prior in wide else np.zeros(0, bool)
                if not known.any():
                    continue
                found = stats.bootstrap(wide[prior].to_numpy(), people)
                apart = (np.nan,) * 4
                if metric == MATCH:
                    triangle = wide["triangular"].to_numpy()
                    less = stats.paired_difference(wide[prior].to_numpy(), triangle, people)
                    apart = (less["difference"], less["low"], less["high"], less["p"])
                about = (p.dataset, p.protocol, prior, landmarks, jitter, metric)
                out.append((*about, *found, int(known.sum()), len(set(people[known])), *apart))
    more = ["less_triangle", "less_triangle_low", "less_triangle_high", "p"]
    return pd.DataFrame(out, columns=[*names, "estimate", "low", "high", "events", "subjects", *more])


def _matched(p, prior, landmarks, jitter, seed):
    """Agreement of one prior with the truth, a row an event and metric; errors of the landmarks are averaged."""
    draws = DRAWS if jitter > 0 else 1
    out = []
    for i in p.first_complete():
        about = p.table.iloc[i]
        marks = p.annotated[i] if landmarks == "annotated" else p.true[i]
        stable = zlib.crc32(f"{about.dataset}/{about.subject}/{about.video}/{about.event}".encode())
        # The same errors for every prior, and stretched for a larger jitter.
        errors = np.random.default_rng([seed, stable]).normal(0, 1, (DRAWS, 3))[:draws]
        errors = errors * (np.nan_to_num(jitter) / p.step()[i])  # (draws, 3) samples
        found = []
        for error in errors:
            onset, apex, offset = np.sort(marks + error).tolist()
            found.append(_match(p, i, PRIORS[prior](onset, apex, offset, p.positions.shape[1])))
        for metric in found[0]:
            value = float(np.mean([each[metric] for each in found]))
            out.append((prior, landmarks, jitter, about.subject, about.event, metric, value))
    return pd.DataFrame(out, columns=["prior", "landmarks", "jitter", "subject", "event", "metric", "value"])


def _match(p, i, curve):
    """Values over the window, ranks over it, and ranks inside the event as evaluation.py counts it."""
    mask = p.mask[i]
    whole = metrics.curve_agreement(curve, p.truth[i], mask)
    inside = metrics.curve_agreement(curve, np.where(p.inside[i], p.truth[i], 0), mask)["inside_spearman"]
    return {"inside_spearman": inside, **{name: whole[name] for name in ("spearman", "ccc", "mae")}}
