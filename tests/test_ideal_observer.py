"""The ideal observer against brute force: likelihood ratios over thousands of noisy pictures, and rendered clips."""

import dataclasses
import functools
import math

import numpy as np
import pytest
from scipy import stats

from melib import DataError
from melib.simulate import events, portraits, render, units
from melib.simulate.nuisance import draw_paths, resolve
from melib.study.ideal_observer import clip_sd, hit_rate, ideal_curve, noise_variance, peak_of

FPS = 200


@functools.cache
def canvas():
    return units.make_canvas(portraits.portraits(1)[0])


@functools.cache
def scene(unit=12, strength=0.5, nuisance=0.0, noise=2.5, rise=4):
    """A unit that rises for some frames and falls for as many, with one still frame at each end."""
    apex, stop = rise / FPS, 2 * rise / FPS
    movement = events.Movement(unit, "both", 1.0, 0.0, apex, 0.0, stop, (2, 2), (2, 2), 0.0, np.inf)
    paths = draw_paths(np.random.default_rng(3), resolve(nuisance), 2 * rise + 1, FPS)
    event = None if unit is None else events.Expression("others", strength, (movement,))
    return render.Scene(canvas(), "patches", event, dataclasses.replace(paths, noise=noise), FPS)


@functools.cache
def sd(at=0.1, **settings):
    return clip_sd(scene(**settings), at=at)


@pytest.mark.parametrize("unit", [4, 25])
def test_a_small_signal_is_that_of_the_frames_as_the_simulator_renders_them_and_grows_in_proportion(unit):
    moved = scene(unit=unit, strength=0.1, nuisance=1.0)
    still = render.Scene(canvas(), "patches", None, moved.paths, FPS)
    energy = 0.0
    for t in range(moved.n_frames):
        clean = still.frame(t).astype(float)
        # The camera's: read and shot noise in equal parts at mid grey.
        energy += ((moved.frame(t) - clean) ** 2 / (2.5**2 * (0.5 + clean / 256))).sum()
    # In that regime detection and measurement are one thing: d' is amplitude / sd.
    d_prime = peak_of(moved, moved.amplitudes) / sd(unit=unit, nuisance=1.0)
    # The simulator stops undoing a warp at .03 pixel of the photograph, the observer doesn't.
    assert d_prime == pytest.approx(math.sqrt(energy), rel=0.1)
    assert sd(0.04, unit=unit, nuisance=1.0) == pytest.approx(sd(0.08, unit=unit, nuisance=1.0), rel=0.04)


def test_what_can_be_known_is_proportional_to_the_noise_and_nothing_without_a_movement():
    assert sd(noise=5.0) == pytest.approx(sd(noise=2.0) * 5 / 2)
    assert sd(unit=None) == math.inf
    with pytest.raises(DataError, match="no noise"):
        sd(noise=0.0)


def test_a_matched_filter_on_written_frames_reaches_the_bound_and_no_more():
    """The camera's noise, its rounding and its clipping, drawn by the simulator itself."""
    moved, t = scene(strength=0.03), 4
    still = render.Scene(canvas(), "patches", None, moved.paths, FPS)
    clean = still.frame(t).astype(float)
    signal = moved.frame(t) - clean
    template = (signal / noise_variance(clean, 2.5)).astype(np.float32)
    without, with_ = [], []
    for trial in range(120):
        grain = still.grain(np.random.default_rng(trial))
        for film, answers in ((still, without), (moved, with_)):  # the same noise in both
            written = film.written(t, grain, np.random.default_rng(trial))
            answers.append(float((template * (written - clean)).sum()))
    bound = float((template * signal).sum())
    # A filter matched to the signal answers d' squared more where the signal is, with d' as its standard deviation.
    assert np.mean(np.subtract(with_, without)) == pytest.approx(bound, rel=0.06)
    assert np.std(without, ddof=1) == pytest.approx(math.sqrt(bound), rel=0.2)  # three standard errors


def test_what_is_no_part_of_the_movement_is_nuisance():
    """Two fields, one asked about: the other moves in both cases, as in a long video."""
    fields = [units.unit_field(canvas(), "patches", unit) for unit in (1, 12)]
    course = scene().amplitudes[:, 0]
    amplitudes = np.stack([0.8 * course, 0.3 * course], axis=1)
    both = render.Scene(canvas(), "patches", None, scene().paths, FPS, fields, amplitudes)
    asked = clip_sd(both, course=amplitudes * [0, 1])
    # The brow is far from the mouth: whether it moves or not changes little.
    alone = render.Scene(canvas(), "patches", None, scene().paths, FPS, fields, amplitudes * [0, 1])
    assert asked == pytest.approx(clip_sd(alone), rel=0.01)
    assert clip_sd(both) != pytest.approx(asked, rel=0.05)


def test_d_prime_and_hit_rate_are_those_of_the_likelihood_ratio():
    """Of a tiny picture whose blob goes right, in noise that grows with brightness."""
    y, x = np.mgrid[:6, :7]
    still, moved = (60 + 40 * np.exp(-0.5 * ((x - 3 - a) ** 2 + (y - 2.5) ** 2) / 1.3**2) for a in (0, 0.12))
    variance = noise_variance(still, 2.5)
    rng = np.random.default_rng(0)

    def ratios(mean):
        pictures = mean + np.sqrt(variance) * rng.standard_normal((6000, *mean.shape))
        logs = (stats.norm.logpdf(pictures, expected, np.sqrt(variance)) for expected in (moved, still))
        return np.subtract(*logs).sum(axis=(1, 2))

    without, with_ = ratios(still), ratios(moved)
    d_prime = math.sqrt(((moved - still) ** 2 / variance).sum())
    area = stats.mannwhitneyu(with_, without).statistic / len(with_) ** 2
    assert math.sqrt(2) * stats.norm.ppf(area) == pytest.approx(d_prime, rel=0.04)
    assert hit_rate(d_prime, 0.05) == pytest.approx((with_ > np.quantile(without, 0.95)).mean(), abs=0.02)
    assert hit_rate(0, 0.03) == pytest.approx(0.03)


def test_the_ideal_threshold_grows_in_proportion_and_is_where_half_are_found():
    rng = np.random.default_rng(0)
    sds, people = np.exp(rng.normal(-6, 0.4, 40)), np.repeat([f"s{i}" for i in range(10)], 4)
    px = np.geomspace(0.001, 2.5, 120)
    (curve, one), (_, four) = (ideal_curve(px, factor * sds, people, 0.01) for factor in (1, 4))
    half = one["threshold_px"]
    assert four["threshold_px"] == pytest.approx(4 * half, rel=0.02)
    assert hit_rate(half / sds, 0.01).mean() == pytest.approx(0.5, abs=0.01)
    assert one["threshold_px_low"] < half < one["threshold_px_high"]
    assert (one["events"], one["subjects"]) == (40, 10)
    assert (np.diff(curve["probability"]) >= 0).all()
