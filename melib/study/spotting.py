"""Long videos, from their frames to the score curves of every fit: features, targets, the grid of fits.

    study -> features of a whole video (cached) -> sequences -> fit on training subjects -> curves of test and validation
             regional  (T, 36)                     whole videos, any length                subjects, (T, kinds) and (T, 5)
             reference (n, k, 36)                  windows of k frames, half overlapping, stitched

Samples are every `step`-th native frame, so that they lie about 1/30 s apart: the rate of both papers' data. Positions are
0-based samples; `Video.numbers` turns them back into native frames. Decoding, classes and tables: spotting_tables.py.
"""

import hashlib
import sys
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from melib import learn, losses, models, priors, protocols
from melib.data import cache, manifest, workers
from melib.errors import DataError
from melib.learn import dense
from melib.study import grid, intensity
from melib.study.data import Study, folds_of, long_studies, simulated
from melib.study.recognition import CLASSES
from melib.vision import faces, flow, recipe

NEUTRAL = len(CLASSES)
KINDS = ("micro", "macro", "blink")
# What features, fits and the curves of the intensity model are computed by: a changed line of it changes their keys.
RECIPE_CODE = (recipe, faces)
FIT_CODE = (learn.videos, learn.windows, models, losses, priors, flow, sys.modules[__name__])
INTENSITY_CODE = (flow, faces, models, learn.windows, dense)
RATE = 30  # samples a second: CAS(ME)^3 has 30, the reference reads SAMM-LV at 200 / 7


# ---- videos ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Video:
    """One long video as the networks see it.

    Attributes
    ----------
    dataset, subject, video : str
    fps : float
        Samples a second.
    numbers : (T,) int64
        0-based native frame of each sample.
    motion : (T, 36) float32
        Regional motion, pixels of the 112-pixel crop (melib.vision.flow).
    mask : (T,) bool
        False where no face was found.
    windows : (n, k, 36) float32
        The reference's features of half-overlapping windows; ``starts`` (n,) int, their first samples; ``ok`` (n,) bool,
        False where no face was found or the reference's crop left the picture.
    events : DataFrame
        The video's usable events in samples: event, kind, emotion_class, aus, onset, apex, offset (float), peak_px (NaN
        where nobody knows it).
    """

    dataset: str
    subject: str
    video: str
    fps: float
    numbers: np.ndarray
    motion: np.ndarray
    mask: np.ndarray
    windows: np.ndarray
    starts: np.ndarray
    ok: np.ndarray
    events: pd.DataFrame

    def __len__(self):
        """Count the samples."""
        return len(self.numbers)

    def events_of(self, kind):
        """Events of one kind."""
        return self.events[self.events["kind"] == kind]


@dataclass(frozen=True)
class StoredVideo:
    """A video whose arrays lie in the cache: what another process is sent of it.

    ``entry`` folder of the arrays; ``rest`` the Video without them.
    """

    entry: Path
    rest: Video


_ARRAYS = ("numbers", "motion", "mask", "windows", "starts", "ok")


def store_video(video, folder):
    """Put a video's arrays into a cache, addressed by their content: StoredVideo."""
    arrays = {name: getattr(video, name) for name in _ARRAYS}
    key = cache.key(1, {}, *map(_hashed, arrays.values()))
    cache.arrays(folder, key, lambda: arrays)
    return StoredVideo(folder / key, replace(video, **dict.fromkeys(_ARRAYS)))


def read_video(stored):
    """Read a stored video: Video."""
    arrays = cache.arrays(stored.entry.parent, stored.entry.name, partial(_lost, stored.entry))
    return replace(stored.rest, **{name: np.array(arrays[name]) for name in _ARRAYS})


def _hashed(array):
    """Hash of an array's shape, type and values."""
    about = f"{array.shape} {array.dtype.str} ".encode()
    return hashlib.blake2b(about + array.tobytes(), digest_size=16).hexdigest()


def _lost(entry):
    raise DataError(f"{entry} was removed while it was in use; run the same command again.")


def prepare_videos(study, run, *, windows=True):
    """Compute the features of every video of a study; cached by content.

    Parameters
    ----------
    study : data.Study
    run : Run
    windows : bool
        Compute the reference's features, too.

    Returns
    -------
    list of Video
    """
    k = run.settings["spotting"]["window"] if windows else 0
    step = samples_apart(study)
    folder = run.cache / "motion"
    tasks = [
        (study.manifest, row, folder, step, k)
        for row in study.videos[["subject", "video", "folder"]].itertuples(index=False, name=None)
    ]
    features = workers.run_jobs(_features, tasks, run.jobs, label=f"{study.name}: motion", unit="video")
    return [_video(study, *pair, step) for pair in zip(study.videos.itertuples(), features, strict=True)]


def samples_apart(study):
    """Native frames from one sample to the next."""
    return max(1, round(study.manifest.fps / RATE))


def _features(about, row, folder, step, k):
    """Read or compute the features of one video (in a worker process); those of windows where k isn't 0."""
    cv2.setNumThreads(1)
    subject, video, frames = row
    motion = flow.load_regional(about, subject, video, frames, folder, step=step)
    windows = _windows(manifest.frame_files(frames, about)[1][::step], folder, step, k) if k else _NO_WINDOWS
    return {name: np.array(value) for name, value in {**motion, **windows}.items()}


_NO_WINDOWS = {
    "windows": np.zeros((0, 0, flow.CHANNELS), np.float32),
    "starts": np.zeros(0, np.int64),
    "ok": np.zeros(0, bool),
}


def _windows(paths, folder, step, k):
    """The reference's features of windows of k frames."""
    key = cache.key(
        cache.code_version(*RECIPE_CODE),
        {"k": k, "step": step, "arrays": list(_NO_WINDOWS)},
        cache.content_hash(paths, index=folder / "hashes"),
    )
    return cache.arrays(folder, key, lambda: dict(zip(_NO_WINDOWS, recipe.windows(paths, k), strict=True)))


def _video(study, row, features, step):
    place = (row.subject, row.video)
    table = study.events
    table = table[(table["subject"] == row.subject) & (table["video"] == row.video)]
    table = table[(table["status"] != "dropped") & table["onset"].notna() & table["offset"].notna()]
    samples = np.arange(len(features["numbers"]))
    landmarks = {}
    for name in ("onset", "apex", "offset"):
        native = table[name].astype("Float64").to_numpy(float, na_value=np.nan)
        landmarks[name] = np.interp(native, features["numbers"], samples)
    middle = (landmarks["onset"] + landmarks["offset"]) / 2
    landmarks["apex"] = np.where(np.isnan(landmarks["apex"]), middle, landmarks["apex"])
    peak = pd.Series(np.nan, index=table.index)
    if study.truth is not None:
        truth = study.truth[(study.truth["subject"] == row.subject) & (study.truth["video"] == row.video)]
        peak = table["event"].map(truth[truth["event"] != ""].groupby("event")["peak_px"].max())
    events = table[["event", "kind", "emotion_class", "aus"]].assign(**landmarks, peak_px=peak.astype(float))
    events = events.sort_values("onset").reset_index(drop=True)
    arrays = {name: features[name] for name in _ARRAYS}
    return Video(study.name, *place, study.manifest.fps / step, **arrays, events=events)


def annotated(videos, kind="micro"):
    """Events of some videos in samples: for micro-expressions the truth that intervals are scored against.

    Returns
    -------
    DataFrame
        subject, video, event, onset, apex, offset (int, closed), emotion (class), kind, fps, aus, peak_px, duration_s,
        overlapped (bool: a macro-expression overlaps it).
    """
    if not videos:
        raise DataError("no video to take events from; give every fold training subjects with videos.")
    parts = []
    for video in videos:
        events, macro = video.events_of(kind), video.events_of("macro")
        overlap = [
            ((macro["onset"] <= e.offset) & (macro["offset"] >= e.onset)).any() for e in events.itertuples()
        ]
        landmarks = {name: np.rint(events[name]).astype(int) for name in ("onset", "apex", "offset")}
        about = {"subject": video.subject, "video": video.video, "event": events["event"], **landmarks}
        about |= {"emotion": events["emotion_class"].replace("", "unknown"), "kind": kind, "fps": video.fps}
        seconds = (landmarks["offset"] - landmarks["onset"] + 1) / video.fps
        about |= {"aus": events["aus"], "peak_px": events["peak_px"], "duration_s": seconds}
        parts.append(pd.DataFrame({**about, "overlapped": np.array(overlap, bool)}))
    return pd.concat(parts, ignore_index=True)


def prior_of(videos, kind="micro"):
    """When events of a kind happen in some videos (the training fold's): priors.IntervalPrior, in samples."""
    length = pd.DataFrame({"n_frames": [len(v) for v in videos], "fps": [v.fps for v in videos]})
    return priors.IntervalPrior.fit(annotated(videos, kind), length, videos[0].fps)


# ---- what is learned ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fit:
    """One fit of one fold.

    Attributes
    ----------
    dataset : str
    features : str
        regional (ours) or reference.
    target : str
        hard, triangular or gaussian.
    body : str
        ssm, bigru or dilated on whole videos; windowed_ssm: the reference's causal one, on windows.
    tasks : str
        joint, spotting or recognition.
    fold, seed : int
    published : bool
        Keep the reference's faults of training: videos with events only, the last epoch, every subject but the test one.
    peek : bool
        Choose the epoch on the test subjects: a fault, for the inflation ledger alone.
    graft : bool
        Lay more micro-expressions over the training videos; windows never are.
    neutral : bool
        Let the neutral class weigh in the loss of the classes; without it an interval can't be rejected.
    """

    dataset: str
    features: str
    target: str
    body: str
    tasks: str
    fold: int
    seed: int
    published: bool = False
    peek: bool = False
    graft: bool = True
    neutral: bool = True

    @property
    def name(self):
        """Readable name, unique in a run."""
        faults = "-published" * self.published + "-peek" * self.peek + "-plain" * (not self.graft)
        faults += "-no_neutral" * (not self.neutral)
        what = f"{self.features}-{self.target}-{self.body}-{self.tasks}{faults}"
        return f"{self.dataset}-spotting-{what}-fold{self.fold}-seed{self.seed}"

    @property
    def windowed(self):
        """Whether it sees windows and not whole videos."""
        return self.body == "windowed_ssm"


def hard(onset, apex, offset, n_frames):
    """The reference's target: 1 strictly between onset and offset; otherwise as `priors.triangular`."""
    inside = priors.boxcar(onset, apex, offset, n_frames)
    frame = np.arange(n_frames)
    return inside * ((frame > onset) & (frame < offset)).astype(np.float32)


TARGETS = {"hard": hard, "triangular": priors.triangular, "gaussian": priors.gaussian}


def target_curves(video, target):
    """Target curves and classes of a video.

    Parameters
    ----------
    video : Video
    target : str
        A key of ``TARGETS``. Where events of a kind overlap, the higher one counts.

    Returns
    -------
    curves : (T, 3) float32 in [0, 1]
        One column a kind.
    emotion : (T,) int64
        Index into ``CLASSES`` during a micro-expression, ``NEUTRAL`` elsewhere.
    """
    curves, emotion = np.zeros((len(video), len(KINDS)), np.float32), np.full(len(video), NEUTRAL)
    for event in video.events.itertuples():
        column = KINDS.index(event.kind)
        curve = TARGETS[target](event.onset, event.apex, event.offset, len(video))
        curves[:, column] = np.maximum(curves[:, column], curve)
        if event.kind == "micro" and event.emotion_class in CLASSES:
            inside = TARGETS["hard"](event.onset, event.apex, event.offset, len(video)) > 0
            emotion[inside] = CLASSES.index(event.emotion_class)
    return curves, emotion.astype(np.int64)


def sequences(video, fit):
    """What a fit reads of a video: one sequence, or one a window.

    Returns
    -------
    list of learn.videos.Sequence
    """
    curves, emotion = target_curves(video, fit.target)
    if not fit.windowed:
        x = video.motion if fit.features == "regional" else stitch(video.windows, video.starts, len(video))
        return [learn.videos.Sequence(x, video.mask, curves, emotion)]
    windows = []
    for window, start, ok in zip(video.windows, video.starts, video.ok, strict=True):
        part = slice(int(start), int(start) + len(window))
        n = len(emotion[part])  # fewer than a window's frames in a video that is shorter
        x, mask = video.motion[part] - video.motion[part][:1], video.mask[part]
        if fit.features == "reference":
            x, mask = window[:n], np.full(n, ok)
        # The published method has no mask: a window without a face counts as one without motion.
        windows.append(learn.videos.Sequence(x, mask | fit.published, curves[part, :1], emotion[part]))
    return windows


def stitch(windows, starts, n, whole=None):
    """Put values of windows one after another: of each its second half, of the first one all.

    Parameters
    ----------
    windows : (m, k, ...) float
    starts : (m,) int
    n : int
        Samples of the video.
    whole : (m,) bool, optional
        Windows whose first half counts; by default the one that starts the video.

    Returns
    -------
    (n, ...) float
        0 where no window speaks.
    """
    whole = starts == 0 if whole is None else whole
    out = np.zeros((n, *windows.shape[2:]), windows.dtype)
    k = windows.shape[1]
    for window, start, entire in zip(windows, starts, whole, strict=True):
        first = 0 if entire else k // 2
        part = out[start + first : start + k]
        part[:] = window[first : first + len(part)]
    return out


# ---- the grid of fits -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curves:
    """Predictions for one video: ``scores`` (T, S) float32, a column a kind; ``logits`` (T, 5) or None.

    ``log_prior`` (5,): log share of each class in training, for the logit adjustment.
    """

    scores: np.ndarray
    logits: np.ndarray | None = None
    log_prior: np.ndarray | None = None


def run_fits(run, fits, long, *, options=None):
    """Run the fits that are not on disk yet.

    Parameters
    ----------
    run : Run
    fits : list of Fit
    long : Long
        Its clips are training material, its transfer videos are spoken of, too.
    options : dict or None
        Another budget than the profile's ``spotting``.

    Returns
    -------
    dict Fit -> dict (dataset, subject, video) -> Curves
        Of the validation and test subjects of the fit's fold.

    Raises
    ------
    DataError
        If a fit failed: says which and why; the others are finished and kept.
    """
    options = options or run.settings["spotting"]
    places = {
        part: [store_video(video, run.cache / "videos") for video in getattr(long, part)] for part in _PARTS
    }
    light = replace(long, study=None, **places)
    tasks = [(fit, options, light) for fit in fits]
    return dict(zip(fits, grid.run_tasks(_run_stored_fit, run, tasks), strict=True))


# Of what a Long holds, its lists of videos.
_PARTS = ("videos", "transfer", "clips")


def _run_stored_fit(run, fit, options, light):
    """Open the videos that a fit is sent the places of, and run it."""
    videos = {part: [read_video(place) for place in getattr(light, part)] for part in _PARTS}
    return _run_fit(run, fit, options, replace(light, **videos))


def _run_fit(run, fit, options, long):
    """Fit and predict once, or read what an earlier call stored."""
    fold, settings = long.folds[fit.fold], video_fit_settings(fit, options)
    held_out = [v for v in (*long.videos, *long.transfer) if v.subject in (*fold.validation, *fold.test)]
    if fit.features == "reference":
        held_out = [video for video in held_out if video.windows.shape[1]]
    about = {
        "fit": asdict(fit),
        "settings": asdict(settings),
        "fold": asdict(fold),
        "batch": options["batch_of_windows"],
    }
    contents = [_content(video) for video in (*long.videos, *long.transfer, *long.clips)]

    def compute():
        train, validation = _split(long.videos, fit, fold)
        clips = [clip for clip in long.clips if clip.subject in fold.train and not fit.published]
        train, validation, donors = (
            [sequence for video in part for sequence in sequences(video, fit)]
            for part in (train, validation, clips)
        )
        if fit.windowed:
            train, donors = train + donors, []
        mirror = None if fit.windowed else flow.MIRROR
        fitted = learn.videos.fit_regressor(
            settings, train, validation, fit.seed, donors=donors, mirror=mirror
        )
        learn.windows.save_fit(fitted, run / "weights" / fit.name)
        predicted = curves_of_videos(fitted, fit, held_out, options["batch_of_windows"])
        return {
            "scores": np.concatenate([curves.scores for curves in predicted]),
            "logits": np.concatenate([curves.logits for curves in predicted]),
            "class_prior": np.array(fitted.scale["class_prior"]),
        }

    stored = grid.record(run, cache.code_version(*FIT_CODE), about, contents, compute)
    prior = stored["class_prior"]
    log_prior = np.log(prior, where=prior > 0, out=np.full(len(prior), -np.inf))
    ends = np.cumsum([len(video) for video in held_out])[:-1]
    parts = zip(np.split(stored["scores"], ends), np.split(stored["logits"], ends), strict=True)
    return {
        (v.dataset, v.subject, v.video): Curves(np.array(scores), np.array(logits), log_prior)
        for v, (scores, logits) in zip(held_out, parts, strict=True)
    }


def _content(video):
    text = [video.subject, video.video, video.events.to_csv(index=False)]
    return cache.key(1, {"text": text}, *map(_hashed, (video.motion, video.mask, video.windows)))


def _split(videos, fit, fold):
    """Videos to train on and to choose the epoch on."""
    train = [video for video in videos if video.subject in fold.train]
    validation = [video for video in videos if video.subject in fold.validation]
    if fit.published:
        train = [video for video in (*train, *validation) if len(video.events_of("micro"))]
    if fit.peek:
        validation = [video for video in videos if video.subject in fold.test]
    return train, validation


def video_fit_settings(fit, options):
    """The profile's budget on one fit; what the reference states about training goes with its windows."""
    epochs = options["epochs"]["windows" if fit.windowed else "whole_videos"]
    common = options["fit"] | {"tasks": fit.tasks, "epochs": epochs}
    common |= {} if fit.neutral else {"neutral_factor": 0.0}
    if not fit.windowed:
        own = options["whole_videos"] | ({} if fit.graft else {"graft": 0.0})
        return learn.videos.VideoSettings(**common, body=fit.body, kinds=len(KINDS), **own)
    return learn.videos.VideoSettings(
        **common,
        body="ssm",
        causal=True,
        kinds=1,
        **options["windows"],
        select="last" if fit.published else "validation",
    )


def curves_of_videos(fitted, fit, videos, batch):
    """Curves of whole videos, in order."""
    predicted = [learn.videos.predict_curves(fitted, sequences(video, fit)) for video in videos]
    if not fit.windowed:
        return [Curves(**curves) for (curves,) in predicted]
    curves, before = [], 0  # windows of the videos before
    for video, windows in zip(videos, predicted, strict=True):
        # The published stitching asks for a window's place in its batch where it means the video's first.
        whole = (before + np.arange(len(windows))) % batch == 0 if fit.published else None
        before += len(windows)
        none = {name: np.zeros((0, video.windows.shape[1], n), np.float32) for name, n in _COLUMNS.items()}
        parts = {name: np.stack([w[name] for w in windows]) if windows else none[name] for name in none}
        curves.append(Curves(*(stitch(part, video.starts, len(video), whole) for part in parts.values())))
    return curves


# Columns of what the reference's network gives.
_COLUMNS = {"scores": 1, "logits": NEUTRAL + 1}


# ---- the first paper's model on the second paper's videos -----------------------------------------------------


def intensity_curves(run, study, videos, folds, seed):
    """Score curves by the intensity model of the first paper, each made without its own subject.

    The model is the one that notebook 04 trained on clips (context protocol, flow), of the fold that tests the subject;
    a validation subject's curve comes from the fold that it validates, too.

    Parameters
    ----------
    run : Run
    study : data.Study
    videos : list of Video
    folds : list of protocols.Fold
        Must be those of the intensity experiment: same subjects, number and seed.

    Returns
    -------
    dict fold index -> dict (dataset, subject, video) -> Curves
        Without logits.

    Raises
    ------
    DataError
        If the intensity model's weights aren't there.
    """
    if not has_intensity(run, folds, seed):
        raise DataError(f"{run.folder} has no trained intensity model; run notebook 04 in this run first.")
    weights = {f.index: weights_folder(run, _clips_name(run), f.index, seed) for f in folds}
    frames = study.videos.set_index(["subject", "video"])["folder"].to_dict()
    tasks = []
    for video in videos:
        own = {f.index: weights[f.index] for f in folds if video.subject in (*f.validation, *f.test)}
        place, options = frames[video.subject, video.video], run.settings["windows"]["context"]
        tasks.append((run.cache / "intensity", own, study.manifest, place, samples_apart(study), options))
    done = workers.run_jobs(_intensity, tasks, run.jobs, label=f"{study.name}: intensity", unit="video")
    curves: dict[int, dict] = {fold.index: {} for fold in folds}
    for video, by_fold in zip(videos, done, strict=True):
        for index, curve in by_fold.items():
            curves[index][video.dataset, video.subject, video.video] = Curves(curve[:, None])
    return curves


def unseen_by_intensity(run, long):
    """Subjects of each fold that its intensity model wasn't trained on: dict fold index -> set of str.

    Empty where the intensity experiment has other subjects or tests them in other folds.
    """
    people = {clip.subject for clip in long.clips}
    if not 2 <= len(long.folds) <= len(people):
        return {}
    theirs = protocols.folds(people, min(run.settings["folds"], len(people)), seed=run.seed)
    if [fold.test for fold in theirs] != [fold.test for fold in long.folds]:
        return {}
    return {fold.index: {*fold.validation, *fold.test} for fold in theirs}


def has_intensity(run, folds, seed):
    """Whether notebook 04 has left its model's weights for every fold."""
    places = [weights_folder(run, _clips_name(run), fold.index, seed) for fold in folds]
    return all((place / "settings.yml").is_file() for place in places)


def _clips_name(run):
    """Name of the simulated clips, which show the people of the simulated long videos."""
    return run.settings["data"][0]["name"]


def weights_folder(run, clips, fold, seed):
    """Where notebook 04 leaves the intensity model of a fold of some clips: Path."""
    return Path(run) / "weights" / intensity.Job(clips, "context", "resnet18_bigru", "flow", fold, seed).name


def _intensity(folder, weights, about, frames, step, options):
    """Curves of one video by each of some models (in a worker process)."""
    cv2.setNumThreads(1)
    _, paths = manifest.frame_files(frames, about)
    paths, fps, length = paths[::step], about.fps / step, options["T"]
    stride = max(1, round(options["step"] * fps))
    version = cache.code_version(*INTENSITY_CODE)
    files = [path / name for path in weights.values() for name in ("weights.safetensors", "settings.yml")]
    settings = {"fps": fps, "T": length, "stride": stride, "hop": dense.HOP, "folds": list(weights)}
    pixels = cache.content_hash(paths, index=folder / "hashes")
    key = cache.key(version, settings, pixels, cache.content_hash(files))

    def compute():
        fitted = {str(index): learn.windows.load_fit(path) for index, path in weights.items()}
        windows = dense.Dense(fitted, len(paths), length, stride)
        for part in faces.follow(paths, fps):
            windows.feed(part)
        return windows.curves()

    return {int(name): np.array(curve) for name, curve in cache.arrays(folder, key, compute).items()}


# ---- an experiment --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Long:
    """Long videos of a run.

    Attributes
    ----------
    study : data.Study
    videos : list of Video
        Of the data set to train on, ``folds`` of its subjects.
    transfer : list of Video
        Of another data set, only tested on.
    clips : list of Video
        Clips of the same subjects with a micro-expression each: more to train on, for every system.
    """

    study: Study
    videos: list
    transfer: list
    clips: list
    folds: list


def open_long(run, *, windows=True):
    """Simulate or open the long videos of a run and compute their features; everything finished is kept.

    Parameters
    ----------
    run : Run
    windows : bool
        With the reference's features, most of the time: no other system reads them.

    Returns
    -------
    list of Long
        One a data set that holds micro-expressions with frames around them.

    Raises
    ------
    DataError
        If no data set of the run has long videos.
    """
    longs, transfer, clips = [], [], []
    if not run.data:
        for study in long_studies(run, transfer=True):
            transfer += prepare_videos(study, run, windows=False)
        clips = _clips(run)
    share = run.settings["spotting"]["validation_share"]
    for study in long_studies(run):
        folds = folds_of(study, run, validation_share=share)
        videos = prepare_videos(study, run, windows=windows)
        longs.append(Long(study, videos, transfer, clips, folds))
    if not longs:
        raise DataError(
            "no data set of this run has long videos; name one that has as data, or run 01 to 05."
        )
    return longs


def _clips(run):
    """Some clips of each person of the run's first data set, with their features."""
    study = simulated(run)[0]
    micro = study.events[(study.events["kind"] == "micro") & (study.events["status"] != "dropped")]
    chosen = study.videos[study.videos["video"].isin(micro["video"])]
    chosen = chosen.groupby("subject").head(run.settings["spotting"]["clips"])
    return prepare_videos(replace(study, videos=chosen), run)


def without_emotions(longs):
    """Names of data sets of which no emotion is known: recognition, STRS and end-to-end F1 say nothing there.

    Returns
    -------
    list of str
    """
    return [long.study.name for long in longs if not annotated(long.videos)["emotion"].isin(CLASSES).any()]


def overview(long):
    """What a data set of long videos holds: counts, minutes, how often the face was found.

    Returns
    -------
    dict
    """
    micro = annotated(long.videos)
    frames = sum(len(video) for video in long.videos)
    return {
        "dataset": long.study.name,
        "subjects": len({video.subject for video in long.videos}),
        "videos": len(long.videos),
        "minutes": round(sum(len(video) / video.fps for video in long.videos) / 60, 1),
        **{kind: sum(len(video.events_of(kind)) for video in long.videos) for kind in KINDS},
        "videos without micro": sum(video.events_of("micro").empty for video in long.videos),
        "micro overlapping macro": int(micro["overlapped"].sum()),
        "frames with a face": round(sum(int(video.mask.sum()) for video in long.videos) / frames, 4),
    }
