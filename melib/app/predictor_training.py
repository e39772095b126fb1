"""Weights for `melib predict` that learned from more than a run has: those that the package ships.

    run, notebooks 01 to 04 done -> its first fold: who is trained on, who chooses, who is never seen
    more videos of its people, simulated, as pictures and as video files -+
    films of them without a micro-expression: talking, smiling, turning --+
    the run's own videos, as pictures and as video files -----------------+-> one larger spotting model, its decoder
                                                   people never seen -------> how much it finds, how often it is wrong

A run trains for a comparison on equal terms, on pictures of good quality. What people bring are video files, whose
compression swallows a part of each small movement: the more was learned from such files, the more is found in them.

`make predictor RUN=five` does it, after `make reproduce PROFILE=five`; without make:
`python -m melib.app.predictor_training five`.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from melib import metrics, stats
from melib.app import prediction, predictor_weights, runner
from melib.data import manifest
from melib.errors import DataError, Misuse
from melib.protocols import Fold
from melib.simulate import write_long
from melib.simulate.films import KINDS, write_films, write_quiet, write_stills
from melib.study import results, spotting, spotting_runs, spotting_tables
from melib.study.data import Study, open_study
from melib.study.provenance import read_configuration
from melib.study.run import Run, begin, data_names
from melib.study.spotting_decoding import Material, System, accepted_intervals, decode_system

_STILLS, _FILMS = "more_stills", "films"
_WORLD = {"world": "second", "family": "patches+muscles"}  # those of the profiles' videos
_FIRST = {"world": "first", "family": "patches"}  # of the other world, too: what people bring is like neither
# Half a second, and the share of such windows of still films whose movement is below the floor.
_WINDOW, _BELOW = 15, 0.9
# What validation people's films without a micro-expression may get: one interval in three minutes.
PER_HOUR = 20
# Peaks of movements in crop pixels between which recall is told apart.
_SIZES = (0, 0.25, 0.5, 1, 1.4, 3)
# Of the length of motion semi_markov finds nothing; of the four this one finds most on test people: in the control's favour.
_MOTION = replace(spotting_runs.MOTION, decoder="half_height")
_JUDGED = (spotting_runs.OURS, _MOTION, spotting_runs.CHANCE)


@dataclass(frozen=True)
class Budget:
    """What the weights learn from beside the run's own videos, and for how long.

    The defaults should take some 50 minutes of two idle cores, reckoned (2026-11-28) from those of one core:
    .005 s a frame for motion, .004 for a simulated picture, .2 for a step of the training.

    Attributes
    ----------
    films : int
        Videos of each person, of the run's own, that are learned from as video files, too.
    videos : sequence of dict
        Data sets to simulate: arguments of `melib.simulate.write_long`; their ``seed`` is added to the run's.
    quiet : sequence of dict
        Films without a micro-expression: arguments of `melib.simulate.films.write_quiet`; ``seed`` as above.
    stills : dict
        Films in which nothing moves: arguments of `melib.simulate.films.write_stills`.
    epochs : int
    fit : dict
        Settings that differ from the profile's ``spotting.fit``.
    """

    films: int = 4
    videos: Sequence[dict] = (
        {
            "name": "more_peaks",
            "videos": 2,
            "seconds": (18, 22),
            "seed": 200,
            "peaks": (0.1, 2.5),
            "micro": 5,
            **_WORLD,
        },
        {
            "name": "more_first",
            "videos": 2,
            "seconds": (18, 22),
            "seed": 500,
            "peaks": (0.1, 2.5),
            "micro": 5,
            **_FIRST,
        },
    )
    quiet: Sequence[dict] = (
        {"name": "quiet", "seed": 300, "seconds": 10, "fps": 30, **_WORLD},
        {
            "name": "quiet_25",
            "seed": 400,
            "seconds": 10,
            "fps": 25,
            "kinds": ("talking", "smiling", "turning"),
            **_WORLD,
        },
        {
            "name": "quiet_first",
            "seed": 600,
            "seconds": 10,
            "fps": 30,
            "kinds": ("talking", "smiling", "blinking", "turning"),
            **_FIRST,
        },
    )
    stills: dict = field(default_factory=lambda: {"noises": (0, 1, 2, 4), "seconds": 8})
    epochs: int = 30
    fit: dict = field(default_factory=lambda: {"width": 96, "blocks": 3, "lr": 1.5e-3})


def train(folder: str | Path, budget: Budget | None = None) -> Path:
    """Train the spotting model of a run's first fold anew, on more videos; what is finished is kept.

    Parameters
    ----------
    folder : str or Path
        That of a run on simulated videos that has finished notebook 04.
    budget : Budget or None
        None: that of the shipped weights.

    Returns
    -------
    Path
        ``run/predictor_more``, for `load_weights`: the run's intensity model, the new spotting model, its decoder. The
        card's ``spotting`` counts the first fold's test people in the run's own videos; ``films`` the same people in the
        files simulated here, both with 95 % intervals over people (``_low``, ``_high``); ``recall`` by size of the movement
        in these (group in crop pixels, events, found, recall); ``kinds`` films of them without a micro-expression (kind,
        films, minutes, alarms, alarms an hour and its interval); ``stills`` films in which nothing moves, and how many of
        them got an interval; ``controls`` has the same of the length of motion alone and of chance.

    Raises
    ------
    DataError
        If notebook 04 isn't finished, or a data set can't be written; Misuse if the run is on licensed data.
    """
    budget = budget or Budget()
    frozen = read_configuration(folder)
    if frozen["data"] != data_names(()):
        raise Misuse(
            f"{folder} is on licensed videos, of which no more can be simulated; use what it has in predictor/."
        )
    run = begin(folder, frozen["profile"], frozen["seed"])
    [own] = spotting.open_long(run)
    [fold] = own.folds[:1]
    films = [
        *_films(run, own.study.root, budget.films),
        *(video for spec in budget.videos for video in _more(run, spec, fold)),
    ]
    quiet = [video for spec in budget.quiet for video in _quiet(run, spec)]
    stills = _stills(own.study, run, budget.stills)
    long = _together(own, [*films, *quiet, *stills])
    options = run.settings["spotting"]
    options = options | {
        "fit": options["fit"] | budget.fit,
        "epochs": options["epochs"] | {"whole_videos": budget.epochs},
    }
    material = spotting_runs.gather([spotting_runs.OURS], run, long, options=options)
    floor = _floor([video for video in stills if video.subject in fold.validation])
    shown = [video for video in quiet if video.subject in fold.validation]
    least = {system.name: _least(system, material, floor, shown) for system in _JUDGED}
    intervals = {system.name: _intervals(system, material, floor, least[system.name]) for system in _JUDGED}
    test = [video for video in long.videos if video.subject in fold.test]
    parts = {
        "spotting": [
            video for video in test if video.video in {f"{v.dataset}/{v.video}" for v in own.videos}
        ],
        "films": [video for video in test if f"/{_FILMS}/" in video.video],
        "quiet": [
            video for video in test if video.video.startswith(tuple(f"{s['name']}/" for s in budget.quiet))
        ],
        "stills": [video for video in test if video.video.startswith(f"{_STILLS}/")],
    }
    scored = {name: _card(rows, parts) for name, rows in intervals.items()}
    clips = predictor_weights.clips_of(run, fold)
    card = {
        "data": [clips, own.study.name, *(spec["name"] for spec in (*budget.videos, *budget.quiet))],
        "face": predictor_weights.face_of(run, clips),
        **scored.pop(spotting_runs.OURS.name),
        "controls": scored,
    }
    place = run.folder / "predictor_more"
    return predictor_weights.export_fold(
        place, run, material, fold, card, floor, least[spotting_runs.OURS.name]
    )


def _films(run: Run, pictures: Path, videos: int | None = None) -> list[spotting.Video]:
    """Write the first videos of each person of a data set as films of many qualities, and compute their motion."""
    place = pictures.with_name(f"{pictures.name}_films")
    write_films(pictures, place, videos=videos, vary=True, jobs=run.jobs)
    return _prepared(run, open_study(place / "manifest.yml", place), _FILMS)


def _more(run: Run, spec: dict, fold: Fold) -> list[spotting.Video]:
    """Simulate long videos and compute their motion: of pictures for those who aren't tested, of films for all."""
    place = run.folder / "data" / spec["name"]
    people = run.settings["long"][0]["people"]
    write_long(place, people=people, jobs=run.jobs, **spec | {"seed": run.seed + spec["seed"]})
    pictures = open_study(place / "manifest.yml", place)
    untested = pictures.videos[~pictures.videos["subject"].isin(fold.test)]
    return [*_prepared(run, replace(pictures, videos=untested), "pictures"), *_films(run, place)]


def _quiet(run: Run, spec: dict) -> list[spotting.Video]:
    """Write films without a micro-expression, and compute their motion; they are called by their kinds."""
    place = run.folder / "data" / spec["name"]
    people = run.settings["long"][0]["people"]
    write_quiet(place, people=people, jobs=run.jobs, **spec | {"seed": run.seed + spec["seed"]})
    kinds = spec.get("kinds", KINDS)
    return [
        replace(video, video=f"{kinds[int(video.video.rpartition('_')[2]) - 1]}/{video.video}")
        for video in spotting.prepare_videos(open_study(place / "manifest.yml", place), run, windows=False)
    ]


def _prepared(run: Run, study: Study, form: str) -> list[spotting.Video]:
    """The videos of a study with their motion, called by the form that they are in."""
    videos = spotting.prepare_videos(study, run, windows=False)
    return [replace(video, video=f"{form}/{video.video}") for video in videos]


def _stills(study: Study, run: Run, spec: dict) -> list[spotting.Video]:
    """Write films in which nothing moves, and compute the motion that is seen in them all the same."""
    place = run.folder / "data" / _STILLS
    people = run.settings["long"][0]["people"]
    write_stills(place, people=people, seed=run.seed, fps=study.manifest.fps, jobs=run.jobs, **spec)
    about = replace(study.manifest, name=_STILLS)
    videos = manifest.spans(about, manifest.videos(about, place))
    still = replace(
        study, manifest=about, root=place, videos=videos, events=study.events.iloc[:0], truth=None
    )
    return spotting.prepare_videos(still, run, windows=False)


def _floor(stills: Sequence[spotting.Video]) -> float:
    """Movement that nine of ten windows of still films stay below: `predictor_weights.Weights.floor`."""
    sizes = [
        prediction.moved(video.motion, first, first + _WINDOW - 1)
        for video in stills
        for first in range(0, len(video) - _WINDOW + 1, _WINDOW // 3)
    ]
    return float(np.quantile(sizes, _BELOW))


def _together(own: spotting.Long, more: Sequence[spotting.Video]) -> spotting.Long:
    """The run's videos and others as one data set of the first fold."""
    name = "more"
    videos = [
        replace(video, dataset=name, video=f"{video.dataset}/{video.video}") for video in (*own.videos, *more)
    ]
    study = replace(own.study, manifest=replace(own.study.manifest, name=name))
    return replace(own, study=study, videos=videos, transfer=[], folds=own.folds[:1])


def _least(system: System, material: Material, floor: float, quiet: list[spotting.Video]) -> float:
    """Score from which on validation people's films without a micro-expression get no more than `PER_HOUR` intervals."""
    [fold] = material.folds
    validated = replace(material, folds=[replace(fold, test=fold.validation)])
    names = {(video.subject, f"{video.dataset}/{video.video}") for video in quiet}
    rows = _intervals(system, validated, floor, 0.0)
    alarms = [row.score for row in rows.itertuples() if (row.subject, row.video) in names]
    allowed = int(PER_HOUR * sum(len(video) / video.fps for video in quiet) / 3600)
    too_many = sorted(alarms, reverse=True)[allowed : allowed + 1]
    return float(np.nextafter(too_many[0], np.inf)) if too_many else 0.0


def _intervals(system: System, material: Material, floor: float, least: float) -> pd.DataFrame:
    """Intervals that a system stands by, that score enough, and in which the skin moves."""
    intervals = accepted_intervals(decode_system(system, material))
    intervals = intervals[intervals["score"] >= least]
    motion = {(video.subject, video.video): video.motion for video in material.videos}
    rows = intervals[["subject", "video", "onset", "offset"]].itertuples(index=False)
    sizes = [prediction.moved(motion[subject, video], *ends) for subject, video, *ends in rows]
    return intervals[np.array(sizes) >= floor].reset_index(drop=True)


def _card(intervals: pd.DataFrame, parts: dict[str, list[spotting.Video]]) -> dict:
    """What some intervals are worth on test people, as in the card."""
    truth = spotting.annotated(parts["films"])
    recall = metrics.recall_by(truth, metrics.spotting(intervals, truth)["matches"], "peak_px", _SIZES)
    still = {(video.subject, video.video) for video in parts["stills"]}
    alarms = still & set(intervals[["subject", "video"]].itertuples(index=False, name=None))
    return {
        **{name: _scores(intervals, parts[name]) for name in ("spotting", "films")},
        "recall": results.records(recall.dropna()),
        "kinds": _alarms(intervals, parts["quiet"]),
        "stills": {"films": len(still), "with_an_interval": len(alarms)},
    }


def _alarms(intervals: pd.DataFrame, videos: list[spotting.Video]) -> list[dict]:
    """Intervals in films without a micro-expression by the kind of film, an hour, with 95 % intervals over people."""
    counts = intervals.groupby(["subject", "video"]).size()
    films = pd.DataFrame(
        {
            "kind": [video.video.split("/")[1] for video in videos],
            "subject": [video.subject for video in videos],
            "minutes": [len(video) / video.fps / 60 for video in videos],
            "alarms": [int(counts.get((video.subject, video.video), 0)) for video in videos],
        }
    )
    rows = []
    for kind, own in films.groupby("kind", sort=False):
        hourly = 60 * own["alarms"] / own["minutes"].mean()  # films are about as long as each other
        rate, low, high = stats.bootstrap(hourly, own["subject"], statistic=np.mean)
        totals = {"films": len(own), "minutes": own["minutes"].sum(), "alarms": own["alarms"].sum()}
        rows.append({"kind": kind, **totals, "per_hour": rate, "per_hour_low": low, "per_hour_high": high})
    return results.records(pd.DataFrame(rows))


def _scores(intervals: pd.DataFrame, videos: list[spotting.Video]) -> dict[str, float]:
    """Pooled scores of some videos, each with the bounds of its 95 % interval over people."""
    counts = spotting_tables.tally([intervals], spotting.annotated(videos), videos)

    def pooled(weight):
        hits, invented, missed = (weight @ counts[name] for name in ("tp", "fp", "fn"))
        scores = spotting_tables.pooled_scores(counts, weight)
        return {
            "precision": hits / np.maximum(hits + invented, 1),
            "recall": hits / np.maximum(hits + missed, 1),
            **{name: scores[name] for name in ("spotting_f1", "fp_per_hour", "end_to_end_f1")},
        }

    once = pooled(np.ones((1, len(counts))))
    drawn = pooled(spotting_tables.subject_weights(counts["subject"]))
    bounds = {name: stats.interval(values) for name, values in drawn.items()}
    return {
        name + side: float(value)
        for name, [estimate] in once.items()
        for side, value in zip(("", "_low", "_high"), (estimate, *bounds[name]), strict=True)
    }


if __name__ == "__main__":
    try:
        print(train(runner.locate(sys.argv[1] if len(sys.argv) > 1 else "demo")))
    except DataError as error:
        raise SystemExit(f"melib: {error}") from None
