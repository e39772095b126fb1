"""What a run answers, in one word a question: it follows from a row of a result table, by a rule of verdicts.yml.

    verdicts.yml, results/*.csv  -->  a Verdict a question and data set, what speaks against us first  -->  report, README

Nothing is measured here. Whoever doubts a word finds its row in the table that is named beside it.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from melib import controls, stats
from melib.study import comparisons, results

# In this order wherever verdicts are shown; missing is what a run hasn't asked.
STANDINGS = ("against", "undecided", "for", "missing")
RULES = Path(__file__).with_name("verdicts.yml")
HEADS = ("question", "answer", "effect [95 % interval]", "p after Holm")
_COUNTED = {"events": "event", "clips": "clip", "subjects": "subject", "seeds": "training"}
APART, OPEN = "not told apart", "open"
# Trainings behind a verdict: whatever fewer of them say of two networks may be their luck.
TRAININGS = 5
# A run that trained less often answers by the committed one, where that trained often enough.
COMMITTED = Path(__file__).parents[2] / "docs"
_FACE = {"yes": "above", "no": "below", "in part": "partly"}
_NAMES = {
    **{"spotting_f1": "spotting F1", "end_to_end_f1": "end-to-end F1", "strs": "STRS"},
    **{"fp_per_hour": "false alarms an hour", "raw": "raw frames"},
    **results.METRICS,
    **results.MODELS,
    **{name: about[0] for name, about in results.QUANTITIES.items()},
}


@dataclass(frozen=True)
class Verdict:
    """One answer: the question, one word, the number with its interval, what the number is, and p after Holm's correction.

    ``name``: of the question in verdicts.yml; ``standing``: one of `STANDINGS`; ``result``: the table that it was read from.
    """

    name: str
    question: str
    answer: str
    standing: str
    effect: str
    about: str
    p: str
    result: str

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """One line of a table with the heads `HEADS`."""
        return self.question, self.answer, ", ".join(filter(None, (self.effect, self.about))), self.p


@once
def rules() -> dict[str, dict[str, Any]]:
    """Questions by name, with the rule that answers each, as verdicts.yml states them."""
    return yaml.safe_load(RULES.read_text(encoding="utf-8"))


def verdicts(run: str | Path, *names: str) -> list[Verdict]:
    """Answer questions as far as the results of a run allow.

    Parameters
    ----------
    run : str or Path
        Folder of the run.
    names : str
        Of questions in verdicts.yml; all of them where none is named.

    Returns
    -------
    list of Verdict
        In the order of `STANDINGS`, then of verdicts.yml. A question without an answer says which notebook writes
        what is missing.

    Raises
    ------
    DataError
        If a result isn't a table.

    Notes
    -----
    What compares trained networks is judged on `TRAININGS` trainings or more: those of the run, or else of the committed
    run on the same data (said beside the number). Without either the answer is how many trainings there were.
    """
    answered = [verdict for name in names or rules() for verdict in _answers(run, name, rules()[name])]
    return sorted(dict.fromkeys(answered), key=lambda verdict: STANDINGS.index(verdict.standing))


def markdown(run: str | Path, *names: str) -> str:
    """Verdicts as a Markdown table, for a notebook or the README; parameters are those of `verdicts`."""
    rows = [verdict.cells for verdict in verdicts(run, *names)]
    lines = [HEADS, ("---",) * len(HEADS), *((asked, f"**{word}**", *rest) for asked, word, *rest in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _answers(run: str | Path, name: str, rule: Mapping[str, Any]) -> list[Verdict]:
    """Verdicts of one question, or one that says what is missing."""
    result, notebook = rule["result"], rule["notebook"]
    missing = f"notebook {notebook} writes {result}.csv"
    for table in _trained_enough(rule, results.read_results(run, result)):
        missing = f"{result}.csv holds no number for it"
        try:
            if answered := [_verdict(name, rule, rows) for rows in _asked(rule, table)]:
                return answered
        except (KeyError, NameError) as error:  # NameError: a query's
            missing = f"{result}.csv has no {error}: an older melib wrote it, run notebook {notebook} again"
    return [Verdict(name, rule["question"], "not asked", "missing", "", missing, "", result)]


def _trained_enough(rule: Mapping[str, Any], own: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """A run's table, or the committed run's of the same data where only that has trained often enough."""
    if not rule.get("trained", True):
        return own
    for table in own:
        committed = [rows[rows["dataset"].isin(table["dataset"])] for rows in _committed(rule["result"])]
        if trainings(table) < TRAININGS and any(trainings(rows) >= TRAININGS for rows in committed):
            return [rows.assign(whose="committed run") for rows in committed]
    return [table.assign(seeds=table.get("seeds", trainings(table))) for table in own]


def _committed(result: str) -> list[pd.DataFrame]:
    return results.read_results(COMMITTED, result)


def trainings(table: pd.DataFrame) -> int:
    """How often each model of a result table was trained; once where it doesn't say."""
    if "seeds" in table and table["seeds"].notna().any():
        return int(table["seeds"].max())
    return max(1, table["seed"].nunique()) if "seed" in table else 1


def _asked(rule: Mapping[str, Any], table: pd.DataFrame) -> Iterator[list[dict[str, Any]]]:
    """Rows of each verdict, with value, low, high, p_holm, outcome and what stands beside them."""
    value, table = rule["effect"], _cards(table) if rule["rule"] == "sees" else table
    ends = {f"{value}_low": "low", f"{value}_high": "high"}
    if {*ends} <= {*table}:
        table = table.drop(columns=["low", "high"], errors="ignore").rename(columns=ends)
    table = table.assign(value=table[value])
    for _, whole in table.groupby("dataset", sort=False):
        rows = whole.query(rule.get("rows", "index == index"))
        for column, values in rule.get("first", {}).items():
            known = set(rows.dropna(subset=["value"])[column])
            there = next((value for value in values if value in known), None)
            rows, whole = (part[part[column] == there] for part in (rows, whole))
        if "p_holm" not in rows:
            # Of no declared family: corrected over what is asked here, or never tested.
            rows = rows.assign(p_holm=stats.holm(rows["p"]) if "p" in rows else math.nan)
        beside = next(iter(results.records(whole.query(rule["beside"]))), {}) if "beside" in rule else {}
        text = {"beside": interval_text(beside, "value", rule.get("digits"))}
        for _, part in rows.groupby(["dataset", *rule.get("by", ())], sort=False):
            yield [row | text | {"outcome": _judged(rule, row, beside)} for row in results.records(part)]


def _judged(rule: Mapping[str, Any], row: Mapping[str, Any], beside: Mapping[str, Any]) -> str:
    """What the rule gives for a row; of too few trainings how many there were."""
    if rule.get("trained", True) and row["seeds"] < TRAININGS:
        return "one training" if row["seeds"] == 1 else f"{row['seeds']:.0f} trainings"
    if rule["rule"] == "sees":
        return _FACE.get(row["sees"], "undefined")
    if rule["rule"] == "holds":
        doubtful = row["holds"] and row["p_holm"] > comparisons.alpha()
        return APART if doubtful else "above" if row["holds"] else "below"
    if rule["rule"] == "overlap":
        low, high = _end(row, "low") - _end(beside, "high"), _end(row, "high") - _end(beside, "low")
        return outcome({"low": low, "high": high, "p_holm": 0})  # two intervals need no test to lie apart
    return outcome(row)


def outcome(row: Mapping[str, Any]) -> str:
    """Where a difference lies: ``above`` or ``below`` 0 if its 95 % interval and p after Holm's correction agree on it.

    Examples
    --------
    >>> outcome({"low": 0.1, "high": 0.3, "p_holm": 0.01}), outcome({"low": 0.1, "high": 0.3, "p_holm": 0.2})
    ('above', 'not told apart')
    >>> outcome({"low": 0.1, "high": 0.3}), outcome({"low": -0.1, "high": 0.3})  # nobody declared a test
    ('open', 'not told apart')
    """
    low, high, p = (_end(row, name) for name in ("low", "high", "p_holm"))
    if math.isnan(low + high):
        return "undefined"
    if low <= 0 <= high or p > comparisons.alpha():
        return APART
    return OPEN if math.isnan(p) else "above" if low > 0 else "below"


def _end(row: Mapping[str, Any], name: str) -> float:
    return float(row.get(name, math.nan))


def _cards(table: pd.DataFrame) -> pd.DataFrame:
    """Face cards, one a row: apex follow with its interval, clip swap as text, and what `controls.sees` says."""
    about, rows = ["dataset", "protocol", "model", "input"], []
    for place, part in results.over_seeds(table).groupby(about, sort=False):
        card = {row["quantity"]: row for row in results.records(part)}
        known = {"sees": controls.sees(card), "clip_swap": interval_text(card.get("clip_swap", {}))}
        rows.append(card.get("apex_follow", {}) | dict(zip(about, place, strict=True)) | known)
    return pd.DataFrame(rows, columns=[*table, "sees", "clip_swap"])


def _verdict(name: str, rule: Mapping[str, Any], rows: list[dict[str, Any]]) -> Verdict:
    """One word; of several rows the one that speaks the most against us decides."""
    hoped, outcomes = rule.get("hoped", "above"), [row["outcome"] for row in rows]
    above, below = outcomes.count("above"), outcomes.count("below")
    sides = {"above": 1, "below": -1} if hoped == "above" else {"above": -1, "below": 1}
    row = min(rows, key=lambda row: (sides.get(row["outcome"], 0), sides["above"] * row["value"]))
    texts = {column: _words(value) if column != "dataset" else value for column, value in row.items()}
    column, _, digits = rule.get("rate", "").partition(" ")
    texts["rate"] = interval_text(row, column, int(digits or 0))
    values = ": ".join(str(texts[column]) for column in rule.get("by", ()))
    beside = [f"of {len(rows)}, {above} above and {below} below 0"] * (len(rows) > 1)
    beside += [f"another seed alone moved it by {row['floor']:.3f}"] if _end(row, "floor") >= 0 else []
    known = {word: row[key] for key, word in _COUNTED.items() if row.get(key, math.nan) > 0}
    counted = [f"{count:.0f} {word}{'s' * (count != 1)}" for word, count in known.items()]
    data = [row["dataset"], *counted, *([row["whose"]] if "whose" in row else [])]
    on = rule["counted"].format_map(texts) if "counted" in rule else ", ".join(data)
    standing = {hoped: "for"}.get(
        row["outcome"], "against" if row["outcome"] in rule["words"] else "undecided"
    )
    signed = rule["rule"] == "apart" and "counted" not in rule
    return Verdict(
        name,
        f"{rule['question']} ({values})" if values else rule["question"],
        rule["words"].get(row["outcome"], row["outcome"]),
        standing,
        interval_text(row, "value", rule.get("digits"), sign=signed),
        "; ".join([f"{rule['about'].format_map(texts)} ({on})", *beside]),
        "" if math.isnan(row["p_holm"]) else f"{row['p_holm']:.3f}" if row["p_holm"] >= 0.001 else "< 0.001",
        rule["result"],
    )


def _words(value: Any) -> Any:
    """A value in a reader's words: names of code, ``a over b`` of two of them; not sentences that hold one."""
    if not isinstance(value, str):
        return value
    parts = value.split(" over ")
    return " over ".join(_NAMES.get(p) or (results.spaced(p) if p.isidentifier() else p) for p in parts)


def interval_text(
    row: Mapping[str, Any], value: str = "estimate", digits: int | None = None, *, sign: bool = False
) -> str:
    """Estimate and interval as text: two digits after the point, one from 2 on, ``undefined`` where there is none.

    Examples
    --------
    >>> interval_text({"estimate": 0.571, "low": 0.54, "high": 0.6})
    '0.57 [0.54, 0.60]'
    """
    names = (f"{value}_low", f"{value}_high") if f"{value}_low" in row else ("low", "high")
    estimate, low, high = (_end(row, name) for name in (value, *names))
    if not math.isfinite(estimate):
        return "undefined"
    places = (1 if abs(estimate) >= 2 else 2) if digits is None else digits
    ends = f" [{low:z.{places}f}, {high:z.{places}f}]" if math.isfinite(low + high) else ""
    return f"{estimate:{'+' * sign}z.{places}f}{ends}"
