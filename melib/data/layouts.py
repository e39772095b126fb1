"""Where videos lie below a folder: patterns of nested folders, and walking them level by level.

    part_A / {subject:spNO\\.\\d+} / {video} / color      a level a folder; literal text in any case
    HS / {subject} / micro / * / {video}                * is any text
    clips / {subject}_{video}_*                         folders that differ only at * are one video

A field without its own regular expression is the shortest text that fits; one that comes twice must have the same text
twice. The last level is a folder of images or a video file, whose suffix doesn't count. Folders are listed one level at
a time and never below a pattern's last, so that a million frames cost no more than the folders that hold them.
"""

import os
import re
from collections.abc import Iterable, Iterator
from functools import cache as remember
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from melib.errors import DataError

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".tif", ".tiff")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv")
# A field, whose regular expression may hold counts in braces, or a star.
_PIECE = re.compile(r"(\{\w+(?::(?:[^{}]|\{[\d,]*\})*)?\}|\*)")
_INTEGER = re.compile(r"[0-9]+")
# An innermost group of a regular expression, and what repeats it.
_GROUP = re.compile(r"\((?:\?(?::|P?<\w+>|<?[=!]|[a-zA-Z-]+:))?([^()]*)\)([*+?]|\{\d*,?\d*\})?")
_MOST_REPEATS = 6
_QUOTED = 80  # signs of an expression in a message
# Folders that are looked into below a root that was given too shallow.
_MOST_FOLDERS = 200

Level = tuple[str, ...]  # literal texts, fields and stars in turn


class Place(NamedTuple):
    """One folder of frames, or video file."""

    subject: str
    video: str
    path: Path
    glob: Path  # the path with * where the pattern has it


@remember
def levels(pattern: str) -> tuple[Level, ...]:
    """Pieces of a pattern, a tuple a folder: "sub{subject}/{video}_*" -> ("sub", "{subject}"), ("{video}", "_", "*")."""
    result: list[list[str]] = [[]]
    for index, piece in enumerate(_PIECE.split(pattern)):
        first, *rest = [piece] if index % 2 else piece.split("/")  # a field's expression may hold a slash
        result[-1].append(first)
        result += [[text] for text in rest]
    return tuple(tuple(filter(None, level)) for level in result if any(level))


def fault(variant: dict) -> str | None:
    """What is wrong with a variant's pattern, in words, or None."""
    pieces = [piece for level in levels(variant["pattern"]) for piece in level]
    for own in (piece[1:-1].partition(":")[2] for piece in pieces if _name(piece)):
        if found := expression_fault(own):
            return found
    try:
        for level in levels(variant["pattern"]):
            _expression(level, ())
    except re.error as error:
        return f"{error.pattern!r} is no regular expression ({error})"
    stray = [piece for piece in pieces if set(piece) & {"{", "}"} and not _PIECE.fullmatch(piece)]
    return f"{stray[0]!r} holds a brace that belongs to no field like {{video}}" if stray else None


def expression_fault(expression: str, group: str = "") -> str | None:
    """What is wrong with a regular expression, in words, or None; ``group`` is what its one group must be."""
    try:
        groups = re.compile(expression).groups
    except (re.error, OverflowError, RecursionError) as error:
        return f"{expression[:_QUOTED]!r} is no regular expression ({error})"
    if group and groups != 1:
        return f"{expression[:_QUOTED]!r} needs one group in parentheses, {group}"
    if _may_hang(expression):
        return f"{expression[:_QUOTED]!r} repeats what itself repeats, which may take for ever; write it out"
    return None


def _may_hang(expression: str) -> bool:
    """Whether a group that repeats, or has alternatives, is repeated: such search takes time exponential in a name."""
    plain = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", expression, flags=re.DOTALL)
    while match := _GROUP.search(plain):
        varies = re.search(r"[*+?|]|\{\d*,\d*\}", match[1]) is not None
        if varies and match[2] and match[2] != "?":
            return True
        plain = f"{plain[: match.start()]}{'x+' if varies else 'x'}{plain[match.end() :]}"
    return len(re.findall(r"[*+]|\{\d*,\}", plain)) > _MOST_REPEATS


def spelled(pattern: str, **fields: str) -> str:
    """The pattern with its fields filled in."""
    pieces = [_PIECE.split("".join(level)) for level in levels(pattern)]
    return "/".join("".join(fields.get(_name(piece), piece) for piece in level) for level in pieces)


def walk(variant: dict, root: Path, **known: str) -> Iterator[Place]:
    """Folders and video files below ``root`` that fit, sorted by name; with fields ``known``, only those, in any case."""
    for fields, path, glob in _walk(root, levels(variant["pattern"]), known, root):
        if subject := _subject(variant, fields):
            yield Place(subject, fields["video"], path, glob)


def names_video(variant: dict, video: str) -> bool:
    """Whether a video may be called so."""
    fields = [piece for level in levels(variant["pattern"]) for piece in level if _name(piece) == "video"]
    own = fields[0][1:-1].partition(":")[2] or ".+"
    return re.fullmatch(own, video, re.IGNORECASE | re.DOTALL) is not None


def fits_pattern(variant: dict, path: Path) -> bool:
    """Whether the end of a path fits the pattern."""
    return len(path.parts) > len(levels(variant["pattern"])) and _above(variant, path, 0) is not None


def meant(variant: dict, root: Path) -> Path | None:
    """A folder near ``root``, some levels above or below, with frames where the pattern says, or None."""
    root, steps = root.absolute(), levels(variant["pattern"])
    for depth in range(1, min(len(steps), len(root.parts) - 1) + 1):
        fields = _above(variant, root, len(steps) - depth)
        if fields is not None and _any_images(root, steps[depth:], fields):
            return root.parents[depth - 1]
    folders = _folders(root)
    for folder in folders:  # it grows: what lies further below comes later
        if _any_images(folder, steps, {}):
            return folder
        folders += _folders(folder)[: max(0, _MOST_FOLDERS - len(folders))]
    return None


def lacking(variant: dict, root: Path) -> str | None:
    """Literal folders above the first field that ``root`` lacks while it holds what belongs into them, or None."""
    literal: list[str] = []
    steps = levels(variant["pattern"])
    while len(steps) > 1 and len(steps[0]) == 1 and not _PIECE.fullmatch(steps[0][0]):
        literal.append(steps[0][0])
        steps = steps[1:]
        if _any_images(root, steps, {}):
            return "/".join(literal)
    return None


def holds_only_folders(path: Path) -> bool:
    """Whether a folder holds folders but no image, so that it is none of frames."""
    return path.is_dir() and not _has_image(path) and bool(_folders(path))


def members(glob: Path) -> list[Path]:
    """Folders and files that a :class:`Place` glob stands for: exactly this case, * any text."""
    if "*" not in str(glob) or glob.exists():
        return [glob]
    paths = [Path(glob.anchor)]
    for part in glob.parts[bool(glob.anchor) :]:
        if "*" in part:
            name = re.compile(".*".join(map(re.escape, part.split("*"))))
            paths = [
                path / entry.name for path in paths for entry in entries(path) if name.fullmatch(entry.name)
            ]
        else:
            paths = [path / part for path in paths if (path / part).exists()]
    return paths


def is_image(name: str) -> bool:
    """Whether a file is called like an image; hidden ones are left by a copy or a crash."""
    return name[-5:].lower().endswith(IMAGES) and not name.startswith(".")


class Series(NamedTuple):
    """How the images of one video are numbered.

    Attributes
    ----------
    integers : list of tuple of int
        All integers of each name, by which names are in order: a clock's hours go before its seconds. () of one without.
    column : int or None
        Which of them is the frame's number: it rises from name to name. None where none does.
    strangers : tuple of str
        Two names that differ by more than integers: a copy, a second camera. Empty where there are none.
    """

    integers: list[tuple[int, ...]]
    column: int | None
    strangers: tuple[str, ...]


def series(names: Iterable[str]) -> Series:
    """What the names of a video's images say of their order; several folders may hold the same name."""
    forms: dict[str, str] = {}
    integers = []
    for name in names:
        stem = name.rpartition(".")[0]
        integers.append(tuple(map(int, _INTEGER.findall(stem))))
        if integers[-1]:
            forms.setdefault(_INTEGER.sub("0", stem).casefold(), name)
    if len(forms) != 1:
        return Series(integers, None, tuple(forms.values())[:2])
    rows = sorted({row for row in integers if row})
    rising = [
        n for n, column in enumerate(zip(*rows, strict=True)) if all(a < b for a, b in pairwise(column))
    ]
    # Frames are counted one by one: a time that rises, too, rises faster.
    return Series(integers, min(rising[::-1], key=lambda n: rows[-1][n] - rows[0][n], default=None), ())


def is_video(name: str) -> bool:
    """Whether a file is called like a video."""
    return name.lower().endswith(VIDEOS) and not name.startswith(".")


def _walk(
    folder: Path, steps: tuple[Level, ...], known: dict[str, str], glob: Path
) -> Iterator[tuple[dict[str, str], Path, Path]]:
    if not steps:
        yield known, folder, glob
        return
    expression = _level_expression(steps[0], known)
    for entry in entries(folder):
        if (match := expression.fullmatch(entry.name)) and entry.is_dir():
            stem = entry.name
        elif len(steps) == 1 and is_video(entry.name):
            stem = entry.name.rpartition(".")[0]
            match = expression.fullmatch(stem)
            if not match or entry.is_dir():
                continue
        else:
            continue
        starred = _starred(stem, match) + entry.name[len(stem) :]
        fields = known | {name: text for name, text in match.groupdict().items() if name[0] != "_"}
        yield from _walk(folder / entry.name, steps[1:], fields, glob / starred)


def _above(variant: dict, path: Path, below: int) -> dict[str, str] | None:
    """Fields of a path's end that fits all of the pattern's levels but the last ``below``, or None."""
    steps = levels(variant["pattern"])
    steps = steps[: len(steps) - below]
    names = [*path.parts[len(path.parts) - len(steps) :]]
    if not below and is_video(path.name):
        names[-1] = path.stem
    fields: dict[str, str] = {}
    for level, name in zip(steps, names, strict=True):
        match = _level_expression(level, fields).fullmatch(name)
        if not match:
            return None
        fields |= {name: text for name, text in match.groupdict().items() if name[0] != "_"}
    return fields


def _any_images(root: Path, steps: tuple[Level, ...], known: dict[str, str]) -> bool:
    """Whether some folder that fits holds an image, or some video file fits."""
    return any(not path.is_dir() or _has_image(path) for _, path, _ in _walk(root, steps, known, root))


def _folders(folder: Path) -> list[Path]:
    return [Path(entry) for entry in entries(folder) if entry.is_dir()][:_MOST_FOLDERS]


def _has_image(folder: Path) -> bool:
    with os.scandir(folder) as files:
        return any(is_image(entry.name) for entry in files)


def _subject(variant: dict, fields: dict[str, str]) -> str | None:
    """The subject that a pattern's field holds, or the video's name; None where the name holds none."""
    if "subject" not in variant:
        return fields["subject"]
    match = re.search(variant["subject"], fields["video"], re.IGNORECASE)
    if not match or not match[1]:
        return None
    return match[1] if match[1].casefold() == fields.get("subject", match[1]).casefold() else None


def _level_expression(level: Level, fields: dict[str, str]) -> re.Pattern:
    """Regular expression of one level, given the text of those of its fields that are known."""
    return _expression(level, tuple((n, fields[n]) for n in map(_name, level) if n in fields))


@remember
def _expression(level: Level, known: tuple[tuple[str, str], ...]) -> re.Pattern:
    texts = dict(known)
    parts: list[str] = []
    used: set[str] = set()
    for index, piece in enumerate(level):
        name = _name(piece)
        if piece == "*":
            parts.append(f"(?P<_{index}>.*?)")
        elif not name:
            parts.append(re.escape(piece))
        elif name in used:
            parts.append(f"(?P={name})")
        else:
            own = piece[1:-1].partition(":")[2] or ".+?"
            parts.append(f"(?P<{name}>{re.escape(texts[name]) if name in texts else own})")
            used.add(name)
    return re.compile("".join(parts), re.IGNORECASE)


def _name(piece: str) -> str:
    """Name of a field, "" for a text or a star."""
    return piece[1:-1].partition(":")[0] if piece.startswith("{") and _PIECE.fullmatch(piece) else ""


def _starred(text: str, match: re.Match) -> str:
    """A name with its stars back in place."""
    spans = [match.span(name) for name in match.groupdict() if name[0] == "_"]
    for first, end in sorted(spans, reverse=True):
        text = f"{text[:first]}*{text[end:]}"
    return text


def entries(folder: Path) -> list[os.DirEntry]:
    """What a folder holds, by name, without what is hidden: copies and crashes leave that."""
    try:
        with os.scandir(folder) as content:
            visible = [entry for entry in content if not entry.name.startswith(".")]
        return sorted(visible, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder} can't be read ({error.strerror}); check its rights.") from error
