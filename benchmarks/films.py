"""False alarms of `melib predict` where there is no micro-expression, by what the face does, and where its limits come from.

`python benchmarks/films.py` prints alarms an hour of ten people whom the shipped weights never saw (those of found.py), in
some six minutes of one core, `--weights DIR` those of other weights on the same films;
`--planted` what `melib predict --plant` says of films of them, beside what is found of movements that these hold;
`--thresholds` what the limits of prediction.py and footage.py were taken from, in people whom the weights learned from.
Films are MPEG-4, as people bring them.
"""

import argparse
import itertools
import os
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from found import unseen

from melib import metrics
from melib.app import footage, planting, prediction, predictor_weights
from melib.data import video_files
from melib.simulate import films, long, portraits
from melib.study import psychometrics
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


def quiet(people, weights, seed=5):
    """Count intervals in films without a micro-expression: a row a kind, minutes, those of the decoder, those kept."""
    about = {"family": "patches+muscles", "world": "second", "seconds": SECONDS, "seed": seed}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        films.write_quiet(folder, people=people, jobs=os.cpu_count(), progress=False, **about)
        for number, kind in enumerate(films.KINDS, start=1):
            paths = sorted(Path(folder).rglob(f"*_{number:02d}.mp4"))
            made = [prediction.predict_video(path, weights) for path in paths]
            minutes = sum(len(one.curve) / one.fps / 60 for one in made)
            kept = sum(len(one.intervals) for one in made)
            rows.append((kind, minutes, kept + sum(len(one.dropped) for one in made), kept))
    return pd.DataFrame(rows, columns=["film", "minutes", "intervals", "kept"])


def alarms(counts):
    """Print alarms an hour by kind of film and of all, from a table of `quiet`; exact intervals, if alarms are random."""
    print("| film | minutes | intervals of the decoder | an hour | kept | an hour | 95 %, Poisson |")
    print("|---|---|---|---|---|---|---|")
    total = counts.sum().to_frame().T.assign(film="all")
    for film, minutes, intervals, kept in pd.concat([counts, total]).itertuples(index=False):
        hourly, low, high = psychometrics.realised(kept, minutes / 60).values()
        cells = [film, f"{minutes:.1f}", intervals, f"{60 * intervals / minutes:.0f}", kept]
        print("| " + " | ".join(map(str, [*cells, f"{hourly:.0f}", f"{low:.0f} to {high:.0f}"])) + " |")


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
    like, alike, largest, firsts, mixed = [1.0], [1.0], [0.0], [], 0
    kinds = [{"peaks": [1.0, 3.0], "micro": 3}, *({"only": kind} for kind in long.ONLY[1:])]
    with tempfile.TemporaryDirectory() as folder:
        for person, (number, settings) in itertools.product(people, enumerate(kinds, start=1)):
            path = Path(folder) / "film.mp4"
            _, labels = film(path, person, number, **settings)
            rough = video_files.recording(path).coarse
            like.append(float(footage.likeness(rough).min()))
            mixed += len(footage.dissolves(rough, FPS))
            firsts += [rough[0]] * (number == 1)
            shown, usual = footage.footage(path), prediction.Usual(FPS)

            def watched(shown=shown, usual=usual):
                for part in faces.follow(shown.frames, shown.fps, largest=True):
                    alike.append(min([1.0, *map(usual.alike, part.crops[part.mask])]))
                    yield part

            motion = flow.regional(watched())["motion"]
            marks = [(label["Onset Frame"] - 1, label["Offset Frame"] - 1) for label in labels]
            largest += [prediction.moved(motion, *ends) for ends in marks]
    others = [footage.likeness(np.stack(pair))[1] for pair in itertools.combinations(firsts, 2)]
    print(
        f"neighbours {min(like):.4f} or more, first frames of two people {max(others, default=-1):.3f} or less alike"
    )
    print(f"dissolves that are none: {mixed}; a fifth of the face {min(alike):.3f} or more alike")
    print(f"micro-expressions move {max(largest):.2f} px or less")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--thresholds", action="store_true")
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument(
        "--weights", type=Path, default=None, help="those of a run; else those that are shipped"
    )
    options = parser.parse_args()
    if options.thresholds:
        trained = sorted(set(range(1, portraits.PEOPLE + 1)) - set(unseen()))
        thresholds(trained[: options.people])
    elif options.planted:
        planted(unseen()[: options.people], predictor_weights.load_weights(options.weights))
    else:
        alarms(quiet(unseen()[: options.people], predictor_weights.load_weights(options.weights)))
