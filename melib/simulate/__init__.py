"""Clips of real faces whose true intensity is known, written the way a licensed data set arrives.

    out/frames/<subject>/<video>/img0001.jpg ...   200 frames a second, neutral before and after each expression
    out/annotations.xlsx                           what an annotator wrote down, 1-based frames
    out/truth.csv                                  what truly happened, a row a frame
    out/manifest.yml, out/record.json              how to read it; settings and versions

portraits.py has the photographs, units.py the movements of the skin, events.py their times and their labels,
nuisance.py all other change, render.py the frames. Every clip has its own generator, from the seed and its own numbers,
so that bytes don't depend on the number of processes or on what was written before.
"""

import errno
import io
import os
import platform
import re
import shutil
import zipfile
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import cv2
import joblib
import numpy as np
import pandas as pd
import yaml
from tqdm import tqdm

from melib import cache
from melib.errors import DataError, Misuse
from melib.manifest import read_manifest
from melib.simulate import events, portraits, render, units
from melib.simulate.nuisance import Nuisance, draw_paths, resolve

__all__ = ["Nuisance", "write"]

VERSION = 4  # of the simulator: raise it when the same seed gives other bytes
NEUTRAL_S = (
    0.4,
    1.0,
)  # neutral stretch before and after an expression, seconds: windows of 1.1 s must be able to miss it
_PARTS = ".parts"  # truth of finished clips and the clip being written


def write(
    out,
    *,
    name: str = "synthme",
    family: str = "patches",
    people: int = 40,
    clips: int = 5,
    empty: int = 1,
    seed: int = 0,
    statistics: str = "samm_lv_micro",
    fps: float = 200,
    nuisance: float | Nuisance = 1.0,
    jobs: int = 2,
    progress: bool = True,
) -> Path:
    """Write a simulated data set; a second call with the same settings only adds what is missing.

    Parameters
    ----------
    out : path
        Folder to write to, made if needed.
    name : str
        The data set's name in its manifest.
    family : {"patches", "muscles"}
        How units move the skin. Events and nuisance are the same for both.
    people : int
        1 to 40 subjects.
    clips, empty : int
        Clips with and without an expression, a person.
    seed : int
        At least 0; same seed, same bytes.
    statistics : str
        Which data set durations, apex positions and units follow: samm_lv_micro, samm_lv_macro, casme_sq_micro,
        casme3_micro or casme3_macro.
    fps : float
        Frames a second, at least 20.
    nuisance : float or Nuisance
        A factor on the default scales (0 turns all off), or the scales themselves.
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
        If a setting is impossible, the folder holds a data set of other settings, or the disk is full.
    """
    scales = resolve(nuisance)
    settings = _checked(
        name=name,
        family=family,
        people=people,
        clips=clips,
        empty=empty,
        seed=seed,
        statistics=statistics,
        fps=fps,
    )
    out = Path(out)
    _claim(out, {**settings, "nuisance": asdict(scales)})
    todo = [(person, clip) for person in range(1, people + 1) for clip in range(1, clips + empty + 1)]
    missing = [job for job in todo if not _finished(out, *job)]
    # A process takes all of a person's clips, so that each photograph is found and laid out once.
    people_left = sorted({person for person, _ in missing})
    tasks = (
        joblib.delayed(_write_person)(
            str(out), person, [c for p, c in missing if p == person], settings, scales
        )
        for person in people_left
    )
    workers = joblib.Parallel(
        n_jobs=max(1, min(jobs, len(people_left))), batch_size=1, return_as="generator_unordered"
    )
    with tqdm(total=len(missing), desc="simulate", unit="clip", disable=not progress) as bar:
        for written in workers(tasks):
            bar.update(written)

    parts = [pd.read_csv(_part(out, *job), dtype={"event": str}, keep_default_na=False) for job in todo]
    cache.write_table(out / "truth.csv", pd.concat(parts, ignore_index=True))
    labels = [yaml.safe_load(_part(out, *job).with_suffix(".yml").read_text()) for job in todo]
    _write_xlsx(out / "annotations.xlsx", pd.DataFrame([row for row in labels if row], columns=_COLUMNS))
    return out


_COLUMNS = [
    "Subject",
    "Filename",
    "Onset Frame",
    "Apex Frame",
    "Offset Frame",
    "Action Units",
    "Estimated Emotion",
]


def _checked(**settings) -> dict:
    """The settings, or a Misuse that says which is impossible."""
    for key, low, high in (
        ("people", 1, portraits.PEOPLE),
        ("clips", 0, 9999),
        ("empty", 0, 9999),
        ("seed", 0, 2**63),
    ):
        if not (isinstance(settings[key], int | np.integer) and low <= settings[key] <= high):
            raise Misuse(f"simulate: {key} = {settings[key]!r} must be a whole number from {low} to {high}.")
    if settings["clips"] + settings["empty"] == 0:
        raise Misuse("simulate: clips and empty are both 0, so there is nothing to write; raise one.")
    if settings["family"] not in units.FAMILIES:
        raise Misuse(f"simulate: family {settings['family']!r} must be one of {', '.join(units.FAMILIES)}.")
    if not 20 <= settings["fps"] <= 10_000:
        raise Misuse(f"simulate: fps = {settings['fps']} must lie between 20 and 10000.")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", settings["name"]):
        raise Misuse(
            f"simulate: name {settings['name']!r} must be lower-case letters, digits and underscores."
        )
    events.figures(settings["statistics"])
    return settings


def _claim(out: Path, settings: dict) -> None:
    """Prepare the folder, and refuse one with a data set of other settings."""
    record = {
        "made_by": "melib.simulate",
        "simulator_version": VERSION,
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
        old = yaml.safe_load(path.read_text())  # JSON is YAML; tuples come back as lists on both sides
        new = yaml.safe_load(yaml.safe_dump(_plain(record)))
        if (old.get("settings"), old.get("simulator_version")) != (new["settings"], VERSION):
            raise DataError(
                f"{out} holds a data set simulated with other settings (see record.json); "
                "choose another folder or delete this one."
            )
    elif out.is_dir() and any(out.iterdir()):
        raise DataError(f"{out} isn't empty and wasn't simulated by melib; choose another folder.")
    try:
        (out / _PARTS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out} can't be made ({error.strerror}); choose another folder.") from error
    for left in (out / _PARTS).glob("*.unfinished"):
        # Processes of a killed run may outlive it and still write their clip: that one is theirs.
        if not cache.alive(int(left.stem.rpartition(".")[2])):
            shutil.rmtree(left)
    cache.write_json(path, _plain(record))
    manifest = read_manifest("synthme").source.read_text()
    manifest = re.sub(r"(?m)^name: \S+", f"name: {settings['name']}", manifest, count=1)
    manifest = re.sub(r"(?m)^fps: \S+", f"fps: {settings['fps']:g}", manifest, count=1)
    with cache.atomic(out / "manifest.yml") as temporary:
        temporary.write_text(manifest)


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def _names(person: int, clip: int) -> tuple[str, str]:
    return f"s{person:02d}", f"s{person:02d}_{clip:02d}"


def _folder(out: Path, person: int, clip: int) -> Path:
    subject, video = _names(person, clip)
    return out / "frames" / subject / video


def _part(out: Path, person: int, clip: int) -> Path:
    return out / _PARTS / f"{_names(person, clip)[1]}.csv"


def _finished(out: Path, person: int, clip: int) -> bool:
    # The folder is renamed into place last, when truth and label are on disk.
    part = _part(out, person, clip)
    return _folder(out, person, clip).is_dir() and part.exists() and part.with_suffix(".yml").exists()


def make_scene(person: int, clip: int, settings: dict, scales: Nuisance) -> render.Scene:
    """One clip, ready to be rendered: clips up to ``settings["clips"]`` have an expression, later ones are empty."""
    rng = np.random.default_rng([settings["seed"], person, clip])
    pictures = portraits.portraits(person)
    canvas = units.make_canvas(pictures[(clip - 1) % len(pictures)])
    before, after = rng.uniform(*NEUTRAL_S, size=2)
    event = events.draw_event(rng, settings["statistics"], 0.0)
    lead = before - event.start
    event = event.moved(lead)
    n_frames = round((event.stop + after) * settings["fps"])
    paths = draw_paths(rng, scales, n_frames, settings["fps"])
    present = event if clip <= settings["clips"] else None
    return render.Scene(canvas, settings["family"], present, paths, settings["fps"])


def _write_person(out: str, person: int, clips: list[int], settings: dict, scales: Nuisance) -> int:
    cv2.setNumThreads(1)
    for clip in clips:
        _write_clip(out, person, clip, settings, scales)
    return len(clips)


def _write_clip(out: str, person: int, clip: int, settings: dict, scales: Nuisance) -> None:
    root = Path(out)
    subject, video = _names(person, clip)
    scene = make_scene(person, clip, settings, scales)
    noise = np.random.default_rng([settings["seed"], person, clip, 1])
    unfinished = root / _PARTS / f"{video}.{os.getpid()}.unfinished"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        quality = [cv2.IMWRITE_JPEG_QUALITY, scene.paths.jpeg]
        grain = scene.grain(noise)
        for t in range(scene.n_frames):
            _, data = cv2.imencode(".jpg", scene.written(t, grain, noise), quality)
            (unfinished / f"img{t + 1:04d}.jpg").write_bytes(data.tobytes())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            shutil.rmtree(unfinished, ignore_errors=True)
            raise DataError(
                f"The disk is full at {root}; make room and run again: finished clips are kept."
            ) from error
        raise
    cache.write_table(_part(root, person, clip), _truth_table(scene, subject, video))
    cache.write_yaml(_part(root, person, clip).with_suffix(".yml"), _label(scene, person, clip, settings))
    folder = _folder(root, person, clip)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        unfinished.rename(folder)
    except OSError:
        # Its truth was missing, or a process that outlived a killed run was faster: same settings, same bytes.
        if not folder.is_dir():
            raise
        shutil.rmtree(unfinished)


def _truth_table(scene: render.Scene, subject: str, video: str) -> pd.DataFrame:
    truth = scene.truth
    top = truth.rms.max()
    columns = {
        "subject": subject,
        "video": video,
        "frame": np.arange(1, scene.n_frames + 1),
        "event": np.where(truth.inside, video, ""),
        "rms_px": truth.rms,
        "peak_px": truth.peak,
        "profile": truth.rms / top if top > 0 else truth.rms,
        "blink": scene.paths.blink,
    }
    columns |= {f"au{unit}": truth.units.get(unit, np.zeros(scene.n_frames)) for unit in units.UNITS}
    return pd.DataFrame(columns)


def _label(scene: render.Scene, person: int, clip: int, settings: dict) -> dict:
    """The annotator's row, 1-based; empty for a clip without an expression."""
    if scene.event is None:
        return {}
    subject, video = _names(person, clip)
    rng = np.random.default_rng([settings["seed"], person, clip, 2])
    stop = int(np.flatnonzero(scene.truth.inside)[-1])
    onset, apex, offset = events.annotate(rng, scene.truth.peak, stop, settings["fps"])
    prefix = {"both": "", "left": "L", "right": "R"}
    aus = "+".join(f"{prefix[m.side]}{m.unit}" for m in scene.event.movements)
    values = (subject, video, onset + 1, apex + 1, offset + 1, aus, scene.event.emotion)
    return dict(zip(_COLUMNS, values, strict=True))


def _write_xlsx(path: Path, table: pd.DataFrame) -> None:
    """An Excel table whose bytes depend on its content alone: no time of writing inside."""
    buffer = io.BytesIO()
    with pd.ExcelWriter(buffer, engine="openpyxl") as writer:
        table.to_excel(writer, sheet_name="Micro_Only", index=False)
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
