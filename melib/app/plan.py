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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
from melib.study import (
    ablations,
    intensity,
    limits,
    spotting,
    spotting_decoding,
    spotting_runs,
)
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
    common = wanted.common
    run = Run(
        wanted.folder, profile, profile_settings(profile), int(common["seed"]), places_of(common["data"])
    )
    # Hashes of data are only asked for where something might be finished: a hundred gigabytes take minutes.
    recorded = any((wanted.folder / "notebooks").glob("0*.json"))
    contents = {n: runner.data_hash(n, place, run.cache) for n, place in wanted.places.items() if recorded}
    done = {
        path: recorded and runner.notebook_finished(path, run.folder, parameters, contents)
        for path, parameters in wanted.notebooks.items()
    }
    if all(done.values()):
        nothing = [(path.stem, 0, 0, 0.0, 0.0, 0.0) for path in done]
        return _table(nothing, 0)
    place = next(folder for folder in run.folder.parents if folder.is_dir())
    engine = (asked.get("engine", "local"), asked.get("scheduler", ""))
    with (
        tempfile.TemporaryDirectory(prefix=".melib-plan-", dir=place) as scratch,
        workers.use(*engine, scratch),
    ):
        plan = _Plan(run, Path(scratch), [path for path in done if not done[path]])
        rows = [plan.notebook(path, done[path]) for path in done]
    return _table(rows, plan.processes)


def _table(rows: list[tuple], processes: int) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=COLUMNS)
    table.attrs["workers"] = processes
    return table


def screen(table: pd.DataFrame) -> tuple[list[str], list[tuple[str, ...]]]:
    """Titles and rows of `plan_run`'s table for the screen, the sum last."""
    total = {name: table[name].sum() for name in COLUMNS[1:]} | {"notebook": "together"}
    total["memory_gb"] = table["memory_gb"].max()
    rows: list[tuple[str, ...]] = [
        (
            str(row["notebook"]),
            f"{row['videos']:.0f}",
            f"{row['fits']:.0f}",
            f"{row['disk_gb']:.2f}",
            f"{row['memory_gb']:.1f}",
            _time(row["seconds"]),
        )
        for row in [*table.to_dict("records"), total]
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


# ---- counts -----------------------------------------------------------------------------------------------------


@dataclass
class _Cost:
    """Of one notebook; ``parallel`` seconds on a processor, in whatever process; ``job`` bytes of the largest job."""

    videos: int = 0
    fits: int = 0
    disk: float = 0.0
    job: float = 0.0
    parallel: float = 0.0


@dataclass(frozen=True)
class _Counted:
    """A data set of clips as it is counted.

    ``name``; ``frames`` native frames of its videos in sum; ``windows`` protocol -> DataFrame by subject: windows, complete
    (hold a whole event), scored (one an event).
    """

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
        self._measured: dict[str, Any] | None = None
        self._own: tuple[list, list] | None = None

    def notebook(self, path: Path, finished: bool) -> tuple:
        """One row of the table; what a finished notebook called for is there for the others."""
        about = runner.notebook_metadata(path)
        self.cost = _Cost()
        for work in about.get("work", ()):
            self._need(work)
        if finished:
            return path.stem, 0, 0, 0.0, 0.0, 0.0
        one = self._one()
        cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        figures = sum("fig" in source for source in cells)
        serial = one["notebook"] + figures * one["figure"]
        serial += one["stretch"] * self._lesson(about.get("lesson"))
        serial += one["start"] if about.get("work") else 0
        memory = one["process"] * (1 + self.processes) + self.cost.job * self.processes
        seconds = serial + one["stretch"] * self.cost.parallel / self.processes
        disk = self.cost.disk + figures * one["figure_bytes"]
        return path.stem, self.cost.videos, self.cost.fits, disk / _GB, memory / _GB, seconds

    def _need(self, *works: str) -> None:
        for work in works:
            if work not in self.made:
                self.made.add(work)
                getattr(self, work)()

    def _add(
        self, seconds: float, *, disk: float = 0, job: float = 0, videos: int = 0, fits: int = 0
    ) -> None:
        self.cost.parallel += seconds
        self.cost.disk += disk
        self.cost.job = max(self.cost.job, job)
        self.cost.videos += videos
        self.cost.fits += fits

    # What is simulated, and what is made of its pixels

    def _simulate(self, spec: dict, n: int, kind: str, seconds: float = 0.0) -> None:
        """Videos of a specification that aren't there yet; of long ones the mean length in seconds is asked for."""
        out = self.run.folder / "data" / spec["name"]
        missing = sum(
            not simulated.finished(out, person, number)
            for person in range(1, spec["people"] + 1)
            for number in range(1, n + 1)
        )
        if missing:
            one = self._one()
            length = seconds * spec.get("fps", long.FPS) if seconds else one["clip_frames"]
            frames = missing * length
            self._add(frames * one[kind], disk=frames * one[f"{kind}_bytes"], videos=missing)

    def clips(self) -> None:
        """Clips of the run."""
        for spec in self._specs("data"):
            self._simulate(spec, _per_person(spec), "clip")

    def windows(self) -> None:
        """Their faces, and what is seen in their windows."""
        self._need("clips")
        for counted in self._clip_sets():
            self._see(counted)

    def transfer(self) -> None:
        """The same of the other field family."""
        for spec in self._specs("transfer"):
            self._simulate(spec, _per_person(spec), "clip")
        for counted in self._transfer_sets():
            self._see(counted)

    def _see(self, counted: _Counted) -> None:
        one = self._one()
        self._add(counted.frames * one["face"], disk=counted.frames * one["face_bytes"])
        for protocol, table in counted.windows.items():
            n = table["windows"].sum()
            self._add(n * one[f"inputs {protocol}"], disk=n * one[f"bytes {protocol}"])

    def long_videos(self) -> None:
        """Long videos."""
        for spec in self._specs("long"):
            self._simulate(spec, spec["videos"], "long", np.mean(spec["seconds"]))

    def motion(self) -> None:
        """Features of the long videos, of those of the other statistics, and of some clips."""
        self._need("clips", "long_videos")
        for spec in self._specs("long_transfer"):
            self._simulate(spec, spec["videos"], "long", np.mean(spec["seconds"]))
        one = self._one()
        for counts in self._long_sets():
            self._add(counts.samples.sum() * (one["motion"] + one["recipe"]))
        self._add(self._transfer_samples() * one["motion"])
        self._add(self._donor_samples() * (one["motion"] + one["recipe"]))

    # Fits

    def intensity_grid(self) -> None:
        """The grid of the first paper."""
        self._need("windows", "transfer")
        for counted, folds, jobs in self._grids():
            for job in jobs:
                self._fit_windows(job, self.settings["fit"], counted, folds[job.fold])

    def intensity_variants(self) -> None:
        """Its variants."""
        self._need("intensity_grid")
        for counted, folds, _ in self._grids(transfer=False):
            for job, budget, fold in self._variants(counted, folds):
                self._fit_windows(job, budget, counted, fold)

    def _variants(self, counted: _Counted, folds: Sequence) -> Iterator[tuple]:
        for protocol, table in counted.windows.items():
            tested = [fold for fold in folds if set(fold.test) & set(table.index)]
            for line, name, seed in ablations.asked_of(self.run, protocol):
                for fold in tested:
                    job, budget = ablations.job_of(self.run, counted.name, line, name, fold.index, seed)
                    if job not in self.fits:
                        yield replace(job, variant=job.variant or "base"), budget, fold

    def _fit_windows(self, job: intensity.Job, budget: dict, counted: _Counted, fold: Any) -> None:
        if job in self.fits:
            return
        self.fits.add(job)
        if self._is_fitted(job.name):
            return
        one, fit = self._one(), intensity.window_fit_settings(job, budget)
        net, table = one["nets"][network_of(fit)], counted.windows[job.protocol]
        train, validation, test = (
            table.reindex(part).fillna(0).sum() for part in (fold.train, fold.validation, fold.test)
        )
        T = self.settings["windows"][job.protocol]["T"]
        if job.variant:  # asked for its curve, and whether it follows the apex of what is scored
            predicted = test["windows"] + len(intensity.SHIFTS) * test["scored"]
        else:  # shuffled and frozen, too, and where another data set has them its windows of the same people
            predicted = 3 * test["windows"] + len(intensity.SHIFTS) * test["complete"]
            predicted += self._transferred(counted, job.protocol, fold)
        trained = fit.epochs * (train["windows"] * net["step"] + validation["windows"] * net["see"])
        held = (train["windows"] + validation["windows"]) * one[f"held {job.protocol}"]
        self._add(
            T * (trained + predicted * net["see"]),
            disk=0 if job.variant else net["bytes"],
            job=held + fit.batch * T * net["memory"],
            fits=1,
        )

    def _transferred(self, counted: _Counted, protocol: str, fold: Any) -> float:
        others = [other for other in self._transfer_sets() if other.name != counted.name]
        if counted.name in {other.name for other in self._transfer_sets()}:
            return 0.0
        tables = [other.windows[protocol] for other in others if protocol in other.windows]
        return sum(table["windows"].reindex(fold.test).fillna(0).sum() for table in tables)

    def systems(self) -> None:
        """The systems of the second paper, with and without faults."""
        self._need("motion")
        named_systems = [
            *spotting_runs.SYSTEMS,
            *spotting_runs.with_faults([spotting_runs.REPAIRED, spotting_runs.OURS]),
            *(system for part in spotting_runs.PARTS.values() for system in part),
        ]
        self._systems(named_systems)
        if not self.run.data:
            for counts in self._long_sets():
                self._dense(counts.samples, counts.folds, len(self.run.seeds))

    def factorial(self) -> None:
        """Its parts, each way; the decoders under every prior."""
        self._need("motion")
        full = self.settings["spotting"]["full_factorial"]
        self._systems([*spotting_runs.factorial(full), *spotting_runs.spotting_variants(full)])

    def _systems(self, systems: list) -> None:
        for counts in self._long_sets():
            for seed in self.run.seeds:
                for fit in {
                    fit: None
                    for system in systems
                    for fit in spotting_decoding.fits_of(system, counts.name, counts.folds, seed)
                }:
                    self._fit_videos(fit, counts)
                # The other rules take next to nothing.
                n = sum(system.decoder in ("semi_markov", "selector") for system in systems)
                self._add(n * self._held_out(counts) * self._one()["decode"])

    def _held_out(self, counts: Any) -> float:
        """Samples of validation and test subjects, over all folds."""
        return sum(counts.samples.reindex((*f.validation, *f.test)).sum() for f in counts.folds)

    def _fit_videos(self, fit: spotting.Fit, counts: Any) -> None:
        if fit in self.fits:
            return
        self.fits.add(fit)
        if self._is_fitted(fit.name):
            return
        one, fold = self._one(), counts.folds[fit.fold]
        net = one["bodies"][fit.body]
        settings = spotting.video_fit_settings(fit, self.settings["spotting"])
        part = {
            name: counts.samples.reindex(getattr(fold, name)).sum()
            for name in ("train", "validation", "test")
        }
        if fit.published:
            part["train"] += part["validation"]
        trained_on = part["train"]
        if fit.windowed:  # each sample in two windows, those of clips, too
            donors = (
                0 if fit.published else self._donor_samples() * len(fold.train) / max(1, len(counts.samples))
            )
            trained_on = 2 * (trained_on + donors)
        steps = np.ceil(trained_on / settings.segment / settings.batch)
        judged = part["test" if fit.peek else "validation"]
        others = (
            self._transfer_samples() * (len(fold.test) + len(fold.validation)) / max(1, len(counts.samples))
        )
        predicted = part["test"] + part["validation"] + others
        self._add(
            settings.epochs * (steps * net["step"] + judged * net["see"]) + predicted * net["see"],
            disk=net["bytes"],
            job=net["memory"],
            fits=1,
        )

    def _dense(self, samples: pd.Series, folds: Sequence, trainings: int) -> None:
        """Curves by the intensity model, each video by those of the folds that don't train on its subject."""
        one = self._one()
        judged = Counter(subject for fold in folds for subject in (*fold.validation, *fold.test))
        by_model = sum(samples.get(subject, 0) * n for subject, n in judged.items())
        self._add(trainings * (samples.sum() * one["dense"] + by_model * one["dense_model"]))

    def probes(self) -> None:
        """Probe videos under every condition, what the systems of notebook 06 find in them, and the ideal observer."""
        self._need("motion")
        asked = self.settings["limits"]
        base, others = (
            [s for s in spotting_runs.SYSTEMS if s.name in asked["systems"][part]]
            for part in ("base", "others")
        )
        counts = self._long_sets()[0]
        for fit in {
            f for s in base for f in spotting_decoding.fits_of(s, counts.name, counts.folds, self.run.seed)
        }:
            self._fit_videos(fit, counts)
        for condition in [*limits.conditions(self.run), limits.STILL]:
            systems = base if condition == limits.BASE else others
            spec = asked["probe"] | condition.spec | {"name": limits.probe_name(condition)}
            seconds, n = float(np.mean(spec["seconds"])), spec["people"] * spec["videos"]
            samples = pd.Series(
                seconds * spotting.RATE * spec["videos"], counts.samples.index[: spec["people"]]
            )
            fresh = condition == limits.BASE or bool(condition.spec)
            if fresh:
                self._simulate(spec, spec["videos"], "long", seconds)
            one = self._one()
            if fresh:
                reference = any(system.features == "reference" for system in systems)
                self._add(samples.sum() * (one["motion"] + one["recipe"] * reference))
                if any(system.needs_intensity for system in systems):
                    self._dense(samples, counts.folds, 1)
            rates = len(asked["per_hour"]) if condition == limits.BASE else 1
            events = n * spec["micro"]
            self._add(asked["resamples"] * rates * (len(systems) + 1) * events * one["resample"])
            self._add(2 * len(systems) * samples.sum() * one["decode"])
            if condition == limits.BASE:
                self._add(events * one["ideal"])

    def _lesson(self, lesson: dict | None) -> float:
        """Fits that a notebook makes by hand: so many, over `epochs`, of at most `most` windows, in its own process."""
        if not lesson or not self._clip_sets():
            return 0.0
        counted, folds, _ = next(iter(self._grids()))
        protocol, table = list(counted.windows.items())[-1]
        n = table["windows"].reindex(folds[0].train).fillna(0).sum()
        passes = max(lesson.get("least", 0), lesson["epochs"] * min(n, lesson.get("most", np.inf)))
        net = self._one()["nets"][network_of(LESSON)]
        T = self.settings["windows"][protocol]["T"]
        return lesson["fits"] * passes * T * (net["step"] + net["see"] / 4)

    # What the run's data sets hold

    def _specs(self, key: str) -> list[dict]:
        return [] if self.run.data else self.settings[key]

    def _clip_sets(self) -> list[_Counted]:
        if self.run.data:
            return [self._counted(study) for study in self._studies()[0]]
        return [self._expected(spec) for spec in self.settings["data"]]

    def _transfer_sets(self) -> list[_Counted]:
        return [self._expected(spec) for spec in self._specs("transfer")]

    def _studies(self) -> tuple[list[Study], list[Study]]:
        """Licensed clips and long videos, opened once."""
        if self._own is None:
            self._own = named(self.run, long=False), named(self.run, long=True)
        return self._own

    def _counted(self, study: Study) -> _Counted:
        tables = {}
        for protocol in intensity.protocols_of(self.run, study):
            windows = intensity.draw_windows(study, protocol, study.videos, self.run)
            tables[protocol] = count_windows(windows, "subject")
        return _Counted(study.name, study.videos["n_frames"].sum(), tables, study.truth is not None)

    def _expected(self, spec: dict) -> _Counted:
        """What the simulator will write: every person alike; how many windows a clip has was seen in the sample."""
        people = [simulated.names(person, 1)[0] for person in range(1, spec["people"] + 1)]
        one, tables = self._one(), {}
        for protocol in intensity.protocols_of(self.run):
            having, empty = one["windows"][protocol]["event"], one["windows"][protocol]["empty"]
            row = {name: spec["clips"] * having[name] + spec["empty"] * empty[name] for name in WINDOWS}
            tables[protocol] = pd.DataFrame(row, index=people)
        frames = spec["people"] * _per_person(spec) * one["clip_frames"]
        return _Counted(spec["name"], frames, tables, True)

    def _grids(self, *, transfer: bool = True) -> list[tuple]:
        """Data set, folds and jobs of each that is trained on."""
        counted = self._clip_sets()
        if transfer and not self.run.data and self.settings["train_on_transfer"]:
            counted = counted + self._transfer_sets()
        grids = []
        for one in counted:
            having = {protocol: set(table.index) for protocol, table in one.windows.items()}
            study = SimpleNamespace(name=one.name, truth=True if one.truth else None)
            folds = folds_of(study, self.run, subjects=set().union(*having.values()))
            grids.append((one, folds, intensity.study_jobs(one.name, self.run, having, folds)))
        return grids

    def _long_sets(self) -> list:
        """name, samples (by subject) and folds of each data set of long videos."""
        share = self.settings["spotting"]["validation_share"]
        sets = []
        for study in self._studies()[1] if self.run.data else ():
            samples = study.videos.groupby("subject")["n_frames"].sum() / spotting.samples_apart(study)
            folds = folds_of(study, self.run, validation_share=share)
            sets.append(SimpleNamespace(name=study.name, samples=samples, folds=folds))
        for spec in self._specs("long"):
            people = [simulated.names(person, 1)[0] for person in range(1, spec["people"] + 1)]
            samples = pd.Series(float(np.mean(spec["seconds"])) * spotting.RATE * spec["videos"], people)
            expected = SimpleNamespace(name=spec["name"], truth=True)
            folds = folds_of(expected, self.run, subjects=people, validation_share=share)
            sets.append(SimpleNamespace(name=spec["name"], samples=samples, folds=folds))
        return sets

    def _transfer_samples(self) -> float:
        return sum(
            spec["people"] * spec["videos"] * float(np.mean(spec["seconds"])) * spotting.RATE
            for spec in self._specs("long_transfer")
        )

    def _donor_samples(self) -> float:
        """Samples of the clips that the second paper's fits learn from, too."""
        if self.run.data:
            return 0.0
        spec, one = self.settings["data"][0], self._one()
        n = spec["people"] * min(spec["clips"], self.settings["spotting"]["clips"])
        return n * one["clip_frames"] / one["clip_step"]

    def _is_fitted(self, name: str) -> bool:
        return (self.run.folder / "weights" / name / "settings.yml").is_file()

    # What one of each costs

    def _one(self) -> dict[str, Any]:
        """Seconds and bytes, measured once, by all processes at the same time."""
        if self._measured is None:
            self._measured = measure(
                self.run, self.scratch, self._nets(), self._bodies(), self._licensed(), self.todo
            )
        return self._measured

    def _licensed(self) -> tuple[Study | None, Study | None]:
        clips, longs = self._studies() if self.run.data else ([], [])
        clips = sorted(
            clips, key=lambda study: not study.manifest.has_context
        )  # it has windows of both protocols
        return (clips[0] if clips else None), (longs[0] if longs else None)

    def _nets(self) -> list[FitSettings]:
        """Every network of the first paper's that is trained, and the lessons' one."""
        if self.run.data and not self._studies()[0]:
            return []
        fits = [LESSON]
        for fits_of_protocol in self.settings["fits"].values():
            for spec in fits_of_protocol:
                job = intensity.Job("", "", spec["model"], spec["input"], 0, 0)
                fits.append(intensity.window_fit_settings(job, self.settings["fit"]))
        for protocol in intensity.protocols_of(self.run):
            for line, name, seed in ablations.asked_of(self.run, protocol):
                job, budget = ablations.job_of(self.run, "", line, name, 0, seed)
                fits.append(intensity.window_fit_settings(job, budget))
        return list({network_of(fit): fit for fit in fits}.values())

    def _bodies(self) -> list[spotting.Fit]:
        """A fit of each body; none where the profile has no second paper."""
        if "spotting" not in self.settings:
            return []
        full = self.settings["spotting"]["full_factorial"]
        systems = [
            *spotting_runs.SYSTEMS,
            *spotting_runs.factorial(full),
            *spotting_runs.spotting_variants(full),
        ]
        fold = protocols.Fold(0, (), (), ())
        fits = [fit for system in systems for fit in spotting_decoding.fits_of(system, "", [fold], 0)]
        return list({fit.body: fit for fit in reversed(fits)}.values())


def _per_person(spec: dict) -> int:
    return spec["clips"] + spec["empty"]
