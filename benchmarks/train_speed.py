"""How many frames a second one CPU thread trains and predicts, by encoder variant. Writes train_speed.md's table.

    python benchmarks/train_speed.py      about a minute

CPU time of the process is counted, not the clock's, so that other processes on the machine matter less.
"""

import datetime
import platform
import statistics
import time

import torch
import torchvision
from torch import nn

from melib.models import IntensityNet, resnet18

FRAMES = 128  # frames a step: 8 windows of 16
STEPS = 5


def with_group_norm(net):
    """Replace each BatchNorm of an encoder by a GroupNorm of 8 channels a group."""
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.GroupNorm(max(1, child.num_features // 8), child.num_features))
    return net


def with_stem(net, kernel):
    """Replace the 7 x 7 first filters."""
    first = net.conv1
    net.conv1 = nn.Conv2d(
        first.in_channels, first.out_channels, kernel, stride=2, padding=kernel // 2, bias=False
    )
    return net


def speed(net, *inputs, frames=FRAMES, bf16=False, channels_last=True):
    """Give frames a second in training (median of some steps) and in prediction (float32)."""
    net = net.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)

    def train():
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            result = net.train()(*inputs)
        result.float().square().mean().backward()

    @torch.no_grad()
    def predict():
        net.eval()(*inputs)

    def rate(step):
        times = []
        for _ in range(STEPS + 1):
            start = time.process_time()
            step()
            times.append(time.process_time() - start)
        return frames / statistics.median(times[1:])

    return rate(train), rate(predict)


def picture(size, channels=2, channels_last=True):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.randn(FRAMES, channels, size, size).contiguous(memory_format=layout)


def window(t, n=8, size=64):
    return torch.randn(n, t, 2, size, size), torch.ones(n, t, dtype=torch.bool)


def main():
    """Print host, versions and the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    plain = picture(64, channels_last=False)
    rows = {
        "encoder, as torchvision (NCHW)": speed(resnet18(2, 16), plain, channels_last=False),
        "encoder, channels_last": speed(resnet18(2, 16), picture(64)),
        "**encoder, channels_last, bf16 (used)**": speed(resnet18(2, 16), picture(64), bf16=True),
        "GroupNorm, NCHW": speed(with_group_norm(resnet18(2, 16)), plain, channels_last=False),
        "GroupNorm, channels_last": speed(with_group_norm(resnet18(2, 16)), picture(64)),
        "GroupNorm, channels_last, bf16": speed(with_group_norm(resnet18(2, 16)), picture(64), bf16=True),
        "stem 3 x 3, channels_last, bf16": speed(with_stem(resnet18(2, 16), 3), picture(64), bf16=True),
        "48 px, channels_last": speed(resnet18(2, 16), picture(48)),
        "48 px, channels_last, bf16": speed(resnet18(2, 16), picture(48), bf16=True),
        "width 64, channels_last, bf16": speed(resnet18(2, 64), picture(64), bf16=True),
    }
    for t in (16, 32):
        net = IntensityNet(2, 16, hidden=64)
        rows[f"IntensityNet, T = {t}, 8 windows, bf16"] = speed(net, *window(t), frames=8 * t, bf16=True)
        rows[f"IntensityNet, T = {t}, 8 windows, float32"] = speed(net, *window(t), frames=8 * t)

    capabilities = torch.cpu.get_capabilities()
    print(
        f"{datetime.date.today()}, {capabilities.get('cpu_name')}, {platform.machine()}, "
        f"avx512_bf16 {capabilities.get('avx512_bf16', False)}; Python {platform.python_version()}, "
        f"torch {torch.__version__}, torchvision {torchvision.__version__}; one thread.\n"
    )
    print("| width 16, 64 x 64 unless stated | training, frames/s | prediction, frames/s |")
    print("|---|---|---|")
    for name, (train, predict) in rows.items():
        print(f"| {name} | {train:.0f} | {predict:.0f} |")


if __name__ == "__main__":
    main()
