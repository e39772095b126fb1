"""The network and loss that a bare GPU trains are melib's, and its pack of windows trains from start to end."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from melib.learn.windows import FitSettings
from melib.losses import intensity_loss
from melib.models import IntensityNet
from melib.study.run import profile_settings

SPEC = importlib.util.spec_from_file_location("gpu", Path(__file__).parents[1] / "benchmarks" / "gpu.py")
gpu = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(gpu)


def test_its_network_is_the_packages_network():
    own, other = IntensityNet(1, 8, 16).eval(), gpu.Network(8, 16).eval()
    other.load_state_dict(own.state_dict())
    x = torch.randn(2, 16, 1, 64, 64)
    mask = torch.ones(2, 16, dtype=torch.bool)
    torch.testing.assert_close(other(x, 16), own(x, mask))
    torch.testing.assert_close(other(x[:, :1], 16), own(x[:, :1], mask))


def test_its_loss_is_the_packages_loss():
    random = np.random.default_rng(0)
    predicted, target = (torch.from_numpy(random.random((5, 16))) for _ in range(2))
    ours = intensity_loss(predicted, target, torch.ones(5, 16, dtype=torch.bool)).total
    torch.testing.assert_close(gpu.loss(predicted, target), ours)


def test_its_recipe_is_that_of_profile_published():
    fit = FitSettings(**profile_settings("published")["fit"])
    theirs = fit.epochs, fit.batch, fit.lr, fit.weight_decay, fit.warp, fit.shift, fit.hide, fit.light
    assert theirs == (gpu.EPOCHS, gpu.BATCH, gpu.LR, gpu.DECAY, gpu.WARP, gpu.SHIFT, gpu.HIDE, gpu.LIGHT)


def test_its_rank_correlation_is_scipys():
    random = np.random.default_rng(0)
    for _ in range(20):
        a, b = random.integers(0, 6, (2, 16)) / 10
        assert gpu.spearman(a, b) == pytest.approx(spearmanr(a, b)[0])
    assert gpu.spearman(np.full(16, 0.3), np.arange(16)) == 0


def test_each_subject_is_tested_once_and_position_alone_is_the_mean_of_the_others():
    random = np.random.default_rng(0)
    subjects = np.repeat([f"{number}" for number in range(4)], 2)
    targets = random.random((8, 16)).astype(np.float32)
    pack = {
        "frames": random.integers(0, 255, (8, 16, 16, 16), dtype=np.uint8),
        "targets": targets,
        "subjects": subjects,
    }
    result = gpu.train_all(pack, folds=4, epochs=1, width=8, seed=0)
    by_hand = [
        spearmanr(np.round(targets[subjects != s].mean(0), 2), t)[0]
        for s, t in zip(subjects, targets, strict=True)
    ]
    assert result["spearman_pseudo"]["position_only"] == pytest.approx(np.mean(by_hand))
    assert set(result["spearman_pseudo"]) == {"resnet18_bigru", "constant_frame", "position_only"}
    assert result["frames_per_second"] > 0
