"""One page that says what a run found, computed from its files.

    results/*.csv --melib.paper.answers--> six answers, data, method, limits --+
                  --melib.paper.latex--> tables                              +-->  report/index.html
    figures/, tables/, notebooks/, html/, timing.json, environment.json--+     relative links only: a run can be moved

No number on the page is typed: it comes from a result, or from published.csv, which names its source.
"""

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from melib import PACKAGE, controls
from melib.data import cache
from melib.errors import DataError
from melib.paper import answers, latex
from melib.study.provenance import configuration_checks, packages, recorded
from melib.study.results import (
    CEILINGS,
    LEARNED,
    QUANTITIES,
    label,
    ordered,
    over_seeds,
    read_result,
    records,
)

_CONTROLS = {
    "position_only",
    "constant_frame",
    "oracle_interval",
    "flow_magnitude",
    "shuffled_frames",
    "frozen_clip",
}
# With fewer, an interval says nothing of training anew.
_SEEDS = 3
# Other tables of learned models: which column says what a row is, and what must be among it.
_BESIDE = {
    "intensity_ablations": ("model", {"position_only", "flow_magnitude", "oracle_interval"}),
    "spotting": ("system", {"chance", "motion"}),
    "limits": ("kind", {"baseline", "ideal"}),
}


def build(run: str | Path) -> Path:
    """Write the report of a run.

    Parameters
    ----------
    run : str or Path
        Folder of the run; sections whose results don't exist yet are left out and said to be missing.

    Returns
    -------
    Path
        ``report/index.html`` in that folder.

    Raises
    ------
    DataError
        If the folder doesn't exist.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    run = Path(run)
    if not run.is_dir():
        raise DataError(f"{run} doesn't exist: name a run below runs/, or the path of one")
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html.j2")
    said, pictures = answers.answers(run), _figures(run)
    try:
        tables, unset = _tables(run), ""
    except DataError as error:  # an older melib wrote a result: the page says which, and shows the rest
        tables, unset = [], str(error)
    page = template.render(
        name=run.resolve().name,
        settings=recorded(run),
        abstract=answers.abstract(run, recorded(run)),
        answers=said,
        evidence={answer.name: _evidence(answer.tables, pictures, tables) for answer in said},
        tables=tables,
        unset=unset,
        figures=pictures,
        notebooks=_notebooks(run),
        failed=sorted(path.name.partition(".")[0] for path in run.glob("notebooks/*.failed.ipynb")),
        files=sorted(path.name for path in (run / "results").glob("*.csv")),
        environment=_json(run / "environment.json"),
        timing=_json(run / "timing.json"),
        checklist=checklist(run),
    )
    index = run / "report" / "index.html"
    with cache.atomic(index) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return index


def table(run: str | Path) -> str:
    """The face card as text for a terminal: does the model see the face?

    Parameters
    ----------
    run : str or Path
        Folder of the run.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    found = _read(Path(run), "face_card")
    if found is None:
        return "no face card yet: notebook 04 writes it"
    rows = _card(found[found["model"].isin((*LEARNED, "position_only", "flow_magnitude"))])
    text = io.StringIO()
    console = Console(file=text, width=110)
    console.print("Does the model see the face? Mean and 95 % interval over subjects.")
    for place in dict.fromkeys((row["dataset"], row["protocol"]) for row in rows):
        grid = Table(
            title="\n" + ", ".join(place), title_justify="left", box=box.SIMPLE_HEAD, show_edge=False
        )
        for column in ("model", *(title for title, *_ in QUANTITIES.values()), "sees it"):
            grid.add_column(column, no_wrap=True)
        for row in rows:
            if (row["dataset"], row["protocol"]) == place:
                grid.add_row(row["name"], *(row[quantity] for quantity in QUANTITIES), row["verdict"])
        console.print(grid)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def checklist(run: str | Path) -> list[tuple[bool, str, str]]:
    """What makes a run reproducible, each looked up in its files: (holds, sentence, detail)."""
    run = Path(run)
    records = {path.stem: _json(path) for path in sorted(run.glob("notebooks/*.json"))}
    failed = [path.name for path in run.glob("notebooks/*.failed.ipynb")]
    changed = [
        name
        for record in records.values()
        for name, known in record.get("outputs", {}).items()
        if not (run / name).is_file() or cache.content_hash([run / name]) != known
    ]
    made_with = _json(run / "environment.json")
    code = str(made_with.get("commit", "unknown"))
    strays = _not_locked(made_with.get("packages", {}))
    found = [
        (
            bool(records) and not failed,
            "Every notebook reached its end",
            ", ".join(failed or records) or "none has run",
        ),
        (
            not changed,
            "Result files are those that the notebooks wrote",
            "changed since: " * bool(changed) + ", ".join(changed),
        ),
        (bool(re.fullmatch("[0-9a-f]{40}", code)), "The code that ran is a commit", code),
        (not strays, "Package versions are those of requirements.lock", ", ".join(strays)),
        (bool(recorded(run)), "Profile, seed and data are recorded", _flat(recorded(run))),
    ]
    found += [_all_ran(run, set(records)), *configuration_checks(run)]
    results = _read(run, "intensity")
    if results is not None and len(results):
        found += _protocol_checks(results)
    found.append(_control_check(run, results))
    found += _epoch_check(run)
    return found + _origin_checks(run, code)


def _origin_checks(run: Path, code: str) -> list[tuple[bool, str, str]]:
    """Whether figures and tables were made of the results that are there, all by one commit."""
    now = {file.name: cache.content_hash([file]) for file in (run / "results").glob("*.csv")}
    found, commits = [], {code}
    for what, verb in (("figure", "drawn"), ("table", "written")):
        sidecars = [_json(path) for path in sorted(run.glob(f"{what}s/*.json"))]
        commits |= {str(record.get("commit")) for record in sidecars}
        # A notebook that ran later may have added tables; those that a figure saw must be the same.
        stale = [
            str(record.get(what))
            for record in sidecars
            if not record.get("results", {}).items() <= now.items()
        ]
        detail = "not so: " * bool(stale) + (", ".join(stale) or f"{len(sidecars)} {what}s")
        found.append((bool(sidecars) and not stale, f"Every {what} was {verb} from these results", detail))
    detail = ", ".join(sorted(each[:12] for each in commits))
    return [*found, (len(commits) == 1, "Results, figures and tables were made by one commit", detail)]


def _all_ran(run: Path, finished: set[str]) -> tuple[bool, str, str]:
    """Whether each notebook that fits the data has finished; the run's log says which don't fit."""
    log = run / "log.txt"
    said = log.read_text(encoding="utf-8") if log.is_file() else ""
    unfit = set(re.findall(r"(0\d_\w+): skipped, ", said))
    missing = sorted(_shipped() - finished - unfit)
    detail = "not yet: " * bool(missing) + (", ".join(missing) or f"{len(finished)} notebooks")
    return not missing, "Every notebook that fits the data has run", detail


def _epoch_check(run: Path) -> list[tuple[bool, str, str]]:
    """Whether fits kept the epoch with the least loss on validation subjects; some do otherwise, to show that fault."""
    wrong, fits, faulty = [], 0, 0
    for file in sorted(run.glob("weights/*/history.csv")):
        history = pd.read_csv(file)
        if re.search("-(peek|published)-", file.parent.name):
            faulty += 1
        elif {"validation", "best"} <= set(history) and history["validation"].notna().any():
            fits += 1
            kept = history.loc[history["best"].astype(bool), "validation"]
            wrong += [] if len(kept) and kept.iloc[-1] == history["validation"].min() else [file.parent.name]
    detail = (
        f"{fits} fits; {faulty} more show a fault of evaluation on purpose" if not wrong else ", ".join(wrong)
    )
    return [(not wrong, "Every fit kept the epoch that validation subjects chose", detail)] if fits else []


def _control_check(run: Path, results: pd.DataFrame | None) -> tuple[bool, str, str]:
    """Whether each table that holds learned models holds what they are to be read beside."""
    lacking = []
    if results is not None:
        rows = results[results["subject"] != ""]
        for (dataset, protocol), part in rows.groupby(["dataset", "protocol"]):
            if part["model"].isin(LEARNED).any():
                lacking += [
                    f"{dataset}, {protocol}: {name}" for name in sorted(_CONTROLS - set(part["model"]))
                ]
    for name, (column, needed) in _BESIDE.items():
        table = _read(run, name)
        for dataset, part in table.groupby("dataset") if table is not None and len(table) else ():
            lacking += [f"{name}, {dataset}: {each}" for each in sorted(needed - set(part[column]))]
    detail = "lacking: " * bool(lacking) + "; ".join(lacking)
    return not lacking, "Every learned number has its controls beside it", detail


def _protocol_checks(results: pd.DataFrame) -> list[tuple[bool, str, str]]:
    rows = results[results["subject"] != ""]
    learned = rows[rows["model"].isin(LEARNED)]
    keys = ["dataset", "protocol", "model", "input", "seed"]
    twice = learned.duplicated([*keys, "subject", "event", "metric"])
    folds = learned.groupby([*keys, "subject"])["fold"].nunique()
    people = learned.groupby(keys)["subject"].nunique()
    uncovered = people[
        people < learned.groupby("dataset")["subject"].nunique().reindex(people.index, level="dataset")
    ]
    seeds = int(learned["seed"].nunique())
    everyone = bool(len(learned)) and not twice.any() and bool((folds == 1).all()) and uncovered.empty
    detail = f"{learned['subject'].nunique()} subjects, {learned['fold'].nunique()} folds"
    return [
        (everyone, "Every subject is tested once by every model, in one fold", detail),
        (seeds >= _SEEDS, f"Models were trained with {_SEEDS} seeds or more", f"{seeds}"),
    ]


def _shipped() -> set[str]:
    """Names of the notebooks of a run."""
    places = (PACKAGE.parent / "notebooks", PACKAGE / "notebooks_shipped")
    return {path.stem for place in places for path in place.glob("0[0-9]_*.ipynb")}


def _not_locked(made_with: dict[str, str] | None = None) -> list[str]:
    """Packages whose version isn't the lock's; nothing where there is no checkout to compare with."""
    lock = PACKAGE.parent / "requirements.lock"
    if not lock.is_file():
        return []
    pins = dict(
        line.split(" ;")[0].strip().split("==")
        for line in lock.read_text().splitlines()
        if "==" in line and line[0] != "#"
    )
    found = packages() if made_with is None else made_with
    return [
        f"{name} {version} (locked {pins[name]})"
        for name, version in found.items()
        if name in pins and version != pins[name]
    ]


def _card(card: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the face card: intervals as text, and the verdict of controls.sees."""

    out = []
    card = over_seeds(card[~card["model"].isin(CEILINGS)])
    # The context protocol first: only there a claim about faces stands.
    for (dataset, protocol), part in card.sort_values("protocol", kind="stable").groupby(
        ["dataset", "protocol"], sort=False
    ):
        for model, used in ordered(part):
            mine = part[(part["model"] == model) & (part["input"] == used)]
            found = {row["quantity"]: row for row in records(mine)}
            row = {q: answers.interval(found[q]) if q in found else "not asked" for q in QUANTITIES}
            about = {"dataset": dataset, "protocol": protocol, "name": label(model, used)}
            out.append({**about, **row, "verdict": controls.sees(found)})
    return out


def _tables(run: Path) -> list[dict[str, Any]]:
    """Tables as latex.py prints them: heads, rows of cells with what kind of row it is, and the files that hold them."""
    out = []
    for table in latex.tables(run):
        cells = latex.printed(table)
        kinds = table.rows["kind"] if "kind" in table.rows else [""] * len(cells)
        groups = table.rows[table.group].astype(str).tolist() if table.group else [""] * len(cells)
        rows = [
            {"kind": kind, "first": before not in (None, group), "cells": row}
            for row, kind, group, before in zip(
                cells.itertuples(index=False, name=None), kinds, groups, [None, *groups], strict=False
            )
        ]
        files = [
            suffix
            for suffix in ("csv", "tex", "json")
            if (run / "tables" / f"{table.name}.{suffix}").is_file()
        ]
        heads = [(head, column.digits is not None) for head, column in zip(cells, table.columns, strict=True)]
        about = {"name": table.name, "caption": table.caption, "results": table.results}
        out.append({**about, "heads": heads, "rows": rows, "files": files})
    return out


# Pixels of a figure a pixel of the page: two columns fill the page, one column half of it.
_SHARPNESS = 2.2
# Figures in the order of a paper, by how their names begin; others come last.
_ORDER = (
    *("fig0", "position", "prior", "agreement", "face_card", "amplitude", "curves", "intensity", "limits"),
    *("spotting",),
)


def _figures(run: Path) -> list[dict[str, Any]]:
    """Figures with their captions; a figure without all its files isn't finished."""
    out = []
    for sidecar in sorted(run.glob("figures/*.json")):
        files = [suffix for suffix in ("png", "pdf", "svg") if sidecar.with_suffix(f".{suffix}").is_file()]
        if "png" in files:
            with Image.open(sidecar.with_suffix(".png")) as image:
                width, height = (round(pixels / _SHARPNESS) for pixels in image.size)
            known = _json(sidecar)
            about = {k: known.get(k, "") for k in ("caption", "notebook")}
            results = {Path(name).stem for name in known.get("results", {})}
            of_page = {"name": sidecar.stem, "files": files, "width": width, "height": height}
            out.append({**of_page, **about, "results": results})
    place = {begin: number for number, begin in enumerate(_ORDER)}
    first = lambda name: min((n for begin, n in place.items() if name.startswith(begin)), default=len(place))  # noqa: E731
    return sorted(out, key=lambda figure: (first(figure["name"]), figure["name"]))


# What was made of more results than this doesn't belong to one question.
_FEW_RESULTS = 4


def _evidence(
    results: Sequence[str], pictures: list[dict[str, Any]], tables: list[dict[str, Any]]
) -> list[tuple[str, str]]:
    """Figures and tables of the page that were made of some of these results: label and anchor each."""
    out = []
    for what, made in (("figure", pictures), ("table", tables)):
        for number, each in enumerate(made, start=1):
            if set(each["results"]) & set(results) and len(each["results"]) <= _FEW_RESULTS:
                out.append((f"{what} {number}", f"{what}-{each['name']}"))
    return out


def _notebooks(run: Path) -> list[dict[str, str]]:
    return [
        {"name": page.stem, "page": f"../html/{page.name}", "executed": f"../notebooks/{page.stem}.ipynb"}
        for page in sorted(run.glob("html/*.html"))
        if (run / "notebooks" / f"{page.stem}.ipynb").is_file()
    ]


def _read(run: Path, name: str) -> pd.DataFrame | None:
    file = run / "results" / f"{name}.csv"
    return read_result(file) if file.is_file() else None


def _flat(record: dict[str, Any]) -> str:
    return ", ".join(f"{k} {' '.join(v) if isinstance(v, list) else v}" for k, v in record.items())


def _json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
