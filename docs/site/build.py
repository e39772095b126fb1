"""The site: README, the pages of docs/, the executed notebooks of a run and the API, as html that works from its files.

    .venv/bin/python docs/site/build.py [RUN]      `make docs RUN=...`

    README.md, docs/*.md, ...  --+
    runs/<name>/notebooks/*.ipynb  -->  build/site-source/  --sphinx-->  build/site/index.html
    docstrings, melib --help   --+

build/site-source/ mirrors the repository, so that links between pages are those of the repository. What a page links to and
no page is (a licence, a csv) is copied along, and downloaded. A run that holds licensed data is refused: its notebooks
may show what only their owner may see.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import typer.main
from typer.testing import CliRunner

from melib import PACKAGE
from melib.app import cli, runner
from melib.data import manifest
from melib.errors import DataError
from melib.study.provenance import read_configuration

ROOT = Path(__file__).parents[2]
_WIDGET = (
    "application/vnd.jupyter.widget-view+json"  # a progress bar or a panel, which lives in a kernel only
)
# Pages of the repository by the heading of the site's contents that they stand under.
PAGES = {
    "Use it": [
        "docs/runs",
        "docs/licensed_data",
        "docs/audit",
        "docs/exchange",
        "docs/sharing",
        "docs/troubleshooting",
    ],
    "What it finds": ["docs/results", "docs/model_card", "docs/data_sheet", "docs/ethics"],
    "Reference": ["commands", "api/index", "data_manifests/README", "tests/conformance/README", "CHANGELOG"],
}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def may_be_shown(run: Path) -> bool:
    """Whether everybody may see what a run made: simulated data, or data sets all of whose faces may be shown."""
    try:
        names = read_configuration(run)["data"]
        return names == ["simulated"] or not any(
            manifest.licensed(manifest.read_manifest(name)) for name in names
        )
    except (DataError, KeyError):  # a manifest of one's own, elsewhere: nobody knows what it allows
        return False


def newest(runs: Path) -> Path | None:
    """The run that finished last of those that everybody may see and that executed every notebook; None without any."""
    names = [path.name for path in runner.find_notebooks()]
    finished = [
        run
        for run in (runs.iterdir() if runs.is_dir() else ())
        if all((run / "notebooks" / name).is_file() for name in names)
        and not list((run / "notebooks").glob("*.failed.ipynb"))
        and (run / "environment.json").is_file()
        and may_be_shown(run)
    ]
    return max(finished, key=lambda run: (run / "environment.json").stat().st_mtime, default=None)


def chosen(name: str) -> Path | None:
    """Folder of the run to show: the named one, or the newest.

    Raises
    ------
    DataError
        If the named one isn't a run, or holds what not everybody may see.
    """
    if not name:
        return newest(ROOT / "runs")
    run = runner.locate(name, ROOT / "runs")
    read_configuration(run)
    if not may_be_shown(run):
        raise DataError(
            f"{run} was made of licensed data, whose faces and annotations aren't for everybody: no site is made of it; "
            "name a run on simulated data, or none."
        )
    return run


def gather(run: Path | None, source: Path) -> None:
    """Lay out everything that Sphinx reads below ``source``."""
    shutil.rmtree(source, ignore_errors=True)
    benchmarks = [f"benchmarks/{path.stem}" for path in sorted((ROOT / "benchmarks").glob("*.md"))]
    made = _notebooks(run, source)
    _write(source / "api" / "index.md", _api(source))
    _write(source / "commands.md", _commands())
    written = {"api/index", "commands"}
    copied = [page for pages in PAGES.values() for page in pages if page not in written]
    listed = {name for page in [*copied, *benchmarks] for name in [f"{page}.md"]}
    unlisted = [
        path.relative_to(ROOT).as_posix()
        for path in (*(ROOT / "docs").glob("*.md"), *(ROOT / "data_manifests").rglob("*.md"))
        if path.relative_to(ROOT).as_posix() not in listed
    ]
    pages = {*listed, *unlisted, "README.md"}
    contents = {
        "Notebooks": ["notebooks/index", *made],
        **PAGES,
        "Further pages": [page.removesuffix(".md") for page in sorted(unlisted)],
        "Measured": benchmarks,
    }
    trees = "".join(_tree(title, names) for title, names in contents.items() if names)
    for page in sorted(pages):
        text = _linked(page, (ROOT / page).read_text(encoding="utf-8"), pages, source)
        is_first = page == "README.md"
        _write(source / ("index.md" if is_first else page), text + (trees if is_first else ""))


def _linked(page: str, text: str, pages: set[str], source: Path) -> str:
    """The text of a page whose links lead to pages of the site; what else of the repository is linked is copied along."""

    def link(found: re.Match) -> str:
        picture, words, target, anchor = found.groups()
        if "://" in target or target.startswith("mailto:"):
            return found[0]
        place = ((ROOT / page).parent / target).resolve()
        if not place.is_relative_to(ROOT) or not place.exists():
            raise DataError(f"{page} links to {target}, which isn't there; mend the link.")
        name = place.relative_to(ROOT).as_posix()
        if name == "README.md":
            root = "../" * page.count("/")
            return f"[{words}]({root}index.md{anchor or ''})"
        if name in pages:
            return found[0]
        if place.is_dir():
            return words
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place, source / name)
        return found[0] if picture else f"{{download}}`{words} <{target}>`"

    parts, end = [], 0
    for fence in _FENCE.finditer(text):  # code is code
        parts += [_LINK.sub(link, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(link, text[end:])])


def _notebooks(run: Path | None, folder: Path) -> list[str]:
    """Copy the notebooks, executed where the run has them, and write their page; names as in the contents."""
    rows, names = [], []
    for source in [*runner.find_notebooks(ROOT / "notebooks"), ROOT / "notebooks" / "90_explore.ipynb"]:
        executed = run / "notebooks" / source.name if run is not None else source
        is_executed = run is not None and executed.is_file()
        notebook = nbformat.read(executed if is_executed else source, as_version=4)
        question = re.search(r"\*\*Question\.\*\* (.*?)\n\n", notebook.cells[0].source, re.DOTALL)
        for cell in notebook.cells:
            if "injected-parameters" in cell.metadata.get("tags", []):  # folders of one machine
                cell.metadata["tags"] = ["injected-parameters", "remove-cell"]
            if cell.cell_type == "code":
                cell.outputs = [output for output in cell.outputs if _WIDGET not in output.get("data", {})]
        _write(folder / "notebooks" / source.name, nbformat.writes(notebook))
        names.append(f"notebooks/{source.stem}")
        asked = " ".join(question[1].split()) if question else ""
        asked += "" if is_executed else " *Without outputs.*"
        rows.append(f"| [{source.stem}]({source.name}) | {asked} |")
    table = "\n".join(["| notebook | question |", "|---|---|", *rows])
    _write(folder / "notebooks" / "index.md", f"# The notebooks\n\n{_origin(run)}\n\n{table}\n")
    return names


def _origin(run: Path | None) -> str:
    """Which run the outputs are of, and whose faces they show."""
    if run is None:
        return (
            "No finished run was found when this site was made, so the notebooks stand here without outputs. "
            "`make reproduce`, or `make reproduce PROFILE=smoke` in minutes, makes one; `make docs` then shows it."
        )
    settings = read_configuration(run)
    made = _json(run / "environment.json")
    kept = " At profile `smoke` everything is small: its numbers say that the parts fit, and nothing else."
    return (
        f"Outputs are those of the run `{run.name}`: profile `{settings['profile']}`, seed {settings['seed']}, "
        f"commit `{made.get('commit', 'unknown')[:7]}`, {made.get('device', 'device unknown')}."
        f"{kept if settings['profile'] == 'smoke' else ''} Faces are simulated on photographs of the ORL set, with "
        "thanks to AT&T Laboratories Cambridge. A notebook that isn't part of a run, or wasn't in this one, stands here "
        "without outputs."
    )


def _api(folder: Path) -> str:
    """A page a module, below one page of all, in the order of the house; both written from the package's folders."""
    hidden = ("melib.__main__", "melib.app.cli")  # cli: see the page of commands
    rooms: dict[str, list[str]] = {"melib": []}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        if not parts[-1].removesuffix("__init__").startswith("_") and name not in hidden:
            page = f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n   :members:\n"
            _write(folder / "api" / f"{name}.rst", page)
            room = name if parts[-1] == "__init__" else name.rpartition(".")[0]
            rooms.setdefault(room, []).append(name)
    trees = [_tree(room, sorted(names), hidden=False) for room, names in rooms.items()]
    return "# API\n\nFrom the docstrings: every module, the papers' own first.\n\n" + "\n".join(trees)


def _commands() -> str:
    """The help of every command, as it is printed."""

    def below(command: Any, *words: str) -> list[list[str]]:
        inner = getattr(command, "commands", {})
        return [each for name, one in inner.items() for each in below(one, *words, name)] or [list(words)]

    parts = ["# Commands\n\nWhat `melib COMMAND --help` prints.\n"]
    environment = {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb"}
    for words in below(typer.main.get_command(cli.app)):
        said = CliRunner().invoke(cli.app, [*words, "--help"], env=environment, prog_name="melib").output
        parts.append(f"## melib {' '.join(words)}\n\n```text\n{said.strip()}\n```\n")
    return "\n".join(parts)


def _tree(title: str, names: list[str], hidden: bool = True) -> str:
    options = f":caption: {title}\n:maxdepth: 1\n" + (":hidden:\n" if hidden else "")
    return f"\n```{{toctree}}\n{options}\n" + "\n".join(names) + "\n```\n"


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def build(run: Path | None, place: Path) -> Path:
    """Gather and build below ``place``; a warning of Sphinx is an error. Returns the first page."""
    source, site = place / "site-source", place / "site"
    gather(run, source)
    shutil.rmtree(site, ignore_errors=True)
    sphinx = [
        sys.executable,
        "-m",
        "sphinx",
        "--builder",
        "html",
        "--fail-on-warning",
        "--keep-going",
        "--quiet",
    ]
    places = ["--conf-dir", Path(__file__).parent, "--doctree-dir", place / "site-doctrees", source, site]
    if subprocess.run([*sphinx, *places]).returncode:
        raise DataError("the site has faults, which stand above")
    return site / "index.html"


def main() -> None:
    """Build build/site/ with the notebooks of the named run, or of the newest."""
    try:
        run = chosen(sys.argv[1] if len(sys.argv) > 1 else "")
        index = build(run, ROOT / "build")
    except DataError as error:
        raise SystemExit(f"docs: {error}") from None
    print(f"notebooks of {run}" if run else "no finished run was found: the notebooks have no outputs")
    print(index)


if __name__ == "__main__":
    main()
