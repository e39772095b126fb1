"""The site: whose notebooks it shows, that no link is dead, and that a browser shows it from its files, on a phone too."""

import importlib.util
import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import nbformat
import pytest
import yaml
from test_browser import CHROMIUM, FRAME, browse, measured, probe

from melib import DataError

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("site_build", ROOT / "docs" / "site" / "build.py")
site_build = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(site_build)
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "melib").rglob("*.py")
    if not path.stem.startswith("_") and path.name != "cli.py"
)
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


def a_run(folder, names, data=("simulated",)):
    """A run whose notebooks say what they are, print, draw and show a bar."""
    (folder / "notebooks").mkdir(parents=True)
    settings = {"data": list(data), "profile": "smoke", "seed": 0}
    (folder / "configuration.yml").write_text(yaml.safe_dump(settings))
    (folder / "environment.json").write_text(json.dumps({"commit": "0" * 40, "device": "none"}))
    outputs = [
        nbformat.v4.new_output("stream", name="stderr", text="BAR\n"),
        nbformat.v4.new_output("display_data", {"image/png": DOT, "text/plain": "picture"}),
        nbformat.v4.new_output("display_data", {site_build._WIDGET: {}, "text/plain": "WIDGET"}),
    ]
    for name in names:
        book = nbformat.v4.new_notebook(metadata={"language_info": {"name": "python"}})
        book.cells = [
            nbformat.v4.new_markdown_cell(f"# {name}\n\n**Question.** Why $x^2$?\n\n$$y = x$$"),
            nbformat.v4.new_code_cell("run = '/home/me'", metadata={"tags": ["injected-parameters"]}),
            nbformat.v4.new_code_cell("draw()", outputs=outputs),
        ]
        nbformat.write(book, folder / "notebooks" / f"{name}.ipynb")
    return folder


NAMES = [path.stem for path in site_build.runner.find_notebooks(ROOT / "notebooks")]


@pytest.mark.parametrize("data", [["samm"], ["simulated", "casme2"], ["a_manifest_of_my_own"]])
def test_no_site_is_made_of_a_run_whose_faces_may_not_be_shown(tmp_path, data):
    run = a_run(tmp_path / "run", NAMES, data)
    with pytest.raises(DataError, match=r"licensed data.*no site is made of it"):
        site_build.chosen(str(run))
    assert site_build.newest(tmp_path) is None


def test_the_newest_is_the_last_finished_run_that_everybody_may_see(tmp_path):
    assert site_build.newest(tmp_path / "none") is None
    runs = [a_run(tmp_path / name, NAMES) for name in ("old", "new")]
    a_run(tmp_path / "begun", NAMES[:2])
    for second, run in enumerate(runs):
        os.utime(run / "environment.json", (second, second))
    assert site_build.newest(tmp_path) == tmp_path / "new"
    (tmp_path / "new" / "notebooks" / "04_x.failed.ipynb").write_text("{}")
    assert site_build.newest(tmp_path) == tmp_path / "old"


@pytest.fixture(scope="module")
def gathered(tmp_path_factory):
    place = tmp_path_factory.mktemp("gathered")
    site_build.gather(a_run(place / "run", NAMES[:3]), place / "source")
    return place / "source"


def test_notebooks_are_executed_where_the_run_has_them_and_nothing_lives_in_a_kernel(gathered):
    page = (gathered / "notebooks" / "index.md").read_text()
    assert page.count("*Without outputs.*") == len(NAMES) - 3 + 1  # 90_explore
    assert "run `run`: profile `smoke`" in page
    book = nbformat.read(gathered / "notebooks" / f"{NAMES[0]}.ipynb", as_version=4)
    assert "remove-cell" in book.cells[1].metadata["tags"]
    assert [output["output_type"] for output in book.cells[2].outputs] == ["stream", "display_data"]


def test_every_page_of_the_repository_and_every_module_is_in_the_contents(gathered):
    pages = {path.relative_to(gathered).with_suffix("").as_posix() for path in gathered.rglob("*.md")}
    contents = set((gathered / "index.md").read_text().split("{toctree}", 1)[1].splitlines())
    assert pages - {"index"} <= contents
    assert {f"docs/{path.stem}" for path in (ROOT / "docs").glob("*.md")} <= contents
    listed = (gathered / "api" / "index.md").read_text().splitlines()
    assert set(MODULES) <= set(listed)


# The built site


class Page(HTMLParser):
    """Links, pictures and anchors of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.links += [(tag, values[name]) for name in ("href", "src") if values.get(name)]
        self.anchors |= {values["id"]} if values.get("id") else set()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("sphinx_book_theme", reason="`make docs` installs Sphinx")
    place = tmp_path_factory.mktemp("site")
    return site_build.build(a_run(place / "run", NAMES[:3]), place).parent


@pytest.mark.long
def test_every_link_and_picture_of_the_site_leads_somewhere_and_no_page_fetches_anything(site):
    # Below _static lie the theme's templates.
    built = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in built}
    dead, fetched = [], []
    for path, page in pages.items():
        for tag, link in page.links:
            if urlparse(link).scheme or link.startswith("//"):
                fetched += [link] if tag != "a" and not link.startswith("data:") else []
                continue
            place, anchor = urldefrag(link.split("?")[0] if "#" not in link else link)
            target = (path.parent / unquote(place)).resolve() if place else path
            lost = anchor and target in pages and unquote(anchor) not in pages[target].anchors
            dead += [f"{path.relative_to(site)}: {link}"] if lost or not target.exists() else []
    assert {f"api/{name}.html" for name in MODULES} <= {path.relative_to(site).as_posix() for path in pages}
    assert dead == fetched == []


# All pages of a part side by side, each as broad as a phone; only a browser knows whether something sticks out.
LOOK = """
  return [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement;
    return {page: frame.getAttribute("src"), overflow: root.scrollWidth - root.clientWidth, width: root.clientWidth,
            broken: [...page.images].filter(image => !image.complete || !image.naturalWidth).map(image => image.src)};
  });
"""
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH: apt-get install chromium")
# Nothing is reached, so that whatever a page would fetch is an error in its console; files may look into files.
OFFLINE = ("--host-resolver-rules=MAP * ~NOTFOUND", "--allow-file-access-from-files")


def faults(ended):
    """Lines of the console that aren't the theme's chatter."""
    return [line for line in ended.stderr.splitlines() if "CONSOLE" in line and "INFO:CONSOLE" not in line]


@pytest.mark.browser
@needs_browser
def test_every_page_fits_a_phone_from_its_file_without_an_error(site, tmp_path):
    pages = sorted(
        path.relative_to(site).as_posix() for path in site.rglob("*.html") if "_static" not in path.parts
    )
    assert len(pages) > len(MODULES)
    wrong = []
    for first in range(0, len(pages), 16):
        frames = [FRAME.format(page=page, width=390) for page in pages[first : first + 16]]
        (site / "frames.html").write_text(probe(LOOK, frames))
        ended = browse(tmp_path, (site / "frames.html").as_uri(), *OFFLINE, "--dump-dom")
        layouts = measured(ended)
        assert [layout["width"] for layout in layouts] == [390] * len(layouts)
        wrong += [layout for layout in layouts if layout["overflow"] > 0 or layout["broken"]] + faults(ended)
    (site / "frames.html").unlink()
    assert wrong == []


@pytest.mark.browser
@needs_browser
def test_equations_are_drawn_and_words_are_found_offline(site, tmp_path):
    shown = (*OFFLINE, "--virtual-time-budget=9000", "--dump-dom")
    book = browse(tmp_path, (site / "notebooks" / f"{NAMES[0]}.html").as_uri(), *shown)
    assert book.stdout.count("<mjx-container") >= 2
    assert "WIDGET" not in book.stdout and "BAR" not in book.stdout and "/home/me" not in book.stdout
    search = f"{(site / 'search.html').as_uri()}?q=triangular"
    hits = browse(tmp_path, search, *shown)
    assert "api/melib.priors.html" in hits.stdout
    assert faults(book) == faults(hits) == []


@pytest.mark.long
def test_a_fault_ends_the_build_in_one_sentence(tmp_path, monkeypatch):
    text = site_build._linked(
        "README.md", "[words](LICENSE) and [more](docs/runs.md)", {"docs/runs.md"}, tmp_path
    )
    assert text == "{download}`words <LICENSE>` and [more](docs/runs.md)"
    with pytest.raises(DataError, match=r"README.md links to nowhere.md, which isn't there"):
        site_build._linked("README.md", "[words](nowhere.md)", set(), tmp_path)
    ended = subprocess.run(
        [sys.executable, ROOT / "docs" / "site" / "build.py", str(tmp_path)], capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("docs: ") and "Traceback" not in ended.stderr
