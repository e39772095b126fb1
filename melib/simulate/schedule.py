"""When what happens in a long video: expressions, blinks and talking over seconds. No image is touched here.

How many expressions, how long and how far apart follows event_statistics.json:

    macro    __xxxxxxxx__xxxx__________xxxxxxxxxxx____     one after the other, with SAMM-LV's gaps
    micro    ______xx_____________xx__________________     a third over a macro one, the others clear of all
    blink    _x________x_____x___________x____x_______     one rate a video
    talking  ___________________xxxxxxxxx_____________     bursts in some videos
"""

from dataclasses import dataclass, replace

import numpy as np

from melib.simulate import events
from melib.simulate.events import Expression, Movement
from melib.simulate.nuisance import Blink, blink_duration, blink_phases
from melib.simulate.units import JAW
from melib.simulate.worlds import FIRST, World

STATISTICS = ("samm_lv", "casme3")

# Expressions
MACRO_MEDIAN, MACRO_LOG_SD = 2.6, 0.45  # crop pixels
MACRO_RANGE = (0.8, 6.0)  # crop pixels; the weak ones overlap with strong micro-expressions
MACRO_SHARE = 0.5  # of a video at most, so that a micro-expression finds room beside macro ones
LONGEST = 0.4  # of a video: a longer macro-expression is shortened to it
MARGIN_S = 0.2  # no expression begins or ends nearer to a video's ends
APART_S, CLEAR_S = 0.3, 0.15  # seconds between true movements: of micro ones, of others
QUICK_S = (0.35, 1.0)  # flanks of a long macro-expression: the face gets there quickly and then stays near
QUICKEST_S = 0.2  # no macro-expression comes or goes faster
CREEP = 0.3  # share of its strength that a long macro-expression gains and loses while it stays
AFTERGLOW_S = (0.5, 3.0)  # time constant of a residual: in a long video none stays for good

# Blinks
BLINK_RATE, BLINK_LOG_SD, BLINK_RANGE = 15.0, 0.4, (4.0, 35.0)  # a minute, one rate a video
BLINK_GAP_S = 0.35  # shortest time between two
PARTIAL = (0.5, 0.9)  # how far blinks go that don't close the eye

# Talking
TALK_SHARE = 0.4  # of videos
TALK_EVERY_S = 25.0  # a burst, on average, in those
BURST_S = (1.0, 8.0)
SYLLABLE_HZ = (3.0, 6.0)
TALK_PX, TALK_LOG_SD, TALK_MOST = 1.2, 0.35, 2.5  # opening of a syllable, crop pixels
PHRASE = 0.12, (0.2, 0.6)  # chance of a pause after a syllable, and its length in seconds
LIPS = (JAW, 25, 20, 18, 24)  # jaw, parting, spread, round, pressed together


def schedule(
    rng: np.random.Generator, statistics: str, length: float, world: World = FIRST
) -> list[tuple[str, Expression]]:
    """Draw the expressions of one video.

    Parameters
    ----------
    rng : Generator
    statistics : {"samm_lv", "casme3"}
    length : float
        Seconds.
    world : World

    Returns
    -------
    list of (kind, Event)
        Micro and macro ones, each by time, all inside the video. True movements of one kind don't overlap.
        A micro-expression that finds no room in 200 attempts is left out: 1 in 50 in videos of 20 s.
    """
    figures = events.event_statistics()["samm_lv"]
    counts = {int(n): videos for n, videos in figures["micro_per_video"].items()}
    macro_expected = _macro_expected(statistics, length)
    macro = _place_macro(rng, statistics, length, int(rng.poisson(macro_expected)), world)
    n_micro = 0
    if rng.uniform() >= figures["share_without_micro"]:
        n_micro = int(rng.choice(list(counts), p=np.array(list(counts.values())) / sum(counts.values())))
    overlapping = figures["micro_overlapping_macro"] / sum(n * videos for n, videos in counts.items())
    overlapping /= 1 - np.exp(-macro_expected)  # a video without macro-expressions has none to overlap
    micro: list[Expression] = []
    for _ in range(n_micro):
        event = _settled(rng, events.draw_event(rng, f"{statistics}_micro", 0.0, world=world))
        start = _room(rng, event.stop - event.start, length, macro, micro, bool(rng.uniform() < overlapping))
        if start is not None:
            micro.append(event.moved(start - event.start))
    return [("micro", e) for e in sorted(micro, key=lambda e: e.start)] + [("macro", e) for e in macro]


def probes(
    rng: np.random.Generator,
    statistics: str,
    length: float,
    peaks: tuple[float, float],
    n: int,
    world: World = FIRST,
) -> list[tuple[str, Expression]]:
    """Draw the expressions of a video made to measure how small a movement is found.

    Parameters
    ----------
    rng : Generator
    statistics : {"samm_lv", "casme3"}
    length : float
        Seconds.
    peaks : pair of float
        Smallest and largest micro-expression, crop pixels. Each video has one in each n-th part of this range on a
        logarithmic axis.
    n : int
        Micro-expressions.
    world : World

    Returns
    -------
    list of (kind, Event)
        As `schedule` returns; no micro-expression lies over another expression, and none leaves a residual, so that each
        has a peak of its own. One that finds no room in 200 attempts is left out.
    """
    macro = _place_macro(
        rng, statistics, length, int(rng.poisson(_macro_expected(statistics, length))), world
    )
    shares = (rng.permutation(n) + rng.uniform(size=n)) / n
    micro: list[Expression] = []
    for strength in np.exp(np.log(peaks[0]) + shares * np.log(peaks[1] / peaks[0])):
        event = events.draw_event(rng, f"{statistics}_micro", 0.0, float(strength), world=world)
        event = replace(event, movements=tuple(replace(m, residual=0.0) for m in event.movements))
        start = _room(rng, event.stop - event.start, length, macro, micro, False)
        if start is not None:
            micro.append(event.moved(start - event.start))
    return [("micro", e) for e in sorted(micro, key=lambda e: e.start)] + [("macro", e) for e in macro]


def _macro_expected(statistics: str, length: float) -> float:
    """Macro-expressions of a video of ``length`` seconds, on average."""
    figures, data = events.event_statistics()["samm_lv"], events.event_statistics()
    micro = sum(int(n) * videos for n, videos in figures["micro_per_video"].items()) / figures["videos"]
    macro_a_micro = data[f"{statistics}_macro"]["n"] / data[f"{statistics}_micro"]["n"]
    return micro * macro_a_micro * length / figures["mean_length_s"]


def _place_macro(
    rng: np.random.Generator, statistics: str, length: float, n: int, world: World
) -> list[Expression]:
    """Macro-expressions one after the other, apart as in SAMM-LV, the first at any time."""
    chosen, free = [], MACRO_SHARE * length
    for _ in range(n):
        strength = float(np.clip(MACRO_MEDIAN * np.exp(MACRO_LOG_SD * rng.standard_normal()), *MACRO_RANGE))
        event = _settled(
            rng, events.draw_event(rng, f"{statistics}_macro", 0.0, strength, MACRO_MEDIAN, world)
        )
        event = _plateau(rng, _shortened(event, LONGEST * length))
        if event.stop - event.start <= free:
            chosen.append(event)
            free -= event.stop - event.start
    if not chosen:
        return []
    lengths = np.array([event.stop - event.start for event in chosen])
    figures = events.event_statistics()
    gaps = np.interp(
        100 * rng.uniform(size=len(chosen) - 1), figures["percentiles"], figures["samm_lv"]["gap_s"]
    )
    gaps = np.maximum(gaps, CLEAR_S)
    room = length - 2 * MARGIN_S - lengths.sum()
    gaps *= min(1.0, room / max(gaps.sum(), 1e-9))
    first = MARGIN_S + rng.uniform(0, 1) * (room - gaps.sum())
    starts = first + np.concatenate([[0], np.cumsum(lengths[:-1] + gaps)])
    return [event.moved(start - event.start) for event, start in zip(chosen, starts, strict=True)]


def smiles(
    rng: np.random.Generator, statistics: str, length: float, world: World
) -> list[tuple[str, Expression]]:
    """Draw smiles (units 12 and 6) one after the other, as long and as strong as macro-expressions are."""
    chosen: list[tuple[str, Expression]] = []
    start = MARGIN_S + float(rng.uniform(0, 1))
    while True:
        strength = float(np.clip(MACRO_MEDIAN * np.exp(MACRO_LOG_SD * rng.standard_normal()), *MACRO_RANGE))
        drawn = events.draw_event(rng, f"{statistics}_macro", 0.0, strength, MACRO_MEDIAN, world)
        event = _plateau(rng, _shortened(_settled(rng, drawn), LONGEST * length))
        first = replace(event.movements[0], side="both")
        both = (replace(first, unit=12, share=1.0), replace(first, unit=6, share=0.7))
        event = replace(event, emotion="happy", movements=both)
        event = event.moved(start - event.start)
        if event.stop > length - MARGIN_S:
            return chosen
        chosen.append(("macro", event))
        start = event.stop + 0.5 + float(rng.exponential(2.0))


def _room(
    rng: np.random.Generator,
    own: float,
    length: float,
    macro: list[Expression],
    micro: list[Expression],
    over: bool,
) -> float | None:
    """A start for a micro-expression of ``own`` seconds, half of it at least over a macro one, or clear."""

    def clear(start, others, apart):
        return all(start + own + apart <= e.start or e.stop + apart <= start for e in others)

    for _ in range(200):
        if over and macro:
            lengths = np.array([event.stop - event.start for event in macro])
            event = macro[rng.choice(len(macro), p=lengths / lengths.sum())]
            start = float(rng.uniform(event.start, event.stop)) - own / 2
        else:
            start = float(rng.uniform(MARGIN_S, max(MARGIN_S, length - MARGIN_S - own)))
            if not clear(start, macro, CLEAR_S):
                continue
        if MARGIN_S <= start <= length - MARGIN_S - own and clear(start, micro, APART_S):
            return start
    return None


def _settled(rng: np.random.Generator, event: Expression) -> Expression:
    """The same event without a residual that stays for good."""
    decay = float(rng.uniform(*AFTERGLOW_S))
    return replace(event, movements=tuple(replace(m, decay=min(m.decay, decay)) for m in event.movements))


def _shortened(event: Expression, longest: float) -> Expression:
    """The same event, in fast motion if it is longer than ``longest`` seconds."""
    factor = min(1.0, longest / (event.stop - event.start))
    return replace(
        event,
        movements=tuple(
            replace(
                m, start=factor * m.start, apex=factor * m.apex, hold=factor * m.hold, stop=factor * m.stop
            )
            for m in event.movements
        ),
    )


def _plateau(rng: np.random.Generator, event: Expression) -> Expression:
    """The same event with quick flanks (not too quick), and slowly to the apex and down in between."""
    up, down = rng.uniform(*QUICK_S, size=2)
    movements: list[Movement] = []
    for m in event.movements:
        start, stop = min(m.start, m.apex - QUICKEST_S), max(m.stop, m.apex + m.hold + QUICKEST_S)
        m = replace(m, start=start, stop=stop)
        top, end = min(m.apex, m.start + up), max(m.apex + m.hold, m.stop - down)
        movements.append(replace(m, share=(1 - CREEP) * m.share, apex=top, hold=end - top))
        movements.append(replace(m, share=CREEP * m.share))
    return replace(event, movements=tuple(movements))


def draw_blinks(rng: np.random.Generator, length: float, world: World = FIRST) -> list[Blink]:
    """Draw the blinks of one video of ``length`` seconds, by time; none is cut off by its ends."""
    rate = float(np.clip(BLINK_RATE * np.exp(BLINK_LOG_SD * rng.standard_normal()), *BLINK_RANGE))
    mean = 60 / rate - BLINK_GAP_S
    blinks: list[Blink] = []
    start = float(rng.uniform(0, mean))
    while True:
        duration = blink_duration(rng)
        if start + duration + 0.1 > length:
            return blinks
        depth = float(rng.uniform(*PARTIAL)) if rng.uniform() < world.partial_blinks else 1.0
        blinks.append(Blink(start, duration, *blink_phases(rng), depth))
        # From the start of one to that of the next: a shape of 1.5 makes them less regular than a clock's.
        start += max(duration, BLINK_GAP_S + float(rng.gamma(1.5, mean / 1.5)))


@dataclass(frozen=True)
class Burst:
    """A stretch of talking.

    Attributes
    ----------
    start, stop : float
        Seconds.
    syllables : (n, 2) float64
        Middle and half width of each, seconds.
    openings : (n, 5) float64
        Crop pixels of jaw drop, lips parted, spread, rounded and pressed together at each one's middle.
    """

    start: float
    stop: float
    syllables: np.ndarray
    openings: np.ndarray

    def course(self, seconds: np.ndarray) -> np.ndarray:
        """(T, 5) crop pixels at times (T,)."""
        out = np.zeros((len(seconds), len(LIPS)))
        for (middle, half), opening in zip(self.syllables, self.openings, strict=True):
            here = slice(*np.searchsorted(seconds, [middle - half, middle + half]))
            out[here] += np.cos(np.pi / 2 * (seconds[here, None] - middle) / half) ** 2 * opening
        return out


def draw_bursts(rng: np.random.Generator, length: float, share: float = TALK_SHARE) -> list[Burst]:
    """Draw when and what is said in one video of ``length`` seconds; a ``share`` of videos isn't silent."""
    if rng.uniform() >= share:
        return []
    voice = float(np.exp(TALK_LOG_SD * rng.standard_normal()))
    bursts: list[Burst] = []
    start = float(rng.uniform(0, TALK_EVERY_S / 2))
    while start + BURST_S[0] < length:
        stop = min(length, start + float(np.exp(rng.uniform(*np.log(BURST_S)))))
        bursts.append(_burst(rng, start, stop, voice))
        start = stop + 0.5 + float(rng.exponential(TALK_EVERY_S))
    return bursts


def _burst(rng: np.random.Generator, start: float, stop: float, voice: float) -> Burst:
    rate = float(rng.uniform(*SYLLABLE_HZ))
    syllables: list[tuple[float, float]] = []
    openings: list[list[float]] = []
    time = start
    while True:
        period = float(
            np.clip(np.exp(0.15 * rng.standard_normal()) / rate, 1 / SYLLABLE_HZ[1], 1 / SYLLABLE_HZ[0])
        )
        if time + 1.2 * period > stop:
            return Burst(
                start, stop, np.array(syllables).reshape(-1, 2), np.array(openings).reshape(-1, len(LIPS))
            )
        opening = min(TALK_MOST, voice * TALK_PX * float(np.exp(TALK_LOG_SD * rng.standard_normal())))
        shape, amount = rng.choice(3, p=[0.4, 0.3, 0.3]), float(rng.uniform(0.2, 0.6))
        # Neighbours overlap a little, as sounds do: the mouth doesn't close between all of them.
        syllables.append((time + 0.6 * period, 0.6 * period))
        openings.append(
            [opening, 0.4 * opening, amount * opening * (shape == 1), amount * opening * (shape == 2), 0]
        )
        if rng.uniform() < 0.25:  # lips meet before the next, as for b, m and p
            syllables.append((time + 1.1 * period, 0.25 * period))
            openings.append([0, 0, 0, 0, 0.4 * opening])
        time += period
        if rng.uniform() < PHRASE[0]:
            time += float(rng.uniform(*PHRASE[1]))
