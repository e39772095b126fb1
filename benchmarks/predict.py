"""How fast `melib predict` reads a video, and whether its memory grows with the length.

`python benchmarks/predict.py` prints the table of predict.md; some ten minutes on two cores. A simulated face is set into
pictures of 640 x 480 at 30 frames/s and shown to and fro for as long as asked. Every row is a process of its own.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from melib.app import prediction, predictor_weights
from melib.data import video_files
from melib.simulate import long

SIZE, FPS = (640, 480), 30
CORNER = 120, 200  # where the photograph lies in the picture: row, column


def pictures():
    """Eight seconds of a face with two micro-expressions, (n, 480, 640, 3) uint8."""
    settings = {
        "seed": 1,
        "statistics": "samm_lv",
        "fps": FPS,
        "seconds": [8.0, 8.0],
        "family": "patches",
        "peaks": [1.45, 1.55],
        "micro": 2,
    }
    scene = long.make_video(1, 1, settings).scene
    rng = np.random.default_rng(0)
    grain = scene.grain(rng)
    out = []
    for t in range(scene.n_frames):
        image = scene.written(t, grain, rng)
        row, column = CORNER
        below, right = SIZE[1] - row - image.shape[0], SIZE[0] - column - image.shape[1]
        wide = cv2.copyMakeBorder(image, row, below, column, right, cv2.BORDER_REPLICATE)
        out.append(cv2.cvtColor(wide, cv2.COLOR_GRAY2BGR))
    return np.stack(out)


def write(path, images, minutes, size=SIZE, fps=FPS):
    """The images to and fro as a video of so many minutes."""
    order = [*range(len(images)), *range(len(images) - 2, 0, -1)]
    larger = [images[i] if size == SIZE else cv2.resize(images[i], size) for i in range(len(images))]
    video_files.write(path, (larger[order[t % len(order)]] for t in range(round(minutes * 60 * fps))), fps)


def measure(path):
    """Print seconds of one prediction (weights loaded), samples, intervals and peak memory in MB."""

    weights = predictor_weights.load_weights()
    start = time.perf_counter()
    made = prediction.predict_video(path, weights)
    taken = time.perf_counter() - start
    frames = int(made.curve["frame"].iloc[-1]) + 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([taken, frames, len(made.intervals), peak]))


def main(lengths):
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "av", "numpy"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}\n")
    print("| video | frames | frames/s | times real time | peak memory, MB | intervals | load |")
    print("|---|---|---|---|---|---|---|")
    images = pictures()
    rows = [*((minutes, SIZE, 30) for minutes in lengths), (0.25, (1280, 960), 60), (0.25, (1920, 1440), 60)]
    with tempfile.TemporaryDirectory() as folder:
        for minutes, size, fps in rows:
            film = Path(folder) / "film.mp4"
            write(film, images, minutes, size, fps)
            command = [sys.executable, __file__, "--measure", str(film)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            taken, frames, count, peak = json.loads(printed.splitlines()[-1])
            name = f"{size[0]} x {size[1]}, {fps}/s, {minutes:g} min"
            cells = [
                name,
                frames,
                f"{frames / taken:.0f}",
                f"{frames / fps / taken:.1f}",
                f"{peak:.0f}",
                count,
            ]
            print("| " + " | ".join(map(str, cells)) + f" | {os.getloadavg()[0]:.1f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 6])
    parser.add_argument("--measure", metavar="FILM", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
    else:
        main(options.minutes)
