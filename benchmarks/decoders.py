"""Decoders on curves made from event intervals, and the time of a million frames, as in decoders.md.

    python benchmarks/decoders.py      some minutes on one core

A study of invented curves: they settle constants, they prove nothing about faces. Intervals are drawn from
the shipped event statistics (videos of 35 s at 30 frames a second, 46 % of them without any
micro-expression). Curves:

    box N, B     .8 inside, .08 outside, noise of standard deviation N, then a box blur of B frames
    network      logistic: smooth noise, an event of random strength with a triangular (or hard) profile, and
                 what a network gets wrong: 15 blinks a minute, some macro-expressions, as weaker rises

Priors are fitted on 100 videos, emissions and the one tuned number of each decoder on 30 others; F1 at IoU .5
is counted on 80 more. Untuned is each decoder as it comes, the emission fitted.
"""

import datetime
import functools
import json
import platform
import resource
import time
from pathlib import Path

import numba
import numpy as np
import pandas as pd

import melib
from melib import decoders, metrics, priors

FPS, FRAMES, SEEDS = 30, 1050, 1
STATISTICS = json.loads((Path(melib.__file__).parent / "simulate" / "event_statistics.json").read_text())
FRACTIONS = (0.2, 0.4, 0.55, 0.7, 0.8, 0.9)
RATES = (0.1, 0.3, 1.0, 3.0, 10.0)
DECODERS = {
    "fixed_window": (decoders.fixed_window, "peak_fraction", FRACTIONS),
    "extensible_interval": (decoders.extensible_interval, "peak_fraction", FRACTIONS),
    "half_height": (decoders.half_height, "peak_fraction", FRACTIONS),
    "semi_markov": (decoders.semi_markov, "rate", RATES),
    "semi_markov, no emission": (decoders.semi_markov, "rate", RATES),
}
# Fitted by decoders.fit alone, which brings its own least score.
FITTED = "selector"


def draw_events(rng, name):
    """Draw onset, apex, offset of the micro-expressions of one video, none touching another."""
    record, videos = STATISTICS[name], STATISTICS["samm_lv"]
    counts = videos["micro_per_video"]
    share = np.array(list(counts.values())) / sum(counts.values())
    n = 0 if rng.random() < videos["share_without_micro"] else int(rng.choice([*map(int, counts)], p=share))
    events: list[tuple[int, int, int]] = []
    for _ in range(50 * n):
        median = np.log(record["duration_s"][2] * FPS)
        length = max(2, round(rng.lognormal(median, record["log_duration_sd"])))
        onset = int(rng.integers(0, max(1, FRAMES - length)))
        apart = all(onset + length < a or onset > b for a, _, b in events)
        if len(events) < n and length < FRAMES // 2 and apart:
            events.append((onset, onset + round(length * rng.beta(*record["apex_beta"])), onset + length))
    return sorted(events)


def blur(curve, width):
    return np.convolve(np.pad(curve, width, mode="edge"), np.ones(width) / width, "same")[width:-width]


def box_curve(rng, events, noise, width):
    curve = np.full(FRAMES, 0.08)
    for onset, _, offset in events:
        curve[onset : offset + 1] = 0.8
    return blur(curve + rng.normal(0, noise, FRAMES), width).clip(0, 1)


def network_curve(rng, events, profile):
    value = 0.6 * np.sqrt(7) * blur(rng.standard_normal(FRAMES), 7) - 3.5
    for event in events:
        value += rng.lognormal(np.log(4), 0.35) * blur(profile(*event, FRAMES), 5)
    for a_minute, frames, spread, strength in ((15, 14, 0.2, 1.6), (2.5, 45, 0.7, 1.2)):
        for _ in range(rng.poisson(a_minute * FRAMES / FPS / 60)):
            onset, length = int(rng.integers(0, FRAMES)), rng.lognormal(np.log(frames), spread)
            shape = priors.triangular(onset, onset + length / 3, onset + length, FRAMES)
            value += rng.lognormal(np.log(strength), 0.5) * blur(shape, 5)
    return 1 / (1 + np.exp(-value))


CURVES = {
    "box .1, 7": lambda rng, events: box_curve(rng, events, 0.1, 7),
    "box .2, 15": lambda rng, events: box_curve(rng, events, 0.2, 15),
    "network, triangular": lambda rng, events: network_curve(rng, events, priors.triangular),
    "network, hard": lambda rng, events: network_curve(rng, events, priors.boxcar),
}


def videos(seed, name, curve, n):
    rng = np.random.default_rng(seed)
    events = [draw_events(rng, name) for _ in range(n)]
    return events, [curve(rng, each) for each in events]


def fit_prior(seed, name):
    events = videos(seed, name, lambda rng, each: None, 100)[0]
    table = pd.DataFrame([e for video in events for e in video], columns=["onset", "apex", "offset"])
    return priors.IntervalPrior.fit(table, pd.DataFrame({"n_frames": [FRAMES] * 100, "fps": FPS}), FPS)


def table_of(found):
    """Give intervals of many videos the columns that metrics ask for."""
    rows = [each.assign(subject="s", video=str(i), emotion="others") for i, each in enumerate(found)]
    return pd.concat(rows, ignore_index=True)


def truth_of(events):
    return table_of(
        [pd.DataFrame(each, columns=["onset", "apex", "offset"]).astype("int64") for each in events]
    )


def spot(function, prior, curves, events, **settings):
    found = table_of([function(each, prior, **settings) for each in curves])
    return metrics.spotting(found, truth_of(events)), found


def study(name, other, curve):
    """F1 of each decoder: tuned on all videos, on those with events, untuned; prior of `other`."""
    counts = {decoder: np.zeros((3, 3)) for decoder in (*DECODERS, FITTED)}
    calibration = []
    for seed in range(SEEDS):
        prior = fit_prior(10 * seed + 1, other)
        known, known_curves = videos(10 * seed + 2, name, curve, 30)
        events, curves = videos(10 * seed + 3, name, curve, 80)
        inside = [np.zeros(FRAMES, bool) for _ in known]
        for video, each in zip(known, inside, strict=True):
            for onset, _, offset in video:
                each[onset : offset + 1] = True
        emission = decoders.Emission.fit(known_curves, inside, prior)
        for decoder, (function, parameter, grid) in DECODERS.items():
            fixed = {"emission": emission} if decoder == "semi_markov" else {}

            score = functools.partial(spot, function, prior, **fixed)
            tuned = [score(known_curves, known, **{parameter: value})[0]["f1"] for value in grid]
            best = grid[int(np.argmax(tuned))]
            result, found = score(curves, events, **{parameter: best})
            default, _ = score(curves, events)
            full = [i for i, each in enumerate(events) if each]
            some, _ = score([curves[i] for i in full], [events[i] for i in full], **{parameter: best})
            for row, each in enumerate((result, some, default)):
                counts[decoder][row] += [each["tp"], each["fp"], each["fn"]]
            if decoder == "semi_markov":
                hit = found.index.isin(result["matches"]["predicted"])
                calibration.append(pd.DataFrame({"score": found["score"], "hit": hit}))
        tables = [pd.DataFrame(each, columns=["onset", "apex", "offset"]) for each in known]
        selector = decoders.fit(FITTED, known_curves, tables, prior)
        for row, chosen in enumerate((range(len(events)), full, range(len(events)))):
            found = table_of([selector(curves[i]) for i in chosen])
            result = metrics.spotting(found, truth_of([events[i] for i in chosen]))
            counts[FITTED][row] += [result["tp"], result["fp"], result["fn"]]
    f1 = {d: [2 * tp / max(2 * tp + fp + fn, 1) for tp, fp, fn in rows] for d, rows in counts.items()}
    return f1, counts, pd.concat(calibration)


def settings():
    samm, casme = "samm_lv_micro", "casme3_micro"
    for curve in CURVES:
        yield f"SAMM-LV, {curve}", samm, samm, curve
        yield f"CAS(ME)^3, {curve}", casme, casme, curve
    yield "SAMM-LV, network, hard, prior of CAS(ME)^3", samm, casme, "network, hard"
    yield "CAS(ME)^3, network, hard, prior of SAMM-LV", casme, samm, "network, hard"


def main():
    print(
        f"{datetime.date.today()}, {platform.machine()}; Python {platform.python_version()}, "
        f"numpy {np.__version__}, numba {numba.__version__}; one thread.\n"
    )
    print("## A million frames\n\n| decoder | SAMM-LV prior, s | CAS(ME)^3 prior, s |\n|---|---|---|")
    rng = np.random.default_rng(0)
    million = np.concatenate(
        [network_curve(rng, draw_events(rng, "samm_lv_micro"), priors.triangular) for _ in range(953)]
    )
    for decoder, (function, _, _) in list(DECODERS.items())[:4]:
        cells = []
        for name in ("samm_lv_micro", "casme3_micro"):
            prior = fit_prior(1, name)
            function(million[:500], prior)  # compiles
            start = time.process_time()
            function(million[:1_000_000], prior)
            cells.append(f"{time.process_time() - start:.2f}")
        print(f"| {decoder} | {' | '.join(cells)} |", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB
    print(f"\nPeak memory of the process: {peak / 2**20:.2f} GiB.\n")
    print("## F1 at IoU .5: tuned, all videos / tuned, videos with events / untuned, all videos\n")
    print(f"| | {' | '.join([*DECODERS, FITTED])} |\n|---|{'---|' * (len(DECODERS) + 1)}")
    tables, bins = [], []
    for title, name, other, curve in settings():
        f1, counts, calibration = study(name, other, CURVES[curve])
        cells = [
            " / ".join(f"{value:.3f}" for value in f1[decoder]).replace("0.", ".")
            for decoder in (*DECODERS, FITTED)
        ]
        print(f"| {title} | {' | '.join(cells)} |", flush=True)
        tables.append(f1)
        tp, fp, fn = counts["semi_markov"][0].astype(int)
        share = calibration.groupby(pd.cut(calibration["score"], [0, 0.25, 0.5, 0.75, 1]), observed=True)
        cells = [f"{each['score'].mean():.2f}: {each['hit'].mean():.2f} ({len(each)})" for _, each in share]
        bins.append(f"| {title} | {tp} / {fp} / {fn} | {', '.join(cells)} |")
    means = [
        " / ".join(f"{v:.3f}" for v in np.mean([t[d] for t in tables], axis=0)).replace("0.", ".")
        for d in (*DECODERS, FITTED)
    ]
    print(f"| mean | {' | '.join(means)} |\n")
    print(
        "## semi_markov: found / false / missed, confidence: share of hits (intervals)\n\n"
        "| | counts | confidence |"
    )
    print("|---|---|---|\n" + "\n".join(bins))


if __name__ == "__main__":
    main()
