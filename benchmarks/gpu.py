"""The first paper's network on a GPU that has torch and numpy and nothing else: frames a second, and what it reaches.

    python benchmarks/gpu.py pack runs/mine windows.npz      here, with melib: a run's paper protocol, under 64 MiB
    python benchmarks/gpu.py train windows.npz result.json   there: five folds, main model and constant frame, minutes

Network, loss and recipe are melib's (a test holds them equal); torchvision's ResNet18 is laid out anew, for
there may be no torchvision. Faces of licensed data leave a machine by `pack`: keep the file where the images may be.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import pad, relu

LIMIT = 64 << 20  # bytes of a pack
EPOCHS, BATCH, LR, DECAY = 30, 8, 2e-3, 1e-2  # profile published, as what follows
WARP, SHIFT, HIDE, LIGHT = 0.12, 4, 35, 0.1  # a shift and a square in pixels of 112


class Block(nn.Module):
    """Two 3 x 3 convolutions and what goes past them."""

    def __init__(self, inside, outside, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.downsample = None
        if stride != 1 or inside != outside:
            past = nn.Conv2d(inside, outside, 1, stride, bias=False)
            self.downsample = nn.Sequential(past, nn.BatchNorm2d(outside))

    def forward(self, x):
        past = x if self.downsample is None else self.downsample(x)
        return relu(self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))) + past)


class ResNet18(nn.Module):
    """(B, 1, H, W) -> (B, 8 * width)."""

    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 7, 2, 3, bias=False)
        self.bn1, self.maxpool = nn.BatchNorm2d(width), nn.MaxPool2d(3, 2, 1)
        for stage in range(4):
            inside, outside = width * 2 ** max(0, stage - 1), width * 2**stage
            blocks = nn.Sequential(Block(inside, outside, 1 if stage == 0 else 2), Block(outside, outside, 1))
            setattr(self, f"layer{stage + 1}", blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = self.maxpool(relu(self.bn1(self.conv1(x))))
        for stage in range(4):
            x = getattr(self, f"layer{stage + 1}")(x)
        return x.mean((2, 3))


class Network(nn.Module):
    """ResNet18 on each frame, a bidirectional GRU over time, one intensity a frame: (N, T or 1, 1, H, W) -> (N, T)."""

    def __init__(self, width=64, hidden=128, dropout=0.2):
        super().__init__()
        self.encoder, self.dropout = ResNet18(width), nn.Dropout(dropout)
        self.project = nn.Linear(8 * width, hidden)
        self.gru = nn.GRU(hidden, hidden, 1, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, 1)

    def forward(self, x, steps):
        features = self.encoder(x.flatten(0, 1)).float().unflatten(0, x.shape[:2]).expand(-1, steps, -1)
        with torch.autocast(x.device.type, enabled=False):
            states, _ = self.gru(self.project(self.dropout(features)))
            return self.head(self.dropout(states)).squeeze(-1).sigmoid()


def loss(predicted, target):
    """Distance, roughness and ranking of the apex: melib.losses.intensity_loss without masks."""
    bend = predicted[:, 2:] - 2 * predicted[:, 1:-1] + predicted[:, :-2]
    apex = target.argmax(1, keepdim=True)
    gap = target.gather(1, apex) - target  # (N, T)
    short = relu(0.5 * gap - (predicted.gather(1, apex) - predicted))[gap > 0]
    return (predicted - target).square().mean() + 0.1 * bend.square().mean() + 0.1 * short.mean()


def augment(x, target, random):
    """Mirror, warp in time, light, shift and a hidden square, one draw a window; x (n, T or 1, 1, S, S)."""
    n, steps, size = *x.shape[:2], x.shape[-1]
    x = torch.where(
        (torch.rand(n, generator=random) < 0.5).to(x.device)[:, None, None, None, None], x.flip(-1), x
    )
    if steps > 1:
        last = steps - 1
        knots = torch.tensor([0, last / 3, 2 * last / 3, last]).repeat(n, 1)  # (n, 4)
        moved = knots.clone()
        moved[:, 1:3] += (2 * torch.rand(n, 2, generator=random) - 1) * WARP * last
        at = np.stack(
            [np.interp(np.arange(steps), a, b) for a, b in zip(moved.numpy(), knots.numpy(), strict=True)]
        )
        left = np.minimum(at.astype(int), last - 1)  # (n, T)
        share = torch.from_numpy(at - left).float().to(x.device)
        row, left = torch.arange(n, device=x.device)[:, None], torch.from_numpy(left).to(x.device)
        across = share[:, :, None, None, None]
        x = x[row, left] * (1 - across) + x[row, left + 1] * across
        target = target[row, left] * (1 - share) + target[row, left + 1] * share
    contrast = 1 + LIGHT * (2 * torch.rand(n, generator=random) - 1)
    brightness = LIGHT * torch.randn(n, generator=random)
    x = (
        x * contrast.to(x.device)[:, None, None, None, None]
        + brightness.to(x.device)[:, None, None, None, None]
    )
    wide = pad(x.flatten(1, 2), [SHIFT] * 4, mode="replicate").unflatten(1, x.shape[1:3])
    corners = torch.randint(0, 2 * SHIFT + 1, (n, 2), generator=random).tolist()
    x = torch.stack(
        [wide[i, ..., top : top + size, left : left + size] for i, (top, left) in enumerate(corners)]
    )
    corners = torch.randint(-HIDE // 2, size - HIDE // 2, (n, 2), generator=random).tolist()
    for i, (top, left) in enumerate(corners):
        if torch.rand((), generator=random) < 0.5:
            x[i, ..., max(0, top) : top + HIDE, max(0, left) : left + HIDE] = 0
    return x, target


def fit(frames, targets, train, held, constant, seed, device, epochs, width):
    """Train on the windows `train`; give curves of `held`, which is looked at afterwards alone, and frames a second."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    shown = frames[:, :1] if constant else frames
    mean, sd = float(frames[train].float().mean()), float(frames[train].float().std())
    net = Network(width).to(device, memory_format=torch.channels_last)
    decayed = [p for p in net.parameters() if p.ndim > 1], [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": decayed[0], "weight_decay": DECAY}, {"params": decayed[1], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=LR)
    steps = math.ceil(len(train) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LR, epochs=epochs, steps_per_epoch=steps, pct_start=0.2
    )
    start, n_frames = time.perf_counter(), 0
    for epoch in range(epochs):
        net.train()
        for rows in torch.from_numpy(train)[torch.randperm(len(train), generator=random)].tensor_split(steps):
            x = (shown[rows].to(device).float() - mean) / sd
            x, target = augment(x[:, :, None], targets[rows].to(device), random)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                predicted = net(x, targets.shape[1])
            optimiser.zero_grad(set_to_none=True)
            value = loss(predicted, target)
            value.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            n_frames += x.shape[0] * x.shape[1]
        if not math.isfinite(value := value.item()):
            raise SystemExit(f"the loss is {value} in epoch {epoch + 1}")
    rate = n_frames / (time.perf_counter() - start)
    net.eval()
    with torch.no_grad():
        parts = [
            ((shown[rows].to(device).float() - mean) / sd)[:, :, None]
            for rows in torch.from_numpy(held).split(32)
        ]
        curves = torch.cat([net(x, targets.shape[1]).cpu() for x in parts])
    return curves.numpy(), rate


def spearman(a, b):
    """Rank correlation of two curves, tied ranks shared; a constant curve scores 0."""
    ranks = []
    for values in (np.round(a, 2), b):
        _, place, count = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(count) - (count - 1) / 2)[place])
    return 0.0 if min(map(np.ptp, ranks)) == 0 else float(np.corrcoef(*ranks)[0, 1])


def train_all(pack, folds, epochs, width, seed):
    """Every subject tested once: main model, constant frame, and the mean target of the training subjects beside them."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    frames, targets = torch.from_numpy(pack["frames"]), torch.from_numpy(pack["targets"])
    people, owner = np.unique(pack["subjects"], return_inverse=True)
    group = np.random.default_rng(seed).permutation(len(people))[owner] % folds
    curves = {
        name: np.zeros(tuple(targets.shape)) for name in ("resnet18_bigru", "constant_frame", "position_only")
    }
    rates = []
    for fold in range(folds):
        train, held = np.flatnonzero(group != fold), np.flatnonzero(group == fold)
        curves["position_only"][held] = targets[train].mean(0).numpy()
        for name, constant in (("resnet18_bigru", False), ("constant_frame", True)):
            curves[name][held], rate = fit(
                frames, targets, train, held, constant, seed + fold, device, epochs, width
            )
            rates += [] if constant else [rate]
            print(f"fold {fold + 1} of {folds}, {name}: {rate:.0f} frames a second", flush=True)
    scores = {}
    for name, guess in curves.items():
        rho = np.array([spearman(a, b) for a, b in zip(guess, targets.numpy(), strict=True)])
        scores[name] = float(np.mean([rho[owner == person].mean() for person in range(len(people))]))
    return {
        "spearman_pseudo": scores,
        "frames_per_second": float(np.median(rates)),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        **{
            "windows": len(frames),
            "subjects": len(people),
            "folds": folds,
            "epochs": epochs,
            "width": width,
            "seed": seed,
        },
    }


def pack_run(run, out):
    """Write the complete windows of a run's paper protocol: frames (N, T, S, S) uint8, targets (N, T) float32, subjects."""
    import yaml

    from melib.study import data, intensity
    from melib.study.run import begin

    known = yaml.safe_load((run / "parameters.yml").read_text(encoding="utf-8"))
    begun = begin(run, known["profile"], known["seed"], known["data"])
    studies = [data.with_clips(study, begun) for study in data.clip_studies(begun)]
    prepared = next(p for p in intensity.prepare_all(studies, begun) if p.protocol == "paper")
    rows = prepared.first_complete()
    rows = rows[prepared.mask[rows].all(1)]  # the network here knows no masks
    windows, subjects = prepared.load(rows), prepared.table["subject"].to_numpy()[rows].astype(str)
    if windows.raw.nbytes > LIMIT:
        raise SystemExit(
            f"{len(windows)} windows take {windows.raw.nbytes >> 20} MiB, {LIMIT >> 20} are allowed: fewer clips"
        )
    np.savez_compressed(
        out, frames=np.asarray(windows.raw), targets=np.float32(windows.target), subjects=subjects
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("pack", "train"))
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    for name, value in (("folds", 5), ("epochs", EPOCHS), ("width", 64), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    if given.what == "pack":
        pack_run(given.source, given.out)
        return
    with np.load(given.source, allow_pickle=False) as pack:
        result = train_all(dict(pack), given.folds, given.epochs, given.width, given.seed)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
