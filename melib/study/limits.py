"""How small a movement each system still finds, and how near that is to the best that anybody could do.

    probe videos       micro-expressions of .02 to 2.5 pixels, everything else as in the videos that systems learned from
        |              the same ones with more camera noise; at another frame rate; with labels that err
        v
    intervals of validation subjects -> the least score that keeps false alarms at so many an hour
    intervals of test subjects, from that score on -> found or not -> psychometric function, threshold at 50 %
        |
        +-- ideal observer of the same movements -> d' -> its own function and threshold, efficiency of each system

Nothing is fitted here but these curves: systems, priors and emissions are those of notebook 06 (of several trainings the
first), each person's probe video is judged by the model that never saw this person, and the least score comes from
validation subjects. A movement's size is its largest displacement over the skin, crop pixels of the rendered truth. Its
interval is the truth's, too, since nobody could label the weakest (melib.simulate.events.visible).

found        an accepted interval has an IoU of .5 or more with the event's
false alarm  the middle of an accepted interval lies in no micro-expression; hours are those outside of them
neither      the middle lies in one, but the interval fits badly: the event isn't found, and nothing was invented
"""

import itertools
import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pandas as pd
from scipy.stats import binom

from melib import learn, metrics, simulate, stats
from melib.data import cache, workers
from melib.errors import DataError
from melib.simulate import events, long, render, schedule, units
from melib.study import data, ideal_observer, intensity, psychometrics, results, spotting, spotting_runs
from melib.study.results import BORDERS, IDEAL
from melib.study.run import Run
from melib.study.spotting_decoding import curves_of, fits_of, predict

# What the ideal observer's limits are computed by: a changed line of it changes their keys.
IDEAL_CODE = (ideal_observer, render, long, schedule, events, units)
IOU = 0.5
BASELINES = ("chance", "motion")
HALF = 0.5  # share of events found at the threshold
# A weak model may miss nearly half of the strongest movements; psychometrics.MAX_LAPSE is meant for attentive people.
MAX_LAPSE = 0.49
SMALL = 0.1  # crop pixels at which the ideal observer's limit is computed: small enough for a linear signal
_EVERY = 3  # frames of a movement that the ideal observer renders: each n-th
_LEAST = 0.001  # crop pixels where the ideal observer's curve begins
_BOOTSTRAP, _ANNOTATORS = 0, 9  # streams of random numbers
# A wrong interval of the event's own length reaches an IoU of .5 while it begins within a third of that length.
_CATCHES = 2 / 3
_BEYOND = 5  # tested movements that must be larger than a threshold
_BASE_RATE = 30.0  # frames a second of the base condition, write_long's default


@dataclass(frozen=True)
class Condition:
    """One way to see the same movements.

    Attributes
    ----------
    name : {"base", "noise", "frame rate", "annotators"}
    level : float
        Noise: a factor on the camera's; frame rate: frames a second; annotators: standard deviation of a label's onset
        and offset, frames at 200 a second. Base: 1, 30 and 0 of these.
    unit : str
    gain : float
        The ideal observer's d' compared with the base: it is proportional to 1 / noise, and to the root of the number of
        frames, which are independent.
    """

    name: str
    level: float
    unit: str
    gain: float

    @property
    def spec(self) -> dict[str, float]:
        """Settings of write_long that differ from the base."""
        known = {"noise": "noise", "frame rate": "fps"}
        return {known[self.name]: self.level} if self.name in known else {}


BASE = Condition("base", 1.0, "", 1.0)


def conditions(run: Run) -> list[Condition]:
    """Conditions of a profile, the base first."""
    asked = run.settings["limits"]
    return [
        BASE,
        *(Condition("noise", float(f), "times the camera's noise", 1 / f) for f in asked["noise"]),
        *(
            Condition("frame rate", float(f), "frames a second", math.sqrt(f / _BASE_RATE))
            for f in asked["frame_rate"]
        ),
        *(Condition("annotators", float(n), "frames at 200 a second", 1.0) for n in asked["annotators"]),
    ]


# ---- probe videos and what systems say of them --------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """Probe videos under one condition, with everything that decoding reads.

    ``videos`` list of spotting.Video; ``profiles`` dict (video, event) -> (T,) true intensity of the video's samples;
    ``material`` spotting_decoding.Material that holds these videos beside those of the run.
    """

    condition: Condition
    videos: list
    profiles: dict
    material: spotting_runs.Material


def probe_study(run: Run, condition: Condition, *, jobs: int = 2) -> data.Study:
    """Write the probe videos of a condition into the run's data, or go on where an earlier call stopped, and open them."""
    name = "probe" if condition == BASE else f"probe_{condition.name.replace(' ', '_')}_{condition.level:g}"
    name = name.replace(".", "_")
    out = run.folder / "data" / name
    spec = run.settings["limits"]["probe"] | condition.spec
    simulate.write_long(out, name=name, seed=run.seed, jobs=jobs, **spec)
    return data.open_study(out / "manifest.yml", out)


def open_probe(
    run: Run,
    condition: Condition,
    systems: list,
    material: spotting_runs.Material,
    *,
    jobs: int = 2,
) -> Probe:
    """Simulate the videos of one condition and let the fits of some systems speak of them.

    Parameters
    ----------
    run : Run
    condition : Condition
        With frames of its own; an annotator's error has none.
    systems : list of spotting_decoding.System
    material : spotting_decoding.Material
        Of the videos that they were fitted on.
    jobs : int

    Returns
    -------
    Probe
    """
    study = probe_study(run, condition, jobs=jobs)
    windows = any(system.features == "reference" for system in systems)
    videos = spotting.prepare(study, run, windows=windows, jobs=jobs)
    batch = run.settings["spotting"]["batch_of_windows"]
    wanted = {f for s in systems for f in fits_of(s, material.dataset, material.folds, run.seed)}
    said = {
        fit: material.said[fit] | _speak(run, fit, material.folds[fit.fold], videos, batch) for fit in wanted
    }
    intensity = material.intensity
    if any(_reads_intensity(system) for system in systems):
        found = spotting.intensity_curves(run, study, videos, material.folds, run.seed, jobs=jobs)
        intensity = {fold: intensity[fold] | curves for fold, curves in found.items()}
    heard = replace(material, videos=[*material.videos, *videos], said=said, intensity=intensity)
    return Probe(condition, videos, _profiles(study, videos), heard)


def _reads_intensity(system) -> bool:
    return system.add_intensity or system.body == "intensity"


def _speak(run, fit, fold, videos, batch):
    """What a finished fit says of the videos of its validation and test subjects."""
    mine = [video for video in videos if video.subject in (*fold.validation, *fold.test)]
    fitted = learn.windows.load(run.folder / "weights" / fit.name, learn.videos.VideoSettings)
    curves = spotting.curves_of_videos(fitted, fit, mine, batch)
    return {(v.dataset, v.subject, v.video): each for v, each in zip(mine, curves, strict=True)}


def _profiles(study, videos):
    """True intensity of each micro-expression in samples, 0 outside of it."""
    out = {}
    of_video = dict(tuple(study.truth.groupby("video")))
    for video in videos:
        truth = of_video[video.video]
        profile = np.where(truth["profile"] > intensity.RISEN, truth["profile"], 0)[video.numbers]
        event = truth["event"].to_numpy()[video.numbers]
        for name in video.of("micro")["event"]:
            out[video.video, name] = np.where(event == name, profile, 0)
    return out


# ---- found or not -------------------------------------------------------------------------------------------------


def overlaps(predicted: pd.DataFrame, truth: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """How well each interval fits each event, and whether its middle lies in one.

    Parameters
    ----------
    predicted, truth : DataFrame
        subject, video, onset, offset: samples, closed, also between two samples.

    Returns
    -------
    iou : (N, M) float64
        0 in different videos.
    inside : (N,) bool
    """
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


def candidates(
    predicted: pd.DataFrame, truth: pd.DataFrame, videos: list
) -> tuple[psychometrics.Candidates, np.ndarray]:
    """Intervals that find an event or are false alarms, and which events each finds.

    Parameters
    ----------
    predicted : DataFrame
        subject, video, onset, offset, score: everything that a system considered.
    truth : DataFrame
        Micro-expressions of the same videos.
    videos : list of spotting.Video
        All that was searched.

    Returns
    -------
    candidates : psychometrics.Candidates
        Hours are those outside of micro-expressions.
    finds : (N, M) bool
        Candidate by event.
    """
    iou, inside = overlaps(predicted, truth)
    finds = iou >= IOU
    counts: np.ndarray = finds.any(axis=1) | ~inside
    fps = {video.video: video.fps for video in videos}
    moving = ((truth["offset"] - truth["onset"] + 1) / truth["video"].map(fps)).sum()
    hours = (sum(len(video) / video.fps for video in videos) - moving) / 3600
    used = predicted[counts]
    return (
        psychometrics.Candidates(
            used["score"].to_numpy(float), finds[counts].any(axis=1), used["subject"].to_numpy(), float(hours)
        ),
        finds[counts],
    )


@dataclass(frozen=True)
class Detection:
    """What one system does to the probe events of all folds at one rate.

    ``found`` (M,) bool in the order of ``truth`` (DataFrame: subject, video, event, onset, offset, peak_px); ``alarms``
    DataFrame subject, video, middle (samples): accepted false alarms; ``per_hour`` that they come to; ``points`` list of
    psychometrics.OperatingPoint, one a fold.
    """

    truth: pd.DataFrame
    found: np.ndarray
    alarms: pd.DataFrame
    per_hour: float
    points: list


def detect(
    system, probe: Probe, allowed: float, *, error: float = 0.0, decoded: dict | None = None
) -> Detection:
    """Which events a system finds at a rate of false alarms that was set on validation subjects.

    Parameters
    ----------
    system : spotting_decoding.System
    probe : Probe
    allowed : float
        False alarms an hour.
    error : float
        Standard deviation of labels, seconds.
    decoded : dict, optional
        What `decode` returns for this system, where it is at hand.

    Returns
    -------
    Detection
    """
    decoded = decode(system, probe) if decoded is None else decoded
    material, parts, points, hours = probe.material, [], [], 0.0
    truth = labelled(spotting.annotated(probe.videos), error, material.seed)
    for fold in material.folds:
        test = [video for video in probe.videos if video.subject in fold.test]
        if not test:
            continue
        judges = [_apart(video) for video in calibration(system, probe, fold)]
        known = labelled(spotting.annotated(judges), error, material.seed)
        validation, _ = candidates(decoded[fold.index, "validation"], known, judges)
        mine = truth[truth["subject"].isin(fold.test)]
        heard, finds = candidates(decoded[fold.index, "test"], mine, test)
        point = psychometrics.at_rate(validation, heard, allowed)
        points.append(point)
        hours += heard.hours
        parts.append((mine.index[finds[point.accepted].any(axis=0)], _alarms(decoded, fold, mine, point)))
    found = truth.index.isin(np.concatenate([index for index, _ in parts]))
    alarms = pd.concat([each for _, each in parts], ignore_index=True)
    return Detection(truth, found, alarms, len(alarms) / hours, points)


def _alarms(decoded, fold, truth, point):
    """False alarms of a fold's test subjects from the least score on."""
    said = decoded[fold.index, "test"]
    iou, inside = overlaps(said, truth)
    false = said[~(iou >= IOU).any(axis=1) & ~inside & (said["score"] >= point.score)]
    return false[["subject", "video"]].assign(middle=(false["onset"] + false["offset"]) / 2)


def calibration(system, probe: Probe, fold) -> list:
    """Videos that the least score is chosen on: those of the fold's validation subjects under the same condition.

    Under the base condition their ordinary long videos are such, too. Only subjects that an intensity model wasn't trained
    on can speak for a system that reads it.
    """
    people = set(fold.validation)
    if _reads_intensity(system):
        people &= probe.material.unseen[fold.index]
    same = {video.dataset for video in probe.videos}
    if probe.condition == BASE:
        same.add(probe.material.dataset)
    found = [v for v in probe.material.videos if v.dataset in same and v.subject in people]
    if not found:
        raise DataError(
            f"fold {fold.index} has no validation subject with a probe video to set the rate of false alarms on; give the "
            "probe videos of the profile more people."
        )
    return found


def decode(system, probe: Probe) -> dict:
    """Everything that a system considers: dict (fold index, "validation" or "test") -> intervals.

    Videos of validation subjects are called ``dataset/video``, since they come from two data sets that name them alike.
    """
    out = {}
    material, home = probe.material, probe.material.dataset
    dataset = probe.videos[0].dataset
    for fold in material.folds:
        # Asked to test its validation subjects, the fold's fit says what it would of anybody that it wasn't trained on.
        judges = calibration(system, probe, fold)
        asked = replace(fold, test=tuple(sorted({v.subject for v in judges})))
        judged = replace(material, folds=[asked])
        parts = [
            _apart_rows(predict(system, judged, name), name)
            for name in (dataset, home)
            if any(v.dataset == name for v in judges)
        ]
        out[fold.index, "validation"] = pd.concat(parts, ignore_index=True)
        if any(video.subject in fold.test for video in probe.videos):
            out[fold.index, "test"] = predict(system, replace(material, folds=[fold]), dataset)
    return out


def _apart(video):
    """The video under a name that no other data set's video of the same person has."""
    return replace(video, video=f"{video.dataset}/{video.video}")


def _apart_rows(intervals, dataset):
    return intervals.assign(video=dataset + "/" + intervals["video"])


def labelled(truth: pd.DataFrame, error: float, seed: int = 0) -> pd.DataFrame:
    """Events as an annotator who errs would write them down.

    Parameters
    ----------
    truth : DataFrame
        As `spotting.annotated` returns.
    error : float
        Standard deviation of onset and of offset, seconds, normal.
    seed : int
        Larger errors are the same ones, stretched.

    Returns
    -------
    DataFrame
        Onset and offset between samples, never closer than one.
    """
    drawn = np.random.default_rng([seed, _ANNOTATORS]).standard_normal((2, len(truth)))
    times = truth[["onset", "offset"]].to_numpy(float).T + error * truth["fps"].to_numpy() * drawn
    low, high = times.min(axis=0), np.maximum(times.max(axis=0), times.min(axis=0) + 1)
    return truth.assign(onset=low, offset=high)


def inside_agreement(system, probe: Probe) -> dict:
    """Rank agreement of a system's curve with the true intensity inside each event: dict (video, event) -> float.

    Empty for a system without a curve of its own. NaN where fewer than three samples lie inside.
    """
    if system.body == "chance" or system.add_intensity:
        return {}
    out = {}
    fold_of = {subject: fold for fold in probe.material.folds for subject in fold.test}
    for video in probe.videos:
        curve = curves_of(system, probe.material, fold_of[video.subject], video)["micro"]
        for name in video.of("micro")["event"]:
            found = metrics.curve_agreement(
                np.nan_to_num(curve), probe.profiles[video.video, name], ~np.isnan(curve)
            )
            out[video.video, name] = found["inside_spearman"]
    return out


# ---- the ideal observer -------------------------------------------------------------------------------------------


def ideal_limits(run: Run, videos: list, *, jobs: int = 2) -> dict[tuple[str, str], float]:
    """Smallest standard deviation with which the ideal observer measures each probe event: dict (video, event) -> pixels.

    Under the base condition; a d' is peak / this. Cached a video.
    """
    spec = run.settings["limits"]["probe"]
    defaults = {"statistics": "samm_lv", "family": "patches", "fps": _BASE_RATE, "micro": 4}
    settings = {
        "seed": run.seed,
        **defaults,
        **{k: v for k, v in spec.items() if k not in ("people", "videos", "name")},
    }
    folder = run.cache / "ideal"
    version = cache.code_version(*IDEAL_CODE)
    tasks = [(folder, version, v.video, settings) for v in videos]
    done = workers.run(_ideal, tasks, jobs, label="ideal observer", unit="video")
    return {
        (video.video, name): sd
        for video, found in zip(videos, done, strict=True)
        for name, sd in found.items()
    }


def _ideal(folder, version, video, settings):
    """Limits of one video's events (in a worker process)."""
    cv2.setNumThreads(1)
    person, number = (int(part) for part in video.lstrip("s").split("_"))

    def compute():
        made = long.make_video(person, number, settings)
        return {"sd_px": np.array([_sd(made.scene, settings, course) for course in made.courses.values()])}

    key = cache.key(version, {"video": video, "every": _EVERY, "at": SMALL, **settings})
    found = cache.arrays(folder, key, compute)["sd_px"]
    return {f"{video}_micro{n}": float(sd) for n, sd in enumerate(found, 1)}


def _sd(scene, settings, course):
    limit = ideal_observer.clip_limit(scene, settings["family"], amplitude=SMALL, course=course, every=_EVERY)
    return limit.sd_px


@dataclass(frozen=True)
class IdealCurve:
    """Detection by the ideal observer over amplitude.

    ``px`` (P,), ``probability``, ``low``, ``high`` (P,); ``threshold`` and its interval, crop pixels.
    """

    px: np.ndarray
    probability: np.ndarray
    low: np.ndarray
    high: np.ndarray
    threshold: float
    threshold_low: float
    threshold_high: float


def ideal_curve(sd_px, subjects, false_alarm: float, *, n: int = 1000, seed: int = 0) -> IdealCurve:
    """Detection of all events by the ideal observer, each scaled to the same amplitude.

    Parameters
    ----------
    sd_px : (N,) float, above 0
        Of each event: d' is amplitude / this.
    subjects : (N,) of str
    false_alarm : float in (0, HALF)
        Probability of a false alarm where an event could be.
    n : int
        Bootstrap resamples of subjects.
    seed : int

    Returns
    -------
    IdealCurve
    """
    sd_px = np.asarray(sd_px, dtype=float)
    people, owner = np.unique(np.asarray(subjects), return_inverse=True)
    px = np.geomspace(_LEAST, BORDERS[-1], 120)
    hit = ideal_observer.hit_rate(px[:, None] / sd_px, false_alarm)  # (P, N)
    of_person = np.stack([np.bincount(owner, each, len(people)) for each in hit], axis=1)  # (S, P)
    events_of = np.bincount(owner, minlength=len(people))
    drawn, _ = stats.draws((seed, _BOOTSTRAP), len(people), n=n)
    weight = np.vstack([np.ones(len(people)), drawn])  # the first row is everybody once
    curves = (weight @ of_person) / (weight @ events_of)[:, None]  # (1 + n, P)
    crossed = [float(np.exp(np.interp(HALF, curve, np.log(px)))) for curve in curves]
    low, high = stats.interval(curves[1:])
    ends = stats.interval(crossed[1:])
    return IdealCurve(px, curves[0], low, high, crossed[0], float(ends[0]), float(ends[1]))


# ---- tables -------------------------------------------------------------------------------------------------------

# Columns of each result table after the data set's name.
COLUMNS = {
    "limits": [
        *("condition", "level", "unit", "system", "kind", "per_hour"),
        *(
            "threshold_px",
            "threshold_px_low",
            "threshold_px_high",
            "slope",
            "lapse",
            "lapse_low",
            "lapse_high",
        ),
        *("guess", "events", "subjects", "remark", "least_px", "most_px", "test_per_hour", "found"),
    ],
    "limits_events": [
        *("condition", "level", "system", "subject", "video", "event"),
        *("peak_px", "found", "inside_spearman", "d_prime"),
    ],
    "limits_curve": ["condition", "level", "system", "px", "probability", "low", "high"],
    "efficiency": [
        *("condition", "level", "system", "low_px", "high_px"),
        *("efficiency", "efficiency_low", "efficiency_high", "events", "found", "saturated", "remark"),
    ],
}


def limits_study(run: Run, longs: list, *, jobs: int = 2) -> dict[str, pd.DataFrame]:
    """Measure every system under every condition of a profile; written into the run's results.

    Parameters
    ----------
    run : Run
    longs : list of spotting.Long
        The first one's fits are measured.
    jobs : int

    Returns
    -------
    dict of DataFrame
        limits, limits_events, limits_curve, efficiency.
    """
    asked = run.settings["limits"]
    first = longs[0]
    everything = spotting_runs.testable(spotting_runs.SYSTEMS, run, first)
    named = {
        place: [s for s in everything if s.name in asked["systems"][place]] for place in ("base", "others")
    }
    material = spotting_runs.gather(named["base"], run, first, jobs=jobs)
    base = probe = open_probe(run, BASE, named["base"], material, jobs=jobs)
    ideal = ideal_limits(run, base.videos, jobs=jobs)
    parts = []
    for condition in conditions(run):
        systems = named["base" if condition == BASE else "others"]
        if condition.spec:
            probe = open_probe(run, condition, systems, material, jobs=jobs)
        here = probe if condition.spec else base
        parts.append(_condition(here, condition, systems, ideal, asked, jobs))
    tables = {name: pd.concat([part[name] for part in parts], ignore_index=True) for name in parts[0]}
    for name, table in tables.items():
        table.insert(0, "dataset", first.study.name)
        results.write_result(run, name, table)
    return tables


def _condition(probe, condition, systems, ideal, asked, jobs):
    """All tables of one condition: every system, at every rate, each in a process of its own."""
    tasks = [(_lighter(probe, s), condition, s, ideal, asked) for s in systems]
    label = f"{condition.name} {condition.level:g}"
    done = list(workers.run(_measure, tasks, jobs, label=label, unit="system"))
    truth = spotting.annotated(probe.videos)
    best = _ideal_rows(truth, condition, ideal, asked, probe.material.seed)
    whole = [*done, best]
    return {
        name: pd.concat([each[name] for each in whole if name in each], ignore_index=True) for name in done[0]
    }


def _lighter(probe, system):
    """What one process needs: no features but those that are themselves a curve, and the system's own curves."""
    motion = slice(None if system.body == "motion" else 0)

    def light(videos):
        return [replace(v, windows=v.windows[:0], motion=v.motion[motion]) for v in videos]

    material = probe.material
    wanted = fits_of(system, material.dataset, material.folds, material.seed)
    said = {fit: material.said[fit] for fit in wanted}
    return replace(
        probe,
        videos=light(probe.videos),
        material=replace(material, videos=light(material.videos), said=said),
    )


def _measure(probe, condition, system, ideal, asked):
    """Tables of one system under one condition."""
    decoded = decode(system, probe)
    error = condition.level / 200 if condition.name == "annotators" else 0.0
    rows, out = [], {}
    about = {"condition": condition.name, "level": condition.level, "system": system.name}
    for rate in asked["per_hour"] if condition == BASE else asked["per_hour"][:1]:
        said = detect(system, probe, rate, error=error, decoded=decoded)
        guess = psychometrics.guess_rate(rate, catches(spotting.annotated(probe.videos)))
        curve = psychometrics.fit(
            said.truth["peak_px"], said.found, said.truth["subject"], guess=guess, max_lapse=MAX_LAPSE, at=HALF,
            n=asked["resamples"], seed=probe.material.seed,
        )  # fmt: skip
        rows.append({**about, "unit": condition.unit, "per_hour": rate, **_fitted(curve, said, system)})
        if rate == asked["per_hour"][0]:
            out["limits_events"] = _events(said, system, probe, condition, ideal).assign(**about)
            out["limits_curve"] = _curve(curve).assign(**about)
            out["efficiency"] = _efficiency(said, probe, out["limits_events"], asked["resamples"]).assign(
                **about
            )
    out["limits"] = pd.DataFrame(rows)
    return {name: out[name][[c for c in COLUMNS[name] if c in out[name]]] for name in COLUMNS}


def amplitude_bins(peak_px: pd.Series) -> pd.Series:
    """Bin of each amplitude, crop pixels."""
    return pd.cut(peak_px, BORDERS, include_lowest=True)


def catches(truth: pd.DataFrame) -> float:
    """Seconds in which the middle of a wrong interval would count as the detection of an event, on average."""
    return float(_CATCHES * truth["duration_s"].median())


def _fitted(curve, said, system):
    """A fit as a row of limits.csv: no number for what lies outside the tested amplitudes, but words."""
    low, high = curve.threshold_interval
    said_of = remark(curve, said.truth["peak_px"])
    inside = curve.where == "inside" and not said_of.startswith("above")
    return {
        "kind": "baseline" if system.name in BASELINES else "model",
        "threshold_px": curve.threshold if inside else math.nan,
        "threshold_px_low": low if inside and low > 0 else math.nan,
        "threshold_px_high": high if inside and math.isfinite(high) else math.nan,
        "slope": curve.slope,
        "lapse": curve.lapse,
        "lapse_low": curve.lapse_interval[0],
        "lapse_high": curve.lapse_interval[1],
        "guess": curve.guess,
        "events": curve.n,
        "subjects": curve.n_subjects,
        "remark": said_of,
        "least_px": curve.tested[0],
        "most_px": curve.tested[1],
        "test_per_hour": said.per_hour,
        "found": curve.n_detected / curve.n,
    }


def remark(curve: psychometrics.Psychometric, peaks) -> str:
    """What can be said of a threshold that isn't a number, or whose interval has an open end; empty otherwise.

    A threshold with fewer than ``_BEYOND`` of the tested peaks above it hangs on single events: it is given as a bound.
    """
    least, most = (f"{px:.2g} px" for px in curve.tested)
    low, high = curve.threshold_interval
    if curve.where == "inside":
        larger = int((np.asarray(peaks) > curve.threshold).sum())
        if larger < _BEYOND:
            return f"above about {curve.threshold:.2g} px, too few larger events"
        open_ends = [f"interval goes beyond {most}"] * (not math.isfinite(high)) + [
            f"interval begins below {least}"
        ] * (not low > 0)
        return ", ".join(open_ends)
    if curve.where == "above":
        never = "" if curve.n_detected else ", nothing found"
        return f"above {most}{never}"
    return f"below {least}" if curve.where == "below" else "doesn't rise with amplitude"


def _events(said, system, probe, condition, ideal):
    agreement = {} if condition.name == "annotators" else inside_agreement(system, probe)
    keys = list(zip(said.truth["video"], said.truth["event"], strict=True))
    sd = np.array([ideal[key] for key in keys])
    return said.truth[["subject", "video", "event", "peak_px"]].assign(
        found=said.found.astype(int),
        inside_spearman=[agreement.get(key, math.nan) for key in keys],
        d_prime=condition.gain * said.truth["peak_px"].to_numpy() / sd,
    )


def _curve(curve):
    px = np.geomspace(curve.tested[0], curve.tested[1], 60)
    low, high = curve.band(px)
    return pd.DataFrame({"px": px, "probability": curve.probability(px), "low": low, "high": high})


def _efficiency(said, probe, table, n):
    """Efficiency in each bin of amplitude; false alarms are counted in stretches in which nothing happens."""
    still, of = stretches(said, probe)
    # Where no alarm was counted, the rate that was allowed.
    allowed = psychometrics.guess_rate(said.points[0].allowed, catches(said.truth))
    guess = max(float(still.mean()), allowed)
    rows = []
    for low, high in itertools.pairwise(BORDERS):
        part = table[(table["peak_px"] > low) & (table["peak_px"] <= high)]
        if len(part) < psychometrics.FEWEST:
            continue
        found = ideal_observer.efficiency(
            part["found"],
            still,
            part["subject"],
            of,
            part["d_prime"],
            measure="rates",
            n=n,
            seed=probe.material.seed,
        )
        n_found, said_of = int(part["found"].sum()), ""
        value, least = found.value, found.low
        # Rates are held half a count off 0, so that even guessing has a d': what isn't above guessing uses nothing.
        if binom.sf(n_found - 1, len(part), guess) > 0.025:
            value, least, said_of = 0.0, 0.0, "no more than guessing, high is an upper limit"
        rows.append((low, high, value, least, found.high, len(part), n_found, found.saturated, said_of))
    columns = COLUMNS["efficiency"][3:]
    return pd.DataFrame(rows, columns=columns)


def stretches(said: Detection, probe: Probe) -> tuple[np.ndarray, np.ndarray]:
    """Stretches of video outside of all micro-expressions, as long as one in which an alarm would find an event.

    Returns
    -------
    alarm : (M,) int
        1 where an accepted false alarm has its middle in the stretch.
    subject : (M,) of str
    """
    seconds = catches(spotting.annotated(probe.videos))
    alarm, subject = [], []
    for video in probe.videos:
        n = int(len(video) / video.fps / seconds)
        edges = np.arange(n + 1) * seconds * video.fps
        mine = said.truth[(said.truth["subject"] == video.subject) & (said.truth["video"] == video.video)]
        moving = np.zeros(n, bool)
        for event in mine.itertuples():
            moving |= (edges[:-1] <= event.offset) & (edges[1:] >= event.onset)
        middles = said.alarms.loc[
            (said.alarms["subject"] == video.subject) & (said.alarms["video"] == video.video), "middle"
        ]
        counts = np.histogram(middles, edges)[0] > 0 if n else np.zeros(0, bool)
        alarm += counts[~moving].astype(int).tolist()
        subject += [video.subject] * int((~moving).sum())
    return np.array(alarm), np.array(subject)


def _ideal_rows(truth, condition, ideal, asked, seed):
    """Rows of the ideal observer under one condition."""
    sd = np.array([ideal[key] for key in zip(truth["video"], truth["event"], strict=True)]) / condition.gain
    about = {"condition": condition.name, "level": condition.level, "system": IDEAL}
    rows: list[dict] = []
    curves: list[pd.DataFrame] = []
    for rate in asked["per_hour"] if condition == BASE else asked["per_hour"][:1]:
        guess = psychometrics.guess_rate(rate, catches(truth))
        curve = ideal_curve(sd, truth["subject"], guess, seed=seed)
        numbers = {
            "threshold_px": curve.threshold,
            "threshold_px_low": curve.threshold_low,
            "threshold_px_high": curve.threshold_high,
            **dict.fromkeys(("lapse", "lapse_low", "lapse_high"), 0.0),
            "guess": guess,
        }
        counted = {"events": len(truth), "subjects": truth["subject"].nunique(), "remark": ""}
        where = {"unit": condition.unit, "kind": "ideal", "per_hour": rate}
        rows.append(
            {**about, **where, **numbers, **counted, "least_px": curve.px[0], "most_px": curve.px[-1]}
        )
        if not curves:
            part = {"px": curve.px, "probability": curve.probability, "low": curve.low, "high": curve.high}
            curves.append(pd.DataFrame(part).assign(**about))
    return {
        "limits": pd.DataFrame(rows).reindex(columns=COLUMNS["limits"]),
        "limits_curve": curves[0][COLUMNS["limits_curve"]],
    }


# ---- words --------------------------------------------------------------------------------------------------------


def verdict(table: pd.DataFrame) -> str:
    """Whether movements are too small to see, or the models blind; every word follows from the table.

    Parameters
    ----------
    table : DataFrame
        limits.csv.

    Returns
    -------
    str
        Markdown, a paragraph a data set; thresholds themselves are told by answers.py.
    """
    return "\n\n".join(
        _verdict(str(dataset), part.set_index("system"))
        for dataset, part in table[table["condition"] == "base"].groupby("dataset", sort=False)
    )


def _verdict(dataset: str, rows: pd.DataFrame) -> str:
    rows = rows[rows["per_hour"] == rows["per_hour"].iloc[0]]
    limit, models = rows.loc[IDEAL], rows[rows["kind"] == "model"].sort_values("threshold_px", kind="stable")
    best = models.iloc[0]
    small = (
        f"{dataset}: below {limit['threshold_px']:.2g} pixels half of the movements are **too small to see** at "
        f"{limit['per_hour']:.0f} false alarms an hour, for anybody, even the ideal observer who is told everything but the "
        "camera's noise"
    )
    if math.isnan(best["threshold_px"]):
        most = f"{best['most_px']:.2g}"
        return f"{small}; from there to {most} pixels, the largest tried, **the models are blind**: none finds half."
    times = best["threshold_px"] / limit["threshold_px"]
    baselines = rows.loc[rows["kind"] == "baseline", "threshold_px"].min()
    beside = "no baseline finds half" if math.isnan(baselines) else f"the best baseline needs {baselines:.2g}"
    return (
        f"{small}; from there to {best['threshold_px']:.2g} pixels **the models are blind**: the best, {best.name}, needs "
        f"movements {times:.0f} times as large as the ideal observer ({beside})."
    )
