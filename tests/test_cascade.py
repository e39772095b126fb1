"""Laws of the cascade: each observer against what is known of made-up features and of a rendered face."""

from types import SimpleNamespace

import made_up
import numpy as np
import pandas as pd
import pytest
import test_ideal_observer
from scipy import stats
from test_figures import nothing_overlaps
from test_limits import PEOPLE, PROBE, a_video

from melib import protocols
from melib.paper import limits_figures
from melib.study import cascade, ideal_observer, limits
from melib.study.spotting_decoding import Material, System

LENGTH = 3000
COURSE = np.concatenate([np.linspace(0.2, 1, 6), np.linspace(0.9, 0.1, 6)])


@pytest.fixture(scope="module")
def pair():
    """Probe videos and their still twins: correlated white noise, a pattern of a tenth of the movement in two channels."""
    rng = np.random.default_rng(1)
    mixing = np.eye(36) + 0.05 * rng.standard_normal((36, 36))
    pattern = np.zeros(36)
    pattern[[4, 9]] = 0.1
    moved, still, truth = [], [], []
    for person in PEOPLE:
        noise = (rng.standard_normal((LENGTH, 36)) @ mixing.T * 0.05).astype(np.float32)
        video = a_video(person, rng, length=LENGTH)
        profile, event, answer = np.zeros(LENGTH), np.full(LENGTH, "", object), noise.copy()
        for e in video.events.itertuples():
            rows = slice(int(e.onset), int(e.offset) + 1)
            profile[rows], event[rows] = COURSE, e.event
            answer[rows] += e.peak_px * np.outer(COURSE, pattern).astype(np.float32)
        rest = {"macro_px": 0.0, "talk_px": 0.0, "blink": np.arange(LENGTH) % 500 < 10}
        truth.append(pd.DataFrame({"video": video.video, "event": event, "profile": profile, **rest}))
        moved.append(vars(video) | {"motion": answer})
        still.append(vars(video) | {"motion": noise})
    folds = protocols.folds(PEOPLE, 2, seed=0, validation_share=0.5)
    study = SimpleNamespace(name="probe", truth=pd.concat(truth, ignore_index=True))

    def probe(videos):
        videos = [type(video)(**values) for values in videos]
        return limits.Probe(limits.BASE, study, Material("home", videos, folds, {}, {}, {}, 0))

    return probe(moved), probe(still), mixing @ mixing.T * 0.05**2, pattern


def test_hotelling_s_observer_has_the_d_prime_of_the_known_covariance_and_keeps_its_rate(pair):
    probe, still, spread, pattern = pair
    for resting in (True, False):
        answers = cascade.hotelling(probe, still, 60, resting=resting)
        weights = np.pad(COURSE, 6) - COURSE.sum() / (2 * len(COURSE))
        gained = (weights[6:-6] @ COURSE) ** 2 / (weights @ weights)
        expected = 1 / np.sqrt(gained * pattern @ np.linalg.solve(spread, pattern))
        assert len(answers) == (probe.truth["peak_px"] >= cascade.ANSWERED).sum()
        assert answers["sd_px"].median() == pytest.approx(expected, rel=0.1)
        # About a peak every length of a movement, of which one a minute may be as high: by chance, some 3 sd.
        assert answers["criterion"].between(1.5, 4).all()
    strict = cascade.hotelling(probe, still, 6, resting=False)["criterion"]
    assert (strict > answers["criterion"]).all()


def test_weights_over_a_movement_ignore_whatever_stays():
    part, course = cascade.around(np.pad(COURSE, (20, 5)))
    assert course.sum() == pytest.approx(0, abs=1e-12) and len(course) == part.stop - part.start - 1
    assert course.argmax() + part.start == 20 + COURSE.argmax()


def test_peaks_of_a_curve_inside_a_movement_find_it_at_the_rate_of_other_people_s_twins(pair, monkeypatch):
    probe, still, *_ = pair
    rng = np.random.default_rng(0)
    false = {
        video.video: rng.exponential(size=LENGTH) * (np.arange(LENGTH) % 50 == 0) for video in still.videos
    }

    def curves(_, material, fold, video):
        curve = false[video.video].copy()
        for e in video.events.itertuples() if material is probe.material else ():
            curve[int(e.apex)] = 50 * (e.peak_px > 0.3)
        return {"micro": curve}

    monkeypatch.setattr(cascade, "curves_of", curves)
    detected, alarms, hours = cascade.network_peaks(System("toy"), probe, still, 60)
    np.testing.assert_array_equal(detected, probe.truth["peak_px"] > 0.3)
    assert hours == pytest.approx(len(PEOPLE) * LENGTH / 30 / 3600)
    low, high = stats.poisson.interval(0.999, 60 * hours)
    assert low <= alarms <= high


def test_the_cascade_loses_what_each_observer_is_not_told_and_names_each_step_once(pair, monkeypatch):
    probe, still, *_ = pair
    truth = probe.truth
    names = pd.MultiIndex.from_frame(truth[["video", "event"]])
    known = pd.DataFrame({"sd_px": 0.01, "free_px": 0.02}, names)
    answers = pd.DataFrame({"subject": truth["subject"], "sd_px": 0.04, "criterion": 3.0})
    monkeypatch.setattr(cascade, "hotelling", lambda *_, **__: answers)
    detected = truth["peak_px"].to_numpy() > 0.5
    monkeypatch.setattr(cascade, "network_peaks", lambda *_: (detected, 3, 0.05))
    how = {"per_hour": 60, "guess": 0.02, "n": 20}
    steps = cascade.cascade_steps(probe, still, known, System("toy"), {"threshold_px": 1.0}, **how)
    assert tuple(steps["step"]) == cascade.STEPS
    px = steps.set_index("step")["threshold_px"]
    assert px["rest of the picture unknown"] == pytest.approx(2 * px["all known"], rel=0.01)
    assert px["36 features"] == pytest.approx(4 * px["all known"], rel=0.01)
    assert px["at any time"] == pytest.approx(0.04 * 3, rel=0.01)
    assert truth["peak_px"][~detected].max() <= px["network's curve"] * 1.05
    np.testing.assert_allclose(steps["factor"][1:], px.to_numpy()[1:] / px.to_numpy()[:-1])
    row = steps.set_index("step").loc["network's curve"]
    assert row["test_per_hour"] == 60 and (row["events"], row["subjects"]) == (len(truth), len(PEOPLE))
    assert len(cascade.cascade_steps(probe, still, known, None, {}, **how)) == 5


def test_what_is_unknown_takes_information_away_and_all_of_it_from_what_it_can_imitate():
    scene = test_ideal_observer.scene()
    course = scene.amplitudes
    left = ideal_observer.share_left(scene, "patches", course, {12})
    assert 0 < left < 1
    # Unit 12 can't be told from itself.
    assert ideal_observer.share_left(scene, "patches", course, ()) == pytest.approx(0, abs=1e-9)
    assert ideal_observer.share_left(scene, "patches", 7 * course, {12}) == pytest.approx(left)


def test_the_still_twin_of_a_probe_video_differs_in_its_movements_alone():
    settings = PROBE | {"peaks": list(limits.STILL.spec["peaks"])}
    moved, still = (limits.long.make_video(1, 1, spec) for spec in (PROBE, settings))
    assert list(moved.courses) == list(still.courses)
    assert still.truth["peak_px"].max() < 0.0105
    names = ["event", "blink", "talk_px", "gaze_px"]
    pd.testing.assert_frame_equal(moved.truth[names], still.truth[names])
    quiet = int(np.flatnonzero(moved.truth["event"] == "")[0])
    np.testing.assert_allclose(moved.scene.frame(quiet), still.scene.frame(quiet), atol=0.2)


def test_the_figure_of_the_cascade_has_every_step_and_no_text_on_another():
    fig = limits_figures.cascade_figure(made_up.cascade())
    nothing_overlaps(fig)
    assert len(fig.axes[0].get_yticks()) == len(cascade.STEPS)
