"""One fit of a video network on its training sequences, and what it predicts for whole videos.

    Sequences (motion features, one row a frame) -> segments, half of them around a micro-expression -> network
    sequence of any length -> chunks with margins -> scores (T, S), logits (T, K)

    read       [margin |  chunk  | margin]
    then                 [margin |  chunk  | margin]      what a chunk gives in its margins is thrown away

A sequence is a whole video; a window of one is a sequence too, which is how the reference sees them. Everything that
is fitted (scale, class weights) comes from the training sequences. A fit is a `melib.learn.windows.Fitted`: the same
files, and on the CPU one thread and the same bytes for the same seed.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from melib.errors import DataError
from melib.learn import windows
from melib.learn.windows import Fitted
from melib.losses import video_loss
from melib.models import VideoRegressor

# Frames. Both even, for the slow path of the state space; 1024 are half a minute at 30 frames/s.
_CHUNK = 4096
_MARGIN = 1024
_MAD = 1.4826  # a normal distribution's standard deviation, in median absolute deviations
_NETWORK = ("body", "width", "blocks", "dropout", "causal", "kinds")  # settings of the network
_STILL = 1e-6  # pixels: far below what any tracker resolves
# Frames that a grafted movement has on each side, over which it is faded to rest; smoothed by so many frames (sd), so
# that it brings little noise along.
_FADE = 4
_GRAFT_SMOOTH = 1.0


@dataclass(frozen=True)
class Sequence:
    """Motion features of a video, with its targets where they are known.

    Parameters
    ----------
    x : (T, C) float32
        Pixels of the 112-pixel crop; not read where the mask is False.
    mask : (T,) bool
        False where no face was found.
    target : (T, S) float32 in [0, 1], or None
        One curve a kind of movement, micro-expressions first. None: for prediction only.
    emotion : (T,) int64 or None
        Class of the frame, neutral last. None: for prediction only.
    """

    x: np.ndarray
    mask: np.ndarray
    target: np.ndarray | None = None
    emotion: np.ndarray | None = None

    def __len__(self):
        """Count the frames."""
        return len(self.mask)


@dataclass(frozen=True)
class VideoSettings:
    """What a fit depends on besides its sequences, its mirror and its seed; the reference's value where it differs."""

    body: str = "ssm"  # or bigru, dilated (melib.models)
    width: int = 64  # reference: 128 fast, 256 slow
    blocks: int = 2  # reference: 3 stages of 4
    dropout: float = 0.1
    causal: bool = False  # reference: True, an onset can't see its apex
    kinds: int = 1  # score curves: 1 micro, or 3 micro, macro, blink
    classes: int = 5  # emotions, neutral last
    epochs: int = 30  # reference: 50
    batch: int = 16  # segments a step; reference: 256 (CAS(ME)^3) or 32 (SAMM-LV) windows
    lr: float = 2e-3  # peak of a one-cycle schedule, AdamW; reference: 3e-4, Adam
    weight_decay: float = 1e-2  # reference: 0
    patience: int = 10  # epochs without a better validation loss before stopping; not with select "last"
    segment: int = (
        256  # frames of a training segment, shorter sequences are padded; reference: windows of 50 or 30
    )
    # Share of segments placed around a micro-expression, each as often as any other; the rest fall anywhere. The
    # reference's all windows with an event and 4 times (.5 times) as many others are .2 (.67).
    around: float = 0.5
    regression: float = 0.9  # weights of the loss (melib.losses)
    classification: float = 0.1
    tasks: str = "joint"  # or spotting, recognition: one head is trained, with the body to itself
    # The epoch that is kept: the lowest validation loss, or "last" (reference). It is the regression's where scores are
    # trained: frames weighted by class make the classification's rise with confidence while everything gets better.
    select: str = "validation"
    neutral_factor: float = (
        6.0  # classes weigh alike whatever their share of frames, neutral so many times as much
    )
    # Augmentation, drawn once a segment. The reference has the gain alone, of .1.
    gain: float = 0.25  # features times U(1 - .8 gain, 1 + gain)
    warp: float = 0.1  # played at U(1 - warp, 1 + warp) times its speed
    hide: float = 0.05  # share of channels set to their mean
    noise: float = 0.05  # sd of what is added to each value, in the channel's scale
    # Micro-expressions laid over other places of the training videos, on average a segment, and as many stretches without
    # any as decoys; reference: 0.
    graft: float = 0.0


def _fit_scale(train, settings):
    """What is fitted on training sequences, lists of float.

    middle, spread (C): median of each channel over the visible frames, and twice its median absolute deviation as a standard
    deviation; 1 for a channel that never changes. class_weights (K): frames of all classes that occur weigh alike in sum,
    neutral ``neutral_factor`` times as much; 0 for a class that never occurs.
    """
    visible = np.concatenate([sequence.x[sequence.mask] for sequence in train]).astype(np.float64)
    middle = np.median(visible, axis=0)
    spread = 2 * _MAD * np.median(np.abs(visible - middle), axis=0)
    # Where most frames hold the same value (a window's first is 0), the standard deviation stands in.
    spread = np.where(spread > _STILL, spread, visible.std(0))
    if (spread <= _STILL).all():
        raise DataError("the features of the training sequences never change; check that faces were found.")
    emotion = np.concatenate([sequence.emotion[sequence.mask] for sequence in train])
    counts = np.bincount(emotion, minlength=settings.classes)
    weights = np.where(counts > 0, len(emotion) / np.maximum(counts, 1) / (counts > 0).sum(), 0.0)
    weights[-1] *= settings.neutral_factor
    return {
        "middle": middle.tolist(),
        "spread": np.where(spread > _STILL, spread, 1.0).tolist(),
        "class_weights": weights.tolist(),
    }


def fit_regressor(settings, train, validation, seed, *, donors=(), mirror=None):
    """Train one network.

    Parameters
    ----------
    settings : VideoSettings
    train, validation : list of Sequence
        Of different subjects. Validation sequences choose the epoch and are never trained on; with select "last" there
        may be none. A training fold without any event is legal: all its segments fall anywhere.
    seed : int
        Of first weights, dropout, segments and augmentation.
    donors : list of Sequence
        More of the training subjects, such as clips: only their micro-expressions are read, to be grafted (``graft``).
    mirror : (order (C,) int, sign (C,) float), or None
        ``x[:, order] * sign`` are the features of the mirrored face: every other segment is mirrored. None: none is.

    Returns
    -------
    fitted : melib.learn.windows.Fitted
        Its scale is that of `_fit_scale`, and ``class_prior`` (K floats): the share of each class in what the
        classification loss weighed, that is what the network was told before it saw a frame. The validation loss in its
        history is NaN where there are no sequences.

    Raises
    ------
    DataError
        If a set has no visible frame, or the loss stops being a number.
    """
    last = settings.select == "last"
    windows.check_visible("sequence", train, validation or (train if last else ()))
    scale, device = _fit_scale(train, settings), windows.find_device()
    weights = torch.tensor(scale["class_weights"], dtype=torch.float32, device=device)
    steps = math.ceil(sum(map(len, train)) / settings.segment / settings.batch)
    parts = {
        "regression": settings.regression * (settings.tasks != "recognition"),
        "classification": settings.classification * (settings.tasks != "spotting"),
    }
    with windows.reproducible(device):
        torch.manual_seed(seed)
        net = _network(settings, scale).to(device)

        sources = [*train, *donors]
        movements = _movements(sources)
        mass = np.zeros(settings.classes)

        def losses(epoch):
            random = np.random.default_rng([seed, epoch])
            for places in _places(train, steps * settings.batch, settings, random).reshape(steps, -1, 2):
                batch = [_segment(train[which], start, settings, random) for which, start in places]
                for segment in batch:
                    _graft(segment, sources, movements, settings, mirror, random)
                x, mask, target, emotion = (np.stack(part) for part in zip(*batch, strict=True))
                if epoch == 0:
                    labels = emotion[mask]
                    mass[:] += np.bincount(labels, np.take(scale["class_weights"], labels), settings.classes)
                x = _augment(x, scale, settings, mirror, random)
                motion, *labels = (torch.from_numpy(part).to(device) for part in (x, target, emotion, mask))
                curves = net.curves(motion, labels[-1])
                yield video_loss(*curves, *labels, class_weights=weights, **parts).total

        def validate():
            """Loss over all frames of all validation sequences: what `VideoSettings.select` says."""
            if not validation:
                return math.nan
            # Windows have one length: together they take about half of the time.
            together = [[*alike] for _, alike in itertools.groupby(validation, len)]
            curves = [_whole(net, alike, scale, device) for alike in together]
            predicted = (
                np.concatenate([one.reshape(-1, one.shape[-1]) for one in part])
                for part in zip(*curves, strict=True)
            )
            labels = (
                np.concatenate([getattr(sequence, name) for sequence in validation])
                for name in ("target", "emotion", "mask")
            )
            rows = [torch.from_numpy(part[None]) for part in (*predicted, *labels)]
            loss = video_loss(*rows, class_weights=weights.cpu(), **parts)
            return float(loss.classification if settings.tasks == "recognition" else loss.regression)

        state, history = windows.optimise(net, settings, steps, losses, validate, last=last)
    scale["class_prior"] = (mass / max(mass.sum(), 1e-12)).tolist()
    return Fitted(settings, state, scale, history)


def _augment(x, scale, settings, mirror, random):
    """Vary a batch of training segments (n, T, C), pixels, and bring it to the network's scale; one draw a segment."""
    n, _, c = x.shape
    if mirror is not None:
        order, sign = mirror
        turned = random.random(n) < 0.5
        x = np.where(turned[:, None, None], x[..., order] * sign, x)
    gain = random.uniform(1 - 0.8 * settings.gain, 1 + settings.gain, (n, 1, 1))
    x = _scaled(x * gain.astype(np.float32), scale)
    x *= random.random((n, 1, c)) >= settings.hide
    x += np.float32(settings.noise) * random.standard_normal(x.shape, dtype=np.float32)
    return x


def predict_curves(fitted, sequences, *, device=None):
    """Scores and logits of whole videos, one at a time: nothing depends on the others or on their order.

    Parameters
    ----------
    fitted : melib.learn.windows.Fitted
    sequences : list of Sequence
        Of any length; targets are not read.
    device : str or None
        None takes CUDA where there is one.

    Returns
    -------
    curves : list of dict
        scores (T, S) float32 in (0, 1), logits (T, K) float32, one dict a sequence. Rows of masked frames say nothing.

    Raises
    ------
    DataError
        If a sequence has other channels than the training sequences, or NaN in a visible frame.

    Notes
    -----
    Memory beyond the result doesn't grow with length: what is longer than 6144 frames is read in chunks with margins of
    1024 frames. Against one pass that makes no difference for dilated, less than 1e-4 for bigru, and up to .01 for ssm,
    whose slowest states remember thousands of frames, more than they were trained on (tests).
    """
    device = windows.find_device(device)
    with windows.reproducible(device):
        net = _network(fitted.settings, fitted.scale)
        net.load_state_dict(fitted.state)
        net.to(device).eval()
        return [
            {"scores": scores[0], "logits": logits[0]}
            for scores, logits in (_whole(net, [sequence], fitted.scale, device) for sequence in sequences)
        ]


def _places(train, n, settings, random):
    """(n, 2) int: sequence and first frame of n segments, those around events and those anywhere mixed."""
    events = [
        (which, middle)
        for which, sequence in enumerate(train)
        for middle in _runs(sequence.mask & (sequence.target[:, 0] > 0)).sum(1) // 2
    ]
    near = round(settings.around * n) if events else 0
    lengths = np.array([len(sequence) for sequence in train])
    which = random.choice(len(train), n - near, p=lengths / lengths.sum())
    start = random.integers(0, np.maximum(lengths[which] - settings.segment, 0), endpoint=True)
    places = [np.stack([which, start], 1)]
    if near:
        rounds = [random.permutation(len(events)) for _ in range(-(-near // len(events)))]
        which, middle = np.array(events)[np.concatenate(rounds)[:near]].T
        start = middle - random.integers(0, settings.segment, near)
        start = np.clip(start, 0, np.maximum(lengths[which] - settings.segment, 0))
        places.append(np.stack([which, start], 1))
    return random.permutation(np.concatenate(places))


def _runs(inside):
    """First frame of each run of True, and the one behind its last: (N, 2)."""
    return np.flatnonzero(np.diff(np.r_[False, inside, False])).reshape(-1, 2)


def _segment(sequence, start, settings, random):
    """x, mask, target, emotion of settings.segment frames from start, played faster or slower, padded and masked."""
    rate = random.uniform(1 - settings.warp, 1 + settings.warp)
    time = start + rate * np.arange(settings.segment)
    last = len(sequence) - 1
    left = np.clip(time.astype(int), 0, last)
    right = np.minimum(left + 1, last)
    share = (time - left).astype(np.float32)[:, None]
    mask = (time <= last) & sequence.mask[left] & (sequence.mask[right] | (share[:, 0] == 0))

    def between(values):
        mixed = values[left] * (1 - share) + np.where(share > 0, values[right], 0) * share
        return np.where(mask[:, None], mixed, 0).astype(np.float32)

    nearest = np.where(share[:, 0] < 0.5, left, right)
    emotion = np.where(mask, sequence.emotion[nearest], 0).astype(np.int64)
    return between(sequence.x), mask, between(sequence.target), emotion


def _movements(train):
    """Micro-expressions that can be laid over another place: (sequence, first, last frame), nothing else moving there."""
    movements = []
    for which, sequence in enumerate(train):
        for first, stop in _runs(sequence.target[:, 0] > 0):
            around = slice(max(0, first - _FADE), stop + _FADE)
            alone = sequence.mask[around].all() and not (sequence.target[around, 1:] > 0).any()
            if alone and first >= _FADE and stop + _FADE <= len(sequence):
                movements.append((which, int(first), int(stop)))
    return movements


def _graft(segment, sources, movements, settings, mirror, random):
    """Lay movements of other places over a segment (in place): events with their labels, and decoys without."""
    x, mask, target, emotion = segment
    if not movements:
        return
    for label in [True] * random.poisson(settings.graft) + [False] * random.poisson(settings.graft):
        which, first, stop = movements[random.integers(len(movements))]
        length = stop - first + 2 * _FADE
        if not label:
            which = int(random.integers(len(sources)))
            first = int(random.integers(_FADE, max(_FADE + 1, len(sources[which]) - length)))
            stop = first + length - 2 * _FADE
        source, start = sources[which], int(random.integers(0, max(1, len(x) - length)))
        origin, place = slice(first - _FADE, stop + _FADE), slice(start, start + length)
        fits = len(x) >= length and len(source) >= stop + _FADE
        if not (fits and source.mask[origin].all() and mask[place].all()):
            continue
        if (target[place, 0] > 0).any() if label else (source.target[origin] > 0).any():
            continue
        moved = gaussian_filter1d(source.x[origin].astype(np.float64), _GRAFT_SMOOTH, axis=0, mode="nearest")
        moved -= np.linspace(moved[0], moved[-1], length)
        if mirror is not None and random.random() < 0.5:
            moved = moved[:, mirror[0]] * mirror[1]
        x[place] += (moved * random.uniform(1 - settings.gain, 1 + settings.gain)).astype(np.float32)
        if label:
            inside = slice(start + _FADE, start + length - _FADE)
            target[inside, 0] = source.target[first:stop, 0]
            emotion[inside] = source.emotion[first:stop]


def _scaled(x, scale):
    """Linear where a channel is at rest, logarithmic beyond: one scale for a half-pixel movement and for talking."""
    return np.arcsinh((x - np.float32(scale["middle"])) / np.float32(scale["spread"]))


def _network(settings, scale):
    options = {name: getattr(settings, name) for name in _NETWORK}
    return VideoRegressor(len(scale["middle"]), settings.classes, **options)


@torch.no_grad()
def _whole(net, sequences, scale, device):
    """Scores (N, T, S) and logits (N, T, K) of sequences of one length, chunk by chunk."""
    x, mask = (np.stack([getattr(sequence, name) for sequence in sequences]) for name in ("x", "mask"))
    n, t = mask.shape
    channels = len(scale["middle"])
    if x.shape[2] != channels or not np.isfinite(x[mask]).all():
        raise DataError(
            f"a sequence has {x.shape[2]} channels where those trained on have {channels}, or NaN in a visible frame; "
            "use the same features, and mask what can't be seen."
        )
    scores = np.zeros((n, t, net.score.out_features), np.float32)
    logits = np.zeros((n, t, net.emotion.out_features), np.float32)
    chunk = t if t <= _CHUNK + 2 * _MARGIN else _CHUNK
    for first in range(0, t, chunk or 1):
        start, stop = max(0, first - _MARGIN), min(t, first + chunk + _MARGIN)
        part = torch.from_numpy(_scaled(x[:, start:stop].astype(np.float32), scale)).to(device)
        curves = net.curves(part, torch.from_numpy(mask[:, start:stop].copy()).to(device))
        rows = slice(first - start, first - start + chunk)
        for whole, values in zip((scores, logits), curves, strict=True):
            whole[:, first : first + chunk] = values[:, rows].cpu().numpy()
    return scores, logits
