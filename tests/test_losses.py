import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melib.losses import intensity_loss


def curves(seed, n=3, t=9):
    """Random predictions, targets and masks; the last target has no event."""
    random = torch.Generator().manual_seed(seed)
    predicted, target = torch.rand(2, n, t, generator=random, dtype=torch.float64)
    target[-1] = 0
    mask = torch.rand(n, t, generator=random) < 0.7
    return predicted, target, mask


def by_hand(p, y, mask, margin):
    """The three terms as loops over frames, in numpy."""
    p, y, mask = (values.numpy() for values in (p, y, mask))
    mse, smooth, rank = [], [], []
    for window in range(len(p)):
        visible = np.flatnonzero(mask[window])
        mse += [(p[window, t] - y[window, t]) ** 2 for t in visible]
        smooth += [
            (p[window, t + 1] - 2 * p[window, t] + p[window, t - 1]) ** 2
            for t in range(1, p.shape[1] - 1)
            if mask[window, t - 1 : t + 2].all()
        ]
        if not len(visible) or not y[window, visible].any():
            continue
        apex = visible[y[window, visible].argmax()]
        for t in visible:
            gap = y[window, apex] - y[window, t]
            if gap > 0:
                rank.append(max(0, margin * gap - (p[window, apex] - p[window, t])))
    return [np.mean(part) if part else 0 for part in (mse, smooth, rank)]


@given(st.integers(0, 2**31), st.floats(0, 1.5))
def test_each_part_equals_its_definition_frame_by_frame(seed, margin):
    predicted, target, mask = curves(seed)
    loss = intensity_loss(predicted, target, mask, mse=0.7, smooth=0.2, rank=0.3, margin=margin)
    mse, smooth, rank = by_hand(predicted, target, mask, margin)
    assert [float(part) for part in loss[1:]] == pytest.approx([mse, smooth, rank])
    assert float(loss.total) == pytest.approx(0.7 * mse + 0.2 * smooth + 0.3 * rank)


@given(st.integers(0, 2**31))
def test_masked_frames_have_no_gradient_and_no_say(seed):
    predicted, target, mask = curves(seed)
    predicted.requires_grad_()
    loss = intensity_loss(predicted, target, mask).total
    (gradient,) = torch.autograd.grad(loss, predicted)
    assert not gradient[~mask].any()

    target[~mask], other = torch.nan, torch.where(mask, predicted, torch.nan).detach().requires_grad_()
    again = intensity_loss(other, target, mask).total
    assert again.item() == loss.item()
    assert torch.equal(torch.autograd.grad(again, other)[0], gradient)


def test_the_target_itself_costs_no_distance_and_no_ranking_up_to_margin_one():
    target = torch.tensor([[0, 0.5, 1, 0.5, 0]])
    visible = torch.ones(1, 5, dtype=torch.bool)
    loss = intensity_loss(target, target, visible, margin=1.0)
    assert loss.mse == 0
    assert loss.rank == 0
    assert intensity_loss(target.flip(1) * 0, target, visible, margin=1.0).rank > 0
