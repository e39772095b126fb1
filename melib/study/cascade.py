"""Where sight is lost: from all that can be known of a movement to what a network finds, one loss a step.

    step                          what the observer knows                        found, half of the time
    all known                     everything but the camera's noise              d' = size / ideal_observer.clip_sd
    rest of the picture unknown   not how head, light and other units change     d' * sqrt(ideal_observer.share_left)
    36 features                   the regions' motion alone, but what and when   Hotelling: d' = sqrt(s' K^-1 s), at rest
    at any time                   no longer when                                 the same d', a stricter criterion
    among other movements         not whether somebody blinks, talks, smiles     the same with K of whole videos
    network's curve               what it has learned                            a peak inside the movement
    network's intervals           and must say where they begin and end          IoU of .5 (limits.csv)

Each probe video has a still twin: the same video to the last grain of noise, but with movements of .01 pixel. The
difference of their features is what a movement does to them (s, for one pixel; K is their covariance in twins, first while
nobody moves, blinks or talks), and whatever is found in a twin is a false alarm. Hotelling's observer is the best that
weighs features linearly (Barrett and Myers, Foundations of Image Science, 2004, chapter 13); here it weighs their mean over
the movement's true course, less that just before and after. It is told the features' answer to movements of `ANSWERED`
pixels or more, as if smaller ones were answered in proportion.
"""

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal import find_peaks
from scipy.special import ndtr
from sklearn.covariance import LedoitWolf

from melib.study import ideal_observer, psychometrics
from melib.study.spotting_decoding import curves_of

STEPS = (
    "all known",
    "rest of the picture unknown",
    "36 features",
    "at any time",
    "among other movements",
    "network's curve",
    "network's intervals",
)
ANSWERED = 0.2  # crop pixels from which a movement's answer is told from what rounding and compression change
PX = np.geomspace(0.001, 25, 200)  # crop pixels of the curves whose half is looked for
_RESTS = 1e-3  # crop pixels, or share of a blink: less is rest
_APART_S = 0.2  # seconds between two peaks of a curve


def cascade_steps(
    probe, still, ideal: pd.DataFrame, ours, last: dict, *, per_hour: float, guess: float, n: int
) -> pd.DataFrame:
    """Size that is found half of the time at each step.

    Parameters
    ----------
    probe, still : limits.Probe
        Under the base condition, and their still twins.
    ideal : DataFrame
        As `limits.ideal_limits` returns.
    ours : spotting_decoding.System or None
        The network; without one the first five steps remain.
    last : dict
        Row of limits.csv of the network.
    per_hour, guess : float
        False alarms an hour that are asked for; chance that they hit an event.
    n : int
        Bootstrap resamples of the network's threshold.

    Returns
    -------
    DataFrame
        step, threshold_px, threshold_px_low, threshold_px_high (95 % over subjects), factor (to the step before), per_hour,
        test_per_hour, test_per_hour_low, test_per_hour_high (of test subjects, where there is something to count), events,
        subjects, remark.
    """
    truth, seed = probe.truth, probe.material.seed
    known = ideal.loc[pd.MultiIndex.from_frame(truth[["video", "event"]])]
    rest, whole = (hotelling(probe, still, per_hour, resting=resting) for resting in (True, False))
    rows = []
    for sd, subjects, false_alarm in (
        (known["sd_px"], truth["subject"], guess),
        (known["free_px"], truth["subject"], guess),
        (rest["sd_px"], rest["subject"], guess),
        *((step["sd_px"], step["subject"], ndtr(-step["criterion"].to_numpy())) for step in (rest, whole)),
    ):
        rows.append(ideal_observer.ideal_curve(PX, sd, subjects, false_alarm, seed=seed)[1])
    if ours is not None:
        detected, alarms, hours = network_peaks(ours, probe, still, per_hour)
        chance = psychometrics.guess_rate(per_hour, float(truth["duration_s"].median()))
        rows += [psychometrics.measure(truth, detected, alarms, hours, guess=chance, n=n, seed=seed)[1], last]
    names = ["threshold_px", "threshold_px_low", "threshold_px_high", "factor", "per_hour", "test_per_hour"]
    names += ["test_per_hour_low", "test_per_hour_high", "events", "subjects", "remark"]
    table = pd.DataFrame(rows).assign(step=STEPS[: len(rows)], per_hour=per_hour)
    table["factor"] = table["threshold_px"] / table["threshold_px"].shift()
    return table.reindex(columns=["step", *names])


def hotelling(probe, still, per_hour: float, *, resting: bool) -> pd.DataFrame:
    """Hotelling's observer of the 36 features, told each movement of `ANSWERED` pixels or more.

    Parameters
    ----------
    probe, still : limits.Probe
    per_hour : float
        False alarms an hour of the still twins.
    resting : bool
        Covariance and false alarms are those of stretches in which nothing but the head moves, else of whole videos.

    Returns
    -------
    DataFrame
        subject, sd_px: amplitude / d', crop pixels; criterion: the d' that a movement must have to be found at any time.
    """
    twins = {video.video: video for video in still.videos}
    searched = {
        n: twins[n].mask & (_at_rest(rows) | (not resting)) for n, rows in still.study.truth.groupby("video")
    }
    hours = sum(searched[video.video].sum() / video.fps for video in still.videos) / 3600
    profiles, rows = dict(tuple(probe.study.truth.groupby("video"))), []
    for video in probe.videos:
        moved, twin = profiles[video.video].iloc[video.numbers], twins[video.video]
        for event in video.events_of("micro").query("peak_px >= @ANSWERED").itertuples():
            part, course = around(np.where(moved["event"] == event.event, moved["profile"], 0))
            answer = (video.motion[part] - twin.motion[part]).T.astype(float) @ course  # (36,)
            inside = {n: np.all(sliding_window_view(mask, len(course)), -1) for n, mask in searched.items()}
            spread = LedoitWolf().fit(
                np.concatenate([_weighed(v.motion, course, inside[v.video]) for v in still.videos])
            )
            template = np.linalg.solve(spread.covariance_, answer)
            d_prime = np.sqrt(answer @ template)
            heights = []
            for v in still.videos:
                evidence = np.correlate(v.motion @ template, course, "valid") / d_prime
                at = find_peaks(evidence, distance=len(course))[0]
                heights.append(evidence[at[inside[v.video][at]]])
            scores = np.concatenate(heights)
            least = psychometrics.score_for_rate(scores, np.zeros(len(scores), bool), hours, per_hour)
            rows.append((video.subject, event.peak_px / d_prime, least))
    return pd.DataFrame(rows, columns=["subject", "sd_px", "criterion"])


def around(profile) -> tuple[slice, np.ndarray]:
    """A movement and half its length to either side, and weights over it that add up to 0: its course less the mean."""
    moving = np.flatnonzero(profile)
    half = (moving[-1] - moving[0]) // 2 + 1
    part = slice(max(moving[0] - half, 0), moving[-1] + half + 1)
    return part, profile[part] - profile[part].mean()


def _at_rest(truth):
    """Whether nothing but the head moves, (T,) bool."""
    return (truth[["macro_px", "talk_px", "blink"]].to_numpy() < _RESTS).all(axis=1)


def _weighed(motion, course, inside):
    """What a movement's weights give of a video's features, (n, 36), every half of their length that lies inside."""
    every = slice(None, None, max(1, len(course) // 2))
    return (sliding_window_view(motion, len(course), axis=0)[every] @ course)[inside[every]]


def network_peaks(system, probe, still, per_hour: float) -> tuple[np.ndarray, int, float]:
    """Which movements hold a peak of the network's curve that is high enough.

    The least height is set on the still twins of each fold's validation subjects.

    Returns
    -------
    detected : (M,) bool
        One a row of ``probe.truth``.
    alarms : int
        Peaks as high in the twins of test subjects, in so many ``hours`` of them.
    hours : float
    """
    truth, alarms, hours = probe.truth, 0, 0.0
    detected = np.zeros(len(truth), bool)
    for fold in probe.material.folds:
        judged, searched = _peaks(system, still, fold, fold.validation)
        least = psychometrics.score_for_rate(
            judged["height"], np.zeros(len(judged), bool), searched, per_hour
        )
        false, searched = _peaks(system, still, fold, fold.test)
        alarms, hours = alarms + int((false["height"] >= least).sum()), hours + searched
        peaks, _ = _peaks(system, probe, fold, fold.test)
        high = peaks[peaks["height"] >= least].merge(truth.reset_index(), on="video")
        detected[high.loc[high["at"].between(high["onset"], high["offset"]), "index"]] = True
    return detected, alarms, hours


def _peaks(system, probe, fold, subjects):
    """Peaks of the curves of some subjects' videos: DataFrame video, at (samples), height; and their hours."""
    parts, hours = [], 0.0
    for video in (video for video in probe.videos if video.subject in subjects):
        curve = np.nan_to_num(curves_of(system, probe.material, fold, video)["micro"])
        at = find_peaks(curve, distance=max(1, round(_APART_S * video.fps)))[0]
        parts.append(pd.DataFrame({"video": video.video, "at": at, "height": curve[at]}))
        hours += len(video) / video.fps / 3600
    empty = pd.DataFrame({"video": [], "at": [], "height": []})
    return pd.concat(parts or [empty], ignore_index=True), hours
