"""What a run answers, in one word a question: it follows from a row of a result table, by a rule of verdicts.yml.

    verdicts.yml, results/*.csv  -->  a Verdict a question and data set, what speaks against us first  -->  report, README

Nothing is computed but the share of one number of a table in another. Whoever doubts a word finds its row in that table.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from melib import controls
from melib.study import comparisons, results

# In this order wherever verdicts are shown; missing is what a run hasn't asked.
STANDINGS = ("against", "undecided", "for", "missing")
RULES = Path(__file__).with_name("verdicts.yml")
HEADS = ("question", "answer", "effect [95 % interval]", "p after Holm")
_SIDES = {"below": -1, "above": 1}  # of 0; whatever else a rule gives lies on neither
_SEEN = {"yes": "above", "in part": "undecided", "no": "below", "not asked": "undefined"}
# Which of several rows decides: the first by (side, effect).
_ORDERS: dict[str, Callable[[int, float], tuple[float, float]]] = {
    "greatest": lambda side, effect: (-side, -effect),
    "least": lambda side, effect: (side, effect),
    "strongest": lambda side, effect: (-abs(side), -abs(effect)),
}
_NAMES = {
    **results.METRICS,
    **results.MODELS,
    **{name: about[0] for name, about in results.QUANTITIES.items()},
}
_NAMES |= {
    "spotting_f1": "spotting F1",
    "end_to_end_f1": "end-to-end F1",
    "strs": "STRS",
    "fp_per_hour": "false alarms an hour",
}
_ENDS = {"": "estimate", "_low": "low", "_high": "high"}
_COUNTED = ("events", "clips", "subjects", "seeds")


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
    for table in results.read_results(run, result):
        missing = f"{result}.csv holds no number for it"
        try:
            if answered := [_verdict(name, rule, part, whole) for part, whole in _parts(rule, table)]:
                return answered
        except (KeyError, NameError) as error:  # NameError: a query's
            missing = f"{result}.csv has no {error}: an older melib wrote it, run notebook {notebook} again"
    return [Verdict(name, rule["question"], "not asked", "missing", "", missing, "", result)]


def _parts(rule: Mapping[str, Any], table: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Rows of each verdict, beside all rows of its data set."""
    effect, apart = rule["effect"], rule["rule"] == "apart"
    table = _cards(table) if rule["rule"] == "sees" else table
    for _, whole in table.groupby("dataset", sort=False):
        rows = whole.query(rule["rows"]) if "rows" in rule else whole
        rows = rows.dropna(subset=[effect]) if apart else rows
        # Only the metric that was declared beforehand is tested.
        rows = rows.dropna(subset=["p"]) if apart and "p" in rows and rows["p"].notna().any() else rows
        for column, values in rule.get("first", {}).items():
            known = rows.dropna(subset=[effect])[column]
            there = [value for value in values if (known == value).any()] if values else rows[column][:1]
            rows = rows[rows[column].isin(there[:1])]
        for _, part in rows.groupby(["dataset", *rule.get("each", ())], sort=False):
            yield part, whole


def _cards(table: pd.DataFrame) -> pd.DataFrame:
    """Face cards, one a row: every quantity with its interval, and what `controls.sees` says of them."""
    about, rows = ["dataset", "protocol", "model", "input"], []
    for place, part in results.over_seeds(table).groupby(about, sort=False):
        card = {row["quantity"]: row for row in results.records(part)}
        numbers = {f"{name}{end}": row[column] for name, row in card.items() for end, column in _ENDS.items()}
        counted = {name: part[name].max() for name in _COUNTED if name in part}
        rows.append(
            {**dict(zip(about, place, strict=True)), **numbers, **counted, "sees": controls.sees(card)}
        )
    columns = dict.fromkeys([*about, *results.QUANTITIES, "sees", *(rows[0] if rows else ())])
    return pd.DataFrame(rows).reindex(columns=[*columns])


def _verdict(name: str, rule: Mapping[str, Any], part: pd.DataFrame, whole: pd.DataFrame) -> Verdict:
    """One word from the rows of one question on one data set."""
    effect, digits, rows = rule["effect"], rule.get("digits"), results.records(part)
    for row in rows:
        beside = _beside(rule, row, whole)
        share = row[effect] / ((row[rule["of"]] if "of" in rule else beside.get(effect)) or math.nan)
        row |= {"outcome": _outcome(rule, row, share), "share": 100 * share, "times": share}
        row |= {"beside": interval_text(beside, effect, digits) if beside else "unknown"}
    order = _ORDERS[rule.get("decides", "least")]
    row = min(rows, key=lambda r: (math.isnan(r[effect]), order(_SIDES.get(r["outcome"], 0), r[effect])))
    outcome, outcomes = row["outcome"], [other["outcome"] for other in rows]
    compared = {"n": len(rows), "ahead": outcomes.count("above"), "behind": outcomes.count("below")}
    texts = _texts(row | compared)
    counted = [f"{row[key]:.0f} {key}" for key in _COUNTED if row.get(key, math.nan) > 0]
    on = rule["counted"].format_map(texts) if "counted" in rule else ", ".join([row["dataset"], *counted])
    values = ": ".join(texts[column] for column in rule.get("each", ()))
    speaks = "for" if outcome == rule.get("hoped", "above") else "against"
    return Verdict(
        name,
        f"{rule['question']} ({values})" if values else rule["question"],
        rule["words"].get(outcome, outcome),
        speaks if outcome in rule["words"] else "undecided",
        interval_text(row, effect, digits, sign=rule["rule"] == "apart"),
        f"{rule['about'].format_map(texts)} ({on})".replace(" 1 seeds", " 1 seed"),
        _p(row.get("p_holm", math.nan)),
        rule["result"],
    )


def _beside(rule: Mapping[str, Any], row: Mapping[str, Any], whole: pd.DataFrame) -> dict[str, Any]:
    """The row that stands beside one, under the same conditions; empty where there is none."""
    rows = whole.query(rule["beside"]) if "beside" in rule else whole[:0]
    for column in rule.get("first", ()):
        rows = rows[rows[column] == row[column]]
    return next(iter(results.records(rows)), {})


def _outcome(rule: Mapping[str, Any], row: Mapping[str, Any], share: float) -> str:
    """above, below, undecided or undefined: what the rule gives for a row."""
    if rule["rule"] == "holds":
        return "above" if row["holds"] else "below"
    if rule["rule"] == "sees":
        return _SEEN[row["sees"]]
    if rule["rule"] == "apart":
        return outcome(row, rule["effect"])
    if math.isnan(row[rule["effect"]]):
        return "undefined"
    return "undecided" if math.isnan(share) else "above" if share >= rule["threshold"] else "below"


def outcome(row: Mapping[str, Any], value: str = "difference") -> str:
    """Whether a difference is told apart from 0: ``above``, ``below``, ``undecided``; ``undefined`` without an interval.

    It is where its 95 % interval leaves 0 out and, where p after Holm's correction is known, that is below alpha.
    """
    low, high = _ends(row, value)
    if math.isnan(low + high):
        return "undefined"
    if (low > 0 or high < 0) and not row.get("p_holm", math.nan) >= comparisons.alpha():
        return "above" if low > 0 else "below"
    return "undecided"


def interval_text(
    row: Mapping[str, Any], value: str = "estimate", digits: int | None = None, *, sign: bool = False
) -> str:
    """Estimate and interval as text: two digits after the point, one from 2 on, ``undefined`` where there is none.

    Examples
    --------
    >>> interval_text({"estimate": 0.571, "low": 0.54, "high": 0.6})
    '0.57 [0.54, 0.60]'
    """
    estimate, (low, high) = float(row[value]), _ends(row, value)
    if not math.isfinite(estimate):
        return "undefined"
    places = (1 if abs(estimate) >= 2 else 2) if digits is None else digits
    text = _rounded(estimate, places, "+" * sign)
    return (
        f"{text} [{_rounded(low, places)}, {_rounded(high, places)}]" if math.isfinite(low + high) else text
    )


def _ends(row: Mapping[str, Any], value: str) -> tuple[float, float]:
    names = (f"{value}_low", f"{value}_high") if f"{value}_low" in row else ("low", "high")
    return float(row.get(names[0], math.nan)), float(row.get(names[1], math.nan))


def _rounded(value: float, places: int, sign: str = "") -> str:
    """A number with so many digits after the point; what rounds to 0 has no minus."""
    text = f"{value:{sign}.{places}f}"
    return text.replace("-", sign) if float(text) == 0 else text


def _p(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    """What a row holds, as a reader would write it: numbers with their intervals, names of code in words."""
    out = {}
    for column, value in row.items():
        if f"{column}_low" in row:
            out[column] = interval_text(row, column)
        elif isinstance(value, str):
            # Names alone, not sentences that hold one.
            parts = [
                _NAMES.get(p) or (results.spaced(p) if p.isidentifier() else p) for p in value.split(" over ")
            ]
            out[column] = " over ".join(parts)
        elif pd.isna(value):
            out[column] = "unknown"
        else:
            out[column] = f"{value:.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.3g}"
    return out
