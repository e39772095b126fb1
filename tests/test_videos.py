import dataclasses
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melib import learn
from melib.errors import DataError
from melib.learn.videos import (
    Sequence,
    VideoSettings,
    fit_regressor,
    predict_curves,
)
from melib.learn.windows import save_fit
from melib.losses import video_loss

TINY = VideoSettings(
    body="dilated", width=16, blocks=1, epochs=12, batch=4, lr=1e-2, segment=64, patience=12, dropout=0.0
)
STILL = {"gain": 0.0, "warp": 0.0, "hide": 0.0, "noise": 0.0}  # no augmentation
MIRROR = (np.array([1, 0, 3, 2]), np.array([-1, -1, 1, 1], dtype=np.float32))


@pytest.fixture(autouse=True)
def one_thread():
    """Small products gain nothing by threads, and lose much on shared cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def bumps(n, seed, t=200, kinds=1, events=2):
    """Videos with smooth movements of two classes, told apart by their channels, over slow drift and noise."""
    out = []
    for video in range(n):
        random = np.random.default_rng([seed, video])
        time = np.arange(t)
        x = random.normal(0, 0.1, (t, 4)) + np.sin(time[:, None] / 40 + random.uniform(0, 6, 4))
        target, emotion = np.zeros((t, kinds), np.float32), np.full(t, 4)
        for _ in range(events):
            onset, length, kind = random.integers(5, t - 20), random.integers(8, 14), random.integers(2)
            curve = np.clip(1 - abs(time - onset - length / 2) / (length / 2), 0, 1)
            x[:, [kind, 2 + kind]] += 1.5 * curve[:, None]
            target[:, 0] = np.maximum(target[:, 0], curve)
            emotion[curve > 0] = kind
        out.append(Sequence(x.astype(np.float32), np.ones(t, bool), target, emotion))
    return out


@pytest.fixture(scope="module")
def fitted():
    return fit_regressor(TINY, bumps(24, 1), bumps(6, 2), seed=0)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# The loss


def by_hand(scores, logits, targets, emotion, mask, weights):
    """Both terms as loops over frames, in numpy."""
    distance, wrong, weight = [], 0.0, 0.0
    for row, frame in np.argwhere(mask):
        distance.append(np.mean((scores[row, frame] - targets[row, frame]) ** 2))
        p = np.exp(logits[row, frame]) / np.exp(logits[row, frame]).sum()
        wrong -= weights[emotion[row, frame]] * np.log(p[emotion[row, frame]])
        weight += weights[emotion[row, frame]]
    return (np.mean(distance) if distance else 0), (wrong / weight if weight else 0)


def drawn(seed):
    random = np.random.default_rng(seed)
    scores, targets = random.random((2, 3, 7, 2))
    mask = random.random((3, 7)) < random.choice([0, 0.6, 1])
    weights = random.random(5) * (random.random(5) < 0.7)
    return scores, random.normal(size=(3, 7, 5)), targets, random.integers(0, 5, (3, 7)), mask, weights


@given(st.integers(0, 2**31))
def test_each_part_of_the_loss_equals_its_definition_frame_by_frame(seed):
    *parts, weights = drawn(seed)
    tensors = [torch.from_numpy(part) for part in parts]
    loss = video_loss(*tensors, class_weights=torch.from_numpy(weights))
    distance, wrong = by_hand(*parts, weights)
    assert [float(part) for part in loss[1:]] == pytest.approx([distance, wrong])
    assert float(loss.total) == pytest.approx(0.9 * distance + 0.1 * wrong)
    plain = video_loss(*tensors, regression=2.0, classification=3.0)
    distance, wrong = by_hand(*parts, np.ones(5))
    assert float(plain.total) == pytest.approx(2 * distance + 3 * wrong)


@given(st.integers(0, 2**31))
def test_masked_frames_have_no_gradient_and_no_say_in_the_loss(seed):
    scores, logits, targets, emotion, mask, weights = map(torch.from_numpy, drawn(seed))
    dark = ~mask
    results = []
    for content, label in ((0.5, 0), (torch.nan, -1)):
        parts = [part.clone() for part in (scores, logits, targets, emotion)]
        for part in parts[:3]:
            part[dark] = content
        parts[3][dark] = label
        leaves = [part.requires_grad_() for part in parts[:2]]
        loss = video_loss(*parts, mask, class_weights=weights).total
        gradients = torch.autograd.grad(loss, leaves)
        assert not any(gradient[dark].any() for gradient in gradients)
        results.append((loss.detach(), *gradients))
    torch.testing.assert_close(*results, atol=0, rtol=0)


# Sequences and what is fitted on them


# Segments


# Grafts


def a_source(n=60, first=20, stop=32):
    """One micro-expression in channel 0, and rest."""
    x, target = np.zeros((n, 4), np.float32), np.zeros((n, 2), np.float32)
    x[first:stop, 0] = target[first:stop, 0] = np.hanning(stop - first)
    emotion = np.where(target[:, 0] > 0, 1, 4)
    return Sequence(x, np.ones(n, bool), target, emotion)


@pytest.mark.parametrize("seed", range(20))
def test_a_graft_moves_where_it_labels_and_a_decoy_of_rest_changes_nothing(seed):
    source = a_source()
    settings = dataclasses.replace(TINY, graft=2.0)
    rest = [
        np.zeros((100, 4), np.float32),
        np.ones(100, bool),
        np.zeros((100, 2), np.float32),
        np.full(100, 4),
    ]
    learn.videos._graft(
        rest, [source], learn.videos._movements([source]), settings, None, np.random.default_rng(seed)
    )
    x, mask, target, emotion = rest
    assert mask.all() and not target[:, 1].any() and not x[:, 1:].any()
    np.testing.assert_array_equal(emotion == 1, target[:, 0] > 0)
    around = np.convolve(target[:, 0] > 0, np.ones(2 * learn.videos._FADE + 1), "same") > 0
    assert not x[~around].any()
    assert not (target[:, 0] > 0).any() or x[:, 0].max() > 0.5


# Fits


def correlation(fitted, sequences, column=0):
    predicted = np.concatenate([curves["scores"][:, column] for curves in predict_curves(fitted, sequences)])
    return np.corrcoef(predicted, np.concatenate([s.target[:, column] for s in sequences]))[0, 1]


def test_a_fit_learns_where_events_are_and_which(fitted):
    unseen = bumps(10, 3)
    assert correlation(fitted, unseen) > 0.8
    logits = np.concatenate([curves["logits"] for curves in predict_curves(fitted, unseen)])
    emotion = np.concatenate([s.emotion for s in unseen])
    assert (logits.argmax(1) == emotion)[emotion < 4].mean() > 0.6


def test_a_fit_of_one_task_leaves_the_other_head_as_it_started():
    starts = fit_regressor(
        dataclasses.replace(TINY, epochs=1, lr=0.0), bumps(3, 1), bumps(2, 2), seed=0
    ).state
    for tasks, idle, busy in [("spotting", "emotion", "score"), ("recognition", "score", "emotion")]:
        settings = dataclasses.replace(TINY, tasks=tasks, epochs=1, weight_decay=0.0)
        state = fit_regressor(settings, bumps(3, 1), bumps(2, 2), seed=0).state
        assert torch.equal(state[f"{idle}.weight"], starts[f"{idle}.weight"])
        assert not torch.equal(state[f"{busy}.weight"], starts[f"{busy}.weight"])


def test_the_kept_epoch_is_the_best_on_validation_or_the_last():
    settings = dataclasses.replace(TINY, epochs=5, lr=0.05)
    best = fit_regressor(settings, bumps(4, 1), bumps(2, 2), seed=0)
    losses = best.history["validation"]
    assert best.history["best"].tolist() == [epoch == losses.idxmin() for epoch in range(5)]
    last = fit_regressor(dataclasses.replace(settings, select="last"), bumps(4, 1), bumps(2, 2), seed=0)
    assert last.history["best"].tolist() == [False] * 4 + [True]
    pd.testing.assert_series_equal(last.history["validation"], losses)
    alone = fit_regressor(dataclasses.replace(settings, select="last"), bumps(4, 1), [], seed=0)
    assert same(alone.state, last.state) and alone.history["validation"].isna().all()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed, threads in [("a", 5, 1), ("b", 5, 2), ("c", 6, 1)]:
        torch.set_num_threads(threads)
        torch.rand(3)  # what others drew before must not matter
        settings = dataclasses.replace(TINY, body="ssm", epochs=2, dropout=0.2)
        save_fit(fit_regressor(settings, bumps(4, 1), bumps(2, 2), seed, mirror=MIRROR), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["history.csv", "settings.yml", "weights.safetensors"]
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert (tmp_path / "a" / files[-1]).read_bytes() != (tmp_path / "c" / files[-1]).read_bytes()


# Bad input


# Predictions


def test_predictions_need_no_labels_and_do_not_depend_on_order_or_company(fitted):
    videos = [Sequence(s.x, s.mask) for s in (*bumps(3, 4), *bumps(2, 5, t=31))]
    together = predict_curves(fitted, videos)
    for order in ([4, 2, 0, 1, 3], [3]):
        for row, curves in zip(order, predict_curves(fitted, [videos[row] for row in order]), strict=True):
            assert all(np.array_equal(curves[name], together[row][name]) for name in curves)
    assert predict_curves(fitted, []) == []


def test_short_and_faceless_videos_have_curves_too(fitted):
    one = Sequence(np.zeros((1, 4), np.float32), np.ones(1, bool))
    dark = Sequence(np.full((9, 4), np.nan, np.float32), np.zeros(9, bool))
    curves = predict_curves(fitted, [one, dark, Sequence(np.zeros((0, 4), np.float32), np.ones(0, bool))])
    assert [len(c["scores"]) for c in curves] == [1, 9, 0]
    assert all(np.isfinite(c["scores"]).all() for c in curves)
    with pytest.raises(DataError, match="3 channels where those trained on have 4"):
        predict_curves(fitted, [Sequence(np.zeros((5, 3), np.float32), np.ones(5, bool))])


@pytest.mark.parametrize(("body", "tolerance"), [("dilated", 1e-5), ("bigru", 1e-4), ("ssm", 2e-2)])
def test_chunks_of_a_long_video_agree_with_one_pass(body, tolerance, monkeypatch):
    settings = dataclasses.replace(TINY, body=body, epochs=2)
    result = fit_regressor(settings, bumps(12, 1), bumps(2, 2), seed=0)
    (long,) = bumps(1, 3, t=9001, events=40)
    mask = np.ones(len(long), bool)
    mask[4000:4200] = mask[-40:] = False  # a gap across a border of chunks
    long = dataclasses.replace(long, mask=mask)
    (chunked,) = predict_curves(result, [long])
    monkeypatch.setattr(learn.videos, "_CHUNK", 10**6)  # one chunk
    (whole,) = predict_curves(result, [long])
    np.testing.assert_allclose(chunked["scores"], whole["scores"], atol=tolerance, rtol=0)


def test_memory_of_a_prediction_does_not_grow_with_length(fitted, tmp_path):
    """Peak memory after a video of 28000 frames is that after one of 7000, both longer than a chunk, within 10 %."""
    save_fit(fitted, tmp_path)
    program = """
import resource, sys
import numpy as np
from melib.learn.videos import Sequence, VideoSettings, predict_curves
from melib.learn.windows import load_fit
for t in (7000, 28000):
    predict_curves(load_fit(sys.argv[1], VideoSettings), [Sequence(np.zeros((t, 4), np.float32), np.ones(t, bool))])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    short, long = map(int, subprocess.run(command, capture_output=True, check=True).stdout.split())
    assert long < 1.1 * short


def pixels(*arguments):
    """What augmentation gives, the compression of large movements undone."""
    return np.sinh(learn.videos._augment(*arguments))


def test_mirroring_twice_changes_nothing_and_once_is_the_mirror():
    x = np.random.default_rng(0).normal(size=(60, 5, 4)).astype(np.float32)
    scale = {"middle": [0.0] * 4, "spread": [1.0] * 4}
    settings = dataclasses.replace(TINY, **STILL)
    near = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(pixels(x.copy(), scale, settings, None, np.random.default_rng(0)), x, **near)
    once = pixels(x.copy(), scale, settings, MIRROR, np.random.default_rng(0))
    turned = (abs(once - x) > 1e-4).any((1, 2))
    assert 15 < turned.sum() < 45
    order, sign = MIRROR
    np.testing.assert_allclose(once[turned], x[turned][..., order] * sign, **near)
    np.testing.assert_allclose(pixels(once, scale, settings, MIRROR, np.random.default_rng(0)), x, **near)


def test_validation_loss_does_not_depend_on_how_frames_are_shared_among_sequences(monkeypatch):
    """All visible frames count alike, in long videos and in short ones, and masked ones not at all."""
    (video,) = bumps(1, 2)
    parts = {f.name: getattr(video, f.name) for f in dataclasses.fields(video)}
    pieces = [Sequence(**{name: a[rows] for name, a in parts.items()}) for rows in (np.s_[:30], np.s_[30:])]
    dark = dataclasses.replace(video, mask=np.zeros(200, bool))
    monkeypatch.setattr(
        learn.videos,
        "_whole",
        lambda net, alike, *_: (
            np.stack([sequence.target * 0 + 0.5 for sequence in alike]),
            np.stack([np.eye(5, dtype=np.float32)[sequence.emotion] for sequence in alike]),
        ),
    )
    settings = dataclasses.replace(TINY, epochs=1)
    losses = [
        fit_regressor(settings, bumps(2, 1), validation, seed=0).history["validation"][0]
        for validation in ([video], pieces, [video, dark])
    ]
    assert losses == pytest.approx([losses[0]] * 3)


@pytest.mark.parametrize("name", ["training", "validation"])
def test_sets_without_a_face_are_refused(name):
    full, dark = bumps(2, 1), [dataclasses.replace(bumps(1, 1)[0], mask=np.zeros(200, bool))]
    for bad in ([], dark):
        sets = (bad, full) if name == "training" else (full, bad)
        with pytest.raises(DataError, match=f"no {name} sequence with a visible face"):
            fit_regressor(dataclasses.replace(TINY, epochs=1), *sets, seed=0)
