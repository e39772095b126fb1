"""Laws of the learned selector: what it says of a curve knows neither its unit nor its network."""

import dataclasses
import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from melib import DataError, decoders, priors

PRIOR = priors.IntervalPrior(priors.DurationPrior(30.0, np.log(13), 0.3, 6, 157), 1.0, 1.0, 3.0)


def videos(seed, n_videos=24, strength=1.2, factor=1):
    """Curves of one to three events each among blinks, the blinks' curves, events, and whose videos they are.

    factor: times the frame rate, by interpolation of the same movement.
    """
    rng = np.random.default_rng(seed)
    curves, blinks, events = [], [], []
    for video in range(n_videos):
        onsets = np.array([60, 210, 330])[: 1 + video % 3] + rng.integers(0, 30)
        spans = [(int(on), int(on + rng.integers(9, 19))) for on in onsets]
        curve = np.convolve(rng.normal(0, 0.4, 424), np.ones(5) / 5, "valid")
        blink = np.convolve(rng.normal(0, 0.1, 424), np.ones(5) / 5, "valid")
        for on, off in spans:
            curve += (
                strength
                * rng.lognormal(-0.3, 0.6)
                * priors.raised_cosine(on - 2, (on + off) / 2, off + 2, 420)
            )
        for on in rng.integers(0, 400, 3):
            shape = priors.triangular(on, on + 4, on + 12, 420)
            curve, blink = curve + 1.5 * shape, blink + shape
        time = np.arange(420 * factor) / factor
        curves.append(1 / (1 + np.exp(2 - 2 * np.interp(time, np.arange(420), curve))))
        blinks.append(np.interp(time, np.arange(420), blink))
        events.append(pd.DataFrame(np.array(spans) * factor, columns=["onset", "offset"]))
    return curves, blinks, events, [f"s{video // 3}" for video in range(n_videos)]


@pytest.fixture(scope="module")
def selector():
    curves, _, events, subjects = videos(0)
    return decoders.IntervalSelector.fit(curves, events, PRIOR, subjects=subjects)


def iou(a, b):
    """IoU (N, M) of two tables of intervals."""
    first = np.maximum.outer(a["onset"].to_numpy(), b["onset"].to_numpy())
    shared = (np.minimum.outer(a["offset"].to_numpy(), b["offset"].to_numpy()) - first + 1).clip(0)
    length = np.add.outer(
        (a["offset"] - a["onset"] + 1).to_numpy(), (b["offset"] - b["onset"] + 1).to_numpy()
    )
    return shared / (length - shared)


def share_alike(one, other):
    """Share of intervals, of both lists of tables, that an interval of the other one covers with an IoU of .9."""
    best = []
    for a, b in zip(one, other, strict=True):
        overlap = iou(a, b)
        best += [*overlap.max(axis=1, initial=0), *overlap.max(axis=0, initial=0)]
    return np.mean(np.array(best) >= 0.9)


@pytest.mark.parametrize("change", [np.exp, np.cbrt, np.log], ids=["exp", "cube root", "log"])
def test_a_rising_change_of_the_scores_moves_few_intervals(selector, change):
    curves, _, events, subjects = videos(0)
    changed = decoders.IntervalSelector.fit(
        [change(curve) for curve in curves], events, PRIOR, subjects=subjects
    )
    others = videos(1)[0]
    assert share_alike([selector(c) for c in others], [changed(change(c)) for c in others]) >= 0.9


def test_twice_the_frame_rate_moves_few_intervals():
    twice = dataclasses.replace(PRIOR.duration, fps=60.0, log_mean=np.log(26), half_length=12)
    decoded = []
    for factor, duration in ((1, PRIOR.duration), (2, twice)):
        curves, _, events, subjects = videos(0, factor=factor)
        prior = dataclasses.replace(PRIOR, duration=duration)
        decoder = decoders.fit("selector", curves, events, prior, subjects=subjects)
        decoded.append([decoder(curve) for curve in videos(1, factor=factor)[0]])
    slow, fast = decoded
    halved = [
        table.assign(onset=table["onset"] / 2 + 0.25, offset=table["offset"] / 2 - 0.25) for table in fast
    ]
    assert share_alike(slow, halved) >= 0.9


def test_probabilities_mean_what_they_say_on_subjects_that_nothing_was_fitted_on(selector):
    curves, _, events, _ = videos(2, 60)
    score, hit = [], []
    for curve, truth in zip(curves, events, strict=True):
        proposed = selector.propose(curve)
        score += proposed["score"].tolist()
        hit += (iou(proposed, truth).max(axis=1, initial=0) >= 0.5).tolist()
    score, hit = np.array(score), np.array(hit, dtype=float)
    for low, high in ((0, 0.1), (0.1, 0.5), (0.5, 1)):
        bin_ = (score >= low) & (score < high)
        error = 4 * np.sqrt((score[bin_] * (1 - score[bin_])).sum()) / bin_.sum() + 0.05
        assert abs(score[bin_].mean() - hit[bin_].mean()) < error
    assert ((score - hit) ** 2).mean() < 0.9 * hit.mean() * (1 - hit.mean())  # Brier, against the mean rate


def test_intervals_share_little_and_hold_their_apex_which_was_seen(selector):
    rng = np.random.default_rng(5)
    for curve in videos(3, 6)[0]:
        curve[rng.random(curve.size) < 0.2] = np.nan
        proposed = selector.propose(curve)
        overlap = iou(proposed, proposed)
        np.fill_diagonal(overlap, 0)
        assert overlap.max(initial=0) <= 0.2
        assert proposed["score"].between(0, 1).all()
        assert (proposed["onset"] >= 0).all() and (proposed["offset"] < curve.size).all()
        assert proposed["apex"].between(proposed["onset"], proposed["offset"]).all()
        assert np.isfinite(curve[proposed["apex"]]).all()


def test_a_curve_of_blinks_that_explains_the_rise_makes_it_less_probable():
    curves, blinks, events, subjects = videos(0)
    with_blinks = decoders.fit("selector", curves, events, PRIOR, subjects=subjects, others={"blink": blinks})
    (curve,), (blink,), (truth,), _ = videos(4, 1)
    quiet = np.zeros_like(blink)
    onset, offset = truth.iloc[0]
    hidden = quiet + priors.boxcar(onset, onset, offset, blink.size)

    def probability(other):
        proposed = with_blinks.propose(curve, {"blink": other})
        return proposed["score"][iou(proposed, truth)[:, 0] > 0.2].max()

    assert probability(hidden) < probability(quiet + 1e-3 * blink)
    with pytest.raises(DataError, match="fitted with a curve of blink"):
        with_blinks(curve)
    with pytest.raises(DataError, match="the blink curve has shape"):
        with_blinks(curve, {"blink": blink[:-1]})
    again = decoders.Decoder.from_dict(json.loads(json.dumps(with_blinks.to_dict(), allow_nan=False)))
    pd.testing.assert_frame_equal(again(curve, {"blink": blink}), with_blinks(curve, {"blink": blink}))


def test_the_frozen_curves_are_those_whose_hashes_stand_beside_them():
    folder = Path(__file__).parents[1] / "benchmarks" / "curves"
    sums = dict(
        line.split()[::-1] for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    )
    assert {file.name for file in folder.glob("*.csv*")} == set(sums)
    for name, due in sums.items():
        held = (folder / name).read_bytes()
        assert hashlib.sha256(gzip.decompress(held) if name.endswith(".gz") else held).hexdigest() == due
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1 << 20
