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
from melib.app import runner
from melib.data import cache
from melib.paper import answers, figures, latex, report, style
from melib.study.provenance import commit, recorded
from melib.study.run import begin


class Page(HTMLParser):
    """Links, resources, headings and words of a page."""

    def __init__(self, index):
        super().__init__()
        self.links, self.resources, self.ids, self.tags, words = [], [], [], [], []
        self.handle_data = words.append
        self.feed(index.read_text(encoding="utf-8"))
        self.text = re.sub(r"\s+", " ", " ".join(words))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes["href"]] if tag == "a" else []
        self.resources += [attributes[n] for n in ("src", "href") if n in attributes and tag != "a"]


def checks(run):
    return {sentence: holds for holds, sentence, _ in report.checklist(run)}


def a_whole_run(folder):
    """A run that has every result and table, one figure, and whose checklist holds."""
    begin(folder, "smoke")
    a_run(folder)
    intensity = pd.concat([results(subjects=12).assign(seed=seed) for seed in range(5)])
    variants = RESULTS["intensity_ablations"]
    control = variants[variants["model"] == "position_only"]
    others = [control.assign(model=name, variant=name) for name in ("flow_magnitude", "oracle_interval")]
    more = {"intensity": intensity, "intensity_ablations": pd.concat([variants, *others])}
    write(folder, TABLES | RESULTS | more)
    outputs = {f"results/{n}.csv": cache.content_hash([folder / "results" / f"{n}.csv"]) for n in TABLES}
    for name in (path.stem for path in runner.find_notebooks()):
        cache.write_json(folder / "notebooks" / f"{name}.json", {"stamp": "0", "outputs": outputs})
    style.save(figures.face_card(card()), folder, "face_card_context", results=["face_card"])
    latex.write_all(folder)
    record = json.loads((folder / "environment.json").read_text())
    cache.write_json(folder / "environment.json", record | {"commit": commit()})
    report.build(folder)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Not to be changed."""
    return a_whole_run(tmp_path_factory.mktemp("runs") / "made up & <up>")


@pytest.fixture
def page(whole):
    return Page(whole / "report" / "index.html")


@pytest.fixture
def run(tmp_path):
    return a_run(tmp_path / "runs" / "made up & <up>")


def test_the_page_is_whole_by_itself_and_links_to_the_run_alone(whole, page):
    assert page.resources
    assert all(target.startswith("data:") for target in page.resources)
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "embed"}
    for target in page.links:
        if target.startswith("#"):
            assert target[1:] in page.ids, target
        else:
            assert not re.match(r"[a-z]+:|/", target), target
            assert (whole / "report" / target).is_file(), target
    assert "made up &amp; &lt;up&gt;" in (whole / "report" / "index.html").read_text()


def test_whoever_cannot_see_the_page_can_read_it(page):
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


def test_what_speaks_against_us_stands_before_everything_else(whole, page):
    verdicts = answers.verdicts(whole)
    rows = [attributes.get("class") for tag, attributes in page.tags if tag == "tr"]
    assert [kind for kind in rows if kind in answers.STANDINGS] == [verdict.standing for verdict in verdicts]
    assert verdicts[0].standing == "against"
    broken = [sentence for holds, sentence, _ in report.checklist(whole) if not holds]
    assert all(page.text.index(sentence) < page.text.index(verdicts[0].question) for sentence in broken)
    assert page.ids.index("verdicts") < min(
        page.ids.index(part) for part in ("figures", "tables", "settings")
    )


def test_the_numbers_are_those_of_the_files(whole, page):
    for verdict in answers.verdicts(whole):
        assert all(text in page.text for text in (verdict.question, verdict.effect, verdict.p))
    tables = latex.printable_tables(whole)
    assert len(tables) > 10
    for table in tables:
        for row in latex.printed(table).itertuples(index=False):
            assert all(re.sub(r"\s+", " ", text) in page.text for text in row)
    assert "12.5" in page.text  # timing.json


def test_all_figures_and_tables_are_on_the_page_with_their_files_and_origin(whole, page):
    made = [(f"figure-{file.stem}", file) for file in whole.glob("figures/*.*")]
    made += [(f"table-{file.stem}", file) for file in whole.glob("tables/*.*") if file.stem != "index"]
    assert len(made) > 30
    for anchor, file in made:
        assert anchor in page.ids
        assert f"../{file.parent.name}/{file.name}" in page.links
    for file in whole.glob("results/*.csv"):
        assert f"../results/{file.name}" in page.links
    assert commit() in page.text


def test_no_picture_is_shown_but_what_was_drawn_from_tables(run):
    style.save(figures.face_card(card()), run, "face_card_context", results=["face_card"])
    style.save(
        figures.face_card(card()), run, "fig02_alignment"
    )  # whatever it shows, a licensed face among it
    page = Page(report.build(run))
    assert sum(tag == "img" for tag, _ in page.tags) == 1
    assert "../figures/fig02_alignment.png" in page.links


def test_a_run_says_what_it_cannot_claim(run):
    budget = {"The movements are those of real faces", "The profile is one that results are quoted of"}
    few = {"Models were trained 5 times or more", "Every data set has 10 subjects or more"}
    testable = "Every data set can be tested in every protocol"
    before = checks(run)
    assert not any(before[sentence] for sentence in budget | few) and before[testable]

    reason = ("samm", "context", "not testable", "its clips hold no frames around the events")
    none = pd.DataFrame([reason], columns=["dataset", "protocol", "verdict", "reason"])
    several = [results("samm", 12).assign(seed=seed, peak_px=float("nan")) for seed in range(5)]
    write(run, {"intensity": pd.concat(several), "untestable": none})
    (run / "parameters.yml").write_text('profile: paper\nseed: 3\ndata: \'{"samm": "/home/someone/samm"}\'\n')
    after = checks(run)
    assert all(after[sentence] for sentence in budget | few) and not after[testable]
    page = report.build(run)
    assert "samm not in the context protocol: its clips hold no frames" in Page(page).text
    # Where the data lie is nobody's business.
    assert recorded(run) == {"profile": "paper", "seed": 3, "data": ["samm"]}
    assert "someone" not in page.read_text()


def test_a_run_that_has_only_begun_has_a_report_that_says_so(tmp_path):
    page = Page(report.build(tmp_path))
    assert page.text.count("yet") >= 3
    assert page.text.count("not asked") == len(answers.rules())
    with pytest.raises(DataError, match="doesn't exist"):
        report.build(tmp_path / "nowhere")


def test_what_is_written_in_a_result_is_no_markup(run):
    name = "<script>alert(1)</script>"
    write(run, {"inflation_ledger": TABLES["inflation_ledger"].assign(dataset=name, meaning=name)})
    assert name not in report.build(run).read_text()


def test_the_checklist_is_computed(whole, tmp_path):
    run = tmp_path / "whole"
    shutil.copytree(whole, run)
    # Whoever tests while changing code has no commit.
    unclean = {"The movements are those of real faces", "The profile is one that results are quoted of"}
    one = "Results, figures and tables were made by one commit"
    unclean |= {one} if " with changes" in commit() else set()
    assert {sentence for sentence, holds in checks(run).items() if not holds} == unclean, report.checklist(
        run
    )

    (run / "notebooks" / "05_more.failed.ipynb").write_text("{}")
    record = json.loads((run / "tables" / "face_card.json").read_text())
    cache.write_json(run / "tables" / "face_card.json", record | {"commit": "f" * 40})
    table = results()
    cache.write_table(run / "results" / "intensity.csv", table[table["model"] != "position_only"])
    cache.write_table(run / "results" / "face_card.csv", TABLES["face_card"][:1])
    assert {sentence for sentence, holds in checks(run).items() if not holds} == unclean | {
        "Every notebook reached its end",
        "Result files are those that the notebooks wrote",
        "Every learned number has its controls beside it",
        "All figures are of these results",
        "All tables are of these results",
        one,
        "Models were trained 5 times or more",
        "Every data set has 10 subjects or more",
    }


@pytest.mark.parametrize(
    "spoil",
    [
        lambda table: pd.concat([table, table.assign(fold=1 - table["fold"])]),
        lambda table: table[~((table["model"] == "framewise") & (table["subject"] == "003"))],
    ],
)
def test_a_subject_tested_twice_or_never_is_noticed(run, spoil):
    cache.write_table(run / "results" / "intensity.csv", spoil(results()))
    assert not checks(run)["Every subject is tested once by every model, in one fold"]
