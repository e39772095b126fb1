"""Bodies of the video network: what they read and give is one vector a frame, (N, T, width).

    dilated   residual convolutions over time, each reaching further than the one before
    bigru     residual layers of gated recurrent units, one a direction
    ssm       a selective state space at two rates:

              frames     o o o o o o o o   fast path, full rate   ----------------+-> concatenated
                          \\   \\   \\   \\     added after each block               |
                          o   o   o   o    slow path, every other frame --- x 2 --+

A body is made by ``Body(width, blocks, dropout, causal)``, width a multiple of 8, and gives one vector a frame,
``forward(x (N, T, width), mask (N, T) bool) -> (N, T, out)``, 0 where the mask is False. All share one rule: a frame whose
mask is False takes part in nothing. It adds nothing to its neighbours and moves no state, so that frames without a face
and padding, in front or behind, are the same thing: absent. With causal, a frame sees only itself and what came before.
"""

import math
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import pad, silu, softplus

from melib.errors import DataError

_DILATIONS = (1, 2, 4, 8, 16)  # of one block: two blocks reach 62 frames, 2 s at 30 frames/s, to each side
_HEAD = 8  # channels that share one decay of the state space
_STATE = 16  # memory cells a channel; the reference has 64 on 150 times the parameters
_CHUNK = 16  # frames solved by one matrix product: measured fastest of 16, 32, 64 at width 64
_STEP = (0.001, 0.1)  # first step sizes of the state space, as its authors start it (arXiv 2312.00752, 3.6)


class _TimeConv(nn.Conv1d):
    """Convolution over time of (N, T, C) tensors: an output reads ``size`` frames around it, or the last; outside lie 0."""

    def __init__(self, channels, out, size=3, *, dilation=1, stride=1, groups=1, causal=False):
        super().__init__(channels, out, size, stride=stride, dilation=dilation, groups=groups)
        reach = (size - 1) * dilation
        self.before = reach if causal else reach // 2
        self.behind = reach - self.before

    def forward(self, x):  # (N, T, channels) -> (N, ceil(T / stride), out)
        return super().forward(pad(x, (0, 0, self.before, self.behind)).transpose(1, 2)).transpose(1, 2)


class Dilated(nn.Module):
    """Body of residual dilated convolutions; what a frame sees is bounded."""

    def __init__(self, width, blocks, dropout, causal):  # noqa: D107
        super().__init__()
        self.layers = nn.ModuleList(
            _TimeConv(width, width, dilation=dilation, causal=causal)
            for _ in range(blocks)
            for dilation in _DILATIONS
        )
        self.dropout = nn.Dropout(dropout)
        self.out = width

    def forward(self, x, mask):
        """Give one vector a frame."""
        for layer in self.layers:
            x = x + _only(self.dropout(silu(layer(x))), mask)
        return x


class Recurrent(nn.Module):
    """Body of residual gated recurrent units, in both directions, each with half the width, unless causal.

    Visible frames are moved together before the units see them, so that no time passes while there is no face.
    """

    def __init__(self, width, blocks, dropout, causal):  # noqa: D107
        super().__init__()
        units = width if causal else width // 2
        self.ahead = nn.ModuleList(nn.GRU(width, units, batch_first=True) for _ in range(blocks))
        self.behind = nn.ModuleList(
            nn.GRU(width, units, batch_first=True) for _ in range(blocks * (not causal))
        )
        self.dropout = nn.Dropout(dropout)
        self.out = width

    def forward(self, x, mask):
        """Give one vector a frame."""
        order = (~mask).int().argsort(dim=1, stable=True)  # visible frames first, in their order
        frame, visible = torch.arange(mask.shape[1], device=mask.device), mask.sum(1, keepdim=True)
        back = torch.where(
            frame < visible, visible - 1 - frame, frame
        )  # (N, T) turns the visible frames round
        x = _take(x, order)
        for ahead, behind in zip_longest(self.ahead, self.behind):
            states = ahead(x)[0]
            if behind is not None:
                states = torch.cat([states, _take(behind(_take(x, back))[0], back)], dim=-1)
            x = x + self.dropout(states)
        return _only(_take(x, order.argsort(dim=1)), mask)


class TwoRate(nn.Module):
    """Body of selective state spaces at full and at half rate, in both directions unless causal; out is 2 * width.

    The reference's layout (fast path added into the slow one, slow path repeated and set beside the fast one) with fewer and
    narrower blocks, so many of each rate.
    """

    def __init__(self, width, blocks, dropout, causal):  # noqa: D107
        super().__init__()
        self.fast = nn.ModuleList(_Block(width, dropout, causal) for _ in range(blocks))
        self.slow = nn.ModuleList(_Block(width, dropout, causal) for _ in range(blocks))
        self.down = nn.ModuleList(_TimeConv(width, width, stride=2, causal=causal) for _ in range(blocks))
        self.causal, self.out = causal, 2 * width

    def forward(self, x, mask):
        """Give one vector a frame."""
        # Slow frame j stands for frames 2j and 2j + 1; causal, it must be known at 2j: it stands for 2j - 1 and 2j.
        pairs = pad(mask, (1, 0) if self.causal else (0, 1))[:, : 2 * ((mask.shape[1] + 1) // 2)]
        visible = pairs.unflatten(1, (-1, 2)).any(2)  # (N, ceil(T / 2))
        slow = torch.zeros_like(x[:, :1])
        for fast_block, slow_block, down in zip(self.fast, self.slow, self.down, strict=True):
            slow = slow_block(_only(slow + down(x), visible), visible)
            x = fast_block(x, mask)
        return _only(torch.cat([x, slow.repeat_interleave(2, dim=1)[:, : x.shape[1]]], dim=-1), mask)


class _Block(nn.Module):
    """A residual selective state space, in one direction or the sum of two."""

    def __init__(self, width, dropout, causal):
        super().__init__()
        self.norm = nn.LayerNorm(width)  # inside the residual branch: the stream itself keeps its strength
        self.ways = nn.ModuleList(_Selective(width) for _ in range(1 if causal else 2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, mask):
        branch = self.norm(x)
        y = self.ways[0](branch, mask)
        if len(self.ways) == 2:
            y = y + self.ways[1](branch.flip(1), mask.flip(1)).flip(1)
        return x + _only(self.dropout(y), mask)


class _Selective(nn.Module):
    """Selective state space that looks back: gate, short convolution, scan (arXiv 2312.00752, figure 3).

    One decay for each head of 8 channels, which makes the scan a matrix product (arXiv 2405.21060); heads start at decays 1,
    2, 3, ..., the real part of a diagonal state space's usual start (S4D-real, arXiv 2206.11893).
    """

    def __init__(self, width):
        super().__init__()
        self.heads = width // _HEAD
        self.sizes = [width, width + 2 * _STATE, self.heads]  # gate; input, write and read; step
        self.enter = nn.Linear(width, sum(self.sizes), bias=False)
        self.near = _TimeConv(self.sizes[1], self.sizes[1], 4, groups=self.sizes[1], causal=True)
        self.leave = nn.Linear(width, width, bias=False)
        self.skip = nn.Parameter(torch.ones(self.heads))
        self.log_decay = nn.Parameter(torch.arange(1.0, self.heads + 1).log())
        step = torch.empty(self.heads).uniform_(*map(math.log, _STEP)).exp()
        self.step_bias = nn.Parameter(step + (-torch.expm1(-step)).log())  # its softplus is the step

    def forward(self, x, mask):
        gate, rest, step = self.enter(_only(x, mask)).split(self.sizes, dim=-1)
        value, write, read = silu(self.near(rest)).split([x.shape[-1], _STATE, _STATE], dim=-1)
        value = value.unflatten(-1, (self.heads, _HEAD))
        step = _only(softplus(step + self.step_bias), mask)  # no step: the state stays as it is
        y = _selective_scan(value, step, -self.log_decay.exp(), write, read) + self.skip[:, None] * value
        return self.leave(y.flatten(2) * silu(gate))


def _selective_scan(value, step, decay, write, read, chunk=_CHUNK):
    """Run a state space whose step, input and output depend on the frame; (N, T, H, P), the states 0 before the first frame.

    ``y[t] = state[t] @ read[t]`` of ``state[t] = exp(step[t] * decay) * state[t - 1] + step[t] * value[t] write[t]^T``, with
    value (N, T, H, P), step (N, T, H) >= 0, decay (H,) < 0, write and read (N, T, S), state (H, P, S).

    Within a chunk each frame reads every earlier one with the decay between them, a matrix product; chunk by chunk
    the state is handed on (arXiv 2405.21060, section 6). Decays are taken as exponentials of differences, all at most
    1: nothing overflows.
    """
    t = value.shape[1]
    value = value * step[..., None]
    rate = step * decay
    value, rate, write, read = (
        pad(part, [0, 0] * (part.ndim - 2) + [0, -t % chunk]).unflatten(1, (-1, chunk))
        for part in (value, rate, write, read)
    )  # (N, J, L, ...)
    value = value.transpose(2, 3)  # (N, J, H, L, P)
    gone = rate.cumsum(2).transpose(2, 3)  # (N, J, H, L): log decay from the chunk's start to after frame l
    future = torch.ones(chunk, chunk, dtype=torch.bool, device=value.device).triu(1)
    between = (gone[..., :, None] - gone[..., None, :]).masked_fill(future, -torch.inf).exp()
    pairs = read @ write.transpose(-1, -2)  # (N, J, L, L): how much frame l reads of what frame m wrote
    near = (between * pairs[:, :, None]) @ value  # (N, J, H, L, P)

    left = between[..., -1, :, None] * value  # (N, J, H, L, P): what remains of a frame at the chunk's end
    added = left.transpose(-1, -2) @ write[:, :, None]  # (N, J, H, P, S)
    over = gone[..., -1, None, None].exp()  # (N, J, H, 1, 1)
    state, states = torch.zeros_like(added[:, 0]), []
    for j in range(added.shape[1]):
        states.append(state)  # before chunk j
        state = over[:, j] * state + added[:, j]
    far = gone.exp()[..., None] * (read[:, :, None] @ torch.stack(states, 1).transpose(-1, -2))
    return (near + far).transpose(2, 3).flatten(1, 2)[:, :t]


def _only(x, mask):
    """0 where the mask is False."""
    return x * mask[..., None].to(x.dtype)


def _take(x, order):
    """(N, T, C), (N, T) int -> (N, T, C): frames in another order."""
    return x.gather(1, order[..., None].expand(-1, -1, x.shape[-1]))


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
    # Two seconds, for those alone who build a network.
    from torchvision.models.resnet import BasicBlock, ResNet

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


def _load_encoder(encoder, weights):
    """Fill an encoder in place with the weights of a ResNet18, see `FramewiseNet`.

    Where the file's first layer has other channels than the encoder, the colours' filters are added up and shared evenly:
    a grey picture then gives what it gave as a colour picture, and two channels respond as strongly as three did.
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


class _Encoded(nn.Module):
    """Frames encoded one by one: what both intensity networks begin with."""

    def __init__(self, in_channels, width, weights, dropout):
        super().__init__()
        self.encoder = resnet18(in_channels, width)
        if weights:
            _load_encoder(self.encoder, weights)
        self.dropout = nn.Dropout(dropout)

    def features(self, x, mask):
        """(N, T or 1, C, H, W), (N, T) -> (N, T, 8 * width) float32: each frame encoded, 0 where its mask is False."""
        n, t = x.shape[:2]
        visible = mask[:, :t].flatten()
        # Masked frames are left out, not blanked: BatchNorm would count them.
        frames = x.flatten(0, 1) if visible.all() else x.flatten(0, 1)[visible]
        features = x.new_zeros(n * t, 8 * self.encoder.conv1.out_channels)
        if len(frames):
            features[visible] = self.encoder(frames.contiguous(memory_format=torch.channels_last)).float()
        return features.unflatten(0, (n, t)).expand(-1, mask.shape[1], -1)


class FramewiseNet(_Encoded):
    """Intensity of each frame from that frame alone: the baseline that can't know its position in time.

    Parameters
    ----------
    in_channels : int
    width : int
        Of the encoder; 64 is ResNet18.
    weights : None, "imagenet" or path
        None starts from random values. imagenet: torchvision's, from its download cache, else from the network with a
        progress bar. A path: a .safetensors file of a ResNet18's state.
    dropout : float
        Share of features dropped in training.

    Raises
    ------
    DataError
        If the weights can't be had or don't fit.

    Notes
    -----
    ``forward(x, mask)``: x (N, T, C, H, W) float, or (N, 1, C, H, W): one frame that stands for all T and is
    encoded once. mask (N, T) bool; pixels of a frame whose mask is False are never visible.
    Gives (N, T) float in [0, 1].
    """

    def __init__(self, in_channels, width=64, weights=None, *, dropout=0.2):  # noqa: D107
        super().__init__(in_channels, width, weights, dropout)
        self.head = nn.Linear(8 * width, 1)

    def forward(self, x, mask):
        """Give the intensity of each frame, (N, T) in [0, 1]."""
        features = self.features(x, mask)  # (N, T, 8 * width)
        with torch.autocast(x.device.type, enabled=False):
            return self.head(self.dropout(features)).squeeze(-1).sigmoid()


class IntensityNet(_Encoded):
    """Intensity of each frame from the whole window: the intensity paper's ResNet18 and bidirectional GRU.

    Parameters
    ----------
    in_channels, width, weights
        As in `FramewiseNet`.
    hidden : int
        Units of the GRU in each direction (not stated in the paper).
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
        super().__init__(in_channels, width, weights, dropout)
        self.project = nn.Linear(8 * width, hidden)
        self.gru = nn.GRU(hidden, hidden, layers, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, 1)

    def forward(self, x, mask):
        """Give the intensity of each frame, (N, T) in [0, 1]."""
        features = self.features(x, mask)  # (N, T, 8 * width)
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
        See `melib.models`.
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
            [_TimeConv(in_channels + 1, width, causal=causal), _TimeConv(width, width, causal=causal)]
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
        visible = mask[..., None]
        x = torch.cat([torch.where(visible, x, 0), visible.to(x.dtype)], dim=-1)
        for layer in self.stem:
            x = torch.where(visible, silu(layer(x)), 0)
        x = self.dropout(self.body(x, mask))
        return self.score(x).sigmoid(), self.emotion(x)


def _imagenet():
    from torchvision.models import ResNet18_Weights

    try:
        return ResNet18_Weights.IMAGENET1K_V1.get_state_dict(check_hash=True, weights_only=True)
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
