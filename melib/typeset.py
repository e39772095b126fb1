r"""Result tables for a manuscript: the rows as csv, and as LaTeX that needs nothing but booktabs.

    results/*.csv  -->  tables/<table>.csv    the rows, numbers with six digits
                        tables/<table>.tex    the same rows, rounded; caption, label, and where they come from
                        tables/<table>.json   sidecar, like a figure's
                        tables/index.csv      which tables there are, with their captions

A cell holds a number and, where its column has one, its 95 % interval: ``0.93 [0.91, 0.95]``. A result that isn't there
leaves its table out. In the manuscript: ``\usepackage{booktabs}`` and ``\input{tables/face_card}``.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melib import cache, figures

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
_ESCAPED = {
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    ">=": r"$\geq$",
    # After the end of a row these two would be read as its options.
    "[": "{[}",
    "*": "{*}",
}
# Characters of a row that fit one column of a page, and two at footnotesize.
_NARROW, _WIDE = 62, 105


@dataclass(frozen=True)
class Column:
    """One printed column.

    ``name``: the column of the rows; where they have ``<name>_low`` and ``<name>_high``, the interval is printed, too.
    ``head``: what stands above it, ``\\n`` begins another line. ``digits``: after the point; None prints text, and the name
    of a column that holds metrics takes each metric's. ``width``: share of the line in which long text is wrapped.
    """

    name: str
    head: str
    digits: int | str | None = None
    width: float = 0.0


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
    made = tables(run)
    for table in made:
        about = figures.origin(run, table.results)
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
    """
    from melib import report

    simulated = report.settings(run).get("data") == ["simulated"]
    out = []
    for make, names in MAKERS.items():
        files = [Path(run) / "results" / f"{name}.csv" for name in names]
        if not all(file.is_file() for file in files):
            continue
        found = [figures.read(file) for file in files]
        datasets = list(dict.fromkeys(found[0]["dataset"]))
        for dataset in datasets:
            parts = [table[table["dataset"] == dataset] for table in found]
            ending = f"_{dataset}" if len(datasets) > 1 else ""
            for table in make(*parts):
                if len(table.rows):
                    caption = f"{table.caption} Data: {dataset}{' (simulated)' * simulated}."
                    name = f"{table.name}{ending}"
                    out.append(replace(table, name=name, caption=caption, results=tuple(names)))
    return out


def printed(table: Table) -> pd.DataFrame:
    """The cells of a table as they are printed, text without LaTeX, below their heads."""
    rows = [[_cell(row, column) for column in table.columns] for row in figures.records(table.rows)]
    return pd.DataFrame(rows, columns=[column.head.replace("\n", " ") for column in table.columns])


def latex(table: Table, about: Mapping[str, Any]) -> str:
    """A table as LaTeX.

    Parameters
    ----------
    table : Table
    about : mapping
        As figures.origin returns; it becomes a comment.

    Returns
    -------
    str
        A ``table`` environment, or ``table*`` where the rows need the width of two columns.
    """
    plain = printed(table)
    cells = [
        [_tex(text, column) for text, column in zip(row, table.columns, strict=True)]
        for row in plain.itertuples(index=False, name=None)
    ]
    heads = [column.head.split("\n") for column in table.columns]
    deep = max(len(lines) for lines in heads)
    over = [[""] * (deep - len(lines)) + [_escape(line) for line in lines] for lines in heads]
    ahead = [" & ".join(lines[place] for lines in over) + r" \\" for place in range(deep)]
    longest = sum(_length(plain.iloc[:, i], column) for i, column in enumerate(table.columns))
    place = "table" if longest <= _NARROW else "table*"
    size = r"\footnotesize" if longest <= _WIDE else r"\scriptsize"
    groups = table.rows[table.group].tolist() if table.group else [""] * len(cells)
    body: list[str] = []
    for row, group, before in zip(cells, groups, [None, *groups], strict=False):
        body += [r"\midrule"] if group != before else []
        body.append(" & ".join(row) + r" \\")
    return "\n".join(
        [
            *(f"% {line}" for line in _comments(about)),
            rf"\begin{{{place}}}[tbp]",
            r"\centering",
            rf"\caption{{{_escape(table.caption)}}}",
            rf"\label{{tab:{table.name.replace('_', '-')}}}",
            rf"{size}\setlength{{\tabcolsep}}{{4pt}}",
            rf"\begin{{tabular}}{{@{{}}{''.join(_kind(column) for column in table.columns)}@{{}}}}",
            r"\toprule",
            *ahead,
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\end{{{place}}}",
            "",
        ]
    )


def _comments(about: Mapping[str, Any]) -> list[str]:
    settings = ", ".join(
        f"{name} {' '.join(v) if isinstance(v, list) else v}" for name, v in about["settings"].items()
    )
    return [
        f"Written by melib, commit {about['commit']}, notebook {about['notebook'] or 'none'}; needs booktabs.",
        f"Run: {settings or 'not recorded'}.",
        *(f"{file}: {known}" for file, known in about["results"].items()),
    ]


def _kind(column: Column) -> str:
    if column.width:
        return rf"p{{{column.width:g}\linewidth}}"
    return "l" if column.digits is None else "r"


def _length(texts: pd.Series, column: Column) -> int:
    """Characters that a column takes on the page, about."""
    if column.width:
        return round(column.width * _WIDE)
    return max(len(text) for text in (*texts, *column.head.split("\n"))) + 2


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
    return text


def _number(value: float, digits: int) -> str:
    """Rounded as it stands in the csv, 0 without a sign; two dashes where there is no number."""
    if not np.isfinite(value):
        return "--"
    text = f"{float(f'{value:.6g}'):.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def _tex(text: str, column: Column) -> str:
    if column.digits is None:
        # In braces, because \raggedright redefines what ends the row.
        return rf"{{\raggedright {_escape(text)}\par}}" if column.width else _escape(text)
    return text if text == "--" else text.replace("-", "$-$")


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
    pairs = figures.ordered(rows)
    pairs += [(model, "none") for model in figures.CEILINGS if (rows["model"] == model).any()]
    rows = rows.set_index(["model", "input"]).loc[pairs].reset_index()
    kind = [
        "learned" if model in figures.LEARNED else "ceiling" if model in figures.CEILINGS else "control"
        for model in rows["model"]
    ]
    name = [
        figures.CEILINGS.get(m, figures.label(m, used))
        for m, used in zip(rows["model"], rows["input"], strict=True)
    ]
    rows.insert(0, "kind", kind)
    rows.insert(3, "name", name)
    return rows


def intensity(found: pd.DataFrame) -> list[Table]:
    """Agreement of every model and control, a table a protocol (summary.csv)."""
    out = []
    for protocol, part in found[found["amplitude"] == "all"].groupby("protocol", sort=False):
        asked = SHOWN.get(str(protocol), tuple(figures.METRICS))
        shown = [metric for metric in asked if part.loc[part["metric"] == metric, "estimate"].notna().any()]
        shown = shown[:_MOST]
        part = part[part["metric"].isin(shown)]
        rows = _named(_wide(part, ["model", "input"], "estimate", "metric"))
        caption = (
            f"{figures.PROTOCOLS.get(str(protocol), protocol)}: agreement of models, controls and ceilings with the target, "
            f"mean over {_most(part, 'subjects')} subjects and {_most(part, 'events')} events with 95 % intervals "
            "(bootstrap over subjects). Inside: frames of the event alone."
        )
        out.append(
            Table(f"intensity_{protocol}", rows, [Column("name", "Model"), *_columns(shown)], caption, "kind")
        )
    return out


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
        f"{figures.METRICS[metric]}, by the true peak of the movement in pixels of the 112-pixel crop. "
        f"{figures.PROTOCOLS['context']}; mean over subjects with 95 % intervals."
    )
    return [Table("intensity_amplitude", rows, [Column("name", "Model"), *columns], caption, "kind")]


def face_card(cards: pd.DataFrame) -> list[Table]:
    """Does the model see the face? Both protocols, seeds averaged (face_card.csv)."""
    keys = ["protocol", "model", "input", "quantity"]
    cards = cards[~cards["model"].isin(figures.CEILINGS)]
    means = cards.groupby(keys, sort=False, as_index=False)[["estimate", "low", "high"]].mean()
    parts = []
    for protocol, part in means.groupby("protocol", sort=False):
        rows = _named(_wide(part, ["model", "input"], "estimate", "quantity"))
        rows.insert(0, "protocol", protocol)
        parts.append(rows)
    if not parts:
        return []
    rows = pd.concat(parts, ignore_index=True)
    shown = [
        Column(q, title.capitalize(), _DIGITS) for q, (title, *_) in figures.QUANTITIES.items() if q in rows
    ]
    caption = (
        "Face card: does the model see the face? Clip swap: 0 knows only position. Apex follow: slope of the predicted "
        "apex on a known shift of the true one; 1 follows, 0 knows only position. Frozen correlation: agreement with "
        "the prediction on the first frame repeated; 1 doesn't need the movement. Dashes: not asked. Mean over "
        f"{_most(cards, 'subjects')} subjects with 95 % intervals."
    )
    columns = [Column("protocol", "Protocol"), Column("name", "Model"), *shown]
    return [Table("face_card", rows, columns, caption, "protocol")]


def claims(found: pd.DataFrame) -> list[Table]:
    """What must hold before anyone says that a model saw the face (claims.csv)."""
    rows = found.rename(columns={"low": "estimate_low", "high": "estimate_high"})
    said = []
    for row in figures.records(rows):
        metric, over, other = row["claim"].partition(" over ")
        words = figures.METRICS.get(metric) or figures.QUANTITIES.get(metric, (metric,))[0]
        said.append(words + (f", over {figures.label(other, 'none')}" if over else ""))
    rows = rows.assign(said=said, metric=rows["claim"].str.partition(" over ")[0])
    columns = [
        Column("said", "Claim", width=0.3),
        Column("needed", "Needed", width=0.24),
        Column("estimate", "Found", "metric"),
        Column("events", "Events", 0),
        Column("holds", "Holds"),
    ]
    names = [figures.label(*pair) for pair in dict.fromkeys(zip(rows["model"], rows["input"], strict=True))]
    caption = (
        f"What must hold of {', '.join(names)} in the context protocol, with 95 % intervals over subjects."
    )
    return [Table("claims", rows, columns, caption)]


def systems(found: pd.DataFrame) -> list[Table]:
    """Counts and scores of every spotting system by the strict rule (spotting.csv)."""
    return _systems("spotting_systems", found, "Spotting and recognition")


def changed(found: pd.DataFrame) -> list[Table]:
    """Our spotting system with one part changed at a time (ablations.csv)."""
    ours = found["system"].str.split(",").str[0] == "ours"
    return _systems("spotting_ablations", found[ours], "Our system, and with one part changed: spotting")


def _systems(name: str, found: pd.DataFrame, what: str) -> list[Table]:
    rows = found[found["rule"] == "strict"]
    if rows.empty:
        return []
    counts = [Column(of, head, 0) for of, head in (("tp", "TP"), ("fp", "FP"), ("fn", "FN"))]
    shown = ("spotting_f1", "recognition_f1", "strs", "end_to_end_f1", "fp_per_hour", "ap")
    first = rows.iloc[0]
    caption = (
        f"{what} in {first['videos']:.0f} videos ({first['minutes']:.0f} minutes, {first['tp'] + first['fn']:.0f} "
        "micro-expressions), videos without any included; counts pooled over folds, one-to-one matching at IoU .5, 95 % "
        "intervals over subjects. End to end: interval and class are right."
    )
    return [Table(name, rows, [Column("system", "System"), *counts, *_columns(shown)], caption)]


def spotting_claims(found: pd.DataFrame) -> list[Table]:
    """Our system against the mended reference, paired over subjects (spotting_claims.csv)."""
    rows = found.rename(columns={"low": "difference_low", "high": "difference_high"})
    columns = [
        Column("claim", "Claim", width=0.26),
        Column("ours", "Ours", "metric"),
        Column("other", "Reference", "metric"),
        Column("difference", "Difference", "metric"),
        Column("p", "p", 4),
        Column("events", "Events", 0),
        Column("events_needed", "Events\nneeded", 0),
        Column("holds", "Holds"),
    ]
    caption = (
        "Against the mended reference: differences with 95 % intervals over subjects, p by swapping the two systems for a "
        "subject. Events needed: for the interval of a difference of this size to leave 0 out."
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
        f"{_most(found, 'combinations')} combinations of all parts, with 95 % intervals over subjects."
    )
    return [Table("spotting_effects", rows, [*parts, *_columns(shown)], caption)]


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
        "intervals over subjects (paired)."
    )
    return [Table("spotting_inflation", rows, columns, caption, "system")]


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
    rows = rows.reset_index()
    rows["decoder"] = rows["decoder"].map(_spaced)
    columns = [
        Column("setting", "Curves, prior"),
        Column("decoder", "Decoder"),
        *(Column(f"f1_{100 * iou:.0f}", f"F1\nIoU {iou:g}", _DIGITS) for iou in ious),
        Column("difference", "Semi-Markov\nless this", _DIGITS),
        Column("p", "p", 4),
    ]
    caption = (
        "Decoders on the same curves of held-out subjects, with priors of training subjects of the same and of another data "
        "set; 95 % intervals over subjects. Difference at IoU .5, p by swaps of subjects."
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
        "Action units: told the true units of every event, the best that can be known."
    )
    return [Table("recognition", found, columns, caption)]


def position(found: pd.DataFrame) -> list[Table]:
    """What position alone scores, no pixel read (position_control.csv)."""
    part = found.assign(metric_name=[figures.METRICS.get(name, name) for name in found["metric"]])
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
    rows = found.assign(metric_name=[figures.METRICS.get(name, name) for name in found["metric"]])
    columns = [
        Column("metric_name", "Metric"),
        Column("ours", "Position only,\nthis run", 4),
        Column("events", "Clips", 0),
        Column("of", "Published\non"),
        Column("paper", "Published\nnetwork", 4),
        Column("control", "Position only,\npublic table", 4),
        Column("their_events", "Clips", 0),
        Column("data", "Data", width=0.2),
    ]
    caption = (
        "Position alone beside the published network, both on clips cut from onset to offset; means over clips. Where the "
        "data differ, compare distances to the control only."
    )
    return [Table("published_control", rows, columns, caption, "metric")]


def intensity_published(found: pd.DataFrame) -> list[Table]:
    """Ours beside the published values of the same data, protocol, model and input (published_intensity.csv)."""
    names = zip(found["model"], found["input"], strict=True)
    rows = found.assign(
        name=[figures.label(model, used) for model, used in names],
        metric_name=[figures.METRICS.get(name, name) for name in found["metric"]],
    ).rename(columns={"low": "ours_low", "high": "ours_high"})
    columns = [
        Column("name", "Model"),
        Column("metric_name", "Metric"),
        Column("ours", "This run", 4),
        Column("published", "Published", 4),
        Column("source", "Source", width=0.3),
    ]
    caption = (
        "Beside the published values of the same data. Their split, clips and averaging aren't published; read each beside "
        "position alone. 95 % intervals over subjects."
    )
    return [Table("published_intensity", rows, columns, caption)]


def spotting_published(found: pd.DataFrame) -> list[Table]:
    """Every system's scores above those published for the same data (spotting_published.csv)."""
    columns = [
        Column("system", "System"),
        Column("rule", "Scorer"),
        *(Column(name, _head(name), 4) for name in ("strs", "spotting_f1", "recognition_f1")),
        Column("source", "Source", width=0.36),
    ]
    caption = "Beside the published values, which come from their own scorers, most of them on videos with events only."
    return [Table("spotting_published", found, columns, caption)]


def _spaced(text: Any) -> str:
    return str(text).replace("_", " ")


def _most(table: pd.DataFrame, column: str) -> str:
    """The number that most rows share, for a caption; what isn't counted is said to be unknown."""
    return f"{table[column].max():.0f}" if column in table and table[column].notna().any() else "unknown"


# In the order of the manuscript: what makes tables, and of which results; each needs the column ``dataset``.
MAKERS: dict[Callable[..., list[Table]], tuple[str, ...]] = {
    position: ("position_control",),
    position_published: ("published_control",),
    intensity: ("summary",),
    amplitude: ("summary",),
    intensity_published: ("published_intensity",),
    face_card: ("face_card",),
    claims: ("claims",),
    systems: ("spotting",),
    spotting_claims: ("spotting_claims",),
    spotting_published: ("spotting_published",),
    recognition: ("recognition",),
    inflation: ("inflation_ledger",),
    effects: ("factorial",),
    changed: ("ablations",),
    decoders: ("decoders", "decoder_differences"),
}
