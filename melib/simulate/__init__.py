"""Clips and long videos of real faces whose true intensity is known, written as a licensed data set arrives.

    out/frames/<subject>/<video>/img0001.jpg ...   200 frames a second, neutral before and after each expression
    out/annotations.xlsx                           what an annotator wrote down, 1-based frames
    out/truth.csv                                  what truly happened, a row a frame
    out/manifest.yml, out/record.json              how to read it; settings and versions

portraits.py has the photographs, units.py the movements of the skin, events.py their times and their labels,
nuisance.py all other change, render.py the frames, folder.py the files, schedule.py and long.py the long
videos. Every clip has its own generator, from the seed and its own numbers, so that bytes don't depend on the
number of processes or on what was written before.
"""

from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from melib.errors import Misuse
from melib.simulate import events, folder, portraits, render, units, worlds
from melib.simulate.long import write_long
from melib.simulate.nuisance import Nuisance, draw_paths, resolve

__all__ = ["Nuisance", "write_clips", "write_long"]

VERSION = 4  # of the simulator: raise it when the same seed gives other bytes
# Neutral stretch before and after an expression, seconds: windows of 1.1 s must be able to miss it.
NEUTRAL_S = (0.4, 1.0)


def write_clips(
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
    world: str = "first",
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
    family : {"patches", "muscles", "head"}
        How units move the skin; several, joined by +, are drawn a clip. Events and nuisance are the same for all.
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
        A factor on the world's scales (0 turns all off), or the scales themselves.
    world : {"first", "second"}
        What is taken for granted of movements, people and cameras (:mod:`melib.simulate.worlds`).
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
    scales = resolve(nuisance, worlds.find_world(world))
    settings = _checked(
        {"name": name, "family": family, "people": people, "clips": clips, "empty": empty}
        | {"seed": seed, "statistics": statistics, "fps": fps}
        | folder.world_setting(world)
    )
    out = Path(out)
    folder.claim(out, {**settings, "nuisance": asdict(scales)}, VERSION, like="synthme")
    todo = [(person, clip) for person in range(1, people + 1) for clip in range(1, clips + empty + 1)]
    tasks = [(out, *job, settings, scales) for job in todo if not folder.finished(out, *job)]
    folder.fill_folder(write_one, tasks, jobs, "clip", progress)
    folder.join(out, todo, _COLUMNS, "Micro_Only")
    return out


_COLUMNS = [
    "Subject", "Filename", "Onset Frame", "Apex Frame", "Offset Frame", "Action Units", "Estimated Emotion",
]  # fmt: skip


def _checked(settings: dict) -> dict:
    """The settings, or a Misuse that says which is impossible."""
    folder.check_settings(
        settings, people=(1, portraits.PEOPLE), clips=(0, 9999), empty=(0, 9999), seed=(0, 2**63)
    )
    if settings["clips"] + settings["empty"] == 0:
        raise Misuse("simulate: clips and empty are both 0, so there is nothing to write; raise one.")
    events.statistics_of(settings["statistics"])
    return settings


def make_scene(person: int, clip: int, settings: dict, scales: Nuisance) -> render.Scene:
    """One clip, ready to be rendered: clips up to ``settings["clips"]`` have an expression, later ones are empty."""
    rng = np.random.default_rng([settings["seed"], person, clip])
    pictures, world = portraits.portraits(person), worlds.find_world(settings.get("world", "first"))
    canvas = units.make_canvas(pictures[(clip - 1) % len(pictures)], world)
    before, after = rng.uniform(*NEUTRAL_S, size=2)
    event = events.draw_event(rng, settings["statistics"], 0.0, world=world)
    lead = before - event.start
    event = event.moved(lead)
    n_frames = round((event.stop + after) * settings["fps"])
    paths = draw_paths(rng, scales, n_frames, settings["fps"], world)
    present = event if clip <= settings["clips"] else None
    return render.Scene(canvas, folder.family_of(settings, person, clip), present, paths, settings["fps"])


def write_one(out: Path, person: int, clip: int, settings: dict, scales: Nuisance) -> None:
    """Render one clip into the folder."""
    cv2.setNumThreads(1)
    scene = make_scene(person, clip, settings, scales)
    noise = np.random.default_rng([settings["seed"], person, clip, 1])
    truth = _truth_table(scene, *folder.names(person, clip))
    label = label_of(scene, person, clip, settings)
    folder.write_video(out, person, clip, scene, noise, truth, label, digits=4)


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


def label_of(scene: render.Scene, person: int, clip: int, settings: dict) -> dict:
    """The annotator's row, 1-based; empty for a clip without an expression."""
    if scene.event is None:
        return {}
    subject, video = folder.names(person, clip)
    rng = np.random.default_rng([settings["seed"], person, clip, 2])
    stop = int(np.flatnonzero(scene.truth.inside)[-1])
    onset, apex, offset = events.annotate(rng, scene.truth.peak, stop, settings["fps"])
    prefix = {"both": "", "left": "L", "right": "R"}
    aus = "+".join(f"{prefix[m.side]}{m.unit}" for m in scene.event.movements)
    values = (subject, video, onset + 1, apex + 1, offset + 1, aus, scene.event.emotion)
    return dict(zip(_COLUMNS, values, strict=True))
