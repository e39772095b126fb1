"""Every word of an answer follows from the tables: told apart or not, yes or no, asked or not, and each number is theirs."""

import re

import numpy as np
import pandas as pd
import pytest
from made_up import card, claims, results

from melib import DataError
from melib.data import cache
from melib.paper import answers
from melib.study import evaluation
from melib.study.results import intervals

BRACKET = re.compile(r"([+-]?\d+\.\d+) \[(-?\d+\.\d+), (-?\d+\.\d+)\]")


def frame(columns, rows):
    return pd.DataFrame(rows, columns=columns.split()).assign(events=24, subjects=8)


def change(family, variant, difference, low, high, p_holm=0.001, metric="inside_spearman_true"):
    return ("synthme", "context", family, variant, "the base", metric, difference, low, high, p_holm)


CHANGES = "dataset protocol family variant base metric difference low high p_holm"
LIMITS = (
    "dataset condition system kind per_hour threshold_px threshold_px_low threshold_px_high lapse lapse_low lapse_high "
    "remark"
)
TABLES = {
    "face_card": card(),
    "claims": claims(),
    "summary": intervals(results(), [*evaluation.KEYS, "metric"]).assign(amplitude="all"),
    "model_differences": frame(
        "dataset protocol model input control metric difference low high p_holm",
        [
            (
                "synthme",
                "context",
                "resnet18_bigru",
                "flow",
                "position_only",
                "inside_spearman_true",
                0.6,
                0.5,
                0.7,
                0.001,
            ),
            (
                "synthme",
                "context",
                "resnet18_bigru",
                "raw",
                "position_only",
                "inside_spearman_true",
                0.0,
                -0.1,
                0.1,
                1.0,
            ),
        ],
    ),
    "ablation_differences": frame(
        CHANGES,
        [
            change("temporal", "no GRU", -0.31, -0.41, -0.22),
            change("temporal", "one direction", -0.02, -0.05, 0.01),
            change("target", "boxcar target", -0.12, -0.2, -0.04),
            change("target", "Gaussian target", 0.01, -0.02, 0.04),
            change("loss", "no ranking term", 0.0, -0.02, 0.02),
        ],
    ),
    "prior_match": frame(
        "dataset protocol prior landmarks metric estimate low high less_triangle less_triangle_low less_triangle_high",
        [
            (
                "synthme",
                "context",
                name,
                marks,
                "ccc",
                value,
                value - 0.01,
                value + 0.01,
                0.02,
                0.011,
                0.029,
            )
            for marks, less in (("exact", 0.0), ("annotated", 0.02), ("off by 2 frames", 0.05))
            for name, value in (("triangular", 0.95 - less), ("raised_cosine", 0.97 - less))
        ],
    ),
    "limits": frame(
        LIMITS,
        [
            ("synthme", "base", "ours", "model", 6.0, 0.61, 0.52, 0.73, 0.05, 0.01, 0.1, ""),
            (
                "synthme",
                "base",
                "motion",
                "baseline",
                6.0,
                np.nan,
                np.nan,
                np.nan,
                np.nan,
                np.nan,
                np.nan,
                "never half",
            ),
            ("synthme", "base", "ideal observer", "ideal", 6.0, 0.11, 0.1, 0.12, 0.0, 0.0, 0.01, ""),
            ("synthme", "noise", "ours", "model", 6.0, 0.99, 0.9, 1.1, 0.05, 0.01, 0.1, ""),
        ],
    ),
    "efficiency": frame(
        "dataset condition system low_px high_px efficiency efficiency_low efficiency_high",
        [("synthme", "base", "ours", 0.5, 1.0, 0.021, 0.011, 0.032)],
    ),
    "factorial": pd.DataFrame(
        [
            (
                "synthme_lv",
                "decoder",
                "extensible_interval",
                "semi_markov",
                "end_to_end_f1",
                0.011,
                -0.01,
                0.03,
                16,
            ),
            ("synthme_lv", "features", "reference", "regional", "end_to_end_f1", 0.11, 0.05, 0.17, 16),
        ],
        columns=["dataset", "factor", "reference", "ours", "metric", "effect", "low", "high", "combinations"],
    ),
    "decoder_differences": frame(
        "dataset setting other difference low high p_holm",
        [
            ("synthme_lv", "its own prior", "fixed_window", 0.14, 0.04, 0.24, 0.03),
            ("synthme_lv", "its own prior", "half_height", 0.07, 0.01, 0.15, 0.2),
        ],
    ),
    "spotting_claims": frame(
        "dataset claim metric difference low high p_holm",
        [("synthme_lv", "end-to-end F1 above the reference's", "end_to_end_f1", 0.24, 0.14, 0.33, 0.002)],
    ),
    "variant_differences": frame(
        "dataset system metric difference low high p_holm",
        [
            ("synthme_lv", "ours, half height", "end_to_end_f1", -0.03, -0.09, 0.02, 0.9),
            ("synthme_lv", "ours, no grafts", "end_to_end_f1", -0.11, -0.19, -0.03, 0.01),
        ],
    ),
    "inflation_ledger": frame(
        "dataset system fault meaning strs inflation low high",
        [
            ("synthme_lv", "reference, repaired", "none", "nothing is wrong", 0.016, 0.0, 0.0, 0.0),
            (
                "synthme_lv",
                "reference, repaired",
                "events_only",
                "empty videos aren't scored",
                0.032,
                0.016,
                0.004,
                0.03,
            ),
            ("synthme_lv", "ours", "none", "nothing is wrong", 0.2, 0.0, 0.0, 0.0),
            ("synthme_lv", "ours", "events_only", "empty videos aren't scored", 0.25, 0.05, 0.01, 0.08),
            (
                "synthme_lv",
                "ours",
                "epoch_on_test",
                "the epoch is picked on the test subjects",
                0.21,
                0.01,
                -0.02,
                0.04,
            ),
        ],
    ),
    "published_control": pd.DataFrame(
        [
            ("synthme", "spearman_pseudo", "samm", 0.9014, 0.8823, 157, 29),
            ("synthme", "spearman_pseudo", "casme3_me", np.nan, 0.8797, 785, 93),
            ("synthme", "kendall_pseudo", "samm", 0.7999, 0.7745, 157, 29),
        ],
        columns=["dataset", "metric", "of", "paper", "control", "their_events", "their_subjects"],
    ),
}

# What nothing is said of, but what others read.
TABLES["limits"] = TABLES["limits"].assign(level=0.0, unit="px", slope=1.0, guess=0.01, most_px=2.5)
TABLES["efficiency"] = TABLES["efficiency"].assign(level=0.0)
TABLES["prior_match"] = TABLES["prior_match"].assign(jitter=0)
TABLES["variant_differences"] = TABLES["variant_differences"].assign(against="ours")
TABLES["decoder_differences"] = TABLES["decoder_differences"].assign(ours="semi_markov")
TABLES["model_differences"] = TABLES["model_differences"].assign(control_input="none")
# What every paired test has besides (comparisons.corrected).
TABLES |= {
    name: table.assign(p=0.001, effect=0.4, seeds=1, significant=table["p_holm"] < 0.05)
    for name, table in TABLES.items()
    if "p_holm" in table
}


def write(folder, tables):
    for name, table in tables.items():
        cache.write_table(folder / "results" / f"{name}.csv", table)
    return folder


def asked(folder, **changed):
    """Answers by name of a run that has all tables, some of them changed or, where None, left out."""
    tables = {name: table for name, table in (TABLES | changed).items() if table is not None}
    return {answer.name: answer for answer in answers.answers(write(folder, tables))}


def verdicts(answer):
    return [finding.verdict for finding in answer.findings]


def words(answer):
    return " ".join(part for finding in answer.findings for part in (*finding.said, *finding.details))


def test_the_six_questions_are_answered_with_numbers_of_the_tables(tmp_path):
    found = asked(tmp_path)
    assert list(found) == ["temporal", "prior", "inputs", "limits", "decoder", "faults"]
    assert verdicts(found["temporal"]) == ["yes"]
    assert verdicts(found["prior"]) == ["yes, none is better"]
    assert verdicts(found["inputs"]) == ["flow: yes; difference: in part"]
    assert verdicts(found["limits"]) == ["0.61 px, 5.5 times the ideal's: far from it"]
    assert verdicts(found["decoder"]) == [
        "not told apart; on the same curves ahead in 1 and behind in 0 of 2"
    ]
    assert verdicts(found["faults"]) == ["up to 20 % of our own score", "98 % without a pixel"]
    assert "Ours, half height instead of semi-Markov, end-to-end F1: -0.03" in words(found["decoder"])
    assert "grafts" not in words(found["decoder"])
    for answer in found.values():
        assert answer.missing == ()
        assert all(finding.said for finding in answer.findings), answer.name
        assert "24 events, 8 subjects" in words(answer) or "24 clips, 8 subjects" in words(answer), (
            answer.name
        )


def test_every_interval_in_a_sentence_is_a_row_of_a_table(tmp_path):
    rows = set()
    for table in TABLES.values():
        for column in (
            "estimate",
            "difference",
            "effect",
            "inflation",
            "threshold_px",
            "less_triangle",
            "efficiency",
        ):
            bounds = [f"{column}_low", f"{column}_high"] if f"{column}_low" in table else ["low", "high"]
            if column in table:
                for values in table[[column, *bounds]].to_numpy(float):
                    rows |= {tuple(round(v + 0.0, digits) for v in values) for digits in (1, 2, 3)}
    found = [match for answer in asked(tmp_path).values() for match in BRACKET.findall(words(answer))]
    assert len(found) > 20
    for match in found:
        assert tuple(float(text) + 0.0 for text in match) in rows, match


@pytest.mark.parametrize(
    ("low", "high", "p_holm", "word"),
    [
        (0.1, 0.3, np.nan, "above"),
        (-0.3, -0.1, np.nan, "below"),
        (0.0, 0.3, np.nan, "not told apart"),
        (-0.1, 0.3, 0.001, "not told apart"),
        (0.1, 0.3, 0.049, "above"),
        (0.1, 0.3, 0.05, "not told apart"),
        (np.nan, 0.3, 0.001, "unknown"),
    ],
)
def test_a_difference_is_told_apart_by_its_interval_and_by_holm(low, high, p_holm, word):
    assert answers.told({"low": low, "high": high, "p_holm": p_holm}) == word


def test_temporal_modelling_helps_only_where_a_model_without_it_is_told_apart_below(tmp_path):
    def verdict(**changed):
        return verdicts(asked(tmp_path, **changed)["temporal"])

    same = frame(CHANGES, [change("temporal", "no GRU", 0.0, -0.1, 0.1)])
    better = frame(CHANGES, [change("temporal", "no GRU", 0.2, 0.1, 0.3)])
    blind = TABLES["face_card"].assign(low=-0.1)
    assert verdict(ablation_differences=same) == ["in part"]
    # What raw frames gain may be position alone.
    raw = frame(CHANGES, [change("temporal", "no GRU, raw", -0.3, -0.4, -0.2)]).assign(input="raw")
    both = pd.concat([raw, same.assign(input="flow")], ignore_index=True)
    assert verdict(ablation_differences=both) == ["in part"]
    assert verdict(ablation_differences=raw) == ["yes"]
    assert verdict(ablation_differences=better) == ["in part"]
    assert verdict(ablation_differences=better, face_card=blind) == ["not shown"]
    (tmp_path / "results" / "ablation_differences.csv").unlink()
    assert verdict(ablation_differences=None) == ["beyond position: yes; without it: not asked"]


def test_no_word_without_its_table(tmp_path):
    for answer in answers.answers(tmp_path):
        assert answer.findings == answer.tables == ()
        assert all(
            re.fullmatch(r"Not asked in this run: notebook 0\d_\w+ writes .*csv\.", s) for s in answer.missing
        )
    notebooks = {notebook for question in answers.QUESTIONS for notebook in question.tables.values()}
    assert {text.split()[6] for answer in answers.answers(tmp_path) for text in answer.missing} == notebooks


@pytest.mark.parametrize("name", TABLES)
def test_empty_and_undefined_numbers_and_missing_columns_are_survived(tmp_path, name):
    table = TABLES[name]
    numbers = table.select_dtypes("number").columns
    unknown = table.assign(**dict.fromkeys(numbers, np.nan))
    for spoilt in (table[:0], unknown, table[["dataset"]], table.drop(columns=numbers)):
        for answer in asked(tmp_path, **{name: spoilt}).values():
            text = " ".join([words(answer), *verdicts(answer)])
            assert not re.search(r"\bnan\b|\binf\b|None", text), text


def test_each_data_set_has_its_own_finding(tmp_path):
    both = {name: pd.concat([table, table.assign(dataset="another")]) for name, table in TABLES.items()}
    for name, answer in asked(tmp_path, **both).items():
        if name != "faults":
            assert len(answer.findings) == 2, name
        assert answer.findings[1].dataset == "another"
        assert answer.findings[1].said == answer.findings[0].said


def test_what_no_truth_is_known_of_is_judged_by_the_labels(tmp_path):
    rows = TABLES["summary"]
    paper = rows[(rows["protocol"] == "paper") & (rows["metric"] == "spearman_pseudo")]
    mine = {
        "face_card": TABLES["face_card"].query("protocol == 'paper'"),
        "summary": paper,
        "model_differences": None,
    }
    (found,) = asked(tmp_path, **mine, ablation_differences=None, claims=None)["temporal"].findings
    assert "Spearman with the pseudo-label" in " ".join(found.details)
    assert "paper protocol" in found.said[0]
    assert "no frames around the events" in words(asked(tmp_path, **mine)["inputs"])


def test_an_efficiency_that_is_no_more_than_guessing_is_an_upper_limit(tmp_path):
    none = TABLES["efficiency"].assign(efficiency=0.0, efficiency_low=0.0)
    assert "0.5 to 1 px at most 0.032" in words(asked(tmp_path, efficiency=none)["limits"])


def test_a_score_of_nothing_explains_nothing(tmp_path):
    ledger = TABLES["inflation_ledger"].assign(strs=0.0, inflation=0.0, low=0.0, high=0.0)
    (found, _) = asked(tmp_path, inflation_ledger=ledger)["faults"].findings
    assert found.verdict == "no score to explain"


def test_an_abstract_says_what_a_run_cannot_claim(tmp_path):
    write(tmp_path, {"intensity": results()})
    limits = " ".join(answers.abstract(tmp_path, {"profile": "smoke", "data": ["simulated"]}).limits)
    assert "simulated" in limits
    assert "One training seed" in limits
    assert "smoke" in limits
    assert "8 subjects" in limits
    assert "Nobody knows" not in limits

    several = pd.concat([results("samm").assign(seed=seed, peak_px=np.nan) for seed in range(3)])
    none = pd.DataFrame(
        [("samm", "context", "not testable", "cut to its events")],
        columns=["dataset", "protocol", "verdict", "reason"],
    )
    write(tmp_path, {"intensity": several, "untestable": none})
    found = answers.abstract(tmp_path, {"profile": "paper", "data": ["samm"]})
    said = " ".join(found.limits)
    assert "Nobody knows the true intensity of samm" in said
    assert "samm, context protocol: not testable, cut to its events." in said
    assert "One training seed" not in said
    assert "simulated" not in said
    assert "3 training seeds" in " ".join(found.method)


def test_a_broken_table_is_one_readable_sentence(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "limits.csv").write_text("")
    with pytest.raises(DataError, match=r"limits\.csv isn't a table"):
        answers.answers(tmp_path)
