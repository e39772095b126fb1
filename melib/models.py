"""Networks that read frames and give one intensity a frame, or a whole video's features and give a score a frame.

    x (N, T, C, H, W) -> ResNet18 on each frame -> (N, T, 8 * width) -> BiGRU over time -> (N, T) in [0, 1]

    x (N, T, C) features -> stem -> body over time (melib.bodies) -> score (N, T) in (0, 1), logits (N, T, K)

Channels by input:   raw 1 (grey)   difference 1 (to the reference frame)   flow 2 (u, v from the reference)

The encoder is torchvision's ResNet class in the layout of ResNet18. At width 64 its parameters carry
torchvision's names and shapes, so that weights made for torchvision load; a smaller width narrows each layer.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import silu
from torchvision.models import ResNet18_Weights
from torchvision.models.resnet import BasicBlock, ResNet

from melib.bodies import Dilated, Recurrent, TimeConv, TwoRate
from melib.errors import DataError

CHANNELS = {"raw": 1, "difference": 1, "flow": 2}
BODIES: dict[str, Any] = {"ssm": TwoRate, "bigru": Recurrent, "dilated": Dilated}

# First scores are about .05, for movements are rare. From .5 the squared error drove all scores to 0, where the sigmoid
# has no slope, and they stayed there: average precision .02 on invented videos where this start gave .75.
_RARE = -3.0


def resnet18(in_channels, width=64):
    """Encoder of one frame: torchvision's ResNet18 without its classifier, narrower when width < 64.

    Parameters
    ----------
    in_channels : int
    width : int
        Channels of the first layer; the last has 8 times as many.

    Returns
    -------
    encoder : torch.nn.Module
        (B, in_channels, H, W) float -> (B, 8 * width) float. Fastest with weights and input in channels_last.

    Notes
    -----
    The norm is torchvision's BatchNorm. GroupNorm divides each frame by its own spread, so that a strong movement and
    a weak one look alike: on invented flow it cost .09 of Spearman (benchmarks/train_speed.md).
    """
    net = ResNet(BasicBlock, [2, 2, 2, 2])
    # ResNet fixes its first width at 64: lay the same layers again, from `width` channels on.
    net.inplanes = width
    net.conv1 = nn.Conv2d(in_channels, width, kernel_size=7, stride=2, padding=3, bias=False)
    net.bn1 = nn.BatchNorm2d(width)
    for stage in range(4):
        planes, stride = width * 2**stage, 1 if stage == 0 else 2
        setattr(net, f"layer{stage + 1}", net._make_layer(BasicBlock, planes, 2, stride=stride))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):  # as torchvision starts
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    net.fc = nn.Identity()
    return net


def load_encoder(encoder, weights):
    """Fill an encoder with the weights of a ResNet18, in place.

    Parameters
    ----------
    encoder : torch.nn.Module
        From `resnet18`, with the width of the weights.
    weights : "imagenet" or path
        imagenet: torchvision's, from its download cache, else from the network with a progress bar.
        A path: a .safetensors file of a ResNet18's state. Where its first layer has other channels than the
        encoder, the colours' filters are added up and shared evenly: a grey picture then gives what it
        gave as a colour picture, and two channels respond as strongly as three did.

    Raises
    ------
    DataError
        If the weights can't be had or don't fit.
    """
    state = _imagenet() if weights == "imagenet" else _local(Path(weights))
    state = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    channels = encoder.conv1.in_channels
    if "conv1.weight" in state and state["conv1.weight"].shape[1] != channels:
        grey = state["conv1.weight"].sum(1, keepdim=True)  # (width, 1, 7, 7)
        state["conv1.weight"] = grey.repeat(1, channels, 1, 1) / channels
    try:
        encoder.load_state_dict(state)
    except RuntimeError as error:
        width = encoder.conv1.out_channels
        raise DataError(
            f"{weights} is not a ResNet18 of width {width}: {' '.join(str(error).split())[:300]}; "
            "set the width that the weights were made with (torchvision's: 64)."
        ) from error


class FramewiseNet(nn.Module):
    """Intensity of each frame from that frame alone: the baseline that can't know its position in time.

    Parameters
    ----------
    in_channels : int
    width : int
        Of the encoder; 64 is ResNet18.
    weights : None, "imagenet" or path
        See `load_encoder`; None starts from random values.
    dropout : float
        Share of features dropped in training.

    Notes
    -----
    ``forward(x, mask)``: x (N, T, C, H, W) float, or (N, 1, C, H, W): one frame that stands for all T and is
    encoded once. mask (N, T) bool; pixels of a frame whose mask is False are never seen.
    Gives (N, T) float in [0, 1].
    """

    def __init__(self, in_channels, width=64, weights=None, *, dropout=0.2):  # noqa: D107
        super().__init__()
        self.encoder = resnet18(in_channels, width)
        if weights:
            load_encoder(self.encoder, weights)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8 * width, 1)

    def forward(self, x, mask):
        """Give the intensity of each frame, (N, T) in [0, 1]."""
        features = _features(self.encoder, x, mask)  # (N, T, 8 * width)
        with torch.autocast(x.device.type, enabled=False):
            return self.head(self.dropout(features)).squeeze(-1).sigmoid()


class IntensityNet(nn.Module):
    """Intensity of each frame from the whole window: the intensity paper's ResNet18 and bidirectional GRU.

    Parameters
    ----------
    in_channels : int
    width : int
        Of the encoder; 64 is ResNet18.
    hidden : int
        Units of the GRU in each direction (not stated in the paper).
    weights : None, "imagenet" or path
        See `load_encoder`; None starts from random values.
    layers : int
        Layers of the GRU (not stated in the paper).
    dropout : float
        Share of features dropped in training, before and after the GRU (not stated in the paper).

    Notes
    -----
    ``forward(x, mask)`` as in `FramewiseNet`.
    """

    def __init__(  # noqa: D107
        self, in_channels, width=64, hidden=128, weights=None, *, layers=1, dropout=0.2
    ):
        super().__init__()
        self.encoder = resnet18(in_channels, width)
        if weights:
            load_encoder(self.encoder, weights)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(8 * width, hidden)
        self.gru = nn.GRU(hidden, hidden, layers, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, 1)

    def forward(self, x, mask):
        """Give the intensity of each frame, (N, T) in [0, 1]."""
        features = _features(self.encoder, x, mask)  # (N, T, 8 * width)
        # Only the encoder gains by a caller's bf16: the small GRU is slower with it on the CPU.
        with torch.autocast(x.device.type, enabled=False):
            states, _ = self.gru(self.project(self.dropout(features)))  # (N, T, 2 * hidden)
            return self.head(self.dropout(states)).squeeze(-1).sigmoid()


class VideoRegressor(nn.Module):
    """Score and emotion of each frame of a whole video, from motion features: one shared body, two heads.

    Parameters
    ----------
    in_channels : int
    classes : int
        Emotions, neutral last.
    body : "ssm", "bigru" or "dilated"
        See `melib.bodies`.
    width : int
        Channels of stem and body, a multiple of 8.
    blocks : int
        Depth of the body.
    dropout : float
        Share of the body's channels dropped in training, and of the features before the heads.
    causal : bool
        True: a frame sees only what came before, as the published network does.
    kinds : int
        Score curves: 1 for micro-expressions alone, 3 for micro, macro, blink.

    Raises
    ------
    DataError
        If the body is unknown or the width no multiple of 8.

    Notes
    -----
    ``forward(x, mask)``: x (N, T, C) float, T >= 1; mask (N, T) bool, None where every frame is visible. What x holds in a
    frame whose mask is False is never read, and such a frame changes nothing for others; its own score and logits
    are constants that say nothing. No frame's values depend on other videos of the batch or on padding.
    """

    def __init__(  # noqa: D107
        self, in_channels=36, classes=5, *, body="ssm", width=64, blocks=2, dropout=0.1, causal=False, kinds=1
    ):
        super().__init__()
        if body not in BODIES:
            raise DataError(f'body "{body}" is unknown; use {", ".join(BODIES)}.')
        if width < 8 or width % 8:
            raise DataError(f"width {width} is not a multiple of 8; use 64, for example.")
        # One channel more says which frames are there: a video's borders and gaps are no calm face.
        self.stem = nn.ModuleList(
            [TimeConv(in_channels + 1, width, causal=causal), TimeConv(width, width, causal=causal)]
        )
        shared = BODIES[body](width, blocks, dropout, causal)
        self.body, self.dropout = shared, nn.Dropout(dropout)
        self.score = nn.Linear(shared.out, kinds)
        nn.init.constant_(self.score.bias, _RARE)
        self.emotion = nn.Linear(shared.out, classes)

    def forward(self, x, mask=None):
        """Give score (N, T) in (0, 1), of the first kind, and logits (N, T, classes)."""
        scores, logits = self.curves(x, mask)
        return scores[..., 0], logits

    def curves(self, x, mask=None):
        """Give scores (N, T, kinds) in (0, 1) and logits (N, T, classes)."""
        if mask is None:
            mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        seen = mask[..., None]
        x = torch.cat([torch.where(seen, x, 0), seen.to(x.dtype)], dim=-1)
        for layer in self.stem:
            x = torch.where(seen, silu(layer(x)), 0)
        x = self.dropout(self.body(x, mask))
        return self.score(x).sigmoid(), self.emotion(x)


def _features(encoder, x, mask):
    """(N, T or 1, C, H, W), (N, T) -> (N, T, F) float32: each frame encoded, 0 where its mask is False."""
    n, t = x.shape[:2]
    seen = mask[:, :t].flatten()
    # Masked frames are left out, not blanked: BatchNorm would count them.
    frames = x.flatten(0, 1) if seen.all() else x.flatten(0, 1)[seen]
    features = x.new_zeros(n * t, 8 * encoder.conv1.out_channels)
    if len(frames):
        features[seen] = encoder(frames.contiguous(memory_format=torch.channels_last)).float()
    return features.unflatten(0, (n, t)).expand(-1, mask.shape[1], -1)


def _imagenet():
    try:
        return ResNet18_Weights.IMAGENET1K_V1.get_state_dict(
            progress=True, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"ImageNet weights can't be had ({error}); connect to the network once, or give the path of a "
            "ResNet18's .safetensors as weights."
        ) from error


def _local(path):
    if not path.is_file():
        raise DataError(f"{path}: no such file of weights; give a ResNet18's .safetensors, or no weights.")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise DataError(f"{path} is not a .safetensors file ({error}); convert the weights first.") from error
