"""Simulated videos as the files that people bring: MPEG-4 takes a part of small movements away, and adds a few."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from melib.data import cache, manifest, video_files
from melib.errors import DataError
from melib.simulate import folder, portraits


def write_films(source, out, *, jobs: int = 2, progress: bool = True) -> Path:
    """Write every video of a simulated data set as an MPEG-4 file; a second call only adds what is missing.

    Parameters
    ----------
    source : path
        Folder that `melib.simulate.write_clips` or `write_long` has finished.
    out : path
        Folder to write to, made if needed: ``frames/<subject>/<video>.mp4``, manifest, table and truth.
    jobs : int
        Processes.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    DataError
        If the source isn't complete, or the disk is full.
    """
    source, out = Path(source), Path(out)
    about = manifest.read_manifest(source / "manifest.yml")
    todo = []
    for video in manifest.videos(about, source).itertuples():
        file = out / "frames" / video.subject / f"{video.video}.mp4"
        if not file.exists():
            todo.append((video.folder, about, file))
    folder.fill_folder(_write, todo, jobs, "film", progress)
    for name in ("annotations.xlsx", "truth.csv", "record.json", "manifest.yml"):
        with cache.atomic(out / name) as temporary:
            shutil.copyfile(source / name, temporary)
    return out


def write_stills(
    out,
    *,
    people: int = 40,
    noises: Sequence[float] = (0, 1, 2, 4),
    seconds: float = 8,
    fps: float = 30,
    seed: int = 0,
    jobs: int = 2,
    progress: bool = True,
) -> Path:
    """Write films in which nothing moves: what noise and compression alone look like. A second call adds what is missing.

    Parameters
    ----------
    out : path
        Folder to write to, made if needed: ``frames/s01/s01_01.mp4`` and so on, one for each noise.
    people : int
        1 to 40; the films of a person are of different photographs.
    noises : sequence of float
        Standard deviations of the noise that every frame has of its own, grey levels.
    seconds, fps : float
    seed : int
        At least 0; same seed, same frames.
    jobs : int
        Processes.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    DataError
        If the disk is full.
    """
    out, todo = Path(out), []
    for person in range(1, people + 1):
        for number, noise in enumerate(noises, start=1):
            subject, video = folder.names(person, number)
            file = out / "frames" / subject / f"{video}.mp4"
            if not file.exists():
                todo.append((file, person, number, noise, round(seconds * fps), fps, seed))
    folder.fill_folder(_still, todo, jobs, "film", progress)
    return out


def _write(source: Path, about: manifest.Manifest, file: Path) -> None:
    cv2.setNumThreads(1)
    _, frames = manifest.frame_files(source, about)
    video_files.write(file, map(_picture, frames), about.fps)


def _still(file: Path, person: int, number: int, noise: float, n_frames: int, fps: float, seed: int) -> None:
    cv2.setNumThreads(1)
    photographs = portraits.portraits(person)
    image = photographs[(number - 1) % len(photographs)].image
    rng = np.random.default_rng([seed, person, number])
    noisy = (image + rng.normal(0, noise, image.shape) for _ in range(n_frames))
    pictures = (cv2.cvtColor(np.clip(grey, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR) for grey in noisy)
    video_files.write(file, pictures, fps)


def _picture(frame: Path | video_files.Frame) -> np.ndarray:
    """(H, W, 3) uint8."""
    picture = cv2.imread(str(frame))
    if picture is None:
        raise DataError(f"{frame} can't be read; remove the data set's folder and simulate it again.")
    return picture
