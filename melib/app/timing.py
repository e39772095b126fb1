"""One of everything that a run does many times, timed on this machine: what `melib run --plan` reckons with.

    a worker process   a clip, its face, its windows; a training step of each network; a long video, its features, ...
    this process       a notebook that imports what the others do, draws one figure, and becomes a page

As many processes as the run will use do the same at the same time, so that they share the machine as they will in the run.
Each thing is timed in seconds of the processor, which nobody else's moment of work disturbs; how many seconds by the clock
that is (`stretch`) comes from all of them together. What a process does first is done once before the clock starts.
"""

import contextlib
import io
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import psutil

from melib import learn, protocols, simulate
from melib.app import runner
from melib.data import manifest, workers
from melib.learn.dense import Dense
from melib.learn.windows import FitSettings
from melib.study import intensity, limits, psychometrics, spotting, spotting_decoding, spotting_runs
from melib.study.data import Study, open_study, with_clips
from melib.study.run import Run
from melib.vision import faces, flow

WINDOWS = ("windows", "complete", "scored")
# What notebooks train before the reader's eyes.
LESSON = FitSettings(input="flow", width=8, hidden=16)
# Windows whose training is timed: as many as a batch where networks are small, two where one takes seconds.
_TIMED = 128
# Psychometric fits, and events of each, that are timed.
_RESAMPLES, _EVENTS = 20, 60
_LONG_S = 8  # of the long video
# A notebook: what nearly all of them import, and one figure.
_CELLS = (
    "from melib.app import pictures, prediction\nfrom melib.paper import style\n"
    "from melib.study import ablations, spotting_runs\nfrom melib.study.run import begin\nbegin(run, 'smoke')",
    "style.save(pictures.shapes(), run, 'drawn')",
)


def count_windows(windows: pd.DataFrame, by: str) -> pd.DataFrame:
    """Windows, those that hold a whole event, and events that are scored, by subject or video."""
    whole = windows[(windows["event"] != "") & windows["complete"]]
    parts = (windows.groupby(by).size(), whole.groupby(by).size(), whole.groupby(by)["event"].nunique())
    return pd.DataFrame(dict(zip(WINDOWS, parts, strict=True))).fillna(0)


def network_of(fit: FitSettings) -> str:
    """What a training step's cost depends on; what a network is shown changes its first layer alone."""
    return f"{fit.model} {fit.constant_frame} {fit.width} {fit.hidden} {fit.layers}"


def measure(
    run: Run,
    scratch: Path,
    nets: Sequence[FitSettings],
    bodies: Sequence[spotting.Fit],
    licensed: tuple[Study | None, Study | None],
    todo: set[str],
) -> dict[str, float]:
    """Do one of everything that a run will do many times, in as many processes as it will use.

    Parameters
    ----------
    run : Run
    scratch : Path
        A folder that every process sees; what is made is left there.
    nets : list of FitSettings
        Networks whose training step is timed.
    bodies : list of spotting.Fit
        The same of the second paper.
    licensed : pair of Study or None
        Clips and long videos to look at; None where the run simulates.
    todo : set of str
        What the notebooks call for.

    Returns
    -------
    dict
        Name -> seconds of one frame, window, sample, event, step, notebook or figure; "name bytes" -> what it leaves on
        disk; "process" and "... memory" -> bytes in memory.
    """
    began = time.perf_counter()
    about = (run, nets, bodies, licensed, todo)
    tasks = [(scratch / str(number), number, *about) for number in range(workers.count_workers(run.jobs))]
    done = list(workers.run_jobs(_measure, tasks, run.jobs, label="one of everything", unit="process"))
    one = {name: statistics.median_low([part[name] for part in done]) for name in done[0]}
    one["start"] = time.perf_counter() - began - max(part["busy"] for part in done)
    return one | _notebook(scratch)


class _Clock(dict):
    """Name -> seconds of this process on a processor; and what it left in a folder, bytes."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    @contextlib.contextmanager
    def timed(self, name: str, n: float = 1.0) -> Iterator[None]:
        """What is done n times."""
        before, start = _bytes(self.folder), time.process_time()
        yield
        self[name] = (time.process_time() - start) / n
        self[f"{name} bytes"] = (_bytes(self.folder) - before) / n


def _each(do: Callable[[int], Any], few: int, many: int) -> float:
    """Seconds of one more, without what it takes to begin, or to do it the first time."""
    do(few)
    spent = []
    for n in (few, many):
        start = time.process_time()
        do(n)
        spent.append(time.process_time() - start)
    return max((spent[1] - spent[0]) / (many - few), 0.0)


def _measure(
    folder: Path,
    number: int,
    run: Run,
    nets: Sequence[FitSettings],
    bodies: Sequence[spotting.Fit],
    licensed: tuple[Study | None, Study | None],
    todo: set[str],
) -> dict[str, float]:
    """All of it in one worker process."""
    began, used = time.perf_counter(), time.process_time()
    own = replace(run, folder=folder / "run", seed=run.seed + number, data={}, jobs=1)
    one = _Clock(folder)
    one["process"] = float(psutil.Process().memory_full_info().uss)
    # Bars of what is timed would only disturb.
    with contextlib.redirect_stderr(io.StringIO()):
        fitted = None
        if licensed[0] is not None or not run.data:
            fitted = _measure_clips(own, one, number, nets, licensed[0])
        asks_long = todo & {"long_videos", "motion", "systems", "factorial", "probes"}
        if asks_long and "spotting" in run.settings and (licensed[1] or not run.data):
            _measure_long(own, one, number, bodies, licensed[1], fitted)
    one["busy"] = time.perf_counter() - began
    one["stretch"] = max(1.0, one["busy"] / (time.process_time() - used))
    return dict(one)


def _some(study: Study, number: int, n: int) -> Study:
    """Some videos of a licensed data set that hold an event, others for every process."""
    used = study.events[study.events["status"] != "dropped"]
    having = study.videos[study.videos["video"].isin(used["video"])].sort_values("n_frames", kind="stable")
    middle = np.arange(n) + number * n + max(0, len(having) // 2 - n)
    return replace(study, videos=having.iloc[np.unique(middle % len(having))].reset_index(drop=True))


def _measure_clips(
    own: Run, one: _Clock, number: int, nets: Sequence[FitSettings], licensed: Study | None
) -> Any:
    """Clips, what is made of their pixels, and the networks; the widest one that was fitted on flow."""
    if licensed is None:
        spec = own.settings["data"][0] | {"people": 1}
        out, empty = own.folder / "data", min(1, spec["empty"])
        parts = {"warm": {"clips": 1, "empty": 0}, "timed": {"clips": min(2, spec["clips"]), "empty": empty}}
        for name, part in parts.items():  # what is done once a process is done by the first one
            with one.timed("clip", sum(part.values())):
                simulate.write_clips(out / name, seed=own.seed, jobs=1, **spec | {"name": name} | part)
        warm, study = (open_study(out / name / "manifest.yml", out / name) for name in parts)
    else:
        few = _some(licensed, number, 3)
        warm, study = replace(few, videos=few.videos[:1]), replace(few, videos=few.videos[1:])
    with_clips(warm, own)
    frames = float(study.videos["n_frames"].sum())
    one["clip frames"], one["clip step"] = frames / len(study.videos), float(spotting.samples_apart(study))
    with one.timed("face", frames):
        study = with_clips(study, own)
    prepared: Any = None
    for protocol in intensity.protocols_of(own, study):
        windows = intensity.draw_windows(study, protocol, study.videos, own)
        with one.timed(f"inputs {protocol}", len(windows)):
            prepared = intensity.prepare_windows(study, protocol, own)
        held = prepared.load(np.arange(1))
        one[f"held {protocol}"] = float(held.raw.nbytes + held.flow.nbytes)
        counts = count_windows(prepared.table, "video").reindex(study.videos["video"]).fillna(0)
        having = counts.index.isin(study.events["video"])
        for kind, rows in (("clips", having), ("empty", ~having)):
            for name in WINDOWS:
                one[f"{protocol} {kind} {name}"] = float(counts.loc[rows, name].mean()) if rows.any() else 0.0
    used = None
    for fit in nets:
        fitted = _measure_network(fit, prepared, one)
        if (fit.model, fit.input, fit.constant_frame) == ("resnet18_bigru", "flow", False):
            used = fitted if used is None or fit.width > used.settings.width else used
    return used


def _measure_network(fit: FitSettings, prepared: Any, one: _Clock) -> Any:
    """A training step and a look, each of one frame."""
    name, n = network_of(fit), int(np.clip(_TIMED // fit.width, 2, fit.batch))
    frames, peak, fitted = n * prepared.pseudo.shape[1], _peak(), None

    def windows(n: int) -> Any:
        return prepared.load(np.resize(np.arange(len(prepared.table)), n))

    def train(epochs: int) -> None:
        nonlocal fitted
        settings = replace(fit, epochs=epochs, patience=epochs, batch=n, weights=None)
        fitted = learn.windows.fit_windows(settings, windows(n), windows(n), 0)

    epoch = _each(train, 2, 4)
    see = _each(lambda times: learn.windows.predict_windows(fitted, windows(times * n)), 1, 3)
    one[f"{name} step"], one[f"{name} see"] = max(epoch - see, see) / frames, see / frames
    one[f"{name} bytes"], one[f"{name} memory"] = _size(fitted), (_peak() - peak) / frames
    return fitted


def _measure_long(
    own: Run, one: _Clock, number: int, bodies: Sequence[spotting.Fit], licensed: Study | None, fitted: Any
) -> None:
    options, curves = own.settings["spotting"], None
    if licensed is None:
        spec = own.settings["limits"]["probe"] | {"people": 1, "videos": 1, "micro": 3}
        out = own.folder / "data" / "timed_long"
        with one.timed("long", _LONG_S * simulate.long.FPS):
            simulate.write_long(
                out, seed=own.seed, jobs=1, **spec | {"name": out.name, "seconds": (_LONG_S,) * 2}
            )
        study = open_study(out / "manifest.yml", out)
    else:
        study = _some(licensed, number, 1)
    samples = float(study.videos["n_frames"].sum()) / spotting.samples_apart(study)
    with one.timed("motion", samples):
        spotting.prepare_videos(study, own, windows=False)
    with one.timed("recipe", samples):
        [video] = spotting.prepare_videos(study, own)
    for fit in bodies:
        peak, read, regressor = _peak(), spotting.sequences(video, fit), None
        settings = spotting.video_fit_settings(fit, options)

        def train(epochs: int, fit=fit, read=read, settings=settings) -> None:
            nonlocal regressor
            again = replace(settings, epochs=epochs, patience=epochs)
            mirror = None if fit.windowed else flow.MIRROR
            regressor = learn.videos.fit_regressor(again, read, read, 0, mirror=mirror)

        epoch = _each(train, 2, 4)
        with one.timed("see", samples):
            predicted = spotting.curves_of_videos(regressor, fit, [video], options["batch_of_windows"])
        curves = predicted if fit.body == spotting_runs.OURS.body else curves
        steps, see = np.ceil(sum(map(len, read)) / settings.segment / settings.batch), one["see"]
        one[f"{fit.body} step"] = max(epoch - see * samples, see * samples) / steps
        one[f"{fit.body} see"] = see
        one[f"{fit.body} bytes"], one[f"{fit.body} memory"] = _size(regressor), float(_peak() - peak)
    one["decode"] = _decoding(video, curves) / samples
    one["decode bytes"] = 0.0
    if licensed is None:
        _measure_probe(own, one, study, fitted, samples)


def _decoding(video: spotting.Video, curves: Any) -> float:
    """Seconds that our decoder takes for one more video, of those that it is fitted on and decodes."""
    if video.events_of("micro").empty:
        return 0.0
    fold = protocols.Fold(0, (video.subject,), (video.subject,), (video.subject,))
    fits = spotting_decoding.fits_of(spotting_runs.OURS, video.dataset, [fold], 0)

    def decode(n: int) -> None:
        videos = [replace(video, video=f"{video.video}_{i}") for i in range(n)]
        known = {(v.dataset, v.subject, v.video): curves[0] for v in videos}
        material = spotting_decoding.Material(
            video.dataset, videos, [fold], dict.fromkeys(fits, known), {}, {}, 0
        )
        spotting_decoding.decode_system(spotting_runs.OURS, material)

    return _each(decode, 1, 3) / 2  # each is fitted on and decoded


def _measure_probe(own: Run, one: _Clock, study: Study, fitted: Any, samples: float) -> None:
    """The intensity model on a whole video, the ideal observer, and a psychometric function."""
    apart = spotting.samples_apart(study)
    frames = manifest.frame_files(study.videos["folder"].iloc[0], study.manifest)[1][::apart]
    options = own.settings["windows"]["context"]
    stride = max(1, round(options["step"] * spotting.RATE))

    def look(n: int) -> None:
        dense = Dense(dict.fromkeys(range(n), fitted), len(frames), options["T"], stride)
        for part in faces.follow(frames, spotting.RATE):
            dense.feed(part)
        dense.curves()

    one["dense model"], one["dense model bytes"] = _each(look, 1, 2) / samples, 0.0
    with one.timed("dense", samples):
        look(1)
    one["dense"] = max(one["dense"] - one["dense model"], 0.0)
    with one.timed("ideal", len(study.events[study.events["kind"] == "micro"])):
        limits.ideal_limits(own, study)
    size, people = np.geomspace(0.02, 2.5, _EVENTS), np.arange(_EVENTS) % 6
    with one.timed("resample", _RESAMPLES * _EVENTS):
        psychometrics.fit_psychometric(size, size > np.roll(size, 7) / 3, people, guess=0.05, n=_RESAMPLES)


def _notebook(scratch: Path) -> dict[str, float]:
    """A notebook that imports what the others do, draws one figure, and becomes a page."""
    path, copy, drawn = scratch / "timed.ipynb", scratch / "notebooks" / "timed.ipynb", scratch / "drawn"
    parameters = nbformat.v4.new_code_cell("run = ''", metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [parameters, *map(nbformat.v4.new_code_cell, _CELLS)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    began = time.perf_counter()
    runner.execute(path, copy, {"run": str(drawn)})
    figure = nbformat.read(copy, as_version=4).cells[-1].metadata["papermill"]["duration"]
    taken = time.perf_counter() - began - figure
    return {"notebook": taken, "figure": figure, "figure bytes": _bytes(drawn / "figures")}


def _size(fitted: Any) -> float:
    return float(sum(value.nbytes for value in fitted.state.values()))


def _bytes(folder: Path) -> float:
    return float(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()))


def _peak() -> int:
    """Most memory that this process ever had, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
