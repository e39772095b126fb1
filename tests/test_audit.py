"""Laws of the audit: on curves of our own it gives our own table, and what saw nothing is told apart from what did."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr
from test_intensity import PEOPLE, windows
from typer.testing import CliRunner

from melib import DataError, controls, priors, protocols, stats
from melib.app import audit as auditing
from melib.app import cli
from melib.app.audit import audit_curves, read_csv
from melib.data import cache
from melib.study import evaluation


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """Of pooled correlations, whose intervals no law here is about."""
    monkeypatch.setattr(auditing, "_POOLED", 5)


def clips(people=6, videos=3, length=40, seed=0):
    """Curves that follow their own apex with some noise, and their events; apexes differ."""
    rng = np.random.default_rng(seed)
    curves, events = [], []
    for person in range(people):
        for number in range(videos):
            onset, offset = 4, length - 6
            apex = int(rng.integers(onset + 3, offset - 3))
            names = (f"{person:03d}", f"v{number}")
            events.append((*names, onset, apex, offset, 200))
            frame = np.arange(length)
            curve = np.interp(frame, [onset, apex, offset], [0, 1, 0]) + rng.normal(0, 0.03, length)
            curves += [(*names, f, value) for f, value in zip(frame, np.clip(curve, 0, 1), strict=True)]
    return (
        pd.DataFrame(curves, columns=["subject", "video", "frame", "intensity"]),
        pd.DataFrame(events, columns=["subject", "video", "onset", "apex", "offset", "fps"]),
    )


def measure(table, name):
    return table.set_index("measure").loc[name]


def test_on_curves_of_our_own_models_it_gives_our_own_table(tmp_path):
    rng = np.random.default_rng(0)
    prepared, folds = windows(tmp_path), protocols.folds(PEOPLE, 2, seed=0, validation_share=0)
    apexes = rng.integers(2, 6, len(prepared.table))
    marks = [(1, apex, 6) for apex in apexes]
    targets = np.stack([priors.triangular(*mark, prepared.pseudo.shape[1]) for mark in marks])
    prepared = replace(prepared, pseudo=targets, annotated=np.array(marks, float))
    curve = np.clip(targets + rng.normal(0, 0.2, targets.shape), 0, 1)
    ours = {("resnet18_bigru", "flow", 0): curve} | evaluation.window_curves(prepared, {}, folds)
    rows = evaluation.intensity(prepared, ours, folds)
    swaps = evaluation.swaps_within_folds(
        curve, prepared.pseudo, prepared.table["subject"].to_numpy(), evaluation.tested_in(prepared, folds)
    )
    for name, table in evaluation.whole_curves(prepared, ours, folds).items():
        cache.write_table(tmp_path / f"{name}.csv", table)
    curves, events = (read_csv(tmp_path / f"{name}.csv") for name in ("resnet18_bigru_flow", "events"))
    table = audit_curves(curves, events).table
    for model, column in (("resnet18_bigru", "curves"), ("position_only", "position_only")):
        of_model = rows[rows["model"] == model]
        for name in ("spearman", "kendall"):
            own = of_model[of_model["metric"] == f"{name}_pseudo"]
            estimate, low, high = stats.bootstrap(own["value"].to_numpy(), own["subject"].to_numpy())
            assert measure(table, name)[column] == pytest.approx(estimate, abs=1e-6)
            if column == "curves":
                assert tuple(measure(table, name)[["low", "high"]]) == pytest.approx((low, high), abs=1e-6)
    estimate = stats.bootstrap(swaps, prepared.table["subject"].to_numpy())
    assert tuple(measure(table, "clip_swap")[["curves", "low", "high"]]) == pytest.approx(estimate, abs=1e-6)


def test_position_alone_is_not_said_to_see_and_its_difference_from_itself_is_nothing():
    curves, events = clips()
    targets = {key: rows["intensity"].to_numpy() for key, rows in curves.groupby(["subject", "video"])}
    for key in targets:
        others = [target for (person, _), target in targets.items() if person != key[0]]
        rows = (curves["subject"] == key[0]) & (curves["video"] == key[1])
        curves.loc[rows, "intensity"] = np.mean(others, axis=0)
    made = audit_curves(curves, events)
    assert "nothing here shows" in made.verdict
    pair = measure(made.table, "spearman")
    assert pair["difference_low"] <= 0.02 and abs(pair["difference"]) < 0.02


def test_curves_of_their_own_clips_are_above_position_alone():
    made = audit_curves(*clips())
    assert "belong to their own clips" in made.verdict and "is above that of position alone" in made.verdict
    assert measure(made.table, "clip_swap")["low"] > controls.LEAST_SWAP
    assert measure(made.table, "apex_error")["curves"] < 5 * 5  # five frames of 5 ms


def test_pooled_measures_are_those_of_all_frames_in_one_row():
    curves, events = clips(people=3)
    curves["intensity"] = curves["intensity"].round(2)
    rows = curves.merge(events, on=["subject", "video"])
    rise = (rows["frame"] - rows["onset"]) / (rows["apex"] - rows["onset"])
    fall = (rows["offset"] - rows["frame"]) / (rows["offset"] - rows["apex"])
    target = np.minimum(rise, fall).clip(0).astype(np.float32)
    table = audit_curves(curves, events).table
    assert measure(table, "spearman_pooled")["curves"] == pytest.approx(
        spearmanr(rows["intensity"], target)[0]
    )
    assert measure(table, "kendall_pooled")["curves"] == pytest.approx(
        kendalltau(rows["intensity"], target)[0]
    )


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False), st.integers(-5, 5), st.sampled_from([0.5, 1, 3]))
def test_neither_the_order_of_rows_nor_a_shift_nor_a_step_of_both_counts_changes_anything(
    random, shift, step
):
    curves, events = clips(people=3, videos=2)
    before = audit_curves(curves, events, fps=200).table
    order = random.sample(range(len(curves)), len(curves))
    moved = curves.iloc[order].assign(frame=lambda rows: rows["frame"] * step + shift)
    marks = ["onset", "apex", "offset"]
    shifted = events.assign(**{name: events[name] * step + shift for name in marks})
    after = audit_curves(moved, shifted, fps=200 * step).table
    first = curves[["subject", "video"]].drop_duplicates()
    if (
        not moved[["subject", "video"]]
        .drop_duplicates()
        .reset_index(drop=True)
        .equals(first.reset_index(drop=True))
    ):
        before, after = (
            t.drop(columns=[c for c in t if c.endswith(("low", "high", "p"))]) for t in (before, after)
        )
    pd.testing.assert_frame_equal(before, after, rtol=1e-6)


def test_another_unit_is_said_and_changes_no_rank():
    curves, events = clips()
    made = audit_curves(curves.assign(intensity=curves["intensity"] * 5), events)
    assert any("scaled" in note for note in made.notes)
    expected = measure(audit_curves(curves, events).table, "spearman")["curves"]
    assert measure(made.table, "spearman")["curves"] == pytest.approx(expected, abs=0.01)


def test_frames_without_an_intensity_are_masked_and_unequal_lengths_are_legal():
    curves, events = clips()
    some = curves[
        ~((curves["subject"] == "001") & (curves["frame"] % 7 == 3))
        & ~((curves["subject"] == "002") & (curves["frame"] > 36))
    ]
    some = some.assign(intensity=some["intensity"].mask(some["frame"] == 10))
    table = audit_curves(some, events).table
    assert measure(table, "spearman")["clips"] == len(events)
    assert measure(table, "spearman")["curves"] == pytest.approx(
        measure(audit_curves(curves, events).table, "spearman")["curves"], abs=0.02
    )


def test_who_cannot_be_scored_is_counted():
    curves, events = clips()
    events = events.assign(apex=events["apex"].astype(float))
    events.loc[0, "apex"] = np.nan
    events.loc[1, ["onset", "apex", "offset"]] = [1000, 1010, 1020]
    events = pd.concat([events[2:], events[:2], events[:1].assign(video="gone")])
    made = audit_curves(curves[curves["video"] != "v2"], events)
    assert measure(made.table, "spearman")["clips"] == 10
    notes = " ".join(made.notes)
    assert "1 videos have an event without" in notes and "1 videos have an event outside" in notes
    assert "7 videos of the events' have no curve" in notes


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda c, e: (c.drop(columns="intensity"), e), "no column intensity"),
        (lambda c, e: (c, e.drop(columns="apex")), "no column apex"),
        (lambda c, e: (pd.concat([c, c[5:6]]), e), "occurs twice"),
        (lambda c, e: (c.assign(frame=c["frame"] / 30), e), "looks like seconds"),
        (lambda c, e: (c.assign(frame=c["frame"] ** 1.5), e), "uneven steps"),
        (lambda c, e: (c.assign(frame=np.nan), e), "no frame number"),
        (lambda c, e: (c, e.assign(apex=e["offset"] + 1)), "must be in order"),
        (lambda c, e: (c[c["subject"] == "001"], e), "two subjects or more"),
        (lambda c, e: (c, e.assign(video="other")), "only 0 subject"),
    ],
)
def test_what_cannot_be_audited_is_one_sentence(spoil, sentence):
    with pytest.raises(DataError, match=sentence) as caught:
        audit_curves(*spoil(*clips()))
    assert "\n" not in str(caught.value)


def test_the_command_reads_names_as_text_and_refuses_to_overwrite_its_input(tmp_path):
    curves, events = clips()
    curves.to_csv(tmp_path / "curves.csv", index=False)
    events.to_csv(tmp_path / "events.csv", index=False)
    assert set(read_csv(tmp_path / "curves.csv")["subject"]) == {f"{n:03d}" for n in range(6)}

    def call(out):
        files = [str(tmp_path / name) for name in ("curves.csv", "events.csv", out)]
        return CliRunner().invoke(cli.app, ["audit", files[0], "--events", files[1], "--out", files[2]])

    done = call("audit.csv")
    assert done.exit_code == 0, done.output
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "audit.csv"), audit_curves(curves, events).table, rtol=1e-4
    )
    assert call("events.csv").exit_code == 2
    (tmp_path / "curves.csv").write_text("subject,video,frame,intensity\n1,a,0,.5\n1,a,1,much\n")
    with pytest.raises(DataError, match="line 3: intensity is 'much'"):
        read_csv(tmp_path / "curves.csv")
