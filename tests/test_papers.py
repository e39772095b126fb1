"""Project papers say what is so: versions and licences agree, links and names lead somewhere, numbers are the code's.

A table whose header names its sources in backticks is checked cell by cell:

    | what it is | setting   | `melib.simulate.events` |      source: an object of melib (of a function: its defaults),
    |------------|-----------|-------------------------|              or a profile of melib/study/profiles.yml
    | strength   | `LOG_SD`  | 0.5                     |      cell: a Python literal, or - where there is no such setting
"""

import ast
import functools
import importlib
import inspect
import json
import re
import shlex
import tomllib
import types
from pathlib import Path

import pytest
import typer.main
import yaml
from test_readme import PAGES, understood

from melib import models
from melib.app import cli
from melib.study import run, spotting, spotting_runs
from melib.vision import flow

ROOT = Path(__file__).parents[1]
OURS = [ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
PAPERS = [
    *(ROOT / "README.md", *OURS, *sorted((ROOT / "data_manifests").rglob("*.md"))),
    *sorted([*(ROOT / "benchmarks").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]),
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
PROFILES = ("smoke", "demo", "paper")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def named(path):
    return str(path.relative_to(ROOT))


in_every_paper = pytest.mark.parametrize("path", PAPERS, ids=named)
# The pages of the README are run as written by tests/test_readme.py.
in_ours = pytest.mark.parametrize("path", [path for path in OURS if path.stem not in PAGES], ids=named)


def prose(path):
    """Text without fenced blocks; of a notebook, what stands between its code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells)
    return FENCE.sub("", text)


def spans(path):
    """What stands between backticks."""
    return re.findall(r"`([^`\n]+)`", prose(path))


# Versions, licences, links


def test_citation_changelog_and_package_have_one_version_and_one_licence():
    headings = re.findall(
        r"^## \[?(\d+(?:\.\d+)+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M
    )
    assert headings[0] == str(CITATION["version"]) == PROJECT["version"]
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8").split("\n", 1)[0]
    assert licence == f"{CITATION['license']} License" == f"{PROJECT['license']} License"


def anchor(heading):
    """What a heading is called in a link: lower case, spaces as hyphens, other marks left out."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@in_every_paper
def test_every_relative_link_leads_to_a_file_and_a_heading(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if re.match(r"https?://", target):
            continue
        place, _, heading = target.partition("#")
        file = (path.parent / place) if place else path
        assert file.exists(), f"{named(path)}: {target}"
        assert file.resolve().is_relative_to(ROOT), f"{named(path)}: {target} leaves the repository"
        headings = re.findall(r"^#+ (.*)$", prose(file), re.M) if heading else []
        assert not heading or heading in map(anchor, headings), f"{named(path)}: {target}"


# What a file says of the code


@in_every_paper
def test_every_name_of_melib_exists(path):
    for span in spans(path):
        for name in re.findall(r"\bmelib(?:\.[A-Za-z_]\w*)+", span):
            object_named(name)


@in_every_paper
def test_every_file_of_the_repository_exists(path):
    folders = "melib|tests|notebooks|benchmarks|data_manifests|docs"
    for span in spans(path):
        if re.fullmatch(rf"({folders})/[\w./-]*", span):
            assert list(ROOT.glob(span.rstrip("/") + "*")), f"{named(path)}: {span}"


@in_every_paper
def test_every_file_that_is_named_lies_here_or_is_one_that_the_code_writes(path):
    sources = [*(ROOT / "melib").rglob("*.py"), *(ROOT / "notebooks").glob("*.ipynb")]
    code = "\n".join(file.read_text(encoding="utf-8") for file in sources)
    here = {
        file.name for folder in ROOT.iterdir() if not_made(folder) for file in [folder, *folder.rglob("*")]
    }
    kinds = "csv|cff|html|ipynb|json|lock|md|mplstyle|py|safetensors|toml|txt|yml"
    for span in spans(path):
        if name := re.fullmatch(rf"(?:[\w.<>-]+/)*(\w[\w.-]*)\.({kinds})", span):
            written = rf'"(\w+/)*{re.escape(name[1])}(\.{name[2]}|\\?")'
            assert f"{name[1]}.{name[2]}" in here or re.search(written, code), f"{named(path)}: {span}"


def not_made(folder):
    """Whether it belongs to the repository, and isn't what tools and runs leave in a checkout."""
    return not folder.name.startswith(".") and folder.name not in (
        "runs",
        "data",
        "build",
        "dist",
        "predictions",
    )


@in_ours
def test_every_command_to_copy_is_understood(path):
    blocks = [
        block for language, block in FENCE.findall(path.read_text(encoding="utf-8")) if language == "sh"
    ]
    for line in "".join(blocks).splitlines():
        program, *words = shlex.split(line, comments=True)
        if program == "make":
            assert words[0] in TARGETS, line
        else:
            assert program == ".venv/bin/melib", line
            understood(typer.main.get_command(cli.app), words)


@pytest.mark.parametrize(
    "path", [*PAPERS, ROOT / "CITATION.cff", *sorted(ROOT.glob("data_manifests/*.yml"))], ids=named
)
def test_no_address_of_a_person(path):
    assert not re.findall(r"[\w.+-]+@[\w-]+\.\w+|mailto:", path.read_text(encoding="utf-8"))


# Tables that are the code's own numbers


def object_named(name):
    """The object that a dotted name means."""
    thing = importlib.import_module("melib")
    for k, part in enumerate(name.split(".")[1:], 2):
        if not hasattr(thing, part) and isinstance(thing, types.ModuleType):
            importlib.import_module(".".join(name.split(".")[:k]))
        thing = getattr(thing, part)
    return thing


def parameters(network):
    return sum(weights.numel() for weights in network.parameters())


def intensity_net(options):
    return models.IntensityNet(models.CHANNELS["flow"], options["fit"]["width"], options["fit"]["hidden"])


def video_regressor(options):
    size = {name: options["spotting"]["fit"][name] for name in ("width", "blocks")}
    kinds, body = len(spotting.KINDS), spotting_runs.OURS.body
    return models.VideoRegressor(flow.CHANNELS, spotting.NEUTRAL + 1, body=body, kinds=kinds, **size)


NETWORKS = {"IntensityNet": intensity_net, "VideoRegressor": video_regressor}


def value_of(source, key):
    """The value of a setting; LookupError where the source has none."""
    if source in PROFILES:
        options = run.profile_settings(source)
        if key in NETWORKS:
            return parameters(NETWORKS[key](options))
        return functools.reduce(
            lambda part, k: part[int(k) if isinstance(part, list) else k], key.split("."), options
        )
    thing = object_named(source)
    if inspect.isfunction(thing):
        return inspect.signature(thing).parameters[key].default
    if not hasattr(thing, key):
        raise LookupError(key)
    return getattr(thing, key)


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def stated(path):
    """(setting, source, cell) of every table whose header names sources."""
    for table in re.findall(r"(?:^\|.*\n)+", prose(path), re.M):
        header, _, *rows = map(cells, table.splitlines())
        sources = [(k, cell.strip("`")) for k, cell in enumerate(header) if re.fullmatch(r"`[\w.]+`", cell)]
        if "setting" in header and sources:
            for row in rows:
                for k, source in sources:
                    yield row[header.index("setting")].strip("`"), source, row[k]


STATED = [(named(path), *cell) for path in OURS for cell in stated(path)]


@pytest.mark.parametrize(("paper", "key", "source", "cell"), STATED, ids=lambda value: str(value)[:30])
def test_a_number_in_a_table_is_that_of_its_source(paper, key, source, cell):
    if cell == "-":
        with pytest.raises(LookupError):
            value_of(source, key)
    else:
        assert ast.literal_eval(cell) == value_of(source, key), f"{paper}: {source} {key} says otherwise"


def test_the_tables_of_model_card_and_data_sheet_are_among_them():
    sources = {(paper, source) for paper, _, source, _ in STATED}
    assert {("docs/model_card.md", profile) for profile in PROFILES} <= sources
    assert {
        ("docs/data_sheet.md", f"melib.simulate.{name}") for name in ("events", "portraits", "Nuisance")
    } <= sources


# Weights that come with the package


def test_the_model_card_says_of_the_shipped_weights_what_their_own_card_says():
    about = json.loads((ROOT / "melib" / "app" / "predictor" / "predictor.json").read_text(encoding="utf-8"))[
        "card"
    ]
    judged = [about, *about["controls"].values()]
    lines = [
        f"| peak of {rows[0]['group']} pixels of the crop, found of {rows[0]['events']} | "
        + " | ".join(str(row["found"]) for row in rows)
        for rows in zip(*(model["recall"] for model in judged), strict=True)
    ]
    scores = {"recall": ("recall", 2), "precision": ("precision", 2), "spotting F1": ("spotting_f1", 2)}
    for what, (name, digits) in {**scores, "false alarms an hour": ("fp_per_hour", 0)}.items():
        values = [[model["films"][name + side] for side in ("", "_low", "_high")] for model in judged]
        cells = ["{:.{n}f} [{:.{n}f}, {:.{n}f}]".format(*three, n=digits) for three in values]
        lines.append(f"| {what} | " + " | ".join(cells))
    for rows in zip(*(model.get("kinds", []) for model in judged), strict=True):
        what = f"false alarms an hour, {rows[0]['kind']}, in {rows[0]['minutes']:.0f} minutes"
        cells = ["{per_hour:.0f} [{per_hour_low:.0f}, {per_hour_high:.0f}]".format(**row) for row in rows]
        lines.append(f"| {what} | " + " | ".join(cells))
    alarms = [str(model["stills"]["with_an_interval"]) for model in judged]
    lines.append(
        f"| films in which nothing moves with an interval, of {about['stills']['films']} | "
        + " | ".join(alarms)
    )
    text = (ROOT / "docs" / "model_card.md").read_text(encoding="utf-8")
    assert [line for line in lines if f"{line} |" not in text] == []
