r"""Result tables for a manuscript: declared in tables.yml, set by pandas' Styler.

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
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from melib.data import cache
from melib.errors import DataError
from melib.study import comparisons, published, results
from melib.study.provenance import origin, recorded

_FILE = yaml.safe_load(Path(__file__).with_name("tables.yml").read_text(encoding="utf-8"))
# Tables by their name, and what a reader calls a metric above a column.
DECLARED: dict[str, dict[str, Any]] = _FILE["tables"]
HEADS: dict[str, str] = _FILE["heads"]
# After the point.
DIGITS = defaultdict(lambda: 3, apex_error_ms=0, fp_per_hour=0)
# Marks of a significant difference from the first control of a table and from the second; of a difference that isn't among
# the declared tests, but whose interval leaves 0 out.
MARKS, APART = "\N{DAGGER}\N{DOUBLE DAGGER}", "*"
_ESCAPED = str.maketrans(
    {
        **{mark: f"\\{mark}" for mark in "&%$#_{}"},
        **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
        **{"<": "$<$", ">": "$>$", "\N{GREATER-THAN OR EQUAL TO}": r"$\geq$"},
        **{MARKS[0]: r"\textsuperscript{\dag}", MARKS[1]: r"\textsuperscript{\ddag}"},
    }
)
# Text of more characters than this is wrapped, and one of two columns of a page holds rows of so many: both roughly, since
# what turns out too broad is scaled down to the line.
_LONG, _NARROW = 30, 58


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
    made = printable_tables(run)
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


def printable_tables(run: str | Path) -> list[Table]:
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
    simulated = " (simulated)" * (recorded(run).get("data") == ["simulated"])
    made = []
    for name, declared in DECLARED.items():
        read = results.read_results(run, *declared["results"])
        try:
            parts = {
                dataset: table
                for dataset in (read[0]["dataset"].unique() if read else ())
                if (table := fill_table(name, *(part[part["dataset"] == dataset] for part in read)))
            }
        except (KeyError, pd.errors.UndefinedVariableError) as error:
            files = " or ".join(f"{result}.csv" for result in declared["results"])
            raise DataError(
                f"{files} lacks a column ({error}): an older melib wrote it, run its notebook again"
            ) from error
        for dataset, table in parts.items():
            ending = f"_{dataset}" if len(parts) > 1 else ""
            caption = f"{table.caption} Data: {dataset}{simulated}."
            made.append(replace(table, name=f"{name}{ending}", caption=caption))
    return made


def fill_table(name: str, result: pd.DataFrame, *tests: pd.DataFrame) -> Table | None:
    """Fill a declared table from result tables of one data set.

    Parameters
    ----------
    name : str
        In tables.yml.
    result, tests : DataFrame
        The results that it names there.

    Returns
    -------
    Table or None
        None where no row is left to print.
    """
    how = DECLARED[name]
    value, wide, laid = how.get("value", "estimate"), how.get("wide"), how.get("tests", {})
    tested = _tests(laid, tests) if tests else pd.DataFrame(columns=["metric"])
    if protocol := how.get("protocol"):
        result, tested = (
            part[part["protocol"] == protocol] if "protocol" in part else part for part in (result, tested)
        )
    rows = _where(result, how.get("where"), tested=list(tested["metric"])).reset_index(drop=True)
    if "pooled" in how:
        rows = results.over_seeds(rows, how["pooled"])
    if rows.empty:
        return None
    for label in how.get("labels", ()):
        rows = rows.assign(**{label: [_label(label, row) for row in results.records(rows)]})
    for rule, query in how.get("mark", {}).items():
        marked = rows.index.isin(_where(rows, query).index)
        rows = rows.assign(**{f"{value}_mark": np.where(marked, APART if rule == "apart" else MARKS[0], "")})
        tested = rows.dropna(subset=["p"]) if rule == "significant" else tested
    known = _known(tested) | _known(rows) | {"note": _note(tested)}
    caption = how["caption"].format_map(defaultdict(lambda: "unknown", known))
    columns = _columns(how, rows)

    rows = rows.rename(columns={"low": f"{value}_low", "high": f"{value}_high"})
    if wide:
        rows = _wide(rows, wide, how["keys"], value)
    if "marks" in laid:
        rows = _marked(rows, tested, laid["marks"])
    if "join" in laid:
        rows = _joined(rows, tested, laid["join"])
    for column, other in how.get("needs", {}).items():
        rows.loc[rows[other].isna(), [column, f"{column}_low", f"{column}_high"]] = np.nan
    if wide:
        columns = [c for c in columns if c.name in rows and rows[c.name].notna().any()][: how.get("most")]
    if missing := {column.name for column in columns} - set(rows):
        raise KeyError(*missing)
    if {"name", "model"} <= set(rows):
        places = [*results.ordered(rows), *((model, "none") for model in results.CEILINGS)]
        order = [places.index(pair) for pair in zip(rows["model"], rows["input"], strict=True)]
        rows = rows.iloc[np.argsort(order, kind="stable")]
    if how.get("published"):
        rows, below = _beside(rows, known["dataset"], str(protocol), [column.name for column in columns[1:]])
        caption += below
    if group := how.get("group", ""):
        rows = rows.sort_values(group, key=lambda names: pd.factorize(names)[0], kind="stable")
    return Table(name, rows.reset_index(drop=True), columns, " ".join(caption.split()), group, how["results"])


# What a reader calls a row, by the name of a column; that of <column>_name is spoken.
LABELS: dict[str, Callable[[dict[str, Any]], str]] = {
    "name": lambda row: results.CEILINGS.get(row["model"]) or results.label(row["model"], row["input"]),
    "kind": lambda row: (
        "learned"
        if row["model"] in results.LEARNED
        else "ceiling"
        if row["model"] in results.CEILINGS
        else "control"
    ),
    "block": lambda row: "controls" if row["family"] == "control" else row["base"],
    "f1_at": lambda row: f"f1_{100 * row['iou']:.0f}",
    "under": lambda row: (
        "base" if row["condition"] == "base" else f"{row['condition']}: {row['level']:g} {row['unit']}"
    ),
    # Which data these are stands in the caption and in the first column; what else differs stays.
    "differs": lambda row: re.sub(r"OTHER DATA: \S+, not [^\s;]+", "OTHER DATA", _words(row["mark"])),
}


def _label(name: str, row: dict[str, Any]) -> str:
    return LABELS[name](row) if name in LABELS else _in_words(row[name.removesuffix("_name")])


def _in_words(value: Any) -> str:
    """A value of a result table in a reader's words; ``a over b`` is that of a over that of b."""
    words = {name: head.replace("\n", " ") for name, head in HEADS.items()} | results.MODELS
    return " over ".join(words.get(part, results.spaced(part)) for part in str(value).split(" over "))


def _where(table: pd.DataFrame, query: str | None, **names: Any) -> pd.DataFrame:
    return table.query(query, engine="python", local_dict=names) if query else table


def _known(table: pd.DataFrame) -> dict[str, str]:
    """For a caption: the largest of a column of numbers, all values of one of text; nothing of an empty column."""
    known: dict[str, str] = {}
    for name, column in table.items():
        if column.dtype.kind in "iuf":
            known |= {str(name): f"{column.max():.0f}"} if column.notna().any() else {}
        else:
            known[str(name)] = ", ".join(map(str, dict.fromkeys(column.dropna())))
    if "protocol" in known:
        known["protocol"] = results.PROTOCOLS.get(known["protocol"], known["protocol"])
    return known


def _columns(how: Mapping[str, Any], rows: pd.DataFrame) -> list[Column]:
    """Columns as they are declared; ``*`` stands for the values of the wide column, which its head names."""
    columns = []
    for item in how["columns"]:
        ((head, text),) = (
            item if isinstance(item, dict) else {HEADS[item]: f"{item} {DIGITS[item]}"}
        ).items()
        name, _, digits = text.partition(" ")
        column = Column(name, head, int(digits) if digits.isdigit() else digits or None)
        if name != "*":
            columns.append(column)
            continue
        for value, part in rows.groupby(how["wide"], sort=False):
            words = head.format(_in_words(value), events=part["events"].max())
            columns.append(replace(column, name=value, head=words))
    return columns


def _wide(rows: pd.DataFrame, column: str, keys: list[str], value: str) -> pd.DataFrame:
    """A row for each of ``keys``, a column for each value of ``column``, with its interval and mark beside it."""
    rows = rows.fillna(dict.fromkeys(keys, ""))
    out = rows.drop_duplicates(keys)[keys].set_index(keys)
    for name, part in rows.groupby(column, sort=False):
        for end in ("", "_low", "_high", "_mark"):
            if f"{value}{end}" in part:
                out[f"{name}{end}"] = part.set_index(keys)[f"{value}{end}"]
    return out.reset_index()


def _tests(laid: Mapping[str, Any], tests: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tests of one data set in one table: which system or model against which control."""
    tested = pd.concat(tests, ignore_index=True).dropna(subset=["p"])
    if family := laid.get("family"):
        tested = tested.assign(family=family, tests=len(tested))
    # The claims of spotting name their two sides once for all.
    claimed = comparisons.declared()["spotting_claims"]
    tested = tested.fillna({"system": claimed["ours"], "against": claimed["other"]})
    if "control" in tested:
        against = zip(tested["control"], tested["control_input"], strict=True)
        tested["against"] = [results.label(*pair) for pair in against]
    return tested


def _note(tested: pd.DataFrame) -> str:
    """Sentence of a caption that says what the marks of tests mean; empty where nothing was tested."""
    if "family" not in tested or tested.empty:
        return ""
    controls = tested["against"].unique() if "against" in tested else []
    differs = "; ".join(
        f"{mark}: differs from {control}" for mark, control in zip(MARKS, controls, strict=False)
    )
    meaning = comparisons.note(tested, *tested["family"].unique())
    return f"{differs}, {meaning}." if differs else f"{MARKS[0]}: {meaning}."


def _marked(rows: pd.DataFrame, tested: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Mark each metric of a row, once for each control that the row of these keys differs from."""
    signs = dict(zip(tested["against"].unique(), MARKS, strict=False))
    for metric, part in tested[tested["significant"]].groupby("metric", sort=False):
        marks = {
            key: "".join(sign for control, sign in signs.items() if control in set(tests["against"]))
            for key, tests in part.groupby(keys)
        }
        names = zip(*(rows[key] for key in keys), strict=True)
        rows[f"{metric}_mark"] = [marks.get(key, "") for key in names]
    return rows


def _joined(rows: pd.DataFrame, tested: pd.DataFrame, how: Mapping[str, Any]) -> pd.DataFrame:
    """Lay the test of each row beside it: its difference with interval and mark, and p."""
    ends = {"low": "difference_low", "high": "difference_high"}
    tested = tested.assign(difference_mark=tested["significant"].map({True: MARKS[0], False: ""}))
    names = ["difference", *ends, "difference_mark", "p", "p_holm"]
    tested = tested[[*(how["right_on"]), *names]].rename(columns=ends)
    return rows.merge(tested, how="left", **how)


def _beside(
    rows: pd.DataFrame, dataset: str, protocol: str, metrics: Sequence[str]
) -> tuple[pd.DataFrame, str]:
    """Rows of ours with published ones below, and what the caption says of these."""
    theirs = published.as_rows(dataset, metrics)
    theirs = theirs[theirs["protocol"] == protocol].rename(columns={"what": "name"})
    if theirs.empty:
        return rows, ""
    below = (
        theirs.drop(columns="protocol").dropna(axis=1, how="all").assign(source="published", kind="published")
    )
    used = [
        f"{sign}: {words}"
        for words, sign in published.SIGNS.items()
        if theirs["differs"].str.contains(words).any()
    ]
    loud = f" {'; '.join(used)}, not comparable with ours." if used else ""
    words = f" Last rows: published values.{loud} Their control and difference: table published_intensity."
    return pd.concat([rows.assign(source="ours"), below], ignore_index=True), words


def printed(table: Table) -> pd.DataFrame:
    """The cells of a table as they are printed, text without LaTeX, below their heads."""
    rows = [[_cell(row, column) for column in table.columns] for row in results.records(table.rows)]
    return pd.DataFrame(rows, columns=[column.head.replace("\n", " ") for column in table.columns])


def _cell(row: Mapping[str, Any], column: Column) -> str:
    value = row[column.name]
    if column.digits is None:
        return _words(value)
    digits = DIGITS[row[column.digits]] if isinstance(column.digits, str) else column.digits
    bounds = [row.get(f"{column.name}_{side}", np.nan) for side in ("low", "high")]
    text = _number(value, digits)
    if np.isfinite([value, *bounds]).all():
        text += f" [{_number(bounds[0], digits)}, {_number(bounds[1], digits)}]"
    mark = row.get(f"{column.name}_mark", "")
    return text + mark if isinstance(mark, str) else text


def _number(value: float, digits: int) -> str:
    """Rounded as it stands in the csv, 0 without a sign; two dashes where there is no number."""
    return f"{float(f'{value:.6g}'):z.{digits}f}" if np.isfinite(value) else "--"


def _words(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return "--" if pd.isna(value) or value == "" else str(value)


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
    plain, texts = printed(table), [column.digits is None for column in table.columns]
    breadths = [int(plain.iloc[:, i].str.len().max()) for i in range(plain.shape[1])]
    wrapped = [text and breadth > _LONG for text, breadth in zip(texts, breadths, strict=True)]
    paragraph = rf">{{\raggedright\arraybackslash}}p{{{max(11, 96 // len(texts))}em}}"
    kinds = [paragraph if w else "l" if text else "r" for text, w in zip(texts, wrapped, strict=True)]
    cells = [
        [
            _escape(cell) if text else re.sub(r"-(?=\d)", "$-$", _escape(cell))
            for cell, text in zip(row, texts, strict=True)
        ]
        for row in plain.itertuples(index=False, name=None)
    ]
    groups = table.rows[table.group].tolist() if table.group else [""] * len(cells)
    apart = "\\addlinespace[2pt]\n" * any(wrapped)
    for row, group, before in zip(cells[1:], groups[1:], groups, strict=False):
        row[0] = (apart if group == before else "\\midrule\n") + row[0]
    lines = [_escape(column.head).split("\n") for column in table.columns]
    deep = max(map(len, lines))
    above = [(*[""] * (deep - len(line)), *line) for line in lines]
    heads = pd.MultiIndex.from_tuples(above) if deep > 1 else [head for (head,) in above]
    tabular = (
        pd.DataFrame(cells, columns=heads)
        .style.hide(axis="index")
        .to_latex(column_format=f"@{{}}{''.join(kinds)}@{{}}", hrules=True, sparse_columns=False)
    )
    settings = ", ".join(
        f"{name} {' '.join(v) if isinstance(v, list) else v}" for name, v in about["settings"].items()
    )
    sources = "".join(f"% {file}: {known}\n" for file, known in about["results"].items())
    place = "table" if sum(min(breadth, _LONG) for breadth in breadths) <= _NARROW else "table*"
    return rf"""% Written by melib, commit {about["commit"]}, notebook {about["notebook"] or "none"}.
% Run: {settings or "not recorded"}. Needs array, booktabs and graphicx.
{sources}\begin{{{place}}}[tbp]
\centering
\caption{{{_escape(table.caption)}}}
\label{{tab:{table.name.replace("_", "-")}}}
\footnotesize\setlength{{\tabcolsep}}{{4pt}}\setlength{{\abovetopsep}}{{3pt}}
\resizebox{{\ifdim\width>\linewidth\linewidth\else\width\fi}}{{!}}{{{tabular.rstrip()}}}
\end{{{place}}}
"""


def _escape(text: str) -> str:
    text = text.replace(">=", "\N{GREATER-THAN OR EQUAL TO}").translate(_ESCAPED)
    # After the end of a row these two would be read as its options.
    return f"{{{text[0]}}}{text[1:]}" if text.startswith(("[", "*")) else text
