import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr

from melib.errors import DataError
from melib.learn.windows import (
    FitSettings,
    Windows,
    _augment,
    _fit_scale,
    fit_windows,
    load_fit,
    network_inputs,
    predict_windows,
    save_fit,
)

TINY = FitSettings(
    input="flow", width=8, hidden=16, epochs=12, batch=8, lr=5e-3, patience=12, shift=1, dropout=0.0
)


def blobs(n, seed, t=12, size=24):
    """Windows of a blob that moves down and back as its curve says, on a background that tells nothing."""
    random = np.random.default_rng(seed)
    apex = random.uniform(1, t - 2, (n, 1))
    target = np.clip(1 - abs(np.arange(t) - apex) / random.uniform(2.5, 5, (n, 1)), 0, 1).astype(np.float32)
    y, x = np.mgrid[:size, :size]
    blob = np.exp(-((x - size / 2) ** 2 + (y - size / 2) ** 2) / (2 * (size / 8) ** 2))
    flow = random.normal(0, 0.15, (n, t, 2, size, size))
    flow[:, :, 1] += random.uniform(1, 2, (n, 1, 1, 1)) * target[:, :, None, None] * blob
    raw = random.integers(90, 110, (n, t, size, size)) + 60 * target[:, :, None, None] * blob
    return Windows(
        raw.astype(np.uint8),
        flow.astype(np.float16),
        target.argmin(1),
        target,
        np.ones((n, t), bool),
    )


@pytest.fixture(scope="module")
def fitted():
    return fit_windows(TINY, blobs(64, 1), blobs(12, 2), seed=0)


def correlation(fitted, windows):
    return pearsonr(predict_windows(fitted, windows).ravel(), windows.target.ravel()).statistic


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_model_that_sees_motion_learns_the_curve_and_one_on_a_constant_frame_cannot(fitted):
    unseen = blobs(24, 3)
    assert correlation(fitted, unseen) > 0.8
    constant = fit_windows(dataclasses.replace(TINY, constant_frame=True), blobs(64, 1), blobs(12, 2), seed=0)
    assert correlation(constant, unseen) < 0.6
    first = predict_windows(constant, unseen)
    frozen = np.repeat(unseen.flow[:, :1], unseen.flow.shape[1], 1)
    np.testing.assert_allclose(
        predict_windows(constant, dataclasses.replace(unseen, flow=frozen)), first, atol=1e-6
    )


def test_the_curves_do_not_depend_on_the_batch(fitted, monkeypatch):
    windows = blobs(7, 4)
    together = predict_windows(fitted, windows)
    monkeypatch.setattr("melib.learn.windows._BATCH", 2)
    np.testing.assert_allclose(predict_windows(fitted, windows), together, atol=1e-5)
    assert predict_windows(fitted, blobs(0, 1)).shape == (0, 12)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    settings = dataclasses.replace(TINY, epochs=2, dropout=0.2)
    for name, seed, threads in [("a", 5, 1), ("b", 5, 2), ("c", 6, 1)]:
        torch.set_num_threads(threads)
        torch.rand(3)  # what others drew before must not matter
        save_fit(fit_windows(settings, blobs(9, 1), blobs(4, 2), seed), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["history.csv", "settings.yml", "weights.safetensors"]
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert (tmp_path / "a" / files[-1]).read_bytes() != (tmp_path / "c" / files[-1]).read_bytes()


def test_what_is_saved_comes_back(fitted, tmp_path):
    save_fit(fitted, tmp_path / "fit")
    again = load_fit(tmp_path / "fit")
    assert again.settings == fitted.settings
    assert again.scale == fitted.scale
    assert same(again.state, fitted.state)
    pd.testing.assert_frame_equal(again.history, fitted.history)
    windows = blobs(3, 5)
    np.testing.assert_array_equal(predict_windows(again, windows), predict_windows(fitted, windows))


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_no_flipped_bit_of_the_weights_passes(fitted, tmp_path_factory, place, bit):
    folder = tmp_path_factory.mktemp("fit")
    save_fit(fitted, folder)
    data = bytearray((folder / "weights.safetensors").read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    (folder / "weights.safetensors").write_bytes(data)
    with pytest.raises(DataError, match="changed since"):
        load_fit(folder)


def test_validation_windows_are_never_trained_on():
    settings = dataclasses.replace(TINY, epochs=1)
    one = fit_windows(settings, blobs(6, 1), blobs(4, 2), seed=0)
    other = fit_windows(settings, blobs(6, 1), blobs(4, 9), seed=0)
    assert same(one.state, other.state)
    assert one.scale == other.scale


def test_preparation_is_centred_on_the_training_windows_and_motion_keeps_its_zero():
    windows = blobs(6, 1)
    x = network_inputs(windows, slice(None), "raw", _fit_scale(windows, "raw"))
    assert float(x.mean()) == pytest.approx(0, abs=1e-5)
    assert float(x.std(correction=0)) == pytest.approx(1, abs=1e-4)
    for input in ("difference", "flow"):
        x = network_inputs(windows, [4, 1], input, _fit_scale(windows, input))
        assert x.dtype == torch.float32
        assert x.shape == (2, 12, 2 if input == "flow" else 1, 24, 24)
    scale = _fit_scale(windows, "difference")
    assert scale["mean"] == 0
    x = network_inputs(windows, [4, 1], "difference", scale)
    for row, window in enumerate([4, 1]):
        at = windows.reference[window]
        calm = windows.raw[window, max(0, at - 1) : at + 2].mean(axis=0)  # every frame shows a face here
        expected = windows.raw[window] - calm
        np.testing.assert_allclose(x[row, :, 0] * scale["sd"], expected, atol=1e-4)


def test_a_mirrored_flow_is_the_flow_of_mirrored_frames():
    """Two frames of a moving dot: the displacement must point to where the dot is, mirrored or not."""
    size, start, step = 16, (4, 3), (2, 5)  # v, u
    flow = torch.zeros(1, 1, 2, size, size)
    flow[0, 0, :, start[0], start[1]] = torch.tensor([step[1], step[0]])
    settings = FitSettings(input="flow", shift=0, gain=0.0, hide=0, warp=0)
    moves = set()
    for seed in range(20):
        x, *_ = _augment(
            flow.clone(),
            torch.zeros(1, 1),
            torch.ones(1, 1, dtype=bool),
            settings,
            np.random.default_rng(seed),
        )
        v, u = (int(i) for i in x[0, 0].abs().sum(0).nonzero()[0])
        to = (u + int(x[0, 0, 0, v, u]), v + int(x[0, 0, 1, v, u]))
        moves.add((u, *to))
    there = start[1] + step[1]
    assert moves == {(start[1], there, 6), (size - 1 - start[1], size - 1 - there, 6)}


def test_warping_time_moves_frames_and_targets_together_and_keeps_the_ends():
    time = torch.linspace(0, 1, 9)
    x = time.reshape(1, 9, 1, 1, 1).expand(30, -1, 2, 4, 4).clone()
    settings = FitSettings(input="flow", flip=False, shift=0, gain=0.0, hide=0, warp=0.12)
    target, mask = time.expand(30, -1).clone(), torch.ones(30, 9, dtype=bool)
    x, target, mask = _augment(x, target, mask, settings, np.random.default_rng(0))
    assert torch.allclose(x[:, :, 0, 0, 0], target)
    assert torch.equal(target[:, [0, -1]], time[[0, -1]].expand(30, -1))
    assert (target.diff(dim=1) > 0).all()
    assert (target - time).abs().max() > 0.05


def test_the_kept_epoch_is_the_best_on_validation_and_patience_ends_the_fit():
    settings = dataclasses.replace(TINY, epochs=8, lr=0.05, patience=2)
    train, validation = blobs(8, 1), blobs(4, 2)
    noise = dataclasses.replace(train, target=np.random.default_rng(0).random((8, 12), dtype=np.float32))
    result = fit_windows(settings, noise, validation, seed=0)
    losses = result.history["validation"]
    best = int(losses.idxmin())
    assert result.history["best"].tolist() == [epoch == best for epoch in range(len(losses))]
    assert len(losses) == min(8, best + 1 + 2)


@pytest.mark.parametrize("name", ["training", "validation"])
@pytest.mark.parametrize("emptied", ["no windows", "no faces"])
def test_an_empty_set_is_refused(name, emptied):
    full = blobs(3, 1)
    empty = blobs(0, 1) if emptied == "no windows" else dataclasses.replace(full, mask=full.mask & False)
    sets = (empty, full) if name == "training" else (full, empty)
    with pytest.raises(DataError, match=f"no {name} window"):
        fit_windows(TINY, *sets, seed=0)
