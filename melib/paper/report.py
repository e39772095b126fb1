"""One page that says what a run found, computed from its files.

    results/*.csv --melib.paper.answers--> verdicts, what speaks against us first --+
                  --melib.paper.latex--> tables                                   +-->  report/index.html
    figures/, notebooks/, html/, timing.json, environment.json -------------------+     links are relative: a run can move

No number on the page is typed: it is from a result, or from published.csv, which names its source. It holds those
pictures that were drawn from result tables: no other is sure to show no face.
"""

import base64
import json
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from melib.data import cache
from melib.data.machine import locked
from melib.errors import DataError
from melib.paper import answers, latex
from melib.study.provenance import configuration_checks, recorded
from melib.study.results import LEARNED, read_results, records

Check = tuple[bool, str, str]  # whether it holds, what, and what was there
Wrong = tuple[str, list[str], str]  # a sentence, what contradicts it, what was there

STANDINGS = {
    "against": "Speaks against us",
    "undecided": "Undecided",
    "for": "Speaks for us",
    "missing": "Not asked in this run",
}
# Tables of learned models: which column says what a row is, and what must be among it.
_BESIDE = {
    "intensity": (
        "model",
        {
            *("position_only", "constant_frame", "oracle_interval", "flow_magnitude"),
            *("shuffled_frames", "frozen_clip"),
        },
    ),
    "intensity_ablations": ("model", {"position_only", "flow_magnitude", "oracle_interval"}),
    "spotting": ("system", {"chance", "motion"}),
    "limits": ("kind", {"baseline", "ideal"}),
}
_SUBJECTS = 10  # a bootstrap over fewer doesn't say much
# Pixels of a figure a pixel of the page: two columns fill the page, one column half of it.
_SHARPNESS = 2.2
# Figures in the order of a paper, by how their names begin; others come last.
_ORDER = (
    "position",
    "prior",
    "agreement",
    "face_card",
    "amplitude",
    "curves",
    "intensity",
    "limits",
    "spotting",
)


def build(run: str | Path) -> Path:
    """Write the report of a run.

    Parameters
    ----------
    run : str or Path
        Folder of the run; what doesn't exist yet is left out and said to be missing.

    Returns
    -------
    Path
        ``report/index.html`` in that folder.

    Raises
    ------
    DataError
        If the folder doesn't exist.
    """
    run = Path(run)
    if not run.is_dir():
        raise DataError(f"{run} doesn't exist: name a run below runs/, or the path of one")
    loader = FileSystemLoader(Path(__file__).parent)
    blocks = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    try:
        tables, unset = _tables(run), ""
    except DataError as error:  # an older melib wrote a result: the page says which, and shows the rest
        tables, unset = [], str(error)
    pages = {file.stem for file in run.glob("html/*.html")}
    page = blocks.get_template("report.html.j2").render(
        name=run.resolve().name,
        settings=recorded(run),
        standings=STANDINGS,
        heads=answers.HEADS,
        verdicts=answers.verdicts(run),
        rules=answers.RULES.read_text(encoding="utf-8"),
        trainings=answers.TRAININGS,
        tables=tables,
        unset=unset,
        figures=_figures(run),
        steps=[
            (step, seconds, step in pages) for step, seconds in sorted(_json(run / "timing.json").items())
        ],
        failed=sorted(path.name.partition(".")[0] for path in run.glob("notebooks/*.failed.ipynb")),
        files=sorted(path.name for path in (run / "results").glob("*.csv")),
        environment=_json(run / "environment.json"),
        checklist=checklist(run),
    )
    index = run / "report" / "index.html"
    with cache.atomic(index) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return index


def verdict_rows(run: str | Path) -> list[tuple[str, ...]]:
    """Verdicts for a terminal, below `answers.HEADS`: what speaks against us first, what wasn't asked in one line.

    Parameters
    ----------
    run : str or Path
        Folder of the run.
    """
    rows: list[tuple[str, ...]] = []
    for standing, group in groupby(answers.verdicts(run), key=lambda verdict: verdict.standing):
        verdicts = list(group)
        if standing == "missing":
            rows.append((STANDINGS[standing].upper(), f"{len(verdicts)} questions, in the report", "", ""))
            continue
        rows.append((STANDINGS[standing].upper(), "", "", ""))
        rows += [(verdict.question, verdict.answer, verdict.effect, verdict.p) for verdict in verdicts]
    return rows


def _tables(run: Path) -> list[dict[str, Any]]:
    """Tables as latex.py prints them: heads, rows (kind, group, cells), the files that hold them."""
    out = []
    for table in latex.printable_tables(run):
        cells, rows = latex.printed(table), table.rows
        kinds = rows["kind"] if "kind" in rows else [""] * len(rows)
        groups = rows[table.group] if table.group else [""] * len(rows)
        about = {"name": table.name, "caption": table.caption, "heads": [*cells]}
        about["numbers"] = [n for n, column in enumerate(table.columns) if column.digits is not None]
        about["files"] = _files(run / "tables", table.name, "csv", "tex", "json")
        out.append({**about, "rows": [*zip(kinds, groups, cells.to_numpy().tolist(), strict=True)]})
    return out


def _figures(run: Path) -> list[dict[str, Any]]:
    """Figures with captions and files, and the pictures of those that were drawn from tables alone."""
    out = []
    for sidecar in run.glob("figures/*.json"):
        known, png = _json(sidecar), sidecar.with_suffix(".png")
        about = {"name": png.stem, "caption": known.get("caption", ""), "notebook": known.get("notebook", "")}
        about |= {"files": _files(png.parent, png.stem, "png", "pdf", "svg", "json"), "picture": ""}
        if known.get("from_results") and png.is_file():
            with Image.open(png) as image:
                about["width"], about["height"] = (round(pixels / _SHARPNESS) for pixels in image.size)
            about["picture"] = f"data:image/png;base64,{base64.b64encode(png.read_bytes()).decode()}"
        out.append(about)
    return sorted(out, key=lambda f: ([not f["name"].startswith(begin) for begin in _ORDER], f["name"]))


def _files(folder: Path, name: str, *suffixes: str) -> list[str]:
    """By which suffixes there are files of a name."""
    return [suffix for suffix in suffixes if (folder / f"{name}.{suffix}").is_file()]


def checklist(run: str | Path) -> list[Check]:
    """What may be claimed of a run and what makes it reproducible, each looked up in its files; what doesn't hold first."""
    run = Path(run)
    parts = (_claim_checks(run), _file_checks(run))
    checks = [
        (not wrong, sentence, ", ".join(wrong) or right) for part in parts for sentence, wrong, right in part
    ]
    return sorted([*checks, *configuration_checks(run)], key=lambda check: check[0])


def _claim_checks(run: Path) -> Iterator[Wrong]:
    """Whether data, budget and protocol allow a claim about faces."""
    settings = recorded(run)
    data, profile = settings.get("data", []), settings.get("profile", "not recorded")
    yield (
        "The movements are those of real faces",
        ["simulated"] if data == ["simulated"] else [],
        ", ".join(data),
    )
    yield "The profile is one that results are quoted of", [profile] * (profile == "smoke"), profile
    untestable = [
        f"{row['dataset']} not in the {row['protocol']} protocol: {row['reason']}"
        for rows in read_results(run, "untestable")
        for row in records(rows)
    ]
    yield "Every data set can be tested in every protocol", untestable, ""
    for rows in read_results(run, "intensity"):
        rows = rows[(rows["subject"] != "") & rows["model"].isin(LEARNED)]
        seeds, everybody = rows["seed"].nunique(), rows.groupby("dataset")["subject"].nunique()
        keys = ["dataset", "protocol", "model", "input", "seed"]
        wrong = [
            f"{dataset}, {protocol}: {model}, {used}"
            for (dataset, protocol, model, used, _), part in rows.groupby(keys, sort=False)
            if part["subject"].nunique() < everybody[dataset]
            or part.duplicated(["subject", "event", "metric"]).any()
            or part.groupby("subject")["fold"].nunique().max() > 1
        ]
        yield "Every subject is tested once by every model, in one fold", wrong, f"{everybody.sum()} subjects"
        yield (
            f"Models were trained {answers.TRAININGS} times or more",
            [f"{seeds}"] * (seeds < answers.TRAININGS),
            f"{seeds}",
        )
        few = [f"{name} has {count}" for name, count in everybody[everybody < _SUBJECTS].items()]
        yield f"Every data set has {_SUBJECTS} subjects or more", few, ""
    lacking = [
        f"{name} ({result}, {', '.join(place)})"
        for result, (column, needed) in _BESIDE.items()
        for rows in read_results(run, result)
        for place, part in rows.groupby([key for key in ("dataset", "protocol") if key in rows])
        for name in sorted(needed - {*part[column]})
    ]
    yield "Every learned number has its controls beside it", lacking, ""


def _file_checks(run: Path) -> Iterator[Wrong]:
    """Whether the run is whole, and results, figures and tables are of one making."""
    ran = {path.stem: _json(path) for path in sorted(run.glob("notebooks/*.json"))}
    failed = [path.name for path in run.glob("notebooks/*.failed.ipynb")]
    yield "Every notebook reached its end", failed or ["none has run"] * (not ran), ", ".join(ran)
    outputs = {name: known for record in ran.values() for name, known in record.get("outputs", {}).items()}
    changed = [
        name
        for name, known in outputs.items()
        if not (run / name).is_file() or cache.content_hash([run / name]) != known
    ]
    yield "Result files are those that the notebooks wrote", changed, f"{len(outputs)} files"
    now = {file.name: cache.content_hash([file]) for file in (run / "results").glob("*.csv")}
    made_with, pins = _json(run / "environment.json"), locked()
    code = str(made_with.get("commit", "unknown"))
    commits = {code}
    for folder in ("figures", "tables"):
        made = {path.stem: _json(path) for path in sorted(run.glob(f"{folder}/*.json"))}
        commits |= {str(record.get("commit")) for record in made.values()}
        stale = [
            name for name, record in made.items() if not record.get("results", {}).items() <= now.items()
        ]
        yield (
            f"All {folder} are of these results",
            stale or ["there is none"] * (not made),
            f"{len(made)} {folder}",
        )
    several = sorted(commits) if len(commits) > 1 or not re.fullmatch("[0-9a-f]{40}", code) else []
    yield "Results, figures and tables were made by one commit", several, code
    strays = [
        f"{name} {version} (locked {pins[name]})"
        for name, version in made_with.get("packages", {}).items()
        if pins.get(name, version) != version
    ]
    yield "Package versions are those of requirements.lock", strays, ""


def _json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
