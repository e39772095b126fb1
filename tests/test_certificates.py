"""What others read of the project: citation, archive, code check and data description agree, and are true of the code."""

import json
import tomllib
from pathlib import Path

import yaml

from melib import simulate
from melib.app import runner
from melib.data import manifest

ROOT = Path(__file__).parents[1]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ARCHIVE = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
CHECK = yaml.safe_load((ROOT / "codecheck.yml").read_text(encoding="utf-8"))
CROISSANT = json.loads((ROOT / "data_manifests" / "synthme.croissant.json").read_text(encoding="utf-8"))


def names(authors):
    return [author.get("name") or f"{author['family-names']}, {author['given-names']}" for author in authors]


def test_archive_citation_and_package_agree():
    assert ARCHIVE["title"] == CITATION["title"]
    assert ARCHIVE["version"] == CITATION["version"] == PROJECT["version"]
    assert ARCHIVE["license"] == CITATION["license"] == PROJECT["license"]
    assert ARCHIVE["description"].rstrip(".") == PROJECT["description"]
    assert [creator["name"] for creator in ARCHIVE["creators"]] == names(CITATION["authors"])


def test_the_code_check_lists_what_the_notebooks_declare():
    declared = {
        f"runs/demo/{output}": path.stem
        for path in runner.find_notebooks(ROOT / "notebooks")
        for output in json.loads(path.read_text(encoding="utf-8"))["metadata"]["melib"].get("outputs", [])
    }
    assert {item["file"]: item["comment"] for item in CHECK["manifest"]} == {
        file: f"notebook {name}" for file, name in declared.items()
    }
    assert (ROOT / "codecheck.yml").read_text(encoding="utf-8").startswith("---\n")
    assert CHECK["paper"]["title"] == CITATION["title"]
    assert [author["name"] for author in CHECK["paper"]["authors"]] == names(CITATION["authors"])


def test_croissant_describes_what_the_simulator_writes(tmp_path):
    out = simulate.write_clips(tmp_path / "out", people=1, clips=1, empty=0, fps=20, jobs=1, progress=False)
    (truth,) = CROISSANT["recordSet"]
    columns = (out / "truth.csv").read_text().partition("\n")[0].strip().split(",")
    assert [field["source"]["extract"]["column"] for field in truth["field"]] == columns
    for held in CROISSANT["distribution"]:
        assert list(out.glob(held.get("contentUrl") or held["includes"])), held["name"]
    about = manifest.read_manifest("synthme")
    assert CROISSANT["name"] == about.name
    assert CROISSANT["citeAs"] == " ".join(about.citation.split())
    assert CROISSANT["version"] == f"{simulate.VERSION}.0.0"


def test_the_archive_names_both_papers_with_all_their_authors():
    papers = CITATION["references"]
    assert [len(paper["authors"]) for paper in papers] == [1, 5]
    assert all("family-names" in author for paper in papers for author in paper["authors"])
    for paper, entry, related in zip(
        papers, ARCHIVE["references"], ARCHIVE["related_identifiers"], strict=True
    ):
        known = paper.get("doi") or paper["identifiers"][0]["value"]
        assert related["identifier"] == known
        assert entry.startswith(f"{'; '.join(names(paper['authors']))} ({paper['year']}). {paper['title']}.")
        assert entry.endswith(known)
