"""The API reference is built from the docstrings, names every module, and none of its links is dead."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "melib").rglob("*.py")
    if not path.stem.startswith("_")
)
ROOMS = sorted(f"melib.{path.parent.name}" for path in (ROOT / "melib").glob("*/__init__.py"))


class Page(HTMLParser):
    """Links and anchors of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.links += [found["href"]] if found.get("href") else []
        self.anchors |= {found["id"]} if found.get("id") else set()


@pytest.mark.long
def test_the_reference_names_every_module_and_every_link_leads_somewhere(tmp_path):
    command = ["--docformat", "numpy", "--no-show-source", "--output-directory", str(tmp_path)]
    ended = subprocess.run(
        [sys.executable, "-m", "pdoc", *command, "melib", *ROOMS, *MODULES],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert ended.returncode == 0, ended.stderr
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in tmp_path.rglob("*.html")}
    assert {f"{name.replace('.', '/')}.html" for name in MODULES} <= {
        path.relative_to(tmp_path).as_posix() for path in pages
    }
    dead = []
    for path, page in pages.items():
        for link in page.links:
            if urlparse(link).scheme:
                continue
            place, anchor = urldefrag(link)
            target = (path.parent / place).resolve() if place else path
            target = target / "index.html" if target.is_dir() else target
            if target not in pages or (anchor and unquote(anchor) not in pages[target].anchors):
                dead.append(f"{path.relative_to(tmp_path)}: {link}")
    assert dead == []
