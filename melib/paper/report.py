"""One page that says what a run found, computed from its files.

    results/*.csv --melib.paper.answers--> verdicts, what speaks against us first --+
                  --melib.paper.latex--> tables                                   +-->  report/index.html
    figures/, notebooks/, html/, timing.json, environment.json -------------------+     links are relative: a run can move

No number on the page is typed: it is from a result, or from published.csv, which names its source. It holds those
pictures that were drawn from result tables: no other is sure to show no face.
"""

import base64
import io
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from melib import PACKAGE
from melib.data import cache
from melib.data.machine import locked
from melib.errors import DataError
from melib.paper import answers, latex
from melib.study.provenance import configuration_checks, recorded
from melib.study.results import LEARNED, read_results, records

Check = tuple[bool, str, str]  # whether it holds, what, and what was there

STANDINGS = {
    "against": "Speaks against us",
    "undecided": "Undecided",
    "for": "Speaks for us",
    "missing": "Not asked in this run",
}
_CONTROLS = {
    *("position_only", "constant_frame", "oracle_interval", "flow_magnitude", "shuffled_frames"),
    "frozen_clip",
}
# With fewer, an interval says nothing of training anew; nor does a bootstrap over fewer subjects say much.
_SEEDS, _SUBJECTS = 3, 10
# Other tables of learned models: which column says what a row is, and what must be among it.
_BESIDE = {
    "intensity_ablations": ("model", {"position_only", "flow_magnitude", "oracle_interval"}),
    "spotting": ("system", {"chance", "motion"}),
    "limits": ("kind", {"baseline", "ideal"}),
}
_PROFILES = {
    "smoke": ": it only shows that the parts fit together, none of its numbers means anything",
    "demo": ": smaller networks, trained for less time",
}
# Pixels of a figure a pixel of the page: two columns fill the page, one column half of it.
_SHARPNESS = 2.2
# Figures in the order of a paper, by how their names begin; others come last.
_ORDER = (
    *("fig0", "position", "prior", "agreement", "face_card", "amplitude", "curves", "intensity", "limits"),
    "spotting",
)


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
    try:
        tables, unset = _tables(run), ""
    except DataError as error:  # an older melib wrote a result: the page says which, and shows the rest
        tables, unset = [], str(error)
    page = template.render(
        name=run.resolve().name,
        settings=recorded(run),
        standings=STANDINGS,
        heads=answers.HEADS,
        verdicts=answers.verdicts(run),
        rules=answers.RULES.read_text(encoding="utf-8"),
        data=_data(run),
        tables=tables,
        unset=unset,
        figures=_figures(run),
        steps=_steps(run),
        failed=sorted(path.name.partition(".")[0] for path in run.glob("notebooks/*.failed.ipynb")),
        files=sorted(path.name for path in (run / "results").glob("*.csv")),
        environment=_json(run / "environment.json"),
        checklist=checklist(run),
    )
    index = run / "report" / "index.html"
    with cache.atomic(index) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return index


def table(run: str | Path) -> str:
    """The verdicts as text for a terminal, what speaks against us first.

    Parameters
    ----------
    run : str or Path
        Folder of the run.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    grid = Table(title="Does the model see the face?", box=box.SIMPLE_HEAD, title_justify="left")
    for head, width in zip(answers.HEADS, (40, 9, 40, 8), strict=True):
        grid.add_column(head, width=width)
    for standing, verdicts in groupby(answers.verdicts(run), key=lambda verdict: verdict.standing):
        grid.add_row(STANDINGS[standing].upper())
        for verdict in verdicts:
            grid.add_row(verdict.question, verdict.answer, verdict.effect or verdict.about, verdict.p)
        grid.add_section()
    text = io.StringIO()
    Console(file=text, width=110).print(grid, markup=False)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


# ---- parts of the page ------------------------------------------------------------------------------------------------


def _data(run: Path) -> pd.DataFrame:
    """What each data set was: a row each, counts as text."""
    facts: dict[str, dict[str, str]] = defaultdict(dict)
    for table in read_results(run, "events"):
        used = table[(table["kind"] == "micro") & (table["status"] != "dropped")]
        for name, part in used.groupby("dataset", sort=False):
            facts[str(name)] |= {
                "micro-expressions": f"{len(part)}",
                "subjects": f"{part['subject'].nunique()}",
            }
    for table in read_results(run, "intensity"):
        for name, part in table[table["model"].isin(LEARNED)].groupby("dataset", sort=False):
            folds, seeds = part.loc[part["subject"] != "", "fold"].nunique(), part["seed"].nunique()
            facts[str(name)] |= {"folds of subjects": f"{folds}", "training seeds": f"{seeds}"}
            facts[str(name)] |= {
                column: ", ".join(sorted(set(part[column]))) for column in ("protocol", "input")
            }
    for table in read_results(run, "spotting"):
        for row in records(table[table["rule"] == "strict"].drop_duplicates("dataset")):
            events = f"{row['tp'] + row['fn']:.0f}"
            about = {"micro-expressions": events, "long videos": f"{row['videos']:.0f}"}
            facts[row["dataset"]] |= about | {"minutes": f"{row['minutes']:.0f}"}
    return pd.DataFrame.from_dict(facts, orient="index").fillna("").rename_axis("data set").reset_index()


def _steps(run: Path) -> list[tuple[str, str, bool]]:
    """Notebooks that have reached their end and other steps that were timed: name, seconds, whether it is a notebook."""
    pages, timing = {file.stem for file in run.glob("html/*.html")}, _json(run / "timing.json")
    return [
        (step, f"{timing[step]:.1f}" if step in timing else "", step in pages)
        for step in sorted(pages | {*timing})
    ]


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
    for png in (file for file in run.glob("figures/*.png") if file.with_suffix(".json").is_file()):
        known = _json(png.with_suffix(".json"))
        about: dict[str, Any] = {key: known.get(key, "") for key in ("caption", "notebook")}
        about |= {"name": png.stem, "picture": ""}
        about["files"] = _files(png.parent, png.stem, "png", "pdf", "svg", "json")
        if known.get("from_results"):
            with Image.open(png) as image:
                about["width"], about["height"] = (round(pixels / _SHARPNESS) for pixels in image.size)
            about["picture"] = f"data:image/png;base64,{base64.b64encode(png.read_bytes()).decode()}"
        out.append(about)
    place = lambda name: ([not name.startswith(begin) for begin in _ORDER], name)  # noqa: E731
    return sorted(out, key=lambda figure: place(figure["name"]))


def _files(folder: Path, name: str, *suffixes: str) -> list[str]:
    """By which suffixes there are files of a name."""
    return [suffix for suffix in suffixes if (folder / f"{name}.{suffix}").is_file()]


# ---- checklist --------------------------------------------------------------------------------------------------------


def checklist(run: str | Path) -> list[Check]:
    """What may be claimed of a run and what makes it reproducible, each looked up in its files; what doesn't hold first."""
    run = Path(run)
    made_with, pins = _json(run / "environment.json"), locked()
    code = str(made_with.get("commit", "unknown"))
    strays = [
        f"{name} {version} (locked {pins[name]})"
        for name, version in made_with.get("packages", {}).items()
        if pins.get(name, version) != version
    ]
    checks = [
        *_claim_checks(run),
        *_notebook_checks(run),
        (bool(re.fullmatch("[0-9a-f]{40}", code)), "The code that ran is a commit", code),
        _check("Package versions are those of requirements.lock", strays),
        *configuration_checks(run),
        *(check for table in read_results(run, "intensity") for check in _protocol_checks(table)),
        _control_check(run),
        *_epoch_check(run),
        *_origin_checks(run, code),
    ]
    return sorted(checks, key=lambda check: check[0])


def _check(sentence: str, wrong: Sequence[str], right: str = "") -> Check:
    """A check that names what is wrong."""
    return not wrong, sentence, ", ".join(wrong) or right


def _claim_checks(run: Path) -> list[Check]:
    """Whether data and budget allow a claim about faces."""
    settings = recorded(run)
    data, profile = settings.get("data", ["not recorded"]), settings.get("profile", "not recorded")
    untestable = [
        f"{row['dataset']} not in the {row['protocol']} protocol: {row['reason']}"
        for table in read_results(run, "untestable")
        for row in records(table)
    ]
    return [
        (bool(settings), "Profile, seed and data are recorded", json.dumps(settings)),
        (bool(settings) and data != ["simulated"], "The movements are those of real faces", ", ".join(data)),
        (profile == "paper", "The profile is paper", f"{profile}{_PROFILES.get(profile, '')}"),
        _check("Every data set can be tested in every protocol", untestable),
    ]


def _notebook_checks(run: Path) -> list[Check]:
    """Whether all notebooks that fit the data have run to their end, and their results are untouched since."""
    ran = {path.stem: _json(path) for path in sorted(run.glob("notebooks/*.json"))}
    failed = [path.name for path in run.glob("notebooks/*.failed.ipynb")]
    outputs = {name: known for record in ran.values() for name, known in record.get("outputs", {}).items()}
    changed = [
        name
        for name, known in outputs.items()
        if not (run / name).is_file() or cache.content_hash([run / name]) != known
    ]
    # The run's log says which don't fit.
    log = run / "log.txt"
    unfit = re.findall(r"(0\d_\w+): skipped, ", log.read_text(encoding="utf-8") if log.is_file() else "")
    missing = sorted(_shipped() - set(ran) - set(unfit))
    return [
        _check("Every notebook reached its end", failed or ["none has run"] * (not ran), ", ".join(ran)),
        _check("Every notebook that fits the data has run", missing, f"{len(ran)} notebooks"),
        _check("Result files are those that the notebooks wrote", changed, f"{len(outputs)} files"),
    ]


def _protocol_checks(intensity: pd.DataFrame) -> list[Check]:
    """Whether every model was tested on every subject once, and on what an interval can be believed of."""
    rows = intensity[(intensity["subject"] != "") & intensity["model"].isin(LEARNED)]
    keys = ["dataset", "protocol", "model", "input", "seed"]
    twice = rows.duplicated([*keys, "subject", "event", "metric"]).any()
    folds = rows.groupby([*keys, "subject"])["fold"].nunique()
    people = rows.groupby(keys)["subject"].nunique()
    everybody = rows.groupby("dataset")["subject"].nunique()
    all_tested = (people == everybody.reindex(people.index, level="dataset")).all()
    once = len(rows) > 0 and not twice and (folds == 1).all() and all_tested
    peaks = rows.groupby("dataset")["peak_px"].count()
    seeds = rows["seed"].nunique()
    few = [f"{name} has {n}" for name, n in everybody[everybody < _SUBJECTS].items()]
    detail = f"{rows['subject'].nunique()} subjects, {rows['fold'].nunique()} folds"
    return [
        (bool(once), "Every subject is tested once by every model, in one fold", detail),
        (seeds >= _SEEDS, f"Models were trained with {_SEEDS} seeds or more", f"{seeds}"),
        _check(f"Every data set has {_SUBJECTS} subjects or more", few),
        _check("The true intensity is known", [f"of {name} by nobody" for name in peaks[peaks == 0].index]),
    ]


def _control_check(run: Path) -> Check:
    """Whether each table that holds learned models holds what they are to be read beside."""
    lacking = []
    for table in read_results(run, "intensity"):
        for (dataset, protocol), part in table[table["subject"] != ""].groupby(["dataset", "protocol"]):
            needed = _CONTROLS if part["model"].isin(LEARNED).any() else set()
            lacking += [f"{name} ({dataset}, {protocol})" for name in sorted(needed - set(part["model"]))]
    for result, (column, needed) in _BESIDE.items():
        for table in read_results(run, result):
            for dataset, part in table.groupby("dataset"):
                lacking += [f"{name} ({result}, {dataset})" for name in sorted(needed - set(part[column]))]
    return _check("Every learned number has its controls beside it", lacking)


def _epoch_check(run: Path) -> list[Check]:
    """Whether fits kept the epoch with the least loss on validation subjects; some do otherwise, to show that fault."""
    histories = {file.parent.name: pd.read_csv(file) for file in sorted(run.glob("weights/*/history.csv"))}
    faulty = [name for name in histories if re.search("-(peek|published)-", name)]
    fits = {
        name: history
        for name, history in histories.items()
        if name not in faulty and {"validation", "best"} <= {*history} and history["validation"].notna().any()
    }
    wrong = [
        name
        for name, history in fits.items()
        if [*history.loc[history["best"].astype(bool), "validation"]][-1:] != [history["validation"].min()]
    ]
    detail = f"{len(fits)} fits; {len(faulty)} more show a fault of evaluation on purpose"
    return [_check("Every fit kept the epoch that validation subjects chose", wrong, detail)] if fits else []


def _origin_checks(run: Path, code: str) -> list[Check]:
    """Whether figures and tables were made of the results that are there, all by one commit."""
    now = {file.name: cache.content_hash([file]) for file in (run / "results").glob("*.csv")}
    out, commits = [], {code}
    for what, verb in (("figure", "drawn"), ("table", "written")):
        made = {path.stem: _json(path) for path in sorted(run.glob(f"{what}s/*.json"))}
        commits |= {str(record.get("commit")) for record in made.values()}
        # A notebook that ran later may have added tables; those that a figure saw must be the same.
        stale = [
            name for name, record in made.items() if not record.get("results", {}).items() <= now.items()
        ]
        wrong = stale or ["there is none"] * (not made)
        out.append(_check(f"Every {what} was {verb} from these results", wrong, f"{len(made)} {what}s"))
    detail = ", ".join(sorted(name[:12] for name in commits))
    return [*out, (len(commits) == 1, "Results, figures and tables were made by one commit", detail)]


def _shipped() -> set[str]:
    """Names of the notebooks of a run."""
    places = (PACKAGE.parent / "notebooks", PACKAGE / "notebooks_shipped")
    return {path.stem for place in places for path in place.glob("0[0-9]_*.ipynb")}


def _json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
