r"""Result tables for a manuscript: the rows as csv, and as LaTeX by pandas' Styler.

    results/*.csv  -->  tables/<table>.csv    the rows, numbers with six digits
                        tables/<table>.tex    the same rows, rounded; caption, label, and where they come from
                        tables/<table>.json   sidecar, like a figure's
                        tables/index.csv      which tables there are, with their captions

A cell holds a number and, where its column has one, its 95 % interval: ``0.93 [0.91, 0.95]``. Marks say which differences
are significant after Holm's correction (comparisons.py), and the caption over how many tests of which family. A result
that isn't there leaves its table out. In the manuscript: ``\usepackage{array,booktabs,graphicx}`` and
``\input{tables/face_card}``.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melib.data import cache
from melib.errors import DataError
from melib.study import comparisons, published, results
from melib.study.provenance import origin, recorded

# Digits after the point; what isn't named here has three.
DIGITS = {"apex_error_ms": 0, "fp_per_hour": 0}
_DIGITS = 3
# What a reader calls a metric above a column, on two lines; figures.METRICS has the long names.
HEADS = {
    "spearman_pseudo": "Spearman\npseudo-label",
    "kendall_pseudo": "Kendall\npseudo-label",
    "spearman_true": "Spearman\ntruth",
    "kendall_true": "Kendall\ntruth",
    "inside_spearman_true": "Spearman\ntruth, inside",
    "inside_auc_true": "AUC\ninside, outside",
    "ccc_true": "Concordance\ntruth",
    "apex_error_ms": "Apex error\nms",
    "apex_position_error": "Apex error\nof the event",
    "spotting_f1": "Spotting\nF1",
    "recognition_f1": "Recognition\nF1",
    "strs": "STRS",
    "end_to_end_f1": "End-to-end\nF1",
    "fp_per_hour": "False alarms\nan hour",
    "ap": "Average\nprecision",
}
# Five metrics with their intervals fit a page; whoever wants the others finds them in summary.csv.
SHOWN = {
    "paper": ("spearman_pseudo", "kendall_pseudo", "spearman_true", "inside_spearman_true", "apex_error_ms"),
    "context": (
        *("inside_spearman_true", "inside_auc_true", "ccc_true", "apex_error_ms"),
        *("spearman_pseudo", "kendall_pseudo"),
    ),
}
_MOST = 5
_SCORES = ("spotting_f1", "recognition_f1", "strs", "end_to_end_f1", "fp_per_hour", "ap")
# Controls beside the variants of an ablation.
_ABLATION_CONTROLS = ("position_only", "constant_frame", "flow_magnitude", "oracle_interval")
_ESCAPED = {
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    ">=": r"$\geq$",
    "\N{DAGGER}": r"\textsuperscript{\dag}",
    "\N{DOUBLE DAGGER}": r"\textsuperscript{\ddag}",
    # After the end of a row these two would be read as its options.
    "[": "{[}",
    "*": "{*}",
}
# Marks of significance: against the first control of a family, and the second.
MARKS = "\N{DAGGER}\N{DOUBLE DAGGER}"
# Mark of a difference that isn't among the declared tests, but whose interval leaves 0 out.
APART = "*"
_UNTESTED = f"{APART}: the interval leaves 0 out; not a declared test, not corrected."
# Text of more characters than this is wrapped, and one of two columns of a page holds rows of so many: both roughly, since
# what turns out too broad is scaled down to the line.
_LONG, _NARROW = 30, 58
_FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{"


@dataclass(frozen=True)
class Column:
    """One printed column.

    ``name``: the column of the rows; where they have ``<name>_low`` and ``<name>_high``, the interval is printed, too, and
    where they have ``<name>_mark``, what stands there.
    ``head``: what stands above it, ``\\n`` begins another line. ``digits``: after the point; None prints text, and the name
    of a column that holds metrics takes each metric's.
    """

    name: str
    head: str
    digits: int | str | None = None


@dataclass(frozen=True)
class Table:
    """Rows, how they are printed, and the results that they come from; a line is drawn where ``group`` changes."""

    name: str
    rows: pd.DataFrame
    columns: Sequence[Column]
    caption: str
    group: str = ""
    results: Sequence[str] = ()


def write_all(run: str | Path) -> list[Path]:
    """Write every table that the results of a run allow, as csv, LaTeX and json sidecar; no training, no image.

    Before them, what is gathered from the results alone: statistics.csv and published_all.csv.

    Parameters
    ----------
    run : str or Path
        Folder of the run.

    Returns
    -------
    list of Path
        The .tex files written, below ``tables``.
    """
    folder = Path(run) / "tables"
    for name, gathered in (("statistics", comparisons.statistics), ("published_all", published.beside)):
        results.write_result(run, name, gathered(run))
    made = tables(run)
    for table in made:
        about = origin(run, table.results)
        cache.write_table(folder / f"{table.name}.csv", table.rows)
        with cache.atomic(folder / f"{table.name}.tex") as temporary:
            temporary.write_text(latex(table, about), encoding="utf-8", newline="\n")
        cache.write_json(
            folder / f"{table.name}.json", {"table": table.name, "caption": table.caption, **about}
        )
    listed = [(table.name, len(table.rows), " ".join(table.results), table.caption) for table in made]
    cache.write_table(
        folder / "index.csv", pd.DataFrame(listed, columns=["table", "rows", "results", "caption"])
    )
    return [folder / f"{table.name}.tex" for table in made]


def tables(run: str | Path) -> list[Table]:
    """Tables that the results of a run allow, one a data set.

    Parameters
    ----------
    run : str or Path
        Folder of the run.

    Raises
    ------
    DataError
        If a result lacks a column: an older version wrote it.
    """

    simulated = recorded(run).get("data") == ["simulated"]
    made = []
    for make, names in MAKERS.items():
        files = [Path(run) / "results" / f"{name}.csv" for name in names]
        if not all(file.is_file() for file in files):
            continue
        found = [results.read_result(file) for file in files]
        try:
            several = [
                (dataset, table)
                for dataset in dict.fromkeys(found[0]["dataset"])
                for table in make(*(part[part["dataset"] == dataset] for part in found))
                if len(table.rows) and len(table.rows[[column.name for column in table.columns]])
            ]
        except KeyError as error:
            said = " or ".join(f"{name}.csv" for name in names)
            raise DataError(
                f"{said} has no {error}: an older melib wrote it, run its notebook again"
            ) from error
        for dataset, table in several:
            caption = f"{table.caption} Data: {dataset}{' (simulated)' * simulated}."
            made.append((dataset, replace(table, caption=caption, results=tuple(names))))
    repeated = {
        table.name for dataset, table in made if any(table.name == t.name and dataset != d for d, t in made)
    }
    return [replace(t, name=f"{t.name}_{d}") if t.name in repeated else t for d, t in made]


def printed(table: Table) -> pd.DataFrame:
    """The cells of a table as they are printed, text without LaTeX, below their heads."""
    rows = [[_cell(row, column) for column in table.columns] for row in results.records(table.rows)]
    return pd.DataFrame(rows, columns=[column.head.replace("\n", " ") for column in table.columns])


def latex(table: Table, about: Mapping[str, Any]) -> str:
    """A table as LaTeX.

    Parameters
    ----------
    table : Table
    about : mapping
        As provenance.origin returns; it becomes a comment.

    Returns
    -------
    str
        A ``table`` environment, or ``table*`` where the rows need the width of two columns.
    """
    plain = printed(table)
    breadths = [int(plain.iloc[:, i].str.len().max()) for i in range(len(table.columns))]
    wrapped = [c.digits is None and n > _LONG for c, n in zip(table.columns, breadths, strict=True)]
    cells = [
        [_tex(text, column) for text, column in zip(row, table.columns, strict=True)]
        for row in plain.itertuples(index=False, name=None)
    ]
    groups = table.rows[table.group].tolist() if table.group else [""] * len(cells)
    apart = "\\addlinespace[2pt]\n" * any(wrapped)
    for row, group, before in zip(cells[1:], groups[1:], groups, strict=False):
        row[0] = (apart if group == before else "\\midrule\n") + row[0]
    heads = [column.head.split("\n") for column in table.columns]
    deep = max(map(len, heads))
    text = rf">{{\raggedright\arraybackslash}}p{{{max(11, 96 // len(heads))}em}}"
    kinds = [
        "r" if c.digits is not None else text if w else "l"
        for c, w in zip(table.columns, wrapped, strict=True)
    ]
    over = [[*[""] * (deep - len(lines)), *map(_escape, lines)] for lines in heads]
    above = pd.MultiIndex.from_tuples(over) if deep > 1 else [line for (line,) in over]
    tabular = (
        pd.DataFrame(cells, columns=above)
        .style.hide(axis="index")
        .to_latex(column_format=f"@{{}}{''.join(kinds)}@{{}}", hrules=True, sparse_columns=False)
    )
    narrow = sum(min(n, _LONG) for n in breadths) <= _NARROW
    place = "table" if narrow else "table*"
    return "\n".join(
        [
            *(f"% {line}" for line in _comments(about)),
            rf"\begin{{{place}}}[tbp]",
            r"\centering",
            rf"\caption{{{_escape(table.caption)}}}",
            rf"\label{{tab:{table.name.replace('_', '-')}}}",
            r"\footnotesize\setlength{\tabcolsep}{4pt}\setlength{\abovetopsep}{3pt}",
            f"{_FITTED}{tabular.rstrip()}}}",
            rf"\end{{{place}}}",
            "",
        ]
    )


def _comments(about: Mapping[str, Any]) -> list[str]:
    settings = ", ".join(
        f"{name} {' '.join(v) if isinstance(v, list) else v}" for name, v in about["settings"].items()
    )
    return [
        f"Written by melib, commit {about['commit']}, notebook {about['notebook'] or 'none'}.",
        f"Run: {settings or 'not recorded'}. Needs array, booktabs and graphicx.",
        *(f"{file}: {known}" for file, known in about["results"].items()),
    ]


def _cell(row: Mapping[str, Any], column: Column) -> str:
    value = row[column.name]
    if column.digits is None:
        return _words(value)
    by_metric = isinstance(column.digits, str)
    digits = DIGITS.get(row[str(column.digits)], _DIGITS) if by_metric else int(column.digits)
    bounds = [row.get(f"{column.name}_{side}", np.nan) for side in ("low", "high")]
    text = _number(value, digits)
    if np.isfinite(value) and np.isfinite(bounds).all():
        text += f" [{_number(bounds[0], digits)}, {_number(bounds[1], digits)}]"
    mark = row.get(f"{column.name}_mark", "")
    return text + mark if isinstance(mark, str) else text


def _number(value: float, digits: int) -> str:
    """Rounded as it stands in the csv, 0 without a sign; two dashes where there is no number."""
    if not np.isfinite(value):
        return "--"
    text = f"{float(f'{value:.6g}'):.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def _tex(text: str, column: Column) -> str:
    if column.digits is None:
        return _escape(text)
    if text.startswith("--"):
        return text
    return "".join(_ESCAPED[mark] if mark in MARKS else mark for mark in text.replace("-", "$-$"))


def _words(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return "--" if pd.isna(value) or value == "" else str(value)


def _escape(text: str) -> str:
    return re.sub(">=|.", lambda found: _ESCAPED.get(found[0], found[0]), text)


def _head(metric: str) -> str:
    return HEADS.get(metric, metric.replace("_", " "))


def _columns(metrics: Sequence[str]) -> list[Column]:
    return [Column(name, _head(name), DIGITS.get(name, _DIGITS)) for name in metrics]


# ---- one function a table: result tables of one data set -> tables ----------------------------------------------


def _wide(found: pd.DataFrame, keys: list[str], values: str, columns: str) -> pd.DataFrame:
    """A row for each of ``keys``, a column for each value of ``columns``, with ``_low`` and ``_high`` beside it."""
    out = found.drop_duplicates(keys)[keys].set_index(keys)
    for metric, part in found.groupby(columns, sort=False):
        mine = part.set_index(keys)
        out[str(metric)] = mine[values]
        out[f"{metric}_low"], out[f"{metric}_high"] = mine["low"], mine["high"]
    return out.reset_index()


def _named(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of models in the order of every figure, with ``kind`` (control, learned, ceiling) and ``name``."""
    pairs = results.ordered(rows)
    pairs += [(model, "none") for model in results.CEILINGS if (rows["model"] == model).any()]
    rows = rows.set_index(["model", "input"]).loc[pairs].reset_index()
    kind = [
        "learned" if model in results.LEARNED else "ceiling" if model in results.CEILINGS else "control"
        for model in rows["model"]
    ]
    name = [
        results.CEILINGS.get(m, results.label(m, used))
        for m, used in zip(rows["model"], rows["input"], strict=True)
    ]
    rows.insert(0, "kind", kind)
    rows.insert(3, "name", name)
    return rows


def intensity(found: pd.DataFrame, differences: pd.DataFrame) -> list[Table]:
    """Agreement of every model and control, a table a protocol (summary.csv, model_differences.csv)."""
    out = []
    for protocol, part in found[found["amplitude"] == "all"].groupby("protocol", sort=False):
        asked = SHOWN.get(str(protocol), tuple(results.METRICS))
        shown = [metric for metric in asked if part.loc[part["metric"] == metric, "estimate"].notna().any()]
        shown = shown[:_MOST]
        part = part[part["metric"].isin(shown)]
        rows = _named(_wide(part, ["model", "input"], "estimate", "metric"))
        mine = differences[(differences["protocol"] == protocol) & differences["metric"].isin(shown)]
        over = list(dict.fromkeys(zip(mine["control"], mine["control_input"], strict=True)))
        for metric in mine["metric"].unique():
            rows[f"{metric}_mark"] = [_marks(mine, row, metric, over) for row in results.records(rows)]
        theirs = published.as_rows(part["dataset"].iloc[0], shown)
        rows, said = _beside(rows, theirs[theirs["protocol"] == protocol])
        caption = (
            f"{results.PROTOCOLS.get(str(protocol), protocol)}: agreement of models, controls and ceilings with the target, "
            f"mean over {_most(part, 'subjects')} subjects and {_most(part, 'events')} events with 95 % intervals "
            f"(bootstrap over subjects). Inside: frames of the event alone.{_marked(differences, over)}{said}"
        )
        rows["kind"] = rows["kind"].fillna("published")
        out.append(
            Table(f"intensity_{protocol}", rows, [Column("name", "Model"), *_columns(shown)], caption, "kind")
        )
    return out


def _beside(rows: pd.DataFrame, theirs: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Rows of ours with published ones below, and what the caption says of these; as they were where there are none."""
    if theirs.empty:
        return rows, ""
    below = theirs.drop(columns="protocol").rename(columns={"what": "name"}).dropna(axis=1, how="all")
    used = [
        f"{sign}: {words}"
        for words, sign in published.SIGNS.items()
        if theirs["differs"].str.contains(words).any()
    ]
    loud = f" {'; '.join(used)}, not comparable with ours." if used else ""
    said = f" Last rows: published values.{loud} Their control and difference: table published_intensity."
    return pd.concat([rows.assign(source="ours"), below.assign(source="published")], ignore_index=True), said


def _marks(tests: pd.DataFrame, row: Mapping[str, Any], metric: str, over: Sequence[tuple[str, str]]) -> str:
    """Marks of one model in one metric: a sign for every control that it differs from."""
    mine = tests[(tests["model"] == row["model"]) & (tests["input"] == row["input"])]
    mine = mine[(mine["metric"] == metric) & mine["significant"]]
    differs = set(zip(mine["control"], mine["control_input"], strict=True))
    return "".join(mark for mark, control in zip(MARKS, over, strict=False) if control in differs)


def _marked(tests: pd.DataFrame, over: Sequence[tuple[str, str]]) -> str:
    """Sentences of a caption that say what the marks mean; empty where nothing was tested."""
    if not over:
        return ""
    said = (f"{mark}: differs from {results.label(*pair)}" for mark, pair in zip(MARKS, over, strict=False))
    return f" {'; '.join(said)}, {comparisons.note(tests, tests['family'].iloc[0])}."


def amplitude(found: pd.DataFrame) -> list[Table]:
    """Agreement inside the event by the size of the movement (summary.csv)."""
    metric = "inside_spearman_true"
    part = found[(found["protocol"] == "context") & (found["metric"] == metric)]
    bins = [name for name in dict.fromkeys(part["amplitude"]) if name != "all"]
    part = part[part["amplitude"].isin(bins)]
    if part.empty:
        return []
    rows = _named(_wide(part, ["model", "input"], "estimate", "amplitude"))
    counts = part.groupby("amplitude")["events"].max()
    columns = [Column(name, f"{name}\n{counts[name]} events", _DIGITS) for name in bins]
    caption = (
        f"{results.METRICS[metric]}, by the true peak of the movement in pixels of the 112-pixel crop. "
        f"{results.PROTOCOLS['context']}; mean over {_most(part, 'subjects')} subjects at most with 95 % intervals."
    )
    return [Table("intensity_amplitude", rows, [Column("name", "Model"), *columns], caption, "kind")]


def face_card(cards: pd.DataFrame) -> list[Table]:
    """Does the model see the face? Both protocols (face_card.csv)."""
    keys = ["protocol", "model", "input", "quantity"]
    cards = cards[~cards["model"].isin(results.CEILINGS)]
    means = results.over_seeds(cards)[[*keys, "estimate", "low", "high"]]
    parts = []
    for protocol, part in means.groupby("protocol", sort=False):
        rows = _named(_wide(part, ["model", "input"], "estimate", "quantity"))
        rows.insert(0, "protocol", protocol)
        parts.append(rows)
    if not parts:
        return []
    rows = pd.concat(parts, ignore_index=True)
    # Of these two 0 is what position alone scores; nothing is tested against a frozen clip.
    rows = _starred(rows, *(name for name in ("clip_swap", "apex_follow") if name in rows))
    shown = [
        Column(q, title.capitalize(), _DIGITS) for q, (title, *_) in results.QUANTITIES.items() if q in rows
    ]
    caption = (
        "Face card: does the model see the face? Clip swap: 0 knows only position. Apex follow: slope of the predicted "
        "apex on a known shift of the true one; 1 follows, 0 knows only position. Frozen correlation: agreement with "
        "the prediction on the first frame repeated; 1 doesn't need the movement. Dashes: not asked. Mean over "
        f"{_most(cards, 'subjects')} subjects with 95 % intervals. {APART}: the interval leaves out 0, "
        "the score of position alone (slightly less where one subject is tested at a time)."
    )
    columns = [Column("protocol", "Protocol"), Column("name", "Model"), *shown]
    return [Table("face_card", rows, columns, caption, "protocol")]


def claims(found: pd.DataFrame) -> list[Table]:
    """What must hold before anyone says that a model saw the face (claims.csv)."""
    rows = found.rename(columns={"low": "estimate_low", "high": "estimate_high"})
    said = []
    for row in results.records(rows):
        metric, over, other = row["claim"].partition(" over ")
        words = results.METRICS.get(metric) or results.QUANTITIES.get(metric, (metric,))[0]
        said.append(words + (f", over {results.label(other, 'none')}" if over else ""))
    rows = rows.assign(
        said=said,
        metric=rows["claim"].str.partition(" over ")[0],
        estimate_mark=rows["significant"].map({True: MARKS[0], False: ""}),
    )
    columns = [
        Column("said", "Claim"),
        Column("needed", "Needed"),
        Column("estimate", "Found", "metric"),
        Column("events", "Events", 0),
        Column("holds", "Holds"),
    ]
    names = [results.label(*pair) for pair in dict.fromkeys(zip(rows["model"], rows["input"], strict=True))]
    caption = (
        f"What must hold of {', '.join(names)} in the context protocol, with 95 % intervals over subjects."
        f"{_daggered(rows)}"
    )
    return [Table("claims", rows, columns, caption)]


def _starred(rows: pd.DataFrame, *names: str) -> pd.DataFrame:
    """Mark values whose interval leaves 0 out, where no test was declared."""
    marks = {
        f"{name}_mark": np.where((rows[f"{name}_low"] > 0) | (rows[f"{name}_high"] < 0), APART, "")
        for name in names
    }
    return rows.assign(**marks)


def _daggered(tests: pd.DataFrame) -> str:
    """Sentence of a caption that says what the dagger means; empty where nothing was tested."""
    families = [family for family in tests["family"].unique() if family]
    return f" {MARKS[0]}: {comparisons.note(tests, *families)}." if families else ""


def transfer(found: pd.DataFrame) -> list[Table]:
    """What a model loses on movements of another family than it was trained on (transfer_loss.csv)."""
    metric = "inside_spearman_true"
    part = found[(found["protocol"] == "context") & (found["metric"] == metric)]
    part = part[part["model"].isin((*results.LEARNED, "flow_magnitude"))]
    if part.empty:
        return []
    columns = [
        Column("name", "Model"),
        Column("within", "Same family", _DIGITS),
        Column("across", "Other family", _DIGITS),
        Column("loss", "Loss", _DIGITS),
    ]
    caption = (
        f"{results.METRICS[metric]}, on clips that move by the family of fields that was trained on, and by another one; "
        "unseen subjects in both, mean over subjects with 95 % intervals. What flow magnitude loses, the other clips are "
        f"harder by themselves; the two sets of clips aren't paired, so that a loss has no interval of its own."
    )
    return [Table("transfer", _named(part), columns, caption, "kind")]


def systems(found: pd.DataFrame, claims: pd.DataFrame, differences: pd.DataFrame) -> list[Table]:
    """Counts and scores of every spotting system by the strict rule (spotting.csv), and which differ from the reference."""
    family = comparisons.declared()["spotting_claims"]
    tests = pd.concat(
        [claims.assign(system=family["ours"]).drop_duplicates("metric"), differences], ignore_index=True
    )
    # Their names don't fit between so many numbers.
    said = " Published values, each with its control and what differs: table published_spotting."
    made = _compared("spotting_systems", found, "Spotting and recognition", tests, family["other"])
    return [replace(table, caption=table.caption + said) for table in made]


def changed(found: pd.DataFrame, differences: pd.DataFrame) -> list[Table]:
    """Our spotting system with one part changed at a time (ablations.csv), and what makes a difference."""
    ours = found["system"].str.split(",").str[0] == "ours"
    what = "Our system, and with one part changed: spotting"
    other = comparisons.declared()["spotting_ablations"]["other"]
    return _compared("spotting_ablations", found[ours], what, differences, other)


def _compared(name: str, found: pd.DataFrame, what: str, tests: pd.DataFrame, other: str) -> list[Table]:
    """Table of systems, with a mark where one differs from another."""
    made = _systems(name, found, what)
    significant = set(tests[tests["significant"]][["system", "metric"]].itertuples(index=False, name=None))
    said = f" {MARKS[0]}: differs from {other}, {comparisons.note(tests, *tests['family'].unique())}."
    out = []
    for table in made:
        rows = table.rows.copy()
        for metric in tests["metric"].unique():
            differs = [(system, metric) in significant for system in rows["system"]]
            rows[f"{metric}_mark"] = np.where(differs, MARKS[0], "")
        out.append(replace(table, rows=rows, caption=table.caption + said))
    return out


def _systems(name: str, found: pd.DataFrame, what: str) -> list[Table]:
    strict = found[found["rule"] == "strict"]
    if strict.empty:
        return []
    rows = results.over_seeds(strict, ["dataset", "system"])
    seeds = strict["seed"].nunique()
    counts = [Column(of, head, 0) for of, head in (("tp", "TP"), ("fp", "FP"), ("fn", "FN"))]
    first = strict.iloc[0]
    trainings = f"counts of {seeds} trainings together, " if seeds > 1 else ""
    over = "subjects crossed with trainings" if seeds > 1 else "subjects"
    caption = (
        f"{what} in {first['videos']:.0f} videos ({first['minutes']:.0f} minutes, {first['tp'] + first['fn']:.0f} "
        f"micro-expressions), videos without any included; {trainings}counts pooled over folds, one-to-one matching at IoU "
        f".5, 95 % intervals over {over}. End to end: interval and class are right."
    )
    return [Table(name, rows, [Column("system", "System"), *counts, *_columns(_SCORES)], caption)]


def spotting_claims(found: pd.DataFrame) -> list[Table]:
    """Our system against the mended reference, paired over subjects (spotting_claims.csv)."""
    rows = found.rename(columns={"low": "difference_low", "high": "difference_high"})
    rows["difference_mark"] = rows["significant"].map({True: MARKS[0], False: ""})
    columns = [
        Column("claim", "Claim"),
        Column("ours", "Ours", "metric"),
        Column("other", "Reference", "metric"),
        Column("difference", "Difference", "metric"),
        Column("p", "p", 4),
        Column("p_holm", "p\nHolm", 4),
        Column("effect", "Effect", 2),
        Column("events", "Events", 0),
        Column("events_needed", "Events\nneeded", 0),
        Column("holds", "Holds"),
    ]
    caption = (
        "Against the mended reference: differences with 95 % intervals over subjects, p by swapping the two systems for a "
        "subject. Events needed: for the interval of a difference of this size to leave 0 out. Effect: difference over the "
        f"standard deviation of what each subject contributes to it.{_daggered(rows)}"
    )
    return [Table("spotting_claims", rows, columns, caption)]


def effects(found: pd.DataFrame) -> list[Table]:
    """What each part of the spotting system brings (factorial.csv)."""
    rows = _wide(found, ["factor", "reference", "ours"], "effect", "metric")
    for name in ("factor", "reference", "ours"):
        rows[name] = rows[name].map(_spaced)
    shown = [
        name for name in ("spotting_f1", "strs", "end_to_end_f1", "fp_per_hour") if (name in rows.columns)
    ]
    parts = [Column("factor", "Part"), Column("reference", "Reference"), Column("ours", "Ours")]
    caption = (
        "What each part brings: mean score with ours less mean score with the reference's, over "
        f"{_most(found, 'combinations')} combinations of all parts, with 95 % intervals over subjects. {_UNTESTED}"
    )
    return [Table("spotting_effects", _starred(rows, *shown), [*parts, *_columns(shown)], caption)]


def inflation(found: pd.DataFrame) -> list[Table]:
    """What each published fault of evaluation adds to STRS (inflation_ledger.csv)."""
    rows = found.rename(columns={"low": "inflation_low", "high": "inflation_high"})
    columns = [
        Column("system", "System"),
        Column("meaning", "Fault"),
        Column("strs", "STRS", _DIGITS),
        Column("inflation", "Added", _DIGITS),
    ]
    caption = (
        "Inflation ledger: STRS that each published fault of evaluation adds when it alone is switched on, with 95 % "
        f"intervals over subjects (paired). {_UNTESTED}"
    )
    return [Table("spotting_inflation", _starred(rows, "inflation"), columns, caption, "system")]


def decoders(found: pd.DataFrame, differences: pd.DataFrame) -> list[Table]:
    """Decoders on the same curves, with what semi_markov has over each (decoders.csv, decoder_differences.csv)."""
    keys = ["setting", "decoder"]
    rows = found.drop_duplicates(keys)[keys].set_index(keys)
    ious = [iou for iou in (0.3, 0.5, 0.7) if np.isclose(found["iou"], iou).any()]
    for iou in ious:
        mine = found[np.isclose(found["iou"], iou)].set_index(keys)
        name = f"f1_{100 * iou:.0f}"
        rows[name], rows[f"{name}_low"], rows[f"{name}_high"] = mine["f1"], mine["low"], mine["high"]
    gaps = differences.rename(columns={"other": "decoder"}).set_index(keys)
    rows["difference"], rows["p"] = gaps["difference"], gaps["p"]
    rows["difference_low"], rows["difference_high"] = gaps["low"], gaps["high"]
    rows["p_holm"] = gaps["p_holm"]
    rows["difference_mark"] = gaps["significant"].map({True: MARKS[0], False: ""})
    rows = rows.reset_index()
    rows["decoder"] = rows["decoder"].map(_spaced)
    columns = [
        Column("setting", "Curves, prior"),
        Column("decoder", "Decoder"),
        *(Column(f"f1_{100 * iou:.0f}", f"F1\nIoU {iou:g}", _DIGITS) for iou in ious),
        Column("difference", "Semi-Markov\nless this", _DIGITS),
        Column("p_holm", "p\nHolm", 4),
    ]
    caption = (
        "Decoders on the same curves of held-out subjects, with priors of training subjects of the same and of another data "
        "set; 95 % intervals over subjects. Difference at IoU .5, p by swaps of subjects, corrected."
        f"{_daggered(differences)}"
    )
    return [Table("spotting_decoders", rows, columns, caption, "setting")]


def recognition(found: pd.DataFrame) -> list[Table]:
    """Class of the true intervals (recognition.csv)."""
    scores = (("uf1", "UF1"), ("uar", "UAR"), ("accuracy", "Accuracy"))
    columns = [
        Column("system", "System"),
        Column("events", "Events", 0),
        *(Column(name, head, _DIGITS) for name, head in scores),
    ]
    caption = (
        f"Recognition of {_most(found, 'classes')} classes, given the true intervals. Most frequent: has seen no pixel. "
        "Action units: told the true units of every event, the best that can be known. UF1, UAR: F1 and recall, mean over "
        "classes, with 95 % intervals over subjects."
    )
    return [Table("recognition", found, columns, caption)]


def position(found: pd.DataFrame) -> list[Table]:
    """What position alone scores, no pixel read (position_control.csv)."""
    part = found.assign(metric_name=[results.METRICS.get(name, name) for name in found["metric"]])
    rows = part.rename(columns={"low": "estimate_low", "high": "estimate_high"})
    columns = [
        Column("protocol", "Protocol"),
        Column("metric_name", "Metric"),
        Column("estimate", "Position only", "metric"),
        Column("events", "Events", 0),
        Column("subjects", "Subjects", 0),
    ]
    caption = (
        "Position alone: the other subjects' mean target laid over every clip, no pixel read; mean over subjects with 95 % "
        "intervals."
    )
    return [Table("position_control", rows, columns, caption, "protocol")]


def position_published(found: pd.DataFrame) -> list[Table]:
    """Position alone beside what was published (published_control.csv)."""
    rows = found.assign(metric_name=[results.METRICS.get(name, name) for name in found["metric"]])
    columns = [
        Column("metric_name", "Metric"),
        Column("ours", "Position only,\nthis run", 4),
        Column("events", "Clips", 0),
        Column("of", "Published\non"),
        Column("paper", "Published\nnetwork", 4),
        Column("control", "Position only,\npublic table", 4),
        Column("their_events", "Clips", 0),
        Column("data", "Data"),
    ]
    caption = (
        "Position alone beside the published network, both on clips cut from onset to offset; means over clips. Where the "
        "data differ, compare distances to the control only."
    )
    return [Table("published_control", rows, columns, caption, "metric")]


# Families whose tests stand in no other table one by one.
_FAMILIES = {
    "intensity_models": "Every learned model less its controls, on the same events",
    "spotting_systems": "Every system less the repaired reference, on the same videos",
    "spotting_ablations": "Our spotting system with one part changed, less itself, on the same videos",
}


def tested(found: pd.DataFrame) -> list[Table]:
    """Paired differences with their p and effect, a table a family (statistics.csv)."""
    out = []
    for family, said in _FAMILIES.items():
        part = found[found["family"] == family]
        if part.empty:
            continue
        # One metric after the other, in the order in which they were declared.
        part = part.sort_values("metric", key=lambda names: pd.factorize(names)[0], kind="stable")
        rows = part.rename(columns={"low": "difference_low", "high": "difference_high"}).assign(
            metric_name=[_head(metric).replace("\n", " ") for metric in part["metric"]],
            difference_mark=np.where(part["significant"], MARKS[0], ""),
        )
        columns = [
            *([Column("protocol", "Protocol")] if rows["protocol"].ne("").any() else []),
            Column("comparison", "Comparison"),
            Column("metric_name", "Metric"),
            Column("difference", "Difference", "metric"),
            Column("p", "p", 4),
            Column("p_holm", "p\nHolm", 4),
            Column("effect", "Effect", 2),
        ]
        caption = (
            f"{said}; {_most(rows, 'subjects')} subjects, 95 % intervals over them, crossed with trainings where there are "
            "several; p by swaps of subjects. Effect: difference over its standard deviation between subjects."
            f"{_daggered(rows)}"
        )
        out.append(Table(f"tests_{family}", rows, columns, caption, "metric_name"))
    return out


def beside(found: pd.DataFrame) -> list[Table]:
    """Ours beside every published value, what differs in capitals (published_all.csv)."""
    out = []
    for name, part in found.groupby(found["protocol"] == "paper", sort=False):
        kind = "intensity" if name else "spotting"
        # A page holds one number of each system; the others are in published_all.csv.
        part = part if name else part[part["metric"] == "strs"].sort_values("model", kind="stable")
        rows = part.rename(columns={"low": "ours_low", "high": "ours_high"}).fillna({"mark": ""})
        rows["metric_name"] = [_head(metric).replace("\n", " ") for metric in rows["metric"]]
        # Which data these are stands in the caption and in the first column; what else differs stays.
        rows["said"] = rows["mark"].str.replace(r"OTHER DATA: \S+, not [^\s;]+", "OTHER DATA", regex=True)
        columns = [
            Column("what", "Published"),
            Column("metric_name", "Metric"),
            Column("published", "Value", 4),
            Column("model", "Beside it"),
            Column("ours", "This run", 3),
            Column("control", "Control", 3),
            Column("difference", "Difference", 3),
            Column("said", "Differs"),
        ]
        blind = "position only" if name else "chance"
        caption = (
            f"Published values of {kind} beside this run; control: {blind}, which has seen no pixel. OTHER DATA and OTHER "
            "PROTOCOL: not comparable, read each beside its own control. 95 % intervals over subjects."
        )
        out.append(Table(f"published_{kind}", rows, columns, caption, "model"))
    return out


def limits(found: pd.DataFrame) -> list[Table]:
    """Threshold of every system and of the ideal observer, under every condition (limits.csv)."""
    words = [
        "base" if row["condition"] == "base" else f"{row['condition']}: {row['level']:g} {row['unit']}"
        for row in results.records(found)
    ]
    columns = [
        Column("under", "Condition"),
        Column("system", "System"),
        Column("per_hour", "False alarms\nan hour", 0),
        Column("threshold_px", "Found half of\nthe time, px", 4),
        Column("lapse", "Missed\nhowever large", 2),
        Column("events", "Events", 0),
        Column("remark", "Remark"),
    ]
    caption = (
        f"Limits of detection: largest displacement of a movement that is found half of the time, "
        f"over {_most(found, 'subjects')} subjects; 95 % intervals by bootstrap over subjects, given fits and least score. "
        "Ideal observer: told everything but the camera's noise. Dashes: half was found at no size that was tested, see the "
        "remark."
    )
    # Without a threshold there is no function whose upper end could be told.
    none = found["threshold_px"].isna()
    lapse = {name: found[name].mask(none) for name in ("lapse", "lapse_low", "lapse_high")}
    return [Table("limits_of_detection", found.assign(under=words, **lapse), columns, caption, "under")]


def intensity_ablations(found: pd.DataFrame, differences: pd.DataFrame) -> list[Table]:
    """The intensity model with one thing changed at a time, a table a protocol (intensity_ablations.csv)."""
    out = []
    keys = ["base", "variant"]
    found = found.fillna({"base": ""})
    found = found[(found["family"] != "control") | found["model"].isin(_ABLATION_CONTROLS)]
    for protocol, part in found.groupby("protocol", sort=False):
        mine = differences[(differences["protocol"] == protocol) & differences["p"].notna()].set_index(keys)
        metric = mine["metric"].iloc[0] if len(mine) else "spearman_pseudo"
        shown = [name for name in (metric, "clip_swap", "apex_follow") if (part["metric"] == name).any()]
        rows = _wide(part[part["metric"].isin(shown)], [*keys, "family"], "estimate", "metric")
        at = pd.MultiIndex.from_frame(rows[keys])
        for name, of in (
            ("difference", "difference"),
            ("difference_low", "low"),
            ("difference_high", "high"),
        ):
            rows[name] = mine[of].reindex(at).to_numpy()
        rows["p_holm"] = mine["p_holm"].reindex(at).to_numpy()
        rows["difference_mark"] = mine["significant"].map({True: MARKS[0], False: ""}).reindex(at).to_numpy()
        rows["kind"] = rows["family"].map({"control": "control"}).fillna("learned")
        rows["group"] = rows["base"].where(rows["family"] != "control", "controls")
        swap, follow = (results.QUANTITIES[name][0].capitalize() for name in ("clip_swap", "apex_follow"))
        columns = [
            Column("variant", "Variant"),
            Column(metric, _head(metric), _DIGITS),
            Column("difference", "Less\nits base", _DIGITS),
            Column("p_holm", "p\nHolm", 4),
            *(
                Column(name, head, _DIGITS)
                for name, head in (("clip_swap", swap), ("apex_follow", follow))
                if name in shown
            ),
        ]
        tested = differences.assign(family="intensity_ablations", tests=differences["p"].notna().sum())
        note = comparisons.note(tested, "intensity_ablations")
        caption = (
            f"{results.PROTOCOLS.get(str(protocol), protocol)}: the intensity model, one thing changed at a time; mean over "
            f"{_most(part, 'subjects')} subjects and {_most(part, 'events')} events with 95 % intervals; the first row of a "
            f"block is the base that its variants share budget, subjects and folds with. {MARKS[0]}: {note}."
        )
        out.append(Table(f"intensity_ablations_{protocol}", rows, columns, caption, "group"))
    return out


def prior_match(found: pd.DataFrame) -> list[Table]:
    """How well every prior matches the true intensity (prior_match.csv)."""
    metric, keys = "ccc", ["protocol", "landmarks"]
    part = found[found["metric"] == metric]
    if part.empty:
        return []
    rows = _wide(part, keys, "estimate", "prior")
    for prior, mine in part.groupby("prior", sort=False):
        less = mine.set_index(keys)
        apart = (less["less_triangle_low"] > 0) | (less["less_triangle_high"] < 0)
        rows[f"{prior}_mark"] = (
            apart.map({True: APART, False: ""}).reindex(rows.set_index(keys).index).to_numpy()
        )
    columns = [
        Column("landmarks", "Landmarks"),
        *(Column(prior, _spaced(prior), _DIGITS) for prior in dict.fromkeys(part["prior"])),
    ]
    caption = (
        "Which prior is right? Concordance of each prior, as a label, with the true intensity over the window, given exact "
        "landmarks, those of the annotators, and exact ones with a normal error of so many frames; mean over "
        f"{_most(part, 'subjects')} subjects and {_most(part, 'events')} events with 95 % intervals. Marked: the difference "
        f"from the triangle, paired over events. {_UNTESTED}"
    )
    return [Table("prior_match", rows, columns, caption, "protocol")]


def _spaced(text: Any) -> str:
    return str(text).replace("semi_markov", "semi-Markov").replace("_", " ")


def _most(table: pd.DataFrame, column: str) -> str:
    """The number that most rows share, for a caption; what isn't counted is said to be unknown."""
    return f"{table[column].max():.0f}" if column in table and table[column].notna().any() else "unknown"


# In the order of the manuscript: what makes tables, and of which results; each needs the column ``dataset``.
MAKERS: dict[Callable[..., list[Table]], tuple[str, ...]] = {
    position: ("position_control",),
    position_published: ("published_control",),
    intensity: ("summary", "model_differences"),
    amplitude: ("summary",),
    face_card: ("face_card",),
    claims: ("claims",),
    transfer: ("transfer_loss",),
    intensity_ablations: ("intensity_ablations", "ablation_differences"),
    prior_match: ("prior_match",),
    systems: ("spotting", "spotting_claims", "system_differences"),
    spotting_claims: ("spotting_claims",),
    recognition: ("recognition",),
    inflation: ("inflation_ledger",),
    effects: ("factorial",),
    changed: ("ablations", "variant_differences"),
    decoders: ("decoders", "decoder_differences"),
    limits: ("limits",),
    tested: ("statistics",),
    beside: ("published_all",),
}
