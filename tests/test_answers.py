"""A verdict follows from the numbers of one result table, by the rule that verdicts.yml states."""

import io
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import card, claims, results

from melib import DataError, controls
from melib.data import cache
from melib.paper import answers
from melib.study import comparisons, evaluation
from melib.study.results import intervals

BRACKET = re.compile(r"([+-]?\d+\.\d+) \[(-?\d+\.\d+), (-?\d+\.\d+)\]")
RULES = answers.rules()
CHANGES = "dataset,protocol,family,variant,base,input,metric,difference,low,high,p_holm"


def frame(text, **same):
    return pd.read_csv(io.StringIO(text.strip())).assign(events=24, subjects=8, **same)


# What else every paired test has (comparisons.corrected).
TESTED = {"p": 0.001, "effect": 0.4, "seeds": 1}
TABLES = {
    "face_card": card(),
    "claims": claims(),
    "summary": intervals(results(), [*evaluation.KEYS, "metric"]).assign(amplitude="all"),
    "model_differences": frame(
        """dataset,protocol,model,input,control,metric,difference,low,high,p_holm
synthme,context,resnet18_bigru,flow,position_only,inside_spearman_true,0.6,0.5,0.7,0.001
synthme,context,resnet18_bigru,raw,position_only,inside_spearman_true,0,-0.1,0.1,1""",
        **TESTED,
        control_input="none",
    ),
    "ablation_differences": frame(
        f"""{CHANGES}
synthme,context,temporal,no GRU,the base,flow,inside_spearman_true,-0.31,-0.41,-0.22,0.001
synthme,context,temporal,one direction,the base,flow,inside_spearman_true,-0.02,-0.05,0.01,0.001
synthme,context,target,boxcar target,the base,flow,inside_spearman_true,-0.12,-0.2,-0.04,0.001
synthme,context,target,Gaussian target,the base,flow,inside_spearman_true,0.01,-0.02,0.04,0.001
synthme,context,loss,no ranking term,the base,flow,inside_spearman_true,0,-0.02,0.02,0.001""",
        **TESTED,
    ),
    "prior_match": frame(
        """dataset,protocol,prior,landmarks,metric,estimate,low,high,less_triangle,less_triangle_low,less_triangle_high
synthme,context,triangular,exact,ccc,0.95,0.94,0.96,0,0,0
synthme,context,raised_cosine,exact,ccc,0.97,0.96,0.98,0.02,0.011,0.029
synthme,context,triangular,annotated,ccc,0.93,0.92,0.94,0,0,0
synthme,context,boxcar,annotated,ccc,0.8,0.79,0.81,-0.13,-0.15,-0.11
synthme,context,raised_cosine,annotated,ccc,0.95,0.94,0.96,0.02,0.012,0.028""",
        jitter=0,
    ),
    "limits": frame(
        """dataset,condition,system,kind,per_hour,threshold_px,threshold_px_low,threshold_px_high,lapse,lapse_low,lapse_high,remark
synthme,base,ours,model,6,0.61,0.52,0.73,0.05,0.01,0.1,
synthme,base,motion,baseline,6,,,,,,,never half
synthme,base,ideal observer,ideal,6,0.11,0.1,0.12,0,0,0.01,
synthme,noise,ours,model,6,0.99,0.9,1.1,0.05,0.01,0.1,""",
        **{"level": 0.0, "unit": "px", "slope": 1.0, "guess": 0.01, "most_px": 2.5},
    ),
    "efficiency": frame(
        """dataset,condition,system,low_px,high_px,efficiency,efficiency_low,efficiency_high
synthme,base,ours,0.5,1,0.021,0.011,0.032""",
        level=0.0,
    ),
    "factorial": frame(
        """dataset,factor,reference,ours,metric,effect,low,high,combinations
synthme_lv,decoder,extensible_interval,semi_markov,end_to_end_f1,0.011,-0.01,0.03,16
synthme_lv,features,reference,regional,end_to_end_f1,0.11,0.05,0.17,16"""
    ),
    "decoder_differences": frame(
        """dataset,setting,other,metric,difference,low,high,p_holm
synthme_lv,its own prior,fixed_window,spotting_f1,0.14,0.04,0.24,0.03
synthme_lv,its own prior,half_height,spotting_f1,0.07,0.01,0.15,0.2""",
        **TESTED,
        ours="semi_markov",
    ),
    "spotting_claims": frame(
        """dataset,claim,metric,ours,other,difference,low,high,p_holm,needed,holds
synthme_lv,end-to-end F1 above the reference's,end_to_end_f1,0.3,0.06,0.24,0.14,0.33,0.002,interval above 0,True""",
        **TESTED,
    ),
    "variant_differences": frame(
        """dataset,system,metric,difference,low,high,p_holm
synthme_lv,"ours, half height",end_to_end_f1,-0.03,-0.09,0.02,0.9""",
        **TESTED,
        against="ours",
    ),
    "inflation_ledger": frame(
        """dataset,system,fault,meaning,strs,inflation,low,high
synthme_lv,"reference, repaired",none,nothing is wrong,0.016,0,0,0
synthme_lv,"reference, repaired",events_only,empty videos aren't scored,0.032,0.016,0.004,0.03
synthme_lv,ours,none,nothing is wrong,0.2,0,0,0
synthme_lv,ours,events_only,empty videos aren't scored,0.25,0.05,0.01,0.08
synthme_lv,ours,epoch_on_test,the epoch is picked on the test subjects,0.26,0.06,-0.02,0.09"""
    ),
    "published_control": frame(
        """dataset,metric,of,paper,control,their_events,their_subjects
synthme,spearman_pseudo,samm,0.9014,0.8823,157,29
synthme,spearman_pseudo,casme3_me,,0.8797,785,93
synthme,kendall_pseudo,samm,0.7999,0.7745,157,29"""
    ),
}
TABLES |= {
    name: table.assign(significant=table["p_holm"] < 0.05)
    for name, table in TABLES.items()
    if "p_holm" in table
}


def write(folder, tables):
    for name, table in tables.items():
        cache.write_table(folder / "results" / f"{name}.csv", table)
    return folder


def verdicts(folder, name, **changed):
    """Verdicts on one question of a run that has its table, perhaps changed."""
    result = RULES[name]["result"]
    return answers.verdicts(write(folder, {result: changed.get(result, TABLES[result])}), name)


def test_every_question_has_an_answer_or_says_what_is_missing(tmp_path):
    for verdict in answers.verdicts(tmp_path):
        assert (verdict.answer, verdict.standing) == ("not asked", "missing")
        assert RULES[verdict.name]["notebook"] in verdict.about
        assert f"{verdict.result}.csv" in verdict.about
    answered = answers.verdicts(write(tmp_path, TABLES))
    assert {verdict.name for verdict in answered} == set(RULES)
    for verdict in answered:
        assert verdict.standing != "missing"
        assert len(verdict.answer.split()) == 1
        assert verdict.effect[-1] == "]" or "nobody published" in verdict.about
        assert any(word in verdict.about for word in ("8 subjects", "29 subjects"))


def test_each_rule_is_one_that_the_notebooks_and_the_declared_comparisons_know():
    model, used = comparisons.CANDIDATE
    notebooks = {path.stem for path in (Path(__file__).parents[1] / "notebooks").glob("*.ipynb")}
    for name, rule in RULES.items():
        assert rule["notebook"] in notebooks, name
        assert rule.get("hoped", "above") in rule["words"], name
        assert {"question", "result", "effect", "rule", "about"} <= set(rule), name
    assert f"model == '{model}' and input == '{used}'" in RULES["position"]["rows"]


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule["rule"] == "apart"])
@pytest.mark.parametrize(
    ("low", "high", "p_holm", "outcome"),
    [
        (0.1, 0.3, np.nan, "above"),
        (-0.3, -0.1, np.nan, "below"),
        (0.0, 0.3, np.nan, "undecided"),
        (-0.1, 0.3, 0.001, "undecided"),
        (0.1, 0.3, 0.049, "above"),
        (0.1, 0.3, 0.05, "undecided"),
        (np.nan, 0.3, 0.001, "undefined"),
    ],
)
def test_a_difference_is_told_apart_by_its_interval_and_by_holm(tmp_path, name, low, high, p_holm, outcome):
    rule = RULES[name]
    ends = (f"{rule['effect']}_low", f"{rule['effect']}_high")
    ends = ends if ends[0] in TABLES[rule["result"]] else ("low", "high")
    numbers = {
        rule["effect"]: (low + high) / 2 if low == low else 0.2,
        **dict(zip(ends, (low, high), strict=True)),
    }
    table = TABLES[rule["result"]].assign(**numbers, p_holm=p_holm)
    (verdict,) = verdicts(tmp_path, name, **{rule["result"]: table})
    assert verdict.answer == rule["words"].get(outcome, outcome)
    hoped = rule.get("hoped", "above")
    assert verdict.standing == (
        "undecided" if outcome[:2] == "un" else "for" if outcome == hoped else "against"
    )
    assert verdict.p == ("" if np.isnan(p_holm) else f"{p_holm:.3f}")


@pytest.mark.parametrize(
    ("decides", "differences", "first"),
    [
        ("least", {0.3: 1, 0.1: 0, 0.2: -1}, 0.2),
        ("least", {0.3: 1, 0.1: 0, 0.2: 1}, 0.1),
        ("greatest", {0.3: 0, 0.1: 1, 0.2: 1}, 0.2),
        ("strongest", {0.5: 0, 0.1: 1, -0.2: -1}, -0.2),
    ],
)
def test_of_several_rows_what_is_told_apart_decides(tmp_path, monkeypatch, decides, differences, first):
    """``differences``: effect -> side of 0 on which its interval lies."""
    rule = {"question": "?", "notebook": "01", "result": "r", "effect": "d", "rule": "apart", "words": {}}
    monkeypatch.setattr(
        answers, "rules", lambda: {"q": rule | {"decides": decides, "about": "{ahead} {behind} {n}"}}
    )
    rows = [("a", d, side - 0.5, side + 0.5) for d, side in differences.items()]
    write(tmp_path, {"r": pd.DataFrame(rows, columns=["dataset", "d", "low", "high"])})
    (verdict,) = answers.verdicts(tmp_path)
    assert float(verdict.effect.split()[0]) == first
    sides = [*differences.values()]
    assert verdict.about == f"{sides.count(1)} {sides.count(-1)} {len(sides)} (a)"


@pytest.mark.parametrize("swap", [0.2, 0.0])
@pytest.mark.parametrize(("follow", "low"), [(0.9, 0.8), (0.5, 0.4), (0.5, -0.1)])
def test_whether_the_face_is_seen_is_what_controls_says(tmp_path, swap, follow, low):
    table = card()
    raw = (table["model"] == "resnet18_bigru") & (table["input"] == "raw") & (table["protocol"] == "context")
    table.loc[raw & (table["quantity"] == "clip_swap"), "low"] = swap
    table.loc[raw & (table["quantity"] == "apex_follow"), ["estimate", "low"]] = follow, low
    word = controls.sees({"clip_swap": {"low": swap}, "apex_follow": {"estimate": follow, "low": low}})
    answer = {v.question: v.answer for v in verdicts(tmp_path, "inputs", face_card=table)}
    assert answer["Does the network see the face? (raw)"] == {"in part": "partly"}.get(word, word)


@pytest.mark.parametrize(
    ("ours", "ideal", "answer", "standing"),
    [
        (0.3, 0.2, "yes", "for"),
        (0.61, 0.2, "no", "against"),
        (np.nan, 0.2, "no", "against"),
        (0.3, np.nan, "undecided", "undecided"),
    ],
)
def test_a_limit_is_judged_beside_the_ideal_observer(tmp_path, ours, ideal, answer, standing):
    table = TABLES["limits"]
    threshold = table["kind"].map({"model": ours, "ideal": ideal}).where(table["condition"] == "base", 0.01)
    (verdict,) = verdicts(tmp_path, "limits", limits=table.assign(threshold_px=threshold))
    assert (verdict.answer, verdict.standing) == (answer, standing)


def test_every_number_in_brackets_is_a_row_of_the_table_that_is_named(tmp_path):
    matched = 0
    for verdict in answers.verdicts(write(tmp_path, TABLES)):
        table, rows = TABLES[verdict.result], set()
        for column in ("estimate", "difference", "effect", "inflation", "threshold_px", "less_triangle"):
            ends = [f"{column}_low", f"{column}_high"] if f"{column}_low" in table else ["low", "high"]
            for values in table[[column, *ends]].to_numpy(float) if column in table else ():
                rows |= {tuple(round(v + 0.0, digits) for v in values) for digits in (1, 2, 3)}
        for texts in BRACKET.findall(" ".join(verdict.cells)):
            assert tuple(float(text) + 0.0 for text in texts) in rows, verdict
            matched += 1
    assert matched > 15


def test_what_speaks_against_us_stands_first(tmp_path):
    shown = [answers.STANDINGS.index(v.standing) for v in answers.verdicts(write(tmp_path, TABLES))]
    assert shown == sorted(shown)
    assert set(shown) == {0, 1, 2}


def test_the_context_protocol_and_motion_decide_where_there_are_any(tmp_path):
    def changes(rows):
        return frame(f"{CHANGES}\n{rows}", **TESTED)

    raw = "synthme,context,temporal,no GRU,raw,raw,inside_spearman_true,-0.3,-0.4,-0.2,0.001"
    flow = "synthme,context,temporal,no GRU,flow,flow,inside_spearman_true,0,-0.1,0.1,0.001"
    paper = "synthme,paper,temporal,no GRU,raw,raw,spearman_pseudo,-0.5,-0.6,-0.4,0.001"
    for rows, answer in (
        ([raw], "yes"),
        ([raw, flow], "undecided"),
        ([paper, flow], "undecided"),
        ([paper], "yes"),
    ):
        (verdict,) = verdicts(tmp_path, "temporal", ablation_differences=changes("\n".join(rows)))
        assert verdict.answer == answer
    assert "Spearman with the pseudo-label, paper protocol" in verdict.about


def test_only_what_was_declared_beforehand_is_tested(tmp_path):
    table = TABLES["ablation_differences"]
    other = table.query("family == 'target'").assign(
        variant="untested", difference=9.0, low=8.0, high=10.0, p=np.nan
    )
    (verdict,) = verdicts(tmp_path, "prior", ablation_differences=pd.concat([table, other]))
    assert "boxcar target" in verdict.about


@pytest.mark.parametrize("name", sorted({rule["result"] for rule in RULES.values()}))
def test_empty_and_undefined_numbers_and_missing_columns_are_survived(tmp_path, name):
    table = TABLES[name]
    numbers = table.select_dtypes("number").columns
    unknown = table.assign(**dict.fromkeys(numbers, np.nan))
    asked = {question for question, rule in RULES.items() if rule["result"] == name}
    for spoilt in (table[:0], unknown, table[["dataset"]], table.drop(columns=numbers)):
        shown = answers.verdicts(write(tmp_path, {name: spoilt}), *asked)
        assert {verdict.name for verdict in shown} == asked
        for verdict in shown:
            assert not re.search(r"\bnan\b|\binf\b|None", " ".join(verdict.cells)), verdict


def test_each_data_set_has_its_own_verdict(tmp_path):
    both = {name: pd.concat([table, table.assign(dataset="another")]) for name, table in TABLES.items()}
    one, two = (answers.verdicts(write(tmp_path / n, t)) for n, t in (("one", TABLES), ("two", both)))
    published = sum(verdict.name == "published" for verdict in one)  # of public tables, whatever was run
    assert len(two) == 2 * len(one) - published
    assert sum("(another, " in verdict.about for verdict in two) == len(one) - published


def test_a_broken_table_is_one_readable_sentence(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "limits.csv").write_text("")
    with pytest.raises(DataError, match=r"limits\.csv isn't a table"):
        answers.verdicts(tmp_path)


def test_a_number_that_rounds_to_nothing_has_no_sign():
    assert answers.interval_text({"estimate": -0.001, "low": -0.02, "high": 0.01}) == "0.00 [-0.02, 0.01]"
    assert answers.interval_text({"estimate": 0.001, "low": math.nan, "high": math.nan}, sign=True) == "+0.00"
    assert answers.interval_text({"estimate": math.nan, "low": 0, "high": 0}) == "undefined"
