"""Decoders on invented curves and on frozen ones, and the time of a million frames, as in decoders.md.

    python benchmarks/decoders.py               invented curves, some minutes on one core
    python benchmarks/decoders.py frozen        the curves of benchmarks/curves, some minutes; draws reliability.png
    python benchmarks/decoders.py freeze DIR    makes these curves again, videos and all, half an hour on two cores
    python benchmarks/decoders.py run RUN       curves that a run's own networks (notebook 06) give of people they never saw

Frozen curves are those of the shipped spotting network and of the control `motion` (length of the regional motion, nothing
trained) on simulated long videos of 40 people, one of 10 s each, with the durations of SAMM-LV and of CAS(ME)^3. The
network's are of the 20 people alone that it was never trained on. No face is in them: one number a frame.

Invented curves are a study of curves: they settle constants, they prove nothing about faces. Intervals are drawn from
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
import gzip
import hashlib
import io
import itertools
import json
import platform
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numba
import numpy as np
import pandas as pd

import melib
from melib import decoders, learn, metrics, priors, protocols, simulate, stats
from melib.app import interval_files, predictor_weights, runner
from melib.data import workers
from melib.study import data, spotting, spotting_decoding, spotting_runs, spotting_tables
from melib.study.provenance import read_configuration
from melib.study.run import Run

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
    return events, [curve(rng, video) for video in events]


def fit_prior(seed, name):
    events = videos(seed, name, lambda rng, video: None, 100)[0]
    table = pd.DataFrame([e for video in events for e in video], columns=["onset", "apex", "offset"])
    return priors.IntervalPrior.fit(table, pd.DataFrame({"n_frames": [FRAMES] * 100, "fps": FPS}), FPS)


def table_of(tables):
    """Give intervals of many videos the columns that metrics ask for."""
    rows = [table.assign(subject="s", video=str(i), emotion="others") for i, table in enumerate(tables)]
    return pd.concat(rows, ignore_index=True)


def truth_of(events):
    return table_of(
        [pd.DataFrame(video, columns=["onset", "apex", "offset"]).astype("int64") for video in events]
    )


def spot(function, prior, curves, events, **settings):
    intervals = table_of([function(curve, prior, **settings) for curve in curves])
    return metrics.spotting(intervals, truth_of(events)), intervals


def study(name, other, curve):
    """F1 of each decoder: tuned on all videos, on those with events, untuned; prior of `other`."""
    counts = {decoder: np.zeros((3, 3)) for decoder in (*DECODERS, FITTED)}
    calibration = []
    for seed in range(SEEDS):
        prior = fit_prior(10 * seed + 1, other)
        known, known_curves = videos(10 * seed + 2, name, curve, 30)
        events, curves = videos(10 * seed + 3, name, curve, 80)
        inside = [np.zeros(FRAMES, bool) for _ in known]
        for video, mask in zip(known, inside, strict=True):
            for onset, _, offset in video:
                mask[onset : offset + 1] = True
        emission = decoders.Emission.fit(known_curves, inside, prior)
        for decoder, (function, parameter, grid) in DECODERS.items():
            fixed = {"emission": emission} if decoder == "semi_markov" else {}

            score = functools.partial(spot, function, prior, **fixed)
            tuned = [score(known_curves, known, **{parameter: value})[0]["f1"] for value in grid]
            best = grid[int(np.argmax(tuned))]
            result, intervals = score(curves, events, **{parameter: best})
            default, _ = score(curves, events)
            full = [i for i, video in enumerate(events) if video]
            some, _ = score([curves[i] for i in full], [events[i] for i in full], **{parameter: best})
            for row, counted in enumerate((result, some, default)):
                counts[decoder][row] += [counted["tp"], counted["fp"], counted["fn"]]
            if decoder == "semi_markov":
                hit = intervals.index.isin(result["matches"]["predicted"])
                calibration.append(pd.DataFrame({"score": intervals["score"], "hit": hit}))
        tables = [pd.DataFrame(video, columns=["onset", "apex", "offset"]) for video in known]
        selector = decoders.fit(FITTED, known_curves, tables, prior)
        for row, chosen in enumerate((range(len(events)), full, range(len(events)))):
            intervals = table_of([selector(curves[i]) for i in chosen])
            result = metrics.spotting(intervals, truth_of([events[i] for i in chosen]))
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


# Frozen curves
# ---------------------------------------------------------------------------------------

CURVES_FOLDER = Path(__file__).with_name("curves")
SETS = {"samm": ("samm_lv", 0), "casme3": ("casme3", 1)}  # event statistics, seed of the simulation
SOURCES = ("network", "motion")
PEOPLE = [f"s{i:02d}" for i in range(1, 41)]
FITTED_ON = (3, 6, 12, 24)  # people
DRAWS = 2  # choices of them
BINS = (0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.01)  # of probabilities


def unseen():
    """People whom the shipped network wasn't trained on, nor its epoch chosen by: the first fold's test part."""
    return protocols.folds(PEOPLE, 2, seed=0, validation_share=0.3)[0].test


def freeze(work):
    """Simulate both sets below a folder and write curves, events and hashes into CURVES_FOLDER."""
    CURVES_FOLDER.mkdir(exist_ok=True)
    network = predictor_weights.load_weights().spotting
    run = SimpleNamespace(cache=work / "cache", jobs=2)
    for name, (statistics, seed) in SETS.items():
        about = {
            "people": len(PEOPLE),
            "videos": 1,
            "seconds": (10, 10),
            "statistics": statistics,
            "seed": seed,
        }
        out = simulate.write_long(work / f"lv_{name}", name=f"frozen_{name}", jobs=run.jobs, **about)
        videos = spotting.prepare_videos(data.open_study(out / "manifest.yml", out), run, windows=False)
        tables: dict[str, list] = {source: [] for source in SOURCES}
        for video in videos:
            place = {"subject": video.subject, "video": video.video, "frame": np.arange(len(video))}
            motion = spotting_decoding.curves_of(spotting_runs.MOTION, None, None, video)["micro"]
            tables["motion"].append(pd.DataFrame({**place, "score": motion}))
            if video.subject in unseen():
                sequence = learn.videos.Sequence(video.motion, video.mask)
                [curves] = learn.videos.predict_curves(network, [sequence])
                scores = np.where(video.mask[:, None], curves["scores"], np.nan)
                columns = dict(zip(("score", "macro", "blink"), scores.T, strict=True))
                tables["network"].append(pd.DataFrame({**place, **columns}))
        events = spotting.annotated(videos)[["subject", "video", "onset", "apex", "offset", "emotion"]]
        events.to_csv(CURVES_FOLDER / f"{name}_events.csv", index=False, lineterminator="\n")
        for source, parts in tables.items():
            text = io.StringIO()
            pd.concat(parts).to_csv(text, index=False, float_format="%.4g", lineterminator="\n")
            packed = gzip.compress(text.getvalue().encode(), mtime=0)
            (CURVES_FOLDER / f"{name}_{source}.csv.gz").write_bytes(packed)
    lines = [f"{sha256(file)}  {file.name}" for file in sorted(CURVES_FOLDER.glob("*.csv*"))]
    (CURVES_FOLDER / "SHA256SUMS").write_text("\n".join(lines) + "\n", encoding="utf-8")


def sha256(file):
    """Of what a file holds: of a packed one the csv within."""
    data = file.read_bytes()
    return hashlib.sha256(gzip.decompress(data) if file.suffix == ".gz" else data).hexdigest()


def read_frozen(name, source):
    curves = interval_files.read_curves(CURVES_FOLDER / f"{name}_{source}.csv.gz")
    events = interval_files.read_truth(CURVES_FOLDER / f"{name}_events.csv", None)
    people = {curve.subject for curve in curves}
    return curves, events[events["subject"].isin(people)].reset_index(drop=True)


def of_people(people, curves, events):
    """Curves and events of some people."""
    return [c for c in curves if c.subject in people], events[events["subject"].isin(people)]


def scored(intervals, truth):
    """Found, invented, missed and F1 at IoU .5, mean F1 over metrics.IOUS, average precision."""
    accepted = intervals[intervals["kept"]]
    counts = metrics.spotting(accepted, truth)
    ap = metrics.average_precision(intervals.assign(score=intervals["confidence"]), truth)
    f1 = [counts["f1"], metrics.f1_over_iou(accepted, truth, metrics.IOUS).mean(), ap]
    return [counts[name] for name in ("tp", "fp", "fn")], [float(value) for value in f1]


def cell(result):
    counts, values = result
    f1, mean, ap = (f"{value:.3f}".replace("0.", ".", 1) for value in values)
    return f"{f1} ({' / '.join(map(str, counts))}) {mean} {ap}"


def learning_curve(title, curves, events):
    """Mean F1 over metrics.IOUS on people who are the same for every number of people fitted on: rows of a table."""
    people = sorted({curve.subject for curve in curves})
    known_numbers = [n for n in FITTED_ON if n <= 0.6 * len(people)]
    tested = set(np.random.default_rng(0).permutation(people)[: len(people) - known_numbers[-1]])
    others = [person for person in people if person not in tested]
    for decoder in decoders.NAMES:
        cells = []
        for n in known_numbers:
            means = []
            for draw in range(DRAWS if n < len(others) else 1):
                known = set(np.random.default_rng(draw + 1).permutation(others)[:n])
                if of_people(known, curves, events)[1].empty:
                    continue
                intervals = interval_files.decode_curves(
                    *of_people(known, curves, events), decoder, FPS, of_people(tested, curves, events)[0]
                )
                means.append(scored(intervals, of_people(tested, curves, events)[1])[1][1])
            cells.append(f"{np.mean(means):.3f}".replace("0.", ".", 1) if means else "no event")
        cells += ["not at hand"] * (len(FITTED_ON) - len(known_numbers))
        yield f"| {title} | {decoder} | {' | '.join(cells)} |"


def print_learning_curves(sources):
    print("\nLearning curve: mean F1 over IoU by people fitted on\n")
    print(f"| curves | decoder | {' | '.join(map(str, FITTED_ON))} |\n|---|---|{'---|' * len(FITTED_ON)}")
    for title, (curves, events) in sources.items():
        for row in learning_curve(title, curves, events):
            print(row, flush=True)


def reliability(tables):
    """Probability that the selector gave against the share of hits, of people whom nothing was fitted on."""
    probability, hit = [], []
    for intervals, truth in tables:
        for i in range(len(intervals)):
            true = metrics.spotting(intervals.iloc[[i]], truth)["tp"]
            probability.append(float(intervals["confidence"].iloc[i]))
            hit.append(true)
    probability, hit = np.array(probability), np.array(hit, float)
    rows = []
    for low, high in itertools.pairwise(BINS):
        inside = (probability >= low) & (probability < high)
        if inside.any():
            rows.append((probability[inside].mean(), hit[inside].mean(), int(inside.sum())))
    return rows, float(((probability - hit) ** 2).mean()), float(hit.mean() * (1 - hit.mean()))


def frozen():
    sums = dict(line.split()[::-1] for line in (CURVES_FOLDER / "SHA256SUMS").read_text().splitlines())
    print("| file | sha256 of the csv |\n|---|---|")
    for file, due in sums.items():
        print(f"| `{file}` | `{due}` |")
        if sha256(CURVES_FOLDER / file) != due:
            raise SystemExit(f"{file} isn't the file that SHA256SUMS names")
    pairs = [(name, source) for name in SETS for source in SOURCES]
    print(
        "\nNested over six groups of people: F1 at IoU .5 (found / invented / missed), mean F1 over IoU, AP\n"
    )
    print(
        f"| decoder | {' | '.join(f'{name}, {source}' for name, source in pairs)} |\n|---|{'---|' * len(pairs)}"
    )
    nested: dict[str, list] = {}
    for decoder in decoders.NAMES:
        cells = []
        for pair in pairs:
            curves, events = read_frozen(*pair)
            intervals = interval_files.decode_curves(curves, events, decoder, FPS)
            nested.setdefault(decoder, []).append((intervals, events))
            cells.append(cell(scored(intervals, events)))
        print(f"| {decoder} | {' | '.join(cells)} |", flush=True)
    print("\nThe selector less semi_markov, end to end: mean F1 over IoU, 95 % over people\n")
    for pair, ours, other in zip(pairs, nested["selector"], nested["semi_markov"], strict=True):
        print(f"- {', '.join(pair)}: {paired(ours[0], other[0], ours[1])}", flush=True)
    print("\nFitted on one set, used on the other: as above\n")
    print(
        f"| decoder | {' | '.join(f'to {name}, {source}' for name, source in pairs)} |\n|---|{'---|' * len(pairs)}"
    )
    for decoder in decoders.NAMES:
        cells = []
        for name, source in pairs:
            other = next(one for one in SETS if one != name)
            curves, events = read_frozen(name, source)
            intervals = interval_files.decode_curves(*read_frozen(other, source), decoder, FPS, curves)
            cells.append(cell(scored(intervals, events)))
        print(f"| {decoder} | {' | '.join(cells)} |", flush=True)
    print_learning_curves({", ".join(pair): read_frozen(*pair) for pair in pairs})
    print("\nReliability of the selector's probabilities, nested\n")
    print("| curves | said: hit (candidates) | Brier | of the mean rate |\n|---|---|---|---|")
    fig, axis = plt.subplots(figsize=(3.3, 3.1), layout="constrained")
    axis.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=0.8)
    for pair, table in zip(pairs, nested["selector"], strict=True):
        rows, brier, rate = reliability([table])
        shares = ", ".join(f"{probability:.2f}: {hit:.2f} ({n})" for probability, hit, n in rows)
        print(f"| {', '.join(pair)} | {shares} | {brier:.4f} | {rate:.4f} |")
        axis.plot(*np.array(rows)[:, :2].T, "o-", markersize=3, linewidth=0.9, label=", ".join(pair))
    axis.set(xlabel="Probability of a hit (IoU .5)", ylabel="Share of hits", xlim=(0, 1), ylim=(0, 1))
    axis.legend(frameon=False, fontsize="small")
    fig.savefig(Path(__file__).with_name("reliability.png"), dpi=110, metadata={"Software": None})


def paired(ours, other, truth):
    """Difference of the mean F1 over metrics.IOUS of two tables, and its 95 % interval over people."""
    people = sorted({*truth["subject"], *ours["subject"], *other["subject"]})
    counts = np.zeros((len(people), 2, len(metrics.IOUS), 3))
    for i, person in enumerate(people):
        own = truth[truth["subject"] == person]
        for side, table in enumerate((ours, other)):
            accepted = table[table["kept"] & (table["subject"] == person)]
            for j, iou in enumerate(metrics.IOUS):
                counted = metrics.spotting(accepted, own, iou)
                counts[i, side, j] = [counted[name] for name in ("tp", "fp", "fn")]

    def gap(drawn):
        tp, fp, fn = np.moveaxis(drawn.sum(axis=0), -1, 0)
        f1 = 2 * tp / np.maximum(2 * tp + fp + fn, 1)
        return float((f1[0] - f1[1]).mean())

    value, low, high = stats.bootstrap(counts, np.array(people), statistic=gap)
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


# Curves of a run's own networks
# ---------------------------------------------------------------------------------------


def of_run(name):
    """Every decoder in the settings of notebook 07, and how many people one needs, on the curves of our system."""
    place = runner.locate(name)
    known = read_configuration(place)
    run = Run(place, known["profile"], known["settings"], known["seed"])
    [long] = spotting.open_long(run, windows=False)
    materials = [
        spotting_runs.gather([spotting_runs.OURS], run, long, repeat=repeat)
        for repeat in range(len(run.seeds))
    ]
    sets = sorted({video.dataset for video in materials[0].videos})
    for dataset, statistics in itertools.product(sets, sets):
        videos = [video for video in materials[0].videos if video.dataset == dataset]
        truth = spotting.annotated(videos)
        print(
            f"\n{dataset}, prior of {statistics}: {len(videos)} videos, {len(truth)} events, {len(materials)} trainings\n"
        )
        print("| decoder | found / invented / missed | F1 | end-to-end F1 | AP |\n|---|---|---|---|---|")
        decoded = {}
        for decoder in decoders.NAMES:
            system = replace(spotting_runs.OURS, decoder=decoder)
            tasks = [(system, spotting_runs.lighter(system, m), dataset, statistics) for m in materials]
            decoded[decoder] = list(
                workers.run_jobs(
                    spotting_decoding.decode_system, tasks, run.jobs, label=decoder, unit="training"
                )
            )
            tallied = counted(decoded[decoder], truth, videos)
            counts = " / ".join(f"{n:.0f}" for n in tallied[["tp", "fp", "fn"]].sum() / len(materials))
            f1, whole = (
                spotting_tables.pooled_scores(tallied)[metric][0]
                for metric in ("spotting_f1", "end_to_end_f1")
            )
            ap = np.mean([metrics.average_precision(table, truth) for table in decoded[decoder]])
            print(f"| {decoder} | {counts} | {f1:.3f} | {whole:.3f} | {ap:.3f} |", flush=True)
        print("\nThe selector less each other, 95 % over people, crossed with trainings (AP: over people)\n")
        print("| less | F1 | end-to-end F1 | AP |\n|---|---|---|---|")
        ours = decoded.pop("selector")
        for decoder, theirs in decoded.items():
            gaps = spotting_tables.difference(
                counted(ours, truth, videos), counted(theirs, truth, videos)
            ).set_index("metric")
            triples = [gaps.loc[m, ["difference", "low", "high"]] for m in ("spotting_f1", "end_to_end_f1")]
            triples.append(precision_gap(ours, theirs, truth, {video.subject for video in videos}))
            cells = [f"{value:+.3f} [{low:+.3f}, {high:+.3f}]" for value, low, high in triples]
            print(f"| {decoder} | {' | '.join(cells)} |", flush=True)
    sources = {}
    for dataset in sets:
        curves = [
            score_curve(materials[0], fold, video)
            for fold in long.folds
            for video in materials[0].videos
            if video.dataset == dataset and video.subject in fold.test
        ]
        events = spotting.annotated([video for video in materials[0].videos if video.dataset == dataset])
        sources[dataset] = curves, events
    print_learning_curves(sources)


def score_curve(material, fold, video):
    """What a fold's network says of a video."""
    curves = spotting_decoding.curves_of(spotting_runs.OURS, material, fold, video)
    others = {kind: curves[kind] for kind in spotting.KINDS[1:]}
    return interval_files.ScoreCurve(video.subject, video.video, 0, curves["micro"], others)


def counted(decoded, truth, videos):
    """Counts of each training and subject; what a system doesn't stand by isn't counted."""
    return spotting_tables.tally([*map(spotting_decoding.accepted_intervals, decoded)], truth, videos)


def hits(table, truth):
    """Whether each interval is a hit for average precision: by score, each takes the free truth it overlaps most."""
    hit = np.zeros(len(table), bool)
    spans = {place: own[["onset", "offset"]].to_numpy() for place, own in truth.groupby(["subject", "video"])}
    ordered = table.assign(row=np.arange(len(table))).sort_values(
        ["score", "onset", "offset"], ascending=[False, True, True]
    )
    for place, own in ordered.groupby(["subject", "video"], sort=False):
        free = spans.get(place, np.zeros((0, 2)))
        for onset, offset, row in own[["onset", "offset", "row"]].itertuples(index=False, name=None):
            both = np.minimum(free[:, 1], offset) - np.maximum(free[:, 0], onset) + 1
            iou = np.maximum(both, 0) / np.maximum(np.ptp(free, axis=1) + offset - onset + 2 - both, 1)
            if len(free) and iou.max() >= 0.5:
                hit[row], free = True, np.delete(free, iou.argmax(), axis=0)
    return hit


def weighted_precision(table, truth, people, weight):
    """Average precision (n,) of so many of each person, weight (n, people)."""
    table = table[table["subject"].isin(people)].sort_values("score", ascending=False)
    drawn = weight[:, np.searchsorted(people, table["subject"])]  # (n, intervals)
    last = np.flatnonzero(np.diff(table["score"], append=-np.inf))  # equal scores enter together
    hit, taken = (np.cumsum(part, axis=1)[:, last] for part in (drawn * hits(table, truth), drawn))
    precision = hit / np.maximum(taken, 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    events = weight @ truth["subject"].value_counts().reindex(people, fill_value=0).to_numpy()
    return (np.diff(hit, axis=1, prepend=0) * best).sum(axis=1) / np.maximum(events, 1)


def precision_gap(ours, theirs, truth, searched):
    """Average precision of one decoder less another's, mean over trainings, and its 95 % interval over people."""
    people = np.array(sorted(searched))
    own = truth[truth["subject"].isin(people)]
    weight = np.vstack([np.ones(len(people)), stats.draws((0, 0), len(people))[0]])
    sides = (
        np.mean([weighted_precision(table, own, people, weight) for table in tables], axis=0)
        for tables in (ours, theirs)
    )
    gap = np.subtract(*sides)
    return gap[0], *stats.interval(gap[1:])


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
        cells = [f"{rows['score'].mean():.2f}: {rows['hit'].mean():.2f} ({len(rows)})" for _, rows in share]
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
    if sys.argv[1:2] == ["freeze"]:
        freeze(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["frozen"]:
        frozen()
    elif sys.argv[1:2] == ["run"]:
        of_run(sys.argv[2])
    else:
        main()
