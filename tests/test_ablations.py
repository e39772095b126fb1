"""Laws of the intensity ablations: one change at a time, the same samples for all, nobody tested on changed labels."""

import itertools
import json
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
from melib.simulate import worlds
from melib.study import ablations, comparisons, evaluation, further, intensity, results
from melib.study.ablations import CHANGES, SHAM
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
    events = prepared.table[["dataset", "subject", "video", "event"]]
    events = events.assign(onset=1, apex=3, offset=6, kind="micro", status="ok")
    study = SimpleNamespace(events=events, name="made_up")
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


@given(st.floats(0.1, 40), st.integers(0, 50))
def test_labels_that_are_off_keep_their_order_and_those_that_are_not_stay(sd, seed):
    moved = ablations.jittered(events(), sd, seed)
    assert (moved["onset"] <= moved["apex"]).all()
    assert (moved["apex"] <= moved["offset"]).all()
    pd.testing.assert_frame_equal(ablations.jittered(events(), 0, seed), events())


def test_an_event_s_error_depends_on_the_seed_and_itself_alone_and_makes_no_missing_landmark_up():
    given = events().astype({"apex": "Int64"})
    given.loc[1, "apex"] = pd.NA
    moved = ablations.jittered(given, 2, seed=1)
    pd.testing.assert_frame_equal(moved.iloc[[3]], ablations.jittered(given.iloc[[3]], 2, seed=1))
    assert not ablations.jittered(given, 2, seed=2).equals(moved)
    assert moved.loc[1, ["apex", "offset"]].isna().any()
    assert moved.drop(index=1).notna().all(axis=None)


def test_a_boxcar_is_trained_on_the_boxcar_and_tested_on_what_was_annotated(finished):
    outcome = outcome_of(finished)
    (p,), fold = outcome.prepared, outcome.folds["made_up"][0]
    target = ablations.relabelled(outcome.studies, p, CHANGES["boxcar target"], seed=0)
    np.testing.assert_array_equal(
        target, np.tile(priors.boxcar(1, 3, 6, test_intensity.T), (len(p.table), 1))
    )
    trained = ablations._for_training(p, target, fold)
    test = intensity.rows_of(p, fold.test)
    rest = intensity.rows_of(p, [*fold.train, *fold.validation])
    np.testing.assert_array_equal(trained.pseudo[test], p.pseudo[test])
    np.testing.assert_array_equal(trained.pseudo[rest], target[rest])


# ---- the grid ---------------------------------------------------------------------------------------------------


def test_a_variant_that_changes_nothing_is_the_base_to_the_byte(finished, tmp_path):
    outcome, options = outcome_of(finished), asking(tmp_path, []).settings
    (p,), fold = outcome.prepared, outcome.folds["made_up"][0]
    base = next(job for job in outcome.records["made_up"] if job.model == "resnet18_bigru" and job.fold == 0)
    record = intensity.run_job(tmp_path, replace(base, variant="nothing"), options["fit"], p, fold)
    for name in ("rows", "curve", "slope"):
        np.testing.assert_array_equal(record[name], outcome.records["made_up"][base][name])
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
    rank = learn.windows.FitSettings.rank
    assert [settings.rank for settings in fitted] == [
        rank,
        rank,
        0.0,
        0.0,
    ]  # folds of sham and variant, and no base
    again = ablations.fit_all(outcome, run)
    assert len(fitted) == 4
    for one, two in zip(first["made_up", "paper"], again["made_up", "paper"], strict=True):
        assert one.about == two.about
        np.testing.assert_array_equal(one.curve, two.curve)


@pytest.fixture
def guessed(monkeypatch):
    """Fits that take no time: what a window is told to be, with some noise."""

    def guess(run, job, budget, prepared, fold):
        rows = intensity.rows_of(prepared, fold.test)
        noise = np.random.default_rng([job.fold, job.seed]).normal(0, 0.1, prepared.pseudo[rows].shape)
        return {"rows": rows, "curve": prepared.pseudo[rows] + noise, "slope": np.ones(len(rows))}

    monkeypatch.setattr(intensity, "run_job", guess)


def test_every_base_has_a_sham_that_differs_in_the_seed_alone_and_is_paired_with_it(
    finished, tmp_path, guessed
):
    outcome = outcome_of(finished)
    run = asking(tmp_path, lines("no ranking term"))
    run = replace(run, settings=run.settings | {"seeds": 2})
    (line,) = ablations.lines(run)
    assert line.variants == (SHAM, "no ranking term")
    asked = [(name, seed) for _, name, seed in ablations.asked_of(run, "paper")]
    assert asked == list(itertools.product(["", *line.variants], run.seeds))
    jobs = {name: [ablations.job_of(run, "d", line, name, 0, s) for s in run.seeds] for name in ("", SHAM)}
    seeds = {name: [job.seed for job, _ in both] for name, both in jobs.items()}
    assert not set(seeds[""]) & set(seeds[SHAM])
    for (base, budget), (sham, same) in zip(*jobs.values(), strict=True):
        assert replace(sham, seed=base.seed) == base and same == budget
    curves = ablations.fit_all(outcome, run)["made_up", "paper"]
    assert [(c.about[4], c.seed) for c in curves if c.about[3] == "sham"] == [
        (SHAM, seed) for seed in run.seeds
    ]


def test_clips_split_at_random_are_tested_by_models_that_saw_other_clips_of_their_person(
    finished, monkeypatch, tmp_path
):
    outcome = outcome_of(finished)
    (p,) = outcome.prepared
    name, trained = "clips split at random (leaky)", []
    fit = learn.windows.fit_windows
    monkeypatch.setattr(
        learn.windows, "fit_windows", lambda s, train, *a: trained.append(train.target) or fit(s, train, *a)
    )
    (base, _, leaky) = ablations.fit_all(outcome, asking(tmp_path, lines(name)))["made_up", "paper"]
    assert leaky.about[4] == name and not np.isnan(leaky.curve).any()
    people = p.table["subject"].to_numpy()
    assert any(len(set(leaky.fold[people == person])) == 2 for person in set(people))
    assert all(len(set(base.fold[people == person])) == 1 for person in set(people))
    assert len(trained) == 4  # no clip is trained on by the model that tests it
    for fold, targets in enumerate(trained[2:]):
        tested = p.pseudo[leaky.fold == fold]
        assert not (targets[:, None] == tested).all(axis=2).any()


# ---- tables -----------------------------------------------------------------------------------------------------


def curves_of(p, known, folds, *variants):
    """Made-up variants of one base: (family, name, network, input, its curves, apex follow)."""
    fold, whole = evaluation.tested_in(p, folds), np.where(p.complete(), 1.0, np.nan)
    out = []
    for family, name, model, used, curve, follow in variants:
        about = (p.dataset, p.protocol, "base", family, name, model, used)
        out.append(ablations.VariantCurves(about, 0, known[curve], whole * follow, fold))
    return {(p.dataset, p.protocol): out}


@pytest.fixture(scope="module")
def tables(prepared, folds, records, tmp_path_factory):
    """A base that sees, a variant that knows position alone, and some that are the base again."""
    outcome = intensity.Outcome([prepared], {}, {"made_up": folds}, {"made_up": records}, 0)
    known = evaluation.window_curves(prepared, records, folds)
    sees, blind, net = ("resnet18_bigru", "flow", 0), ("position_only", "none", 0), ("resnet18_bigru", "flow")
    curves = curves_of(
        prepared,
        known,
        folds,
        ("base", "base", *net, sees, 1),
        ("temporal", "blind", "framewise", "flow", blind, 0),
        ("loss", "same", *net, sees, 1),
        ("sham", SHAM, *net, blind, 0),
        *(("labels", f"labels off by {n} frames", *net, sees, 1) for n in (2, 6)),
    )
    run = unbegun("smoke", tmp_path_factory.mktemp("run"))
    by_name = ablations.evaluate_ablations(outcome, curves, run)
    match = results.write_result(run, "prior_match", ablations.match_priors(outcome, run))
    assert {"position_only", "oracle_interval", "flow_magnitude", "truth", "pseudo_label"} <= set(
        by_name["intensity_ablations"].query("family == 'control'")["model"]
    )
    assert by_name["paper_protocol"].empty  # nothing was asked under that protocol
    return run, by_name["intensity_ablations"], by_name["ablation_differences"], match


def test_what_changes_nothing_differs_by_nothing_and_what_is_blinded_is_told_apart(tables):
    _, _, differences, _ = tables
    same = differences[differences["variant"] == "same"]
    assert (same["difference"] == 0).all()
    assert not same["significant"].any()
    blind = differences[(differences["variant"] == "blind") & differences["p"].notna()]
    assert blind["significant"].all()
    assert (blind["difference"] < 0).all()


def test_the_floor_beside_every_difference_is_what_the_sham_does_and_the_sham_is_no_test(tables):
    _, _, differences, _ = tables
    sham = differences[differences["variant"] == SHAM].set_index("metric")
    assert sham["p"].isna().all() and not sham["significant"].any()
    assert sham.loc["apex_follow", "difference"] == -1
    for row in differences.itertuples():
        assert row.floor == abs(sham.loc[row.metric, "difference"])


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
    known, run = evaluation.window_curves(bare, records, folds), unbegun("smoke", tmp_path)
    nets = [("resnet18_bigru", used) for used in ("flow", "raw")]
    base, raw = [(*net, (*net, 0), np.nan) for net in nets]
    curves = curves_of(bare, known, folds, ("base", "base", *base), ("input", "raw", *raw))
    by_name = ablations.evaluate_ablations(outcome, curves, run)
    assert set(by_name["ablation_differences"].dropna(subset=["p"])["metric"]) == {"spearman_pseudo"}
    assert results.write_result(run, "prior_match", ablations.match_priors(outcome, run)).empty
    assert len(style.draw(tmp_path, ablation_figures.PLOTS)) == 1


def test_the_first_paper_s_table_has_every_split_and_averaging_and_published_values_beside_what_they_were(
    finished, tmp_path, guessed
):
    outcome = outcome_of(finished)
    (p,), (study,) = outcome.prepared, outcome.studies.values()
    p = replace(p, dataset="casme2", table=p.table.assign(dataset="casme2"))
    study.events = study.events.assign(dataset="casme2", onset=0, offset=test_intensity.T - 1)  # cut at both
    names = ["no ranking term", "boxcar target", "clips split at random (leaky)"]
    records = {
        replace(job, dataset="casme2", input="raw"): r for job, r in outcome.records["made_up"].items()
    }
    outcome = intensity.Outcome(
        [p], {}, {"casme2": outcome.folds["made_up"]}, {"casme2": records}, 0, {"casme2": study}
    )
    run = asking(tmp_path, lines(*names, used="raw"))
    table = ablations.evaluate_ablations(outcome, ablations.fit_all(outcome, run), run)["paper_protocol"]
    assert not table.duplicated(["variant", "averaging", "metric"]).any()
    assert set(table["averaging"]) == {"subjects", "clips", "pooled"}
    assert set(table.loc[table["split"] == "clips", "variant"]) == {names[2], f"position only, {names[2]}"}
    notes = table.groupby("variant")["note"].first()
    assert notes[names[1]].startswith("degenerate") and notes[names[2]].startswith("leaky")
    assert notes[names[0]] == ""
    known = table.dropna(subset=["published"]).query("metric == 'spearman_pseudo' and averaging == 'pooled'")
    # The .9116 of CASME II is without the ranking term; beside the whole model stands nothing.
    assert dict(zip(known["variant"], known["published"], strict=True)) == {
        names[0]: 0.9116,
        "position only": 0.8975,
    }


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


# ---- more to learn from -----------------------------------------------------------------------------------------


def test_no_tested_or_validating_person_s_further_clip_is_trained_on(finished):
    _, p, folds, _ = finished
    for fold in folds:
        both = further.extended(p, p, fold)
        added = both.table.iloc[len(p.table) :]
        assert set(added["subject"]) == set(fold.train)
        for part in (fold.validation, fold.test):
            np.testing.assert_array_equal(intensity.rows_of(both, part), intensity.rows_of(p, part))
        np.testing.assert_array_equal(both.pseudo[: len(p.table)], p.pseudo)
        assert len(both.entries) == len(both.mask) == len(both.table)


def with_rest(p):
    """The same windows, of which every person's second one shows nothing."""
    still = p.table["video"] == "v1"
    calm = replace(p, pseudo=np.where(still.to_numpy()[:, None], 0, p.pseudo), protocol="context")
    return replace(calm, table=p.table.assign(complete=~still), reference=p.reference + 2)


def test_a_movement_is_laid_over_the_rest_of_another_training_person_alone(finished):
    _, p, folds, _ = finished
    calm = with_rest(p)
    for fold in folds:
        both = further.over_rest(calm, fold, seed=3)
        for row in range(len(p.table), len(both.table)):
            (own, k), (other, rest) = both.entries[row][:2], both.entries[row][2:]
            assert own != other and {own, other} <= set(fold.train) and (k, rest) == (0, 1)
            window, moved = both.load([row]), p.load([p.entries.index((own, k))])
            under = p.load([p.entries.index((other, rest))]).flow.astype(np.float32)
            expected = moved.flow + under - under[:, 2:3]
            np.testing.assert_allclose(window.flow, expected, atol=2e-3)
            np.testing.assert_array_equal(window.flow[0, 2], moved.flow[0, 2])
            np.testing.assert_array_equal(window.target, moved.target)
        tested = intensity.rows_of(both, fold.test)
        np.testing.assert_array_equal(tested, intensity.rows_of(p, fold.test))
    with pytest.raises(DataError, match="rest of another"):
        further.over_rest(p, folds[0], seed=3)


def test_what_is_learned_from_more_is_tested_on_what_the_base_is_tested_on(finished, tmp_path, monkeypatch):
    calm, folds = with_rest(finished[1]), finished[2]
    outcome = intensity.Outcome([calm], {}, {"made_up": folds}, {"made_up": {}}, 0, {"made_up": None})
    monkeypatch.setattr(further, "further_clips", lambda p, times, run: p)
    trained, fit = [], learn.windows.fit_windows
    monkeypatch.setattr(
        learn.windows,
        "fit_windows",
        lambda s, train, *a: trained.append((len(train), s.epochs)) or fit(s, train, *a),
    )
    names = [name for name, change in CHANGES.items() if change.family == "data"]
    run = asking(tmp_path, lines(*names, protocol="context", fit={"epochs": 6}))
    variants = ablations.fit_all(outcome, run)["made_up", "context"]
    assert [v.about[4] for v in variants[2:]] == names
    for variant in variants:
        assert variant.curve.shape == calm.pseudo.shape and not np.isnan(variant.curve).any()
    windows, epochs = np.array(trained).T.reshape(2, 5, 2)  # variant, fold
    base = windows[0]  # two windows a person, one of them a movement
    np.testing.assert_array_equal(windows, np.outer([1, 1, 2, 1.5, 3], base))
    np.testing.assert_array_equal(windows * epochs, np.tile(6 * base, (5, 1)))  # as many steps


def test_further_clips_are_other_movements_at_the_rate_that_a_window_reads(tmp_path):
    spec = {"name": "synthme", "world": "second", "people": 2, "clips": 1, "empty": 0}
    context = {"T": 32, "step": 0.035, "per_event": 1, "per_empty": 1}
    run = Run(tmp_path / "run", "tiny", {"data": [spec], "windows": {"context": context}}, seed=4, jobs=1)
    base = SimpleNamespace(dataset="synthme", fps=200.0)
    more = further.further_clips(base, 2, run)
    assert more.positions.shape[1] == 32 and more.fps == pytest.approx(1 / 0.035, rel=1e-4)
    assert len(set(more.table["event"]) - {""}) == 4
    written = json.loads((tmp_path / "run/data/synthme_further2/record.json").read_text())["settings"]
    usual = worlds.find_world("second").clips["noise"]
    np.testing.assert_allclose(written["nuisance"]["noise"], np.array(usual) / np.sqrt(7))
    assert written["seed"] != run.seed


def test_more_to_learn_from_is_asked_of_motion_in_context_alone(tmp_path):
    names = [name for name, change in CHANGES.items() if change.family == "data"]
    asked = {
        (protocol, used): set(
            ablations.lines(Run(tmp_path, "tiny", test_intensity.TINY | {"ablations": spec, "windows": {}}))[
                0
            ].variants
        )
        - {SHAM}
        for protocol, used in (("context", "flow"), ("context", "raw"), ("paper", "flow"))
        for spec in [lines(*names, protocol=protocol, used=used)]
    }
    assert asked["context", "flow"] == set(names)
    assert asked["context", "raw"] == {"three times the clips"}
    assert not asked["paper", "flow"]
