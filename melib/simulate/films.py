"""Simulated videos as the files that people bring: compression takes a part of small movements away, and adds a few."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from melib.data import cache, manifest, video_files
from melib.errors import DataError, Misuse
from melib.simulate import folder, long, portraits

# What a film without a micro-expression may show; lively: all of it in turn, and other macro-expressions.
KINDS = (*long.ONLY, "lively")
# What differs between recordings: half are H.264 of such a constant rate factor (from fine to coarse), half MPEG-4; factors
# on the picture's sides and on the camera's noise.
_RATE_FACTOR, _SIDES, _NOISE = (18, 32), (0.75, 1.4), (0.5, 3.0)


def write_films(
    source, out, *, videos: int | None = None, vary: bool = False, jobs: int = 2, progress: bool = True
) -> Path:
    """Write videos of a simulated data set as MPEG-4 files; a second call only adds what is missing.

    Parameters
    ----------
    source : path
        Folder that `melib.simulate.write_clips` or `write_long` has finished.
    out : path
        Folder to write to, made if needed: ``frames/<subject>/<video>.mp4``, manifest, table and truth.
    videos : int or None
        The first so many of each person; None: all.
    vary : bool
        Codec, quality and size differ from film to film, by the video's name alone.
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
    for video in manifest.videos(about, source).groupby("subject").head(videos or 10**4).itertuples():
        file = out / "frames" / video.subject / f"{video.video}.mp4"
        if not file.exists():
            todo.append((video.folder, about, file, vary))
    folder.fill_folder(_write, todo, jobs, "film", progress)
    for name in ("annotations.xlsx", "truth.csv", "record.json", "manifest.yml"):
        with cache.atomic(out / name) as temporary:
            shutil.copyfile(source / name, temporary)
    return out


def write_quiet(
    out,
    *,
    name: str = "quiet",
    kinds: Sequence[str] = KINDS,
    people: int | Sequence[int] = 40,
    seconds: float = 10,
    fps: float = 30,
    family: str = "patches",
    world: str = "first",
    seed: int = 0,
    jobs: int = 2,
    progress: bool = True,
) -> Path:
    """Write films of faces that do much, and no micro-expression; a second call only adds what is missing.

    Parameters
    ----------
    out : path
        Folder to write to, made if needed: ``frames/s01/s01_01.mp4`` and so on, one a kind, in codecs, qualities, sizes and
        noises that differ; manifest, table (macro-expressions and blinks) and truth, as `melib.simulate.write_long` leaves
        them.
    name, family, world, seed, jobs, progress
        As for `melib.simulate.write_long`.
    kinds : sequence of str
        Of `KINDS`.
    people : int or sequence of int
        The first so many of 40, or their numbers from 1.
    seconds, fps : float

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    Misuse
        If a kind is unknown.
    DataError
        If the folder holds a data set of other settings, or the disk is full.
    """
    if unknown := set(kinds) - set(KINDS):
        raise Misuse(f"films: there is no kind {min(unknown)!r}; choose among {', '.join(KINDS)}.")
    who = list(range(1, people + 1) if isinstance(people, int) else people)
    settings: dict = {
        "name": name,
        "family": family,
        "people": people,
        "kinds": list(kinds),
        "seed": seed,
        "fps": fps,
    }
    settings |= {"statistics": "samm_lv", "seconds": [float(seconds)] * 2, "world": world}
    folder.check_settings(settings | {"people": max(who)}, people=(1, portraits.PEOPLE), seed=(0, 2**63))
    out = Path(out)
    folder.claim(out, settings, long.VERSION, like="synthme_lv")
    films = [(person, number) for person in who for number in range(1, len(kinds) + 1)]
    todo = [(out, *film, settings) for film in films if not _film(out, *film).exists()]
    folder.fill_folder(_quiet, todo, jobs, "film", progress)
    folder.join(out, films, long._COLUMNS, "Events")
    return out


def _film(out: Path, person: int, number: int) -> Path:
    subject, video = folder.names(person, number)
    return out / "frames" / subject / f"{video}.mp4"


def _quiet(out: Path, person: int, number: int, settings: dict) -> None:
    cv2.setNumThreads(1)
    rng = np.random.default_rng([settings["seed"], person, number, 5])
    kind, noise = settings["kinds"][number - 1], float(np.exp(rng.uniform(*np.log(_NOISE))))
    shows = {"peaks": (1, 2), "micro": 0} if kind == "lively" else {"only": kind}
    made = long.make_video(person, number, settings | shows | {"noise": noise})
    grain = made.scene.grain(rng)
    pictures = (made.scene.written(t, grain, rng) for t in range(made.scene.n_frames))
    part = out / folder.PARTS / f"{folder.names(person, number)[1]}.csv"
    cache.write_table(part, made.truth)
    cache.write_yaml(part.with_suffix(".yml"), made.labels)
    coloured = (cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR) for grey in pictures)
    _record(_film(out, person, number), coloured, settings["fps"], rng)


def _record(file: Path, pictures: Iterable[np.ndarray], fps: float, rng: np.random.Generator) -> None:
    """Write a film as one recording among many would be: codec, quality and size are drawn."""
    side, quality = float(np.exp(rng.uniform(*np.log(_SIDES)))), int(rng.integers(*_RATE_FACTOR))
    how = {"codec": "libx264", "crf": str(quality)} if rng.uniform() < 0.5 else {}
    sized = (cv2.resize(p, None, fx=side, fy=side, interpolation=cv2.INTER_AREA) for p in pictures)
    video_files.write(file, sized, fps, **how)


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
            file = _film(out, person, number)
            if not file.exists():
                todo.append((file, person, number, noise, round(seconds * fps), fps, seed))
    folder.fill_folder(_still, todo, jobs, "film", progress)
    return out


def _write(source: Path, about: manifest.Manifest, file: Path, vary: bool) -> None:
    cv2.setNumThreads(1)
    _, frames = manifest.frame_files(source, about)
    if vary:
        _record(file, map(_picture, frames), about.fps, np.random.default_rng([*file.stem.encode()]))
    else:
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
