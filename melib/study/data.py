"""The data sets of a run, ready to be cut into windows or watched whole: simulated or licensed, clips or long videos.

manifest + folder  --open_study-->  Study: events, videos, truth  --with_clips-->  aligned faces, cached
                                      --folds_of-->  who is tested on whom
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from melib import annotations, protocols, simulate
from melib.data import layouts, manifest
from melib.errors import DataError
from melib.vision import faces


@dataclass(frozen=True)
class Study:
    """A data set that is ready to be cut into windows.

    ``events`` as in annotations.py, every row; ``videos`` as in manifest.spans (subject, video, folder, n_first, n_last,
    n_frames); ``truth`` one row a frame or None; ``clips`` in the order of ``videos``.
    """

    manifest: manifest.Manifest
    root: Path
    events: pd.DataFrame
    videos: pd.DataFrame
    truth: pd.DataFrame | None
    clips: tuple = ()

    @property
    def name(self):
        """Name of the data set."""
        return self.manifest.name

    @property
    def long(self):
        """Whether there is something to be spotted in: long videos, in a layout that isn't cut to the events."""
        return self.manifest.long and self.manifest.has_context

    def clip(self, subject, video):
        """The aligned clip of one video."""
        return next(clip for clip in self.clips if (clip.subject, clip.video) == (subject, video))


def open_study(dataset, root, *more_tables, tables_alone=False):
    """Read a data set's manifest, tables and folders.

    Parameters
    ----------
    dataset : str or Path
        Name or path of a manifest.
    root : str or Path
        The folder that holds the data set: frames and annotation tables.
    *more_tables : Path
        Tables from elsewhere, say of the data set that knows the emotions of this one's events.
    tables_alone : bool
        The folder may hold annotation tables and no frames: then there is no video.

    Returns
    -------
    Study
        Without clips. A folder whose name differs from the table's by case only has the table's.

    Raises
    ------
    DataError
        If the folder, the table or the frames are missing, no event has frames, or events are of several frame rates.
    """
    root = Path(root)
    about = manifest.effective(manifest.read_manifest(dataset), root)
    events = annotations.read_events(about, *manifest.tables(about, root), *more_tables)
    if tables_alone and not _holds_frames(root):
        return Study(
            about, root, events, pd.DataFrame(columns=["subject", "video", "n_first", "n_last"]), None
        )
    videos = as_in_table(manifest.spans(about, manifest.videos(about, root)), events)
    events = annotations.check_frames(events, videos)
    rates = sorted(events["fps"][events["status"] != "dropped"].unique())
    if len(rates) > 1:
        raise DataError(
            f"{about.name}: the events' videos have {', '.join(f'{rate:g}' for rate in rates)} frames a second, and a study "
            "reads one rate; put those of each into a folder of its own, with the table."
        )
    about = replace(about, fps=float(rates[0])) if rates else about
    truth = manifest.load_truth(about, root)
    if truth is not None:
        known = set(zip(truth["subject"], truth["video"], strict=True))
        unknown = [f"{v.subject}/{v.video}" for v in videos.itertuples() if (v.subject, v.video) not in known]
        if unknown:
            raise DataError(
                f"{root / str(about.truth)} has no row of {unknown[0]}; simulate {about.name} again."
            )
    return Study(about, root, events, videos, truth)


def _holds_frames(root):
    names = (name for _, _, files in os.walk(root) for name in files)
    return any(layouts.is_image(name) or layouts.is_video(name) for name in names)


def as_in_table(videos, events):
    """Videos under the table's names, where folders differ from it by case: a person under two names ends in two folds."""
    renamed = videos.copy()
    for name in ("subject", "video"):
        first: dict[str, str] = {}
        for text in (*events[name], *videos[name]):
            first.setdefault(text.casefold(), text)
        renamed[name] = [first[text.casefold()] for text in videos[name]]
    # Where case tells two folders apart, it must stay.
    return videos if renamed.duplicated(["subject", "video"]).any() else renamed


def simulated(run, part="data"):
    """Simulate data sets of the profile below ``run/data`` and open them; finished clips are kept.

    Parameters
    ----------
    run : Run
    part : {"data", "transfer", "long", "long_transfer"}
        Which of the profile's lists.

    Returns
    -------
    list of Study
    """
    write = simulate.write_long if part.startswith("long") else simulate.write_clips
    studies = []
    for spec in run.settings[part]:
        out = run.folder / "data" / spec["name"]
        write(out, seed=run.seed, jobs=run.jobs, **spec)
        studies.append(open_study(out / "manifest.yml", out))
    return studies


def clip_studies(run):
    """Open the clips of a run: the licensed data sets that were named, else the simulated ones.

    Parameters
    ----------
    run : Run

    Returns
    -------
    list of Study
        Long videos are left to long_studies.

    Raises
    ------
    DataError
        If data sets were named and none of them holds clips.
    """
    if not run.data:
        return simulated(run)
    studies = named(run, long=False)
    if not studies:
        raise DataError(f"{', '.join(run.data)}: long videos, and no clips; run notebooks 06 and 07.")
    return studies


def named(run, *, long, tables_alone=False):
    """Open the licensed data sets of a run that hold clips, or those that hold long videos (see ``Study.long``).

    A data set whose emotions stand in another one's table is given that table where the other one is named, too.

    Parameters
    ----------
    run : Run
    long : bool
    tables_alone : bool
        See `open_study`.

    Returns
    -------
    list of Study
    """
    manifests = {
        name: manifest.effective(manifest.read_manifest(name), root) for name, root in run.data.items()
    }
    known = {about.name: (about, run.data[name]) for name, about in manifests.items()}
    studies = []
    for name, about in manifests.items():
        if (about.long and about.has_context) == long:
            other = known.get(about.join["dataset"]) if about.join else None
            more_tables = manifest.tables(*other) if other else ()
            studies.append(open_study(name, run.data[name], *more_tables, tables_alone=tables_alone))
    return studies


def with_clips(study, run):
    """Find, align and crop every face of a study; cached by content.

    Returns
    -------
    Study
    """
    clips = faces.load_clips(study.manifest, study.videos, run.cache, jobs=run.jobs)
    return replace(study, clips=tuple(clips))


def detection(studies_with_clips):
    """In how many frames the face was found.

    Returns
    -------
    DataFrame
        dataset, subject, video, frames, with_face, missing (numbers between the first and the last that aren't there).
    """
    rows = []
    for study in studies_with_clips:
        for clip in study.clips:
            span = int(clip.numbers[-1] - clip.numbers[0]) + 1 if len(clip.numbers) else 0
            frames, with_face = len(clip.numbers), int(clip.mask.sum())
            rows.append((study.name, clip.subject, clip.video, frames, with_face, span - frames))
    return pd.DataFrame(rows, columns=["dataset", "subject", "video", "frames", "with_face", "missing"])


def folds_of(study, run, *, subjects=None, **more):
    """Folds of a study's subjects: groups of the profile's number, or one licensed subject each where it says ``loso``.

    Parameters
    ----------
    study : Study
    run : Run
    subjects : iterable of str, optional
        By default those of all videos.
    **more
        For protocols.folds.

    Returns
    -------
    list of protocols.Fold
    """
    people = sorted(set(study.videos["subject"] if subjects is None else subjects))
    check_people(study.name, people)
    if run.settings.get("loso") and study.truth is None:
        return protocols.folds(people, "loso", seed=run.seed, **more)
    return protocols.folds(people, min(run.settings["folds"], len(people)), seed=run.seed, **more)


def check_people(dataset, subjects):
    """Refuse a data set of a single person.

    Raises
    ------
    DataError
        Says what is missing.
    """
    if len(set(subjects)) == 1:
        raise DataError(
            f"{dataset} has usable events of one subject alone; a model is tested on people it never saw, so name a folder "
            "with more subjects."
        )


def long_studies(run, *, transfer=False):
    """Open the long videos of a run: the licensed ones that were named, else the simulated ones.

    Returns
    -------
    list of Study
        Maybe none.
    """
    return named(run, long=True) if run.data else simulated(run, "long_transfer" if transfer else "long")


def every_study(run):
    """Open every data set of a run, clips before long videos; one whose folder holds annotation tables alone has no video.

    Returns
    -------
    list of Study
    """
    if run.data:
        return [study for long in (False, True) for study in named(run, long=long, tables_alone=True)]
    return [*simulated(run), *simulated(run, "long")]
