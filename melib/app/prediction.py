"""What the models say of a user's own video: intensity, intervals with their confidence, one figure.

    file or folder -> frames at about 30 a second -> the face, followed -+-> regional motion -> spotting -> intervals
                                                                         +-> dense windows   -> intensity curve

One pass over the video, in stretches: memory holds some seconds of it, whatever its length. The weights come from a run, or
are those that the package ships, which were trained on simulated faces only; their card says what they were worth.
"""

import contextlib
import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter1d
from tqdm.auto import tqdm

from melib import learn
from melib.app import pictures, planting
from melib.app.footage import Footage, expected, footage, images
from melib.app.predictor_weights import Weights, card_in_words, load_weights
from melib.data import cache, video_files
from melib.errors import DataError, Misuse
from melib.learn.dense import Dense
from melib.paper import style
from melib.simulate.schedule import MACRO_RANGE
from melib.study import recognition, spotting
from melib.study.results import records
from melib.vision import faces, flow

# Frames of a video, evenly spaced, in which faces are counted.
_LOOKS = 9
# Bytes of a file's name that are kept for what is written beside it: file systems take 255, endings and all.
_LONGEST = 180
# Colours of the film, blue first: those of the figure, lighter on dark.
_DARK, _INSIDE, _LIGHT = (30, 30, 30), (30, 90, 120), (255, 255, 255)
_INTENSITY, _SCORE = (240, 190, 100), (60, 130, 240)
_AROUND = 8.0  # seconds of the curve below each frame of the film
# Samples beside an interval that its movement is held against, and the smoothing (sd) that takes noise out.
_AROUND_SAMPLES, _SMOOTH = 6, 1.5
# Pixels of the crop that nothing moves by in a micro-expression: as far as the strongest macro-expression that is simulated.
CEILING = MACRO_RANGE[1]
# Likeness of the fifth of a face that is least like itself (`Usual`) below which it is covered, or somebody else's: half of
# the least in films of people whom the weights learned from, talking, smiling, blinking, turning (benchmarks/predict.md).
ALIKE = 0.45
# What the face usually looks like: seconds that it is remembered, blocks a side, pixels a block, and grey levels (standard
# deviation) below which a block holds nothing to compare.
_REMEMBERED, _BLOCKS, _BLOCK, _TEXTURE = 5.0, 4, 14, 6.0
_BAR = "{l_bar}{bar}| {n_fmt} of {total_fmt} s of video, {remaining} left"
_LABEL = 0.08  # width of an interval's label, as a share of the figure's curve
# What stands in the columns and the json; docs/model_card.md says it at length.
MEANING = {
    "frame": "native frame, counted from 0; onset, apex and offset too, onset and offset included",
    "seconds": "when that frame is shown, from the first one; onset_s, apex_s, offset_s too",
    "face": "whether the face was seen; where it wasn't, nothing is said",
    "intensity": "0 to 1: how near the face is to the peak of its own movement; not a length, a force or a probability",
    "score": "0 to 1: the curve of micro-expressions that intervals are decoded from; not a probability",
    "confidence": (
        "0 to 1: by the decoder's own model the probability that a micro-expression has an IoU of .5 or more with the "
        "interval; on simulated videos it was too high, so compare, don't count on it"
    ),
    "emotion": "class of the interval: negative, positive, surprise or others; in simulated data a name of action units",
    "moved_px": "how far any region of the face departs from a straight way in the interval, pixels of the 112-pixel crop",
    "planted": "movements of size_px laid over the aligned face where nothing was found; found at an IoU of .5 or more",
}


# ---- prediction -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Prediction:
    """What the models say of one video.

    Attributes
    ----------
    source : Path
    fps : float
        Samples a second.
    curve : DataFrame
        A row a sample: frame (0-based), seconds, face (bool), intensity in [0, 1] and the spotting score of
        micro-expressions in [0, 1], NaN where no face was seen.
    intervals : DataFrame
        onset, apex, offset (0-based frames, closed), onset_s, apex_s, offset_s, confidence in [0, 1], emotion.
    motion : (2, 64, 64) float32 or None
        Motion of the skin at the apex of the surest interval, pixels of the 112-pixel crop; ``landmarks`` (68, 2) in its
        pixels.
    notes : tuple of str
        What must be known to read it.
    card : dict
        What the weights were worth, see `predictor_weights.Weights`.
    dropped : DataFrame
        As ``intervals``: what the decoder was sure of and can't be, with moved_px, pixels of the crop, and the reason.
    planted : DataFrame or None
        A row a movement that was laid over the video, see `planting.held_against`; in frames and seconds as ``intervals``.
    """

    source: Path
    fps: float
    curve: pd.DataFrame
    intervals: pd.DataFrame
    motion: np.ndarray | None
    landmarks: np.ndarray | None
    notes: tuple[str, ...]
    card: dict
    dropped: pd.DataFrame
    planted: pd.DataFrame | None = None

    def plot(self) -> Figure:
        """Curve, intervals and the apex's motion field."""
        return draw_prediction(self)

    def __repr__(self) -> str:
        """Name, length and number of intervals."""
        length = self.curve["seconds"].iloc[-1] + 1 / self.fps
        return f"{shown_name(self.source.name)}: {length:.1f} s, {_counted(len(self.intervals))}"


def predict_video(
    source: str | Path,
    weights: str | Path | Weights | None = None,
    *,
    fps: float | None = None,
    plant: bool = False,
    progress: bool | tqdm = False,
) -> Prediction:
    """Intensity, intervals, confidence and class of one video.

    Parameters
    ----------
    source : str or Path
        A video file, or a folder of frames.
    weights : str or Path or Weights or None
        See `predictor_weights.load_weights`.
    fps : float or None
        See `footage.footage`.
    plant : bool
        Read the video again with small movements laid over it (`melib.app.planting`), and say which are found.
    progress : bool or tqdm
        Show a bar with the time left; or one over several videos, in seconds of video.

    Returns
    -------
    Prediction

    Raises
    ------
    DataError
        If the video can't be read, or no face is found in it.
    """
    used = weights if isinstance(weights, Weights) else load_weights(weights)
    shown = footage(source, fps, progress=progress is True)
    if not shown.source.is_dir():
        video_files.expect(shown.source, shown.numbers)
    looks = set(np.linspace(0, len(shown.frames) - 1, _LOOKS).astype(int).tolist())
    counts, masked, stride = [0], np.zeros(4, np.int64), max(1, round(used.windows["step"] * shown.fps))
    shots, intensity = [], []
    own = tqdm(
        total=len(shown.frames) / shown.fps, bar_format=_BAR, unit_scale=True, disable=progress is not True
    )
    with contextlib.nullcontext(progress) if isinstance(progress, tqdm) else own as bar:
        bar.set_description(shown_name(Path(source).name))
        for first, stop, stretches in _shots(shown, masked):
            dense = Dense({"intensity": used.intensity}, stop - first, used.windows["T"], stride)

            def tapped(first=first, stretches=stretches, dense=dense) -> Iterator[faces.Followed]:
                for part in stretches:
                    dense.feed(part)
                    yield part
                    here = {first + t for t in part.numbers.tolist()} & looks
                    counts.extend(_faces(shown.frames[t]) for t in here)
                    bar.update(len(part.numbers) / shown.fps)

            shots.append(flow.regional(tapped()))
            intensity.append(dense.curves()["intensity"])
    seen = np.concatenate([shot["mask"] for shot in shots])
    unreadable, odd, faceless, covered = masked.tolist()
    if not seen.any():
        looked = len(seen) - unreadable
        broken = f"{unreadable} of {len(seen)} images can't be read; copy them again." if unreadable else ""
        none = (
            f"no face was found in {looked} frames; it should be frontal and 60 pixels or wider."
            if looked
            else ""
        )
        raise DataError(f"{shown_name(source)}: {broken}{' ' * bool(broken and none)}{none}")
    scores, every = _decoded(used, shots)
    intervals = every[every["reason"] == ""].drop(columns=["moved_px", "reason"]).reset_index(drop=True)
    curve = pd.DataFrame(
        {
            "frame": shown.numbers,
            "seconds": shown.seconds,
            "face": seen,
            "intensity": np.where(seen, np.concatenate(intensity), np.nan).astype(float),
            "score": scores.astype(float),
        }
    )
    motion, landmarks = _apex(shown, intervals, used.windows["T"], stride)
    most = max(counts)
    several = (f"up to {most} faces at a time: the largest is followed",) if most > 1 else ()
    gone = tuple(
        f"{n} of {len(seen)} frames read {why}: masked, drawn as a gap"
        for n, why in (
            (unreadable, "can't be decoded (copy them again)"),
            (odd, "have another size than the rest"),
            (faceless, "show no face"),
            (covered, "show a covered face, or somebody else's"),
        )
        if n
    )
    return Prediction(
        Path(source),
        shown.fps,
        curve,
        _in_time(intervals, curve),
        motion,
        landmarks,
        (*shown.notes, *several, *gone),
        used.card,
        _in_time(every[every["reason"] != ""].reset_index(drop=True), curve),
        _in_time(_planted(used, shown, seen, every, progress), curve) if plant else None,
    )


def _shots(
    shown: Footage,
    masked: np.ndarray,
    lay: Callable[[int, faces.Followed], faces.Followed] = lambda first, part: part,
) -> Iterator[tuple[int, int, Iterator[faces.Followed]]]:
    """First sample and the end of each shot, and its face, followed; ``masked`` (4,) counts why frames are.

    ``lay`` may change the crops of a stretch, given the shot's first sample.
    """

    def stretches(first: int, stop: int) -> Iterator[faces.Followed]:
        usual = Usual(shown.fps)
        for followed in faces.follow(shown.frames[first:stop], shown.fps, largest=True):
            part = lay(first, followed)
            kept = part.mask.copy()
            kept[kept] = [usual.alike(crop) >= ALIKE for crop in part.crops[kept]]
            masked[:] += [*part.masked, (part.mask & ~kept).sum()]
            yield replace(part, mask=kept)

    for first, stop in itertools.pairwise([0, *shown.breaks, len(shown.frames)]):
        yield first, stop, stretches(first, stop)


def _planted(
    used: Weights, shown: Footage, seen: np.ndarray, found: pd.DataFrame, progress: bool | tqdm
) -> pd.DataFrame:
    """Plant movements where nothing was found and read the film again; `planting.held_against`, of all readings."""
    free = seen.copy()
    for row in found.itertuples():
        free[row.onset : row.offset + 1] = False
    for edge in shown.breaks:  # no movement lies across a cut
        free[edge - 1 : edge + 1] = False
    tables = [planting.held_against([], found)]  # where nothing finds a place
    rounds = planting.draw_rounds(free, shown.fps)
    silent = progress.disable if isinstance(progress, tqdm) else not progress
    for here in tqdm(rounds, "planted", unit="reading", leave=False, disable=silent):
        planter = planting.Planter(here, shown.fps)
        shots = [flow.regional(part) for _, _, part in _shots(shown, np.zeros(4, np.int64), planter.lay)]
        said = _decoded(used, shots)[1]
        tables.append(planting.held_against(here, said[said["reason"] == ""]))
    return pd.concat(tables, ignore_index=True).sort_values(["size_px", "onset"], ignore_index=True)


def _decoded(used: Weights, shots: list[dict]) -> tuple[np.ndarray, pd.DataFrame]:
    """The micro-expressions' score (T,), and the intervals of each shot by itself that are sure enough.

    Intervals hold onset, apex, offset (samples), confidence, emotion, moved_px and the reason against them, "" for none.
    """
    prior = np.asarray(used.spotting.scale["class_prior"])
    with np.errstate(divide="ignore"):
        log_prior = np.log(prior)
    every, tables, first = [], [], 0
    for shot in shots:
        seen = shot["mask"]
        scores = np.full((len(seen), len(spotting.KINDS)), np.nan)
        if seen.any():
            sequence = learn.videos.Sequence(shot["motion"], seen)
            [outputs] = learn.videos.predict_curves(used.spotting, [sequence])
            scores = np.where(seen[:, None], outputs["scores"], np.nan)
            curves = {
                **dict(zip(spotting.KINDS, scores.T, strict=False)),
                "logits": outputs["logits"],
                "log_prior": log_prior,
            }
            table = recognition.classify_adjusted(
                used.decoder.propose(curves["micro"], curves),
                curves["micro"],
                curves["logits"],
                log_prior=log_prior,
            )
            table = table[table["score"] >= used.least]
            tables.append(table.assign(**{mark: table[mark] + first for mark in ("onset", "apex", "offset")}))
        every.append(scores[:, 0])
        first += len(seen)
    motion, seen = (np.concatenate([shot[name] for shot in shots]) for name in ("motion", "mask"))
    intervals = pd.concat(tables, ignore_index=True).rename(columns={"score": "confidence"})
    intervals = intervals[["onset", "apex", "offset", "confidence", "emotion"]]
    ends = list(zip(intervals["onset"], intervals["offset"], strict=True))
    sizes = [moved(motion, *both) for both in ends]
    whole = [bool(seen[onset : offset + 1].all()) for onset, offset in ends]
    reasons = [_against(*about, used.floor) for about in zip(sizes, whole, strict=True)]
    return np.concatenate(every), intervals.assign(moved_px=sizes, reason=reasons)


def _against(size: float, whole: bool, floor: float) -> str:
    """What speaks against an interval, "" if nothing does."""
    if not whole:
        return "no face was seen in a part of it"
    if size < floor:
        return f"the skin moved by less than {floor:.2g} pixels of the crop, as noise and compression make it seem"
    if size > CEILING:
        return f"something moved by more than {CEILING:.2g} pixels of the crop, as no micro-expression does"
    return ""


class Usual:
    """What a face has looked like in the last seconds, fed crop by crop.

    Parameters
    ----------
    fps : float
        Crops a second.
    """

    def __init__(self, fps: float) -> None:  # noqa: D107
        self.rate = 1 / (_REMEMBERED * fps)
        self.mean: np.ndarray | None = None

    def alike(self, crop: np.ndarray) -> float:
        """Correlation with the usual face of the fifth of the blocks that are least like it, -1 to 1.

        Parameters
        ----------
        crop : (H, W) uint8
        """
        side = _BLOCKS * _BLOCK
        now = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
        usual = now if self.mean is None else self.mean
        one, other = (
            image.reshape(_BLOCKS, _BLOCK, _BLOCKS, _BLOCK).swapaxes(1, 2).reshape(_BLOCKS**2, -1)
            for image in (usual, now)
        )
        one, other = one - one.mean(axis=1, keepdims=True), other - other.mean(axis=1, keepdims=True)
        spread, varies = one.std(axis=1), other.std(axis=1)
        told = spread > _TEXTURE
        same = (one * other).mean(axis=1)[told] / (spread * np.maximum(varies, 1))[told]
        self.mean = usual + self.rate * (now - usual)
        return float(np.quantile(same, 0.2)) if told.any() else 1.0


def moved(motion: np.ndarray, onset: int, offset: int) -> float:
    """How far any region departs in an interval from a straight way, pixels of the crop.

    Parameters
    ----------
    motion : (T, 36) float32
        Of the whole video.
    onset, offset : int
        Samples, closed.
    """
    around = motion[max(0, onset - _AROUND_SAMPLES) : offset + _AROUND_SAMPLES + 1].astype(np.float64)
    smooth = gaussian_filter1d(around, _SMOOTH, axis=0)
    away = np.abs(smooth - np.linspace(smooth[0], smooth[-1], len(smooth)))
    first = min(onset, _AROUND_SAMPLES)
    return float(
        away[first : first + offset - onset + 1].max()
    )  # a blink beside the interval isn't its movement


def _faces(path: Path | video_files.Frame) -> int:
    """How many faces a frame shows."""
    image = faces.read_image(path)
    return 0 if image is None else faces.count_faces(image)


def _in_time(table: pd.DataFrame, curve: pd.DataFrame) -> pd.DataFrame:
    """Samples as native frames and in seconds; other columns as they are."""
    marks = ["onset", "apex", "offset"]
    places = table[marks].to_numpy(np.int64)
    frames = pd.DataFrame(curve["frame"].to_numpy()[places], columns=marks)
    seconds = pd.DataFrame(curve["seconds"].to_numpy()[places], columns=[f"{mark}_s" for mark in marks])
    return pd.concat([frames, seconds, table.drop(columns=marks)], axis=1)


def _apex(shown: Footage, intervals: pd.DataFrame, length: int, stride: int) -> tuple[Any, Any]:
    """Motion of the skin at the surest interval's apex, and the landmarks; None where there is no interval."""
    if intervals.empty:
        return None, None
    apex = int(intervals["apex"].iloc[int(np.argmax(intervals["confidence"]))])
    first = int(np.clip(apex - length * stride // 2, 0, max(0, len(shown.frames) - length * stride)))
    frames = shown.frames[first : first + length * stride]
    parts = list(faces.follow(frames, shown.fps, largest=True))
    crops, mask, landmarks = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("crops", "mask", "landmarks")
    )
    if not mask[apex - first]:
        return None, None
    inputs = flow.window_inputs(crops, mask, np.median(landmarks[mask], axis=0))
    scale = inputs["flow"].shape[-1] / crops.shape[-1]
    return inputs["flow"][apex - first].astype(np.float32), landmarks[apex - first] * scale


# ---- what is written --------------------------------------------------------------------------------------------


def write_prediction(made: Prediction, out: str | Path, name: str = "") -> list[Path]:
    """Write a prediction: curve and intervals as csv, everything as json, one figure.

    Parameters
    ----------
    made : Prediction
    out : str or Path
        Folder.
    name : str
        How the files' names begin; the video's if not given.

    Returns
    -------
    list of Path

    Raises
    ------
    DataError
        If the disk is full or the folder can't be written.
    """
    out, name = Path(out), name or _names([made.source])[0]
    curve, intervals = made.curve.round(6), made.intervals.round(6)
    record = {
        "video": shown_name(made.source.name),
        "samples_per_second": made.fps,
        "frames_count_from": 0,
        "meaning": MEANING,
        "intervals": records(intervals),
        "dropped": records(made.dropped.round(6)),
        "notes": list(made.notes),
        "card": made.card,
        "caption": _caption(made),
        "curve": curve.astype(object).where(curve.notna(), None).to_dict(orient="list"),
    }
    tables = {"_curve.csv": curve, "_intervals.csv": intervals}
    if made.planted is not None:
        tables["_planted.csv"] = made.planted.round(6)
        record["planted"] = {
            "said": planting.in_words(made.planted),
            "movements": records(tables["_planted.csv"]),
        }
    for suffix, table in tables.items():
        cache.write_table(out / f"{name}{suffix}", table, "%.12g")  # microseconds, however long the video
    cache.write_json(out / f"{name}.json", record)
    fig = made.plot()
    with style.context(), cache.atomic(out / f"{name}.png") as temporary:
        fig.savefig(temporary, metadata={"Software": None})
    plt.close(fig)
    return [out / f"{name}{suffix}" for suffix in (*tables, ".json", ".png")]


def _names(sources: Sequence[Path]) -> list[str]:
    """How the files of each video are called: its name, with so much more of its path that no two are the same."""
    paths = [Path(os.path.abspath(source)) for source in sources]
    tried = [[path.name if os.path.isdir(path) else path.stem for path in paths]]
    for depth in range(1, max((len(path.parts) for path in paths), default=1)):
        tried.append(["_".join(path.parts[1:][-depth:]) for path in paths])
    for full in tried:
        names = [shown_name(name).encode()[-_LONGEST:].decode(errors="ignore") for name in full]
        if len(set(names)) == len(names):
            return names
    raise Misuse("two of these videos would be written to the same files; give each its own --out.")


def shown_name(path: str | Path) -> str:
    """A path as text that can be printed and written, whatever its bytes are."""
    return os.fsencode(path).decode(errors="replace")


def draw_prediction(made: Prediction) -> Figure:
    """Intensity and score over time with the intervals, and the motion of the skin at the surest one's apex.

    Returns
    -------
    matplotlib.figure.Figure
        Its label is its caption.
    """
    with style.context():
        ratio = [4.2, 1] if made.motion is not None else [1]
        size = style.TWO_COLUMNS, 2.1
        fig, axes = plt.subplots(
            1, len(ratio), figsize=size, width_ratios=ratio, squeeze=False, layout="constrained"
        )
        axis, time = axes[0, 0], made.curve["seconds"].to_numpy()
        _draw_intervals(axis, made.intervals, time[-1] - time[0])
        for first, last in _runs(~made.curve["face"].to_numpy()):
            gone = axis.axvspan(time[first], time[last], label="no face", linewidth=0, hatch="////")
            gone.set(facecolor="white", edgecolor=style.GREY)
        axis.plot(time, made.curve["intensity"], color=style.BLUE, label="intensity")
        axis.plot(
            time,
            made.curve["score"],
            color=style.ORANGE,
            linewidth=0.8,
            label="score",
        )
        axis.set(xlabel="Time, s", ylabel="Intensity and score", ylim=(0, 1))
        axis.set_xlim(time[0], max(time[-1], time[0] + 1 / made.fps))
        handles = dict(zip(*axis.get_legend_handles_labels()[::-1], strict=True))  # one of each
        fig.legend(handles.values(), handles, loc="outside upper right", ncols=len(handles))
        if made.motion is not None:
            shown = pictures.arrows(axes[0, 1], made.motion, made.landmarks)
            surest = made.intervals.loc[made.intervals["confidence"].idxmax()]
            axes[0, 1].set_xlabel(f"Motion at {surest['apex_s']:.2f} s")
            fig.colorbar(shown, ax=axes[0, 1], label="Pixels of the crop", shrink=0.8)
        fig.set_label(_caption(made))
    return fig


def _draw_intervals(axis: Axes, intervals: pd.DataFrame, length: float) -> None:
    """Shade intervals, and write class and confidence above: the surest first, the others where there is room."""
    named: list[float] = []
    for row in intervals.sort_values("confidence", ascending=False).itertuples():
        inside = axis.axvspan(row.onset_s, row.offset_s, label="micro-expression", linewidth=0)
        inside.set(color=style.YELLOW, alpha=0.4)
        if all(abs(row.apex_s - other) > _LABEL * length for other in named):
            named.append(row.apex_s)
            words = f"{row.emotion}\n{row.confidence:.2f}"
            axis.annotate(
                words, (row.apex_s, 1.01), ha="center", va="bottom", fontsize="small", annotation_clip=False
            )


def _caption(made: Prediction) -> str:
    hatched = "" if made.curve["face"].all() else " Hatched: no face was seen."
    field = (
        " Right: motion of the skin at the apex of the surest one, from a calm frame near it; arrows are four times as "
        "long as the motion."
    )
    return (
        f"{shown_name(made.source.name)}: predicted intensity (share of the movement's own peak), the score from which "
        f"intervals are decoded, and the micro-expressions found (shaded) with class and confidence.{hatched}"
        f"{field if made.motion is not None else ''} Weights trained on {' and '.join(made.card['data'])}."
    )


def _runs(inside: np.ndarray) -> list[tuple[int, int]]:
    """First and last sample of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.r_[False, inside, False].astype(int)))
    return [(int(first), int(stop) - 1) for first, stop in edges.reshape(-1, 2)]


def film(made: Prediction, out: str | Path, name: str = "") -> Path:
    """Write the video again with its curve below and the intervals named, frame by frame.

    It is H.264, which browsers play, too; what they show beside it, the intervals as WebVTT, is called alike.

    Parameters
    ----------
    made, out, name
        As for `write_prediction`; the files are ``<name>_overlay.mp4`` and ``.vtt``.

    Raises
    ------
    DataError
        If the disk is full or the folder can't be written.
    """
    file = Path(out) / f"{name or _names([made.source])[0]}_overlay.mp4"
    numbers = made.curve["frame"].tolist()
    height, width = next(picture.shape[:2] for picture in _pictures(made, numbers) if picture is not None)
    height, width = height // 2 * 2, width // 2 * 2  # the codec takes even sides only
    room = max(60, height // 8 * 2)  # for the curve

    def drawn() -> Iterator[np.ndarray]:
        for t, picture in enumerate(_pictures(made, numbers)):
            above = np.zeros((height, width, 3), np.uint8)
            if picture is not None:
                part = picture[:height, :width]
                above[: part.shape[0], : part.shape[1]] = part
            _name(above, made, t)
            yield np.vstack([above, _strip(made, t, width, room)])

    video_files.write(file, drawn(), made.fps, "libx264", crf="20", preset="veryfast")
    clock = [1000 * t / made.fps for t in range(len(numbers) + 1)]
    inside = [
        np.flatnonzero(made.curve["frame"].between(*ends))
        for ends in made.intervals[["onset", "offset"]].to_numpy()
    ]
    words = [f"{row.emotion} {row.confidence:.2f}" for row in made.intervals.itertuples()]
    cues = [(int(clock[t[0]]), int(clock[t[-1] + 1]), text) for t, text in zip(inside, words, strict=True)]
    with cache.atomic(file.with_suffix(".vtt")) as temporary:
        temporary.write_text(video_files.captions(cues), encoding="utf-8")
    return file


def _pictures(made: Prediction, numbers: Sequence[int]) -> Iterator[np.ndarray | None]:
    """Each sample's picture in colour, (H, W, 3) uint8; None for one that can't be read."""
    if not made.source.is_dir():
        yield from video_files.pictures(made.source, numbers)
        return
    paths, _ = images(made.source)
    for number in numbers:
        yield faces.read_picture(paths[number])


def _name(picture: np.ndarray, made: Prediction, t: int) -> None:
    """Write into a sample's picture, in place, class and confidence of the interval that it lies in, or that no face is."""
    frame = made.curve["frame"].iloc[t]
    now = made.intervals[(made.intervals["onset"] <= frame) & (made.intervals["offset"] >= frame)]
    words = [f"{row.emotion} {row.confidence:.2f}" for row in now.itertuples()]
    if not made.curve["face"].iloc[t]:
        words = ["no face"]
    size = max(0.4, len(picture) / 700)
    for text in words:
        for colour, shift in ((_DARK, 1), (_LIGHT, 0)):  # a shadow, so that it is read on any ground
            place = round(12 * size) + shift, round(36 * size) + shift
            width = max(1, round(size))
            cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, width, cv2.LINE_AA)


def _strip(made: Prediction, t: int, width: int, height: int) -> np.ndarray:
    """The curves of the seconds around a sample, (height, width, 3) uint8: now in the middle, intervals lighter."""
    strip = np.full((height, width, 3), _DARK, np.uint8)
    reach = round(_AROUND / 2 * made.fps)
    frames = made.curve["frame"].to_numpy()
    shown = np.arange(max(0, t - reach), min(len(frames), t + reach + 1))
    place = np.rint((shown - t + reach) / (2 * reach) * (width - 1)).astype(np.int32)
    for row in made.intervals.itertuples():
        inside = place[(frames[shown] >= row.onset) & (frames[shown] <= row.offset)]
        if len(inside):
            strip[:, inside[0] : inside[-1] + 1] = _INSIDE
    for name, colour in (("score", _SCORE), ("intensity", _INTENSITY)):
        value = made.curve[name].to_numpy()[shown]
        level = np.rint((1 - np.nan_to_num(value)) * (height - 3) + 1).astype(np.int32)
        for first, last in _runs(~np.isnan(value)):
            points = np.stack([place, level], axis=1)[first : last + 1]
            cv2.polylines(strip, [points], False, colour, max(1, round(height / 60)), cv2.LINE_AA)
    strip[:, width // 2] = _LIGHT
    return strip


def predict_all(
    sources: Iterable[str | Path],
    out: str | Path,
    weights: Weights,
    *,
    fps: float | None = None,
    overlay: bool = False,
    plant: bool = False,
    progress: bool = False,
) -> list[str]:
    """Predict videos one after the other; what fails is said and doesn't stop the others.

    Parameters
    ----------
    sources, weights, fps, plant, progress
        As for `predict_video`.
    out : str or Path
        Folder that everything is written to.
    overlay : bool
        Write the film, too.

    Returns
    -------
    list of str
        A sentence a video that failed.

    Raises
    ------
    DataError
        If the folder can't be written, before anything is computed; Misuse if fps isn't above 0.
    """
    _writable(Path(out))
    failed, rows, printed = [], [], None
    paths = list(dict.fromkeys(map(Path, sources)))
    lengths = [expected(path, fps) for path in paths]
    with tqdm(total=sum(lengths) + 0.01, bar_format=_BAR, unit_scale=True, disable=not progress) as bar:
        for source, name, ahead in zip(paths, _names(paths), np.cumsum(lengths), strict=True):
            try:
                made = predict_video(source, weights, fps=fps, plant=plant, progress=bar)
                files = [*write_prediction(made, out, name), *([film(made, out, name)] if overlay else [])]
            except Misuse:
                raise
            except (DataError, OSError, cv2.error, MemoryError) as error:
                known = isinstance(error, DataError)
                sentence = str(error) if known else f"{source} can't be predicted ({error}); copy it again."
                failed.append(shown_name(sentence))
                rows.append((shown_name(source.name), "", "", "", failed[-1]))
            else:
                bar.write(f"{made!r}; {', '.join(shown_name(file) for file in files)}")
                if made.planted is not None:
                    bar.write(planting.in_words(made.planted))
                rows.append(_row(made))
                printed = card_in_words(weights.card)
            bar.update(ahead - bar.n)
    if printed:
        print(
            pd.DataFrame(rows, columns=["file", "minutes", "face seen", "intervals", "remarks"]).to_string(
                index=False
            )
        )
        print(printed)
    return failed


def _row(made: Prediction) -> tuple:
    """What the table over all videos says of one."""
    dropped = [
        f"dropped: {count} where {why}" for why, count in made.dropped["reason"].value_counts().items()
    ]
    minutes = len(made.curve) / made.fps / 60
    remarks = "; ".join([*made.notes, *dropped])
    return (
        shown_name(made.source.name),
        f"{minutes:.1f}",
        f"{made.curve['face'].mean():.0%}",
        len(made.intervals),
        remarks,
    )


def _counted(n: int) -> str:
    return f"{n} micro-expression{'s' if n != 1 else ''}"


def _writable(out: Path) -> None:
    """Refuse a folder that can't be written before anything is computed for it."""
    place = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise DataError(
            f"{out} can't be written ({error.strerror}); name another folder with --out, or change its rights."
        ) from error
