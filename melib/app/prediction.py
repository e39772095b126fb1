"""What the models say of a user's own video: intensity, intervals with their confidence, one figure (files: predictions.py).

    file or folder -> frames at about 30 a second -> the face, followed -+-> regional motion -> spotting -> intervals
                                                                         +-> dense windows   -> intensity curve

One pass over the video, in stretches: memory holds some seconds of it, whatever its length. The weights come from a run, or
are those that the package ships, which were trained on simulated faces only; their card says what they were worth.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
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
from melib.app.footage import Footage, footage, stretches
from melib.app.predictor_weights import Weights, load_weights
from melib.data import video_files
from melib.errors import DataError
from melib.learn.dense import Dense
from melib.paper import style
from melib.simulate.schedule import MACRO_RANGE
from melib.study import recognition, spotting
from melib.vision import faces, flow

# Frames of a video, evenly spaced, in which faces are counted.
_LOOKS = 9
# Why frames are masked: as `faces.follow` counts it, then what is told here.
_MASKED = (
    "can't be decoded (copy them again)",
    "have another size than the rest",
    "show no face",
    "show a covered face, or somebody else's",
    "lie in a dissolve from one shot to the next",
)
_MARKS = ["onset", "apex", "offset"]
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
BAR = "{l_bar}{bar}| {n_fmt} of {total_fmt} s of video, {remaining} left"
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
        As ``intervals``: what the decoder keeps and can't be, or is less sure of than `Weights.least`, with moved_px, pixels
        of the crop, and the reason.
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
        n = len(self.intervals)
        return f"{shown_name(self.source.name)}: {length:.1f} s, {n} micro-expression{'s' * (n != 1)}"


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
    length, stride = used.windows["T"], max(1, round(used.windows["step"] * shown.fps))
    counts, masked, shots = [0], np.zeros(len(_MASKED), np.int64), []
    own = tqdm(
        total=len(shown.frames) / shown.fps, bar_format=BAR, unit_scale=True, disable=progress is not True
    )
    with contextlib.nullcontext(progress) if isinstance(progress, tqdm) else own as bar:
        bar.set_description(shown_name(Path(source).name))
        for first, stop, parts in _shots(shown, masked):
            dense = Dense({"intensity": used.intensity}, stop - first, length, stride)

            def tapped(first=first, parts=parts, dense=dense) -> Iterator[faces.Followed]:
                for part in parts:
                    dense.feed(part)
                    yield part
                    here = {first + t for t in part.numbers.tolist()} & looks
                    counts.extend(_faces(shown.frames[t]) for t in here)
                    bar.update(len(part.numbers) / shown.fps)

            shots.append(flow.regional(tapped()))
            shots[-1]["intensity"] = dense.curves()["intensity"]
    mask, intensity = (np.concatenate([shot[name] for shot in shots]) for name in ("mask", "intensity"))
    if not mask.any():
        broken = int(masked[0])
        why = [f"{broken} of {len(mask)} images can't be read; copy them again."] * bool(broken)
        if broken < len(mask):
            why.append(
                f"no face was found in {len(mask) - broken} frames; it should be frontal and 60 pixels or wider."
            )
        raise DataError(f"{shown_name(source)}: {' '.join(why)}")
    scores, every = _decoded(used, shots)
    intervals = every[every["reason"] == ""].drop(columns=["moved_px", "reason"]).reset_index(drop=True)
    curve = pd.DataFrame(
        {
            "frame": shown.numbers,
            "seconds": shown.seconds,
            "face": mask,
            "intensity": np.where(mask, intensity, np.nan).astype(float),
            "score": scores.astype(float),
        }
    )
    notes = [*shown.notes]
    if max(counts) > 1:
        notes.append(f"up to {max(counts)} faces at a time: the largest is followed")
    notes += [
        f"{n} of {len(mask)} frames read {why}: masked, drawn as a gap"
        for n, why in zip(masked, _MASKED, strict=True)
        if n
    ]
    return Prediction(
        Path(source),
        shown.fps,
        curve,
        _in_time(intervals, curve),
        *_apex(shown, intervals, length, stride),
        tuple(notes),
        used.card,
        _in_time(every[every["reason"] != ""].reset_index(drop=True), curve),
        _in_time(_planted(used, shown, mask, every, progress), curve) if plant else None,
    )


def _shots(
    shown: Footage,
    masked: np.ndarray,
    lay: Callable[[int, faces.Followed], faces.Followed] = lambda first, part: part,
) -> Iterator[tuple[int, int, Iterator[faces.Followed]]]:
    """First sample and the end of each shot, and its face, followed; ``masked`` counts why frames are (`_MASKED`).

    ``lay`` may change the crops of a stretch, given the shot's first sample.
    """

    def followed(first: int, stop: int) -> Iterator[faces.Followed]:
        usual, mixed = Usual(shown.fps), any(begin <= first < end for begin, end in shown.dissolves)
        for part in faces.follow(shown.frames[first:stop], shown.fps, largest=True):
            part, mask = lay(first, part), part.mask.copy()
            mask[mask] = not mixed and [usual.alike(crop) >= ALIKE for crop in part.crops[mask]]
            masked[:3] += part.masked
            masked[4 if mixed else 3] += (part.mask & ~mask).sum()
            yield replace(part, mask=mask)

    for first, stop in itertools.pairwise([0, *shown.breaks, len(shown.frames)]):
        yield first, stop, followed(first, stop)


def _planted(
    used: Weights, shown: Footage, mask: np.ndarray, intervals: pd.DataFrame, progress: bool | tqdm
) -> pd.DataFrame:
    """Plant movements where nothing was found and read the film again; `planting.held_against`, of all readings."""
    free = mask.copy()
    for row in intervals.itertuples():
        free[row.onset : row.offset + 1] = False
    for edge in shown.breaks:  # no movement lies across a cut
        free[edge - 1 : edge + 1] = False
    tables = [planting.held_against([], intervals)]  # where nothing finds a place
    rounds = planting.draw_rounds(free, shown.fps)
    silent = progress.disable if isinstance(progress, tqdm) else not progress
    for here in tqdm(rounds, "planted", unit="reading", leave=False, disable=silent):
        planter = planting.Planter(here, shown.fps)
        read = _shots(shown, np.zeros(len(_MASKED), np.int64), planter.lay)
        _, again = _decoded(used, [flow.regional(parts) for _, _, parts in read])
        tables.append(planting.held_against(here, again[again["reason"] == ""]))
    return pd.concat(tables, ignore_index=True).sort_values(["size_px", "onset"], ignore_index=True)


def _decoded(used: Weights, shots: list[dict]) -> tuple[np.ndarray, pd.DataFrame]:
    """The micro-expressions' score (T,), and the intervals of each shot by itself that are sure enough.

    Intervals hold onset, apex, offset (samples), confidence, emotion, moved_px and the reason against them, "" for none.
    """
    parts, tables, first = [], [], 0
    for shot in shots:
        scores = np.full(len(shot["mask"]), np.nan)
        if shot["mask"].any():
            scores, table = _decoded_shot(used, shot["motion"], shot["mask"])
            tables.append(table.assign(**{mark: table[mark] + first for mark in _MARKS}))
        parts.append(scores)
        first += len(scores)
    return np.concatenate(parts), pd.concat(tables, ignore_index=True)


def _decoded_shot(used: Weights, motion: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, pd.DataFrame]:
    """As `_decoded`, of one shot in which a face is seen."""
    [outputs] = learn.videos.predict_curves(used.spotting, [learn.videos.Sequence(motion, mask)])
    scores = np.where(mask[:, None], outputs["scores"], np.nan)
    with np.errstate(divide="ignore"):
        log_prior = np.log(np.asarray(used.spotting.scale["class_prior"]))
    curves = {
        **dict(zip(spotting.KINDS, scores.T, strict=False)),
        "logits": outputs["logits"],
        "log_prior": log_prior,
    }
    intervals = recognition.classify_adjusted(
        used.decoder.propose(curves["micro"], curves), curves["micro"], curves["logits"], log_prior=log_prior
    )
    sure = min(used.decoder.least, used.least)
    intervals = intervals[intervals["score"] >= sure].rename(columns={"score": "confidence"})
    intervals = intervals[[*_MARKS, "confidence", "emotion"]].reset_index(drop=True)
    ends = intervals[["onset", "offset"]].itertuples(index=False)
    about = [(moved(motion, *both), bool(mask[slice(both[0], both[1] + 1)].all())) for both in ends]
    unsure = f"the confidence is below {used.least:.2g}, which films without a micro-expression reach, too"
    reasons = [
        _against(size, whole, used.floor) or (unsure if confidence < used.least else "")
        for (size, whole), confidence in zip(about, intervals["confidence"], strict=True)
    ]
    return scores[:, 0], intervals.assign(moved_px=[size for size, _ in about], reason=reasons)


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
        textured = spread > _TEXTURE
        same = (one * other).mean(axis=1)[textured] / (spread * np.maximum(varies, 1))[textured]
        self.mean = usual + self.rate * (now - usual)
        return float(np.quantile(same, 0.2)) if textured.any() else 1.0


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
    places = table[_MARKS].to_numpy(np.int64)
    frames = pd.DataFrame(curve["frame"].to_numpy()[places], columns=_MARKS)
    seconds = pd.DataFrame(curve["seconds"].to_numpy()[places], columns=[f"{mark}_s" for mark in _MARKS])
    return pd.concat([frames, seconds, table.drop(columns=_MARKS)], axis=1)


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


def shown_name(path: str | Path) -> str:
    """A path as text that can be printed and written, whatever its bytes are."""
    return os.fsencode(path).decode(errors="replace")


# ---- the figure ----------------------------------------------------------------------------------------------


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
        for first, stop in stretches(~made.curve["face"].to_numpy()):
            gone = axis.axvspan(time[first], time[stop - 1], label="no face", linewidth=0, hatch="////")
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
