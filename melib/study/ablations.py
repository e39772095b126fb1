"""What each part of the intensity model is worth, one change at a time; and which prior is right.

    line       a base (protocol, input, budget of the fit), and the variants that are held against it
    variant    the base with one change: its network, its loss, its target, its windows' samples, its labels, its clips
    sham       the base with another seed and nothing else, beside every base: what it differs by is the noise floor

    04's records --+
                   +-- curve and apex_follow of every base and variant -- on the base's samples --> scores
    new fits ------+

intensity_ablations.csv    agreement and face card of every variant, beside its base, controls and ceilings
ablation_differences.csv   each less its base, on the same events, with the same seeds
paper_protocol.csv         the first paper's own table: each configuration under every split and averaging it may have had
prior_match.csv            every prior as a label: how well it matches the true intensity, no fit

Only training and validation ever see a changed target or label: every variant is tested on the same windows, undisturbed.
Which lines a profile runs stands in profiles.yml; what it leaves to the profile ``paper`` is told by `left_out`.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from melib import controls, metrics, priors, protocols, stats
from melib.data import workers
from melib.study import comparisons, evaluation, further, grid, intensity, published, results
from melib.study.run import SHAM_APART

PRIORS = {
    "triangular": priors.triangular,
    "boxcar": priors.boxcar,
    "half_apex": priors.half_apex,
    "gaussian": priors.gaussian,
    "raised_cosine": priors.raised_cosine,
}
# What a network can be trained on: the priors, and what is left without the structure of a label.
TARGETS = PRIORS | {"symmetric_triangle": priors.symmetric_triangle, "apex_only": priors.apex_only}
# Errors of the labels, native frames; 0 is the base.
JITTERS = (1, 2, 3, 4, 5, 6)
# Draws of a label's error in prior_match: their mean is reported.
DRAWS = 3
# Swaps of a test: p can't be smaller than one in so many, and a family of a hundred tests is corrected by a hundred.
_SWAPS = 20_000
# The variant in which nothing is changed but the seed.
SHAM = "another seed (sham)"
# What the two priors' differences are judged by: ranks can't tell two monotone flanks apart, values can.
MATCH = "ccc"
_LESS = {"": "difference", "_low": "low", "_high": "high"}
KEYS = ["dataset", "protocol", "base", "family", "variant", "model", "input"]
TABLE = ["dataset", "protocol", "family", "variant", "model", "input", "metric"]
_SIZE = ["difference", "low", "high", "p", "effect", "p_holm", "significant"]
DIFFERENCES = [*TABLE[:4], "base", "metric", *_SIZE, "events", "subjects", "seeds", "model", "input", "floor"]


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
    split: str = "subjects"  # or clips: a person's other clips are trained on
    clips: int = 0  # further ones of the training subjects, for each that they have
    over_rest: bool = False  # their movements are laid over each other's rest, too


CHANGES = {
    SHAM: Change("sham"),
    "no temporal model": Change("temporal", model="framewise"),
    "no ranking term": Change("loss", fit={"rank": 0.0}),
    "no smoothness term": Change("loss", fit={"smooth": 0.0}),
    **{f"{prior.replace('_', ' ')} target": Change("target", target=prior) for prior in [*TARGETS][1:]},
    "clips split at random (leaky)": Change("split", split="clips"),
    **{f"{n} samples": Change("samples", n_samples=n) for n in (8, 16, 32)},
    "raw frames": Change("input", input="raw"),
    "differences of frames": Change("input", input="difference"),
    "flow": Change("input", input="flow"),
    **{f"labels off by {n} frame{'s' * (n > 1)}": Change("labels", jitter=n) for n in JITTERS},
    "pretrained encoder": Change("pretrained", fit={"weights": "imagenet"}),
    "three times the clips": Change("data", clips=2),
    "movements over others' rest": Change("data", over_rest=True),
    "three times the clips, over others' rest": Change("data", clips=2, over_rest=True),
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
class VariantCurves:
    """Curves of one variant and seed over all windows of its `Prepared`, NaN where it wasn't asked.

    ``curve`` (N, T) on the base's samples; ``slope`` (N,) apex_follow; ``fold`` (N,) whose model it was; ``about`` the
    values of `KEYS`.
    """

    about: tuple
    seed: int
    curve: np.ndarray
    slope: np.ndarray
    fold: np.ndarray


def lines(run):
    """Lines of a profile, each with the names of its variants, the sham first; ``all`` is every one that changes something.

    Parameters
    ----------
    run : Run

    Returns
    -------
    list of Line
    """
    out = []
    for spec in run.settings["ablations"]:
        line = Line(spec["protocol"], spec["input"], spec.get("fit", {}), ())
        names = dict.fromkeys([SHAM, *(CHANGES if spec["variants"] == "all" else spec["variants"])])
        variants = [name for name in names if _changes(line, CHANGES[name], run) and _possible(name, run)]
        out.append(replace(line, variants=tuple(variants)))
    return out


def _changes(line, change, run):
    """Whether a change makes a variant that isn't the base itself."""
    same_samples = change.n_samples == run.settings["windows"].get(line.protocol, {}).get("T")
    # Only a window that is one clip can be split from the other clips of its person.
    no_clips = change.split == "clips" and line.protocol != "paper"
    # A clip cut from onset to offset has no rest; what is simulated at the rate of context windows has no other rate.
    no_more = change.family == "data" and line.protocol != "context"
    no_sum = change.over_rest and line.input != "flow"  # displacements add up, grey values don't
    return not (change.input == line.input or same_samples or no_clips or no_more or no_sum)


def _possible(name, run):
    if CHANGES[name].clips and run.data:  # of licensed people nothing can be simulated
        return False
    return name != "pretrained encoder" or not _no_weights(run)


def _no_weights(run):
    """Why no encoder can be started from pretrained weights; empty if it can. Nothing is ever downloaded for it."""
    from torchvision.models import ResNet18_Weights

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
    sentences = []
    for protocol in intensity.protocols_of(run):
        asked = [line for line in lines(run) if line.protocol == protocol]
        named = {name for line in asked for name in line.variants}
        base = Line(protocol, asked[0].input if asked else "none", {}, ())
        others = {
            name: change for name, change in CHANGES.items() if name not in named and _possible(name, run)
        }
        rest = [name for name, change in others.items() if _changes(base, change, run)]
        if rest:
            sentences.append(f"Left to profile `paper`, {protocol} protocol: {', '.join(rest)}.")
    if reason := _no_weights(run):
        sentences.append(f"Pretrained or not wasn't asked: {reason}.")
    return sentences


# ---- fits -------------------------------------------------------------------------------------------------------


def fit_all(outcome, run):
    """Curves of every line's base and variants, on every data set; what notebook 04 fitted is taken from there.

    Parameters
    ----------
    outcome : intensity.Outcome
        Of notebook 04.
    run : Run

    Returns
    -------
    dict (dataset, protocol) -> list of VariantCurves

    Raises
    ------
    DataError
        If a fit failed: says which and why; the others are finished and kept.
    """
    elsewhere = {p.dataset for p in outcome.transfer.values()}
    wanted, tasks, more = [], [], {}
    for p in outcome.prepared:
        if p.dataset in elsewhere:  # the other family of fields is tested on, and not taken apart
            continue
        tested = [fold for fold in outcome.folds[p.dataset] if len(intensity.rows_of(p, fold.test))]
        for line, name, seed in asked_of(run, p.protocol):
            change = CHANGES[name] if name else Change("base")
            cut, folds = p, tested
            if change.clips and (p.dataset, change.clips) not in more:
                more[p.dataset, change.clips] = further.further_clips(p, change.clips, run)
            if change.n_samples not in (0, p.positions.shape[1]):
                cut = intensity.sample_windows(outcome.studies[p.dataset], p.table, change.n_samples, run)
            pseudo = relabelled(outcome.studies, cut, change, seed)
            if change.split == "clips":
                cut = by_clip(p)
                folds = protocols.folds(cut.table["subject"], len(outcome.folds[p.dataset]), seed=run.seed)
            for fold in folds:
                job, budget = job_of(run, p.dataset, line, name, fold.index, seed)
                record = outcome.records[p.dataset].get(job)
                about = (
                    p.dataset,
                    p.protocol,
                    line.base,
                    change.family,
                    name or line.base,
                    job.model,
                    job.input,
                )
                wanted.append((p, about, job, seed, record))
                if record is None:
                    job = replace(job, variant=job.variant or "base")
                    trained = _for_training(cut, pseudo, fold)
                    if change.clips:
                        trained = further.extended(trained, more[p.dataset, change.clips], fold)
                    if change.over_rest:
                        trained = further.over_rest(trained, fold, seed)
                    if change.family == "data":
                        budget = further.with_as_many_steps(budget, cut, trained, fold)
                    tasks.append((job, budget, trained, fold))
    return _gathered(wanted, iter(grid.run_tasks(intensity.run_job, run, tasks)))


def asked_of(run, protocol):
    """What is fitted under a protocol: list of (line, name of a variant or "" for the base, seed)."""
    return [
        (line, name, seed)
        for line in lines(run)
        if line.protocol == protocol
        for name in ("", *line.variants)
        for seed in run.seeds
    ]


def job_of(run, dataset, line, name, fold, seed):
    """The job of a variant and the settings of its fit; without a name of its own where notebook 04 may have it.

    Parameters
    ----------
    run : Run
    dataset : str
    line : Line
    name : str
        A key of ``CHANGES``; empty for the base.
    fold : int
    seed : int

    Returns
    -------
    job : intensity.Job
    budget : dict
    """
    change = CHANGES[name] if name else Change("base")
    fit = {**line.fit, **change.fit}
    network_alone = replace(change, model="", input="") == Change(change.family)
    slug = "" if network_alone and not fit else re.sub(r"\W+", "_", name or "base").strip("_")
    model, used = change.model or "resnet18_bigru", change.input or line.input
    seed += SHAM_APART if name == SHAM else 0
    job = intensity.Job(dataset, line.protocol, model, used, fold, seed, slug)
    return job, {**run.settings["fit"], **fit}


def by_clip(prepared):
    """The same windows where each clip counts as a person: whoever splits these people splits clips."""
    table = prepared.table
    clip = table["subject"] + "/" + table["video"] + "/" + table["event"]
    return replace(prepared, table=table.assign(subject=clip))


def _gathered(wanted, fitted):
    """Records of the folds of one variant and seed, put together on the base's samples; what isn't known was fitted."""
    gathered: dict[tuple, dict] = {}
    for p, about, job, seed, known in wanted:
        record = next(fitted) if known is None else known
        variants, n = gathered.setdefault((p.dataset, p.protocol), {}), len(p.table)
        if (about, seed) not in variants:
            nothing = np.full(p.pseudo.shape, np.nan, np.float32), np.full(n, np.nan), np.zeros(n, int)
            variants[about, seed] = VariantCurves(about, seed, *nothing)
        old, new = (np.linspace(0, 1, n) for n in (record["curve"].shape[1], p.positions.shape[1]))
        variants[about, seed].curve[record["rows"]] = [
            np.interp(new, old, curve) for curve in record["curve"]
        ]
        variants[about, seed].slope[record["rows"]] = record["slope"]
        variants[about, seed].fold[record["rows"]] = job.fold
    return {key: [*variants.values()] for key, variants in gathered.items()}


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
    if (change.target, change.jitter) == (Change.target, Change.jitter):
        return prepared.pseudo
    events = jittered(studies[prepared.dataset].events, change.jitter, seed)
    return protocols.targets(prepared.table, events, prepared.positions.shape[1], TARGETS[change.target])


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
        marks = moved.loc[i, ["onset", "apex", "offset"]].to_numpy(float) + sd * _errors(row, seed)[0]
        moved.loc[i, ["onset", "apex", "offset"]] = np.sort(marks)  # NaN stay last: such an event isn't used
    return moved


def _errors(event, seed, n=1):
    """Errors of an event's landmarks with sd 1, (n, 3): those of the seed and the event alone."""
    stable = zlib.crc32(f"{event.dataset}/{event.subject}/{event.video}/{event.event}".encode())
    return np.random.default_rng([seed, stable]).normal(0, 1, (n, 3))


def _for_training(prepared, pseudo, fold):
    """Windows whose training and validation targets are the changed ones; tested on what was annotated."""
    if pseudo is prepared.pseudo:
        return prepared
    changed = prepared.table["subject"].isin([*fold.train, *fold.validation]).to_numpy()[:, None]
    return replace(prepared, pseudo=np.where(changed, pseudo, prepared.pseudo))


# ---- scores -----------------------------------------------------------------------------------------------------


def evaluate_ablations(outcome, curves, run):
    """Make and write the tables of the ablations.

    Parameters
    ----------
    outcome : intensity.Outcome
    curves : dict
        As `fit_all` returns.
    run : Run

    Returns
    -------
    dict of DataFrame
        intensity_ablations, ablation_differences, paper_protocol.
    """
    everything = [
        (p, [*curves[p.dataset, p.protocol], *_controls(outcome, p, curves[p.dataset, p.protocol])])
        for p in outcome.prepared
        if (p.dataset, p.protocol) in curves
    ]
    rows = pd.concat(
        [_scored(p, variants, outcome.folds[p.dataset], run.jobs) for p, variants in everything],
        ignore_index=True,
    )
    table = results.intervals(rows, [*KEYS, "metric"])
    table = table[[*TABLE, "estimate", "low", "high", "events", "subjects", "base"]]
    tables = {"intensity_ablations": table, "ablation_differences": differences(rows)}
    tables["paper_protocol"] = paper_protocol(outcome, rows, everything)
    return {name: results.write_result(run, name, table) for name, table in tables.items()}


def _controls(outcome, p, variants):
    """Controls and ceilings of one `Prepared`, those of every target and split that was trained on included."""
    folds, start = outcome.folds[p.dataset], (p.dataset, p.protocol, "", "control")
    fold_of, slopes = evaluation.tested_in(p, folds), evaluation.window_slopes(p, {})
    unknown = np.full(len(p.table), np.nan)
    out = []
    known = evaluation.window_curves(p, outcome.records[p.dataset], folds, outcome.seed)
    for (model, used, seed), curve in known.items():
        if model not in results.LEARNED:
            about = (*start, results.CEILINGS.get(model, results.label(model, used)), model, used)
            out.append(VariantCurves(about, seed, curve, slopes.get((model, used, None), unknown), fold_of))
    for variant in variants:
        name = variant.about[4]
        about = (*start, f"position only, {name}", "position_only", "none")
        if variant.about[3] in ("target", "split") and about not in [control.about for control in out]:
            pseudo = relabelled(outcome.studies, p, CHANGES[name], outcome.seed)
            curve = np.full(p.pseudo.shape, np.nan, np.float32)
            for fold in np.unique(variant.fold):
                test = variant.fold == fold
                train = ~test if variant.about[3] == "split" else intensity.rows_of(p, folds[fold].train)
                curve[test] = controls.position_only(pseudo[train], int(test.sum()))
            out.append(
                VariantCurves(about, outcome.seed, curve, slopes["position_only", "none", None], variant.fold)
            )
    return out


def _scored(p, variants, folds, jobs):
    """Score of every variant, a row an event, seed and metric; clip_swap and apex_follow are metrics like the others."""
    tasks = [(p, {(str(i), "", variant.seed): variant.curve}, folds) for i, variant in enumerate(variants)]
    scored = list(workers.run_jobs(evaluation.intensity, tasks, jobs))
    for i, variant in enumerate(variants):
        if variant.about[5] not in results.CEILINGS:
            key = (str(i), "", variant.seed)
            scored.append(
                evaluation.clip_scores(p, {key: variant.curve}, {key: variant.slope}, variant.fold, [key])
            )
    rows = pd.concat(scored, ignore_index=True)
    about = pd.DataFrame([variant.about for variant in variants], columns=KEYS)
    named = about.iloc[rows["model"].astype(int)].reset_index(drop=True)
    return pd.concat([named, rows[["seed", "subject", "event", "metric", "value"]]], axis=1)


def paper_protocol(outcome, rows, everything):
    """The first paper's own table: each configuration, by every way to split and to average that its text leaves open.

    Parameters
    ----------
    outcome : intensity.Outcome
    rows : DataFrame
        Scores of every variant, a row an event.
    everything : list of (Prepared, list of VariantCurves)

    Returns
    -------
    DataFrame
        dataset, base, family, variant, model, input, split (subjects, or clips: leaky), averaging (subjects: with its
        interval; clips; pooled: one correlation over all frames of all clips), metric, estimate, low, high, published,
        differs, note (what makes a configuration degenerate or leaky).
    """
    keys = ["dataset", *KEYS[2:], "metric"]
    asked = ["spearman_pseudo", "kendall_pseudo"]
    part = rows[(rows["protocol"] == "paper") & rows["metric"].isin(asked)]
    tables = [
        results.intervals(part, keys).assign(averaging="subjects"),
        part.groupby(keys, sort=False)["value"]
        .mean()
        .rename("estimate")
        .reset_index()
        .assign(averaging="clips"),
    ]
    pooled, notes = [], {}
    for p, variants in everything:
        if p.protocol != "paper":
            continue
        for variant in variants:
            about = (variant.about[0], *variant.about[2:])
            of_all = metrics.curve_agreement(variant.curve[p.mask], p.pseudo[p.mask])
            pooled += [(*about, f"{name}_pseudo", of_all[name]) for name in ("spearman", "kendall")]
            change = CHANGES.get(variant.about[4], Change("base"))
            if change.split == "clips":
                notes[variant.about[4]] = "leaky: a test person's other clips are trained on"
            elif not np.ptp(relabelled(outcome.studies, p, change, outcome.seed), axis=1).any():
                notes[variant.about[4]] = "degenerate: the target is the same in every frame"
    by_seed = pd.DataFrame(pooled, columns=[*keys, "estimate"])
    tables.append(by_seed.groupby(keys, sort=False).mean().reset_index().assign(averaging="pooled"))
    table = pd.concat(tables, ignore_index=True)
    known = published.values("intensity").rename(columns={"value": "published", "variant": "of"})
    variant = table["variant"].where(~table["family"].isin(["base", "control"]), "")
    table = table.assign(
        of=variant.where(~table["variant"].str.startswith("position only, "), "none"),
        split=np.where(table["variant"].str.contains("leaky"), "clips", "subjects"),
        note=table["variant"].map(notes).fillna(""),
    )
    known = known[["dataset", "model", "input", "metric", "of", "published", "differs"]]
    table = table.merge(known, on=["dataset", "model", "input", "metric", "of"], how="left")
    names = [
        *keys[:-1],
        "split",
        "averaging",
        "metric",
        "estimate",
        "low",
        "high",
        "published",
        "differs",
        "note",
    ]
    return table[names]


def differences(rows):
    """Every variant less its base, and position alone less every base, on the same events with the same seeds.

    Parameters
    ----------
    rows : DataFrame
        As `variant_scores` returns.

    Returns
    -------
    DataFrame
        ``DIFFERENCES``. p, p_holm and significant in the metric that was declared (comparisons.yml), for variants alone and
        not for the sham, of which nothing is claimed; effect is the mean over subjects of the difference, divided by its
        standard deviation over subjects; floor is the size of the sham's own difference from the same base.
    """
    out = []
    for (_, protocol), part in rows.groupby(["dataset", "protocol"], sort=False):
        known = set(part.dropna(subset=["value"])["metric"])
        declared = comparisons.metric_of("intensity_ablations", protocol, known)
        groups = [
            (dict(zip([*KEYS, "metric"], about, strict=True)), values)
            for about, values in part.groupby([*KEYS, "metric"], sort=False)
        ]
        bases = {(row["base"], row["metric"]): values for row, values in groups if row["family"] == "base"}
        for row, values in groups:
            if row["family"] == "base" or (row["family"] == "control" and row["model"] != "position_only"):
                continue
            tested = row["metric"] == declared and row["family"] not in ("control", "sham")
            for base in [row["base"]] if row["base"] else dict.fromkeys(base for base, _ in bases):
                if paired := evaluation.paired(
                    values, bases[base, row["metric"]], **({"n": _SWAPS} if tested else {})
                ):
                    out.append({**row, "base": base, **paired, **({} if tested else {"p": np.nan})})
    table = pd.DataFrame(out, columns=DIFFERENCES)
    table["p_holm"] = table.groupby("dataset")["p"].transform(stats.holm)
    keys = ["dataset", "protocol", "base", "metric"]
    shams = table[table["family"] == "sham"].set_index(keys)["difference"].abs()
    table["floor"] = shams.reindex(pd.MultiIndex.from_frame(table[keys])).to_numpy(float)
    return table.assign(significant=table["p_holm"] <= comparisons.alpha())


# ---- which prior is right? --------------------------------------------------------------------------------------


def match_priors(outcome, run):
    """How well every prior matches the true intensity, given exact, annotated and disturbed landmarks; no fit.

    Parameters
    ----------
    outcome : intensity.Outcome
    run : Run

    Returns
    -------
    DataFrame
        dataset, protocol, prior, landmarks, jitter (native frames; NaN where the annotators' own), metric, estimate, low,
        high, events, subjects; in `MATCH` alone less_triangle, less_triangle_low, less_triangle_high, p, on the same
        events. Empty where nobody knows the truth.
    """
    given = {"exact": 0.0, "annotated": np.nan}
    given |= {f"off by {n} frame{'s' * (n > 1)}": float(n) for n in JITTERS}
    elsewhere = {p.dataset for p in outcome.transfer.values()}
    # Under the last protocol it has: context, unless its clips are cut at the annotation.
    asked = {p.dataset: p for p in outcome.prepared if p.true is not None and p.dataset not in elsewhere}
    out = []
    for p in asked.values():
        tasks = [(p, prior, *landmarks, outcome.seed) for prior in PRIORS for landmarks in given.items()]
        rows = pd.concat(workers.run_jobs(_matched, tasks, run.jobs), ignore_index=True)
        for (landmarks, metric), part in rows.groupby(["landmarks", "metric"], sort=False):
            triangle = part[part["prior"] == "triangular"]
            for row in results.intervals(part, ["prior"]).to_dict("records"):
                about = {
                    "dataset": p.dataset,
                    "protocol": p.protocol,
                    "landmarks": landmarks,
                    "metric": metric,
                }
                about["jitter"] = given[landmarks]
                if metric == MATCH:
                    less = evaluation.paired(part[part["prior"] == row["prior"]], triangle)
                    about |= {f"less_triangle{end}": less[name] for end, name in _LESS.items()} | {
                        "p": less["p"]
                    }
                out.append(row | about)
    names = ["dataset", "protocol", "prior", "landmarks", "jitter", "metric", "estimate", "low", "high"]
    names += ["events", "subjects", *(f"less_triangle{end}" for end in _LESS), "p"]
    return pd.DataFrame(out, columns=names)


def _matched(p, prior, landmarks, jitter, seed):
    """Agreement of one prior with the truth, a row an event and metric; errors of the landmarks are averaged."""
    out = []
    for i in p.first_complete():
        event = p.table.iloc[i]
        marks = p.annotated[i] if landmarks == "annotated" else p.true[i]
        # The same errors for every prior, and stretched for a larger jitter; (draws, 3) samples.
        errors = _errors(event, seed, DRAWS if jitter > 0 else 1) * (np.nan_to_num(jitter) / p.step()[i])
        curves = []
        for error in errors:
            onset, apex, offset = np.sort(marks + error).tolist()
            curves.append(PRIORS[prior](onset, apex, offset, p.positions.shape[1]))
        agreement = pd.DataFrame([_match(p, i, curve) for curve in curves])
        for metric in agreement:
            value = float(np.mean(agreement[metric].to_list()))
            out.append((prior, landmarks, 0, event.subject, event.event, metric, value))
    return pd.DataFrame(out, columns=["prior", "landmarks", "seed", "subject", "event", "metric", "value"])


def _match(p, i, curve):
    """Values over the window, ranks over it, and ranks inside the event as evaluation.py counts it."""
    mask = p.mask[i]
    whole = metrics.curve_agreement(curve, p.truth[i], mask)
    inside = metrics.curve_agreement(curve, p.event_truth(i), mask)["inside_spearman"]
    return {"inside_spearman": inside, **{name: whole[name] for name in ("spearman", "ccc", "mae")}}
