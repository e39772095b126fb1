"""A verdict follows from the numbers of one result table, by the rule that verdicts.yml states."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import card

from melib import DataError, controls
from melib.data import cache
from melib.paper import answers
from melib.study import comparisons
from melib.study.results import read_result

BRACKET = re.compile(r"([+-]?\d+\.\d+) \[(-?\d+\.\d+), (-?\d+\.\d+)\]")
RULES = answers.rules()


# Those of the committed run, as if each model of it had been trained often enough for a verdict.
TABLES = {
    path.stem: read_result(path).assign(seeds=answers.TRAININGS)
    for path in sorted((Path(__file__).parents[1] / "docs" / "results").glob("*.csv"))
}
# What the committed run hasn't asked yet.
PARTS = [
    ("sharing", "ours", "ours, separate"),
    ("sharing", "no neutral", "ours, separate"),
    ("prior", "a", "b"),
]
TABLES["spotting_parts"] = pd.DataFrame(PARTS, columns=["question", "system", "against"]).assign(
    dataset="synthme_lv", metric="end_to_end_f1", difference=0.1, low=0.05, high=0.15, p=0.01, p_holm=0.03, floor=0.02,
    events=86, subjects=40, seeds=5, effect=0.5, family="spotting_parts", significant=True, tests=3,
)  # fmt: skip


def write(folder, tables):
    for name, table in tables.items():
        cache.write_table(folder / "results" / f"{name}.csv", table)
    return folder


def verdicts(folder, name, **changed):
    """Verdicts on one question of a run that has its table, perhaps changed."""
    result = RULES[name]["result"]
    return answers.verdicts(write(folder, {result: changed.get(result, TABLES[result])}), name)


def test_every_question_has_an_answer_or_says_what_is_missing(tmp_path):
    notebooks = {path.stem for path in (Path(__file__).parents[1] / "notebooks").glob("*.ipynb")}
    for verdict in answers.verdicts(tmp_path):
        assert (verdict.answer, verdict.standing) == ("not asked", "missing")
        rule = RULES[verdict.name]
        assert rule["notebook"] in notebooks
        assert rule["notebook"] in verdict.about and f"{verdict.result}.csv" in verdict.about
    answered = answers.verdicts(write(tmp_path, TABLES))
    assert {verdict.name for verdict in answered} == set(RULES)
    for verdict in answered:
        assert verdict.standing != "missing"
        assert verdict.effect[-1] == "]" or verdict.answer == "undefined"
    assert f"model == '{comparisons.CANDIDATE[0]}'" in RULES["position"]["rows"]


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule["rule"] == "apart"])
@pytest.mark.parametrize(
    ("low", "high", "p_holm", "outcome"),
    [
        (0.1, 0.3, 0.05, "above"),
        (-0.3, -0.1, 0.001, "below"),
        (-0.1, 0.3, 0.001, "not told apart"),
        (0.1, 0.3, 0.051, "not told apart"),
        (-0.1, 0.3, np.nan, "not told apart"),
        (0.1, 0.3, np.nan, "open"),
        (np.nan, 0.3, 0.001, "undefined"),
    ],
)
def test_interval_and_corrected_p_decide_together(tmp_path, name, low, high, p_holm, outcome):
    rule, table = RULES[name], TABLES[RULES[name]["result"]]
    ends = [
        f"{rule['effect']}_{end}" if f"{rule['effect']}_{end}" in table else end for end in ("low", "high")
    ]
    table = table.assign(**{rule["effect"]: 0.2, ends[0]: low, ends[1]: high, "p_holm": p_holm})
    for verdict in verdicts(tmp_path, name, **{rule["result"]: table}):
        assert verdict.answer == rule["words"].get(outcome, outcome)
        standing = {rule.get("hoped", "above"): "for"}.get(
            outcome, "against" if outcome in rule["words"] else "undecided"
        )
        assert verdict.standing == standing
        assert verdict.p == ("" if np.isnan(p_holm) else f"{p_holm:.3f}")


@pytest.mark.parametrize(("p_holm", "answer"), [(0.05, "yes"), (0.06, "not told apart"), (np.nan, "yes")])
def test_an_aim_that_holds_by_its_interval_alone_is_not_told_apart(tmp_path, p_holm, answer):
    table = TABLES["spotting_claims"].assign(p_holm=p_holm, holds=True)
    assert {v.answer for v in verdicts(tmp_path, "system", spotting_claims=table)} == {answer}


def test_a_p_that_nobody_corrected_is_corrected_over_the_rows_that_are_asked(tmp_path):
    table = TABLES["prior_match"].assign(p=0.02)
    (verdict,) = verdicts(tmp_path, "label", prior_match=table)  # four priors beside the triangle
    assert (verdict.p, verdict.answer) == ("0.080", "not told apart")


@pytest.mark.parametrize(
    ("differences", "first"),
    [({0.3: 1, 0.1: 0, 0.2: -1}, 0.2), ({0.3: 1, 0.1: 0, 0.2: 1}, 0.1), ({0.5: 1, 0.1: 1}, 0.1)],
)
def test_of_several_rows_the_one_that_speaks_the_most_against_us_decides(
    tmp_path, monkeypatch, differences, first
):
    """``differences``: effect -> side of 0 on which its interval lies."""
    rule = {"question": "?", "notebook": "01", "result": "r", "effect": "d", "rule": "apart", "words": {}}
    rows = [("a", d, side - 0.5, side + 0.5, 0.01) for d, side in differences.items()]
    write(tmp_path, {"r": pd.DataFrame(rows, columns=["dataset", "d", "low", "high", "p_holm"])})
    monkeypatch.setattr(answers, "rules", lambda: {"q": rule | {"about": "b", "trained": False}})
    (verdict,) = answers.verdicts(tmp_path)
    assert float(verdict.effect.split()[0]) == first
    sides = [*differences.values()]
    assert f"of {len(sides)}, {sides.count(1)} above and {sides.count(-1)} below 0" in verdict.about


@pytest.mark.parametrize("swap", [0.2, 0.0])
@pytest.mark.parametrize(("follow", "low"), [(0.9, 0.8), (0.5, 0.4), (0.5, -0.1)])
def test_whether_the_face_is_seen_is_what_controls_says(tmp_path, swap, follow, low):
    table = card().assign(seeds=5)
    raw = (table["model"] == "resnet18_bigru") & (table["input"] == "raw") & (table["protocol"] == "context")
    table.loc[raw & (table["quantity"] == "clip_swap"), "low"] = swap
    table.loc[raw & (table["quantity"] == "apex_follow"), ["estimate", "low"]] = follow, low
    word = controls.sees({"clip_swap": {"low": swap}, "apex_follow": {"estimate": follow, "low": low}})
    answer = {v.question: v.answer for v in verdicts(tmp_path, "inputs", face_card=table)}
    assert answer["Does the network see the face? (raw frames)"] == {"in part": "partly"}.get(word, word)


@pytest.mark.parametrize(
    ("ours", "ideal", "answer", "standing"),
    [(0.3, 0.25, "yes", "for"), (0.61, 0.2, "no", "against"), (np.nan, 0.2, "no", "against")],
)
def test_a_limit_is_judged_beside_the_ideal_observer(tmp_path, ours, ideal, answer, standing):
    table = TABLES["limits"]
    size = table["kind"].map({"model": ours, "ideal": ideal}).where(table["condition"] == "base", 0.01)
    ends = {"threshold_px": size, "threshold_px_low": size - 0.05, "threshold_px_high": size + 0.05}
    (verdict,) = verdicts(tmp_path, "limits", limits=table.assign(**ends))
    assert (verdict.answer, verdict.standing) == (answer, standing)


def test_every_number_in_brackets_is_a_row_of_the_table_that_is_named(tmp_path):
    matched = 0
    for verdict in answers.verdicts(write(tmp_path, TABLES)):
        table, rows = TABLES[verdict.result], set()
        for column in ("estimate", "difference", "effect", "inflation", "threshold_px", "less_triangle"):
            ends = [f"{column}_low", f"{column}_high"] if f"{column}_low" in table else ["low", "high"]
            for values in table[[column, *ends]].to_numpy(float) if column in table else ():
                rows |= {tuple(float(f"{v:z.{digits}f}") for v in values) for digits in (1, 2, 3)}
        for texts in BRACKET.findall(" ".join(verdict.cells)):
            assert tuple(float(text) for text in texts) in rows, verdict
            matched += 1
    assert matched > 15


def test_what_speaks_against_us_stands_first(tmp_path):
    shown = [answers.STANDINGS.index(v.standing) for v in answers.verdicts(write(tmp_path, TABLES))]
    assert shown == sorted(shown) and set(shown) == {0, 1, 2}


def test_the_context_protocol_and_motion_decide_where_there_are_any(tmp_path):
    def answer(*rows):
        names = ["protocol", "input", "metric", "difference", "low", "high"]
        about = {
            "dataset": "d",
            "seeds": 5,
            "family": "temporal",
            "variant": "no GRU",
            "base": "GRU",
            "p_holm": 0.001,
        }
        table = pd.DataFrame(rows, columns=names).assign(**about)
        (verdict,) = verdicts(tmp_path, "temporal", ablation_differences=table)
        return verdict.answer

    raw = ("context", "raw", "inside_spearman_true", -0.3, -0.4, -0.2)
    flow = ("context", "flow", "inside_spearman_true", 0, -0.1, 0.1)
    paper = ("paper", "raw", "spearman_pseudo", -0.5, -0.6, -0.4)
    assert answer(raw) == answer(paper) == "yes"
    assert answer(raw, flow) == answer(paper, flow) == "not told apart"


def test_fewer_than_five_trainings_give_no_verdict_unless_the_committed_run_of_the_same_data_has_five(
    tmp_path, monkeypatch
):
    few = write(tmp_path / "few", {name: table.assign(seeds=1) for name, table in TABLES.items()})
    monkeypatch.setattr(answers, "COMMITTED", tmp_path / "nowhere")
    for verdict in answers.verdicts(few):
        trained = RULES[verdict.name].get("trained", True)
        assert (verdict.answer == "one training" and verdict.standing == "undecided") == trained
    monkeypatch.setattr(answers, "COMMITTED", write(tmp_path / "docs", TABLES))
    whole = {(v.name, v.question): v.answer for v in answers.verdicts(tmp_path / "docs")}
    for verdict in answers.verdicts(few):
        assert verdict.answer == whole[verdict.name, verdict.question]
        assert ("committed run" in verdict.about) == RULES[verdict.name].get("trained", True)
    other = write(tmp_path / "few", {"factorial": TABLES["factorial"].assign(seeds=1, dataset="another")})
    assert {v.answer for v in answers.verdicts(other, "sharing")} == {"one training"}


@pytest.mark.parametrize("name", sorted({rule["result"] for rule in RULES.values()}))
def test_an_empty_table_and_missing_columns_are_survived(tmp_path, name):
    table = TABLES[name]
    asked = {question for question, rule in RULES.items() if rule["result"] == name}
    for spoilt in (table[:0], table[["dataset"]], table.drop(columns=table.select_dtypes("number").columns)):
        shown = answers.verdicts(write(tmp_path, {name: spoilt}), *asked)
        assert {verdict.name for verdict in shown} == asked


def test_each_data_set_has_its_own_verdict(tmp_path):
    both = {name: pd.concat([table, table.assign(dataset="another")]) for name, table in TABLES.items()}
    one, two = (answers.verdicts(write(tmp_path / n, t)) for n, t in (("one", TABLES), ("two", both)))
    published = sum(verdict.name == "published" for verdict in one)  # of public tables, whatever was run
    assert len(two) == 2 * len(one) - published


def test_a_broken_table_is_one_readable_sentence(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "limits.csv").write_text("")
    with pytest.raises(DataError, match=r"limits\.csv isn't a table"):
        answers.verdicts(tmp_path)
