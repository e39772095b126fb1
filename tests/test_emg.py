"""A curve beside invented EMG: noise that a known movement modulates, some hundredths of a second ahead of the skin."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from melib.study.emg import _spearman, beside_emg, envelope

FPS, RATE, LEAD = 30, 1000, 0.06
EVENTS = pd.DataFrame({"onset": [60, 150, 260], "apex": [68, None, 266], "offset": [76, 164, 275]})


def movement(seconds):
    """Each event's rise and fall, one slower than the other, at real-valued times."""
    course = np.zeros_like(seconds)
    for onset, offset, shape in zip(EVENTS["onset"], EVENTS["offset"], (0.35, 0.5, 0.65), strict=True):
        phase = np.clip((seconds * FPS - onset) / (offset - onset), 0, 1)
        course += np.sin(np.pi * phase ** (np.log(0.5) / np.log(shape))) ** 2
    return course


@pytest.fixture(scope="module")
def recording():
    """Curve and EMG of 12 s: the muscle moves LEAD seconds before the skin, and is never quite still."""
    seconds = np.arange(12 * RATE) / RATE
    noise = np.random.default_rng(0).normal(0, 1, len(seconds))
    return movement(np.arange(12 * FPS) / FPS), noise * (0.1 + movement(seconds + LEAD))


def test_an_envelope_is_the_modulation_of_the_noise_and_scales_with_it(recording):
    strength = envelope(recording[1], RATE)
    assert np.corrcoef(strength, movement(np.arange(len(strength)) / RATE + LEAD))[0, 1] > 0.95
    np.testing.assert_allclose(envelope(-3 * recording[1], RATE), 3 * strength, rtol=1e-6, atol=1e-9)
    drift = 50 * np.sin(2 * np.pi * 0.5 * np.arange(len(strength)) / RATE)  # an electrode that moves
    assert np.abs(envelope(recording[1] + drift, RATE) - strength)[RATE:-RATE].max() < 0.05


def test_a_curve_agrees_with_its_own_muscle_at_the_lag_that_there_is_and_less_with_other_events(recording):
    table = beside_emg(*(recording[0], FPS, recording[1], RATE), EVENTS)
    assert (table["spearman"] > 0.75).all()
    assert table["lag_s"].to_numpy() == pytest.approx(LEAD, abs=0.03)
    assert (table["spearman"] > table["swapped"]).all()
    assert table["apex"].tolist() == [68, 157, 266]
    later = beside_emg(recording[0], FPS, recording[1][RATE:], RATE, EVENTS, start=1.0)
    np.testing.assert_allclose(later[["spearman", "lag_s"]], table[["spearman", "lag_s"]], atol=0.05)


def test_a_curve_that_does_not_change_agrees_with_nothing_and_one_of_noise_with_no_more_than_chance(
    recording,
):
    still = beside_emg(np.full(12 * FPS, 0.4), FPS, recording[1], RATE, EVENTS)
    assert (still["spearman"] == 0).all() and (still["swapped"] == 0).all()
    rng = np.random.default_rng(1)
    gaps = []
    for _ in range(20):
        table = beside_emg(rng.random(12 * FPS), FPS, recording[1], RATE, EVENTS)
        gaps.append((table["spearman"] - table["swapped"]).mean())
    assert abs(np.mean(gaps)) < 0.1


def test_ranks_are_correlated_as_scipy_does(recording):
    rng = np.random.default_rng(2)
    curve, others = rng.integers(0, 5, 30).astype(float), rng.normal(size=(4, 30))
    expected = [spearmanr(curve, other)[0] for other in others]
    np.testing.assert_allclose(_spearman(curve, others), expected, atol=1e-12)


def test_an_event_beyond_the_recording_of_the_muscle_has_no_agreement(recording):
    table = beside_emg(recording[0], FPS, recording[1][: 4 * RATE], RATE, EVENTS)
    assert table["spearman"].notna().tolist() == [True, False, False]
