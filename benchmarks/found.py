"""What `melib predict` finds of movements of 1.5 pixels in people whom its weights never saw.

`python benchmarks/found.py` prints the table of predict.md in some six minutes; `--weights` asks others, `--seed`
makes other videos. Every video is written as mp4 first, as people bring them.
"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from melib import protocols, stats
from melib.app import prediction, predictor_weights
from melib.data import video_files
from melib.simulate import long, portraits
from melib.study import run

LIDS = {"5", "43", "45"}  # upper lid up, eyes closed, blink


def unseen():
    """Numbers of the test people of the demo run's first fold: no weights were trained or chosen on them."""
    names = [f"s{person:02d}" for person in range(1, portraits.PEOPLE + 1)]
    [fold, *_] = protocols.folds(names, run.profile_settings("demo")["folds"], seed=0)
    return [int(name[1:]) for name in fold.test]


def probe(person, seed):
    """Eight lively seconds with two movements of 1.5 pixels: grey frames, rows of the table about them."""
    settings = {"seed": seed, "statistics": "samm_lv", "fps": 30, "seconds": [8.0, 8.0], "family": "patches"}
    video = long.make_video(person, 1, {**settings, "peaks": [1.45, 1.55], "micro": 2})
    rng = np.random.default_rng([seed, person])
    grain = video.scene.grain(rng)
    images = [video.scene.written(t, grain, rng) for t in range(video.scene.n_frames)]
    return images, [label for label in video.labels if label["Type"] == "Micro"]


def still(person, noise, n=60):
    """A photograph again and again, with noise of its own each time: grey frames."""
    image, rng = portraits.portraits(person)[0].image, np.random.default_rng(person)
    return [np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8) for _ in range(n)]


def intervals_of(images, weights):
    """Intervals that are found in grey frames, once these are MPEG-4."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        video_files.write(path, (cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) for image in images), 30)
        return prediction.predict_video(path, weights).intervals


def look(weights, people, seed):
    """Look for the movements of some people: a pair a video, rows of the table about it and intervals that are found."""
    videos = [probe(person, seed) for person in people]
    return [(truth, intervals_of(images, weights)) for images, truth in videos]


def measure(looked):
    """Set intervals beside movements.

    Parameters
    ----------
    looked : list of pair
        As `look` returns.

    Returns
    -------
    events : DataFrame
        A row a movement: video (int), lids (bool, nothing else moves, as in a blink), touched (bool, by an interval), fits
        (bool, one has an IoU of .5 or more).
    alarms : DataFrame
        A row an interval: video, nothing (bool, it touches no movement).
    """
    events, alarms = [], []
    for video, (truth, intervals) in enumerate(looked):
        touched = np.zeros(len(intervals), bool)
        for event in truth:
            first, last = event["Onset Frame"] - 1, event["Offset Frame"] - 1
            shared = np.minimum(intervals["offset"], last) - np.maximum(intervals["onset"], first) + 1
            joint = np.maximum(intervals["offset"], last) - np.minimum(intervals["onset"], first) + 1
            lids = set(str(event["Action Units"]).replace("L", "").replace("R", "").split("+")) <= LIDS
            events.append((video, lids, bool((shared > 0).any()), bool((shared / joint >= 0.5).any())))
            touched |= (shared > 0).to_numpy(bool)
        alarms += [(video, not hit) for hit in touched]
    columns = ["video", "lids", "touched", "fits"]
    return pd.DataFrame(events, columns=columns), pd.DataFrame(alarms, columns=["video", "nothing"])


def swapped(looked):
    """The control: intervals of one video beside the movements of each other one."""
    n = len(looked)
    return [(looked[i][0], looked[(i + by) % n][1]) for by in range(1, n) for i in range(n)]


def main(weights, seeds):
    people = unseen()
    looked = [pair for seed in seeds for pair in look(weights, people, seed)]
    events, alarms = measure(looked)
    elsewhere, astray = measure(swapped(looked))
    person = np.tile(people, len(seeds)).astype(str)
    stills = [not intervals_of(still(person, noise), weights).empty for person in people for noise in (0, 2)]
    both = (events, elsewhere)
    more, lids = ([table[table["lids"] == alone] for table in both] for alone in (False, True))
    rows = {
        "micro-expressions touched by an interval": (*both, "touched"),
        "of these, where more than the lids moves": (*more, "touched"),
        "where the lids alone move, as in a blink": (*lids, "touched"),
        "found at an IoU of .5 or more": (*both, "fits"),
        "intervals that touch none": (alarms, astray, "nothing"),
    }
    print(f"{len(looked)} videos of 8 s\n")
    print("| | | 95 % interval over people | intervals of other videos |\n|---|---|---|---|")
    for what, (table, control, column) in rows.items():
        hits = table[column].to_numpy(float)
        _, low, high = stats.bootstrap(hits, person[table["video"]], statistic=np.mean)
        share = f"{hits.sum():.0f} of {len(hits)} | {low:.0%} to {high:.0%}"
        print(f"| {what} | {share} | {control[column].mean():.0%} |")
    what = "films of a photograph, 2 s, without or with noise (sd 2), with an interval"
    print(f"| {what} | {sum(stills)} of {len(stills)} | | |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--seed", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    main(predictor_weights.load_weights(options.weights), options.seed)
