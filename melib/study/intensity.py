"""From a data set to the predictions of every fit: windows, inputs, the grid of fits, each finished job on disk.

    study -> clips -> windows (where) -> inputs (what is seen) --+-> fit on training subjects -> curves of test subjects
                                      -> targets, truth  --------+                              frozen, shuffled, re-timed

A job is one fit: a protocol, a model, an input, a fold and a seed. Its record is addressed by all that it depends on,
the source of the code that it runs included, so that a finished job is never repeated and a changed one never read.
The tables are made from these records by evaluation.py.
"""

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from melib import controls, learn, losses, models, priors, protocols
from melib.data import cache, workers
from melib.errors import DataError
from melib.study import grid
from melib.study.data import clip_studies, folds_of, simulated, with_clips
from melib.vision import flow

PROTOCOLS = ("paper", "context")
# What windows and fits are computed by: a changed line of it changes their keys (of models.py, one about videos, too).
INPUTS_CODE = (flow,)
FIT_CODE = (learn.windows, models, losses, controls)
# Side of what a network sees, pixels, where a profile names no other.
SIZE = 64
# Share of its peak above which a true movement counts as begun; below it everything counts as rest.
RISEN = 0.1
# Shifts of the apex for apex_follow, as a share of the window.
SHIFTS = (-1 / 8, -1 / 16, 0.0, 1 / 16, 1 / 8)


# ---- windows and what is seen in them -------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """Windows of one study under one protocol, with everything but the images.

    ``table`` one row a window; ``positions`` (N, T) native frames; ``mask`` (N, T) bool; ``pseudo`` (N, T) the prior;
    ``truth`` (N, T) the true profile, ``inside`` (N, T) bool the true movement of the window's own event above `RISEN`,
    ``peak_px`` (N,) its true peak, pixels (None where there is no truth); ``annotated`` and ``true`` (N, 3) onset, apex
    and offset in samples of the window, NaN without an event (``true`` is None where there is no truth); ``magnitude``
    (N, T) pixels; ``reference`` (N,) index; ``entries`` the cached inputs and the window's row in them, and the same once
    more where its motion is laid over another window's (further.py); ``calmest`` (N,) and ``calmest_magnitude`` (N, T) what
    reference and magnitude would be by the calmest stretch.
    """

    dataset: str
    protocol: str
    fps: float
    table: pd.DataFrame
    positions: np.ndarray
    mask: np.ndarray
    pseudo: np.ndarray
    truth: np.ndarray | None
    inside: np.ndarray | None
    peak_px: np.ndarray | None
    annotated: np.ndarray
    true: np.ndarray | None
    magnitude: np.ndarray
    reference: np.ndarray
    entries: list
    cache: Path
    calmest: np.ndarray | None = None
    calmest_magnitude: np.ndarray | None = None

    def step(self):
        """Native frames between two samples, (N,) float."""
        return (self.positions[:, -1] - self.positions[:, 0]) / (self.positions.shape[1] - 1)

    def complete(self):
        """Windows that hold one whole annotated event, (N,) bool."""
        return (self.table["event"] != "").to_numpy() & self.table["complete"].to_numpy(bool)

    def first_complete(self):
        """The first complete window of each event, (n,) int: the one that it is scored on."""
        table = self.table[self.complete()]
        return table.index[~table.duplicated(["subject", "event"])].to_numpy()

    def event_truth(self, i):
        """True profile of a window's own event, 0 outside of it, (T,); asked for only where the truth is known."""
        assert self.inside is not None and self.truth is not None
        return np.where(self.inside[i], self.truth[i], 0)

    def load(self, rows):
        """Images, targets and masks of some windows, for training.

        Parameters
        ----------
        rows : (n,) int

        Returns
        -------
        windows.Windows
        """
        entries = [self.entries[i] for i in rows]
        raw = np.stack([self._stored(entry[:2], "raw") for entry in entries])
        motion = np.stack([self._stored(entry[:2], "flow") for entry in entries])
        for i, entry in enumerate(entries):
            if entry[2:]:  # at rest where its own reference is
                under = self._stored(entry[2:], "flow").astype(np.float32)
                motion[i] += under - under[self.reference[rows[i]]]
        return learn.windows.Windows(raw, motion, self.reference[rows], self.pseudo[rows], self.mask[rows])

    def _stored(self, entry, name):
        key, k = entry
        return np.load(self.cache / key / f"{name}.npy", mmap_mode="r")[k]


def prepare_windows(study, protocol, run):
    """Cut a study into windows and compute what is seen in each; cached a video.

    Parameters
    ----------
    study : Study
        With clips.
    protocol : str
        paper or context.
    run : Run

    Returns
    -------
    Prepared

    Raises
    ------
    DataError
        If no window fits (``context`` where a data set has no frames around its events).
    """
    spans = [
        (c.subject, c.video, int(c.numbers[0]), int(c.numbers[-1])) for c in study.clips if len(c.numbers)
    ]
    table = draw_windows(study, protocol, pd.DataFrame(spans, columns=_SPAN), run)
    return sample_windows(study, table, run.settings["windows"][protocol]["T"], run)


_SPAN = ["subject", "video", "n_first", "n_last"]


def draw_windows(study, protocol, spans, run):
    """Where the windows of a study lie, which no image decides.

    Parameters
    ----------
    study : Study
    protocol : str
    spans : DataFrame
        subject, video, n_first, n_last: first and last native frame of each video.
    run : Run

    Returns
    -------
    DataFrame
        See protocols.paper_windows.

    Raises
    ------
    DataError
        As `prepare_windows`.
    """
    options = run.settings["windows"][protocol]
    if protocol == "paper":
        table = protocols.paper_windows(study.events, spans, T=options["T"])
    else:
        if not study.manifest.has_context:
            raise DataError(
                f"{study.name}: not testable under 'context': its clips are cut from onset to offset."
            )
        table = protocols.context_windows(
            study.events,
            spans,
            T=options["T"],
            stride=max(1, round(options["step"] * study.manifest.fps)),
            per_event=options["per_event"],
            per_empty=options["per_empty"],
            seed=run.seed,
        )
    if table.empty:
        counts = Counter(event["reason"] for event in table.attrs["left_out"])
        reasons = ", ".join(f"{count} because {reason}" for reason, count in counts.items())
        raise DataError(
            f"{study.name}: no window fits protocol '{protocol}' ({reasons or 'no event'}); see `melib data check`."
        )
    return table.reset_index(drop=True)


def sample_windows(study, table, n_samples, run):
    """What is seen in given windows, their samples spread evenly from start to stop; cached a video.

    Parameters
    ----------
    study : Study
        With clips.
    table : DataFrame
        Windows of one protocol, as protocols.py draws them.
    n_samples : int
        T.
    run : Run

    Returns
    -------
    Prepared
    """
    protocol = str(table["protocol"].iloc[0])
    positions = np.stack([protocols.window_frames(row, n_samples) for row in table.itertuples()])  # (N, T)
    # A window that is cut at the onset begins at rest; the calmest stretch is for borders that fall anywhere.
    how = {"size": run.settings["windows"][protocol].get("size", SIZE), "since_first": protocol == "paper"}
    version = cache.code_version(*INPUTS_CODE)
    folder, tasks, rows_of_videos = run.cache / "inputs", [], []
    for video, rows in table.groupby(["subject", "video"], sort=False).groups.items():
        clip = study.clip(*video)
        key = cache.key(version, {"positions": positions[rows].round(3).tolist(), **how}, clip.key)
        tasks.append((folder, key, run.cache / clip.key, _shown(clip, positions[rows]), how))
        rows_of_videos.append(rows)
    label = f"{study.name} {protocol}: flow"
    inputs = workers.run_jobs(_video_inputs, tasks, run.jobs, label=label, unit="video")

    arrays: dict[str, np.ndarray] = {}
    entries = [("", 0)] * len(table)
    for (_, key, *_), rows, small in zip(tasks, rows_of_videos, inputs, strict=True):
        for name, values in small.items():
            arrays.setdefault(name, np.zeros((len(table), *values.shape[1:]), values.dtype))[rows] = values
        for k, i in enumerate(rows):
            entries[i] = (key, k)
    truth, inside, peak, true = _truth(study.truth, table, positions)
    return Prepared(
        study.name,
        protocol,
        study.manifest.fps,
        table,
        positions,
        pseudo=protocols.targets(table, study.events, n_samples, prior=priors.triangular),
        truth=truth,
        inside=inside,
        peak_px=peak,
        annotated=protocols.landmarks(table, study.events, n_samples).to_numpy(),  # (N, 3)
        true=true,
        entries=entries,
        cache=folder,
        **arrays,
    )


def _shown(clip, positions):
    """What windows show of a clip: rows (n, T) int, whether the frame is there (n, T) bool, frames a sample (n,) float."""
    wanted = np.rint(positions)
    rows = np.clip(np.searchsorted(clip.numbers, wanted), 0, len(clip.numbers) - 1)
    return rows, np.abs(clip.numbers[rows] - wanted) < 1, np.diff(positions, axis=1).mean(axis=1)


def _video_inputs(folder, key, clip, shown, how):
    """Inputs of one video's windows, whose clip lies in the cache; returns what is small."""

    def compute():
        frames, detected, landmarks = (
            np.load(clip / f"{name}.npy", mmap_mode="r") for name in ("frames", "mask", "landmarks")
        )
        windows: list[dict] = []
        for rows, exists, width in zip(*shown, strict=True):
            mask = np.asarray(detected[rows]) & exists
            sampled = flow.sample(frames, rows, max(1, int(width)))
            windows.append(flow.window_inputs(sampled, mask, np.asarray(landmarks), **how) | {"mask": mask})
        return {name: np.stack([w[name] for w in windows]) for name in windows[0]}

    stored = cache.arrays(folder, key, compute)
    return {name: np.array(values) for name, values in stored.items() if name not in ("raw", "flow")}


def _in_samples(frames, positions):
    """Native frames (N, k) to samples of their window (N, k) float."""
    first, last = positions[:, :1], positions[:, -1:]
    return (frames - first) / (last - first) * (positions.shape[1] - 1)


def _truth(truth, table, positions):
    """True profile, whether the own event moves, its peak in pixels, its landmarks; Nones where nobody knows."""
    if truth is None:
        return None, None, None, None
    profile, inside = np.zeros(positions.shape, np.float32), np.zeros(positions.shape, bool)
    peak, frames = np.full(len(table), np.nan), np.full((len(table), 3), np.nan)
    by_video = dict(list(truth.groupby(["subject", "video"])))
    for i, row in enumerate(table.itertuples()):
        part = by_video[(row.subject, row.video)]
        number = part["frame"].to_numpy()
        at = np.clip(np.searchsorted(number, np.rint(positions[i])), 0, len(part) - 1)  # (T,)
        profile[i] = part["profile"].to_numpy()[at]
        if row.event:
            own = (part["event"] == row.event).to_numpy()
            inside[i] = own[at] & (profile[i] > RISEN)
            apex = np.argmax(np.where(own, part["profile"], -1))
            peak[i] = part["peak_px"].to_numpy()[apex]
            frames[i] = number[own][0], number[apex], number[own][-1]
    return profile, inside, peak, _in_samples(frames, positions)


def prepare_all(studies_with_clips, run):
    """Windows of every study under every protocol that it can be tested under.

    Returns
    -------
    list of Prepared
        Studies in their order; paper before context, which only a data set with frames around its events has; those that
        the profile has windows of.
    """
    return [
        prepare_windows(study, protocol, run)
        for study in studies_with_clips
        for protocol in protocols_of(run, study)
    ]


def protocols_of(run, study=None):
    """Protocols that a profile has windows of and, where one is given, that a study can be tested under."""
    no_context = study is not None and not study.manifest.has_context
    return [
        protocol
        for protocol in PROTOCOLS
        if protocol in run.settings["windows"] and not (protocol == "context" and no_context)
    ]


# ---- the grid of fits -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One fit of the grid."""

    dataset: str
    protocol: str
    model: str
    input: str
    fold: int
    seed: int
    variant: str = ""  # names what an ablation changes; the change itself is in settings and windows

    @property
    def name(self):
        """Readable name, unique in a run."""
        changed = f"-{self.variant}" if self.variant else ""
        about = f"{self.dataset}-{self.protocol}-{self.model}-{self.input}"
        return f"{about}{changed}-fold{self.fold}-seed{self.seed}"


def jobs_of(dataset, run, protocol, folds):
    """Jobs of a profile for one data set, protocol and some folds, the slow ones first.

    Returns
    -------
    list of Job
    """
    options = run.settings
    return [
        Job(dataset, protocol, fit["model"], fit["input"], fold.index, training_seed)
        for fit in options["fits"][protocol]
        for training_seed in run.seeds
        for fold in folds
    ]


def study_jobs(dataset, run, having, folds):
    """Jobs of a profile for one data set under every protocol, those of context first.

    Parameters
    ----------
    dataset : str
    run : Run
    having : dict protocol -> set of str
        Subjects that have windows; a fold that tests none of them has no job.
    folds : list of protocols.Fold

    Returns
    -------
    list of Job
    """
    jobs = []
    for protocol in (protocol for protocol in reversed(PROTOCOLS) if protocol in having):
        tested = [fold for fold in folds if having[protocol] & set(fold.test)]
        jobs += jobs_of(dataset, run, protocol, tested)
    return jobs


def run_grid(run, jobs_list, prepared, folds, *, transfer=None):
    """Run the fits that are not on disk yet, and return every job's record.

    Parameters
    ----------
    run : Run
    jobs_list : list of Job
    prepared : dict protocol -> Prepared
    folds : list of protocols.Fold
    transfer : dict protocol -> Prepared, optional
        Windows of a second data set with the same subjects: each model also predicts its test subjects there.

    Returns
    -------
    dict Job -> dict of arrays
        ``rows`` (n,) windows of the test subjects; ``curve``, ``shuffled``, ``frozen`` (n, T) float32; ``slope`` (n,)
        apex_follow a window, NaN where it can't be asked; ``transfer_rows``, ``transfer_curve`` where asked.

    Raises
    ------
    DataError
        If a fit failed: says which and why; the others are finished and kept.
    """
    transfer = transfer or {}
    options = run.settings["fit"]
    tasks = [
        (job, options, prepared[job.protocol], folds[job.fold], transfer.get(job.protocol))
        for job in jobs_list
    ]
    return dict(zip(jobs_list, grid.run_tasks(run_job, run, tasks), strict=True))


def run_job(run, job, options, prepared, fold, transfer=None):
    """Fit and predict once, or read what an earlier call stored.

    Parameters
    ----------
    run : Path
    job : Job
        One that names a variant keeps no weights, and is asked for no more than ``curve`` and ``slope``, the latter in the
        windows that are scored.
    options : dict
        Settings of the fit, beside model and input.
    prepared : Prepared
    fold : protocols.Fold
    transfer : Prepared, optional
        See `run_grid`.

    Returns
    -------
    dict of arrays
        See `run_grid`.
    """
    fit = window_fit_settings(job, options)
    about = asdict(job)
    asked = {"asked": "curve, slope"} if about.pop("variant") else {}
    about = {"job": about, "fit": asdict(fit), "fold": asdict(fold), "shifts": SHIFTS, **asked}
    contents = (_content(prepared), _content(transfer) if transfer else "")

    def compute():
        rows = {part: rows_of(prepared, getattr(fold, part)) for part in ("train", "validation", "test")}
        train, validation = (prepared.load(rows[part]) for part in ("train", "validation"))
        fitted = learn.windows.fit_windows(fit, train, validation, job.seed)
        result = _predict(fitted, prepared, rows["test"], prepared.first_complete() if asked else None)
        if not asked:
            learn.windows.save_fit(fitted, run / "weights" / job.name)
            result |= _disturbed(fitted, prepared, rows["test"], job.seed)
        if transfer:
            there = rows_of(transfer, fold.test)
            result["transfer_rows"] = there
            result["transfer_curve"] = learn.windows.predict_windows(fitted, transfer.load(there))
        return result

    return grid.record(run, cache.code_version(*FIT_CODE), about, contents, compute)


def window_fit_settings(job, options):
    """The profile's budget on one model; constant_frame is the paper's network on a window's first frame."""
    constant = job.model == "constant_frame"
    model = "resnet18_bigru" if constant else job.model
    return learn.windows.FitSettings(model=model, input=job.input, constant_frame=constant, **options)


def _content(prepared):
    """Hash of everything that a fit reads from its windows."""
    arrays = (prepared.pseudo, prepared.mask, prepared.reference)
    text = json.dumps(prepared.entries) + "".join(hashlib.sha1(a.tobytes()).hexdigest() for a in arrays)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def rows_of(prepared, subjects):
    """Windows of some subjects, (n,) int."""
    return np.flatnonzero(prepared.table["subject"].isin(subjects))


def inputs_of(fitted, prepared, rows):
    """What a trained network reads of some windows, (n, T, C, S, S) float32: see learn.windows.network_inputs."""
    windows = prepared.load(rows)
    return learn.windows.network_inputs(windows, slice(None), fitted.settings.input, fitted.scale).numpy()


def _predict(fitted, prepared, rows, followed=None):
    """Curves of the test windows, and whether they follow a moved apex, in all windows or some."""
    slope = np.full(len(rows), np.nan)
    # Only a whole event has an apex that can be moved.
    asked = prepared.complete()[rows] if followed is None else np.isin(rows, followed)
    whole = np.flatnonzero(asked)
    follow = controls.apex_follow(
        lambda x: learn.windows.predict_inputs(fitted, x),
        inputs_of(fitted, prepared, rows[whole]),
        prepared.annotated[rows[whole], 1],
        np.asarray(SHIFTS) * prepared.positions.shape[1],
        prepared.table["subject"].to_numpy()[rows[whole]],
    )
    slope[whole] = follow["slopes"]
    return {"rows": rows, "curve": learn.windows.predict_windows(fitted, prepared.load(rows)), "slope": slope}


def _disturbed(fitted, prepared, rows, seed):
    """Curves of the test windows with their frames shuffled, and with the first one frozen."""
    inputs, mask = inputs_of(fitted, prepared, rows), prepared.mask[rows]
    return {
        "shuffled": learn.windows.predict_inputs(fitted, controls.shuffle(inputs, seed), mask),
        "frozen": learn.windows.predict_inputs(fitted, controls.freeze(inputs), mask),
    }


@dataclass(frozen=True)
class Outcome:
    """Everything that evaluation.py makes its tables from.

    ``prepared`` list of Prepared; ``transfer`` Prepared of the other field family by protocol; ``folds`` and
    ``records`` by data set; ``seed`` of the run; ``studies`` with clips, by data set.
    """

    prepared: list
    transfer: dict
    folds: dict
    records: dict
    seed: int
    studies: dict = field(default_factory=dict)


def intensity_study(run):
    """Run the intensity paper's experiment: every fit of the profile, on every data set of the run.

    Parameters
    ----------
    run : Run

    Returns
    -------
    Outcome
    """
    studies = [with_clips(study, run) for study in clip_studies(run)]
    prepared = prepare_all(studies, run)
    transfer, folds, records = {}, {}, {}
    if not run.data:
        others = [with_clips(s, run) for s in simulated(run, "transfer")]
        transfer = {p.protocol: p for p in prepare_all(others, run)}
        if run.settings["train_on_transfer"]:
            studies, prepared = studies + others, prepared + list(transfer.values())
    for study in studies:
        windows = {p.protocol: p for p in prepared if p.dataset == study.name}
        # Somebody without a usable event can't be tested on one. Simulated people all keep their fold: it must be that of
        # their long videos, which this fold's model will judge.
        having = {subject for p in windows.values() for subject in p.table["subject"]}
        folds[study.name] = folds_of(study, run, subjects=having if study.truth is None else None)
        todo = study_jobs(
            study.name, run, {p: set(w.table["subject"]) for p, w in windows.items()}, folds[study.name]
        )
        other = transfer if study.name not in {p.dataset for p in transfer.values()} else {}
        records[study.name] = run_grid(run, todo, windows, folds[study.name], transfer=other)
    return Outcome(prepared, transfer, folds, records, run.seed, {study.name: study for study in studies})
