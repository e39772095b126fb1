"""What a simulated world takes for granted, apart from a data set's own settings; worlds.yml holds them by name.

The first world is the one that earlier results come from; the second follows what was measured on real motion maps
(benchmarks/realism.md). Both stay, since each has a frozen test set.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from melib.errors import Misuse


@dataclass(frozen=True)
class World:
    """How movements, people and cameras are drawn.

    Attributes
    ----------
    name : str
    generation : {1, 2}
        Which fields of fields.yml; of the second, those of ``second`` replace their namesakes.
    together : bool
        Units come in combinations, with their sides, as real events were coded; else one by one.
    strengths : pair of float or None
        Range of a log-uniform peak of micro-expressions, crop pixels; None draws a log-normal effort.
    lids : float
        Factor on the share of units that move the lids (5, 7, 43).
    misplaced : pair of float
        Root mean square by which the places that movements hang on differ from the landmarks found, crop pixels; a
        smooth shift, drawn once a person.
    heads : float
        Scale of how far a person's depth departs from the generic head; 0 is not at all.
    camera_fps : list of float
        A clip's or video's camera takes one of these many pictures a second, where the data set is written faster; each is
        held until the next.
    lid_share : float
        Share of clips in which the lids close partly, which is no expression and no blink.
    partial_blinks : float
        Share of a long video's blinks that don't close the eye.
    clips, videos : dict
        Scales of nuisance that differ from the defaults of clips and of long videos.
    """

    name: str
    generation: int = 1
    together: bool = False
    strengths: tuple[float, float] | None = None
    lids: float = 1.0
    misplaced: tuple[float, float] = (0.0, 0.0)
    heads: float = 0.0
    camera_fps: tuple[float, ...] = ()
    lid_share: float = 0.0
    partial_blinks: float = 0.15
    clips: dict = field(default_factory=dict, hash=False)
    videos: dict = field(default_factory=dict, hash=False)


FIRST = World("first")


@functools.cache
def find_world(name: str) -> World:
    """One world by its name.

    Raises
    ------
    Misuse
        If there is no such world.
    """
    known = yaml.safe_load((Path(__file__).parent / "worlds.yml").read_text())
    if name not in known:
        raise Misuse(f"simulate: there is no world {name!r}; choose one of {', '.join(known)}.")
    pairs: dict = {
        key: tuple(value) if isinstance(value, list) else value for key, value in known[name].items()
    }
    for scales in ("clips", "videos"):
        pairs[scales] = {key: tuple(pair) for key, pair in pairs.get(scales, {}).items()}
    return World(name, **pairs)
