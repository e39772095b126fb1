r"""Result tables for a manuscript: declared in tables.yml, set by pandas' Styler.

    results/*.csv  -->  tables/<table>.tex    rounded, with caption, label, and where they come from
                        tables/<table>.csv    the same rows, numbers with six digits
                        tables/<table>.json   sidecar, like a figure's

A cell holds a number and, where its column has one, its 95 % interval: ``0.93 [0.91, 0.95]``. A dagger stands where a
declared test is significant after Holm's correction (comparisons.py); the caption says over how many tests of which family.
A result that isn't there leaves its table out. In the manuscript: ``\usepackage{array,booktabs,graphicx}`` and
``\input{tables/face_card}``.
"""

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
DAGGER = "\N{DAGGER}"
_ESCAPED = str.maketrans(
    {
        **{mark: f"\\{mark}" for mark in "&%$#_{}"},
        **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
        **{"<": "$<$", ">": "$>$", DAGGER: r"\textsuperscript{\dag}"},
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
    ``head``: what stands above it, ``\\n`` begins another line. ``digits``: after the point; None prints text.
    """

    name: str
    head: str
    digits: int | None = None


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
    """Write every table that the results of a run allow, as LaTeX, csv and json sidecar; no training, no image.

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
        cache.write_json(
            folder / f"{table.name}.json", {"table": table.name, "caption": table.caption, **about}
        )
        with cache.atomic(folder / f"{table.name}.tex") as temporary:
            temporary.write_text(latex(table, about), encoding="utf-8", newline="\n")
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
        parts: dict[str, Table] = {}
        try:
            for dataset in read[0]["dataset"].unique() if read else ():
                if table := fill_table(name, *(part[part["dataset"] == dataset] for part in read)):
                    parts[dataset] = table
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
    value = how.get("value", "estimate")
    rows = result.query(how["where"], engine="python") if "where" in how else result
    if "pooled" in how:
        rows = results.over_seeds(rows, how["pooled"])
    if rows.empty:
        return None
    tested = _tests(tests, how, rows) if tests else pd.DataFrame()
    note = f" {DAGGER}: {comparisons.note(tested, *tested['family'].unique())}." if len(tested) else ""
    known = _known(tested) | _known(rows)
    rows = rows.assign(
        **{text: [_label(text, row) for row in results.records(rows)] for text in how["labels"]}
    )
    rows = rows.rename(columns={"low": f"{value}_low", "high": f"{value}_high"})
    if "wide" in how:
        keys = [name for name in (*how["keys"], *how["labels"]) if name != how["wide"]]
        rows = rows.assign(**rows[keys].fillna(""))
        values = [f"{value}{end}" for end in ("", "_low", "_high")]
        rows = rows.pivot_table(values, keys, how["wide"], aggfunc="first", sort=False)
        rows.columns = [f"{column}{kind.removeprefix(value)}" for kind, column in rows.columns]
        rows = rows.reset_index()
    if "join" in how:
        rows = rows.merge(tested, how="left", left_on=how["keys"], right_on=how["join"], suffixes=("", "_"))
    elif len(tested):
        rows = _marked(rows, tested, how["marks"])
    if {"name", "model"} <= set(rows):
        places = [*results.ordered(rows), *((model, "none") for model in results.CEILINGS)]
        order = [places.index(pair) for pair in zip(rows["model"], rows["input"], strict=True)]
        rows = rows.iloc[np.argsort(order, kind="stable")]
    if group := how.get("group", ""):
        rows = rows.sort_values(group, key=lambda names: pd.factorize(names)[0], kind="stable")
    columns = [_column(item) for item in how["columns"]]
    columns = [column for column in columns if "wide" not in how or column.name in rows]
    if missing := {column.name for column in columns} - set(rows):
        raise KeyError(*missing)
    caption = f"{how['caption'].format_map(defaultdict(lambda: 'unknown', known))}{note}"
    return Table(name, rows.reset_index(drop=True), columns, " ".join(caption.split()), group, how["results"])


_KINDS = dict.fromkeys(results.LEARNED, "learned") | dict.fromkeys(results.CEILINGS, "ceiling")
# What a reader calls a row, by the name of a column; that of <column>_name is spoken.
LABELS: dict[str, Callable[[dict[str, Any]], str]] = {
    "name": lambda row: results.CEILINGS.get(row["model"]) or results.label(row["model"], row["input"]),
    "kind": lambda row: _KINDS.get(row["model"], "control"),
    "block": lambda row: "controls" if row["family"] == "control" else row["base"],
    "f1_at": lambda row: f"f1_{100 * row['iou']:.0f}",
    "under": lambda row: (
        "base" if row["condition"] == "base" else f"{row['condition']}: {row['level']:g} {row['unit']}"
    ),
}


def _label(name: str, row: dict[str, Any]) -> str:
    if name in LABELS:
        return LABELS[name](row)
    value = row[name.removesuffix("_name")]
    return HEADS.get(value, results.spaced(value)).replace("\n", " ")


def _known(table: pd.DataFrame) -> dict[str, str]:
    """For a caption: the largest of a column of numbers."""
    return {str(name): f"{column.max():.0f}" for name, column in table.select_dtypes("number").items()}


def _column(item: str | Mapping[str, str]) -> Column:
    """A column as it is declared: a metric, or head: its column and digits."""
    declared = {HEADS[item]: f"{item} {DIGITS[item]}"} if isinstance(item, str) else item
    ((head, text),) = declared.items()
    name, _, digits = text.partition(" ")
    return Column(name, head, int(digits) if digits else None)


def _tests(tests: Sequence[pd.DataFrame], how: Mapping[str, Any], rows: pd.DataFrame) -> pd.DataFrame:
    """Declared tests of one table, with their difference as it is printed."""
    tested = pd.concat(tests, ignore_index=True).dropna(subset=["p"])
    if "family" in how:
        tested = tested.assign(family=how["family"], tests=len(tested))
    # The claims of spotting name their two sides once for all.
    tested = tested.fillna({"system": comparisons.declared()["spotting_claims"]["ours"]})
    if "protocol" in rows and "protocol" in tested:
        tested = tested[tested["protocol"].isin(rows["protocol"])]
    tested = tested.query(how.get("tests", "index == index"), engine="python")
    marks = {"difference_mark": tested["significant"].map({True: DAGGER, False: ""})}
    return tested.assign(**marks).rename(columns={"low": "difference_low", "high": "difference_high"})


def _marked(rows: pd.DataFrame, tested: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Mark each metric of a row whose test, that of the same keys, is significant."""
    for metric, part in tested[tested["significant"]].groupby("metric", sort=False):
        significant = pd.MultiIndex.from_frame(part[keys])
        marked = pd.MultiIndex.from_frame(rows[keys]).isin(significant)
        rows = rows.assign(**{f"{metric}_mark": np.where(marked, DAGGER, "")})
    return rows


def printed(table: Table) -> pd.DataFrame:
    """The cells of a table as they are printed, text without LaTeX, below their heads."""
    rows = [[_cell(row, column) for column in table.columns] for row in results.records(table.rows)]
    return pd.DataFrame(rows, columns=[column.head.replace("\n", " ") for column in table.columns])


def _cell(row: Mapping[str, Any], column: Column) -> str:
    value = row[column.name]
    if column.digits is None:
        return "--" if pd.isna(value) or value == "" else str(value)
    bounds = [row.get(f"{column.name}_{side}", np.nan) for side in ("low", "high")]
    text = _number(value, column.digits)
    if np.isfinite([value, *bounds]).all():
        text += f" [{', '.join(_number(bound, column.digits) for bound in bounds)}]"
    mark = row.get(f"{column.name}_mark", "")
    return text + mark if isinstance(mark, str) else text


def _number(value: float, digits: int) -> str:
    """Rounded as it stands in the csv, 0 without a sign; two dashes where there is no number."""
    return f"{float(f'{value:.6g}'):z.{digits}f}" if np.isfinite(value) else "--"


def latex(table: Table, about: Mapping[str, Any]) -> str:
    """A table as LaTeX: a ``table`` environment, or ``table*`` where the rows need the width of two columns.

    Parameters
    ----------
    table : Table
    about : mapping
        As provenance.origin returns; it becomes a comment.
    """
    plain = printed(table).set_axis(range(len(table.columns)), axis="columns")
    numbers = [place for place, column in enumerate(table.columns) if column.digits is not None]
    breadths = plain.map(len).max()
    paragraph = rf">{{\raggedright\arraybackslash}}p{{{max(11, 96 // len(breadths))}em}}"
    kinds = ["r" if n in numbers else paragraph if breadths[n] > _LONG else "l" for n in plain]
    cells = plain.map(_escape)
    cells[numbers] = cells[numbers].replace(r"-(?=\d)", "$-$", regex=True)
    if table.group:
        changes = table.rows[table.group].ne(table.rows[table.group].shift()).to_numpy()[1:]
        cells.iloc[1:, 0] = np.where(changes, "\\midrule\n", "") + cells.iloc[1:, 0]
    heads = [_escape(column.head).replace("\n", r" \\ ") for column in table.columns]
    styled = cells.set_axis([rf"\shortstack{{{head}}}" for head in heads], axis="columns").style
    tabular = styled.hide(axis="index").to_latex(column_format=f"@{{}}{''.join(kinds)}@{{}}", hrules=True)
    sources = "".join(f"% {file}: {known}\n" for file, known in about["results"].items())
    place = "table" if breadths.clip(upper=_LONG).sum() <= _NARROW else "table*"
    return rf"""% Written by melib, commit {about["commit"]}. Needs array, booktabs and graphicx.
% Run: {about["settings"]}
{sources}\begin{{{place}}}[tbp]
\centering
\caption{{{_escape(table.caption)}}}
\label{{tab:{table.name.replace("_", "-")}}}
\footnotesize\setlength{{\tabcolsep}}{{4pt}}\setlength{{\abovetopsep}}{{3pt}}
\resizebox{{\ifdim\width>\linewidth\linewidth\else\width\fi}}{{!}}{{{tabular.rstrip()}}}
\end{{{place}}}
"""


def _escape(text: str) -> str:
    text = text.translate(_ESCAPED)
    # After the end of a row these two would be read as its options.
    return f"{{{text[0]}}}{text[1:]}" if text.startswith(("[", "*")) else text
