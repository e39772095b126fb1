r"""Long videos: micro- and macro-expressions, blinks, talking, gaze, posture and light.

    macro    ______/~~~~~~~~~~~~\______________/~~~~~\____     annotated, seconds, several pixels
    micro    __________/\_________________/\______________     annotated, half a second, mostly under a pixel
    blink    ___|______|____|__________|______|______|____     annotated, about 15 a minute
    talking  __________________|||||||||__________________     not annotated: syllables, in some videos
    head     __/~~~~~~~~~~\________/vv\~~~~~~~~~~~~~~~~~~     posture shifts and nods, sway all the time

schedule.py says when. Displacements add where movements overlap. Times are drawn in seconds and each part
has a generator of its own, so that another frame rate or nuisance keeps the events.

What real videos have and these lack: lids that follow the gaze, expressions that grow out of one another,
shoulders and hair that move by themselves, hands before the face, large turns, steps of a screen's light, a
background that stays where it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from melib.errors import Misuse
from melib.simulate import events, folder, portraits, render, units, worlds
from melib.simulate.events import Expression
from melib.simulate.nuisance import Blink, Nuisance, Paths, draw_hold, ease, smooth_path
from melib.simulate.schedule import (
    LIPS,
    STATISTICS,
    TALK_SHARE,
    Burst,
    draw_blinks,
    draw_bursts,
    probes,
    schedule,
    smiles,
)

VERSION = 2  # of the long videos: raise it when the same seed gives other bytes

# Scales of a video's nuisance: larger and slower than in clips; shares of 1 mean that every video has it.
NUISANCE = Nuisance(
    drift=(3.0, 8.0),
    rotation=(1.0, 4.0),
    zoom=(0.01, 0.04),
    turn=(2.5, 7.0),
    blink_share=1.0,
    gaze_share=1.0,
    gaze=(0.8, 2.0),
    gain=(0.01, 0.05),
    light_turn=(0.02, 0.08),
)

FPS = 30  # frames a second, about as in both papers' data
ONLY = (
    "still",
    "talking",
    "smiling",
    "blinking",
    "turning",
)  # what a film without a micro-expression may show
_HELD = ("drift", "rotation", "zoom", "turn", "gaze")
STILL_PX = 1e-3  # crop pixels: less is rest

# Head, eyes
POSTURE_EVERY_S, POSTURE_S = 10.0, (0.5, 1.8)  # between two postures, and how long a change takes
SWAY = 0.15  # of the posture's scale: what a head that keeps its posture does
NODS_EVERY_S, NOD_HZ, NOD_DEGREES = 40.0, (1.0, 2.2), (1.5, 4.0)
FIXATION_S, FIXATION_LOG_SD, SACCADE_S = 0.8, 0.7, (0.03, 0.06)

_COLUMNS = [
    "Subject", "Filename", "Event", "Type", "Onset Frame", "Apex Frame", "Offset Frame", "Action Units",
    "Estimated Emotion",
]  # fmt: skip


def write_long(
    out,
    *,
    name: str = "synthme_lv",
    family: str = "patches",
    people: int = 40,
    videos: int = 2,
    seed: int = 0,
    statistics: str = "samm_lv",
    fps: float = FPS,
    seconds: tuple[float, float] = (20, 90),
    nuisance: float = 1.0,
    noise: float = 1.0,
    peaks: tuple[float, float] | None = None,
    micro: int = 4,
    world: str = "first",
    jobs: int = 2,
    progress: bool = True,
) -> Path:
    """Write a simulated data set of long videos; a second call only adds what is missing.

    Parameters
    ----------
    out : path
        Folder to write to, made if needed.
    name : str
        The data set's name in its manifest.
    family : {"patches", "muscles", "head"}
        How units move the skin; several, joined by +, are drawn a video. Events and nuisance are the same for all.
    people : int
        1 to 40 subjects.
    videos : int
        Videos a person, at least 1.
    seed : int
        At least 0; same seed, same bytes.
    statistics : {"samm_lv", "casme3"}
        Which data set durations, apex positions and units follow. How many micro-expressions a video has is
        SAMM-LV's in both; how many macro ones there are for each micro one is its own.
    fps : float
        Frames a second, at least 20.
    seconds : pair of float
        Shortest and longest video, 3 to 600.
    nuisance : float
        A factor on the scales of everything that isn't an expression; 0 turns blinks and talking off too.
    noise : float
        A further factor on the camera's noise alone, above 0 to 20: the same videos seen by another camera.
    peaks : pair of float, optional
        Probe videos, made to measure how small a movement is found: ``micro`` micro-expressions a video, apart from one
        another and from macro ones, whose peaks are spread evenly over the logarithm from the first to the second number
        (crop pixels, .01 to 5). Nobody could label the weakest: rows of micro-expressions in the table hold the true
        interval (:func:`events.visible`), without an annotator's error. By default events are as in life.
    micro : int
        1 to 20; read only where ``peaks`` is given.
    world : {"first", "second"}
        What is taken for granted of movements, people and cameras (:mod:`melib.simulate.worlds`).
    jobs : int
        Processes.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Path
        The folder: as :func:`melib.simulate.write_clips` leaves it, frames called ``img00001.jpg``, several rows a
        video and a column ``Type`` in the table, and in truth.csv ``macro_px`` and ``talk_px`` (largest
        displacement by macro-expressions and by talking) and ``gaze_px`` (way of the iris), crop pixels.

    Raises
    ------
    DataError
        If a setting is impossible, the folder holds a data set of other settings, or the disk is full.
    """
    settings = {"name": name, "family": family, "people": people, "videos": videos, "seed": seed}
    settings |= {"statistics": statistics, "fps": fps, "seconds": [float(bound) for bound in seconds]}
    settings |= folder.world_setting(world)
    folder.check_settings(settings, people=(1, portraits.PEOPLE), videos=(1, 9999), seed=(0, 2**63))
    if statistics not in STATISTICS:
        raise Misuse(f"simulate: statistics {statistics!r} must be one of {', '.join(STATISTICS)}.")
    if len(seconds) != 2 or not 3 <= seconds[0] <= seconds[1] <= 600:
        raise Misuse(
            f"simulate: seconds = {tuple(seconds)} must be the shortest and the longest video, "
            "between 3 and 600."
        )
    settings |= _extra(noise, peaks, micro)
    scales = _scales(settings, nuisance)
    out = Path(out)
    folder.claim(
        out, {**settings, "factor": nuisance, "nuisance": asdict(scales)}, VERSION, like="synthme_lv"
    )
    todo = [(person, number) for person in range(1, people + 1) for number in range(1, videos + 1)]
    tasks = [(out, *job, settings, nuisance) for job in todo if not folder.finished(out, *job)]
    folder.fill_folder(write_one, tasks, jobs, "video", progress)
    folder.join(out, todo, _COLUMNS, "Events")
    return out


def _extra(noise: float, peaks: tuple[float, float] | None, micro: int) -> dict:
    """Settings that differ from the defaults: so that a record without them means the defaults."""
    if not 0 < noise <= 20:
        raise Misuse(f"simulate: noise = {noise} must be above 0 and at most 20; 1 is the default.")
    extra: dict = {} if noise == 1 else {"noise": float(noise)}
    if peaks is None:
        return extra
    if len(peaks) != 2 or not 0.01 <= peaks[0] < peaks[1] <= 5:
        raise Misuse(
            f"simulate: peaks = {tuple(peaks)} must be the smallest and the largest, between .01 and 5."
        )
    if not (isinstance(micro, int | np.integer) and 1 <= micro <= 20):
        raise Misuse(f"simulate: micro = {micro!r} must be a whole number from 1 to 20.")
    return extra | {"peaks": [float(bound) for bound in peaks], "micro": int(micro)}


def _scales(settings: dict, nuisance: float) -> Nuisance:
    """Scales of the nuisance; the noise has a factor of its own."""
    world = worlds.find_world(settings.get("world", "first"))
    scales = replace(NUISANCE, **world.videos).scaled(nuisance)
    factor = settings.get("noise", 1.0)
    return replace(scales, noise=(factor * scales.noise[0], factor * scales.noise[1]))


def write_one(out: Path, person: int, number: int, settings: dict, nuisance: float) -> None:
    """Render one video into the folder."""
    cv2.setNumThreads(1)
    video = make_video(person, number, settings, nuisance)
    noise = _generator(settings["seed"], person, number, "noise")
    folder.write_video(out, person, number, video.scene, noise, video.truth, video.labels, digits=5)


_PARTS = ("length", "expressions", "talking", "blinks", "head", "eyes", "camera", "labels", "noise", "hold")


def _generator(seed: int, person: int, number: int, part: str) -> np.random.Generator:
    return np.random.default_rng([seed, person, number, 3, _PARTS.index(part)])


# From a schedule to a video ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class SimulatedVideo:
    """One long video, ready to be rendered.

    Attributes
    ----------
    scene : Scene
    truth : DataFrame
        A row a frame.
    labels : list of dict
        The annotator's rows, 1-based, by onset.
    courses : dict of (T, K) float64
        What each micro-expression alone adds to the scene's amplitudes, by its name.
    """

    scene: render.Scene
    truth: pd.DataFrame
    labels: list[dict]
    courses: dict[str, np.ndarray]


def make_video(person: int, number: int, settings: dict, nuisance: float = 1.0) -> SimulatedVideo:
    """Draw one video.

    Parameters
    ----------
    person, number : int
        From 1.
    settings : dict
        seed, statistics, fps, seconds and family as in :func:`write_long`; noise, peaks and micro may be missing. ``only``,
        if there: one of `ONLY`, and no micro-expression.
    nuisance : float

    Returns
    -------
    Video
    """

    def generator(part):
        return _generator(settings["seed"], person, number, part)

    fps, scales = settings["fps"], _scales(settings, nuisance)
    world = worlds.find_world(settings.get("world", "first"))
    length = float(generator("length").uniform(*settings["seconds"]))
    pictures = portraits.portraits(person)
    canvas = units.make_canvas(pictures[(number - 1) % len(pictures)], world)
    stage = _Stage(canvas, folder.family_of(settings, person, number), length, fps)
    probe = settings.get("peaks")
    about = (generator("expressions"), settings["statistics"], length)
    only = settings.get("only")
    if only:
        expressions = smiles(*about, world) if only == "smiling" else []
        if only != "turning":  # a head that is held as in a clip
            scales = replace(scales, **{name: getattr(Nuisance(), name) for name in _HELD})
    else:
        expressions = probes(*about, probe, settings["micro"], world) if probe else schedule(*about, world)
    for kind, event in expressions:
        stage.express(kind, event)
    share = TALK_SHARE if only is None else float(only == "talking")
    bursts = draw_bursts(generator("talking"), length, share) if nuisance > 0 else []
    for burst in bursts:
        stage.talk(burst, nuisance)
    stage.unfold()
    blinks = (
        draw_blinks(generator("blinks"), length, world) if nuisance > 0 and only in (None, "blinking") else []
    )
    paths = _paths(generator, scales, stage.seconds, blinks, bursts)
    paths = replace(paths, hold=draw_hold(generator("hold"), world.camera_fps, fps))
    amplitudes = stage.total(stage.sources)
    scene = render.Scene(stage.canvas, stage.family, None, paths, fps, stage.fields, amplitudes)
    names = folder.names(person, number)
    labels = _annotate(generator("labels"), stage, blinks, paths, names, exact=bool(probe))
    courses = {n: stage.total([s]) for n, s, _ in stage.named(names[1]) if s.kind == "micro"}
    return SimulatedVideo(scene, _truth(stage, paths, names), labels, courses)


@dataclass
class _Source:
    """Something that moves the skin: amplitudes (T, k) of the fields whose places are ``index``."""

    kind: str
    event: Expression | None
    index: list[int]
    amplitudes: np.ndarray


class _Stage:
    """A face and everything that moves its skin; equal units share a field."""

    def __init__(self, canvas: units.Canvas, family: str, length: float, fps: float):
        self.canvas, self.family, self.fps = canvas, family, fps
        self.seconds = np.arange(round(length * fps)) / fps
        self.keys: list[tuple[int, str]] = []
        self.fields: list[units.Field] = []
        self.skin = np.zeros((0, int(canvas.skin.sum()), 2), np.float32)
        self.sources: list[_Source] = []

    def _index(self, keys: list[tuple[int, str]]) -> list[int]:
        for unit, side in keys:
            if (unit, side) not in self.keys:
                self.keys.append((unit, side))
                self.fields.append(units.unit_field(self.canvas, self.family, unit, side))
                self.skin = np.concatenate([self.skin, render.on_skin(self.canvas, self.fields[-1:])])
        return [self.keys.index(key) for key in keys]

    def express(self, kind: str, event: Expression) -> None:
        """Add an expression."""
        index = self._index([(m.unit, m.side) for m in event.movements])
        fields = [self.fields[k] for k in index]
        amplitudes = render.driven(self.canvas, event, fields, self.skin[index], self.seconds)
        self.sources.append(_Source(kind, event, index, np.where(amplitudes > STILL_PX, amplitudes, 0)))

    def talk(self, burst: Burst, factor: float) -> None:
        """Add a burst of talking."""
        index = self._index([(unit, "both") for unit in LIPS])
        self.sources.append(_Source("talk", None, index, factor * burst.course(self.seconds)))

    def unfold(self) -> None:
        """Weaken macro-expressions and talking where movements that overlap would fold the skin."""
        steep = np.array([_steepest(field) for field in self.fields]) / self.canvas.portrait.scale
        slope = self.total(self.sources) @ steep
        window = np.arange(len(slope)) // max(1, round(0.25 * self.fps))
        # Two slopes of (1 - J) / 2 together leave a Jacobian of J.
        for steep_one in np.unique(window[slope > (1 - render.SMALLEST_JACOBIAN) / 2]):
            frames = np.flatnonzero(window == steep_one)
            t = int(frames[np.argmax(slope[frames])])
            strong = [s for s in self.sources if s.kind != "micro" and s.amplitudes[t].any()]
            for _ in range(40):  # to a twentieth at most: micro-expressions alone may leave less, and stay
                if not strong or self._jacobian(t) >= render.SMALLEST_JACOBIAN:
                    break
                for source in strong:
                    source.amplitudes *= 0.93

    def _jacobian(self, t: int) -> float:
        now = self.total(self.sources, slice(t, t + 1))[0]
        moving = np.flatnonzero(now)
        return render.smallest_jacobian(self.canvas, [self.fields[k] for k in moving], now[moving])

    def total(self, sources: Sequence[_Source], frames: slice = slice(None)) -> np.ndarray:
        """(T, K) amplitudes of some sources together."""
        out = np.zeros((len(self.seconds[frames]), len(self.fields)))
        for source in sources:
            for column, k in enumerate(source.index):
                out[:, k] += source.amplitudes[frames, column]
        return out

    def peak(self, sources: Sequence[_Source]) -> np.ndarray:
        """(T,) largest displacement over the skin by some sources together."""
        together = self.total(sources)
        used = np.flatnonzero(together.any(axis=0))
        return render.peaks(together[:, used], self.skin[used])

    def of_kind(self, kind: str) -> list[_Source]:
        """Sources of one kind, as they were added."""
        return [source for source in self.sources if source.kind == kind]

    def named(self, video: str) -> list[tuple[str, _Source, Expression]]:
        """Expressions by the names of their events."""
        return [
            (f"{video}_{kind}{number}", source, source.event)
            for kind in ("micro", "macro")
            for number, source in enumerate(self.of_kind(kind), 1)
            if source.event is not None
        ]


def _steepest(field: units.Field) -> float:
    """Steepest slope of a field, crop pixels a pixel of the photograph; each lip's sheet on its own."""
    sheets = [field.common + extra for extra in (field.upper, field.lower) if extra is not None]
    return max(
        float(np.abs(np.diff(s, axis=axis)).max()) for s in sheets or [field.common] for axis in (0, 1)
    )


def _truth(stage: _Stage, paths: Paths, names: tuple[str, str]) -> pd.DataFrame:
    n = len(stage.seconds)
    event, profile_ = np.full(n, "", dtype=object), np.zeros(n)
    for name, source, movement in stage.named(names[1]):
        if source.kind != "micro":
            continue
        event[(stage.seconds > movement.start) & (stage.seconds < movement.stop)] = name
        own = render.root_mean_squares(source.amplitudes, stage.skin[source.index])[0]
        profile_ = np.maximum(profile_, own / own.max())
    micro = stage.total(stage.of_kind("micro"))
    rms, alone = np.zeros(n), micro
    if stage.of_kind("micro"):
        rms, alone = render.root_mean_squares(micro, stage.skin)
    by_unit = {
        unit: sum((alone[:, k] for k, key in enumerate(stage.keys) if key[0] == unit), np.zeros(n))
        for unit in units.UNITS
    }
    return pd.DataFrame(
        {
            "subject": names[0],
            "video": names[1],
            "frame": np.arange(1, n + 1),
            "event": event,
            "rms_px": rms,
            "peak_px": stage.peak(stage.of_kind("micro")),
            "profile": profile_,
            "blink": paths.blink,
            "macro_px": stage.peak(stage.of_kind("macro")),
            "talk_px": stage.peak(stage.of_kind("talk")),
            "gaze_px": np.linalg.norm(paths.gaze, axis=1),
            **{f"au{unit}": course for unit, course in by_unit.items()},
        }
    )


def _annotate(
    rng: np.random.Generator,
    stage: _Stage,
    blinks: list[Blink],
    paths: Paths,
    names: tuple[str, str],
    exact: bool,
) -> list[dict]:
    """The annotator's rows, 1-based: each event is judged by its own displacement; micro ones by their truth if exact."""
    last, prefix = len(stage.seconds) - 1, {"both": "", "left": "L", "right": "R"}
    rows = []

    def write(kind, event, displacement, stop, aus, emotion):
        end = min(last, int(stop * stage.fps))
        onset, apex, offset = (
            events.visible(displacement, end)
            if exact and kind == "micro"
            else events.annotate(rng, displacement, end, stage.fps)
        )
        values = (*names, event, kind.capitalize(), onset + 1, apex + 1, offset + 1, aus, emotion)
        rows.append(dict(zip(_COLUMNS, values, strict=True)))

    for name, source, event in stage.named(names[1]):
        aus = "+".join(dict.fromkeys(f"{prefix[m.side]}{m.unit}" for m in event.movements))
        write(source.kind, name, stage.peak([source]), event.stop, aus, event.emotion)
    for number, blink in enumerate(blinks, 1):
        way = blink.course(stage.seconds) * paths.blink_px
        write("blink", f"{names[1]}_blink{number}", way, blink.start + blink.duration, "45", "")
    return sorted(rows, key=lambda row: (row["Onset Frame"], row["Offset Frame"], row["Event"]))


# Head, eyes, light, camera ----------------------------------------------------------------------------------


def _paths(
    generator: Callable[[str], np.random.Generator],
    scales: Nuisance,
    seconds: np.ndarray,
    blinks: list[Blink],
    bursts: list[Burst],
) -> Paths:
    """Everything over time that isn't skin, (T,) or (T, 2)."""
    head = _head(generator("head"), scales, seconds, bursts)
    eyes, camera = generator("eyes"), generator("camera")
    gaze = _gaze(eyes, seconds) * eyes.uniform(*scales.gaze)
    slow = camera.uniform(*scales.gain) * smooth_path(camera, seconds, 1, 0.3)[:, 0]
    light = camera.uniform(*scales.light_turn) * smooth_path(camera, seconds, 2, 0.3)
    flicker, noise = (float(camera.uniform(*pair)) for pair in (scales.flicker, scales.noise))
    jpeg = int(camera.integers(scales.jpeg[0], scales.jpeg[1] + 1))
    return Paths(
        shift=head[:, :2],
        angle=np.radians(head[:, 2]),
        size=1 + head[:, 3],
        turn=np.radians(head[:, 4:]),
        blink=np.max([np.zeros(len(seconds)), *(blink.course(seconds) for blink in blinks)], axis=0),
        blink_px=float(eyes.uniform(*scales.blink)),
        gaze=gaze,
        gain=1 + slow + flicker * camera.standard_normal(len(seconds)),
        light=light,
        noise=noise,
        jpeg=jpeg,
    )


def _head(rng: np.random.Generator, scales: Nuisance, seconds: np.ndarray, bursts: list[Burst]) -> np.ndarray:
    """(T, 6): shift x and y (crop pixels), rotation (degrees), zoom (relative), yaw and pitch (degrees)."""
    pairs = (scales.drift, scales.drift, scales.rotation, scales.zoom, scales.turn, scales.turn)
    less = [1, 0.7, 1, 1, 1, 0.6]  # heads bend less than they turn
    scale = np.array([rng.uniform(*pair) for pair in pairs]) * less
    path = SWAY * np.hstack([smooth_path(rng, seconds, 1, 0.8) for _ in range(6)])
    posture, time = np.zeros(6), float(rng.exponential(POSTURE_EVERY_S))
    while time < seconds[-1]:
        target = rng.uniform(-1, 1, 6) * rng.uniform(0.2, 1)
        path += (target - posture) * ease((seconds - time) / rng.uniform(*POSTURE_S))[:, None]
        posture, time = target, time + float(rng.exponential(POSTURE_EVERY_S))
    path *= scale
    factor = scales.turn[1] / NUISANCE.turn[1]
    for _ in range(int(rng.poisson(seconds[-1] / NODS_EVERY_S))):
        hz, cycles = rng.uniform(*NOD_HZ), rng.integers(1, 4)
        phase = np.clip((seconds - rng.uniform(0, seconds[-1])) * hz / cycles, 0, 1)  # 0 to 1 over the nod
        nod = np.sin(2 * np.pi * cycles * phase) * np.sin(np.pi * phase) ** 2
        nod = factor * rng.uniform(*NOD_DEGREES) * nod
        path[:, 5] += nod
        path[:, 1] += 0.3 * nod  # a head that nods sinks, too: crop pixels a degree
    beat = smooth_path(rng, seconds, 2, 3.0) * scale[4:] * 0.3  # a speaker's head keeps time
    for burst in bursts:
        path[:, 4:] += (
            beat * (ease((seconds - burst.start) / 0.4) - ease((seconds - burst.stop + 0.4) / 0.4))[:, None]
        )
    return path


def _gaze(rng: np.random.Generator, seconds: np.ndarray) -> np.ndarray:
    """(T, 2), length up to 1: fixations on a screen and quick jumps between them."""
    path, place, time = np.zeros((len(seconds), 2)), np.zeros(2), 0.0
    while True:
        time += FIXATION_S * float(np.exp(FIXATION_LOG_SD * rng.standard_normal()))
        if time > seconds[-1]:
            return path
        target = rng.normal(0, [0.5, 0.25])
        target /= max(1.0, float(np.linalg.norm(target)))
        path += (target - place) * ease((seconds - time) / rng.uniform(*SACCADE_S))[:, None]
        place = target
