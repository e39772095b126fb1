"""When a simulated face moves, by how much, and what an annotator would write down. No image is touched here.

    displacement           ______                    A movement has its own rise and fall, sometimes a plateau,
     of the skin         /        \\                  and it may stop short of where it began. An annotator sees
                       /            \\  ............   it between the two crossings of a threshold of visibility,
    threshold - - - -/- - - - - - - - \\- - - - - -    which are later and earlier than its true ends, and errs
                   _/                   \\___residual  the more the weaker the movement is.
    _____________/
             true onset  apex        true offset
                   |<- what is labelled ->|

Durations and apex positions of the statistics are annotators' ones, so they are drawn for the visible part, and the
true movement is made as much longer as one of typical strength needs.
"""

import functools
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import betainc
from scipy.stats import norm

from melib.errors import DataError, Misuse
from melib.simulate.worlds import FIRST, World

MEDIAN_PEAK, LOG_SD, PEAK_RANGE = 0.7, 0.5, (0.1, 2.5)  # pixels of the 112-pixel crop
ONE_SIDED = 0.15  # share of events each side; units across the midline stay symmetric, so fewer come out
TYPICAL_PEAK = 0.6  # median after scaling by unit, crop pixels
FLOOR = 3  # pseudo-count of every unit: no unit of the list is impossible
VISIBLE_PX = 0.11  # median displacement at which an annotator sees movement, crop pixels
VISIBLE_LOG_SD = 0.35
JITTER_S = 0.0125  # sd of a labelled time at median strength, seconds (2.5 frames at 200 fps)

# How strongly each unit moves the skin at the same effort: brow and mouth corners most; 7, 14 and 24 least.
UNIT_SCALE = {
    1: 1.15, 2: 1.15, 4: 1.1, 5: 0.85, 6: 0.8, 7: 0.6, 9: 0.9, 10: 0.95, 12: 1.2, 14: 0.6, 15: 1.1, 16: 0.95,
    17: 1.0, 18: 0.8, 20: 1.1, 24: 0.6, 25: 0.9, 38: 0.7, 43: 0.9,
}  # fmt: skip
MIDLINE = frozenset({16, 17, 18, 24, 25, 43})  # can't be one-sided without grimacing: lips, chin, both lids

# Units that the counts don't list by emotion, but FACS does; each gets FLOOR more there.
_COMPANIONS = {
    "disgust": (9, 10, 15, 17), "fear": (1, 2, 4, 5, 20, 25), "anger": (4, 5, 7, 24), "sadness": (1, 4, 15, 17),
    "happiness": (6, 12), "surprise": (1, 2, 5, 25), "others": (7, 18, 43),
}  # fmt: skip


# Whose combinations of units go with whose durations: data sets of one frame rate together, since each alone has few.
_CODED = {"samm_lv": ("samm", "casme2"), "casme_sq": ("casme_sq", "casme2"), "casme3": ("casme3_a",)}
_CLASSES = {
    "surprise": "surprise",
    "others": "others",
    "happiness": "positive",
}  # all other emotions: negative
_LIDS = frozenset({5, 7, 43})


@dataclass(frozen=True)
class Movement:
    """One unit inside an event.

    Attributes
    ----------
    unit : int
    side : {"both", "left", "right"}
        The subject's own side.
    share : float, above 0
        Strength relative to the event's other units.
    start, apex, hold, stop : float
        Seconds: first movement, start and length of the plateau at the top, end of the return.
    rise, fall : (2,) tuple of float
        Shape parameters of the Beta distribution functions that are the two flanks.
    residual : float in [0, 1)
        What is left at ``stop``, as a share of the peak.
    decay : float
        Time constant of the residual's late decay after ``stop``, seconds; ``inf`` if it stays.
    """

    unit: int
    side: str
    share: float
    start: float
    apex: float
    hold: float
    stop: float
    rise: tuple[float, float]
    fall: tuple[float, float]
    residual: float
    decay: float


@dataclass(frozen=True)
class Expression:
    """One expression; times in seconds from the clip's first frame.

    Attributes
    ----------
    emotion : str
    strength : float
        Largest displacement over the skin at the peak that the face should reach, crop pixels.
    movements : tuple of Movement
    """

    emotion: str
    strength: float
    movements: tuple[Movement, ...]

    @property
    def start(self) -> float:
        """First movement of any unit."""
        return min(movement.start for movement in self.movements)

    @property
    def stop(self) -> float:
        """Last return of any unit."""
        return max(movement.stop for movement in self.movements)

    def moved(self, seconds: float) -> "Expression":
        """The same event, later by ``seconds``."""
        return replace(
            self,
            movements=tuple(
                replace(m, start=m.start + seconds, apex=m.apex + seconds, stop=m.stop + seconds)
                for m in self.movements
            ),
        )


@functools.cache
def event_statistics() -> dict:
    """The shipped figures on real annotated events (event_statistics.json, which names its source)."""
    return json.loads((Path(__file__).parent / "event_statistics.json").read_text())


def statistics_of(name: str) -> dict:
    """Durations and apex positions of one data set.

    Raises
    ------
    Misuse
        If the name isn't one of those shipped.
    """
    known = [
        key for key, value in event_statistics().items() if isinstance(value, dict) and "apex_beta" in value
    ]
    if name not in known:
        raise Misuse(f"No event statistics are called {name!r}; choose one of {', '.join(known)}.")
    return event_statistics()[name]


def duration_quantile(name: str, q: np.ndarray | float) -> np.ndarray:
    """Duration in seconds at probability ``q``: log-linear between the five published percentiles.

    The logarithm is interpolated over normal quantiles, which extends both tails with the slope of their last piece;
    they end at the 1st and 99th percentile.
    """
    entry = event_statistics()[name]
    knots = norm.ppf(np.array(event_statistics()["percentiles"]) / 100)
    logs = np.log(entry["duration_s"])
    z = np.clip(norm.ppf(q), norm.ppf(0.01), norm.ppf(0.99))
    inner = np.interp(z, knots, logs)
    below = logs[0] + (z - knots[0]) * (logs[1] - logs[0]) / (knots[1] - knots[0])
    above = logs[-1] + (z - knots[-1]) * (logs[-1] - logs[-2]) / (knots[-1] - knots[-2])
    return np.exp(np.where(z < knots[0], below, np.where(z > knots[-1], above, inner)))


@functools.cache
def unit_weights(name: str, emotion: str) -> dict[int, float]:
    """Relative frequency of each unit under an emotion.

    CAS(ME)^3 gives the commonest units by emotion; what is left of a unit's count is spread over all emotions by their
    size. For SAMM-LV, whose counts come without emotions, each unit's total is that of SAMM-LV.
    """
    data = event_statistics()
    sizes = data["casme3_emotion_counts"]
    listed = data["casme3_au_by_emotion"]
    ours = data["samm_lv_micro_au_counts"] if name.startswith("samm") else data["casme3_micro_au_counts"]
    weights = {}
    for unit in UNIT_SCALE:
        total = data["casme3_micro_au_counts"].get(str(unit), 0)
        left = max(0, total - sum(units.get(str(unit), 0) for units in listed.values()))
        by_emotion = {
            other: listed[other].get(str(unit), 0)
            + left * sizes[other] / sum(sizes.values())
            + FLOOR * (unit in _COMPANIONS[other])
            + 0.01 * FLOOR
            for other in sizes
        }
        rate = by_emotion[emotion] / sum(by_emotion.values())  # share of this unit that this emotion has
        weights[unit] = rate * (ours.get(str(unit), 0) + FLOOR)
    total_weight = sum(weights.values())
    return {unit: weight / total_weight for unit, weight in weights.items()}


@functools.cache
def unit_combinations(name: str, emotion: str) -> tuple[tuple[tuple[tuple[int, str], ...], ...], np.ndarray]:
    """Units and sides that were coded together under an emotion's class, and how often.

    Parameters
    ----------
    name : str
        A key of the event statistics.
    emotion : str

    Returns
    -------
    combinations : tuple of tuples of (unit, side)
        Units that the simulator lacks are left out.
    probabilities : (n,) float64
    """
    path = Path(__file__).parent / "action_unit_combinations.json"
    counts = json.loads(path.read_text())["counts"]
    kind = _CLASSES.get(emotion, "negative")
    total: dict[tuple[tuple[int, str], ...], int] = {}
    for coded in _CODED[name.rpartition("_")[0]]:
        for text, count in counts[coded][kind].items():
            sides = {
                int(u.strip("LR")): {"L": "left", "R": "right"}.get(u[0], "both") for u in text.split("+")
            }
            known = tuple(
                (u, "both" if u in MIDLINE else side) for u, side in sides.items() if u in UNIT_SCALE
            )
            if known:
                total[known] = total.get(known, 0) + count
    weights = np.array(list(total.values()), float)
    return tuple(total), weights / weights.sum()


def profile(movement: Movement, seconds: np.ndarray) -> np.ndarray:
    """Time course of one unit.

    Parameters
    ----------
    movement : Movement
    seconds : (T,) float

    Returns
    -------
    (T,) float64 in [0, 1]
        0 before the start, 1 from apex to the end of the plateau, the residual after the stop.
    """
    t = np.asarray(seconds, float)
    up = np.clip((t - movement.start) / (movement.apex - movement.start), 0, 1)
    top = movement.apex + movement.hold
    down = np.clip((t - top) / (movement.stop - top), 0, 1)
    fallen = betainc(*movement.fall, down)
    since = np.maximum(t - movement.stop, 0)
    after = np.exp(-(since**2) / (since + movement.decay) / movement.decay)  # begins without a kink
    return betainc(*movement.rise, up) * (1 - (1 - movement.residual) * fallen) * after


def draw_event(
    rng: np.random.Generator,
    name: str,
    start: float,
    strength: float | None = None,
    typical: float = TYPICAL_PEAK,
    world: World = FIRST,
) -> Expression:
    """Draw one expression.

    Parameters
    ----------
    rng : Generator
    name : str
        A key of the event statistics.
    start : float
        When its visible part begins, seconds.
    strength : float or None
        Peak displacement in crop pixels; None draws it.
    typical : float
        That of a movement whose visible part has the drawn duration; ``inf`` if all of it is visible.
    world : World

    Returns
    -------
    Event
    """
    entry = statistics_of(name)
    data = event_statistics()
    duration = float(duration_quantile(name, rng.uniform()))
    position = float(np.clip(rng.beta(*entry["apex_beta"]), 0.05, 0.95))
    emotions, sizes = zip(*data["casme3_emotion_counts"].items(), strict=True)
    emotion = str(rng.choice(emotions, p=np.array(sizes) / sum(sizes)))
    effort = float(np.exp(np.log(MEDIAN_PEAK) + LOG_SD * rng.standard_normal()))

    units = _together(rng, name, emotion) if world.together else _one_by_one(rng, name, emotion)
    rise, fall = _flank(rng), _flank(rng)
    residual = float(rng.uniform(0.03, 0.3)) if rng.uniform() < 0.6 else 0.0
    decay = float(np.inf) if rng.uniform() < 0.3 else float(rng.uniform(0.2, 1.5))
    # What is below the threshold in a movement of typical strength is added to both ends, at most half a flank.
    hidden = VISIBLE_PX / typical
    lost = [_time_to_reach(rise, hidden), 1 - _time_to_reach(fall, 1 - hidden)]
    hold = float(rng.uniform(0.03, 0.15)) * duration if rng.uniform() < 0.4 else 0.0
    hold = min(hold, 0.8 * (1 - position) * duration)  # the fall keeps a time of its own
    before = position * duration / (1 - min(lost[0], 0.5))
    after = ((1 - position) * duration - hold) / (1 - min(lost[1], 0.5))
    apex = start + position * duration

    movements = []
    for index, (unit, side) in enumerate(units):
        lag = 0.0 if index == 0 else float(np.clip(rng.normal(0, 0.04), -0.1, 0.1)) * duration
        movements.append(
            Movement(
                unit=unit,
                side=side,
                share=(1.0 if index == 0 else float(rng.uniform(0.4, 1.0)))
                * (world.lids if unit in _LIDS else 1.0),
                start=apex + lag - before,
                apex=apex + lag,
                hold=hold,
                stop=apex + lag + hold + after,
                rise=rise if index == 0 else _near(rng, rise),
                fall=fall if index == 0 else _near(rng, fall),
                residual=residual * (1.0 if index == 0 else float(rng.uniform(0.5, 1.2))),
                decay=decay,
            )
        )
    strongest = max(UNIT_SCALE[movement.unit] * movement.share for movement in movements)
    if strength is None and world.strengths:
        strength = float(np.exp(rng.uniform(*np.log(world.strengths))))
    peak = float(np.clip(effort * strongest, *PEAK_RANGE)) if strength is None else strength
    return Expression(emotion, peak, tuple(movements))


def _one_by_one(rng: np.random.Generator, name: str, emotion: str) -> list[tuple[int, str]]:
    """Units by their own frequencies, one side for all of them."""
    counts = event_statistics()["casme3_aus_per_micro"]
    how_many = int(
        rng.choice([int(n) for n in counts], p=np.array(list(counts.values())) / sum(counts.values()))
    )
    weights = unit_weights(name, emotion)
    units = rng.choice(list(weights), size=how_many, replace=False, p=list(weights.values()))
    side = str(rng.choice(["both", "left", "right"], p=[1 - 2 * ONE_SIDED, ONE_SIDED, ONE_SIDED]))
    return [(int(unit), "both" if unit in MIDLINE else side) for unit in units]


def _together(rng: np.random.Generator, name: str, emotion: str) -> list[tuple[int, str]]:
    """Units and their sides as they were coded in one real event."""
    combinations, probabilities = unit_combinations(name, emotion)
    units = combinations[rng.choice(len(combinations), p=probabilities)]
    return [units[k] for k in rng.permutation(len(units))]  # any may be the first and strongest


def _flank(rng: np.random.Generator) -> tuple[float, float]:
    """Beta parameters of a flank: 2 or more, so that velocity starts and ends at zero without a jerk."""
    return float(rng.uniform(2.0, 4.0)), float(rng.uniform(2.0, 3.5))


def _near(rng: np.random.Generator, flank: tuple[float, float]) -> tuple[float, float]:
    first, second = np.array(flank) * np.exp(0.12 * rng.standard_normal(2))
    return max(float(first), 2.0), max(float(second), 2.0)


def _time_to_reach(flank: tuple[float, float], level: float) -> float:
    """When a Beta distribution function reaches ``level``, both in [0, 1]."""
    grid = np.linspace(0, 1, 201)
    return float(np.interp(level, betainc(*flank, grid), grid))


def visible(displacement: np.ndarray, stop: int) -> tuple[int, int, int]:
    """Interval of one movement by its truth alone, whether or not anybody could see it.

    It begins and ends where an annotator sees a movement of typical strength begin and end, so that its length doesn't
    depend on the strength.

    Parameters
    ----------
    displacement, stop
        As in `annotate`.

    Returns
    -------
    onset, apex, offset : int
        0-based frames, ``0 <= onset < apex < offset < T``.
    """
    n, apex = len(displacement), int(np.argmax(displacement))
    share = VISIBLE_PX / TYPICAL_PEAK
    stop = max(min(stop, n - 1), apex)
    peak, rest = float(displacement[apex]), float(displacement[stop])
    onset = int(np.argmax(displacement >= share * peak))
    down = np.append(displacement[apex : stop + 1] <= rest + share * (peak - rest), True)
    middle = int(np.clip(apex, 1, n - 2))
    return min(onset, middle - 1), middle, min(max(apex + int(np.argmax(down)), middle + 1), n - 1)


def annotate(
    rng: np.random.Generator, displacement: np.ndarray, stop: int, fps: float
) -> tuple[int, int, int]:
    """What an annotator writes down for one movement.

    The onset is seen where the displacement first exceeds a threshold of visibility, the offset where it comes back
    to within that threshold of what it ends on. A weak movement shows less of its ends (bias) and its times are less
    certain (jitter).

    Parameters
    ----------
    rng : Generator
    displacement : (T,) float
        Largest displacement over the skin in each frame of the clip, crop pixels.
    stop : int
        Frame in which the true movement ends; what is left of the displacement there is its residual.
    fps : float

    Returns
    -------
    onset, apex, offset : int
        0-based frames, ``0 <= onset < apex < offset < T``.

    Raises
    ------
    DataError
        If there are fewer than three frames.
    """
    n = len(displacement)
    if n < 3:
        raise DataError(f"A movement of {n} frames can't be annotated; it needs at least 3.")
    apex = int(np.argmax(displacement))
    stop = min(stop, n - 1)
    peak, rest = float(displacement[apex]), float(displacement[stop])
    threshold = VISIBLE_PX * float(np.exp(VISIBLE_LOG_SD * rng.standard_normal()))
    # Annotators replay a clip until they see something: the threshold adapts to what there is.
    up = min(threshold, 0.4 * peak)
    down = rest + min(threshold, 0.4 * (peak - rest))
    onset = int(np.argmax(displacement >= up))
    offset = apex + int(np.argmax(np.append(displacement[apex : stop + 1] <= down, True)))
    # The weaker, the less certain; the offset is the hardest to see.
    sd = JITTER_S * float(np.clip((MEDIAN_PEAK / peak) ** 0.5, 0.6, 2.5))
    jitter = sd * fps * np.array([1.0, 0.9, 1.3])
    times = np.rint(np.array([onset, apex, offset]) + jitter * rng.standard_normal(3)).astype(int)
    low, middle, high = np.sort(times).tolist()
    middle = int(np.clip(middle, 1, n - 2))
    return min(max(low, 0), middle - 1), middle, max(min(high, n - 1), middle + 1)
