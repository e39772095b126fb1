"""The report says what the files of a run hold, and nothing else."""

import itertools
import json
import re
import shutil
from html.parser import HTMLParser

import pandas as pd
import pytest
from made_up import a_run, card, results
from test_answers import TABLES, write
from test_latex import RESULTS

from melib import DataError
from melib.data import cache
from melib.paper import answers, figures, latex, report, style
from melib.study import evaluation
from melib.study.provenance import commit, environment, recorded
from melib.study.results import read_result
from melib.study.run import begin


class Page(HTMLParser):
    """Collects links, resources, headings and words of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.resources, self.ids, self.tags, self.words = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if tag == "a" else []
        self.resources += [found[name] for name in ("src", "href") if name in found and tag != "a"]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def check(run):
    return {sentence: holds for holds, sentence, _ in report.checklist(run)}


def parse(index):
    return Page(index.read_text(encoding="utf-8"))


def a_whole_run(folder):
    """A run that has every result and table, one figure, and whose checklist holds."""
    begin(folder, "smoke")
    a_run(folder)
    # Of three seeds, as a run that anyone should believe.
    intensity = pd.concat([results().assign(seed=seed) for seed in range(3)])
    variants = RESULTS["intensity_ablations"]
    control = variants[variants["model"] == "position_only"]
    others = [control.assign(model=name, variant=name) for name in ("flow_magnitude", "oracle_interval")]
    whole = {"intensity": intensity, "intensity_ablations": pd.concat([variants, *others])}
    write(folder, TABLES | RESULTS | whole)
    outputs = {
        f"results/{name}.csv": cache.content_hash([folder / "results" / f"{name}.csv"]) for name in TABLES
    }
    for name in report._shipped():
        (folder / "notebooks" / f"{name}.json").write_text(json.dumps({"stamp": "0", "outputs": outputs}))
    style.save(figures.face_card(card()), folder, "face_card_context", results=["face_card"])
    latex.write_all(folder)
    record = json.loads((folder / "environment.json").read_text())
    (folder / "environment.json").write_text(json.dumps(record | {"commit": commit()}))
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Not to be changed: shared by tests."""
    folder = a_whole_run(tmp_path_factory.mktemp("runs") / "made up & <up>")
    report.build(folder)
    return folder


@pytest.fixture
def run(tmp_path):
    return a_run(tmp_path / "runs" / "made up & <up>")


def test_every_link_and_image_exists_and_none_leaves_the_run(whole):
    index = whole / "report" / "index.html"
    page = parse(index)
    for target in [*page.links, *page.resources]:
        if target.startswith("#"):
            assert target[1:] in page.ids, target
        elif not target.startswith("data:"):
            assert not re.match(r"[a-z]+:|/", target), target
            assert (index.parent / target).is_file(), target
    assert any(link == "../html/04_intensity.html" for link in page.links)
    assert "made up &amp; &lt;up&gt;" in index.read_text()


def test_whoever_cannot_see_the_page_can_read_it(whole):
    page = parse(whole / "report" / "index.html")
    assert ("html", {"lang": "en"}) in page.tags
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert len(page.ids) == len(set(page.ids))
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    for tag, attributes in page.tags:
        assert attributes.get("aria-labelledby", page.ids[0]) in page.ids, tag


def test_all_figures_and_tables_are_on_the_page_with_their_files(whole):
    page = parse(whole / "report" / "index.html")
    for sidecar in sorted(whole.glob("figures/*.json")):
        assert f"figure-{sidecar.stem}" in page.ids
        assert {f"../figures/{sidecar.stem}.{end}" for end in ("png", "pdf", "svg", "json")} <= set(
            page.links
        )
    tables = latex.tables(whole)
    assert len(tables) > 10
    for table in tables:
        assert f"table-{table.name}" in page.ids
        assert {f"../tables/{table.name}.{end}" for end in ("csv", "tex", "json")} <= set(page.links)
    for file in whole.glob("results/*.csv"):
        assert f"../results/{file.name}" in page.links


def test_the_numbers_are_those_of_the_files(whole):
    page = parse(whole / "report" / "index.html")
    for table in latex.tables(whole):
        for row in latex.printed(table).itertuples(index=False):
            assert all(re.sub(r"\s+", " ", text) in page.text for text in row)
    for answer in answers.answers(whole):
        assert all(sentence in page.text for finding in answer.findings for sentence in finding.said)
    assert "12.5" in page.text


def test_other_data_than_published_are_marked_loudly(whole):
    loud = [tag for tag in parse(whole / "report" / "index.html").tags if tag == ("span", {"class": "loud"})]
    assert loud


def test_published_values_name_their_source():
    published = read_result(report.PACKAGE / "study" / "published.csv")
    assert published["source"].str.len().min() > 10
    what = ["task", "dataset", "protocol", "method", "model", "input", "metric"]
    assert not published.duplicated(what).any()
    theirs = published[published["source"].str.startswith("Almushrafy")]
    assert sorted(theirs["value"]) == [0.7999, 0.8168, 0.9014, 0.9116]


def test_the_face_card_has_a_verdict_for_every_model():
    verdicts = {(r["protocol"], r["name"]): r["verdict"] for r in report._card(card())}
    assert verdicts["context", "ResNet18 + BiGRU, flow"] == "yes"
    assert verdicts["context", "ResNet18 + BiGRU, difference"] == "in part"
    assert verdicts["context", "ResNet18 + BiGRU, raw"] == "no"
    assert verdicts["context", "position only"] == "no"


@pytest.mark.parametrize(
    ("swap_low", "follow", "follow_low", "verdict", "words"),
    [
        (0.2, 0.9, 0.8, "yes", "sees the face ("),
        (0.0, 0.5, 0.4, "in part", "sees the face in part"),
        (0.0, 0.5, -0.1, "no", "doesn't see the face"),
    ],
)
def test_page_answer_and_notebook_draw_the_same_verdict(swap_low, follow, follow_low, verdict, words):
    table = card()
    raw = (table["model"] == "resnet18_bigru") & (table["input"] == "raw") & (table["protocol"] == "context")
    table.loc[raw & (table["quantity"] == "clip_swap"), "low"] = swap_low
    table.loc[raw & (table["quantity"] == "apex_follow"), ["estimate", "low"]] = follow, follow_low
    [row] = [
        r for r in report._card(table) if r["protocol"] == "context" and r["name"] == "ResNet18 + BiGRU, raw"
    ]
    assert row["verdict"] == verdict
    [finding] = answers.inputs({"face_card": table})
    assert any(sentence.startswith(f"Raw: {verdict}, ") for sentence in finding.said)
    target = [
        ("synthme", "context", *model, "spearman_pseudo", "all", 0.8)
        for model in (("resnet18_bigru", "raw"), ("position_only", "none"))
    ]
    summary = pd.DataFrame(
        target, columns=["dataset", "protocol", "model", "input", "metric", "amplitude", "estimate"]
    )
    assert words in evaluation.raw_verdict(table[table["protocol"] == "context"], summary)


def test_the_terminals_table_holds_the_same_verdicts(run, tmp_path):
    text = report.table(run)
    assert re.search(r"ResNet18 \+ BiGRU, flow .* yes", text)
    assert re.search(r"ResNet18 \+ BiGRU, raw .* no", text)
    assert max(map(len, text.splitlines())) <= 110
    assert "notebook 04" in report.table(tmp_path)


def test_a_data_set_without_context_is_not_testable_instead_of_a_number(run):
    reason = ("samm", "context", "not testable", "its clips hold no frames around the events")
    write(run, {"untestable": pd.DataFrame([reason], columns=["dataset", "protocol", "verdict", "reason"])})
    assert "samm, context protocol: not testable, its clips hold no frames" in parse(report.build(run)).text


def test_a_run_that_has_only_begun_has_a_report_that_says_so(tmp_path):
    page = parse(report.build(tmp_path))
    assert page.text.count("yet") >= 4
    assert page.text.count("Not asked in this run") >= 2 * 6
    with pytest.raises(DataError, match="doesn't exist"):
        report.build(tmp_path / "nowhere")


@pytest.mark.parametrize("last", ["01_data", "03_priors"])
def test_a_run_that_stopped_early_says_what_is_missing(tmp_path, last):
    names = [name for name in sorted(report._shipped()) if name <= last]
    for name in names:
        cache.write_json(tmp_path / "notebooks" / f"{name}.json", {"stamp": "0", "outputs": {}})
    write(tmp_path, {"position_control": RESULTS["position_control"]} if last == "03_priors" else {})
    (tmp_path / "notebooks" / "04_intensity.failed.ipynb").write_text("{}")
    page = parse(report.build(tmp_path))
    assert "isn't finished: 04_intensity stopped before the end" in re.sub(" :", ":", page.text)
    found = {sentence: (holds, detail) for holds, sentence, detail in report.checklist(tmp_path)}
    holds, detail = found["Every notebook that fits the data has run"]
    assert not holds
    assert detail.startswith("not yet: ")
    assert "06_spotting" in detail
    assert "01_data" not in detail


def test_a_result_that_an_older_melib_wrote_is_named_and_the_rest_is_shown(run):
    write(run, {"claims": TABLES["claims"].drop(columns="significant")})
    text = parse(report.build(run)).text
    assert "No table: claims.csv has no 'significant'" in text
    assert "Which input sees the face?" in text


def test_what_is_written_in_a_result_is_no_markup(run):
    name = "<script>alert(1)</script>"
    write(run, {"inflation_ledger": TABLES["inflation_ledger"].assign(dataset=name, meaning=name)})
    assert name not in report.build(run).read_text()


def test_the_checklist_is_computed(whole, tmp_path):
    run = tmp_path / "whole"
    shutil.copytree(whole, run)
    # Whoever tests while changing code has no commit.
    unclean = {"The code that ran is a commit"} if " with changes" in commit() else set()
    assert {sentence for sentence, holds in check(run).items() if not holds} == unclean, report.checklist(run)

    (run / "notebooks" / "05_more.failed.ipynb").write_text("{}")
    assert not check(run)["Every notebook reached its end"]
    assert "isn't finished" in parse(report.build(run)).text

    record = json.loads((run / "tables" / "claims.json").read_text())
    cache.write_json(run / "tables" / "claims.json", record | {"commit": "f" * 40})
    table = results()
    cache.write_table(run / "results" / "intensity.csv", table[table["model"] != "position_only"])
    cache.write_table(run / "results" / "face_card.csv", TABLES["face_card"][:1])
    found = check(run)
    assert not found["Result files are those that the notebooks wrote"]
    assert not found["Every learned number has its controls beside it"]
    assert not found["Every figure was drawn from these results"]
    assert not found["Every table was written from these results"]
    assert not found["Results, figures and tables were made by one commit"]
    assert not found["Models were trained with 3 seeds or more"]
    assert found["Every subject is tested once by every model, in one fold"]


def test_an_epoch_that_validation_subjects_did_not_choose_is_found(run):
    said = "Every fit kept the epoch that validation subjects chose"
    assert said not in check(run)
    history = pd.DataFrame({"epoch": [1, 2], "validation": [0.2, 0.1], "best": [False, True]})
    for name in ("one", "two"):
        cache.write_table(run / "weights" / name / "history.csv", history)
    cache.write_table(run / "weights" / "x-peek-fold0" / "history.csv", history.assign(best=[True, False]))
    assert check(run)[said]
    cache.write_table(run / "weights" / "two" / "history.csv", history.assign(best=[True, False]))
    assert not check(run)[said]


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
    assert recorded(run) == {"profile": "paper", "seed": 3, "data": ["samm"]}
    assert "someone" not in report.build(run).read_text()


def test_the_same_files_give_the_same_page(run):
    assert report.build(run).read_bytes() == report.build(run).read_bytes()


def test_the_environment_names_commit_versions_and_device():
    found = environment()
    assert {"commit", "python", "system", "device", "packages"} <= set(found)
    assert found["packages"]["torch"]
    assert found["device"]
