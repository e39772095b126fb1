"""False alarms of `melib predict` where there is no micro-expression, by what the face does, and where its limits come from.

`python benchmarks/films.py` prints alarms an hour of people whom the shipped weights never saw (those of found.py);
`--planted` what `melib predict --plant` says of films of them, beside what is found of movements that these hold;
`--thresholds` what the limits of prediction.py and footage.py were taken from, in people whom the weights learned from.
Films are MPEG-4, as people bring them.
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from found import unseen

from melib import metrics, stats
from melib.app import footage, planting, prediction, predictor_weights
from melib.data import video_files
from melib.simulate import long, portraits
from melib.vision import faces, flow

SECONDS, FPS = 10.0, 30
ABOUT = {"seed": 5, "statistics": "samm_lv", "fps": FPS, "seconds": [SECONDS] * 2, "family": "patches"}


def film(path, person, number, **settings):
    """A simulated film; its truth, and its rows of the table of micro-expressions."""
    made = long.make_video(person, number, {**ABOUT, **settings})
    rng = np.random.default_rng([5, person, number])
    grain = made.scene.grain(rng)
    written = (made.scene.written(t, grain, rng) for t in range(made.scene.n_frames))
    video_files.write(path, (cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) for image in written), FPS)
    return made.truth, [label for label in made.labels if label["Type"] == "Micro"]


def alarms(people, films, weights):
    """Print alarms an hour by kind of film: of the decoder alone, and of what is left of them."""
    print("| film | minutes | intervals of the decoder | an hour | kept | an hour | 95 % over people |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for kind in long.ONLY:
            counts, minutes, who = [], [], []
            for person, number in itertools.product(people, range(1, films + 1)):
                path = Path(folder) / f"{kind}{person}_{number}.mp4"
                film(path, person, number, only=kind)
                made = prediction.predict_video(path, weights)
                counts.append((len(made.intervals) + len(made.dropped), len(made.intervals)))
                minutes.append(len(made.curve) / made.fps / 60)
                who.append(str(person))
            before, now = np.array(counts).T
            _, low, high = stats.bootstrap(60 * now / minutes, np.array(who), statistic=np.mean)
            hour = 60 / sum(minutes)
            cells = [kind, f"{sum(minutes):.1f}", before.sum(), f"{before.sum() * hour:.0f}"]
            cells += [now.sum(), f"{now.sum() * hour:.0f}", f"{low:.0f} to {high:.0f}"]
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def planted(people, weights):
    """Print what is found of movements planted in lively films of a minute, and of those that were recorded in them."""
    recorded, laid = [], []
    edges = np.array([planting.SIZES[0] / 2**0.5, *(size * 2**0.5 for size in planting.SIZES)])
    with tempfile.TemporaryDirectory() as folder:
        for person in people:
            path = Path(folder) / f"{person}.mp4"
            bounds = [edges[0], edges[-1]]
            truth, labels = film(path, person, 1, peaks=bounds, micro=20, seconds=[60.0, 60.0])
            made = prediction.predict_video(path, weights, plant=True)
            print(f"person {person}: {planting.in_words(made.planted)}", flush=True)
            laid.append(made.planted)
            peaks = truth.groupby("event")["peak_px"].max()
            own = pd.DataFrame(
                [(row["Onset Frame"] - 1, row["Offset Frame"] - 1, peaks[row["Event"]]) for row in labels],
                columns=["onset", "offset", "peak_px"],
            )
            same = {"subject": "any", "video": "film"}
            hits = metrics.spotting(made.intervals.assign(**same), own.assign(**same))["matches"]["truth"]
            recorded.append(own.assign(found=own.index.isin(hits)))
    recorded, laid = pd.concat(recorded), pd.concat(laid)
    print(
        "\n| size, px | recorded, found | planted, found | of these in the recorded ones' family |\n|---|---|---|---|"
    )
    for size, low, high in zip(planting.SIZES, edges[:-1], edges[1:], strict=True):
        groups = [recorded[recorded["peak_px"].between(low, high)], laid[laid["size_px"] == size]]
        groups.append(groups[1][groups[1]["family"] == "patches"])
        print(f"| {size:g} |", " | ".join(f"{g['found'].sum()} of {len(g)}" for g in groups), "|")


def thresholds(people):
    """Print the extremes of what CUT, ALIKE and CEILING are held against."""
    like, alike, largest, firsts = [1.0], [1.0], [0.0], []
    with tempfile.TemporaryDirectory() as folder:
        for person in people:
            for number, settings in enumerate(
                ({"peaks": [1.0, 3.0], "micro": 3}, *({"only": k} for k in long.ONLY[1:]))
            ):
                path = Path(folder) / "film.mp4"
                _, labels = film(path, person, number + 1, **settings)
                like.append(float(video_files.recording(path).likeness.min()))
                if not number:
                    firsts.append(video_files.small(video_files.read(video_files.Frame(path, 0))))
                shown, usual = footage.footage(path), prediction.Usual(FPS)

                def watched(shown=shown, usual=usual):
                    for part in faces.follow(shown.frames, shown.fps, largest=True):
                        alike.append(min([1.0, *map(usual.alike, part.crops[part.mask])]))
                        yield part

                motion = flow.regional(watched())["motion"]
                marks = [(label["Onset Frame"] - 1, label["Offset Frame"] - 1) for label in labels]
                largest += [prediction.moved(motion, *ends) for ends in marks]
            others = [video_files.likeness(firsts[-1], one) for one in firsts[:-1]]
            print(
                f"person {person}: neighbours {min(like):.4f} or more, people {max(others, default=-1):.3f} or less alike; "
                f"a fifth of the face {min(alike):.3f} or more; micro-expressions move {max(largest):.2f} px or less",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--thresholds", action="store_true")
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--films", type=int, default=1, help="of each person and kind")
    options = parser.parse_args()
    if options.thresholds:
        seen = sorted(set(range(1, portraits.PEOPLE + 1)) - set(unseen()))
        thresholds(seen[: options.people])
    elif options.planted:
        planted(unseen()[: options.people], predictor_weights.load_weights())
    else:
        alarms(unseen()[: options.people], options.films, predictor_weights.load_weights())
