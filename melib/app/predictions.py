"""What `melib predict` writes: tables, json, figure and film of each video, and a table over all of them."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
from tqdm.auto import tqdm

from melib.app import planting, prediction
from melib.app.footage import expected, images, stretches
from melib.app.prediction import Prediction, predict_video, shown_name
from melib.app.predictor_weights import Weights, card_in_words
from melib.data import cache, video_files
from melib.errors import DataError, Misuse
from melib.paper import style
from melib.study.results import records
from melib.vision import faces

# Bytes of a file's name that are kept for what is written beside it: file systems take 255, endings and all.
_LONGEST = 180
_SHOWN = 40  # letters of a name in the table
# Colours of the film, blue first: those of the figure, lighter on dark.
_DARK, _INSIDE, _LIGHT = (30, 30, 30), (30, 90, 120), (255, 255, 255)
_INTENSITY, _SCORE = (240, 190, 100), (60, 130, 240)
_AROUND = 8.0  # seconds of the curve below each frame of the film


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
    fig = made.plot()
    curve, intervals = made.curve.round(6), made.intervals.round(6)
    record = {
        "video": shown_name(made.source.name),
        "samples_per_second": made.fps,
        "frames_count_from": 0,
        "meaning": prediction.MEANING,
        "intervals": records(intervals),
        "dropped": records(made.dropped.round(6)),
        "notes": list(made.notes),
        "card": made.card,
        "caption": fig.get_label(),
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
    numbers, face = made.curve["frame"], made.curve["face"].to_numpy()
    words, cues = np.where(face, "", "no face").astype(object), []
    for row in made.intervals.itertuples():
        inside = np.flatnonzero(numbers.between(row.onset, row.offset))
        words[inside] = f"{row.emotion} {row.confidence:.2f}"
        begin, end = (int(1000 * t / made.fps) for t in (inside[0], inside[-1] + 1))
        cues.append((begin, end, words[inside[0]]))
    first = next(picture for picture in _pictures(made, numbers) if picture is not None)
    height, width = (side // 2 * 2 for side in first.shape[:2])  # the codec takes even sides only
    room = max(60, height // 8 * 2)  # for the curve

    def drawn() -> Iterator[np.ndarray]:
        for t, picture in enumerate(_pictures(made, numbers)):
            above = np.zeros((height, width, 3), np.uint8)
            if picture is not None:
                part = picture[:height, :width]
                above[: part.shape[0], : part.shape[1]] = part
            _write_into(above, words[t])
            yield np.vstack([above, _strip(made, face & (words != ""), t, width, room)])

    video_files.write(file, drawn(), made.fps, "libx264", crf="20", preset="veryfast")
    with cache.atomic(file.with_suffix(".vtt")) as temporary:
        temporary.write_text(video_files.captions(cues), encoding="utf-8")
    return file


def _pictures(made: Prediction, numbers: Iterable[int]) -> Iterator[np.ndarray | None]:
    """Each sample's picture in colour, (H, W, 3) uint8; None for one that can't be read."""
    if not made.source.is_dir():
        yield from video_files.pictures(made.source, numbers)
        return
    paths, _ = images(made.source)
    for number in numbers:
        yield faces.read_picture(paths[number])


def _write_into(picture: np.ndarray, words: str) -> None:
    """Write some words into a picture, in place, with a shadow, so that they are read on any ground."""
    size = max(0.4, len(picture) / 700)
    for colour, shift in ((_DARK, 1), (_LIGHT, 0)):
        place = round(12 * size) + shift, round(36 * size) + shift
        width = max(1, round(size))
        cv2.putText(picture, words, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, width, cv2.LINE_AA)


def _strip(made: Prediction, inside: np.ndarray, t: int, width: int, height: int) -> np.ndarray:
    """The curves of the seconds around a sample, (height, width, 3) uint8: now in the middle, intervals lighter."""
    strip = np.full((height, width, 3), _DARK, np.uint8)
    reach = round(_AROUND / 2 * made.fps)
    shown = np.arange(max(0, t - reach), min(len(inside), t + reach + 1))
    place = np.rint((shown - t + reach) / (2 * reach) * (width - 1)).astype(np.int32)
    for begin, end in stretches(inside[shown]):
        strip[:, place[begin] : place[end - 1] + 1] = _INSIDE
    for name, colour in (("score", _SCORE), ("intensity", _INTENSITY)):
        value = made.curve[name].to_numpy()[shown]
        level = np.rint((1 - np.nan_to_num(value)) * (height - 3) + 1).astype(np.int32)
        for part in stretches(~np.isnan(value)):
            points = np.stack([place, level], axis=1)[slice(*part)]
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
    with tqdm(
        total=sum(lengths) + 0.01, bar_format=prediction.BAR, unit_scale=True, disable=not progress
    ) as bar:
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
        print(_table(rows), printed, sep="\n")
    return failed


def _row(made: Prediction) -> tuple:
    """What the table over all videos says of one."""
    dropped = made.dropped["reason"].value_counts()
    remarks = [*made.notes, *(f"dropped: {count} where {why}" for why, count in dropped.items())]
    minutes, share = len(made.curve) / made.fps / 60, made.curve["face"].mean()
    return (
        shown_name(made.source.name),
        f"{minutes:.2f}",
        f"{share:.0%}",
        len(made.intervals),
        "; ".join(remarks),
    )


def _table(rows: list[tuple]) -> str:
    """Rows below their heads; names are cut in the middle, and remarks, last, may be as long as they are."""
    short = [
        (n if len(n) <= _SHOWN else f"{n[: _SHOWN // 2]}...{n[-_SHOWN // 4 :]}", *rest) for n, *rest in rows
    ]
    lines = [("file", "minutes", "face seen", "intervals", "remarks"), *short]
    wide = [max(len(str(line[k])) for line in lines) for k in range(4)]
    return "\n".join(
        "  ".join(f"{v!s:<{w}}" for v, w in zip(line, [*wide, 0], strict=True)) for line in lines
    )


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
