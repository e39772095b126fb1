"""Result tables of an experiment that never took place: for tests of what reads them."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import yaml

from melib.data import cache
from melib.study import comparisons
from melib.study.cascade import STEPS
from melib.study.run import Run, profile_settings

# model, input, agreement under the paper's protocol, agreement inside the event under the context protocol
MODELS = [
    ("position_only", "none", 0.84, 0.30),
    ("oracle_interval", "none", 0.90, 0.80),
    ("constant_frame", "raw", 0.83, 0.30),
    ("shuffled_frames", "raw", 0.80, 0.30),
    ("frozen_clip", "raw", 0.84, 0.31),
    ("flow_magnitude", "flow", 0.84, 0.86),
    ("framewise", "raw", 0.01, 0.02),
    ("resnet18_bigru", "raw", 0.84, 0.31),
    ("resnet18_bigru", "difference", 0.87, 0.55),
    ("resnet18_bigru", "flow", 0.93, 0.95),
    ("truth", "none", 0.96, 1.0),
    ("pseudo_label", "none", 1.0, 0.9),
]
METRICS = {
    "paper": ("spearman_pseudo", "kendall_pseudo"),
    "context": ("inside_spearman_true", "spearman_pseudo"),
}


def unbegun(profile, folder="run", seed=0, data=None):
    """A run with a profile's settings that was never begun: nothing of it is written."""
    return Run(Path(folder), profile, profile_settings(profile), seed, data or {}, jobs=1)


def results(dataset="synthme", subjects=8, events=3):
    """Like intensity.csv."""
    rng = np.random.default_rng(0)
    peaks = np.clip(0.7 * np.exp(0.5 * rng.standard_normal((subjects, events))), 0.1, 2.5)
    rows = []
    for protocol, names in METRICS.items():
        for model, used, paper, context in MODELS:
            for (s, e), peak in np.ndenumerate(peaks):
                base = paper if protocol == "paper" else context
                for metric in names:
                    value = float(np.clip(base + 0.05 * rng.standard_normal(), -1, 1))
                    about = (dataset, protocol, model, used, s % 2, 0, f"{s:03d}", f"{s:03d}_{e}", peak)
                    rows.append((*about, metric, value))
    names = "dataset protocol model input fold seed subject event peak_px metric value"
    return pd.DataFrame(rows, columns=names.split())


def card(dataset="synthme"):
    """Like face_card.csv."""
    rows = []
    for protocol in METRICS:
        for model, used, _, context in MODELS:
            swap, follow = context - 0.3, (context - 0.3) / 0.65  # position alone follows nothing
            quantities = {"clip_swap": (swap, 0.04), "apex_follow": (follow, 0.04)}
            if model == "resnet18_bigru":
                quantities["frozen_correlation"] = (1 - context, 0.1)
            if model not in ("truth", "pseudo_label", "frozen_clip", "shuffled_frames"):
                rows += [
                    (dataset, protocol, model, used, 0, quantity, estimate, estimate - half, estimate + half)
                    for quantity, (estimate, half) in quantities.items()
                ]
    names = "dataset protocol model input seed quantity estimate low high"
    return pd.DataFrame(rows, columns=names.split()).assign(clips=24, subjects=8)


def claims(dataset="synthme"):
    """Like claims.csv."""
    rows = [
        ("clip_swap", "interval above 0", 0.3, 0.2, 0.4, True),
        ("apex_follow", "at least 0.8", 0.7, 0.6, 0.8, False),
    ]
    rows += [("inside_spearman_true over flow_magnitude", "interval above 0", 0.1, 0.0, 0.2, True)]
    table = pd.DataFrame(rows, columns=["claim", "needed", "estimate", "low", "high", "holds"])
    about = {"dataset": dataset, "protocol": "context", "model": "resnet18_bigru", "input": "flow"}
    table = table.assign(**about, events=24, subjects=8, seeds=1, p=[np.nan, np.nan, 0.01], effect=0.9)
    return comparisons.corrected(table, "intensity_claims", ["claim", "needed"])


def a_run(folder, dataset="synthme"):
    """A finished run's folder: results, settings, one notebook with its page, times and environment."""
    for name, table in {
        "intensity": results(dataset),
        "face_card": card(dataset),
        "claims": claims(dataset),
    }.items():
        cache.write_table(folder / "results" / f"{name}.csv", table)
    (folder / "parameters.yml").write_text(yaml.safe_dump({"profile": "smoke", "seed": 0, "data": ""}))
    outputs = {"results/intensity.csv": cache.content_hash([folder / "results" / "intensity.csv"])}
    (folder / "notebooks").mkdir()
    (folder / "html").mkdir()
    (folder / "notebooks" / "04_intensity.ipynb").write_text("{}")
    (folder / "notebooks" / "04_intensity.json").write_text(json.dumps({"stamp": "0", "outputs": outputs}))
    (folder / "html" / "04_intensity.html").write_text("<!DOCTYPE html><title>04</title><p>executed</p>")
    (folder / "timing.json").write_text(json.dumps({"04_intensity": 12.5}))
    (folder / "log.txt").write_text("2026-01-01T00:00:00 1/1 04_intensity: finished in 12 s\n")
    record = {"commit": "0" * 40, "python": "3.11.7", "device": "a processor", "packages": {}}
    (folder / "environment.json").write_text(json.dumps(record))
    return folder


def ablations():
    """intensity_ablations, ablation_differences and prior_match of one base, two variants and a control."""
    rows = [
        ("base", "flow", "base", 0.8),
        ("flow", "no GRU", "temporal", 0.7),
        *(("flow", f"labels off by {n} frames", "labels", 0.7 - n / 100) for n in (2, 6)),
        ("", "position only", "control", 0.0),
    ]
    rows[0] = ("flow", "flow", "base", 0.8)
    whole = {"dataset": "toy", "protocol": "context", "events": 20, "subjects": 5}
    table = pd.DataFrame(
        [
            {**whole, "base": base, "variant": variant, "family": family, "metric": metric, "estimate": value}
            for base, variant, family, value in rows
            for metric in ("inside_spearman_true", "clip_swap", "apex_follow")
        ]
    )
    table["model"] = np.where(table["family"] == "control", "position_only", "resnet18_bigru")
    table["low"], table["high"] = table["estimate"] - 0.1, table["estimate"] + 0.1
    changed = table[table["family"].isin(["temporal", "labels"])].rename(columns={"estimate": "difference"})
    tested = changed["metric"] == "inside_spearman_true"
    differences = changed.assign(p=np.where(tested, 0.01, np.nan), significant=tested, seeds=1, floor=0.02)
    match = pd.DataFrame(
        [
            {**whole, "prior": prior, "landmarks": marks, "jitter": jitter, "metric": metric, "estimate": 0.9}
            for prior in ("triangular", "boxcar", "half_apex", "gaussian", "raised_cosine")
            for marks, jitter in (("exact", 0.0), ("off by 2 frames", 2.0), ("annotated", np.nan))
            for metric in ("ccc", "inside_spearman")
        ]
    ).assign(low=0.85, high=0.95, less_triangle=0.01, less_triangle_low=0.0, less_triangle_high=0.02)
    return table, differences, match


def limits():
    """limits, limits_events and limits_curve of one model and the ideal observer."""
    about = {"dataset": "toy", "condition": "base", "level": 1.0}
    systems = {
        "ours": ("model", 0.5, 0.4, 0.6),
        "ideal observer": ("ideal", 0.007, 0.006, 0.008),
    }
    table = pd.DataFrame(
        [
            {**about, "unit": "", "system": system, "kind": kind, "per_hour": 60.0, "threshold_px": middle}
            | {"threshold_px_low": low, "threshold_px_high": high, "guess": 0.01, "lapse": 0.0, "events": 40}
            | {"subjects": 5, "remark": "", "least_px": 0.02, "most_px": 2.5, "test_per_hour": 70.0}
            | {"test_per_hour_low": 40.0, "test_per_hour_high": 110.0}
            for system, (kind, middle, low, high) in systems.items()
        ]
    )
    px = np.geomspace(0.02, 2.4, 40)
    subjects = [f"s{i % 5}" for i in range(40)]
    events = pd.DataFrame(about | {"system": "ours", "subject": subjects, "peak_px": px, "found": px > 0.5})
    curves = [
        pd.DataFrame(about | {"system": name, "px": px, "probability": (px > middle).astype(float)})
        for name, (_, middle, *_) in systems.items()
    ]
    return table, events, pd.concat(curves).assign(low=0.0, high=1.0)


def film(path, images, fps=30, codec="mpeg4", *, pts=None, aspect="1:1", turn=0, pix_fmt="yuv420p"):
    """A film of uint8 images; ``pts`` (ms) if its rate varies, the shape of a pixel, degrees to be turned by."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as made:
        options = (
            {"preset": "12" if codec == "libsvtav1" else "veryfast"} if codec[:4] in ("libx", "libs") else {}
        )
        stream = made.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else pix_fmt
        stream.codec_context.sample_aspect_ratio = Fraction(*map(int, aspect.split(":")))
        stream.codec_context.bit_rate = 4 * fps * images[0].shape[0] * images[0].shape[1]
        if turn:
            stream.set_display_rotation(turn)
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24" if image.ndim == 3 else "gray")
            if pts is not None:
                frame.pts, frame.time_base = pts[number], Fraction(1, 1000)
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    return path


def cascade():
    """Like cascade.csv."""
    px = np.array([0.007, 0.015, 0.05, 0.052, 0.4, np.nan, 0.69])
    steps = pd.DataFrame({"dataset": "toy", "step": STEPS, "threshold_px": px, "threshold_px_low": 0.8 * px})
    rates = {"test_per_hour": [*[np.nan] * 5, 70, 111], "test_per_hour_low": 40, "test_per_hour_high": 219}
    remarks = {
        "remark": np.where(np.isnan(px), "above 2.5 px", ""),
        "factor": steps["threshold_px"] / steps["threshold_px"].shift(),
    }
    return steps.assign(threshold_px_high=1.3 * px, per_hour=60, events=40, subjects=5, **rates, **remarks)
