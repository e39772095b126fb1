"""Laws of `melib decode` and `melib score`: any csv in, intervals and their score out, one sentence for a mistake."""

import numpy as np
import pandas as pd
import pytest
from test_cli import melib
from test_selector import videos

from melib import metrics
from melib.app import interval_files


@pytest.fixture
def files(tmp_path):
    """A csv of curves and one of their events."""
    curves, blinks, events, subjects = videos(0, 18)
    rows, truth = [], []
    for i, (curve, blink, table) in enumerate(zip(curves, blinks, events, strict=True)):
        about = {"subject": f"00{subjects[i][1:]}", "video": f"v{i}"}
        rows.append(
            pd.DataFrame({**about, "frame": np.arange(len(curve)) + 5, "score": curve, "blink": blink})
        )
        truth.append(table.assign(**about) + {"onset": 5, "offset": 5, "subject": "", "video": ""})
    pd.concat(rows).to_csv(tmp_path / "curves.csv", index=False)
    pd.concat(truth).to_csv(tmp_path / "events.csv", index=False)
    return tmp_path


def decode(folder, *more):
    return melib(
        "decode", folder / "curves.csv", "--events", folder / "events.csv", "--out", folder / "out.csv", *more
    )


@pytest.mark.parametrize("decoder", ["selector", "fixed_window"])
def test_what_is_decoded_is_scored_as_the_metrics_say(files, decoder):
    ended = decode(files, "--decoder", decoder)
    assert ended.exit_code == 0, ended.output
    assert "counted from 0" in ended.output
    out = pd.read_csv(files / "out.csv", dtype={"subject": str})
    assert out.columns.tolist() == ["subject", "video", "onset", "offset", "emotion", "apex", "confidence"]
    truth = pd.read_csv(files / "events.csv", dtype={"subject": str})
    expected = metrics.spotting(out, truth)
    assert expected["f1"] > 0.2
    rules, over_iou, _, missed = interval_files.score_intervals(
        interval_files.read_intervals(files / "out.csv"),
        interval_files.read_truth(files / "events.csv", None),
    )
    assert rules.set_index("rule").loc["strict", ["tp", "fp", "fn"]].tolist() == [
        expected["tp"],
        expected["fp"],
        expected["fn"],
    ]
    assert over_iou.set_index("iou")["f1"][0.5] == pytest.approx(expected["f1"])
    assert len(missed) == expected["fn"]
    ended = melib("score", files / "out.csv", files / "events.csv", "--misses", files / "misses.csv")
    assert ended.exit_code == 0, ended.output
    assert len(pd.read_csv(files / "misses.csv")) == expected["fn"]


def test_a_decoder_of_one_file_is_applied_to_another(files):
    curves = pd.read_csv(files / "curves.csv", dtype={"subject": str})
    curves[curves["video"] == "v3"].to_csv(files / "other.csv", index=False)
    assert decode(files, "--apply", files / "other.csv").exit_code == 0
    assert set(pd.read_csv(files / "out.csv")["video"]) <= {"v3"}


def test_arrays_and_intensities_of_openface_are_curves_as_well(tmp_path):
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a" / "first.npy", np.arange(4.0))
    table = pd.DataFrame({"frame": [1, 2, 3], " success": [1, 0, 1], " AU12_r": [0.5, 1.5, 2.5]})
    table.to_csv(tmp_path / "a" / "second.csv", index=False)
    first, second = interval_files.read_curves(tmp_path, "AU12_r")
    assert (first.subject, first.video, first.scores.tolist()) == ("a", "first", [0, 1, 2, 3])
    assert (second.subject, second.video, second.first) == ("a", "second", 0)
    np.testing.assert_array_equal(second.scores, [0.5, np.nan, 2.5])


def test_every_miss_has_its_reason():
    about = {"subject": "1", "video": "a"}
    truth = pd.DataFrame(
        {"onset": [10, 100, 200, 300, 400], "offset": [20, 110, 210, 310, 410], "emotion": "negative"}
    )
    predicted = pd.DataFrame(
        [
            (10, 20, 15, True, "negative"),
            (100, 110, 105, False, "negative"),
            (205, 240, 207, True, "negative"),
            (300, 309, 305, True, "surprise"),
        ],
        columns=["onset", "offset", "apex", "kept", "emotion"],
    )
    missed = interval_files.score_intervals(predicted.assign(**about), truth.assign(**about))[3]
    assert missed["reason"].tolist() == ["threshold", "geometry", "class", "no candidate"]


def test_no_cell_of_the_output_is_one_that_a_spreadsheet_runs(files):
    for name in ("curves.csv", "events.csv"):
        table = pd.read_csv(files / name, dtype={"subject": str})
        table["video"] = table["video"].replace({"v0": "=1+1", "v1": "@cmd", "v2": "-x", "v3": "+y"})
        table.to_csv(files / name, index=False)
    assert decode(files, "--all").exit_code == 0
    assert not pd.read_csv(files / "out.csv", dtype=str)["video"].str.match("[-=+@]").any()
    assert set(interval_files.read_intervals(files / "out.csv")["video"]) >= {"=1+1", "@cmd"}


@pytest.mark.parametrize(
    ("file", "change", "sentence"),
    [
        ("curves.csv", lambda t: t[t["frame"] != 17], "has no frames between 16 and 18"),
        ("curves.csv", lambda t: t.assign(frame=t["frame"] / 30), "is no whole frame"),
        ("curves.csv", lambda t: pd.concat([t, t.head(3)]), "has frame 5 twice"),
        ("curves.csv", lambda t: t.drop(columns="score"), "has no column score"),
        ("curves.csv", lambda t: t.assign(score="high"), "is no number"),
        ("curves.csv", lambda t: t.assign(score=np.inf), "is no number"),
        ("curves.csv", lambda t: t[t["video"] != "v0"], "is of a video that has no curve"),
        ("curves.csv", lambda t: t.assign(subject="1"), "none can be left out"),
        (
            "events.csv",
            lambda t: t.assign(onset=t["onset"] / 30, offset=t["offset"] / 30),
            "is no whole frame",
        ),
        (
            "events.csv",
            lambda t: t.assign(onset=t["onset"] + 900, offset=t["offset"] + 900),
            "outside its curve",
        ),
        ("events.csv", lambda t: pd.concat([t, t.head(1)]), "occurs twice"),
        ("events.csv", lambda t: t.drop(columns="offset"), "has no column offset"),
        ("events.csv", lambda t: t.head(0), "no micro-expression to learn from"),
        ("events.csv", lambda t: t[t["subject"] == "000"], "of one group of subjects"),
        ("events.csv", lambda t: t.assign(onset=t["offset"] + 1), "ends before its onset"),
    ],
)
def test_a_file_that_cannot_be_is_refused_in_one_sentence(files, file, change, sentence):
    table = pd.read_csv(files / file, dtype={"subject": str})
    if "subject" in sentence or "left out" in sentence:
        events = pd.read_csv(files / "events.csv").assign(subject="1")
        events.to_csv(files / "events.csv", index=False)
    change(table).to_csv(files / file, index=False)
    ended = decode(files)
    assert ended.exit_code == 1
    assert sentence in ended.output and ended.output.count("\n") == 1
    assert not (files / "out.csv").exists()


def test_curves_that_say_nothing_are_decoded_beside_the_others(files):
    curves = pd.read_csv(files / "curves.csv", dtype={"subject": str})
    curves.loc[curves["video"] == "v0", "score"] = 0.3
    curves.loc[curves["video"] == "v4", "score"] = np.nan
    curves.to_csv(files / "curves.csv", index=False)
    assert decode(files, "--all", "--decoder", "half_height").exit_code == 0
    assert "v4" not in set(pd.read_csv(files / "out.csv")["video"])


def test_a_file_without_what_was_learned_from_is_refused_in_one_sentence(files):
    curves = pd.read_csv(files / "curves.csv", dtype={"subject": str})
    np.save(files / "infinite.npy", np.r_[1.0, np.inf])
    curves.drop(columns="blink").to_csv(files / "other.csv", index=False)
    (files / "empty.csv").write_text("")
    for other, sentence in (
        ("other.csv", "fitted with a curve of blink"),
        ("infinite.npy", "frame 1 is infinite"),
        ("empty.csv", "can't be read as csv"),
    ):
        # Two subjects, so that the fit is short.
        few = curves[curves["subject"].isin(["000", "001"])]
        few.to_csv(files / "curves.csv", index=False)
        events = pd.read_csv(files / "events.csv", dtype={"subject": str})
        events[events["subject"].isin(["000", "001"])].to_csv(files / "events.csv", index=False)
        ended = decode(files, "--apply", files / other)
        assert ended.exit_code == 1
        assert sentence in ended.output and ended.output.count("\n") == 1
