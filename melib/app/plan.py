"""What a run will cost before anything runs: fits, disk, memory and hours, by notebook.

    settings, tables, folders  -->  counts   by the functions that make the run's own jobs
    one of everything          -->  seconds  in as many processes as the run will use, in a folder that is then removed
    counts x seconds           -->  a row a notebook; what is finished counts nothing

A notebook's metadata say in "work" what it calls for (a method of `_Plan` each), and in "lesson" what it trains before
the reader's eyes. What two notebooks call for is paid by the first one, since the second finds it on disk. A fit is
reckoned to its last epoch; one that stops early costs less.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pandas as pd

from melib import protocols
from melib.app import runner
from melib.app.timing import LESSON, WINDOWS, count_windows, measure, network_of
from melib.data import workers
from melib.learn.windows import FitSettings
from melib.simulate import folder as simulated
from melib.simulate import long
from melib.study import ablations, intensity, limits, spotting, spotting_decoding, spotting_runs
from melib.study.data import Study, folds_of, named
from melib.study.run import Run, places_of, profile_settings

COLUMNS = ["notebook", "videos", "fits", "disk_gb", "memory_gb", "seconds"]
_GB = 1e9


def plan_run(profile: str, **asked: Any) -> pd.DataFrame:
    """Reckon what a run will cost.

    Parameters
    ----------
    profile, **asked
        As in `runner.ask`.

    Returns
    -------
    DataFrame
        A row a notebook: notebook, videos (to be simulated), fits, disk_gb, memory_gb (of all processes together, at the
        most), seconds (by the clock). A finished notebook has none of them; ``attrs`` has ``workers``, how many processes.

    Raises
    ------
    DataError
        As `runner.ask`, and as the run would for tables and folders that it can't read.
    """
    wanted = runner.ask(profile, **asked)
    seed, data = int(wanted.common["seed"]), places_of(wanted.common["data"])
    run = Run(wanted.folder, profile, profile_settings(profile), seed, data)
    # Hashes of data are only asked for where something might be finished: a hundred gigabytes take minutes.
    recorded = any((wanted.folder / "notebooks").glob("0*.json"))
    contents = {n: runner.data_hash(n, place, run.cache) for n, place in wanted.places.items() if recorded}
    done = {
        path: recorded and runner.notebook_finished(path, run.folder, parameters, contents)
        for path, parameters in wanted.notebooks.items()
    }
    place = next(folder for folder in run.folder.parents if folder.is_dir())
    engine = (asked.get("engine", "local"), asked.get("scheduler", ""))
    with tempfile.TemporaryDirectory(prefix=".melib-plan-", dir=place) as scratch:
        if all(done.values()):
            table, processes = pd.DataFrame([_row(path, _Cost()) for path in done]), 0
        else:
            with workers.use(*engine, scratch):
                plan = _Plan(run, Path(scratch), [path for path in done if not done[path]])
                table = pd.DataFrame([plan.notebook(path, done[path]) for path in done])
                processes = plan.processes
    table.attrs["workers"] = processes
    return table


def screen(table: pd.DataFrame) -> tuple[list[str], list[tuple[str, ...]]]:
    """Titles and rows of `plan_run`'s table for the screen, the sum last."""
    total = {name: table[name].sum() for name in COLUMNS[1:]} | {"notebook": "together"}
    total["memory_gb"] = table["memory_gb"].max()
    forms = "{notebook}|{videos:.0f}|{fits:.0f}|{disk_gb:.2f}|{memory_gb:.1f}"
    rows = [
        (*forms.format(**row).split("|"), _time(row["seconds"])) for row in [*table.to_dict("records"), total]
    ]
    return ["notebook", "videos to simulate", "fits", "disk, GB", "memory, GB", "time"], rows


def _time(seconds: float) -> str:
    if not seconds:
        return "finished"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def caption(table: pd.DataFrame) -> str:
    """What the table stands on."""
    if not table.attrs["workers"]:
        return "Everything is finished."
    return (
        f"By the clock with {table.attrs['workers']} processes, as fast as this machine was just now; every fit to its last "
        "epoch. Nothing was run."
    )


@dataclass
class _Cost:
    """Of one notebook; ``parallel`` seconds on a processor, in whatever process; ``job`` bytes of the largest job."""

    videos: int = 0
    fits: int = 0
    disk: float = 0.0
    job: float = 0.0
    parallel: float = 0.0


def _row(path: Path, cost: _Cost, disk: float = 0.0, memory: float = 0.0, seconds: float = 0.0) -> dict:
    cells = (path.stem, cost.videos, cost.fits, disk / _GB, memory / _GB, seconds)
    return dict(zip(COLUMNS, cells, strict=True))


@dataclass(frozen=True)
class _Clips:
    """A data set of clips as it is counted: native frames in sum; protocol -> windows by subject (`count_windows`)."""

    name: str
    frames: float
    windows: dict
    truth: bool


class _Plan:
    """Counts of a run, and what one of each costs; its methods without underscore are the words of a notebook's "work"."""

    def __init__(self, run: Run, scratch: Path, todo: Sequence[Path]) -> None:
        self.run, self.settings, self.scratch = run, run.settings, scratch
        self.todo = {work for path in todo for work in runner.notebook_metadata(path).get("work", ())}
        self.processes = workers.count_workers(run.jobs)
        self.made: set[str] = set()
        self.fits: set = set()  # of both papers, those of notebooks before
        self.cost = _Cost()

    def notebook(self, path: Path, finished: bool) -> dict:
        """One row of the table; what a finished notebook called for is there for the others."""
        about = runner.notebook_metadata(path)
        self.cost = cost = _Cost()
        self._need(*about.get("work", ()))
        if finished:
            return _row(path, _Cost())
        cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        one, figures = self.one, sum("fig" in source for source in cells)
        seconds = one["notebook"] + figures * one["figure"] + (one["start"] if about.get("work") else 0)
        parallel = cost.parallel / self.processes
        seconds += one["stretch"] * (self._lesson(about.get("lesson")) + parallel)
        memory = one["process"] * (1 + self.processes) + cost.job * self.processes
        return _row(path, cost, cost.disk + figures * one["figure bytes"], memory, seconds)

    def _need(self, *works: str) -> None:
        for work in works:
            if work not in self.made:
                self.made.add(work)
                getattr(self, work)()

    def _pay(self, name: str, n: float) -> None:
        self.cost.parallel += n * self.one[name]
        self.cost.disk += n * self.one[f"{name} bytes"]

    def _pay_fit(self, seconds: float, disk: float, job: float) -> None:
        self.cost.fits += 1
        self.cost.parallel += seconds
        self.cost.disk += disk
        self.cost.job = max(self.cost.job, job)

    # What is simulated, and what is made of its pixels

    def _simulate(self, spec: dict, n: int, kind: str, frames: float = 1.0) -> None:
        """Videos of a specification that aren't there yet, n a person; each of so many frames, or one clip."""
        out = self.run.folder / "data" / spec["name"]
        numbers = [(person, number) for person in range(1, spec["people"] + 1) for number in range(1, n + 1)]
        missing = sum(not simulated.finished(out, *pair) for pair in numbers)
        self.cost.videos += missing
        self._pay(kind, missing * frames)

    def _simulate_all(self, key: str) -> None:
        for spec in self._specs(key):
            if "clips" in spec:
                self._simulate(spec, spec["clips"] + spec["empty"], "clip")
            else:
                self._simulate(spec, spec["videos"], "long", _frames(spec))

    def _see(self, key: str) -> None:
        """Faces of the clips of a part of the profile, and what is seen in their windows."""
        for clips in self._clips(key):
            self._pay("face", clips.frames)
            for protocol, table in clips.windows.items():
                self._pay(f"inputs {protocol}", table["windows"].sum())

    def clips(self) -> None:
        """Clips of the run."""
        self._simulate_all("data")

    def windows(self) -> None:
        """Their faces and windows."""
        self._need("clips")
        self._see("data")

    def transfer(self) -> None:
        """The same of the other field family."""
        self._simulate_all("transfer")
        self._see("transfer")

    def long_videos(self) -> None:
        """Long videos."""
        self._simulate_all("long")

    def motion(self) -> None:
        """Features of the long videos, of those of the other statistics, and of some clips."""
        self._need("clips", "long_videos")
        self._simulate_all("long_transfer")
        known = sum(counts.samples.sum() for counts in self._long_sets()) + self._donor_samples()
        self._pay("motion", known + self._transfer_samples())
        self._pay("recipe", known)

    # Fits

    def intensity_grid(self) -> None:
        """The grid of the first paper."""
        self._need("windows", "transfer")
        trained = ["data", *["transfer"] * bool(self.settings.get("train_on_transfer"))]
        for clips in (clips for key in trained for clips in self._clips(key)):
            having = {protocol: set(table.index) for protocol, table in clips.windows.items()}
            folds = self._folds(clips)
            for job in intensity.study_jobs(clips.name, self.run, having, folds):
                self._fit_windows(job, self.settings["fit"], clips, folds[job.fold])

    def intensity_variants(self) -> None:
        """Its variants."""
        self._need("intensity_grid")
        for clips in self._clips("data"):
            for protocol, table in clips.windows.items():
                tested = [fold for fold in self._folds(clips) if set(fold.test) & set(table.index)]
                for line, name, seed in ablations.asked_of(self.run, protocol):
                    for fold in tested:
                        job, budget = ablations.job_of(self.run, clips.name, line, name, fold.index, seed)
                        if job not in self.fits:
                            job = replace(job, variant=job.variant or "base")
                        self._fit_windows(job, budget, clips, fold)

    def _fit_windows(self, job: intensity.Job, budget: dict, clips: _Clips, fold: Any) -> None:
        if self._is_fitted(job):
            return
        one, fit, table = self.one, intensity.window_fit_settings(job, budget), clips.windows[job.protocol]
        net, T = network_of(fit), self.settings["windows"][job.protocol]["T"]
        train, validation, test = (
            table.reindex(part).fillna(0).sum() for part in (fold.train, fold.validation, fold.test)
        )
        if job.variant:  # asked for its curve, and whether it follows the apex of what is scored
            predicted = test["windows"] + len(intensity.SHIFTS) * test["scored"]
        else:  # shuffled and frozen, too, and windows of the same people in the other data set
            predicted = 3 * test["windows"] + len(intensity.SHIFTS) * test["complete"]
            others = self._clips("transfer") if clips.name in {s["name"] for s in self._specs("data")} else []
            predicted += sum(o.windows[job.protocol]["windows"].reindex(fold.test).sum() for o in others)
        forward = predicted + fit.epochs * validation["windows"]
        self._pay_fit(
            T * (fit.epochs * train["windows"] * one[f"{net} step"] + forward * one[f"{net} see"]),
            disk=0 if job.variant else one[f"{net} bytes"],
            job=(train["windows"] + validation["windows"]) * one[f"held {job.protocol}"]
            + fit.batch * T * one[f"{net} memory"],
        )

    def systems(self) -> None:
        """The systems of the second paper, with and without faults."""
        self._need("motion")
        faulty = spotting_runs.with_faults([spotting_runs.REPAIRED, spotting_runs.OURS])
        parts = [system for part in spotting_runs.PARTS.values() for system in part]
        for counts in self._long_sets():
            self._systems([*spotting_runs.SYSTEMS, *faulty, *parts], counts, self.run.seeds)
            if not self.run.data:
                self._dense(counts.samples, counts.folds, len(self.run.seeds))

    def factorial(self) -> None:
        """Its parts, each way; the decoders under every prior."""
        self._need("motion")
        full = self.settings["spotting"]["full_factorial"]
        for counts in self._long_sets():
            systems = [*spotting_runs.factorial(full), *spotting_runs.spotting_variants(full)]
            self._systems(systems, counts, self.run.seeds)

    def _systems(self, systems: list, counts: Any, seeds: Iterable[int]) -> None:
        """Fits of some systems, and the decoders that take longer than next to nothing."""
        for seed in seeds:
            self._fit_systems(systems, counts, seed)
            n = sum(system.decoder in ("semi_markov", "selector") for system in systems)
            held_out = (counts.samples.reindex((*f.validation, *f.test)).sum() for f in counts.folds)
            self._pay("decode", n * sum(held_out))

    def _fit_systems(self, systems: list, counts: Any, seed: int) -> None:
        for system in systems:
            for fit in spotting_decoding.fits_of(system, counts.name, counts.folds, seed):
                self._fit_videos(fit, counts)

    def _fit_videos(self, fit: spotting.Fit, counts: Any) -> None:
        if self._is_fitted(fit):
            return
        one, fold, people = self.one, counts.folds[fit.fold], max(1, len(counts.samples))
        settings = spotting.video_fit_settings(fit, self.settings["spotting"])
        train, validation, test = (
            counts.samples.reindex(part).sum() for part in (fold.train, fold.validation, fold.test)
        )
        if fit.published:
            train += validation
        if fit.windowed:  # each sample in two windows, those of clips, too
            donors = 0 if fit.published else self._donor_samples() * len(fold.train) / people
            train = 2 * (train + donors)
        steps = np.ceil(train / settings.segment / settings.batch)
        others = self._transfer_samples() * len((*fold.test, *fold.validation)) / people
        forward = settings.epochs * (test if fit.peek else validation) + test + validation + others
        self._pay_fit(
            settings.epochs * steps * one[f"{fit.body} step"] + forward * one[f"{fit.body} see"],
            disk=one[f"{fit.body} bytes"],
            job=one[f"{fit.body} memory"],
        )

    def _dense(self, samples: pd.Series, folds: Sequence, trainings: int) -> None:
        """Curves by the intensity model, each video by those of the folds that don't train on its subject."""
        judged = Counter(subject for fold in folds for subject in (*fold.validation, *fold.test))
        self._pay("dense", trainings * samples.sum())
        self._pay(
            "dense model", trainings * sum(samples.get(subject, 0) * n for subject, n in judged.items())
        )

    def probes(self) -> None:
        """Probe videos under every condition, what the systems of notebook 06 find in them, and the ideal observer."""
        self._need("motion")
        asked, counts = self.settings["limits"], self._long_sets()[0]
        systems = {
            part: [system for system in spotting_runs.SYSTEMS if system.name in names]
            for part, names in asked["systems"].items()
        }
        self._fit_systems(systems["base"], counts, self.run.seed)
        for condition in [*limits.conditions(self.run), limits.STILL]:
            base = condition == limits.BASE
            used = systems["base" if base else "others"]
            spec = limits.probe_settings(self.run, condition)
            samples = pd.Series(_samples(spec) * spec["videos"], counts.samples.index[: spec["people"]])
            events = spec["people"] * spec["videos"] * spec["micro"]
            if base or condition.spec:  # else they are those of the base
                self._simulate(spec, spec["videos"], "long", _frames(spec))
                self._pay("motion", samples.sum())
                self._pay("recipe", samples.sum() * any(system.features == "reference" for system in used))
                if any(system.needs_intensity for system in used):
                    self._dense(samples, counts.folds, 1)
            rates = len(asked["per_hour"]) if base else 1
            self._pay("resample", asked["resamples"] * rates * (len(used) + 1) * events)
            self._pay("decode", 2 * len(used) * samples.sum())
            self._pay("ideal", events * base)

    def _lesson(self, lesson: dict | None) -> float:
        """Fits that a notebook makes by hand: so many, over `epochs`, of at most `most` windows, in its own process."""
        if not lesson or not self._clips("data"):
            return 0.0
        clips = self._clips("data")[0]
        protocol, table = list(clips.windows.items())[-1]
        n = table["windows"].reindex(self._folds(clips)[0].train).fillna(0).sum()
        passes = max(lesson.get("least", 0), lesson["epochs"] * min(n, lesson.get("most", np.inf)))
        net, T = network_of(LESSON), self.settings["windows"][protocol]["T"]
        return lesson["fits"] * passes * T * (self.one[f"{net} step"] + self.one[f"{net} see"] / 4)

    def _is_fitted(self, fit: Any) -> bool:
        """Whether a fit is on disk, or was counted before; from now on it was."""
        before = fit in self.fits or (self.run.folder / "weights" / fit.name / "settings.yml").is_file()
        self.fits.add(fit)
        return before

    # What the run's data sets hold

    def _specs(self, key: str) -> list[dict]:
        return [] if self.run.data else self.settings[key]

    @cached_property
    def _own(self) -> tuple[list[Study], list[Study]]:
        """Licensed clips and long videos."""
        return (named(self.run, long=False), named(self.run, long=True)) if self.run.data else ([], [])

    def _clips(self, key: str) -> list[_Clips]:
        """What the licensed clips hold, or what the simulator will write: every person alike."""
        counted = []
        for study in self._own[0] if key == "data" else ():
            tables = {}
            for protocol in intensity.protocols_of(self.run, study):
                windows = intensity.draw_windows(study, protocol, study.videos, self.run)
                tables[protocol] = count_windows(windows, "subject")
            frames = study.videos["n_frames"].sum()
            counted.append(_Clips(study.name, frames, tables, study.truth is not None))
        for spec in self._specs(key):
            tables = {}
            for protocol in intensity.protocols_of(self.run):  # a clip has as many as it had in the sample
                row = {
                    name: sum(
                        spec[part] * self.one[f"{protocol} {part} {name}"] for part in ("clips", "empty")
                    )
                    for name in WINDOWS
                }
                tables[protocol] = pd.DataFrame(row, index=_people(spec))
            frames = spec["people"] * (spec["clips"] + spec["empty"]) * self.one["clip frames"]
            counted.append(_Clips(spec["name"], frames, tables, True))
        return counted

    def _folds(self, clips: _Clips) -> list:
        study = SimpleNamespace(name=clips.name, truth=True if clips.truth else None)
        subjects = {subject for table in clips.windows.values() for subject in table.index}
        return folds_of(study, self.run, subjects=subjects)

    def _long_sets(self) -> list:
        """name, samples (by subject) and folds of each data set of long videos."""
        counted: list[tuple[Any, pd.Series]] = [
            (study, study.videos.groupby("subject")["n_frames"].sum() / spotting.samples_apart(study))
            for study in self._own[1]
        ]
        for spec in self._specs("long"):
            expected = SimpleNamespace(name=spec["name"], truth=True)
            counted.append((expected, pd.Series(_samples(spec) * spec["videos"], _people(spec))))
        share = self.settings["spotting"]["validation_share"]
        sets = []
        for study, samples in counted:
            folds = folds_of(study, self.run, subjects=samples.index, validation_share=share)
            sets.append(SimpleNamespace(name=study.name, samples=samples, folds=folds))
        return sets

    def _transfer_samples(self) -> float:
        return sum(spec["people"] * spec["videos"] * _samples(spec) for spec in self._specs("long_transfer"))

    def _donor_samples(self) -> float:
        """Samples of the clips that the second paper's fits learn from, too."""
        donors = 0.0
        for spec in self._specs("data")[:1]:
            n = spec["people"] * min(spec["clips"], self.settings["spotting"]["clips"])
            donors += n * self.one["clip frames"] / self.one["clip step"]
        return donors

    # What one of each costs

    @cached_property
    def one(self) -> dict:
        """Seconds and bytes, measured once, by all processes at the same time."""
        # Of clips those that have windows of both protocols.
        clips = sorted(self._own[0], key=lambda study: not study.manifest.has_context)
        licensed = next(iter(clips), None), next(iter(self._own[1]), None)
        return measure(self.run, self.scratch, self._nets(), self._bodies(), licensed, self.todo)

    def _nets(self) -> list[FitSettings]:
        """Every network of the first paper's that is trained, and the lessons' one."""
        if self.run.data and not self._own[0]:
            return []
        jobs = [
            (intensity.Job("", "", spec["model"], spec["input"], 0, 0), self.settings["fit"])
            for specs in self.settings["fits"].values()
            for spec in specs
        ]
        for protocol in intensity.protocols_of(self.run):
            asked = ablations.asked_of(self.run, protocol)
            jobs += [ablations.job_of(self.run, "", line, name, 0, seed) for line, name, seed in asked]
        fits = [LESSON, *(intensity.window_fit_settings(job, budget) for job, budget in jobs)]
        return list({network_of(fit): fit for fit in fits}.values())

    def _bodies(self) -> list[spotting.Fit]:
        """A fit of each body; none where the profile has no second paper."""
        if "spotting" not in self.settings:
            return []
        full, fold = self.settings["spotting"]["full_factorial"], protocols.Fold(0, (), (), ())
        systems = [
            *spotting_runs.SYSTEMS,
            *spotting_runs.factorial(full),
            *spotting_runs.spotting_variants(full),
        ]
        fits = [fit for system in systems for fit in spotting_decoding.fits_of(system, "", [fold], 0)]
        return list({fit.body: fit for fit in reversed(fits)}.values())


def _people(spec: dict) -> list[str]:
    return [simulated.names(person, 1)[0] for person in range(1, spec["people"] + 1)]


def _frames(spec: dict) -> float:
    """Frames of a long video, by its mean length."""
    return float(np.mean(spec["seconds"])) * spec.get("fps", long.FPS)


def _samples(spec: dict) -> float:
    return float(np.mean(spec["seconds"])) * spotting.RATE
