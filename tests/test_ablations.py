"""Laws of the intensity ablations: one change at a time, the same samples for all, nobody tested on changed labels."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import test_evaluation
import test_intensity
from hypothesis import given
from hypothesis import strategies as st
from made_up import unbegun

from melib import learn, priors, stats
from melib.errors import DataError
from melib.paper import ablation_figures, style
from melib.study import ablations, comparisons, evaluation, intensity, results
from melib.study.ablations import CHANGES
from melib.study.data import open_study, with_clips
from melib.study.run import Run

finished = test_intensity.finished  # the tiny grid, run once
prepared, folds, records = test_evaluation.prepared, test_evaluation.folds, test_evaluation.records


@pytest.fixture(scope="module", autouse=True)
def few_errors():
    """Three errors of the landmarks, drawn once: the laws are the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablations, "JITTERS", (1, 3, 6))
        patch.setattr(ablations, "DRAWS", 1)
        yield


def lines(*variants, fit=None, protocol="paper", used="flow"):
    return [{"protocol": protocol, "input": used, "fit": fit or {}, "variants": list(variants)}]


def outcome_of(finished):
    _, prepared, folds, records = finished
    rows = [
        ("made_up", r.subject, r.video, r.event, 1, 3, 6, "micro", "ok") for r in prepared.table.itertuples()
    ]
    names = ["dataset", "subject", "video", "event", "onset", "apex", "offset", "kind", "status"]
    study = SimpleNamespace(events=pd.DataFrame(rows, columns=names), name="made_up")
    return intensity.Outcome([prepared], {}, {"made_up": folds}, {"made_up": records}, 0, {"made_up": study})


def asking(folder, spec):
    """A run of the tiny grid whose profile asks for some lines."""
    settings = test_intensity.TINY | {"ablations": spec, "windows": {"paper": {"T": test_intensity.T}}}
    return Run(folder, "tiny", settings, jobs=1)


# ---- changes ----------------------------------------------------------------------------------------------------


def events(n=5):
    rng = np.random.default_rng(2)
    rows = []
    for i in range(n):
        onset = int(rng.integers(0, 40))
        rows.append(("x", "s", f"v{i}", f"e{i}", onset, onset + 10, onset + 30))
    return pd.DataFrame(rows, columns=["dataset", "subject", "video", "event", "onset", "apex", "offset"])


def test_labels_that_are_not_off_are_the_annotated_ones():
    given = events()
    pd.testing.assert_frame_equal(ablations.jittered(given, 0, seed=3), given)


@given(st.floats(0.1, 40), st.integers(0, 50))
def test_labels_that_are_off_keep_their_order(sd, seed):
    moved = ablations.jittered(events(), sd, seed)
    assert (moved["onset"] <= moved["apex"]).all()
    assert (moved["apex"] <= moved["offset"]).all()


def test_an_event_s_error_depends_on_the_seed_and_itself_alone():
    given = events()
    alone = ablations.jittered(given.iloc[[3]], 2, seed=1)
    pd.testing.assert_frame_equal(ablations.jittered(given, 2, seed=1).iloc[[3]], alone)
    assert not ablations.jittered(given, 2, seed=2).equals(ablations.jittered(given, 2, seed=1))


def test_a_missing_apex_makes_no_landmark_up():
    given = events().astype({"apex": "Int64"})
    given.loc[1, "apex"] = pd.NA
    moved = ablations.jittered(given, 3, seed=0)
    assert moved.loc[1, ["apex", "offset"]].isna().any()
    assert moved.drop(index=1).notna().all(axis=None)


def test_a_boxcar_is_trained_on_the_boxcar_and_tested_on_what_was_annotated(finished):
    outcome = outcome_of(finished)
    (p,), fold = outcome.prepared, outcome.folds["made_up"][0]
    target = ablations.relabelled(outcome.studies, p, CHANGES["boxcar target"], seed=0)
    np.testing.assert_array_equal(
        target, np.tile(priors.boxcar(1, 3, 6, test_intensity.T), (len(p.table), 1))
    )
    seen = ablations._for_training(p, target, fold)
    test = intensity.rows_of(p, fold.test)
    rest = intensity.rows_of(p, [*fold.train, *fold.validation])
    np.testing.assert_array_equal(seen.pseudo[test], p.pseudo[test])
    np.testing.assert_array_equal(seen.pseudo[rest], target[rest])


def test_curves_on_the_base_s_own_samples_stay_as_they_are_and_a_line_survives_any_resampling():
    curves = np.random.default_rng(0).random((3, 32)).astype(np.float32)
    assert ablations.onto(curves, 32) is curves
    straight = np.linspace(0, 1, 8, dtype=np.float32)[None]
    np.testing.assert_allclose(ablations.onto(straight, 32)[0], np.linspace(0, 1, 32), atol=1e-6)


def test_the_base_s_own_number_of_samples_gives_the_base_s_windows(tiny_set, tmp_path):
    study = open_study(tiny_set / "manifest.yml", tiny_set)
    run = unbegun("smoke", tmp_path / "run")
    study = with_clips(study, run)
    base = intensity.prepare_windows(study, "paper", run)
    again = intensity.sample_windows(study, base.table, base.positions.shape[1], run)
    assert again.entries == base.entries
    np.testing.assert_array_equal(again.positions, base.positions)
    half = intensity.sample_windows(study, base.table, 8, run)
    np.testing.assert_allclose(half.positions[:, [0, -1]], base.positions[:, [0, -1]])
    assert half.load(np.arange(1)).flow.shape[1] == 8


# ---- the grid ---------------------------------------------------------------------------------------------------


def test_a_variant_that_changes_nothing_is_the_base_to_the_byte(finished, tmp_path):
    outcome, options = outcome_of(finished), asking(tmp_path, []).settings
    (p,), fold = outcome.prepared, outcome.folds["made_up"][0]
    base = next(job for job in outcome.records["made_up"] if job.model == "resnet18_bigru" and job.fold == 0)
    found = intensity.run_job(tmp_path, replace(base, variant="nothing"), options["fit"], p, fold)
    for name in ("rows", "curve", "slope"):
        np.testing.assert_array_equal(found[name], outcome.records["made_up"][base][name])
    assert not (tmp_path / "weights").exists()


def test_the_base_is_taken_from_notebook_04_and_nothing_is_fitted_twice(finished, monkeypatch, tmp_path):
    outcome = outcome_of(finished)
    run = asking(tmp_path, lines("no ranking term"))
    fitted = []
    fit = learn.windows.fit_windows
    monkeypatch.setattr(
        learn.windows,
        "fit_windows",
        lambda settings, *a, **k: fitted.append(settings) or fit(settings, *a, **k),
    )
    first = ablations.fit_all(outcome, run)
    assert [settings.rank for settings in fitted] == [0.0, 0.0]  # two folds of the variant, and no base
    again = ablations.fit_all(outcome, run)
    assert len(fitted) == 2
    for one, two in zip(first["made_up", "paper"], again["made_up", "paper"], strict=True):
        assert one.about == two.about
        np.testing.assert_array_equal(one.curve, two.curve)


def test_a_base_with_a_budget_of_its_own_shares_it_with_its_variants(finished, monkeypatch, tmp_path):
    run = asking(tmp_path, lines("no smoothness term", fit={"hidden": 2}))
    asked = []
    monkeypatch.setattr(
        learn.windows,
        "fit_windows",
        lambda settings, *a, **k: asked.append(settings) or (_ for _ in ()).throw(ValueError("stop")),
    )
    with pytest.raises(DataError, match="4 of 4 fits failed"):
        ablations.fit_all(outcome_of(finished), run)
    assert {settings.hidden for settings in asked} == {2}
    assert sorted(settings.smooth for settings in asked) == [0.0, 0.0, 0.1, 0.1]


def test_a_failing_variant_stops_no_other_and_is_named(finished, monkeypatch, tmp_path):
    outcome = outcome_of(finished)
    run = asking(tmp_path, lines("no ranking term", "no smoothness term"))
    fit, done = learn.windows.fit_windows, []

    def fails(settings, *args, **kwargs):
        if settings.rank == 0:
            raise RuntimeError("no memory")
        done.append(settings)
        return fit(settings, *args, **kwargs)

    monkeypatch.setattr(learn.windows, "fit_windows", fails)
    with pytest.raises(DataError, match=r"2 of 4 fits failed.*no_ranking_term.*no memory"):
        ablations.fit_all(outcome, run)
    assert [settings.smooth for settings in done] == [0.0, 0.0]


@pytest.mark.parametrize("profile", ["smoke", "demo", "paper"])
def test_every_profile_names_changes_that_exist_and_says_what_it_leaves_out(profile):
    run = unbegun(profile)
    lines = ablations.lines(run)
    assert {line.protocol for line in lines} == set(intensity.PROTOCOLS)
    left_out = " ".join(ablations.left_out(run))
    for name, change in CHANGES.items():
        for protocol in intensity.PROTOCOLS:
            samples = run.settings["windows"][protocol]["T"]
            here = [line for line in lines if line.protocol == protocol]
            asked = any(name in line.variants or change.input == line.input for line in here)
            told = name in left_out or name == "pretrained encoder"
            assert asked or told or change.n_samples == samples, name


# ---- tables -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables(prepared, folds, records, tmp_path_factory):
    """A base that sees, a variant that knows position alone, and one that is the base again."""
    outcome = intensity.Outcome([prepared], {}, {"made_up": folds}, {"made_up": records}, 0)
    known = evaluation.window_curves(prepared, records, folds)
    seen, blind = known["resnet18_bigru", "flow", 0], known["position_only", "none", 0]
    follow = np.where(prepared.complete(), 1.0, np.nan)
    about = ("made_up", "context", "base")
    curves = {
        ("made_up", "context"): [
            ablations.VariantCurves((*about, "base", "base", "resnet18_bigru", "flow"), 0, seen, follow),
            ablations.VariantCurves((*about, "temporal", "blind", "framewise", "flow"), 0, blind, follow * 0),
            ablations.VariantCurves((*about, "loss", "same", "resnet18_bigru", "flow"), 0, seen, follow),
            *(
                ablations.VariantCurves(
                    (*about, "labels", f"labels off by {n} frames", "resnet18_bigru", "flow"), 0, seen, follow
                )
                for n in (2, 6)
            ),
        ]
    }
    run = unbegun("smoke", tmp_path_factory.mktemp("run"))
    found = ablations.evaluate_ablations(outcome, curves, run)
    match = results.write_result(run, "prior_match", ablations.match_priors(outcome, run))
    return run, found["intensity_ablations"], found["ablation_differences"], match


def test_tables_have_the_promised_columns(tables):
    _, table, differences, match = tables
    assert list(table)[:11] == [*ablations.TABLE, "estimate", "low", "high", "events"][:11]
    assert list(differences)[:16] == ablations.DIFFERENCES[:16]
    assert {"position_only", "oracle_interval", "flow_magnitude", "truth", "pseudo_label"} <= set(
        table.loc[table["family"] == "control", "model"]
    )
    assert set(match["prior"]) == set(ablations.PRIORS)


def test_what_changes_nothing_differs_by_nothing_and_what_is_blinded_is_told_apart(tables):
    _, _, differences, _ = tables
    same = differences[differences["variant"] == "same"]
    assert (same["difference"] == 0).all()
    assert not same["significant"].any()
    blind = differences[(differences["variant"] == "blind") & differences["p"].notna()]
    assert blind["significant"].all()
    assert (blind["difference"] < 0).all()


def test_position_alone_is_what_a_blinded_model_comes_down_to(tables):
    _, _, differences, _ = tables
    of = differences.set_index(["variant", "metric"])["difference"]
    metric = "inside_spearman_true"
    assert of["position only", metric] == pytest.approx(of["blind", metric])
    assert of["position only", "apex_follow"] == -1


def test_one_declared_metric_a_protocol_is_tested_and_corrected_as_one_family(tables):
    _, _, differences, _ = tables
    tested = differences[differences["p"].notna()]
    assert set(tested["metric"]) == {"inside_spearman_true"}
    assert not (tested["family"] == "control").any()
    np.testing.assert_allclose(tested["p_holm"], stats.holm(tested["p"].to_numpy()))
    assert (tested["significant"] == (tested["p_holm"] <= comparisons.alpha())).all()


def test_without_truth_the_pseudo_label_is_what_is_tested(prepared, folds, records, tmp_path):
    bare = replace(prepared, **dict.fromkeys(("truth", "inside", "peak_px", "true")))
    outcome = intensity.Outcome([bare], {}, {"made_up": folds}, {"made_up": records}, 0)
    known = evaluation.window_curves(bare, records, folds)
    about, none = ("made_up", "context", "base"), np.full(len(bare.table), np.nan)
    curves = [
        ablations.VariantCurves(
            (*about, "base", "base", "resnet18_bigru", "flow"), 0, known["resnet18_bigru", "flow", 0], none
        ),
        ablations.VariantCurves(
            (*about, "input", "raw", "resnet18_bigru", "raw"), 0, known["resnet18_bigru", "raw", 0], none
        ),
    ]
    found = ablations.evaluate_ablations(
        outcome, {("made_up", "context"): curves}, unbegun("smoke", tmp_path)
    )
    assert set(found["ablation_differences"].dropna(subset=["p"])["metric"]) == {"spearman_pseudo"}
    assert results.write_result(
        tmp_path, "prior_match", ablations.match_priors(outcome, unbegun("smoke"))
    ).empty
    assert len(style.draw(tmp_path, ablation_figures.PLOTS)) == 1


def test_the_prior_that_the_truth_follows_matches_it_best(prepared, folds):
    truth = np.zeros_like(prepared.pseudo)
    for i in np.flatnonzero(prepared.complete()):
        truth[i] = priors.gaussian(*prepared.true[i], truth.shape[1])
    like = replace(prepared, truth=truth, inside=truth > 0)
    match = ablations.match_priors(intensity.Outcome([like], {}, {"made_up": folds}, {}, 0), unbegun("smoke"))
    match = match[match["metric"] == "ccc"]
    exact = match[match["landmarks"] == "exact"].set_index("prior")["estimate"]
    assert exact.idxmax() == "gaussian"
    assert exact["gaussian"] == pytest.approx(1)
    off = match[match["prior"] == "gaussian"].set_index("jitter")["estimate"]
    assert off[6.0] < off[1.0] < off[0.0]


def test_all_figures_are_drawn_from_the_tables_alone(tables):
    run, *_ = tables
    names = [path.stem for path in style.draw(run, ablation_figures.PLOTS)]
    assert names == ["intensity_ablations", "prior_match"]


def test_every_landmark_of_a_match_is_in_order_whatever_the_error(prepared, folds):
    short = replace(
        prepared, true=np.where(np.isnan(prepared.true), np.nan, prepared.true[:, :1] + [0, 0.1, 0.2])
    )
    match = ablations.match_priors(
        intensity.Outcome([short], {}, {"made_up": folds}, {}, 0), unbegun("smoke")
    )
    assert np.isfinite(match["estimate"]).all()
