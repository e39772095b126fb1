"""One of everything that a run does many times, timed on this machine: what `melib run --plan` reckons with.

    a worker process   a clip, its face, its windows; a training step of each network; a long video, its features, ...
    this process       a notebook that imports what the others do, draws one figure, and becomes a page

As many processes as the run will use do the same at the same time, so that they share the machine as they will in the run.
Each thing is timed in seconds of the processor, which nobody else's moment of work disturbs; how many seconds by the clock
that is (`stretch`) comes from all of them together. What a process does first is done once before the clock starts.
"""

import contextlib
import io
import json
import resource
import statistics
import time
from collections.abc import Iterator, Sequence
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
_LONG_S = 8.0  # of the long video


def count_windows(windows: pd.DataFrame, by: str) -> pd.DataFrame:
    """Windows, those that hold a whole event, and events that are scored, by subject or video."""
    whole = windows[(windows["event"] != "") & windows["complete"]]
    parts = (windows.groupby(by).size(), whole.groupby(by).size(), whole.groupby(by)["event"].nunique())
    return pd.DataFrame(dict(zip(WINDOWS, parts, strict=True))).fillna(0)


def network_of(fit: FitSettings) -> tuple:
    """What a training step's cost depends on."""
    return fit.model, fit.input, fit.constant_frame, fit.width, fit.hidden, fit.layers


def measure(
    run: Run,
    scratch: Path,
    nets: Sequence[FitSettings],
    bodies: Sequence[spotting.Fit],
    licensed: tuple[Study | None, Study | None],
    todo: set[str],
) -> dict[str, Any]:
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
        Seconds and bytes of one frame, window, sample, event, step, notebook, figure or process.
    """
    began = time.perf_counter()
    tasks = [
        (scratch / str(number), run, number, nets, bodies, licensed, todo)
        for number in range(workers.count_workers(run.jobs))
    ]
    done = list(workers.run_jobs(_measure, tasks, run.jobs, label="one of everything", unit="process"))
    one = _median(done)
    one["start"] = time.perf_counter() - began - max(measured["busy"] for measured in done)
    return one | _notebook(run, scratch)


def _median(parts: Sequence[Any]) -> Any:
    """Of numbers that lie at the same place in dicts of dicts."""
    if isinstance(parts[0], dict):
        return {name: _median([part[name] for part in parts]) for name in parts[0]}
    return statistics.median_low(parts)


class _Clock(dict):
    """Seconds by name: those of this process on a processor."""

    now = staticmethod(time.process_time)

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = self.now()
        yield
        self[name] = self.now() - start


def _measure(
    folder: Path,
    run: Run,
    number: int,
    nets: Sequence[FitSettings],
    bodies: Sequence[spotting.Fit],
    licensed: tuple[Study | None, Study | None],
    todo: set[str],
) -> dict[str, Any]:
    """All of it in one worker process."""
    began, used = time.perf_counter(), time.process_time()
    own = replace(run, folder=folder / "run", seed=run.seed + number, data={}, jobs=1)
    one: dict[str, Any] = {"process": _resident(), "nets": {}, "bodies": {}}
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
    return one


def _some(study: Study, number: int, n: int) -> Study:
    """Some videos of a licensed data set that hold an event, others for every process."""
    used = study.events[study.events["status"] != "dropped"]
    having = study.videos[study.videos["video"].isin(used["video"])].sort_values("n_frames", kind="stable")
    middle = np.arange(n) + number * n + max(0, len(having) // 2 - n)
    return replace(study, videos=having.iloc[np.unique(middle % len(having))].reset_index(drop=True))


def _measure_clips(
    own: Run, one: dict, number: int, nets: Sequence[FitSettings], licensed: Study | None
) -> Any:
    clock = _Clock()
    if licensed is None:
        spec = own.settings["data"][0] | {"people": 1}
        for name, clips, empty in (("warm", 1, 0), ("timed", min(2, spec["clips"]), min(1, spec["empty"]))):
            out = own.folder / "data" / name
            with clock("clip"):  # what is done once a process is done by the first one
                simulate.write_clips(
                    out, seed=own.seed, jobs=1, **spec | {"name": name, "clips": clips, "empty": empty}
                )
            studies = [open_study(place / "manifest.yml", place) for place in out.parent.iterdir()]
        warm, study = sorted(studies, key=lambda study: len(study.videos))
    else:
        few = _some(licensed, number, 3)
        warm, study = replace(few, videos=few.videos[:1]), replace(few, videos=few.videos[1:])
    with_clips(warm, own)
    frames = float(study.videos["n_frames"].sum())
    one["clip_frames"] = frames / len(study.videos)
    one["clip_step"] = float(spotting.samples_apart(study))
    one["clip"] = clock.get("clip", 0.0) / frames
    one["clip_bytes"] = _bytes(study.root) / frames if licensed is None else 0.0
    before = _bytes(own.cache)
    with clock("face"):
        study = with_clips(study, own)
    one["face"], one["face_bytes"] = clock["face"] / frames, (_bytes(own.cache) - before) / frames
    one["windows"], prepared = {}, None
    for protocol in intensity.protocols_of(own, study):
        before = _bytes(own.cache)
        with clock("inputs"):
            prepared = intensity.prepare_windows(study, protocol, own)
        n = len(prepared.table)
        one[f"inputs {protocol}"] = clock["inputs"] / n
        one[f"bytes {protocol}"] = (_bytes(own.cache) - before) / n
        held = prepared.load(np.arange(1))
        one[f"held {protocol}"] = float(held.raw.nbytes + held.flow.nbytes)
        counts = count_windows(prepared.table, "video").reindex(study.videos["video"]).fillna(0)
        having = counts.index.isin(study.events["video"])
        parts = {"event": having, "empty": ~having}
        one["windows"][protocol] = {
            part: {name: float(counts.loc[rows, name].mean()) if rows.any() else 0.0 for name in WINDOWS}
            for part, rows in parts.items()
        }
    used = None
    for fit in nets:
        fitted, one["nets"][network_of(fit)] = _measure_network(fit, prepared, clock)
        if (fit.model, fit.input, fit.constant_frame) == ("resnet18_bigru", "flow", False):
            used = fitted if used is None or fit.width > used.settings.width else used
    # What a network is shown changes its first layer alone: each takes the middle of its kin's.
    alone = {key: dict(costs) for key, costs in one["nets"].items()}
    for key, costs in one["nets"].items():
        kin = [other for name, other in alone.items() if (name[0], *name[2:]) == (key[0], *key[2:])]
        costs |= {name: statistics.median_low([other[name] for other in kin]) for name in ("step", "see")}
    return used


def _measure_network(fit: FitSettings, prepared: Any, clock: _Clock) -> tuple[Any, dict[str, float]]:
    """A training step and a look, each of one frame."""
    n = int(np.clip(_TIMED // fit.width, 2, fit.batch))
    windows = prepared.load(np.resize(np.arange(len(prepared.table)), n))
    frames, peak = n * prepared.pseudo.shape[1], _peak()
    for epochs in (2, 4):
        with clock(f"{epochs} epochs"):
            settings = replace(fit, epochs=epochs, patience=epochs, batch=n, weights=None)
            fitted = learn.windows.fit_windows(settings, windows, windows, 0)
    for times in (1, 3):  # the difference leaves out what it takes to set a network up
        with clock(f"{times} looks"):
            learn.windows.predict_windows(
                fitted, prepared.load(np.resize(np.arange(len(prepared.table)), times * n))
            )
    see = max((clock["3 looks"] - clock["1 looks"]) / 2, 0.0)
    step = max((clock["4 epochs"] - clock["2 epochs"]) / 2 - see, see)
    size = float(sum(value.nbytes for value in fitted.state.values()))
    return fitted, {
        "step": step / frames,
        "see": see / frames,
        "bytes": size,
        "memory": (_peak() - peak) / frames,
    }


def _measure_long(
    own: Run, one: dict, number: int, bodies: Sequence[spotting.Fit], licensed: Study | None, fitted: Any
) -> None:
    clock = _Clock()
    if licensed is None:
        probe = own.settings["limits"]["probe"]
        spec = probe | {
            "people": 1,
            "videos": 1,
            "seconds": (_LONG_S, _LONG_S),
            "micro": min(3, probe["micro"]),
        }
        out = own.folder / "data" / "timed_long"
        with clock("long"):
            simulate.write_long(out, name="timed_long", seed=own.seed, jobs=1, **spec)
        study = open_study(out / "manifest.yml", out)
    else:
        study = _some(licensed, number, 1)
        study = replace(study, videos=study.videos.nsmallest(1, "n_frames"))
    frames = float(study.videos["n_frames"].sum())
    samples = frames / spotting.samples_apart(study)
    one["long"], one["long_bytes"] = (
        clock.get("long", 0.0) / frames,
        _bytes(own.folder / "data" / "timed_long") / frames,
    )
    with clock("motion"):
        spotting.prepare_videos(study, own, windows=False)
    with clock("recipe"):
        [video] = spotting.prepare_videos(study, own)
    one["motion"], one["recipe"] = clock["motion"] / samples, clock["recipe"] / samples
    options, curves = own.settings["spotting"], None
    for fit in bodies:
        peak, read = _peak(), spotting.sequences(video, fit)
        for epochs in (2, 4):
            settings = replace(spotting.video_fit_settings(fit, options), epochs=epochs, patience=epochs)
            with clock(f"{epochs} epochs"):
                regressor = learn.videos.fit_regressor(
                    settings, read, read, 0, mirror=None if fit.windowed else flow.MIRROR
                )
        with clock("see"):
            predicted = spotting.curves_of_videos(regressor, fit, [video], options["batch_of_windows"])
        curves = predicted if fit.body == spotting_runs.OURS.body else curves
        steps = np.ceil(sum(map(len, read)) / settings.segment / settings.batch)
        one["bodies"][fit.body] = {
            "step": max((clock["4 epochs"] - clock["2 epochs"]) / 2 - clock["see"], clock["see"]) / steps,
            "see": clock["see"] / samples,
            "bytes": float(sum(value.nbytes for value in regressor.state.values())),
            "memory": float(_peak() - peak),
        }
    one["decode"] = _decoding(video, curves, clock) / samples
    if licensed is None:
        _measure_probe(own, one, study, fitted, samples, clock)


def _decoding(video: spotting.Video, curves: Any, clock: _Clock) -> float:
    """Seconds that our decoder takes for one more video, of those that it is fitted on and decodes."""
    if video.events_of("micro").empty:
        return 0.0
    fold = protocols.Fold(0, (video.subject,), (video.subject,), (video.subject,))
    fits = spotting_decoding.fits_of(spotting_runs.OURS, video.dataset, [fold], 0)
    for n in (1, 1, 3):  # once so that it is compiled
        videos = [replace(video, video=f"{video.video}_{i}") for i in range(n)]
        known = {(v.dataset, v.subject, v.video): curves[0] for v in videos}
        everything = spotting_decoding.Material(
            video.dataset, videos, [fold], dict.fromkeys(fits, known), {}, {}, 0
        )
        with clock(f"{n} videos"):
            spotting_decoding.decode_system(spotting_runs.OURS, everything)
    return max(clock["3 videos"] - clock["1 videos"], 0.0) / 4  # each is fitted on and decoded


def _measure_probe(own: Run, one: dict, study: Study, fitted: Any, samples: float, clock: _Clock) -> None:
    """The intensity model on a whole video, the ideal observer, and a psychometric function."""
    frames = manifest.frame_files(study.videos["folder"].iloc[0], study.manifest)[1][
        :: spotting.samples_apart(study)
    ]
    options = own.settings["windows"]["context"]
    stride = max(1, round(options["step"] * spotting.RATE))
    for n in (1, 2):
        with clock(f"{n} models"):
            dense = Dense(dict.fromkeys(range(n), fitted), len(frames), options["T"], stride)
            for part in faces.follow(frames, spotting.RATE):
                dense.feed(part)
            dense.curves()
    model = max(clock["2 models"] - clock["1 models"], 0.0)
    one["dense_model"], one["dense"] = model / samples, (clock["1 models"] - model) / samples
    with clock("ideal"):
        known = limits.ideal_limits(own, study)
    one["ideal"] = clock["ideal"] / len(known)
    size = np.geomspace(0.02, 2.5, _EVENTS)
    people = np.arange(_EVENTS) % 6
    with clock("resample"):
        psychometrics.fit_psychometric(size, size > np.roll(size, 7) / 3, people, guess=0.05, n=_RESAMPLES)
    one["resample"] = clock["resample"] / _RESAMPLES / _EVENTS


def _notebook(run: Run, scratch: Path) -> dict[str, float]:
    """A notebook that imports what the others do, draws one figure, and becomes a page."""
    source = next(
        path for path in reversed(runner.find_notebooks()) if "work" in runner.notebook_metadata(path)
    )
    book = nbformat.read(source, as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    last = next(number for number, cell in enumerate(code) if "begin(run" in cell.source)
    drawing = "from melib.app import pictures\nfrom melib.paper import style\n"
    drawing += "style.save(pictures.shapes(), run, 'drawn')"
    book.cells = [*code[: last + 1], nbformat.v4.new_code_cell(drawing)]
    path, copy = scratch / "timed.ipynb", scratch / "notebooks" / "timed.ipynb"
    nbformat.write(book, path)
    folder = scratch / "drawn"
    given = {
        "run": str(folder),
        "profile": run.profile,
        "seed": run.seed,
        "data": json.dumps(dict(run.data)) if run.data else "",
    }
    began = time.perf_counter()
    runner.execute(path, copy, given)
    taken = time.perf_counter() - began
    figure = nbformat.read(copy, as_version=4).cells[-1].metadata["papermill"]["duration"]
    return {
        "notebook": taken - figure,
        "figure": figure,
        "figure_bytes": float(_bytes(folder / "figures")),
    }


def _bytes(folder: Path) -> float:
    return float(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()))


def _resident() -> float:
    """Memory of this process, bytes; of what it shares with others its part, where the system tells."""
    about = psutil.Process().memory_full_info()
    return float(getattr(about, "pss", about.uss))


def _peak() -> int:
    """Most memory that this process ever had, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
