"""How small a movement each system still finds, and how near that is to the best that anybody could do.

    probe videos       micro-expressions of .02 to 2.5 pixels, everything else as in the videos that systems learned from
        |              the same ones with more camera noise; at another frame rate; with labels that err
        v
    intervals of validation subjects -> the least score that keeps false alarms at so many an hour
    intervals of test subjects, from that score on -> found or not -> psychometric function, threshold at 50 %
        |
        +-- ideal observer of the same movements -> d' -> its own function and threshold

Nothing is fitted here but these curves: systems, priors and emissions are those of notebook 06 (of several trainings the
first), each person's probe video is judged by the model that never saw this person, and the least score comes from
validation subjects. A movement's size is its largest displacement over the skin, crop pixels of the rendered truth. Its
interval is the truth's, too, since nobody could label the weakest (melib.simulate.events.visible).

found        an accepted interval has an IoU of .5 or more with the event's
false alarm  the middle of an accepted interval lies in no micro-expression; hours are those outside of them
neither      the middle lies in one, but the interval fits badly: the event isn't found, and nothing was invented
"""

import json
import math
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
import pandas as pd

from melib import learn, simulate
from melib.data import cache, workers
from melib.errors import DataError
from melib.simulate import events, folder, long, render, schedule, units
from melib.study import cascade, data, ideal_observer, psychometrics, results, spotting, spotting_runs
from melib.study.results import BORDERS, IDEAL
from melib.study.run import Run
from melib.study.spotting_decoding import decode_system, fits_of
from melib.study.spotting_runs import lighter

# What the ideal observer's limits are computed by: a changed line of it changes their keys.
IDEAL_CODE = (ideal_observer, render, long, schedule, events, units)
IOU = 0.5
BASELINES = ("chance", "motion")
IDEAL_PX = np.geomspace(0.001, BORDERS[-1], 120)  # crop pixels of the ideal observer's curve
_EVERY = 3  # frames of a movement that the ideal observer renders: each n-th
_ANNOTATORS = 9  # stream of random numbers
# A wrong interval of the event's own length reaches an IoU of .5 while it begins within a third of that length.
_CATCHES = 2 / 3


@dataclass(frozen=True)
class Condition:
    """One way to see the same movements.

    Attributes
    ----------
    name : {"base", "noise", "frame rate", "annotators"}
    level : float
        Noise: a factor on the camera's; frame rate: frames a second; annotators: standard deviation of a label's onset
        and offset, frames at 200 a second. Base: 1.
    unit : str
    gain : float
        The ideal observer's d' compared with the base: it is proportional to 1 / noise, and to the root of the number of
        frames, which are independent.
    spec : dict
        Settings of write_long that differ from the base's; none where its videos are labelled anew.
    label_error : float
        Standard deviation of labels, seconds.
    """

    name: str
    level: float = 1.0
    unit: str = ""
    gain: float = 1.0
    spec: dict[str, Any] = field(default_factory=dict)
    label_error: float = 0.0


BASE = Condition("base")
# The same videos, grain by grain, whose movements are too small for anybody to see.
STILL = Condition("still", spec={"peaks": (0.01, 0.0101)})


def conditions(run: Run) -> list[Condition]:
    """Conditions of a profile, the base first."""
    noise, rate, error = (
        [float(level) for level in run.settings["limits"][name]]
        for name in ("noise", "frame_rate", "annotators")
    )
    less = run.settings["limits"].get("other_probe", {})
    return [
        BASE,
        *(Condition("noise", f, "times the camera's noise", 1 / f, {"noise": f, **less}) for f in noise),
        *(
            Condition("frame rate", f, "frames a second", math.sqrt(f / long.FPS), {"fps": f, **less})
            for f in rate
        ),
        *(Condition("annotators", n, "frames at 200 a second", label_error=n / 200) for n in error),
    ]


# ---- probe videos and what systems make of them -------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """Probe videos under one condition, with everything that decoding reads.

    ``study`` data.Study of the probe videos; ``material`` spotting_decoding.Material of them and of the run's videos.
    """

    condition: Condition
    study: data.Study
    material: spotting_runs.Material

    @property
    def videos(self) -> list:
        """The probe videos, spotting.Video each."""
        return [video for video in self.material.videos if video.dataset == self.study.name]

    @property
    def truth(self) -> pd.DataFrame:
        """Their micro-expressions, as `spotting.annotated` returns."""
        return spotting.annotated(self.videos)


def probe_settings(run: Run, condition: Condition) -> dict[str, Any]:
    """How the probe videos of a condition are simulated: in the world, by the fields, of the run's own long videos."""
    name = "probe" if condition == BASE else f"probe_{condition.name}_{condition.level:g}"
    learned = {name: value for name, value in run.settings["long"][0].items() if name in ("world", "family")}
    spec = learned | run.settings["limits"]["probe"] | condition.spec
    return spec | {"name": name.replace(" ", "_").replace(".", "_"), "seed": run.seed}


def open_probe(run: Run, condition: Condition, systems: list, material) -> Probe:
    """Simulate the videos of one condition, or open them, and predict the curves of some systems' fits on them.

    Parameters
    ----------
    run : Run
    condition : Condition
        With frames of its own; an annotator's error has none.
    systems : list of spotting_decoding.System
    material : spotting_decoding.Material
        Of the videos that they were fitted on.

    Returns
    -------
    Probe
    """
    spec = probe_settings(run, condition)
    out = run.folder / "data" / spec["name"]
    simulate.write_long(out, jobs=run.jobs, **spec)
    study = data.open_study(out / "manifest.yml", out)
    windows = any(system.features == "reference" for system in systems)
    videos = spotting.prepare_videos(study, run, windows=windows)
    fits = {f for s in systems for f in fits_of(s, material.dataset, material.folds, run.seed)}
    curves = {fit: material.curves[fit] | _curves(run, fit, material.folds[fit.fold], videos) for fit in fits}
    intensities = material.intensity
    if any(system.needs_intensity for system in systems):
        added = spotting.intensity_curves(run, study, videos, material.folds, run.seed)
        intensities = {fold: intensities[fold] | curves for fold, curves in added.items()}
    both = replace(material, videos=[*material.videos, *videos], curves=curves, intensity=intensities)
    return Probe(condition, study, both)


def _curves(run, fit, fold, videos):
    """Curves by a finished fit of the videos of its validation and test subjects."""
    videos = [video for video in videos if video.subject in (*fold.validation, *fold.test)]
    fitted = learn.windows.load_fit(run.folder / "weights" / fit.name, learn.videos.VideoSettings)
    curves = spotting.curves_of_videos(fitted, fit, videos, run.settings["spotting"]["batch_of_windows"])
    return {(v.dataset, v.subject, v.video): curve for v, curve in zip(videos, curves, strict=True)}


# ---- found or not -------------------------------------------------------------------------------------------------


def _overlaps(predicted, truth):
    """IoU of each interval with each event, (N, M), 0 in different videos; whether its middle lies in one, (N,) bool."""
    same = np.ones((len(predicted), len(truth)), bool)
    for name in ("subject", "video"):
        same &= predicted[name].to_numpy()[:, None] == truth[name].to_numpy()
    first, last = (predicted[name].to_numpy(float)[:, None] for name in ("onset", "offset"))
    onset, offset = (truth[name].to_numpy(float) for name in ("onset", "offset"))
    shared = np.minimum(last, offset) - np.maximum(first, onset) + 1
    whole = np.maximum(last, offset) - np.minimum(first, onset) + 1
    middle = (first + last) / 2
    inside = same & (middle >= onset) & (middle <= offset)
    return np.where(same & (shared > 0), shared / whole, 0.0), inside.any(axis=1)


def _candidates(predicted, truth, videos):
    """Rows of predicted that find an event or are false alarms (true), which each finds (N, M), hours without events."""
    iou, inside = _overlaps(predicted, truth)
    finds = iou >= IOU
    counted = finds.any(axis=1) | ~inside
    fps = {video.video: video.fps for video in videos}
    moving = ((truth["offset"] - truth["onset"] + 1) / truth["video"].map(fps)).sum()
    hours = (sum(len(video) / video.fps for video in videos) - moving) / 3600
    return predicted.assign(true=finds.any(axis=1))[counted], finds[counted], float(hours)


@dataclass(frozen=True)
class Detection:
    """What one system does to the probe events of all folds at one rate of false alarms.

    ``truth`` (M rows) DataFrame subject, video, event, onset, offset, peak_px; ``detected`` (M,) bool; ``alarms`` how many
    false ones were accepted in so many ``hours`` outside of events; ``least`` list of float: the score that counts, one a
    fold.
    """

    truth: pd.DataFrame
    detected: np.ndarray
    alarms: int
    hours: float
    least: list


def detect(probe: Probe, decoded: dict, allowed: float, *, label_error: float = 0.0) -> Detection:
    """Which events a system finds at a rate of false alarms that was set on validation subjects.

    Parameters
    ----------
    probe : Probe
    decoded : dict
        What `decode_probe` returns for the system.
    allowed : float
        False alarms an hour.
    label_error : float
        Standard deviation of labels, seconds.

    Returns
    -------
    Detection

    Raises
    ------
    DataError
        If a subject is on both sides.
    """
    material = probe.material
    truth = _labelled(probe.truth, label_error, material.seed)
    detected, alarms, least, hours = np.zeros(len(truth), bool), 0, [], 0.0
    for fold in material.folds:
        test = [video for video in probe.videos if video.subject in fold.test]
        if not test:
            continue
        judges, predicted = decoded[fold.index, "validation"]
        shared = sorted({video.subject for video in judges} & set(fold.test))
        if shared:
            raise DataError(
                f"subject {shared[0]} is in validation and test; a score is chosen on other people's videos."
            )
        judged, _, searched = _candidates(
            predicted, _labelled(spotting.annotated(judges), label_error, material.seed), judges
        )
        least.append(psychometrics.score_for_rate(judged["score"], judged["true"], searched, allowed))
        own = truth["subject"].isin(fold.test).to_numpy()
        tested, finds, searched = _candidates(decoded[fold.index, "test"], truth[own], test)
        accepted = (tested["score"] >= least[-1]).to_numpy()
        detected[own] = finds[accepted].any(axis=0)
        alarms += int((accepted & ~tested["true"]).sum())
        hours += searched
    return Detection(truth, detected, alarms, hours, least)


def _calibration(system, probe, fold):
    """Videos that the least score is chosen on: those of the fold's validation subjects under the same condition.

    Under the base condition their ordinary long videos are such, too. Only subjects that an intensity model wasn't trained
    on can speak for a system that reads it.
    """
    people = set(fold.validation)
    if system.needs_intensity:
        people &= probe.material.unseen[fold.index]
    same = {probe.study.name}
    if probe.condition == BASE:
        same.add(probe.material.dataset)
    videos = [v for v in probe.material.videos if v.dataset in same and v.subject in people]
    if not videos:
        raise DataError(
            f"fold {fold.index} has no validation subject with a probe video to set the rate of false alarms on; give the "
            "probe videos of the profile more people."
        )
    return videos


def decode_probe(system, probe: Probe) -> dict:
    """Everything that a system considers, by (fold, side): "test" intervals, "validation" videos and their intervals.

    Videos of validation subjects are called ``dataset/video``, since they come from two data sets that name them alike.
    """
    decoded: dict = {}
    material, dataset = probe.material, probe.study.name
    for fold in material.folds:
        # Asked to test its validation subjects, the fold's fit predicts what it would for anybody it wasn't trained on.
        judges = _calibration(system, probe, fold)
        asked = replace(fold, test=tuple(sorted({v.subject for v in judges})))
        parts = []
        for name in (dataset, material.dataset):
            if any(v.dataset == name for v in judges):
                intervals = decode_system(system, replace(material, folds=[asked]), name)
                parts.append(intervals.assign(video=name + "/" + intervals["video"]))
        apart = [replace(video, video=f"{video.dataset}/{video.video}") for video in judges]
        decoded[fold.index, "validation"] = apart, pd.concat(parts, ignore_index=True)
        if any(video.subject in fold.test for video in probe.videos):
            decoded[fold.index, "test"] = decode_system(system, replace(material, folds=[fold]), dataset)
    return decoded


def _labelled(truth, label_error, seed):
    """Events as an annotator who errs by so many seconds would write them down; larger errors are the same, stretched."""
    drawn = np.random.default_rng([seed, _ANNOTATORS]).standard_normal((2, len(truth)))
    times = truth[["onset", "offset"]].to_numpy(float).T + label_error * truth["fps"].to_numpy() * drawn
    # Between samples, and never closer than one.
    low, high = times.min(axis=0), np.maximum(times.max(axis=0), times.min(axis=0) + 1)
    return truth.assign(onset=low, offset=high)


# ---- the ideal observer -------------------------------------------------------------------------------------------


def ideal_limits(run: Run, study: data.Study) -> pd.DataFrame:
    """Smallest standard deviation with which the ideal observer measures each probe event, by (video, event); crop pixels.

    ``sd_px``: told everything but the noise; ``free_px``: head, light and all other units unknown. A d' is peak / this. Of
    probe videos as their record tells to make them; cached a video.
    """
    settings = json.loads((study.root / "record.json").read_text(encoding="utf-8"))["settings"]
    version = cache.code_version(*IDEAL_CODE)
    tasks = [(run.cache / "ideal", version, video, settings) for video in study.videos["video"]]
    done = workers.run_jobs(_ideal, tasks, run.jobs, label="ideal observer", unit="video")
    return pd.concat(dict(zip(study.videos["video"], done, strict=True)))


def _ideal(place, version, video, settings):
    """Limits of one video's events by their names (in a worker process)."""
    cv2.setNumThreads(1)
    person, number = (int(part) for part in video.lstrip("s").split("_"))

    def compute():
        made, family = long.make_video(person, number, settings), folder.family_of(settings, person, number)
        courses = made.courses.values()
        sd = [ideal_observer.clip_sd(made.scene, course=course, every=_EVERY) for course in courses]
        own = [made.truth[made.truth["event"] == name].filter(regex=r"^au\d").any() for name in made.courses]
        moved = [{int(unit[2:]) for unit in units.index[units]} for units in own]
        pairs = zip(courses, moved, strict=True)
        left = [ideal_observer.share_left(made.scene, family, course, units) for course, units in pairs]
        return {"sd_px": np.array(sd), "free_px": np.array(sd) / np.sqrt(left)}

    key = cache.key(version, {"video": video, "every": _EVERY, **settings})
    known = {name: np.array(values) for name, values in cache.arrays(place, key, compute).items()}
    return pd.DataFrame(known, [f"{video}_micro{n}" for n in range(1, len(known["sd_px"]) + 1)])


# ---- tables -------------------------------------------------------------------------------------------------------

# Columns of each result table after the data set's name.
COLUMNS = {
    name: columns.split()
    for name, columns in {
        "limits": "condition level unit system kind per_hour threshold_px threshold_px_low threshold_px_high lapse guess"
        " events subjects remark least_px most_px test_per_hour test_per_hour_low"
        " test_per_hour_high found",
        "limits_events": "condition level system subject video event peak_px found",
        "limits_curve": "condition level system px probability low high",
    }.items()
}


def limits_study(run: Run, longs: list) -> dict[str, pd.DataFrame]:
    """Measure every system under every condition of a profile; written into the run's results.

    Parameters
    ----------
    run : Run
    longs : list of spotting.Long
        The first one's fits are measured.

    Returns
    -------
    dict of DataFrame
        limits, limits_events, limits_curve, cascade.
    """
    asked, home = run.settings["limits"], longs[0]
    testable = spotting_runs.testable(spotting_runs.SYSTEMS, run, home)
    base, others = ([s for s in testable if s.name in asked["systems"][part]] for part in ("base", "others"))
    material = spotting_runs.gather(base, run, home)
    probe = open_probe(run, BASE, base, material)
    ideal = ideal_limits(run, probe.study)
    parts: list[dict[str, pd.DataFrame]] = []
    for condition in conditions(run):
        systems = base if condition == BASE else others
        here = open_probe(run, condition, systems, material) if condition.spec else probe
        rates = asked["per_hour"] if condition == BASE else asked["per_hour"][:1]
        lighter_ones = [replace(here, material=lighter(system, here.material)) for system in systems]
        tasks = [
            (own, condition, s, rates, asked["resamples"])
            for own, s in zip(lighter_ones, systems, strict=True)
        ]
        label = f"{condition.name} {condition.level:g}"
        parts += workers.run_jobs(_measure, tasks, run.jobs, label=label, unit="system")
        parts.append(_ideal_rows(here, condition, ideal, rates))
    tables = {}
    for name in COLUMNS:
        tables[name] = pd.concat([part[name] for part in parts if name in part], ignore_index=True)
    ours = next((system for system in base if system == spotting_runs.OURS), None)
    still = open_probe(run, STILL, [ours] if ours else [], material)
    rows = tables["limits"].query("condition == 'base' and system == @spotting_runs.OURS.name")
    last = next(iter(results.records(rows)), {})
    rate, n = asked["per_hour"][0], asked["resamples"]
    guess = psychometrics.guess_rate(rate, _catches(probe.truth))
    tables["cascade"] = cascade.cascade_steps(
        probe, still, ideal, ours, last, per_hour=rate, guess=guess, n=n
    )
    for name, table in tables.items():
        table.insert(0, "dataset", home.study.name)
        results.write_result(run, name, table)
    return tables


def _measure(probe, condition, system, rates, n):
    """Tables of one system under one condition; events and curve are those at the first rate."""
    decoded, rows = decode_probe(system, probe), []
    tables: dict[str, pd.DataFrame] = {}
    for rate in rates:
        detection = detect(probe, decoded, rate, label_error=condition.label_error)
        guess = psychometrics.guess_rate(rate, _catches(probe.truth))
        how = {"guess": guess, "n": n, "seed": probe.material.seed}
        false = detection.alarms, detection.hours
        curve, row = psychometrics.measure(detection.truth, detection.detected, *false, **how)
        rows.append({"per_hour": rate, "found": detection.detected.mean(), **row})
        if not tables:
            px = np.geomspace(*curve.tested, 60)
            low, high = curve.band(px)
            values = {"px": px, "probability": curve.probability(px), "low": low, "high": high}
            events = detection.truth.assign(found=detection.detected.astype(int))
            tables = {"limits_events": events, "limits_curve": pd.DataFrame(values)}
    kind = "baseline" if system.name in BASELINES else "model"
    tables["limits"] = pd.DataFrame(rows).assign(unit=condition.unit, kind=kind)
    return _about(tables, condition, system.name)


def _about(tables, condition, system):
    """The same tables with all their columns."""
    about = {"condition": condition.name, "level": condition.level, "system": system}
    return {name: table.assign(**about).reindex(columns=COLUMNS[name]) for name, table in tables.items()}


def _catches(truth):
    """Seconds in which the middle of a wrong interval would count as the detection of an event, on average."""
    return float(_CATCHES * truth["duration_s"].median())


def _ideal_rows(probe, condition, ideal, rates):
    """Tables of the ideal observer under one condition."""
    truth = probe.truth
    sd = ideal["sd_px"].loc[pd.MultiIndex.from_frame(truth[["video", "event"]])].to_numpy() / condition.gain
    rows, curves = [], []
    for rate in rates:
        guess = psychometrics.guess_rate(rate, _catches(truth))
        seed = probe.material.seed
        curve, row = ideal_observer.ideal_curve(IDEAL_PX, sd, truth["subject"], guess, seed=seed)
        curves.append(curve)
        rows.append({"per_hour": rate, "guess": guess, **row})
    about = {
        "unit": condition.unit,
        "kind": "ideal",
        "least_px": IDEAL_PX[0],
        "most_px": IDEAL_PX[-1],
        "lapse": 0.0,
    }
    tables = {"limits": pd.DataFrame(rows).assign(**about), "limits_curve": curves[0]}
    return _about(tables, condition, IDEAL)
