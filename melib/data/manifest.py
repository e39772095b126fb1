"""What a data set is: read and check a manifest, and find the frames that it describes.

A manifest (``data_manifests/<name>.yml``, schema in ``manifest_schema.yml``) says everything that the code
needs to know about a data set, so that no code ever asks for a data set's name: where frames lie, which
cells of which table hold what, what to do with broken rows, whose face may be shown.

Frame numbers are 0-based from here on: number = the integer of the file's name that rises from frame to frame -
``first_frame``, or the place in a video file. Frames may be missing in between; nothing assumes that they are contiguous.
"""

import filecmp
import math
import os
import re
import reprlib
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cache as remember
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import yaml

from melib import PACKAGE
from melib.data import cache, layouts, video_files
from melib.data.layouts import IMAGES
from melib.errors import DataError

if TYPE_CHECKING:  # its import takes a second, which not every process needs
    import jsonschema

_TABLES = (".xlsx", ".xls")
_YML = (".yml", ".yaml")
_LARGEST = 100_000  # bytes of a manifest, and nodes
_ALIAS = 2_000  # nodes that a repetition counts, too, so that many can't make it deep
_LAST = 10**9  # frame of the longest video
_DEEPEST = 12  # mappings and lists in each other; the schema knows 6
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
    long: bool = False
    unit: Literal["frames", "seconds"] = "frames"
    versions: tuple = ()
    join: dict | None = None
    longest_s: dict = field(default_factory=dict)
    expected: dict = field(default_factory=dict)
    known: dict = field(default_factory=dict)


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
    root, record = _parsed(path)
    if root is None:
        raise DataError(f"{path} is empty; copy data_manifests/synthme.yml and change it ({_HELP}).")
    if fault := _fault(root, record):
        raise DataError(f"{path}, line {fault[0]}: {fault[1]}; correct that line ({_HELP}).")
    classes = record["emotion_classes"]
    record["emotion_classes"] = {name: [e.strip().lower() for e in classes[name]] for name in classes}
    shown = record["show_subjects"]
    record["show_subjects"] = shown if shown == "all" else tuple(shown)
    record["versions"] = tuple(record.get("versions", ()))
    return Manifest(**{"truth": None, **record, "fps": float(record["fps"])}, source=path)


class _Loader(yaml.SafeLoader):
    """Yaml that grows by no alias, names nothing twice and is never very deep, and in which 006 and 1:40 are text."""

    yaml_implicit_resolvers: ClassVar[dict] = {}  # type: ignore[misc]

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth, self.nodes = 0, 0.0
        self.sizes: dict[int, float] = {}  # nodes of what is finished, with its aliases written out

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark, alias, before = self.peek_event().start_mark, self.check_event(yaml.AliasEvent), self.nodes
        self.depth += 1
        problem = f"more than {_DEEPEST} lists or mappings in each other" if self.depth > _DEEPEST else ""
        node = None if problem else super().compose_node(parent, index)
        self.depth -= 1
        # One that holds itself isn't finished.
        self.nodes += self.sizes.get(id(node), math.inf) + _ALIAS if alias else 1
        self.sizes.setdefault(id(node), self.nodes - before)
        if self.nodes > _LARGEST:
            problem = "it grows without end where it repeats itself (*)"
        if problem:
            raise yaml.composer.ComposerError(None, None, problem, mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names: set[str] = set()
        for name, _ in node.value:
            if str(name.value) in names:
                problem = f"{name.value} stands there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, name.start_mark)
            names.add(str(name.value))
        return super().construct_mapping(node, deep)


for _tag, _form, _first in (
    ("bool", r"true|false|True|False|TRUE|FALSE", [*"tfTF"]),
    ("null", r"null|Null|NULL|~|", [*"nN~", ""]),
    ("int", r"[-+]?(?:0|[1-9]\d*)", [*"-+0123456789"]),
    ("float", r"[-+]?(?=\.?\d)(?:0|[1-9]\d*)?(?:\.\d*)?(?:[eE][-+]?\d+)?", [*"-+.0123456789"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_form})\Z"), _first)


def _parsed(path: Path) -> tuple[Any, Any]:
    """The yml as nodes, which know their lines, and as values."""
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(
                f"{path} is larger than {_LARGEST // 1000} kB, so no manifest; give the right file."
            )
        loader = _Loader(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        return root, None if root is None else loader.construct_document(root)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} isn't UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}); check its rights.") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # a number that there can't be, too
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        reason = problem or getattr(error, "reason", error)
        raise DataError(
            f"{path}, line {mark.line + 1 if mark else 1}: not valid yaml ({reason}); correct that line ({_HELP})."
        ) from error


def licensed(manifest: Manifest) -> bool:
    """Whether some face of the data set may not be shown, so that what is made of it is for its owner alone."""
    return manifest.show_subjects != "all"


def manifest_hash(manifest: Manifest) -> str:
    """20 hex digits over everything that the manifest says, not over comments or where the file lies."""
    return cache.key(1, {name: value for name, value in asdict(manifest).items() if name != "source"})


def joined(manifest: Manifest) -> Manifest | None:
    """The manifest whose table is joined: one of ours by its name, or a file beside this one.

    Raises
    ------
    DataError
        If it is missing or breaks the schema.
    """
    if manifest.join is None:
        return None
    name = manifest.join["dataset"]
    return read_manifest(manifest.source.parent / name if name.endswith(_YML) else name)


def parts(manifest: Manifest) -> list[dict]:
    """The sheets of the manifest's table, mostly one."""
    return manifest.table.get("parts", [manifest.table])


def variants(manifest: Manifest) -> list[dict]:
    """The folder layouts that the data set comes in, the preferred first, mostly one."""
    return manifest.frames.get("variants", [manifest.frames])


def effective(manifest: Manifest, root: str | Path) -> Manifest:
    """The manifest of the copy that lies below ``root``: of several layouts, the one that it has.

    Parameters
    ----------
    manifest : Manifest
    root : str or Path
        The data set's folder; looked at only if there are several layouts.

    Returns
    -------
    Manifest
        ``frames`` is the variant in which most videos are found, the first of equals, and ``has_context`` that
        variant's. A manifest with nothing to choose is returned as it is.

    Raises
    ------
    DataError
        See :func:`videos`.
    """
    options = variants(manifest)
    chosen = options[0] if len(options) == 1 else _choose(manifest, Path(root))[0]
    context = chosen.get("has_context", manifest.has_context)
    if chosen is manifest.frames and context == manifest.has_context:
        return manifest
    return replace(manifest, frames=chosen, has_context=context)


def videos(manifest: Manifest, root: str | Path) -> pd.DataFrame:
    """Every video below ``root``, in the layout in which most are found.

    Returns
    -------
    DataFrame
        subject, video (text, as the folders are called; names may differ by case alone); folder (Path), a folder of
        images or a video file, or a name with ``*`` for several that hold one video (see :func:`frame_files`). In natural
        order (2 before 10).

    Raises
    ------
    DataError
        If ``root`` is missing or holds no folder that fits ``frames.pattern``, or two that are the same video.
    """
    by_name = _choose(manifest, Path(root))[1]
    rows = [(subject, video, _place(places)) for (subject, video), places in by_name.items()]
    rows.sort(key=lambda row: (natural(row[0]), natural(row[1])))
    return pd.DataFrame(rows, columns=["subject", "video", "folder"])


def tables(manifest: Manifest, root: str | Path) -> list[Path]:
    """Annotation tables (.xlsx, .xls) that lie in the data set's folder, or else one level below, by name.

    Raises
    ------
    DataError
        If ``root`` is missing or holds none.
    """
    root = _existing(root, manifest)
    folders = [root, *(Path(entry) for entry in os.scandir(root) if entry.is_dir())]
    for level in (folders[:1], folders[1:]):
        files = [Path(entry) for folder in level for entry in os.scandir(folder) if _is_table(entry.name)]
        if files:
            return sorted(files)
    frames = (next(layouts.walk(variant, root), None) for variant in variants(manifest))
    other = None if any(frames) else _meant(manifest, root)
    raise DataError(
        f"{root} holds no annotation table ({', '.join(_TABLES)}); "
        + (f"give {other} instead." if other else f"put the release's table of {manifest.name} there.")
    )


def _is_table(name: str) -> bool:
    # Those that start otherwise are open in a spreadsheet, or a copy's.
    return name.lower().endswith(_TABLES) and not name.startswith(("~", "."))


def frame_files(
    place: str | Path, manifest: Manifest
) -> tuple[np.ndarray, list[Path] | list[video_files.Frame]]:
    """Frames of one video: images in the order of the integers of their names (2 before 10), or those of a file.

    Parameters
    ----------
    place : str or Path
        A folder of images or a video file. ``*`` in it stands for any text: all that fit are one video, whose
        folders may share frames; the first folder's count.
    manifest : Manifest
        Of several layouts the one in use (see :func:`effective`).

    Returns
    -------
    numbers : (N,) int64
        0-based frame indices, increasing, with gaps where images are missing.
    frames : list of Path or of video_files.Frame
        The N files, or frames of a file. Files that are no image are passed over, and so are images without a
        number in their name beside others that have one.

    Raises
    ------
    DataError
        If the folder is missing or holds no image, or a name has no number, one below ``first_frame``, or
        one that another file has too; if names are of several kinds, or no number rises with them; or if the video
        file can't be decoded.
    """
    place = Path(place)
    numbers, names = _frames(place, manifest)
    if names is None:
        return numbers, [video_files.Frame(place, number) for number in range(len(numbers))]
    return numbers, [folder / name for folder, name in names]


def spans(manifest: Manifest, table_of_videos: pd.DataFrame) -> pd.DataFrame:
    """``table_of_videos`` with n_first, n_last (0-based, frames that exist) and n_frames (how many exist)."""
    numbers = [_frames(folder, manifest)[0] for folder in table_of_videos["folder"]]
    return table_of_videos.assign(
        n_first=[int(frames[0]) for frames in numbers],
        n_last=[int(frames[-1]) for frames in numbers],
        n_frames=[len(frames) for frames in numbers],
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
    if not path.resolve().is_relative_to(Path(root).resolve()):
        raise DataError(
            f"{path} lies outside {root}, so it isn't opened; copy it there, and name it in {manifest.source}."
        )
    names, again = ["subject", "video", "event"], f"simulate {manifest.name} again."
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(names, str), keep_default_na=False, encoding="utf-8")
        needed = [*names, "frame", "rms_px", "peak_px", "profile", "blink"]
        if lacking := [name for name in needed if name not in table]:
            raise DataError(f"{path} has no column {lacking[0]}; {again}")
        numbers = table.columns.difference(names, sort=False)
        table[names] = table[names].map(cache.restored)
        table[numbers] = table[numbers].replace("", math.nan).astype("float64")
        if not ((table["frame"] % 1 == 0) & (table["frame"].abs() <= _LAST)).all():
            raise DataError(f"{path} has a frame that is no whole number; {again}")
        return table.assign(frame=table["frame"].astype("int64") - manifest.first_frame)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {again[:-1]}, or remove truth from its manifest.") from None
    except DataError:
        raise
    except (OSError, ValueError, TypeError, OverflowError) as error:  # pandas' own errors are ValueErrors too
        raise DataError(f"{path} can't be read ({error}); {again}") from error


def line_of(manifest: Manifest, *path: str) -> int:
    """Line of a field in the manifest's file (1-based), for messages that ask to change it."""
    return _node_line(_parsed(manifest.source)[0], path)


def _locate(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.suffix in _YML:
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
_FOLDERS = (PACKAGE.parent / "data_manifests", PACKAGE / "data_manifests")


def _names() -> list[str]:
    return sorted({path.stem for folder in _FOLDERS for path in folder.glob("*.yml")})


def _existing(root: str | Path, manifest: Manifest) -> Path:
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root} is missing or no folder; give that of {manifest.name} as root.")
    if not any(root.iterdir()):
        raise DataError(f"{root} is empty; copy {manifest.name} there, or give another root.")
    return root


def _choose(manifest: Manifest, root: Path) -> tuple[dict, dict[tuple[str, str], list[layouts.Place]]]:
    """The variant in which most videos are found, the first of equals, and where these lie."""
    _existing(root, manifest)
    by_variant = [(variant, _by_name(layouts.walk(variant, root))) for variant in variants(manifest)]
    chosen = max(by_variant, key=lambda pair: len(pair[1]))
    if chosen[1]:
        return chosen
    patterns = [variant["pattern"] for variant in variants(manifest)]
    tops = " or ".join(dict.fromkeys(pattern.split("/")[0] for pattern in patterns))
    other = _meant(manifest, root)
    remedy = f"the folder that contains {tops}, or correct frames in {manifest.source}"
    raise DataError(
        f"{root} holds no folder of frames like {' or '.join(patterns)} ({manifest.name}); "
        f"give {f'{other} instead' if other else remedy}."
    )


def _by_name(places: Iterable[layouts.Place]) -> dict[tuple[str, str], list[layouts.Place]]:
    groups: dict[tuple[str, str], list[layouts.Place]] = {}
    for place in places:
        groups.setdefault((place.subject, place.video), []).append(place)
    return groups


def _place(places: list[layouts.Place]) -> Path:
    """Where a video's frames lie; a folder of images is preferred to a video file of the same name."""
    if len(places) > 1:
        places = [place for place in places if place.path.is_dir()] or places
    if len(places) == 1:
        return places[0].path
    if len({place.glob for place in places}) == 1 and places[0].path.is_dir():
        return places[0].glob
    first, second = places[:2]
    raise DataError(
        f"{first.path} and {second.path} are both video {first.video} of subject {first.subject}; remove one of "
        "them, or move its frames to the other's."
    )


def _meant(manifest: Manifest, root: Path) -> Path | None:
    """The folder that was probably meant as root."""
    return next(filter(None, (layouts.meant(variant, root) for variant in variants(manifest))), None)


def _frames(place: Path, manifest: Manifest) -> tuple[np.ndarray, list[tuple[Path, str]] | None]:
    """0-based numbers (N,) and, of images, their folders and names; without a path each, there may be a million."""
    if layouts.is_video(place.name) and place.is_file():
        return np.arange(video_files.count(place)), None
    folders = [folder for folder in layouts.members(place) if folder.is_dir()]
    if not folders:
        raise DataError(f"{place} is missing; check the folder of {manifest.name} that was given as root.")
    names = [
        (folder, e.name) for folder in folders for e in layouts.entries(folder) if layouts.is_image(e.name)
    ]
    if not names:
        raise DataError(f"{place} holds no image ({', '.join(IMAGES)}); copy this video again, or remove it.")
    first = manifest.frames.get("first_frame", manifest.first_frame)
    numbered = layouts.series(name for _, name in names)
    if numbered.strangers:
        one, other = numbered.strangers
        raise DataError(
            f"{place} holds images of two kinds of names, such as {one} and {other}, so their order isn't certain; leave "
            "those of one camera there, and no copies."
        )
    used = [(row, *name) for row, name in zip(numbered.integers, names, strict=True) if row]
    if not used:
        raise DataError(f"{Path(*names[0])} has no frame number in its name; move it out of the folder.")
    if numbered.column is None:
        raise DataError(
            f"{place}: no number in the names, such as {used[0][2]}, rises from frame to frame; name the images by the "
            "frame numbers of the table."
        )
    images = [(row[numbered.column] - first, folder, name) for row, folder, name in used]
    images.sort(key=itemgetter(0))
    images = _once(images) if len(folders) > 1 else images
    _refuse_impossible(images, first, manifest)
    return np.array([number for number, *_ in images], np.int64), [
        (folder, name) for _, folder, name in images
    ]


def _once(images: list[tuple[int, Path, str]]) -> list[tuple[int, Path, str]]:
    """Each frame from the first folder that has it: clips of one video may overlap, but not count from 1 each."""
    first_of: dict[int, tuple[Path, str]] = {}
    for number, folder, name in images:
        first_of.setdefault(number, (folder, name))
    used = [image for image in images if image[1] == first_of[image[0]][0]]
    contributing = {folder for _, folder, _ in used}
    for number, folder, name in images:
        other = Path(*first_of[number])
        if folder not in contributing and not filecmp.cmp(folder / name, other, shallow=False):
            raise DataError(
                f"{folder / name} and {other} are the same frame, and so are all of {folder.name}; give each folder "
                "a subject and video of its own (frames.pattern), or remove one."
            )
    return used


def _refuse_impossible(images: list[tuple[int, Path, str]], first: int, manifest: Manifest) -> None:
    number, folder, name = images[0]
    if number < 0:
        raise DataError(
            f"{folder / name} lies before the first frame, {first}; correct first_frame in {manifest.source} or "
            "remove the file."
        )
    for (number, folder, name), (other, its_folder, its_name) in pairwise(images):
        if number == other:
            both = f"{folder / name} and {its_folder / its_name}"
            raise DataError(f"{both} are the same frame; remove one of them.")


def natural(text: str) -> list[tuple[int, str]]:
    """Sorting key: runs of digits compare as numbers, the rest as text."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text) if part]


@remember
def _validator() -> "jsonschema.Draft202012Validator":
    # jsonschema would compile a grammar for addresses, which no manifest holds: a second of every process.
    grammar = "rfc3987_syntax"
    unread = sys.modules.setdefault(grammar, None) is None  # type: ignore[arg-type]
    import jsonschema

    if unread:  # others may want it
        del sys.modules[grammar]

    checker = jsonschema.FormatChecker(())
    for name in ("pattern", "expression"):
        checker.checks(name, ValueError)(getattr(layouts, f"check_{name}"))
    checker.checks("classes", ValueError)(_check_classes)
    schema = (Path(__file__).parent / "manifest_schema.yml").read_text(encoding="utf-8")
    return jsonschema.Draft202012Validator(yaml.safe_load(schema), format_checker=checker)


def _check_classes(classes: Any) -> bool:
    """Whether each emotion has one class."""
    lists = (
        [value for value in classes.values() if isinstance(value, list)] if isinstance(classes, dict) else []
    )
    members = Counter(str(name).strip().lower() for names in lists for name in names)
    for name, times in members.items():
        if times > 1:
            raise ValueError(f"{name} stands there twice")
    return True


_Place = tuple[str | int, ...]  # names and numbers that lead to a value
_LONGEST = 400  # signs of what breaks the schema; a name may be a page long
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100


def _fault(root: yaml.Node, record: Any) -> tuple[int, str] | None:
    """Line and sentence of what breaks the schema: a name that it doesn't know first, since that explains what lacks."""
    faults = []
    for error in _validator().iter_errors(record):
        place: _Place = tuple(error.absolute_path)
        unknown = error.validator == "additionalProperties" and [
            name for name in error.instance if name not in error.schema.get("properties", {})
        ]
        line = _node_line(root, (*place, str(unknown[0])) if unknown else place)
        words = error.message.replace(repr(error.instance), _SHORT.repr(error.instance), 1)
        words = ": ".join(filter(None, [".".join(map(str, place)), str(error.cause or words)]))
        faults.append((not unknown, line, words[:_LONGEST]))
    return min(faults)[1:] if faults else None


def _node_line(node: Any, place: _Place) -> int:
    """Line of a value, or of the last on the way to it that is there."""
    line = node.start_mark.line + 1
    for step in place:
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
