"""What a data set is: read and check a manifest, and find the frames that it describes.

A manifest (``data_manifests/<name>.yml``, schema in ``manifest_schema.yml``) says everything that the code
needs to know about a data set, so that no code ever asks for a data set's name: where frames lie, which
cells of which table hold what, what to do with broken rows, whose face may be shown.

Frame numbers are 0-based from here on: number = last integer of the file's name - ``first_frame``. Frames
may be missing in between; nothing assumes that they are contiguous.
"""

import re
from dataclasses import asdict, dataclass
from functools import cache as remember
from pathlib import Path
from typing import Any, Literal

import jsonschema
import numpy as np
import pandas as pd
import yaml

from melib import cache
from melib.errors import DataError

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".tif", ".tiff")
_TABLES = (".xlsx", ".xls")
_HELP = "data_manifests/README.md explains every field"


@dataclass(frozen=True)
class Manifest:
    """A data set's description: the fields of its yml file, explained in data_manifests/README.md."""

    name: str
    title: str
    citation: str
    licence: str
    contact: str
    fps: float
    first_frame: int
    has_context: bool
    show_subjects: tuple[str, ...] | Literal["all"]
    frames: dict
    table: dict
    repair: dict
    emotion_classes: dict
    truth: str | None
    source: Path


def read_manifest(name_or_path: str | Path) -> Manifest:
    """Read and check a manifest.

    Parameters
    ----------
    name_or_path : str or Path
        A name in ``data_manifests`` ("synthme"), or the path of a yml file.

    Raises
    ------
    DataError
        If there is no such manifest, or it breaks the schema: file, line and remedy are named.
    """
    path = _locate(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} isn't UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    try:
        root = yaml.compose(text)
        record = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DataError(
            f"{path}, line {line}: not valid yaml ({error.problem}); correct that line."
        ) from error
    if root is None:
        raise DataError(f"{path} is empty; copy data_manifests/synthme.yml and change it ({_HELP}).")
    _refuse_repeated_keys(path, root)
    found = sorted(_validator().iter_errors(record), key=lambda error: _line(root, error))
    if found:
        where = ".".join(str(step) for step in found[0].absolute_path)
        message = found[0].message
        raise DataError(
            f"{path}, line {_line(root, found[0])}: {where + ': ' if where else ''}{message}; correct that "
            f"line ({_HELP})."
        )
    shown = record["show_subjects"]
    record["show_subjects"] = shown if shown == "all" else tuple(shown)
    return Manifest(**{"truth": None, **record, "fps": float(record["fps"])}, source=path)


def manifest_hash(manifest: Manifest) -> str:
    """20 hex digits over everything that the manifest says, not over comments or where the file lies."""
    return cache.key(1, {name: value for name, value in asdict(manifest).items() if name != "source"})


def videos(manifest: Manifest, root: str | Path) -> pd.DataFrame:
    """Every folder of frames below ``root``.

    Returns
    -------
    DataFrame
        subject, video (text), folder (Path), in natural order (2 before 10).

    Raises
    ------
    DataError
        If ``root`` is missing or holds no folder that fits ``frames.pattern``.
    """
    root = _existing(root, manifest)
    pattern = manifest.frames["pattern"]
    rows = [
        (match["subject"], match["video"], folder)
        for folder in root.glob(re.sub(r"\{\w+\}", "*", pattern))
        if folder.is_dir() and (match := _pattern(pattern).fullmatch(folder.relative_to(root).as_posix()))
        if not any(part.startswith(".") for part in folder.relative_to(root).parts)  # left by a copy
    ]
    if not rows:
        raise DataError(
            f"{root} holds no folder of frames like {pattern} ({manifest.name}); give the folder that "
            f"contains {pattern.split('/')[0]}, or correct frames.pattern in {manifest.source}."
        )
    rows.sort(key=lambda row: (_natural(row[0]), _natural(row[1])))
    return pd.DataFrame(rows, columns=["subject", "video", "folder"])


def tables(manifest: Manifest, root: str | Path) -> list[Path]:
    """Annotation tables (.xlsx, .xls) that lie in the data set's folder, by name.

    Raises
    ------
    DataError
        If ``root`` is missing or holds none.
    """
    found = [path for path in sorted(_existing(root, manifest).iterdir()) if path.suffix.lower() in _TABLES]
    found = [
        path for path in found if not path.name.startswith(("~", "."))
    ]  # open in a spreadsheet, a copy's
    if not found:
        raise DataError(
            f"{root} holds no annotation table ({', '.join(_TABLES)}); put the release's table of "
            f"{manifest.name} there."
        )
    return found


def frame_files(folder: str | Path, manifest: Manifest) -> tuple[np.ndarray, list[Path]]:
    """Frames of one video, ordered by the last integer of their names (2 before 10).

    Returns
    -------
    numbers : (N,) int64
        0-based frame indices, increasing, with gaps where files are missing.
    paths : list of Path
        The N files.

    Raises
    ------
    DataError
        If the folder is missing or holds no image, or a name has no number, one below ``first_frame``, or
        one that another file has too.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is missing; check the folder of {manifest.name} that was given as root.")
    paths = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGES
        and not path.name.startswith(".")  # hidden: left by a copy or a crash
    ]
    if not paths:
        raise DataError(
            f"{folder} holds no image ({', '.join(IMAGES)}); copy this video again, or remove it."
        )
    by_number: dict[int, Path] = {}
    for path in sorted(paths):
        integers = re.findall(r"\d+", path.stem)
        if not integers:
            raise DataError(f"{path} has no frame number in its name; move it out of the folder.")
        number = int(integers[-1]) - manifest.first_frame
        if number < 0:
            raise DataError(
                f"{path} lies before the first frame, {manifest.first_frame}; correct first_frame in "
                f"{manifest.source} or remove the file."
            )
        if number in by_number:
            raise DataError(f"{path} and {by_number[number].name} are the same frame; remove one of them.")
        by_number[number] = path
    numbers = sorted(by_number)
    return np.array(numbers, np.int64), [by_number[number] for number in numbers]


def spans(manifest: Manifest, table_of_videos: pd.DataFrame) -> pd.DataFrame:
    """``table_of_videos`` with n_first, n_last (0-based, frames that exist) and n_frames (how many exist)."""
    numbers = [frame_files(folder, manifest)[0] for folder in table_of_videos["folder"]]
    return table_of_videos.assign(
        n_first=[int(each[0]) for each in numbers],
        n_last=[int(each[-1]) for each in numbers],
        n_frames=[len(each) for each in numbers],
    )


def load_truth(manifest: Manifest, root: str | Path) -> pd.DataFrame | None:
    """True intensity of a simulated data set, one row a frame, or None where nobody knows it.

    Returns
    -------
    DataFrame or None
        subject, video, event (text, "" outside a movement), frame (int, 0-based), rms_px, peak_px (float,
        pixels of the 112-pixel crop), profile, blink (float, 0 to 1), and one column a unit: au1, au2, ...
        (pixels).

    Raises
    ------
    DataError
        If the manifest names a file that is missing or lacks a column.
    """
    if manifest.truth is None:
        return None
    path = _existing(root, manifest) / manifest.truth
    if not path.is_file():
        raise DataError(
            f"{path} is missing; simulate {manifest.name} again, or remove truth from its manifest."
        )
    text = {"subject": str, "video": str, "event": str}
    try:
        table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""], encoding="utf-8")
        needed = [*text, "frame", "rms_px", "peak_px", "profile", "blink"]
        lacking = [name for name in needed if name not in table]
        if lacking:
            raise DataError(f"{path} has no column {lacking[0]}; simulate {manifest.name} again.")
        numeric = {name: "float64" for name in table if name not in text}
        table = table.fillna(dict.fromkeys(text, "")).astype(numeric | {"frame": "int64"})
        return table.assign(frame=table["frame"] - manifest.first_frame)
    except DataError:
        raise
    except (ValueError, TypeError) as error:  # pandas' own errors are ValueErrors too
        raise DataError(f"{path} can't be read ({error}); simulate {manifest.name} again.") from error


def line_of(manifest: Manifest, *path: str) -> int:
    """Line of a field in the manifest's file (1-based), for messages that ask to change it."""
    return _node_line(yaml.compose(manifest.source.read_text(encoding="utf-8")), path)


def _locate(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.suffix in (".yml", ".yaml"):
        if not path.is_file():
            raise DataError(f"{path} is missing; give a manifest's path, or one of {', '.join(_names())}.")
        return path
    for folder in _FOLDERS:
        if (folder / f"{name_or_path}.yml").is_file():
            return folder / f"{name_or_path}.yml"
    raise DataError(
        f"There is no manifest called {name_or_path}; known are {', '.join(_names())}; for another data set "
        f"write a yml file ({_HELP}) and give its path."
    )


# In a checkout the manifests lie beside the package, in a wheel inside it.
_FOLDERS = (Path(__file__).parent.parent / "data_manifests", Path(__file__).parent / "data_manifests")


def _names() -> list[str]:
    return sorted({path.stem for folder in _FOLDERS for path in folder.glob("*.yml")})


def _existing(root: str | Path, manifest: Manifest) -> Path:
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root} is missing or no folder; give that of {manifest.name} as root.")
    if not any(root.iterdir()):
        raise DataError(f"{root} is empty; copy {manifest.name} there, or give another root.")
    return root


@remember
def _pattern(pattern: str) -> re.Pattern:
    """Regular expression of a folder pattern; a field that comes twice must have the same text twice."""
    parts, seen = [], set()
    for part in re.split(r"(\{\w+\})", pattern):
        name = part[1:-1]
        if not part.startswith("{"):
            parts.append(re.escape(part))
        elif name in seen:
            parts.append(f"(?P={name})")
        else:
            parts.append(f"(?P<{name}>[^/]+?)")
            seen.add(name)
    return re.compile("".join(parts))


def _natural(text: str) -> list[tuple[int, str]]:
    """Sorting key: runs of digits compare as numbers, the rest as text."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text) if part]


@remember
def _validator() -> jsonschema.Draft202012Validator:
    schema = (Path(__file__).parent / "manifest_schema.yml").read_text(encoding="utf-8")
    return jsonschema.Draft202012Validator(yaml.safe_load(schema))


def _refuse_repeated_keys(path: Path, node: Any) -> None:
    """Yaml lets the last of two equal keys win in silence."""
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for name, value in node.value:
            if name.value in keys:
                line = name.start_mark.line + 1
                raise DataError(f"{path}, line {line}: {name.value} stands there twice; remove one of them.")
            keys.add(name.value)
            _refuse_repeated_keys(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_repeated_keys(path, value)


def _line(root: Any, error: jsonschema.ValidationError) -> int:
    """Line of the value that breaks the schema, or of the key that the schema doesn't know."""
    path = list(error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = error.schema.get("properties", {})
        path += [name for name in error.instance if name not in known][:1]
    return _node_line(root, path)


def _node_line(node: Any, path: Any) -> int:
    line = node.start_mark.line + 1
    for step in path:
        if isinstance(node, yaml.MappingNode):
            entries = {name.value: (name, value) for name, value in node.value}
            if str(step) not in entries:
                return line
            name, node = entries[str(step)]
            line = name.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode):
            node = node.value[int(step)]
            line = node.start_mark.line + 1
    return line
