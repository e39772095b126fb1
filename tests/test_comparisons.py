"""Families of tests are declared beforehand, corrected one by one, and each test of a run stands in one table once."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from made_up import a_run

from melib import stats
from melib.study import comparisons, evaluation, published, results

P = st.floats(0.0001, 1)


def tests_of(p, dataset):
    return pd.DataFrame({"dataset": dataset, "test": [f"t{i}" for i in range(len(p))], "p": p})


tests_of.__test__ = False


@given(st.lists(P, min_size=1, max_size=6), st.lists(P, min_size=1, max_size=6))
def test_every_data_set_is_a_family_of_its_own_and_no_test_counts_twice(one, two):
    table = pd.concat([tests_of(one, "a"), tests_of(two, "b"), tests_of(one, "a")], ignore_index=True)
    corrected = comparisons.corrected(table, "spotting_systems", ["test"])
    expected = np.concatenate([stats.holm(one), stats.holm(two), stats.holm(one)])
    np.testing.assert_allclose(corrected["p_holm"], expected)
    assert (corrected["significant"] == (expected <= comparisons.alpha())).all()
    assert list(corrected["tests"]) == [len(one)] * len(one) + [len(two)] * len(two) + [len(one)] * len(one)
    pd.testing.assert_frame_equal(corrected[table.columns.tolist()], table)


def test_what_is_no_test_stays_out():
    table = tests_of([0.01, np.nan, 0.02], "a")
    corrected = comparisons.corrected(table, "intensity_claims", ["test"])
    assert corrected["family"].tolist() == ["intensity_claims", "", "intensity_claims"]
    assert corrected["significant"].tolist() == [True, False, True]
    assert corrected["tests"].tolist() == [2, 0, 2]
    assert np.isnan(corrected["p_holm"][1])
    assert comparisons.corrected(table.head(0), "intensity_claims", ["test"]).empty
    nothing = comparisons.corrected(table.iloc[[1]], "intensity_claims", ["test"])
    assert not nothing["significant"].any()


def results_with_one_model_that_sees(seeds=(0,)):
    """intensity.csv of 12 people: flow is better than both controls, raw equals position; seeds differ a little."""
    rng, rows = np.random.default_rng(0), []
    models = [
        ("position_only", "none", 0.3),
        ("flow_magnitude", "flow", 0.5),
        ("oracle_interval", "none", 0.6),
    ]
    models += [
        ("resnet18_bigru", "flow", 0.9),
        ("resnet18_bigru", "raw", 0.3),
        ("constant_frame", "raw", 0.3),
    ]
    for model, used, level in models:
        for seed in seeds if model == "resnet18_bigru" else (0,):
            shift = rng.normal(0, 0.05)
            for s in range(12):
                for e in range(3):
                    for protocol, metric in (
                        ("context", "inside_spearman_true"),
                        ("paper", "spearman_pseudo"),
                    ):
                        value = level + (shift if len(seeds) > 1 else 0) + rng.normal(0, 0.05)
                        about = (protocol, model, used, seed, f"{s:02d}", f"{s:02d}_{e}", 0.5 + e)
                        rows.append(("d", *about, metric, value))
    names = [
        "dataset",
        "protocol",
        "model",
        "input",
        "seed",
        "subject",
        "event",
        "peak_px",
        "metric",
        "value",
    ]
    return pd.DataFrame(rows, columns=names)


CARD = pd.DataFrame(
    [("d", "context", "resnet18_bigru", "flow", 0, "clip_swap", 0.4, 0.3, 0.5, 36, 12)],
    columns=[
        *("dataset", "protocol", "model", "input", "seed", "quantity", "estimate", "low", "high", "clips"),
        "subjects",
    ],
)


def test_the_claims_are_the_declared_family_and_the_models_test_nothing_of_it_again():
    table = results_with_one_model_that_sees()
    claims = evaluation.claims(table, CARD)
    assert (claims["family"] == "intensity_claims").sum() == 4 == claims["tests"].max()
    assert claims.loc[claims["family"] == "", "p"].isna().all()
    models = evaluation.model_differences(table)
    tested = set(
        models[["protocol", "model", "input", "control", "metric"]].itertuples(index=False, name=None)
    )
    assert ("context", "resnet18_bigru", "flow", "position_only", "inside_spearman_true") in tested
    assert ("context", "resnet18_bigru", "flow", "flow_magnitude", "inside_spearman_true") not in tested
    assert ("context", "resnet18_bigru", "raw", "flow_magnitude", "inside_spearman_true") in tested
    flow = models[(models["input"] == "flow") & (models["control"] == "position_only")]
    assert flow["significant"].all()
    raw = models[(models["input"] == "raw") & (models["control"] == "position_only")]
    assert not raw["significant"].any()


def test_seeds_are_crossed_in_claims_and_widen_what_they_make_uncertain():
    one, three = (results_with_one_model_that_sees(seeds) for seeds in ((0,), (0, 1000, 2000)))
    a, b = (evaluation.claims(table, CARD).set_index(["claim", "needed"]) for table in (one, three))
    assert set(a["seeds"]) == {1}
    assert set(b["seeds"]) == {3}
    assert (a["events"] == b["events"]).all()  # an event counts once, however often it was trained for
    wide = b["high"] - b["low"]
    tested = b["p"].notna()
    assert (wide[tested] > 1.3 * (a["high"] - a["low"])[tested]).all()


def test_statistics_hold_every_paired_test_of_a_run_once(tmp_path):
    run = a_run(tmp_path / "run")
    table = results_with_one_model_that_sees()
    results.write_result(run, "claims", evaluation.claims(table, CARD))
    models = results.write_result(run, "model_differences", evaluation.model_differences(table))
    twice = pd.DataFrame(
        [("e", f"claim {i}", "strs", 0.1, 0.0, 0.2, 0.01, 0.4, 8, 1) for i in range(2)],
        columns=[
            "dataset",
            "claim",
            "metric",
            "difference",
            "low",
            "high",
            "p",
            "effect",
            "subjects",
            "seeds",
        ],
    )
    results.write_result(run, "spotting_claims", comparisons.corrected(twice, "spotting_claims", ["metric"]))
    statistics = comparisons.statistics(run)
    assert statistics.columns[: len(comparisons.COLUMNS)].tolist() == comparisons.COLUMNS
    assert not statistics.duplicated(comparisons.COLUMNS[:5]).any()
    assert statistics.groupby("family").size().to_dict() == {
        "intensity_claims": 4,
        "intensity_models": len(models),
        "spotting_claims": 1,
    }
    assert (statistics.groupby("family")["tests"].first() == statistics.groupby("family").size()).all()
    # Holm over what stands there is what stands there: no test is missing from its family.
    for _, part in statistics.groupby(["family", "dataset"]):
        np.testing.assert_allclose(stats.holm(part["p"]), part["p_holm"], rtol=1e-4)
    assert comparisons.statistics(tmp_path / "nothing").empty


def test_no_published_value_stands_beside_simulated_data_without_a_loud_mark(tmp_path):
    run = a_run(tmp_path / "run")
    keys = ["dataset", "protocol", "model", "input", "metric"]
    estimates = results.intervals(results.read_result(run / "results" / "intensity.csv"), keys)
    results.write_result(run, "summary", estimates.assign(amplitude="all"))
    columns = ["dataset", "system", "rule", "seed", "strs", "spotting_f1", "recognition_f1"]
    rows = [
        ("synthme_lv", system, rule, 0, 0.2, 0.4, 0.5)
        for system in ("ours", "chance", "reference, published")
        for rule in ("strict", "megc", "boosting")
    ]
    results.write_result(run, "spotting", pd.DataFrame(rows, columns=columns))
    beside = published.beside(run)
    assert beside["mark"].str.startswith("OTHER DATA: synthme").all()
    # Every published value is there, beside everything of ours that answers it.
    for task in ("intensity", "spotting"):
        known = published.values(task).query("model != 'position_only'")
        shown = set(zip(beside["what"], beside["metric"], beside["published"], strict=True))
        for row in known.itertuples():
            assert (f"{row.method} on {row.dataset}", row.metric, row.value) in shown
    np.testing.assert_allclose(beside["difference"], beside["ours"] - beside["published"])
    spotted = beside[beside["model"] == "ours"]
    assert (spotted["control"].notna()).all()


def test_every_published_value_has_a_source_and_the_products_agree():
    for task in ("intensity", "spotting"):
        table = published.values(task)
        assert table["source"].str.len().min() > 10
        assert not table.duplicated(["dataset", "method", "metric", "model"]).any()
    wide = published.values("spotting").pivot_table(
        index=["method", "dataset"], columns="metric", values="value"
    )
    wide = wide.dropna()
    np.testing.assert_allclose(wide["spotting_f1"] * wide["recognition_f1"], wide["strs"], atol=8e-3)
