"""Motion features of long videos against the reference recipe done naively: speed, accuracy, processes, memory.

`python benchmarks/features.py` prints the tables of features.md; some ten minutes on one core. Videos are simulated faces
set into pictures of 640 x 360, 30 frames/s; what was commanded is known.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from melib.data import workers
from melib.simulate import events, nuisance, portraits, render, units
from melib.vision import faces, flow, recipe

FPS, SECONDS, K = 30, 7, 30
UNITS = (1, 2, 4, 7, 9, 10, 12, 14, 15, 17, 24, 25)
PEAKS = (0.4, 0.8, 1.6, 2.5)  # largest displacement over the skin, pixels of the 112-pixel crop
LIVELY = replace(
    nuisance.Nuisance(), drift=(3, 8), rotation=(1, 4), zoom=(0.005, 0.02), turn=(2, 6), blink_share=0
)
CALM = replace(nuisance.Nuisance(), blink_share=0)
CORNER = 40, 200  # where the photograph lies in the picture: row, column


def film(number):
    """One unit's movement; every second head is lively."""
    rng = np.random.default_rng([99, number])
    canvas = units.make_canvas(portraits.portraits(1 + 7 * number % 40)[0])
    event = events.draw_event(rng, "samm_lv_micro", 3.2, PEAKS[number // 3 % 4])
    event = replace(event, movements=(replace(event.movements[0], unit=UNITS[number % 12], side="both"),))
    paths = nuisance.draw_paths(rng, LIVELY if number % 2 else CALM, SECONDS * FPS, FPS)
    return render.Scene(canvas, "patches", event, paths, FPS)


def write(scene, folder):
    """Paths of the pictures."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    grain = scene.grain(rng)
    paths = []
    for t in range(scene.n_frames):
        image = scene.written(t, grain, rng)
        row, column = CORNER
        below, right = 360 - row - image.shape[0], 640 - column - image.shape[1]
        wide = cv2.copyMakeBorder(image, row, below, column, right, cv2.BORDER_REPLICATE)
        wide = cv2.GaussianBlur(wide, (0, 0), 3)
        wide[row : row + image.shape[0], column : column + image.shape[1]] = image
        paths.append(folder / f"img{t + 1:05d}.jpg")
        cv2.imwrite(str(paths[-1]), wide, [cv2.IMWRITE_JPEG_QUALITY, scene.paths.jpeg])
    return paths


def naive_windows(paths, k):
    """The recipe window after window: two detections each, each frame read twice, a flow a region and frame."""
    starts = recipe._starts(len(paths), k)
    out = np.zeros((len(starts), k, 36), np.float32)
    for row, start in enumerate(starts):
        faces.find_face(faces.read_image(paths[start]))
        out[row] = recipe.windows(paths[start : start + k], k)[0][0]
    return out


def commanded(scene):
    """(T, 36) displacement of the skin at the regions' points, pixels of the 112-pixel crop."""
    points, share = flow._region_points(scene.canvas.points)
    back = cv2.invertAffineTransform(scene.canvas.portrait.to_crop)
    x, y = (points @ back[:, :2].T + back[:, 2]).astype(np.float32).T[:, :, None].copy()
    out = np.zeros((scene.n_frames, 18, 2))
    for amplitude, field in zip(scene.amplitudes.T, scene.movements, strict=True):
        there = cv2.remap(field.displacement(scene.canvas), x, y, cv2.INTER_LINEAR)[:, 0]
        out += amplitude[:, None, None] * (share @ there)
    return out.reshape(-1, 36)


def compared(pairs):
    """Gain and correlation by size of the commanded movement, and the spread at rest; pairs of measured and true."""
    bands = {"0.2-0.5": (0.2, 0.5), "0.5-1": (0.5, 1.0), "1-2.5": (1.0, 9.0)}
    gains, likeness, rest = {band: [] for band in bands}, {band: [] for band in bands}, []
    for measured, truth in pairs:
        for channel in range(36):
            a, b = measured[:, channel], truth[:, channel]
            top = np.abs(b).max()
            for band, (low, high) in bands.items():
                if low <= top < high:
                    gains[band].append(a @ b / (b @ b))
                    likeness[band].append(np.corrcoef(a, b)[0, 1])
        if np.abs(truth).max() < 0.02:
            rest.append(np.square(measured).mean())
    cells = [
        f"{np.median(gains[band]):.2f} ± {np.std(gains[band]):.2f} (r {np.median(likeness[band]):.2f}, "
        f"n {len(gains[band])})"
        for band in bands
    ]
    return [*cells, f"{np.sqrt(np.mean(rest)):.3f}"]


def accuracy(folder, n_films):
    """Rows of the table: both ways, on the same windows, since the recipe knows nothing else."""
    ours, theirs = [], []
    for number in range(n_films):
        scene = film(number)
        paths = write(scene, folder / f"film{number}")
        truth = commanded(scene)
        motion = flow.regional(faces.follow(paths, FPS))["motion"]
        windows, starts, ok = recipe.windows(paths, K)
        landmarks = faces.find_face(faces.read_image(paths[0])).landmarks
        g = np.linalg.norm(landmarks[42] - landmarks[39]) / 2
        unit = (
            9 * g / recipe.SIDE * scene.canvas.portrait.scale
        )  # 112-pixel crop's pixels a pixel of the recipe's
        for window, start in zip(windows[ok], starts[ok], strict=True):
            here = slice(start, start + K)
            theirs.append((window * unit, truth[here] - truth[start]))
            ours.append((motion[here] - motion[start], truth[here] - truth[start]))
    return {"ours": compared(ours), "reference recipe": compared(theirs)}


def seconds(function, *arguments):
    """CPU seconds of this process, best of three."""
    taken = []
    for _ in range(3):
        start = time.process_time()
        function(*arguments)
        taken.append(time.process_time() - start)
    return min(taken)


def ours(paths):
    cv2.setNumThreads(1)
    return flow.regional(faces.follow(paths, FPS))


def timed(paths):
    """CPU seconds of one video in this process."""
    start = time.process_time()
    ours(paths)
    return time.process_time() - start


def two_against_one(paths):
    """How much faster two processes do eight videos than one does: by the clock, and by CPU time were cores free."""
    clock, cpu = {}, {}
    for jobs in (1, 2):
        list(workers.run_jobs(ours, [(paths[:40],)] * jobs, jobs))  # start and load the models
        start = time.perf_counter()
        cpu[jobs] = np.mean(list(workers.run_jobs(timed, [(paths,)] * 8, jobs)))
        clock[jobs] = time.perf_counter() - start
    return clock[1] / clock[2], 2 * cpu[1] / cpu[2]


def memory(folder, minutes):
    """Peak resident memory in MB of a process that measures a video of so many minutes (frames to and fro)."""
    command = [sys.executable, __file__, "--memory", str(folder), str(minutes)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _measure_memory(folder, minutes):
    cv2.setNumThreads(1)
    paths = sorted(Path(folder).iterdir())
    there_and_back = [*paths, *paths[-2:0:-1]]
    n_frames = round(float(minutes) * 60 * FPS)
    repeated = [there_and_back[t % len(there_and_back)] for t in range(n_frames)]
    curves = flow.regional(faces.follow(repeated, FPS))
    assert curves["motion"].shape == (n_frames, 36) and curves["mask"].all()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main(n_films, minutes):
    cv2.setNumThreads(1)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; opencv {cv2.__version__}\n"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write(film(3), folder / "speed")
        np.testing.assert_array_equal(naive_windows(paths[:60], K), recipe.windows(paths[:60], K)[0])
        naive = seconds(naive_windows, paths, K)
        print("| 640 x 360 | frames/s a core | ratio |\n|---|---|---|")
        for label, taken in (
            ("reference recipe, naive", naive),
            ("reference recipe, `recipe.windows`", seconds(recipe.windows, paths, K)),
            ("ours, `flow.regional(faces.follow(...))`", seconds(ours, paths)),
        ):
            print(f"| {label} | {len(paths) / taken:.0f} | {naive / taken:.1f} |", flush=True)
        clock, cpu = two_against_one(paths)
        load = os.getloadavg()[0]
        print(
            f"\nTwo processes: {clock:.2f} times one by the clock (load {load:.1f}), {cpu:.2f} by CPU time\n"
        )
        print("| | gain at 0.2-0.5 px | 0.5-1 px | 1-2.5 px | rms at rest, px |\n|---|---|---|---|---|")
        for label, cells in accuracy(folder / "films", n_films).items():
            print(f"| {label} | {' | '.join(cells)} |", flush=True)
        print("\n| video | peak memory, MB |\n|---|---|")
        for length in minutes:
            print(f"| {length:g} minutes | {memory(folder / 'speed', length):.0f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=24)
    parser.add_argument("--minutes", type=float, nargs="+", default=[3, 30])
    parser.add_argument("--memory", nargs=2, metavar=("FOLDER", "MINUTES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        _measure_memory(*options.memory)
    else:
        main(options.films, options.minutes)
