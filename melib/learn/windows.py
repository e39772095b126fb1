"""One fit of one network on the windows of its training subjects, and what it predicts.

    Windows (arrays, possibly memory-mapped) -> prepare (one batch, float32) -> network -> curves (N, T)

The best epoch is chosen on the validation windows alone. Preparation constants are fitted on the training
windows and travel with the weights. On the CPU a fit uses one thread: two fits share two cores, and the same
seed gives the same bytes. Training may compute in bf16; what is validated and predicted is float32.

    folder/weights.safetensors   the network
    folder/history.csv           one row an epoch
    folder/settings.yml          settings and preparation constants; written last: where it is, all is there
"""

import contextlib
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from melib.data import cache
from melib.errors import DataError
from melib.losses import intensity_loss
from melib.models import CHANNELS, FramewiseNet, IntensityNet
from melib.vision import flow

_STATISTICS = 64  # windows, evenly spaced, that preparation constants are taken from: memory stays bounded
_BATCH = 16  # windows that are predicted at a time: memory only, the curves don't depend on it
_LOSS = ("mse", "smooth", "rank", "margin")  # settings of the loss


@dataclass(frozen=True)
class Windows:
    """Windows of aligned clips with their targets, one row a window.

    Parameters
    ----------
    raw : (N, T, S, S) uint8
    flow : (N, T, 2, S, S) float16
        Displacement (u right, v down) from the reference frame, pixels of the 112-pixel crop.
    reference : (N,) int
        Position in the window, 0 to T - 1, of its neutral reference frame.
    target : (N, T) float32 in [0, 1]
    mask : (N, T) bool
        False where no face was found.
    """

    raw: np.ndarray
    flow: np.ndarray
    reference: np.ndarray
    target: np.ndarray
    mask: np.ndarray

    def __len__(self):
        """Count the windows."""
        return len(self.mask)


@dataclass(frozen=True)
class FitSettings:
    """What a fit depends on besides its windows and its seed."""

    model: str = "resnet18_bigru"  # or framewise: the same encoder without time
    input: str = "raw"  # raw (the paper's), difference or flow
    constant_frame: bool = False  # training control: every window shows its first frame throughout
    width: int = 64  # channels of the first layer; 64 is ResNet18 (the paper), 16 trains about 9 times faster
    hidden: int = 128  # GRU units a direction; not stated in the paper
    layers: int = 1  # GRU layers; not stated in the paper
    dropout: float = 0.2  # not stated in the paper
    weights: str | None = None  # "imagenet", or a .safetensors; pretraining isn't stated in the paper
    epochs: int = 30  # not stated in the paper
    batch: int = 8  # windows a step; not stated in the paper
    lr: float = 2e-3  # peak of a one-cycle schedule, AdamW; not stated in the paper
    weight_decay: float = 1e-2  # not stated in the paper
    patience: int = 10  # epochs without a better validation loss before stopping; not stated in the paper
    mse: float = 1.0  # weights of the loss (melib.losses); not stated in the paper
    smooth: float = 0.1
    rank: float = 0.1
    margin: float = 0.5
    # Augmentation, drawn once a window and epoch; none is stated in the paper.
    flip: bool = True  # mirror left and right; the sign of u turns with it
    warp: float = 0.12  # two inner times move by up to this share of the window; between them time follows
    shift: int = 2  # translation by up to so many pixels of the input
    hide: int = 20  # side of a square set to 0 in every other window, so that no single region decides
    gain: float = (
        0.25  # motion (flow, difference) times U(1 - .8 gain, 1 + gain): labels don't know amplitude
    )
    light: float = (
        0.1  # raw frames only: brightness by N(0, light) sd, contrast times U(1 - light, 1 + light)
    )

    def __post_init__(self):
        """Refuse names that mean nothing."""
        if self.model not in ("resnet18_bigru", "framewise"):
            raise DataError(f'model "{self.model}" is unknown; use resnet18_bigru or framewise.')
        if self.input not in CHANNELS:
            raise DataError(f'input "{self.input}" is unknown; use {", ".join(CHANNELS)}.')


@dataclass(frozen=True)
class Fitted:
    """A trained network.

    Parameters
    ----------
    settings : FitSettings or melib.learn.videos.VideoSettings
    state : dict of torch.Tensor
        The best epoch's weights, on the CPU.
    scale : dict
        ``mean`` and ``sd`` of `network_inputs`, or `melib.learn.videos.fit_feature_scale`.
    history : DataFrame
        epoch, train, validation (losses), best (bool: the epoch whose weights were kept).
    """

    settings: Any
    state: dict
    scale: dict
    history: pd.DataFrame


def _fit_scale(windows, input):
    """mean and sd (float) of an input over training windows; motion keeps its zero: mean 0, sd the root mean square."""
    rows = np.unique(np.linspace(0, len(windows) - 1, min(_STATISTICS, len(windows))).astype(int))
    count, total, square = 0, 0.0, 0.0
    for row in rows:
        values = _native(windows, [row], input)[0][windows.mask[row]].astype(np.float64)
        count, total, square = count + values.size, total + values.sum(), square + (values**2).sum()
    mean = total / count if input == "raw" and count else 0.0
    variance = square / count - mean**2 if count else 0.0
    if not variance > 1e-12:
        raise DataError(
            f"the {input} input of the training windows has no variation; "
            "check that the clips move and that faces were found."
        )
    return {"mean": float(mean), "sd": float(math.sqrt(variance))}


def network_inputs(windows, rows, input, scale):
    """Make what a network reads of some windows.

    Parameters
    ----------
    windows : Windows
    rows : (n,) int or slice
    input : "raw", "difference" or "flow"
        raw: grey values. difference: to the mean grey values of the window's reference and its neighbours. flow: pixels.
    scale : dict
        Of a `Fitted`.

    Returns
    -------
    x : (n, T, C, S, S) float32 tensor
        (value - mean) / sd.
    """
    values = _native(windows, rows, input).astype(np.float32)
    values -= np.float32(scale["mean"])
    values /= np.float32(scale["sd"])
    return torch.from_numpy(values)


def fit_windows(settings, train, validation, seed):
    """Train one network.

    Parameters
    ----------
    settings : FitSettings
    train, validation : Windows
        Of different subjects. Validation windows choose the epoch and are never trained on.
    seed : int
        Of first weights, dropout, order and augmentation.

    Returns
    -------
    fitted : Fitted

    Raises
    ------
    DataError
        If either set is empty, has no visible frame, or the loss stops being a number.
    """
    check_visible("window", [train], [validation])
    scale, device = _fit_scale(train, settings.input), find_device()
    steps = math.ceil(len(train) / settings.batch)
    # On CPUs bf16 is 1.4 times as fast, but the same seed gave other bytes.
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    with reproducible(device):
        torch.manual_seed(seed)
        net = _network(settings, settings.weights).to(device, memory_format=torch.channels_last)

        def loss(x, target, mask):
            weights = {name: getattr(settings, name) for name in _LOSS}
            curves = net(x.to(device), mask.to(device))
            return intensity_loss(curves, target.to(device), mask.to(device), **weights).total

        def losses(epoch):
            random = np.random.default_rng([seed, epoch])
            for rows in np.array_split(random.permutation(len(train)), steps):
                x, target, mask = _batch(train, np.sort(rows), settings, scale)
                with autocast:
                    yield loss(*_augment(x, target, mask, settings, random))

        def validate():
            batches = _slices(len(validation), settings.batch)
            parts = (_batch(validation, rows, settings, scale) for rows in batches)
            return sum(len(part[0]) * float(loss(*part)) for part in parts) / len(validation)

        state, history = optimise(net, settings, steps, losses, validate)
    return Fitted(settings, state, scale, history)


def check_visible(what, train, validation):
    """Refuse sets of windows or sequences without any frame that shows a face."""
    for name, parts in (("training", train), ("validation", validation)):
        if not any(np.asarray(part.mask).any() for part in parts):
            raise DataError(f"no {name} {what} with a visible face; give more subjects, or check the masks.")


def optimise(net, settings, steps, losses, validate, *, last=False):
    """Descend epoch by epoch (AdamW, one cycle of the learning rate) and keep the best weights.

    Parameters
    ----------
    net : torch.nn.Module
        Trained in place.
    settings : FitSettings or melib.learn.videos.VideoSettings
        epochs, lr, weight_decay and patience are read.
    steps : int
        An epoch's.
    losses : callable
        ``losses(epoch)`` yields the scalar loss of each step, computed when it is asked for.
    validate : callable
        Gives the validation loss (float) of the network as it stands; called without gradients or dropout.
    last : bool
        Keep the last epoch's weights and stop at none before, whatever the validation loss.

    Returns
    -------
    state : dict of torch.Tensor
        The kept weights, on the CPU.
    history : DataFrame
        See `Fitted`.

    Raises
    ------
    DataError
        If a loss stops being a number.
    """
    optimiser = torch.optim.AdamW(_decayed(net, settings.weight_decay), lr=settings.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.lr, epochs=settings.epochs, steps_per_epoch=steps, pct_start=0.2
    )
    state: dict = {}
    rows, lowest, best = [], math.inf, -1
    for epoch in range(settings.epochs):
        step_losses = []
        net.train()
        for loss in losses(epoch):
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            step_losses.append(loss.detach())
        trained = float(torch.stack(step_losses).mean())
        if not math.isfinite(trained):
            raise DataError(
                f"the training loss is {trained} in epoch {epoch + 1}; lower lr, or look for NaN in the inputs."
            )
        net.eval()
        with torch.no_grad():
            validated = validate()
        if last or validated < lowest:
            lowest, best = validated, epoch
            state = {
                name: value.to("cpu", copy=True).contiguous() for name, value in net.state_dict().items()
            }
        rows.append({"epoch": epoch + 1, "train": trained, "validation": validated})
        if epoch - best >= settings.patience:
            break
    history = pd.DataFrame(rows)
    history["best"] = history.index == max(best, 0)
    return state, history


def _augment(x, target, mask, settings, random):
    """Vary a batch of prepared training windows, in place where that goes; one draw a window for all its frames."""
    n, size, pad = len(x), x.shape[-1], settings.shift
    each = (n, 1, 1, 1, 1)
    if settings.flip:
        flipped = torch.from_numpy(random.random(n) < 0.5)
        mirror = x[flipped].flip(-1)
        if settings.input == "flow":
            mirror[:, :, 0] *= -1  # u points right: its mirror image points left
        x[flipped] = mirror
    if settings.warp and x.shape[1] > 1:
        for window in range(n):
            x[window], target[window], mask[window] = _warp(
                x[window], target[window], mask[window], settings.warp, random
            )
    if settings.input == "raw":
        x *= torch.from_numpy(random.uniform(1 - settings.light, 1 + settings.light, each)).float()
        x += torch.from_numpy(random.normal(0, settings.light, each)).float()
    else:
        x *= torch.from_numpy(random.uniform(1 - 0.8 * settings.gain, 1 + settings.gain, each)).float()
    if pad:
        moved = torch.nn.functional.pad(x.flatten(1, 2), [pad] * 4, mode="replicate")
        moved = moved.unflatten(1, x.shape[1:3])
        for window, (top, left) in enumerate(random.integers(0, 2 * pad + 1, (n, 2))):
            x[window] = moved[window, ..., top : top + size, left : left + size]
    if settings.hide:
        corners = random.integers(-settings.hide // 2, size - settings.hide // 2, (n, 2))
        for window in np.flatnonzero(random.random(n) < 0.5).tolist():
            top, left = corners[window]
            x[window, ..., max(0, top) : top + settings.hide, max(0, left) : left + settings.hide] = 0
    return x, target, mask


def _warp(x, target, mask, most, random):
    """One window played faster here and slower there, its target with it; the first and last frame stay."""
    last = len(x) - 1
    knots = np.array([0, last / 3, 2 * last / 3, last])
    moved = knots + np.r_[0, random.uniform(-most, most, 2) * last, 0]
    time = np.interp(np.arange(last + 1), moved, knots)  # (T,) where each frame is taken from
    left = torch.from_numpy(np.minimum(time.astype(int), last - 1))
    share = torch.from_numpy(time).float() - left  # (T,)
    across = share[:, None, None, None]
    warped = x[left] * (1 - across) + x[left + 1] * across
    return warped, target[left] * (1 - share) + target[left + 1] * share, mask[left] & mask[left + 1]


def predict_windows(fitted, windows, *, device=None):
    """Intensity curves of windows.

    Parameters
    ----------
    fitted : Fitted
    windows : Windows
    device : str or None
        None takes CUDA where there is one.

    Returns
    -------
    curves : (N, T) float32 in [0, 1]
    """

    about = fitted.settings, fitted.scale
    return _predict(fitted, lambda rows: _batch(windows, rows, *about)[::2], windows.mask.shape, device)


def predict_inputs(fitted, inputs, mask=None):
    """Intensity curves of prepared inputs, such as re-timed or frozen ones.

    Parameters
    ----------
    fitted : Fitted
    inputs : (N, T, C, S, S) float32 tensor or array
        From `network_inputs`.
    mask : (N, T) bool or None
        None: every frame shows a face.

    Returns
    -------
    curves : (N, T) float32 in [0, 1]
    """
    inputs = torch.as_tensor(inputs)
    mask = torch.ones(inputs.shape[:2], dtype=torch.bool) if mask is None else torch.as_tensor(np.array(mask))
    frames = slice(0, 1) if fitted.settings.constant_frame else slice(None)
    return _predict(fitted, lambda rows: (inputs[rows, frames], mask[rows]), mask.shape, None)


def save_fit(fitted, folder):
    """Write a fitted network; ``settings.yml`` comes last and holds a hash of the rest, so a folder that has it is whole.

    Parameters
    ----------
    fitted : Fitted
    folder : path
    """
    folder = Path(folder)
    with cache.atomic(folder / "weights.safetensors") as temporary:
        save_file(fitted.state, temporary)
    cache.write_table(folder / "history.csv", fitted.history, float_format="%.9g")
    record = {"settings": dataclasses.asdict(fitted.settings), "scale": dict(fitted.scale)}
    cache.write_yaml(folder / "settings.yml", cache.seal(record | {"files": _files_hash(folder)}))


def _files_hash(folder):
    return cache.content_hash([folder / "weights.safetensors", folder / "history.csv"])


def load_fit(folder, settings=FitSettings):
    """Read what `save_fit` wrote.

    Parameters
    ----------
    folder : path
    settings : type
        What the fit was made with: FitSettings or melib.learn.videos.VideoSettings.

    Returns
    -------
    fitted : Fitted

    Raises
    ------
    DataError
        If the folder holds no whole fit, or a file isn't what `save_fit` wrote.
    """
    folder = Path(folder)
    try:
        record = cache.unseal(yaml.safe_load((folder / "settings.yml").read_text(encoding="utf-8")))
        if record["files"] != _files_hash(folder):
            raise ValueError("its weights or its history have changed since they were written")
        state = load_file(folder / "weights.safetensors")
        history = pd.read_csv(folder / "history.csv")
        return Fitted(settings(**record["settings"]), state, record["scale"], history)
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError, SafetensorError) as error:
        raise DataError(f"{folder} holds no whole fit ({error}); delete the folder and run again.") from error


def _native(windows, rows, input):
    """The values of an input in their own unit, (n, T, C, S, S); float32 or narrower."""
    if input == "flow":
        return np.asarray(windows.flow[rows])
    raw = np.asarray(windows.raw[rows])
    if input == "raw":
        return raw[:, :, None]
    mask = np.asarray(windows.mask[rows])
    at = np.asarray(windows.reference[rows])
    calm = [grey[flow.around(r, face)].mean(axis=0) for grey, r, face in zip(raw, at, mask, strict=True)]
    return (raw - np.stack(calm).astype(np.float32)[:, None])[:, :, None]


def _batch(windows, rows, settings, scale):
    """Prepared x, target and mask of some windows, as tensors of their own memory."""
    x = network_inputs(windows, rows, settings.input, scale)
    if settings.constant_frame:
        x = x[:, :1].contiguous()  # the network encodes it once and lets it stand for all frames
    return x, *(torch.from_numpy(np.array(part[rows])) for part in (windows.target, windows.mask))


def _network(settings, weights):
    """The settings' network; weights are first weights, or None where a state is loaded afterwards."""
    about = CHANNELS[settings.input], settings.width
    if settings.model == "framewise":
        return FramewiseNet(*about, weights, dropout=settings.dropout)
    more = {"layers": settings.layers, "dropout": settings.dropout}
    return IntensityNet(*about, settings.hidden, weights, **more)


@torch.no_grad()
def _predict(fitted, inputs, shape, device):
    """Curves of `shape` (N, T); ``inputs(rows)`` gives x and mask of some windows."""
    curves, device = np.zeros(shape, np.float32), find_device(device)
    with reproducible(device):
        with torch.device("meta"):  # draws no first weights: all are those of the state
            net = _network(fitted.settings, None)
        net.load_state_dict(fitted.state, assign=True)
        net.to(device, memory_format=torch.channels_last).eval()
        for rows in _slices(len(curves), _BATCH):
            curves[rows] = net(*(part.to(device) for part in inputs(rows))).cpu().numpy()
    return curves


def _decayed(net, weight_decay):
    """Parameter groups: matrices and filters decay, biases and norms don't."""
    parameters = list(net.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _slices(n, size):
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def find_device(name=None):
    """Give the torch device of a name; None takes CUDA where there is one."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


@contextlib.contextmanager
def reproducible(device):
    """One CPU thread, deterministic kernels, and the caller's random state and thread count given back."""
    threads, deterministic = torch.get_num_threads(), torch.backends.cudnn.deterministic
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic = True
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.deterministic = deterministic
