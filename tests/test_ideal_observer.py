"""The ideal observer against brute force: likelihood ratios and estimates over thousands of noisy pictures."""

import dataclasses
import functools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import optimize, stats

from melib import DataError
from melib.simulate import events, portraits, render, units
from melib.simulate.nuisance import draw_paths, resolve
from melib.study import ideal_observer
from melib.study.ideal_observer import (
    ClipLimit,
    amplitude_sd,
    clip_limit,
    detectability,
    efficiency,
    hit_rate,
)

FPS = 200
SIGNALS = hnp.arrays(float, (3, 4), elements=st.floats(-20, 20))


def picture(amplitude, sharp=1.3):
    """A tiny film, (3, 6, 7) grey levels: a bright blob that goes right, up to ``amplitude`` pixels."""
    y, x = np.mgrid[:6, :7]
    course = np.array([0.3, 1.0, 0.6])[:, None, None]
    return 60 + 40 * np.exp(-0.5 * ((x - 3 - course * amplitude) ** 2 + (y - 2.5) ** 2) / sharp**2)


# On arrays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shot", [False, True])
def test_d_prime_is_that_of_the_likelihood_ratio(shot):
    still, moved = picture(0), picture(0.12)
    sd = np.sqrt(4 + 0.05 * still) if shot else np.full(still.shape, 2.5)
    rng = np.random.default_rng(0)

    def ratios(mean):
        seen = mean + sd * rng.standard_normal((6000, *mean.shape))
        each = stats.norm.logpdf(seen, moved, sd) - stats.norm.logpdf(seen, still, sd)
        return each.sum(axis=(1, 2, 3))

    without, with_ = ratios(still), ratios(moved)
    wanted = detectability(moved - still, sd**2)
    assert 1 < wanted < 3  # else an area says little
    area = stats.mannwhitneyu(with_, without).statistic / len(with_) ** 2
    assert ideal_observer.d_prime_of_auc(area) == pytest.approx(wanted, rel=0.04)
    rates = (with_ > 0).mean(), (without > 0).mean()
    assert ideal_observer.d_prime_of_rates(*rates) == pytest.approx(wanted, rel=0.04)
    criterion = np.quantile(without, 0.95)
    assert hit_rate(wanted, 0.05) == pytest.approx((with_ > criterion).mean(), abs=0.02)


def test_the_cramer_rao_bound_is_the_spread_of_the_likeliest_amplitude():
    sd, at = 1.5, 0.3
    rng = np.random.default_rng(1)

    def likeliest(seen):
        def loss(a):
            return ((seen - picture(a)) ** 2).sum()

        return optimize.minimize_scalar(loss, bounds=(-1, 2), method="bounded", options={"xatol": 1e-5}).x

    found = [likeliest(picture(at) + sd * rng.standard_normal((3, 6, 7))) for _ in range(1500)]
    slope = (picture(at + 1e-4) - picture(at - 1e-4)) / 2e-4
    bound = amplitude_sd(slope, sd**2)
    assert np.mean(found) == pytest.approx(at, abs=4 * bound / math.sqrt(1500))
    assert np.std(found) == pytest.approx(bound, rel=0.06)


@given(SIGNALS, st.floats(0.1, 10), st.floats(0.1, 10))
def test_d_prime_is_proportional_to_the_signal_and_to_one_over_sigma(signal, factor, sigma):
    one = detectability(signal, 1.0)
    assert detectability(factor * signal, sigma**2) == pytest.approx(factor / sigma * one)


@given(SIGNALS, SIGNALS)
def test_squares_of_d_prime_add_up_over_frames_and_pixels(one, other):
    both = detectability(np.stack([one, other]), 3.0)
    assert both**2 == pytest.approx(detectability(one, 3.0) ** 2 + detectability(other, 3.0) ** 2)


def test_without_a_signal_nothing_is_known():
    assert detectability(np.zeros((2, 3)), 1.0) == 0
    assert amplitude_sd(np.zeros((2, 3)), 1.0) == math.inf
    assert hit_rate(0, 0.03) == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("signal", "variance"), [([1.0], 0.0), ([1.0], -1.0), ([math.nan], 1.0), ([1.0], math.nan)]
)
def test_impossible_pictures_are_refused(signal, variance):
    with pytest.raises(DataError, match="variance above 0"):
        detectability(signal, variance)


# On a simulated clip ------------------------------------------------------------------------------------------------


@functools.cache
def canvas():
    return units.make_canvas(portraits.portraits(1)[0])


@functools.cache
def scene(unit=12, strength=0.5, nuisance=0.0, noise=2.5, rise=4):
    """A unit that rises for some frames and falls for as many, with one still frame at each end."""
    apex, stop = rise / FPS, 2 * rise / FPS
    movement = events.Movement(unit, "both", 1.0, 0.0, apex, 0.0, stop, (2, 2), (2, 2), 0.0, np.inf)
    paths = draw_paths(np.random.default_rng(3), resolve(nuisance), 2 * rise + 1, FPS)
    event = None if unit is None else events.Event("others", strength, (movement,))
    return render.Scene(canvas(), "patches", event, dataclasses.replace(paths, noise=noise), FPS)


@functools.cache
def limit(amplitude=None, *, nuisance=0.0, unit=12, sd=None):
    return clip_limit(scene(unit, nuisance=nuisance), "patches", amplitude=amplitude, sd=sd)


@pytest.mark.parametrize("nuisance", [0.0, 1.0])
@pytest.mark.parametrize("unit", [4, 12, 25])
def test_d_prime_grows_in_proportion_to_a_small_amplitude(unit, nuisance):
    one, other = (limit(a, unit=unit, nuisance=nuisance) for a in (0.04, 0.08))
    assert one.d_prime > 1
    assert other.d_prime == pytest.approx(2 * one.d_prime, rel=0.04)
    # In that regime detection and measurement are one thing.
    assert one.d_prime == pytest.approx(one.amplitude / one.sd_px, rel=0.04)
    assert one.amplitude_for(one.d_prime) == pytest.approx(one.amplitude, rel=0.04)


def test_d_prime_is_inversely_proportional_to_the_noise():
    one, other = limit(0.1, sd=2.0), limit(0.1, sd=5.0)
    assert other.d_prime == pytest.approx(one.d_prime * 2 / 5)
    assert other.sd_px == pytest.approx(one.sd_px * 5 / 2)


def test_with_more_movement_there_is_more_to_see():
    values = [limit(a).d_prime for a in (0.04, 0.1, 0.4, 1.2)]
    assert (np.diff(values) > 0).all()


def test_no_movement_gives_nothing_to_see():
    still = clip_limit(scene(None), "patches")
    assert still.d_prime == still.amplitude == 0
    assert still.sd_px == math.inf
    with pytest.raises(DataError, match="nothing moves"):
        clip_limit(scene(None), "patches", amplitude=1)


def test_the_clip_as_it_is_has_its_own_amplitude():
    whole = limit()
    assert whole.amplitude == pytest.approx(scene().truth.peak.max(), rel=1e-5)
    assert whole.amplitude == pytest.approx(0.5, rel=1e-5)
    np.testing.assert_allclose(whole.energy, limit(0.5).energy, rtol=1e-3)


@pytest.mark.parametrize("nuisance", [0.0, 1.0])
def test_the_signal_is_that_of_the_frames_as_the_simulator_renders_them(nuisance):
    moved = scene(nuisance=nuisance)
    still = render.Scene(canvas(), "patches", None, moved.paths, FPS)
    ours = clip_limit(moved, "patches", sd=1.0).energy
    theirs = [((moved.frame(t).astype(float) - still.frame(t)) ** 2).sum() for t in range(moved.n_frames)]
    assert math.sqrt(ours.sum()) == pytest.approx(math.sqrt(sum(theirs)), rel=0.02)
    # The simulator stops undoing a warp at .03 pixel of the photograph, the observer doesn't.
    np.testing.assert_allclose(ours, theirs, rtol=0.1, atol=1)


def test_the_information_is_that_of_a_hand_made_derivative():
    amplitude, h = 0.5, 0.005
    frames = [scene(strength=a).frame(4).astype(float) for a in (amplitude - h, amplitude + h)]
    slope = (frames[1] - frames[0]) / (2 * h)
    assert limit(sd=2.5).information[4] == pytest.approx((slope**2).sum() / 2.5**2, rel=0.02)


def test_a_matched_filter_on_written_frames_reaches_the_bound_and_no_more():
    """The camera's noise, its rounding and its clipping, drawn by the simulator itself."""
    moved, t = scene(strength=0.03), 4
    still = render.Scene(canvas(), "patches", None, moved.paths, FPS)
    clean = still.frame(t).astype(float)
    variance = ideal_observer.noise_variance(clean, 2.5, quantised=True)
    template = ((moved.frame(t) - clean) / variance).astype(np.float32)
    without, with_ = [], []
    for trial in range(120):
        grain = still.grain(np.random.default_rng(trial))
        for film, out in ((still, without), (moved, with_)):  # the same noise in both
            seen = film.written(t, grain, np.random.default_rng(trial))
            out.append(float((template * (seen - clean)).sum()))
    bound = clip_limit(moved, "patches", quantised=True).within(t, t).d_prime
    # A filter matched to the signal answers d' squared more where the signal is, with d' as its standard deviation.
    assert np.mean(np.subtract(with_, without)) == pytest.approx(bound**2, rel=0.06)
    assert np.std(without, ddof=1) == pytest.approx(bound, rel=0.2)  # three standard errors


def test_the_noise_is_the_one_that_the_simulator_writes():
    clip = scene(None, noise=6.0)
    rng = np.random.default_rng(0)
    seen = np.stack([clip.written(0, clip.grain(rng), rng) for _ in range(60)]).astype(float)
    clean = clip.frame(0)
    middle = (clean > 40) & (clean < 215)  # beyond, clipping begins
    wanted = ideal_observer.noise_variance(clean, 6.0, quantised=True)
    ratio = seen.var(axis=0, ddof=1)[middle] / wanted[middle]
    assert ratio.mean() == pytest.approx(1, abs=0.01)
    for low, high in ((40, 100), (150, 215)):
        some = ratio[(clean[middle] > low) & (clean[middle] < high)]
        assert some.mean() == pytest.approx(1, abs=0.02)


def test_a_window_holds_the_energy_of_its_frames():
    whole = limit()
    assert whole.energy[[0, -1]].tolist() == [0, 0]
    assert whole.within(0, 8).d_prime == whole.d_prime
    parts = whole.within(0, 3), whole.within(4, 8)
    assert sum(part.d_prime**2 for part in parts) == pytest.approx(whole.d_prime**2)
    assert sum(part.sd_px**-2 for part in parts) == pytest.approx(whole.sd_px**-2)
    assert whole.within(0, 0).d_prime == 0
    for window in ((-1, 3), (5, 4), (0, 9)):
        with pytest.raises(DataError, match="window"):
            whole.within(*window)


def test_less_picture_is_less_to_see_and_the_parts_add_up():
    skin = canvas().skin
    parts = [clip_limit(scene(), "patches", pixels=mask).d_prime for mask in (skin, ~skin)]
    assert max(parts) < limit().d_prime
    assert math.hypot(*parts) == pytest.approx(limit().d_prime)


def test_rounding_costs_little_beside_noise():
    free, rounded = (clip_limit(scene(), "patches", quantised=q).d_prime for q in (False, True))
    assert 0.98 * free < rounded < free


def test_what_is_no_part_of_the_movement_is_nuisance():
    """Two fields, one asked about: the other moves in both cases, as in a long video."""
    fields = [units.unit_field(canvas(), "patches", unit) for unit in (1, 12)]
    course = scene().amplitudes[:, 0]
    amplitudes = np.stack([0.8 * course, 0.3 * course], axis=1)
    both = render.Scene(canvas(), "patches", None, scene().paths, FPS, fields, amplitudes)
    asked = clip_limit(both, "patches", course=amplitudes * [0, 1])
    assert asked.amplitude == pytest.approx(0.3 * course.max(), rel=1e-5)
    # The brow is far from the mouth: whether it moves or not changes little.
    alone = render.Scene(canvas(), "patches", None, scene().paths, FPS, fields, amplitudes * [0, 1])
    assert asked.d_prime == pytest.approx(clip_limit(alone, "patches").d_prime, rel=0.01)
    assert clip_limit(both, "patches").d_prime > 1.2 * asked.d_prime


def test_between_frames_of_a_smooth_movement_nothing_new_happens():
    slow = scene(nuisance=1.0, rise=20)
    each, some = (clip_limit(slow, "patches", every=every) for every in (1, 4))
    assert some.d_prime == pytest.approx(each.d_prime, rel=0.01)
    assert some.sd_px == pytest.approx(each.sd_px, rel=0.01)
    assert some.energy[[0, -1]].tolist() == [0, 0]


def test_enough_iterations_are_enough(monkeypatch):
    few = limit(nuisance=1.0)
    monkeypatch.setattr(ideal_observer, "_ITERATIONS", 20)
    many = clip_limit(scene(nuisance=1.0), "patches")
    assert few.d_prime == pytest.approx(many.d_prime, rel=1e-3)
    assert few.sd_px == pytest.approx(many.sd_px, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "about"),
    [
        ({"amplitude": 0}, "amplitude is 0"),
        ({"amplitude": math.nan}, "amplitude is nan"),
        ({"sd": 0}, "sd is 0"),
        ({"every": 0}, "every is 0"),
        ({"sd": math.inf}, "sd is inf"),
        ({"course": np.zeros((3, 1))}, "course is"),
        ({"pixels": np.ones((4, 4), bool)}, "mask of the frame's shape"),
    ],
)
def test_impossible_questions_end_in_one_sentence(change, about):
    with pytest.raises(DataError, match=about):
        clip_limit(scene(), "patches", **change)


def test_a_clip_without_noise_hides_nothing_unless_it_is_rounded():
    with pytest.raises(DataError, match="no noise"):
        clip_limit(scene(noise=0.0), "patches")
    assert clip_limit(scene(noise=0.0), "patches", quantised=True).d_prime > limit().d_prime


# Efficiency ---------------------------------------------------------------------------------------------------------


def answers(seed, ideal, share, clips=12):
    """Decision variables of an observer who gets ``share`` of the ideal's d' squared; each clip beside itself still."""
    rng = np.random.default_rng(seed)
    d = math.sqrt(share) * np.asarray(ideal)
    subjects = np.repeat([f"s{i}" for i in range(len(d) // clips)], clips)
    return rng.standard_normal(len(d)) + d, rng.standard_normal(len(d)), subjects


@pytest.mark.parametrize("measure", ["auc", "rates"])
@pytest.mark.parametrize("share", [1.0, 0.25, 0.02])
def test_an_observer_with_a_known_share_has_that_efficiency(measure, share):
    ideal = np.full(480, 1.2 / math.sqrt(share))  # as hard for the observer, so that the test is as sharp
    inside = []
    for seed in range(6):
        moved, still, subjects = answers(seed, ideal, share)
        if measure == "rates":
            moved, still = moved > 0.6, still > 0.6
        found = efficiency(moved, still, subjects, subjects, ideal, measure=measure, n=150)
        assert found.value == pytest.approx((found.d_prime / ideal[0]) ** 2, rel=1e-6)
        assert found.value == pytest.approx(share, rel=0.45)
        inside.append(found.low <= share <= found.high)
    assert np.mean(inside) >= 0.6


def test_the_ideal_observer_is_efficient_whatever_the_mixture_of_clips():
    rng = np.random.default_rng(0)
    ideal = np.exp(rng.normal(0.3, 0.7, 1200))
    values = []
    for seed in range(6):
        noise = np.random.default_rng(seed)
        subjects = np.repeat([f"s{i}" for i in range(40)], 30)
        alarms = noise.standard_normal(1200) > 1.3
        hits = noise.standard_normal(1200) + ideal > 1.3
        values.append(efficiency(hits, alarms, subjects, subjects, ideal, measure="rates", n=1).value)
    assert np.mean(values) == pytest.approx(1, abs=0.08)


def test_efficiency_is_blind_to_the_scale_of_scores_and_falls_with_a_better_ideal():
    ideal = np.full(120, 1.5)
    moved, still, subjects = answers(0, ideal, 0.5)
    one = efficiency(moved, still, subjects, subjects, ideal, n=50)
    other = efficiency(np.exp(3 * moved), np.exp(3 * still), subjects, subjects, ideal, n=50)
    assert other == one
    worse = efficiency(moved, still, subjects, subjects, 3 * ideal, n=50)
    assert worse.value == pytest.approx(one.value / 9)
    assert worse.d_prime == one.d_prime


def test_an_observer_who_guesses_has_none():
    ideal = np.full(240, 30.0)
    moved, still, subjects = answers(0, ideal, 0.0)
    found = efficiency(moved, still, subjects, subjects, ideal, n=200)
    assert found.low == 0
    assert found.value < 1e-3
    assert efficiency(-np.ones(240), np.ones(240), subjects, subjects, ideal, n=1).value == 0


def test_an_observer_without_errors_gives_a_lower_bound():
    ideal = np.full(24, 9.0)
    subjects = np.repeat(list("abcd"), 6)
    found = efficiency(np.ones(24), np.zeros(24), subjects, subjects, ideal, n=50)
    assert found.saturated
    assert found.high == math.inf
    assert 0 < found.value < 1
    by_rates = efficiency(np.ones(24), np.zeros(24), subjects, subjects, ideal, measure="rates", n=50)
    assert by_rates.saturated and by_rates.high == math.inf


def test_the_same_trials_from_new_people_shrink_the_interval():
    ideal = np.full(120, 1.5)
    moved, still, subjects = answers(4, ideal, 0.5)
    once = efficiency(moved, still, subjects, subjects, ideal, n=400)
    more = np.concatenate([np.char.add(subjects, tail) for tail in ("a", "b", "c", "d")])
    four = efficiency(np.tile(moved, 4), np.tile(still, 4), more, more, np.tile(ideal, 4), n=400)
    assert four.value == pytest.approx(once.value)
    assert four.high - four.low == pytest.approx((once.high - once.low) / 2, rel=0.4)


def test_one_subject_gives_no_interval():
    moved, still, _ = answers(0, np.full(36, 1.0), 1.0)
    found = efficiency(moved, still, ["a"] * 36, ["a"] * 36, np.full(36, 1.0))
    assert math.isnan(found.low) and math.isnan(found.high)
    assert found.value > 0


GOOD = {
    "moved": [1.0, 2.0], "still": [0.0, 1.5], "moved_subjects": ["a", "b"], "still_subjects": ["a", "b"],
    "ideal": [1.0, 1.0],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "about"),
    [
        ({"ideal": [1.0, 0.0]}, "isn't a number above 0"),
        ({"ideal": [1.0]}, "an ideal d' for each"),
        ({"moved": [1.0, math.nan]}, "NaN or infinite"),
        ({"still": [], "still_subjects": []}, "with and without"),
        ({"measure": "rates"}, "counted from 0 and 1"),
        ({"measure": "ratio"}, "no measure"),
    ],
)
def test_impossible_trials_are_refused(change, about):
    with pytest.raises(DataError, match=about):
        efficiency(**(GOOD | change))


def test_a_limit_is_not_changed_by_looking_at_a_part_of_it():
    whole = ClipLimit(1.0, np.arange(5.0), np.arange(5.0))
    whole.within(1, 2)
    assert whole.d_prime == math.sqrt(10)
