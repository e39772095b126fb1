"""Six questions, and what a run answers: every word follows from its result tables.

    results/*.csv  -->  an Answer a question: one Finding a data set, the tables it rests on

Square brackets hold 95 % intervals over subjects. Two things are told apart where the interval of their difference leaves 0
out and, where a p after Holm's correction is known, that is below .05. Nothing is computed here but means over seeds and
shares: whoever doubts a sentence finds its numbers in the tables it names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melib import controls
from melib.errors import DataError
from melib.study import comparisons, results

ALPHA = comparisons.alpha()  # of a p after Holm's correction
_FEW = 10  # subjects, below which a bootstrap over them says little
NEAR = 2.0  # a threshold within this factor of the ideal observer's is near it
# What agreement is judged by: the first that a table knows. The pseudo-label only where nobody knows the truth.
_AGREEMENT = {
    "context": ("inside_spearman_true", "spearman_pseudo"),
    "paper": ("inside_spearman_true", "spearman_pseudo"),
}
# Values tell priors apart that rise and fall alike; ranks can't (ablations.MATCH).
_MATCH = "ccc"
_MODEL, _INPUT = comparisons.CANDIDATE
_ABOUT = {"dataset": "", "protocol": "", "events": np.nan, "subjects": np.nan, "low": np.nan, "high": np.nan}

Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Finding:
    """What one data set says: a verdict of a few words, one or two sentences with its numbers, and what else was found."""

    dataset: str
    verdict: str
    said: tuple[str, ...]
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """One question with its findings; ``missing`` says which notebook writes what isn't there."""

    name: str
    question: str
    rule: str
    findings: tuple[Finding, ...]
    tables: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """``tables``: what the answer reads, each with the notebook that writes it."""

    name: str
    question: str
    rule: str
    tables: Mapping[str, str]
    answer: Callable[[Tables], list[Finding]]


def answers(run: str | Path) -> list[Answer]:
    """Answer every question as far as the results of a run allow.

    Parameters
    ----------
    run : str or Path
        Folder of the run.

    Returns
    -------
    list of Answer
        In the order of `QUESTIONS`.
    """
    names = dict.fromkeys(name for question in QUESTIONS for name in question.tables)
    tables = {name: read(run, name) for name in names}
    out = []
    for asked in QUESTIONS:
        mine = {name: tables[name] for name in asked.tables}
        there = tuple(name for name, table in mine.items() if len(table))
        missing = tuple(_missing(run, asked.tables))
        findings = tuple(asked.answer(mine)) if there else ()
        out.append(Answer(asked.name, asked.question, asked.rule, findings, there, missing))
    return out


@dataclass(frozen=True)
class Abstract:
    """What stands above the answers: sentences on data, method, and what this run can't say."""

    data: tuple[str, ...]
    method: tuple[str, ...]
    limits: tuple[str, ...]


def abstract(run: str | Path, settings: Mapping[str, Any]) -> Abstract:
    """Say what a run used and how, and what it can't claim, from its files.

    Parameters
    ----------
    run : str or Path
        Folder of the run.
    settings : mapping
        profile, seed and data, as provenance.recorded returns; empty where nobody recorded them.
    """
    names = ("events", "spotting", "intensity", "untestable")
    events, spotting, intensity, untestable = (read(run, name) for name in names)
    simulated = settings.get("data") == ["simulated"]
    return Abstract(
        (*_clips(events, simulated), *_videos(spotting)),
        tuple(_method(intensity, spotting)),
        tuple(_cautions(settings, simulated, intensity, untestable)),
    )


def _clips(events: pd.DataFrame, simulated: bool) -> list[str]:
    out = []
    if len(events):
        used = events[(events["kind"] == "micro") & (events["status"] != "dropped")]
        for dataset, part in used.groupby("dataset", sort=False):
            kind = "simulated, so that the intensity of every frame is known" if simulated else "licensed"
            out.append(
                f"{dataset}: {len(part)} micro-expressions of {part['subject'].nunique()} subjects ({kind})."
            )
    return out


def _videos(spotting: pd.DataFrame) -> list[str]:
    rows = spotting[spotting["rule"] == "strict"].drop_duplicates("dataset") if len(spotting) else spotting
    return [
        f"{row['dataset']}: {row['videos']:.0f} long videos, {row['minutes']:.0f} minutes, "
        f"{row['tp'] + row['fn']:.0f} micro-expressions."
        for row in results.records(rows)
    ]


def _method(intensity: pd.DataFrame, spotting: pd.DataFrame) -> list[str]:
    out = []
    learned = intensity[intensity["model"].isin(results.LEARNED)] if len(intensity) else intensity
    for dataset, part in learned.groupby("dataset", sort=False):
        seeds = part["seed"].nunique()
        out.append(
            f"{dataset}: {part.loc[part['subject'] != '', 'fold'].nunique()} folds of subjects, each subject tested once by "
            f"models that never saw it, {seeds} training seed{'s' * (seeds != 1)}; {_joined(sorted(set(part['protocol'])))} "
            f"protocol; inputs {_joined(sorted(set(part['input'])))}."
        )
    if len(spotting):
        systems = spotting.drop_duplicates("system")
        out.append(
            f"Spotting: {len(systems)} systems on the same videos, those without an event included, one-to-one matching at "
            "IoU .5."
        )
    if out:
        out.append(
            "Square brackets: 95 % intervals, by bootstrap over subjects. Grey rows: controls and ceilings."
        )
    return out


def _cautions(
    settings: Mapping[str, Any], simulated: bool, intensity: pd.DataFrame, untestable: pd.DataFrame
) -> list[str]:
    """What a reader must not take from this run; each sentence only where the files say that it applies."""
    out = []
    if simulated:
        out.append("Every movement is simulated: no number says how well anything here does on a real face.")
    if settings.get("profile") == "smoke":
        out.append(
            "Profile smoke only shows that the parts fit together: none of its numbers means anything."
        )
    elif settings.get("profile") == "demo":
        out.append("Profile demo trains smaller networks, for less time, than profile paper.")
    if len(intensity):
        rows = intensity[intensity["event"] != ""]
        seeds = rows.loc[rows["model"].isin(results.LEARNED), "seed"].nunique()
        if seeds == 1:
            out.append("One training seed: intervals hold for these fits, not for training anew.")
        unknown = [
            str(name) for name, part in rows.groupby("dataset", sort=False) if part["peak_px"].isna().all()
        ]
        if unknown:
            out.append(
                f"Nobody knows the true intensity of {_joined(unknown)}: agreement is with labels alone."
            )
        few = rows.groupby("dataset", sort=False)["subject"].nunique()
        out += [
            f"{name} has {n} subjects: intervals are wide or mean little."
            for name, n in few[few < _FEW].items()
        ]
    for row in results.records(untestable):
        reason = row.get("reason", "")
        out.append(
            f"{row['dataset']}, {row['protocol']} protocol: {row.get('verdict', 'not testable')}, {reason}."
        )
    return out


def _missing(run: str | Path, tables: Mapping[str, str]) -> list[str]:
    lacking: dict[str, list[str]] = {}
    for name, notebook in tables.items():
        if not (Path(run) / "results" / f"{name}.csv").is_file():
            lacking.setdefault(notebook, []).append(f"{name}.csv")
    return [
        f"Not asked in this run: notebook {each} writes {_joined(names)}." for each, names in lacking.items()
    ]


def markdown(run: str | Path, name: str) -> str:
    """One answer as a paragraph for a notebook: verdict and sentences of every data set, or what is missing.

    Parameters
    ----------
    run : str or Path
        Folder of the run.
    name : str
        Of a question: temporal, prior, inputs, limits, decoder, faults.
    """
    found = next(answer for answer in answers(run) if answer.name == name)
    said = [f"{each.dataset}: **{each.verdict}**. {' '.join(each.said)}" for each in found.findings]
    return "\n\n".join(said or found.missing)


def read(run: str | Path, name: str) -> pd.DataFrame:
    """A result table with all columns that the answers read; empty where the run hasn't got it.

    Raises
    ------
    DataError
        If the file is there and isn't a table.
    """
    file = Path(run) / "results" / f"{name}.csv"
    try:
        table = results.read_result(file) if file.is_file() else pd.DataFrame()
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise DataError(f"{file} isn't a table ({error}): remove it and run its notebook again") from None
    known = _ABOUT | _COLUMNS.get(name, {})
    return table.assign(**{column: value for column, value in known.items() if column not in table})


# What a sentence may ask of a table that an older run wrote without it.
_UNKNOWN = {"p": np.nan, "p_holm": np.nan, "difference": np.nan, "estimate": np.nan}
_TEXT = dict.fromkeys(("metric", "family", "variant", "base", "system", "condition", "model", "input"), "")
_COLUMNS: dict[str, dict[str, Any]] = {
    "face_card": _TEXT | {"seed": np.nan, "quantity": "", "estimate": np.nan, "clips": np.nan},
    "model_differences": _TEXT | _UNKNOWN | {"control": ""},
    "claims": _TEXT | {"claim": "", "needed": "", "estimate": np.nan},
    "summary": _TEXT | {"amplitude": "", "estimate": np.nan},
    "ablation_differences": _TEXT | _UNKNOWN,
    "prior_match": _TEXT
    | {"prior": "", "landmarks": "", "estimate": np.nan}
    | dict.fromkeys(("less_triangle", "less_triangle_low", "less_triangle_high"), np.nan),
    "limits": _TEXT
    | {
        "kind": "",
        "remark": "",
        **dict.fromkeys(("threshold_px", "threshold_px_low", "threshold_px_high"), np.nan),
        **dict.fromkeys(("lapse", "lapse_low", "lapse_high", "per_hour", "level"), np.nan),
    },
    "efficiency": _TEXT
    | dict.fromkeys(
        ("low_px", "high_px", "efficiency", "efficiency_low", "efficiency_high", "level"), np.nan
    ),
    "factorial": _TEXT
    | {"factor": "", "ours": "", "reference": "", "effect": np.nan, "combinations": np.nan, "p_holm": np.nan},
    "decoder_differences": _TEXT | _UNKNOWN | {"setting": "", "other": ""},
    "spotting_claims": _TEXT | _UNKNOWN | {"claim": ""},
    "variant_differences": _TEXT | _UNKNOWN,
    "inflation_ledger": _TEXT | {"fault": "", "meaning": "", "strs": np.nan, "inflation": np.nan},
    "events": _TEXT | {"kind": "micro", "status": "", "subject": ""},
    "spotting": _TEXT | {"rule": "strict", **dict.fromkeys(("videos", "minutes", "tp", "fn"), np.nan)},
    "intensity": _TEXT | {"subject": "", "event": "", "fold": "", "seed": "", "peak_px": np.nan},
    "published_control": _TEXT
    | {"of": "", "paper": np.nan, "control": np.nan, "their_events": np.nan, "their_subjects": np.nan},
}


# ---- words ------------------------------------------------------------------------------------------------------


def interval(row: Any, value: str = "estimate", digits: int | None = None, *, sign: bool = False) -> str:
    """Estimate and interval as text: two digits after the point, one from 2 on, ``undefined`` where there is none.

    Examples
    --------
    >>> interval({"estimate": 0.571, "low": 0.54, "high": 0.6})
    '0.57 [0.54, 0.60]'
    """
    bounds = ("low", "high") if f"{value}_low" not in row else (f"{value}_low", f"{value}_high")
    estimate, low, high = (float(row[name]) for name in (value, *bounds))
    if not np.isfinite(estimate):
        return "undefined"
    places = (1 if abs(estimate) >= 2 else 2) if digits is None else digits
    text = _rounded(estimate, places, "+" * sign)
    return (
        f"{text} [{_rounded(low, places)}, {_rounded(high, places)}]"
        if np.isfinite([low, high]).all()
        else text
    )


def _rounded(value: float, places: int, sign: str = "") -> str:
    """A number with so many digits after the point; what rounds to 0 has no minus."""
    text = f"{value:{sign}.{places}f}"
    return text.replace("-", sign) if float(text) == 0 else text


def told(row: Any) -> str:
    """Whether a difference is told apart from 0: ``above``, ``below``, ``not told apart``, or ``unknown``."""
    low, high, p = float(row["low"]), float(row["high"]), float(row.get("p_holm", np.nan))
    if not np.isfinite([low, high]).all():
        return "unknown"
    if (low > 0 or high < 0) and not p >= ALPHA:
        return "above" if low > 0 else "below"
    return "not told apart"


def _counted(row: Any, what: str = "events") -> str:
    """``280 events, 40 subjects``, as far as they are known."""
    known = [(what, row.get(what, np.nan)), ("subjects", row.get("subjects", np.nan))]
    return ", ".join(f"{value:.0f} {name}" for name, value in known if pd.notna(value) and value != "")


def _p(row: Any) -> str:
    p = float(row.get("p_holm", np.nan))
    return "" if not np.isfinite(p) else f", p after Holm {p:.3f}" if p >= 0.001 else ", p after Holm < 0.001"


def _metric(name: str) -> str:
    return results.METRICS.get(name, _spaced(name))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _joined(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _spaced(text: Any) -> str:
    return str(text).replace("semi_markov", "semi-Markov").replace("_", " ")


# ---- rows -------------------------------------------------------------------------------------------------------


def _datasets(*tables: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(name for table in tables for name in table["dataset"] if name))


def _of(table: pd.DataFrame, dataset: str) -> pd.DataFrame:
    return table[table["dataset"] == dataset]


def _protocol(table: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """The protocol in which position says nothing where there is one, else the first; and its rows."""
    there = list(dict.fromkeys(table["protocol"]))
    chosen = "context" if "context" in there else there[0] if there else ""
    return chosen, table[table["protocol"] == chosen]


def _judged(table: pd.DataFrame, protocol: str, value: str) -> pd.DataFrame:
    """Rows of the first metric of agreement that the table knows."""
    for metric in _AGREEMENT.get(protocol, _AGREEMENT["context"]):
        part = table[(table["metric"] == metric) & table[value].notna()]
        if len(part):
            return part
    return table[:0]


def _card(card: pd.DataFrame, model: str, used: str) -> dict[str, Any]:
    """Rows of the face card of one model, mean over seeds, by quantity."""
    part = card[(card["model"] == model) & (card["input"] == used)]
    return {row["quantity"]: row for row in results.records(results.over_seeds(part))}


# ---- one function a question: tables -> findings ------------------------------------------------------------------


def _finding(dataset: str, verdict: str, said: list[str], details: list[str]) -> Finding:
    return Finding(dataset, verdict, tuple(said), tuple(details))


def temporal(tables: Tables) -> list[Finding]:
    """Does temporal modelling help beyond position?"""
    out = []
    for dataset in _datasets(tables["face_card"], tables["ablation_differences"]):
        protocol, card = _protocol(_of(tables["face_card"], dataset))
        beyond, swap = _beyond(_card(card, _MODEL, _INPUT).get("clip_swap"), protocol)
        details = _agreement(_of(tables["summary"], dataset), protocol)
        over = results.records(_over_position(_of(tables["model_differences"], dataset), protocol))
        said = [_over(row) for row in over] or swap
        details = swap * bool(over) + details
        beyond = beyond if not over else told(over[0]) == "above" and beyond is not False
        claims = _of(tables["claims"], dataset)
        for row in results.records(claims[claims["claim"] == "inside_spearman_true over oracle_interval"]):
            sentence = (
                f"Over a mean shape laid on the true interval: {interval(row, sign=True)}, {_word(row)}"
            )
            details.append(f"{sentence} ({row['needed'].partition(', ')[2]}; {_counted(row)}).")
        changes = results.records(_changes(tables["ablation_differences"], dataset, "temporal"))
        # A model on raw frames may gain position alone: where there is a base on motion, it decides.
        judged = [row for row in changes if row["input"] == _INPUT] or changes
        words = [told(row) for row in judged]
        said += [f"{_changed(row)}." for row in judged[:1]]
        details += [
            f"{_changed(row)}." for row in [*judged[1:], *(row for row in changes if row not in judged)]
        ]
        verdict = _both(beyond, "below" in words if words else None)
        out.append(_finding(dataset, verdict, said, details))
    return out


_WORDS = {"above": "above 0", "below": "below 0"}


def _word(row: Any) -> str:
    return _WORDS.get(told(row), told(row))


def _beyond(swap: Any, protocol: str) -> tuple[bool | None, list[str]]:
    """Whether the curve belongs to its own clip, with the sentence."""
    if swap is None:
        return None, []
    fits = "fits" if swap["low"] > controls.LEAST_SWAP else "isn't shown to fit"
    number = f"clip swap {interval(swap)}, 0 for whatever knows only position; {_counted(swap, 'clips')}"
    curve = f"In the {protocol} protocol, the curve of {results.label(_MODEL, _INPUT)}"
    return bool(swap["low"] > controls.LEAST_SWAP), [
        f"{curve} {fits} its own clip better than other people's ({number})."
    ]


def _over_position(differences: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """The model less position alone, in the metric that agreement is judged by."""
    mine = differences[(differences["model"] == _MODEL) & (differences["input"] == _INPUT)]
    mine = mine[(mine["control"] == "position_only") & (mine["protocol"] == protocol)]
    return _judged(mine, protocol, "difference")[:1]


def _over(row: Any) -> str:
    name = results.label(_MODEL, _INPUT)
    return f"{name} less position alone, {row['protocol']} protocol: {_difference(row)} ({_counted(row)})."


def _difference(row: Any) -> str:
    return f"{_metric(row['metric'])}, {interval(row, 'difference', sign=True)}: {_word(row)}{_p(row)}"


def _agreement(summary: pd.DataFrame, protocol: str) -> list[str]:
    part = summary[(summary["protocol"] == protocol) & (summary["amplitude"] == "all")]
    part = _judged(part, protocol, "estimate")
    rows = {(row["model"], row["input"]): row for row in results.records(part)}
    learned, control = rows.get((_MODEL, _INPUT)), rows.get(("position_only", "none"))
    if learned is None or control is None:
        return []
    both = f"{interval(learned)}, beside {interval(control)} by position alone"
    return [f"{_metric(learned['metric'])}: {both} ({_counted(learned)})."]


def _changes(differences: pd.DataFrame, dataset: str, family: str) -> pd.DataFrame:
    """What each variant of a family changes in the metric that agreement is judged by."""
    mine = differences[(differences["dataset"] == dataset) & (differences["family"] == family)]
    protocol, part = _protocol(mine)
    # Only the metric that was declared beforehand is tested.
    return _judged(part[part["p"].notna()] if part["p"].notna().any() else part, protocol, "difference")


def _changed(row: Any) -> str:
    base = f" for {row['base']}" if row["base"] else ""
    counted = _counted(row)
    return _capital(f"{row['variant']}{base}: {_difference(row)}") + (f" ({counted})" if counted else "")


def _both(beyond: bool | None, helps: bool | None) -> str:
    if beyond is None and helps is None:
        return "not asked"
    if helps is None:
        return f"beyond position: {'yes' if beyond else 'not shown'}; without it: not asked"
    if beyond is None:
        return f"it helps: {'yes' if helps else 'not shown'}; beyond position: not asked"
    return "yes" if beyond and helps else "in part" if beyond or helps else "not shown"


def prior(tables: Tables) -> list[Finding]:
    """Does the prior's shape matter, as a label and as a target?"""
    out = []
    match, differences = tables["prior_match"], tables["ablation_differences"]
    for dataset in _datasets(match, differences[differences["family"] == "target"]):
        changes = results.records(_changes(differences, dataset, "target"))
        words = [told(row) for row in changes]
        apart = [row for row in changes if told(row) in ("above", "below")]
        said, details = [], [f"Trained on it: {_changed(row)}." for row in changes]
        if changes:
            targets = f"{len(changes)} other target{'s' * (len(changes) > 1)}"
            said.append(
                f"Of {targets} trained on, {len(apart)} changed the model by what is told apart from 0."
            )
            strongest = max(changes, key=lambda row: abs(row["difference"]))
            said.insert(0, f"Largest change by another target: {_changed(strongest)}.")
        _, part = _protocol(_of(match, dataset))
        part = part[(part["metric"] == _MATCH) & part["estimate"].notna()]
        for landmarks in ("annotated", "exact"):
            rows = part[part["landmarks"] == landmarks]
            said += [_best(rows, landmarks)] if len(rows) else []
            details += [_ranked(rows, landmarks)] if len(rows) else []
        verdict = "not asked of training" if not words else "not told apart"
        if apart:
            verdict = "yes, one is better" if "above" in words else "yes, none is better"
        if said:
            out.append(_finding(dataset, verdict, said, details))
    return out


def _best(rows: pd.DataFrame, landmarks: str) -> str:
    """The prior that matches the true intensity best, and whether it is told apart from the triangle."""
    best = results.records(rows.sort_values("estimate", ascending=False, kind="stable"))[0]
    sentence = (
        f"As a label, given {landmarks} landmarks, {_spaced(best['prior'])} matches the true intensity best"
    )
    number = f"concordance {interval(best, digits=3)}"
    if best["prior"] != "triangular" and np.isfinite(best["less_triangle"]):
        apart = told({"low": best["less_triangle_low"], "high": best["less_triangle_high"]})
        number += f", {interval(best, 'less_triangle', 3, sign=True)} more than the triangle's, {_WORDS.get(apart, apart)}"
    return f"{sentence} ({'; '.join(filter(None, (number, _counted(best))))})."


def _ranked(rows: pd.DataFrame, landmarks: str) -> str:
    """The priors by how well they match the true intensity."""
    best = results.records(rows.sort_values("estimate", ascending=False, kind="stable"))
    each = [f"{_spaced(row['prior'])} {interval(row, digits=3)}" for row in best]
    counted = _counted(best[0])
    metric = "concordance"
    return f"As a label, given {landmarks} landmarks, {metric}: {', '.join(each)}" + f" ({counted})." * bool(
        counted
    )


def inputs(tables: Tables) -> list[Finding]:
    """Which input sees the face?"""
    out = []
    card = tables["face_card"]
    for dataset in _datasets(card):
        protocol, part = _protocol(_of(card, dataset))
        found = {used: _card(part, model, used) for model, used in results.ordered(part) if model == _MODEL}
        # Which fits its own clip best comes first: the summary shows no other.
        swaps = {
            used: rows["clip_swap"]["estimate"] if "clip_swap" in rows else -1.0
            for used, rows in found.items()
        }
        verdicts = {used: controls.sees(found[used]) for used in sorted(found, key=lambda used: -swaps[used])}
        if not verdicts:
            continue
        groups = {
            word: [used for used in verdicts if verdicts[used] == word]
            for word in ("yes", "in part", "no", "not asked")
        }
        verdict = "; ".join(
            f"{_joined(names)}: {word}" for word, names in groups.items() if names and word != "no"
        )
        said = [_seen(used, found[used]) for names in groups.values() for used in names]
        if protocol != "context":
            said.append(
                "Only the paper's protocol could be asked: its clips hold no frames around the events, so that position "
                "says nearly everything."
            )
        out.append(_finding(dataset, verdict or "none", said, []))
    return out


def _seen(used: str, rows: Mapping[str, Any]) -> str:
    asked = [
        f"{results.QUANTITIES[name][0]} {interval(rows[name])}" for name in results.QUANTITIES if name in rows
    ]
    counted = _counted(next(iter(rows.values())), "clips")
    return _capital(f"{used}: {controls.sees(rows)}, {', '.join(asked)} ({counted}).")


def limits(tables: Tables) -> list[Finding]:
    """How small a movement is seen, and how near the ideal?"""
    out = []
    for dataset in _datasets(tables["limits"], tables["efficiency"]):
        every = _of(tables["limits"], dataset)
        # The rate of false alarms that was asked first; the others stand in the table.
        every = every[every["per_hour"].isin(every["per_hour"][:1])]
        rows = every[every["condition"] == "base"].sort_values("threshold_px", kind="stable")
        best, ideal = (rows[rows["kind"] == kind][:1] for kind in ("model", "ideal"))
        said = [_threshold(row) for row in results.records(pd.concat([best, ideal]))]
        rest = every.drop(index=[*best.index, *ideal.index])
        rest = rest[(rest["condition"] == "base") | rest["system"].isin(best["system"])]
        details = [_threshold(row) for row in results.records(rest)]
        used = _of(tables["efficiency"], dataset)
        used = used[(used["condition"] == "base") & used["system"].isin(best["system"])]
        words, blind = _how_near(
            best["threshold_px"].sum(min_count=1), ideal["threshold_px"].sum(min_count=1)
        )
        out.append(_finding(dataset, words, said + blind, details + _efficient(used)))
    return out


def _how_near(best: float, ideal: float) -> tuple[str, list[str]]:
    """Verdict, and which sizes only the ideal observer sees; NaN: half was found at no size, or not asked."""
    if not np.isfinite(best):
        return "no model finds half", []
    if not np.isfinite(ideal):
        return f"{best:.2g} px", []
    near = "near it" if best <= NEAR * ideal else "far from it"
    blind = f"From {ideal:.2g} to {best:.2g} px the model is blind; below, the ideal observer finds less than half."
    return f"{best:.2g} px, {best / ideal:.2g} times the ideal's: {near}", [blind] if best > ideal else []


def _threshold(row: Any) -> str:
    name = _capital(_spaced(row["system"]))
    if row["condition"] != "base":
        level = f" {row['level']:g} {row['unit']}" if pd.notna(row["level"]) else ""
        name += f", {row['condition']}{level},"
    alarms = f" at {row['per_hour']:.0f} false alarms an hour" if pd.notna(row["per_hour"]) else ""
    counted = f" ({_counted(row)})" if _counted(row) else ""
    if pd.isna(row["threshold_px"]):
        remark = f": {row['remark']}" if pd.notna(row["remark"]) and row["remark"] else ""
        return f"{name} finds half at no size that was asked{alarms}{remark}{counted}."
    lapse = f", and misses {100 * row['lapse']:.0f} % however large" if row["lapse"] > 0 else ""
    return f"{name} finds half of the movements of {_two(row, 'threshold_px')} px{alarms}{lapse}{counted}."


def _efficient(rows: pd.DataFrame) -> list[str]:
    out = []
    for system, part in rows.dropna(subset=["efficiency"]).groupby("system", sort=False):
        bins = [f"{_range(row)} {_used(row)}" for row in results.records(part)]
        name = _capital(_spaced(system))
        out.append(f"{name}, efficiency against the ideal observer (1 is the ideal): {'; '.join(bins)}.")
    return out


def _used(row: Any) -> str:
    """Efficiency, or its upper limit where no more was found than by guessing."""
    if row["efficiency"] == 0 and np.isfinite(row["efficiency_high"]):
        return f"at most {row['efficiency_high']:.2g}"
    return _two(row, "efficiency")


def _two(row: Any, name: str) -> str:
    """Value and interval to two digits, however small."""
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    ends = [f"{end:.2g}" if np.isfinite(end) else "?" for end in (low, high)]
    return f"{value:.2g} [{ends[0]}, {ends[1]}]" if np.isfinite([low, high]).any() else f"{value:.2g}"


def _range(row: Any) -> str:
    if not np.isfinite([row["low_px"], row["high_px"]]).all():
        return "all sizes"
    return f"{row['low_px']:g} to {row['high_px']:g} px"


def decoder(tables: Tables) -> list[Finding]:
    """What does the decoder add?"""
    out = []
    effects = tables["factorial"][tables["factorial"]["factor"] == "decoder"].dropna(subset=["effect"])
    same = tables["decoder_differences"]
    for dataset in _datasets(effects, same):
        asked = ("end_to_end_f1", "spotting_f1")
        parts = {
            row["metric"]: row for row in results.records(_of(effects, dataset)) if row["metric"] in asked
        }
        rows = [row for row in results.records(_of(same, dataset)) if np.isfinite(row["difference"])]
        said = [_effect(parts[name]) for name in asked if name in parts]
        counted, details = _on_same_curves(rows)
        # Our system with another decoder in it bears that decoder's name.
        variants = _of(tables["variant_differences"], dataset)
        others = {f"ours, {_spaced(name)}" for name in _of(same, dataset)["other"]}
        variants = variants[variants["system"].isin(others) & (variants["metric"] == "end_to_end_f1")]
        for row in results.records(variants):
            change = f"{interval(row, 'difference', sign=True)}, {_word(row)}{_p(row)} ({_counted(row)})"
            details.append(
                f"{_capital(row['system'])} instead of semi-Markov, {_score(row['metric'])}: {change}."
            )
        claims = _of(tables["spotting_claims"], dataset)
        for row in results.records(claims[claims["metric"] == "end_to_end_f1"][:1]):
            change = f"{interval(row, 'difference', sign=True)}, {_word(row)}{_p(row)} ({_counted(row)})"
            details.append(f"The whole system less the mended reference, {_score(row['metric'])}: {change}.")
        verdict = _word(parts[asked[0]]) if asked[0] in parts else "not asked of the system"
        words = [told(row) for row in rows]
        if rows:
            ahead, behind = words.count("above"), words.count("below")
            verdict += f"; on the same curves ahead in {ahead} and behind in {behind} of {len(rows)}"
        out.append(_finding(dataset, verdict, said[:1] + counted, said[1:] + details))
    return out


def _effect(row: Any) -> str:
    change = f"{_score(row['metric'])} by {interval(row, 'effect', sign=True)}, {_word(row)}"
    of = f" (mean over {row['combinations']:.0f} combinations of all parts)" * pd.notna(row["combinations"])
    return f"The {_spaced(row['ours'])} decoder for {_spaced(row['reference'])} changes {change}{of}."


def _score(metric: str) -> str:
    return {"spotting_f1": "spotting F1", "end_to_end_f1": "end-to-end F1", "strs": "STRS"}.get(
        metric, metric
    )


def _on_same_curves(rows: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """semi_markov less each other decoder: counted by what is told apart, and one by one."""
    if not rows:
        return [], []
    words = [told(row) for row in rows]
    corrected = (
        "after Holm's correction" if any(_p(row) for row in rows) else "without a correction for their number"
    )
    counted = (
        f"On the same curves semi-Markov is ahead of another decoder in {words.count('above')} of {len(rows)} comparisons "
        f"of spotting F1, behind in {words.count('below')}, {corrected}; the others aren't told apart."
    )
    each = [
        f"Less {_spaced(row['other'])}, {row['setting']}: {interval(row, 'difference', sign=True)}, {_word(row)}{_p(row)} "
        f"({_counted(row)})."
        for row in rows
    ]
    return [counted], each


def faults(tables: Tables) -> list[Finding]:
    """How much of a published score can each evaluation fault explain?"""
    out = []
    ledger = tables["inflation_ledger"]
    for dataset in _datasets(ledger):
        mine = _of(ledger, dataset)
        # Our own system first: of a score near 0 nearly anything is a large share.
        systems = sorted(dict.fromkeys(mine["system"]), key=lambda name: name != "ours")
        found = {system: _explained(mine[mine["system"] == system]) for system in systems}
        sure = [row for row in found[systems[0]] if told(row) == "above" and row["share"] > 0]
        verdict = (
            f"up to {100 * sure[0]['share']:.0f} % of our own score" if sure else "none told apart from 0"
        )
        none = f"No fault adds to the STRS of {systems[0]} what is told apart from 0."
        if not mine["strs"].gt(0).any():
            verdict, none = (
                "no score to explain",
                f"The STRS of {_joined(systems)} is 0 with every fault and without.",
            )
        said = [_inflated(row) for row in sure[:1]] or [none]
        details = [_inflated(row) for system in systems for row in found[system] if row not in sure[:1]]
        out.append(_finding(dataset, verdict, said, details))
    return out + _position_faults(tables["published_control"])


def _explained(part: pd.DataFrame) -> list[dict[str, Any]]:
    """Faults of one system, the largest share of the reported score first."""
    honest = float(part.loc[part["fault"] == "none", "strs"].sum())
    rows = [row for row in results.records(part) if row["fault"] != "none"]
    for row in rows:
        row |= {"honest": honest, "share": row["inflation"] / row["strs"] if row["strs"] > 0 else 0.0}
    return sorted(rows, key=lambda row: (told(row) != "above", -row["share"]))


def _inflated(row: Any) -> str:
    added = f"{interval(row, 'inflation', 3, sign=True)}, {_word(row)}"
    share = (
        f": {100 * row['share']:.0f} % of the {row['strs']:.3f} that would be reported"
        if told(row) == "above"
        else ""
    )
    counted = f" ({_counted(row)})" if _counted(row) else ""
    return _capital(
        f"{row['system']}: if {row['meaning']}, STRS changes from {row['honest']:.3f} by {added}{share}{counted}."
    )


def _position_faults(control: pd.DataFrame) -> list[Finding]:
    """What position alone, no pixel read, scores on the public tables of data that were published."""
    known = control[control["metric"] == "spearman_pseudo"].dropna(subset=["paper", "control"])
    out = []
    for row in results.records(known.drop_duplicates("of")):
        share = row["control"] / row["paper"]
        said = (
            f"On clips cut from onset to offset, position alone scores {row['control']:.4f} in Spearman with the "
            f"pseudo-label: {100 * share:.0f} % of the published {row['paper']:.4f} ({row['their_events']:.0f} clips, "
            f"{row['their_subjects']:.0f} subjects of the public table; no interval is published)."
        )
        out.append(Finding(f"published, {row['of']}", f"{100 * share:.0f} % without a pixel", (said,)))
    return out


QUESTIONS = (
    Question(
        "temporal",
        "Does temporal modelling help beyond position?",
        "yes: clip swap and the difference from position alone lie above 0, and a model without a temporal part is told "
        "apart below the one with (on motion, where that was asked: on raw frames it may gain position alone); in part: one "
        "of the two.",
        {
            "face_card": "04_intensity",
            "summary": "04_intensity",
            "model_differences": "04_intensity",
            "claims": "04_intensity",
            "ablation_differences": "05_intensity_ablations",
        },
        temporal,
    ),
    Question(
        "prior",
        "Does the prior's shape matter?",
        "yes: training on another prior gives a model told apart from the base; not told apart: none does.",
        {"prior_match": "05_intensity_ablations", "ablation_differences": "05_intensity_ablations"},
        prior,
    ),
    Question(
        "inputs",
        "Which input sees the face?",
        f"yes: the interval of clip swap lies above {controls.LEAST_SWAP}, apex follow is {controls.LEAST_FOLLOW} or more; "
        "in part: one of the two, or the interval of apex follow lies above 0; not asked: one of the two is missing.",
        {"face_card": "04_intensity"},
        inputs,
    ),
    Question(
        "limits",
        "How small a movement is seen, and how near the ideal?",
        f"The smallest movement of which a model finds half; near the ideal: at most {NEAR:g} times the ideal observer's.",
        {"limits": "08_limits", "efficiency": "08_limits"},
        limits,
    ),
    Question(
        "decoder",
        "What does the decoder add?",
        "What end-to-end F1 changes when our decoder replaces the reference's, over combinations of the other parts; and on "
        "how many sets of the same curves it is told apart from another decoder.",
        {
            "factorial": "07_decoding",
            "decoder_differences": "07_decoding",
            "variant_differences": "07_decoding",
            "spotting_claims": "06_spotting",
        },
        decoder,
    ),
    Question(
        "faults",
        "How much of a published score can each evaluation fault explain?",
        "The largest share among faults whose inflation is told apart from 0: what the fault adds to our own STRS, divided "
        "by the STRS that this run would report with it. Of a published score: what position alone reaches of it.",
        {"inflation_ledger": "06_spotting", "published_control": "03_priors"},
        faults,
    ),
)
