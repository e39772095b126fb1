"""The folder that a simulated data set is written to: claimed once, filled video by video, joined at the end.

A video's frames are written under ``.parts`` and renamed into place last, when its truth and labels are on
disk, so that what was finished before an interruption is kept, and the same call continues from there.
"""

import errno
import io
import json
import os
import platform
import re
import shutil
import zipfile
from collections.abc import Callable, Iterable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import yaml

from melib.data import cache, workers
from melib.data.manifest import read_manifest
from melib.errors import DataError, Misuse
from melib.simulate import render, units, worlds

PARTS = ".parts"  # truth of finished videos and the video being written


def check_settings(settings: dict, **whole: tuple[int, int]) -> None:
    """Refuse what is impossible in any data set.

    Parameters
    ----------
    settings : dict
        With name, family and fps.
    **whole : pair of int
        Lowest and highest value of those settings that are whole numbers.

    Raises
    ------
    Misuse
        In a sentence that says what is possible.
    """
    for key, (low, high) in whole.items():
        if not (isinstance(settings[key], int | np.integer) and low <= settings[key] <= high):
            raise Misuse(f"simulate: {key} = {settings[key]!r} must be a whole number from {low} to {high}.")
    if not set(settings["family"].split("+")) <= set(units.FAMILIES):
        raise Misuse(
            f"simulate: family {settings['family']!r} must be one of {', '.join(units.FAMILIES)}, "
            "or several of them joined by +."
        )
    worlds.find_world(settings.get("world", "first"))
    if not 20 <= settings["fps"] <= 10_000:
        raise Misuse(f"simulate: fps = {settings['fps']} must lie between 20 and 10000.")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", settings["name"]):
        raise Misuse(
            f"simulate: name {settings['name']!r} must be lower-case letters, digits and underscores."
        )


def claim(out: Path, settings: dict, simulator_version: int, like: str) -> None:
    """Prepare the folder, and refuse one with a data set of other settings.

    Parameters
    ----------
    out : Path
    settings : dict
        With name and fps; what the record keeps.
    simulator_version : int
    like : str
        Name of the manifest that the folder's own is a copy of, but for name and fps.

    Raises
    ------
    DataError
        If the folder holds something else, or can't be made.
    """
    record = {
        "made_by": "melib.simulate",
        "simulator_version": simulator_version,
        "settings": settings,
        "versions": {
            "python": platform.python_version(),
            **{
                name: version(name)
                for name in ("numpy", "scipy", "opencv-contrib-python-headless", "dlib-bin")
            },
        },
    }
    path = out / "record.json"
    if path.exists():
        old = json.loads(path.read_text())
        if (old.get("settings"), old.get("simulator_version")) != (cache.plain(settings), simulator_version):
            raise DataError(
                f"{out} holds a data set simulated with other settings (see record.json); "
                "choose another folder or delete this one."
            )
    elif out.is_dir() and any(out.iterdir()):
        raise DataError(f"{out} isn't empty and wasn't simulated by melib; choose another folder.")
    try:
        (out / PARTS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out} can't be made ({error.strerror}); choose another folder.") from error
    for left in (out / PARTS).glob("*.unfinished"):
        # Processes of a killed run may outlive it and still write their clip: that one is theirs.
        if not cache.alive(int(left.stem.rpartition(".")[2])):
            shutil.rmtree(left)
    cache.write_json(path, record)
    manifest = read_manifest(like).source.read_text()
    manifest = re.sub(r"(?m)^name: \S+", f"name: {settings['name']}", manifest, count=1)
    manifest = re.sub(r"(?m)^fps: \S+", f"fps: {settings['fps']:g}", manifest, count=1)
    with cache.atomic(out / "manifest.yml") as temporary:
        temporary.write_text(manifest)


def names(person: int, number: int) -> tuple[str, str]:
    """Subject and video, as the table and the folders call them."""
    return f"s{person:02d}", f"s{person:02d}_{number:02d}"


def family_of(settings: dict, person: int, number: int) -> str:
    """One of the families that the settings name, drawn for this clip or video alone."""
    families = settings["family"].split("+")
    rng = np.random.default_rng([settings["seed"], person, number, 4])
    return families[rng.integers(len(families))]


def world_setting(world: str) -> dict:
    """What a record keeps of a world: nothing of the first, so that older records mean it."""
    return {} if world == "first" else {"world": world}


def _folder(out: Path, person: int, number: int) -> Path:
    subject, video = names(person, number)
    return out / "frames" / subject / video


def _part(out: Path, person: int, number: int) -> Path:
    return out / PARTS / f"{names(person, number)[1]}.csv"


def finished(out: Path, person: int, number: int) -> bool:
    """Whether a video is complete."""
    # The folder is renamed into place last, when truth and label are on disk.
    part = _part(out, person, number)
    return _folder(out, person, number).is_dir() and part.exists() and part.with_suffix(".yml").exists()


def fill_folder(function: Callable, tasks: list[tuple], jobs: int, unit: str, progress: bool) -> None:
    """Call a function, which writes one video, once for each task in some processes."""
    label = "simulate" if progress and tasks else ""
    for _ in workers.run_jobs(function, tasks, max(1, min(jobs, len(tasks))), label=label, unit=unit):
        pass


def write_video(
    out: Path,
    person: int,
    number: int,
    scene: render.Scene,
    noise: np.random.Generator,
    truth: pd.DataFrame,
    labels: dict | list[dict],
    digits: int,
) -> None:
    """Render one video and put it, its truth and its labels in their places.

    Parameters
    ----------
    out : Path
    person, number : int
    scene : Scene
    noise : Generator
        For the camera's noise.
    truth : DataFrame
        A row a frame.
    labels : dict or list of dict
        Rows of the table; an empty one is none.
    digits : int
        Of the frame numbers in file names.

    Raises
    ------
    DataError
        If the disk is full.
    """
    video = names(person, number)[1]
    unfinished = out / PARTS / f"{video}.{os.getpid()}.unfinished"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        quality = [cv2.IMWRITE_JPEG_QUALITY, scene.paths.jpeg]
        grain = scene.grain(noise)
        for t in range(scene.n_frames):
            if t % scene.paths.hold == 0:
                _, data = cv2.imencode(".jpg", scene.written(t, grain, noise), quality)
            (unfinished / f"img{t + 1:0{digits}d}.jpg").write_bytes(data.tobytes())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            shutil.rmtree(unfinished, ignore_errors=True)
            raise DataError(
                f"The disk is full at {out}; make room and run again: finished clips are kept."
            ) from error
        raise
    cache.write_table(_part(out, person, number), truth)
    cache.write_yaml(_part(out, person, number).with_suffix(".yml"), labels)
    folder = _folder(out, person, number)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        unfinished.rename(folder)
    except OSError:
        # Its truth was missing, or a process that outlived a killed run was faster: same bytes.
        if not folder.is_dir():
            raise
        shutil.rmtree(unfinished)


def join(out: Path, todo: Iterable[tuple[int, int]], columns: list[str], sheet: str) -> None:
    """Join truth and labels of all videos (person, number), in this order, to ``truth.csv`` and ``annotations.xlsx``."""
    parts = [_part(out, *job) for job in todo]
    with cache.atomic(out / "truth.csv") as temporary, temporary.open("wb") as truth:
        for number, part in enumerate(parts):
            header, rows = part.read_bytes().split(b"\n", 1)
            truth.write(rows if number else header + b"\n" + rows)
    labels = [yaml.safe_load(part.with_suffix(".yml").read_text()) for part in parts]
    table = [row for label in labels for row in (label if isinstance(label, list) else [label]) if row]
    _write_xlsx(out / "annotations.xlsx", pd.DataFrame(table, columns=columns), sheet)


def _write_xlsx(path: Path, table: pd.DataFrame, sheet: str) -> None:
    """An Excel table whose bytes depend on its content alone: no time of writing inside."""
    buffer = io.BytesIO()
    with pd.ExcelWriter(buffer, engine="openpyxl") as writer:
        table.to_excel(writer, sheet_name=sheet, index=False)
    stamp = datetime(2000, 1, 1).strftime("%Y-%m-%dT%H:%M:%SZ")
    with (
        cache.atomic(path) as temporary,
        zipfile.ZipFile(buffer) as old,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for entry in sorted(old.namelist()):
            data = old.read(entry)
            if entry == "docProps/core.xml":
                data = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", stamp.encode(), data)
            new.writestr(zipfile.ZipInfo(entry, (2000, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
