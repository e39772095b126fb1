"""What a predicted curve is punished for: distance, roughness, and an apex that isn't the highest frame.

    mse      the mean squared distance to the target
    smooth   the mean squared second difference of the prediction (a steady rise costs nothing)
    rank     the apex must stand above every other frame, the further the lower the other frame's target:
             hinge  max(0, margin * (y[apex] - y[t]) - (p[apex] - p[t]))

A long video's scores and emotions are punished for distance and for surprise:

    regression      the mean squared distance to the targets
    classification  the cross-entropy of the emotion, frames weighted by class

A frame whose mask is False takes part in nothing: neither its prediction nor its target is read.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, relu

from melib.errors import DataError


class Loss(NamedTuple):
    """The weighted sum and its unweighted parts, each a scalar tensor."""

    total: Tensor
    mse: Tensor
    smooth: Tensor
    rank: Tensor


def intensity_loss(predicted, target, mask, *, mse=1.0, smooth=0.1, rank=0.1, margin=0.5):
    """Weighted sum of the three terms of the intensity paper.

    The paper names the terms; their weights, the margin and the order of smoothness are not stated in it.

    Parameters
    ----------
    predicted : (N, T) float tensor in [0, 1]
    target : (N, T) float tensor in [0, 1]
        A window whose target is 0 throughout has no event, hence no apex and no ranking term. The apex is the
        frame of the highest target; in a window that cuts the event off, the frame nearest to it.
    mask : (N, T) bool tensor
        False where no face was found: such frames never count, not even when NaN.
    mse, smooth, rank : float
        Weights of the terms.
    margin : float
        Share of the target's difference that the prediction's difference must reach; 1 asks for all of it.

    Returns
    -------
    loss : Loss
        ``loss.total`` is the sum to minimise; 0 where no frame counts.

    Raises
    ------
    DataError
        If the shapes differ.
    """
    if not predicted.shape == target.shape == mask.shape or predicted.ndim != 2:
        raise DataError(
            f"predicted {tuple(predicted.shape)}, target {tuple(target.shape)} and mask {tuple(mask.shape)} "
            "must share one shape (N, T); pass one value a frame of each window."
        )
    # Not `x * mask`: a NaN times 0 is NaN, and its gradient too.
    predicted, target = (torch.where(mask, part, 0) for part in (predicted, target))

    distance = _mean((predicted - target).square(), mask)

    bend = predicted[:, 2:] - 2 * predicted[:, 1:-1] + predicted[:, :-2]
    roughness = _mean(bend.square(), mask[:, 2:] & mask[:, 1:-1] & mask[:, :-2])

    apex = target.argmax(1, keepdim=True)  # (N, 1); of a masked frame only where the target is 0 throughout
    gap = target.gather(1, apex) - target  # (N, T), 0 at the apex and on its plateau
    short = relu(margin * gap - (predicted.gather(1, apex) - predicted))
    ranking = _mean(short, mask & (gap > 0))

    return Loss(mse * distance + smooth * roughness + rank * ranking, distance, roughness, ranking)


class VideoLoss(NamedTuple):
    """The weighted sum and its unweighted parts, each a scalar tensor."""

    total: Tensor
    regression: Tensor
    classification: Tensor


def video_loss(
    scores,
    logits,
    targets,
    emotion,
    mask,
    *,
    regression: float = 0.9,
    classification: float = 0.1,
    class_weights: Tensor | None = None,
):
    """Weighted sum of both heads' losses, as in the published code of the second paper.

    Parameters
    ----------
    scores, targets : (N, T, S) float tensor in [0, 1]
        One curve a kind of movement.
    logits : (N, T, K) float tensor
    emotion : (N, T) int64 tensor in [0, K)
    mask : (N, T) bool tensor
        False where no face was found: such frames never count, whatever they hold.
    regression, classification : float
        Weights of the terms.
    class_weights : (K,) float tensor or None
        Weight of a frame by its emotion; None weighs all alike. The cross-entropy is the weighted mean: doubling all
        weights changes nothing.

    Returns
    -------
    loss : VideoLoss
        ``loss.total`` is the sum to minimise; a term is 0 where no frame counts.

    Raises
    ------
    DataError
        If the shapes don't belong together.
    """
    parts = scores, logits, targets, emotion, mask
    alike = scores.shape == targets.shape and all(part.shape[:2] == mask.shape for part in parts)
    if not (alike and [part.ndim for part in parts] == [3, 3, 3, 2, 2]):
        raise DataError(
            "scores {}, logits {}, targets {}, emotion {} and mask {} must be (N, T, S), (N, T, K), (N, T, S), (N, T) and "
            "(N, T); pass one row of each for every frame.".format(*(tuple(part.shape) for part in parts))
        )
    visible = mask[..., None]
    scores, logits, targets = (torch.where(visible, part, 0) for part in (scores, logits, targets))
    distance = _mean((scores - targets).square().mean(-1), mask)

    emotion = torch.where(mask, emotion, 0)
    surprise = cross_entropy(logits.transpose(1, 2), emotion, reduction="none")  # (N, T)
    weight = mask.to(surprise.dtype) if class_weights is None else class_weights[emotion] * mask
    wrong = (weight * surprise).sum() / weight.sum().clamp(min=torch.finfo(surprise.dtype).tiny)

    return VideoLoss(regression * distance + classification * wrong, distance, wrong)


def _mean(values, mask):
    """Mean over the frames of the mask; 0 where there are none."""
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)
