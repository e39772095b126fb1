"""From the score curves of a fold to intervals with their classes: decoder, tuned parameter, emissions, recognition.

    curves of a fold's validation subjects -> the least score to keep, emissions --------+
    prior of its training subjects ------------------------------------------------------+-> intervals of its test subjects
    logits ------------------------------------------------------------------------------+-> their classes

Nothing is fitted on a test subject, but for the faults of the inflation ledger, one at a time and named.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from melib import decoders
from melib.study import recognition, spotting
from melib.study.class_priors import fit_class_prior
from melib.study.run import SHAM_APART
from melib.study.spotting import CLASSES, KINDS

DECODERS = decoders.NAMES
_COLUMNS = ["subject", "video", "onset", "apex", "offset", "score", "emotion", "kept"]


@dataclass(frozen=True)
class System:
    """One row of spotting.csv: a source of curves, a decoder, a way to name the class.

    Attributes
    ----------
    name : str
    body, features, target, training : str
        As in `spotting.Fit`; training is joint or separate. Bodies without a fit: intensity (the first paper's model),
        motion (length of the regional motion) and chance (no pixels at all).
    decoder : str
        One of ``DECODERS``.
    add_intensity : bool
        Weigh the intensity model's evidence beside the body's.
    graft : bool
        Lay more micro-expressions over the training videos (melib.learn.videos).
    neutral : bool
        As in `spotting.Fit`.
    recognition : str
        ours (weighted by the score, share of the class in training, rejection), ours without some of it or with class
        priors (`RECOGNITION`), or vote (the reference's).
    faults : tuple of str
        What the inflation ledger switches on: see ``FAULTS``.
    sham : bool
        Train with another seed, and change nothing else.
    unseen : bool
        Calibrate on those validation subjects alone whom the intensity model wasn't trained on, as a system that reads its
        curves must.
    """

    name: str
    body: str = "dilated"
    features: str = "regional"
    target: str = "triangular"
    training: str = "joint"
    decoder: str = "semi_markov"
    add_intensity: bool = False
    graft: bool = True
    neutral: bool = True
    recognition: str = "ours"
    faults: tuple = ()
    sham: bool = False
    unseen: bool = False

    @property
    def learned(self):
        """Whether it is fitted here."""
        return self.body not in ("intensity", "motion", "chance")

    @property
    def needs_intensity(self):
        """Whether it reads the curves of the intensity model."""
        return self.add_intensity or self.body == "intensity"


# Ways to name the class by logits: what of ours each leaves out.
RECOGNITION: dict[str, tuple[str, ...]] = {
    "ours": (),
    "class priors": (),
    "no weighting": ("weighting",),
    "no class share": ("share",),
    "no rejection": ("rejection",),
    "plain mean": ("weighting", "share", "rejection"),
}

FAULTS = {
    "events_only": "videos without a micro-expression aren't scored",
    "half_length_of_all": "the prior comes from all subjects",
    "skipped_classes": "a class that never occurs is left out of the mean",
    "dropped_subjects": "subjects without a prediction aren't scored",
    "epoch_on_test": "the epoch is picked on the test subjects",
    "parameter_on_test": "the least score of an interval is picked on the test subjects",
}


def fits_of(system, dataset, folds, seed):
    """Fits that a system needs: list of spotting.Fit, those that spot before those that only name the class."""
    if not system.learned:
        return []
    seed += SHAM_APART * system.sham
    tasks = ("joint",) if system.training == "joint" else ("spotting", "recognition")
    faults = "published" in system.faults, "epoch_on_test" in system.faults
    fits = []
    for task in tasks:
        # The class doesn't depend on the target curve: recognition alone is fitted once.
        target = "hard" if task == "recognition" else system.target
        about = (dataset, system.features, target, system.body, task)
        fits += [
            spotting.Fit(*about, fold.index, seed, *faults, system.graft, system.neutral) for fold in folds
        ]
    return fits


@dataclass(frozen=True)
class Material:
    """Everything that decoding reads.

    ``dataset`` the one that was trained on; ``videos`` list of spotting.Video (of one or two data sets); ``folds``;
    ``curves`` dict spotting.Fit -> curves a video, as `spotting.run_fits` returns; ``intensity`` dict fold -> curves a
    video, or empty; ``unseen`` dict fold -> subjects that its intensity model wasn't trained on; ``seed`` of the training.
    """

    dataset: str
    videos: list
    folds: list
    curves: dict
    intensity: dict
    unseen: dict
    seed: int

    @property
    def home(self):
        """Videos of the data set that was trained on."""
        return [video for video in self.videos if video.dataset == self.dataset]

    def home_of(self, subjects):
        """Those of some subjects."""
        return [video for video in self.home if video.subject in subjects]


def decode_system(system, material, dataset="", statistics=""):
    """Intervals of every test subject by one system, each fitted without that subject.

    Parameters
    ----------
    system : System
    material : Material
    dataset : str
        Data set to decode; by default the one that was trained on. Curves and emissions always come from fits and
        validation subjects of the one that was trained on.
    statistics : str
        Data set whose events of the training subjects make the prior; by default the one that was trained on.

    Returns
    -------
    DataFrame
        subject, video, onset, apex, offset (samples), score, emotion, kept (bool); sorted by subject, video, onset. What
        isn't kept scores less than the tuned least, or was rejected as neutral: it counts for average precision alone.
    """
    dataset = dataset or material.dataset
    parts = []
    for fold in material.folds:
        test = [v for v in material.videos if v.dataset == dataset and v.subject in fold.test]
        if test:
            parts.append(_predict_fold(system, material, fold, test, statistics))
    intervals = pd.concat(parts, ignore_index=True)
    return intervals.sort_values(["subject", "video", "onset"], kind="stable").reset_index(drop=True)


def _predict_fold(system, material, fold, test, statistics):
    train = material.home_of(fold.train)
    if system.body == "chance":
        prior = _prior(system, material, fold, statistics)
        return _chance(test, prior, train, np.random.default_rng([material.seed, fold.index]))
    decoder = fitted(system, material, fold, statistics, test)
    common, timing = most_frequent(train), class_prior_of(system, train)
    parts = []
    for video in test:
        curves = curves_of(system, material, fold, video)
        intervals = decoder.propose(curves["micro"], curves)
        named = intervals.assign(emotion=common)
        if curves["logits"] is not None:
            named = classify(system, intervals, curves, timing)
        sure = (intervals["score"] >= decoder.least) & intervals.index.isin(named.index)
        emotion = named["emotion"].reindex(intervals.index).fillna("neutral")
        about = {"emotion": emotion, "kept": sure, "subject": video.subject, "video": video.video}
        parts.append(intervals.assign(**about))
    return pd.concat(parts, ignore_index=True)[_COLUMNS]


def fitted(system, material, fold, statistics="", test=()):
    """What turns a system's curves into intervals, from the training and validation subjects of a fold.

    Parameters
    ----------
    system : System
    material : Material
    fold : protocols.Fold
    statistics : str
        As in `decode_system`.
    test : sequence of spotting.Video
        Read by the fault "parameter_on_test" alone.

    Returns
    -------
    decoders.Decoder
        Called with a video's ``micro`` curve and all its curves (`curves_of`).
    """
    prior = _prior(system, material, fold, statistics)
    validation = material.home_of(fold.validation)
    if system.needs_intensity or system.unseen:
        # Only subjects that the intensity model wasn't trained on can say what its curves are worth.
        validation = [v for v in validation if v.subject in material.unseen[fold.index]]
    curves = [curves_of(system, material, fold, video) for video in validation]
    if system.decoder == "selector":
        kinds = [kind for kind in KINDS[1:] if all(kind in curve for curve in curves)]
        return decoders.fit(
            "selector",
            [curve["micro"] for curve in curves],
            [video.events_of("micro") for video in validation],
            prior,
            subjects=[video.subject for video in validation],
            others={kind: [curve[kind] for curve in curves] for kind in kinds},
        )
    decoder = decoders.Decoder(system.decoder, prior)
    if system.decoder == "semi_markov":
        decoder = _weighed(decoder, system, material.home_of(fold.train), validation, curves)
    if "published" in system.faults:
        return decoder  # published: whatever the rule finds in a video is kept
    if "parameter_on_test" in system.faults:
        validation, curves = (test, [curves_of(system, material, fold, video) for video in test])
    parts = [
        decoder.propose(curve["micro"], curve).assign(subject=video.subject, video=video.video)
        for video, curve in zip(validation, curves, strict=True)
    ]
    expected = prior.events_per_minute * sum(len(v) / v.fps for v in validation) / 60
    truth = spotting.annotated(validation)
    least = decoders.least_score(pd.concat(parts, ignore_index=True), truth, expected)
    return replace(decoder, least=least)


def _weighed(decoder, system, train, videos, curves):
    """The semi-Markov decoder with what its curves are worth, fitted on videos of validation subjects."""

    def emission(scores, kind="micro", prior=decoder.prior):
        spans = [video.events_of(kind)[["onset", "offset"]] for video in videos]
        inside = [decoders.frames_inside(events, len(v)) for events, v in zip(spans, videos, strict=True)]
        return decoders.Emission.fit(scores, inside, prior)

    decoder = replace(decoder, emission=emission([curve["micro"] for curve in curves]))
    if system.add_intensity:
        added = {"micro": decoder.emission, "intensity": emission([curve["intensity"] for curve in curves])}
        decoder = replace(decoder, added=added)
        # The two see the same face: what their sum is worth is fitted again.
        sums = [decoder.evidence(curve["micro"], curve) for curve in curves]
        decoder = replace(decoder, emission=emission(sums))
    nuisance = {}
    for kind in KINDS[1:]:
        if kind in curves[0] and any(len(video.events_of(kind)) for video in train):
            own = spotting.prior_of(train, kind)
            seconds = np.exp(own.duration.log_mean + own.duration.log_spread**2 / 2) / own.duration.fps
            known = emission([curve[kind] for curve in curves], kind, own)
            nuisance[kind] = (own.events_per_minute, float(seconds), known)
    return replace(decoder, nuisance=nuisance)


def _prior(system, material, fold, statistics):
    leaky = {"half_length_of_all", "published"} & set(system.faults)
    statistics = statistics or material.dataset
    return spotting.prior_of(
        [v for v in material.videos if v.dataset == statistics and (leaky or v.subject in fold.train)]
    )


def accepted_intervals(intervals):
    """Intervals that a system stands by: what counts and exports are made of."""
    return intervals[intervals["kept"]].drop(columns="kept").reset_index(drop=True)


def class_prior_of(system, train):
    """When expressions of each class move in the training videos; None where a system doesn't ask."""
    return fit_class_prior(spotting.annotated(train)) if system.recognition == "class priors" else None


def classify(system, intervals, curves, timing=None, *, reject=True):
    """Give intervals of one video their classes, the way of a system; those voted neutral are missing.

    Parameters
    ----------
    system : System
    intervals : DataFrame
        onset, offset.
    curves : dict
        As `curves_of` returns.
    timing : class_priors.ClassPrior, optional
    reject : bool

    Returns
    -------
    DataFrame
        The intervals with emotion.
    """
    if system.recognition == "vote":
        return recognition.vote(intervals, curves["logits"], reject=reject)
    without = RECOGNITION[system.recognition]
    score = (
        0 * curves["micro"] if "weighting" in without else curves["micro"]
    )  # where it is 0, all frames count alike
    return recognition.classify_adjusted(
        intervals,
        score,
        curves["logits"],
        log_prior=None if "share" in without else curves["log_prior"],
        evidence=None if timing is None else timing.evidence(intervals),
        reject=reject and "rejection" not in without,
    )


def _key(video):
    return video.dataset, video.subject, video.video


def curves_of(system, material, fold, video):
    """Curves of one video by the fold's fits: dict kind -> (T,), logits (T, 5) or None, intensity (T,) or None."""
    if system.body == "motion":
        length = np.linalg.norm(video.motion.reshape(len(video), -1, 2), axis=-1).max(axis=1)  # (T,) pixels
        return {"micro": np.where(video.mask, length, np.nan), "logits": None, "intensity": None}
    intensity = None
    if system.needs_intensity:
        intensity = np.where(video.mask, material.intensity[fold.index][_key(video)].scores[:, 0], np.nan)
    if system.body == "intensity":
        return {"micro": intensity, "logits": None, "intensity": None}
    fits = fits_of(system, material.dataset, [fold], material.seed)
    spotted, named = (material.curves[fit][_key(video)] for fit in (fits[0], fits[-1]))
    # The published method takes a frame without a face for one without motion.
    usable = np.ones_like(video.mask) if "published" in system.faults else video.mask
    columns = {
        kind: np.where(usable, scores, np.nan) for kind, scores in zip(KINDS, spotted.scores.T, strict=False)
    }
    return {**columns, "logits": named.logits, "log_prior": named.log_prior, "intensity": intensity}


def most_frequent(videos):
    """The class of most micro-expressions of some videos; the first of CLASSES where there is none."""
    names = pd.concat([video.events_of("micro")["emotion_class"] for video in videos])
    counts = names.value_counts().reindex(CLASSES, fill_value=0)
    return str(counts.idxmax())


def _chance(videos, prior, train, rng):
    """Intervals drawn from the prior alone: the control that has seen no pixel."""
    common = most_frequent(train)
    rows = []
    for video in videos:
        for _ in range(rng.poisson(prior.events_per_minute * len(video) / video.fps / 60)):
            length = min(int(prior.duration.quantile(rng.uniform())), len(video))
            onset = int(rng.integers(0, len(video) - length + 1))
            apex = onset + round(rng.beta(prior.apex_a, prior.apex_b) * (length - 1))
            rows.append(
                (video.subject, video.video, onset, apex, onset + length - 1, rng.uniform(), common, True)
            )
    return pd.DataFrame(rows, columns=_COLUMNS)
