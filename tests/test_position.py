"""Laws of what is known before any network is trained, and of the published values that stand beside it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import test_evaluation

from melib import DataError, metrics, priors
from melib.study import position, published

prepared = test_evaluation.prepared


def annotated(people=6, clips=3, seed=0, dataset="samm"):
    """Events of clips, as read_events gives them."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(people * clips):
        length = int(rng.integers(30, 90))
        apex = 100 + int(rng.integers(5, length - 5))
        rows.append((f"s{i % people}", f"v{i}", "1", 100, apex, 100 + length))
    table = pd.DataFrame(rows, columns=["subject", "video", "event", "onset", "apex", "offset"])
    table = table.astype({"apex": "Int64"})
    return table.assign(dataset=dataset, kind="micro", status="ok", reason="", fps=200.0)


def test_the_control_of_a_table_is_the_mean_target_of_the_others_averaged_over_events_as_published():
    events = annotated()
    table = position.control_of_tables([events]).set_index("metric")
    marks = events[["onset", "apex", "offset"]].to_numpy(float)
    targets = np.stack([priors.resampled_triangle(*frames) for frames in marks])
    scores = [
        metrics.curve_agreement(targets[(events["subject"] != subject).to_numpy()].mean(0), targets[i])
        for i, subject in enumerate(events["subject"])
    ]
    for name in ("spearman", "kendall"):
        expected = np.mean([score[name] for score in scores])
        assert table.loc[f"{name}_pseudo", "over_events"] == pytest.approx(expected, abs=1e-6)
    assert (table["events"] == 18).all() and (table["left_out"] == "").all()


@pytest.mark.filterwarnings("ignore:paper windows")
def test_what_is_left_out_of_a_table_or_repaired_is_counted_with_its_reason():
    events = annotated()
    events.loc[0, "apex"] = pd.NA
    events.loc[1, "status"] = "dropped"
    events.loc[2, "status"] = "repaired"
    events.loc[3, "kind"] = "macro"
    row = position.control_of_tables([events]).iloc[0]
    assert (row["events"], row["repaired"]) == (15, 1)
    (alone,) = (
        position.control_of_tables([events.drop(index=2)]).query("metric == @row.metric").to_dict("records")
    )
    assert row["without_repaired"] == alone["over_events"] == alone["without_repaired"]
    assert (
        "1 because the event has no apex" in row["left_out"]
        and "1 because the event was dropped" in row["left_out"]
    )


def test_position_alone_stands_beside_the_paper_with_a_loud_mark_where_data_differ():
    control = position.control_of_tables([annotated()])
    beside = published.control_beside_published(control)
    assert set(beside["of"]) == {"samm"}
    assert set(beside["data"]) == {"OTHER DATA: 18 clips of 6 subjects, not 157 of 29"}
    row = beside.set_index("metric").loc["spearman_pseudo"]
    assert (row["paper"], row["control"]) == (0.9014, 0.8823)
    assert row["ours_low"] < row["alone"] == row["ours"] < row["ours_high"]
    assert row["low"] < row["difference"] == row["paper"] - row["ours"] < row["high"]
    assert set(published.control_beside_published(control.assign(events=157, subjects=29))["data"]) == {
        "same"
    }
    other = published.control_beside_published(control.assign(dataset="made_up"))
    assert (other["alone"] == other["control"]).all() and other["alone_low"].isna().all()
    assert set(other["of"]) == {"samm", "casme2", "casme3_me"}
    assert other["data"].str.startswith("OTHER DATA: made_up, not").all()


def test_a_run_of_long_videos_alone_has_an_empty_control():
    for control in (position.position_alone([]), position.control_of_tables([])):
        assert control.empty and published.control_beside_published(control).empty
    assert position.labels([]).empty


def test_the_reference_of_a_window_that_is_cut_at_the_onset_has_two_rows(prepared):
    (calm,) = position.reference([prepared]).to_dict("records")
    assert (calm["reference"], calm["used"]) == ("calmest stretch", True)
    first, calm = position.reference([replace(prepared, protocol="paper")]).to_dict("records")
    assert (first["reference"], first["used"], calm["used"]) == ("first frame", True, False)
    assert first["neutral"] == 1 and first["magnitude_spearman"] > 0.5 > calm["magnitude_spearman"]


def test_a_published_variant_stands_beside_our_variant_where_it_was_trained(tmp_path):
    keys = {"protocol": "paper", "model": "resnet18_bigru", "input": "raw", "metric": "spearman_pseudo"}
    numbers = {"low": 0.8, "high": 0.9, "events": 255, "subjects": 26}
    means = pd.DataFrame([{"dataset": "casme2", **keys, **numbers, "amplitude": "all", "estimate": 0.89}])
    trained = means.assign(variant="no ranking term", estimate=0.86)
    (full,) = (row for row in published._intensity(means) if row["of"] == "casme2")
    (variant,) = (row for row in published._intensity(means, trained) if row["of"] == "casme2")
    assert full["ours"] == 0.89 and "trained without the apex-ranking term" in full["mark"]
    assert variant["ours"] == 0.86 and "ranking" not in variant["mark"] and variant["published"] == 0.9116


@pytest.mark.filterwarnings("ignore:paper windows")
def test_a_table_without_an_apex_is_one_sentence():
    events = annotated().assign(apex=pd.NA)
    with pytest.raises(
        DataError, match=r"samm: no micro-expression has .* \(18 because the event has no apex\)"
    ):
        position.control_of_tables([events])


def test_a_data_set_of_one_subject_is_refused_by_name(prepared):
    one = prepared.table["subject"].to_numpy() == prepared.table["subject"].iloc[0]
    few = replace(prepared, table=prepared.table[one], pseudo=prepared.pseudo[one])
    with pytest.raises(DataError, match=r"^made_up has usable events of one subject alone; .* name a folder"):
        position.position_alone([few])
