"""The report says what the files of a run hold, and nothing else."""

import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from made_up import a_run, card, results

from melib import DataError, cache, figures, report


class Page(HTMLParser):
    """Collects links, resources, headings and words of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.resources, self.ids, self.tags, self.words = [], [], set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        self.ids |= {found["id"]} if "id" in found else set()
        self.links += [found["href"]] if tag == "a" else []
        self.resources += [found[name] for name in ("src", "href") if name in found and tag != "a"]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def parse(index):
    return Page(index.read_text(encoding="utf-8"))


@pytest.fixture
def run(tmp_path):
    return a_run(tmp_path / "runs" / "made up & <up>")


def test_every_link_and_image_exists_and_none_leaves_the_run(run):
    figures.draw_all(run)
    index = report.build(run)
    page = parse(index)
    for target in [*page.links, *page.resources]:
        if target.startswith("#"):
            assert target[1:] in page.ids, target
        elif not target.startswith("data:"):
            assert not re.match(r"[a-z]+:|/", target), target
            assert (index.parent / target).is_file(), target
    assert any(link == "../html/04_intensity.html" for link in page.links)
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert "made up &amp; &lt;up&gt;" in index.read_text()


def test_the_numbers_are_those_of_the_files(run):
    page = parse(report.build(run))
    found = figures.intervals(results(), ["protocol", "model", "input", "metric"])
    for row in figures.records(found):
        assert f"{row['estimate']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" in page.text
    row = figures.records(card())[0]
    assert f"{row['estimate']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" in page.text
    assert "inside the event, over flow magnitude" in page.text
    assert "12 s" in page.text
    assert "12.5" in page.text


def test_the_loss_on_another_field_family_is_the_difference_of_the_two_means(run):
    there = results("synthme_muscles").assign(trained_on="synthme")
    there["value"] -= 0.2
    cache.write_table(run / "results" / "transfer.csv", there)
    page = parse(report.build(run))
    assert "tested on another" in page.text
    assert page.text.count("synthme_muscles -0.20") == 2 * 4  # two protocols, four learned models


def test_published_values_stand_beside_ours_with_a_loud_mark_where_data_differ(run, tmp_path):
    page = parse(report.build(run))
    assert "0.9014 samm" in page.text
    assert "0.8168 casme2" in page.text
    assert page.text.count("OTHER DATA") == 1 + 10  # the note, and every row
    assert "2512.01145" in page.text

    own = parse(report.build(a_run(tmp_path / "samm", dataset="samm")))
    assert "same data; its split isn't published" in own.text
    assert own.text.count("OTHER DATA") == 1 + 6  # casme2 and casme3_me


def test_published_values_name_their_source():
    published = figures.read(report.PACKAGE / "published.csv")
    assert published["source"].str.len().min() > 10
    assert not published.duplicated(["dataset", "protocol", "model", "input", "metric"]).any()
    theirs = published[published["source"].str.startswith("Almushrafy")]
    assert sorted(theirs["value"]) == [0.7999, 0.8168, 0.9014, 0.9116]


def test_a_model_sees_the_face_by_one_stated_rule():
    verdicts = {(r["protocol"], r["name"]): r["verdict"] for r in report._card(card())}
    assert verdicts["context", "ResNet18 + BiGRU, flow"] == "yes"
    assert verdicts["context", "ResNet18 + BiGRU, difference"] == "in part"
    assert verdicts["context", "ResNet18 + BiGRU, raw"] == "no"
    assert verdicts["context", "position only"] == "no"


def test_the_terminals_table_holds_the_same_verdicts(run, tmp_path):
    text = report.table(run)
    assert re.search(r"ResNet18 \+ BiGRU, flow .* yes", text)
    assert re.search(r"ResNet18 \+ BiGRU, raw .* no", text)
    assert max(map(len, text.splitlines())) <= 110
    assert "notebook 04" in report.table(tmp_path)


def test_a_data_set_without_context_is_not_testable_instead_of_a_number(run):
    table = results()
    cache.write_table(run / "results" / "intensity.csv", table[table["protocol"] == "paper"])
    assert "not testable in the context protocol" in parse(report.build(run)).text


def test_a_run_that_has_only_begun_has_a_report_that_says_so(tmp_path):
    page = parse(report.build(tmp_path))
    assert page.text.count("yet") >= 4
    with pytest.raises(DataError, match="doesn't exist"):
        report.build(tmp_path / "nowhere")


def check(run):
    return {sentence: holds for holds, sentence, _ in report.checklist(run)}


def test_the_checklist_is_computed(run):
    figures.draw_all(run)
    assert all(check(run).values()), report.checklist(run)

    (run / "notebooks" / "05_more.failed.ipynb").write_text("{}")
    assert not check(run)["Every notebook reached its end"]
    assert "isn't finished" in parse(report.build(run)).text

    table = results()
    cache.write_table(run / "results" / "intensity.csv", table[table["model"] != "position_only"])
    found = check(run)
    assert not found["Result files are those that the notebooks wrote"]
    assert not found["Every learned number has its controls beside it"]
    assert not found["Every figure was drawn from these results"]
    assert found["Every subject is tested once by every model, in one fold"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda table: pd.concat([table, table.assign(fold=1 - table["fold"])]),
        lambda table: table[~((table["model"] == "framewise") & (table["subject"] == "003"))],
    ],
)
def test_a_subject_tested_twice_or_never_is_found(run, spoil):
    cache.write_table(run / "results" / "intensity.csv", spoil(results()))
    assert not check(run)["Every subject is tested once by every model, in one fold"]


def test_code_with_changes_and_other_versions_are_found(run):
    record = {"commit": "0" * 40 + " with changes", "packages": {"numpy": "1.0"}}
    (run / "environment.json").write_text(json.dumps(record))
    found = check(run)
    assert not found["The code that ran is a commit"]
    assert not found["Package versions are those of requirements.lock"]


def test_where_the_data_lie_is_nobodys_business(run):
    (run / "parameters.yml").write_text('profile: paper\nseed: 3\ndata: \'{"samm": "/home/someone/samm"}\'\n')
    assert report.settings(run) == {"profile": "paper", "seed": 3, "data": ["samm"]}
    assert "someone" not in report.build(run).read_text()


def test_the_same_files_give_the_same_page(run):
    assert report.build(run).read_bytes() == report.build(run).read_bytes()


def test_the_environment_names_commit_versions_and_device():
    found = report.environment()
    assert {"commit", "python", "system", "device", "packages"} <= set(found)
    assert found["packages"]["torch"]
    assert found["device"]
