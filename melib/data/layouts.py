"""Where videos lie below a folder: patterns of nested folders, and walking them level by level.

    part_A / {subject:spNO\\.\\d+} / {video} / color      a level a folder; literal text in any case
    HS / {subject} / micro / * / {video}                * is any text
    clips / {subject}_{video}_*                         folders that differ only at * are one video

A field without its own regular expression is the shortest text that fits; one that comes twice must have the same text
twice. The last level is a folder of images or a video file, whose suffix doesn't count. Folders are listed one level at
a time and never below a pattern's last, so that a million frames cost no more than the folders that hold them.
"""

import itertools
import os
import re
from collections.abc import Iterable, Iterator
from functools import cache as remember
from pathlib import Path
from typing import Any, NamedTuple

from melib.errors import DataError

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
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


def check_pattern(pattern: Any) -> bool:
    """Whether a pattern can be used; ValueError says what is wrong with it."""
    pieces = [piece for level in levels(str(pattern)) for piece in level]
    if "video" not in map(_name, pieces):
        raise ValueError(f"{str(pattern)[:_QUOTED]!r} has no {{video}}")
    for piece in pieces:
        if {"{", "}"} & {*piece} and not _PIECE.fullmatch(piece):
            raise ValueError(f"{piece!r} holds a brace that belongs to no field like {{video}}")
        check_expression(piece[1:-1].partition(":")[2] if _name(piece) else "", None)
    for level in levels(str(pattern)):
        try:
            _expression(level, ())
        except re.error as error:
            raise ValueError(f"{error.pattern!r} is no regular expression ({error})") from None
    return True


def check_expression(expression: Any, groups: int | None = 1) -> bool:
    """Whether a regular expression can be used, with so many groups; ValueError says what is wrong with it."""
    quoted = repr(str(expression)[:_QUOTED])
    try:
        held = re.compile(str(expression)).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{quoted} is no regular expression ({error})") from None
    if groups not in (held, None):
        raise ValueError(f"{quoted} needs one group in parentheses, which is what is meant")
    if _may_hang(str(expression)):
        raise ValueError(f"{quoted} repeats what itself repeats, which may take for ever; write it out")
    return True


def _may_hang(expression: str) -> bool:
    """Whether a group that repeats, or has alternatives, is repeated: such search takes time exponential in a name."""
    plain = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", expression, flags=re.DOTALL)
    while match := _GROUP.search(plain):
        varies = re.search(r"[*+?|]|\{\d*,\d*\}", match[1]) is not None
        if varies and match[2] and match[2] != "?":
            return True
        plain = f"{plain[: match.start()]}{'x+' if varies else 'x'}{plain[match.end() :]}"
    return len(re.findall(r"[*+]|\{\d*,\}", plain)) > _MOST_REPEATS


def walk(variant: dict, root: Path, inside: Path | None = None) -> Iterator[Place]:
    """Folders of frames and video files below ``root`` that fit, sorted by name.

    With a folder ``inside``, only those on the way to it, in it and below. Folders that hold but further folders aren't
    folders of frames.
    """
    for fields, path, glob in _walk(root, levels(variant["pattern"]), {}, root, inside):
        if (subject := _subject(variant, fields)) and not (path.is_dir() and _holds_only_folders(path)):
            yield Place(subject, fields["video"], path, glob)


def _holds_only_folders(folder: Path) -> bool:
    return not _has_image(folder) and any(entry.is_dir() for entry in entries(folder))


def names_video(variant: dict, video: str) -> bool:
    """Whether a video may be called so."""
    fields = [piece for level in levels(variant["pattern"]) for piece in level if _name(piece) == "video"]
    own = fields[0][1:-1].partition(":")[2] or ".+"
    return re.fullmatch(own, video, re.IGNORECASE | re.DOTALL) is not None


def meant(variant: dict, root: Path) -> Path | None:
    """A folder near ``root``, some levels above or below, with frames where the pattern says, or None."""
    root = root.absolute()
    above = list(root.parents)[:-1][: len(levels(variant["pattern"]))]
    below = [Path(entry) for entry in entries(root) if entry.is_dir()][:_MOST_FOLDERS]
    further = (Path(entry) for folder in below for entry in entries(folder) if entry.is_dir())
    for folder in (*above, *below, *itertools.islice(further, _MOST_FOLDERS)):
        places = walk(variant, folder, root if folder in above else None)
        if any(not place.path.is_dir() or _has_image(place.path) for place in places):
            return folder
    return None


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
        n
        for n, column in enumerate(zip(*rows, strict=True))
        if all(a < b for a, b in itertools.pairwise(column))
    ]
    # Frames are counted one by one: a time that rises, too, rises faster.
    return Series(integers, min(rising[::-1], key=lambda n: rows[-1][n] - rows[0][n], default=None), ())


def is_video(name: str) -> bool:
    """Whether a file is called like a video."""
    return name.lower().endswith(VIDEOS) and not name.startswith(".")


def _walk(
    folder: Path, steps: tuple[Level, ...], known: dict[str, str], glob: Path, inside: Path | None
) -> Iterator[tuple[dict[str, str], Path, Path]]:
    if not steps:
        yield known, folder, glob
        return
    expression = _level_expression(steps[0], known)
    if inside is not None and folder in inside.parents:
        candidates: list = [Path(*inside.parts[: len(folder.parts) + 1])]
    else:
        candidates = entries(folder)
    for entry in candidates:
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
        yield from _walk(folder / entry.name, steps[1:], fields, glob / starred, inside)


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
