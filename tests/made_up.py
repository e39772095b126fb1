"""Result tables of an experiment that never took place: for tests of what reads them."""

import json

import numpy as np
import pandas as pd
import yaml

from melib import cache

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
    names = [
        "dataset",
        "protocol",
        "model",
        "input",
        "fold",
        "seed",
        "subject",
        "event",
        "peak_px",
        "metric",
        "value",
    ]
    return pd.DataFrame(rows, columns=names)


def card(dataset="synthme"):
    """Like face_card.csv."""
    rows = []
    for protocol in METRICS:
        for model, used, _, seen in MODELS:
            if model not in ("truth", "pseudo_label", "frozen_clip", "shuffled_frames"):
                rows.append(
                    (dataset, protocol, model, used, 0, "clip_swap", seen - 0.3, seen - 0.34, seen - 0.26)
                )
                rows.append(
                    (dataset, protocol, model, used, 0, "apex_follow", seen, seen - 0.04, seen + 0.04)
                )
            if model == "resnet18_bigru":
                rows.append(
                    (
                        dataset,
                        protocol,
                        model,
                        used,
                        0,
                        "frozen_correlation",
                        1 - seen,
                        0.9 - seen,
                        1.1 - seen,
                    )
                )
    names = ["dataset", "protocol", "model", "input", "seed", "quantity", "estimate", "low", "high"]
    return pd.DataFrame(rows, columns=names).assign(clips=24, subjects=8)


def claims(dataset="synthme"):
    """Like claims.csv."""
    rows = [
        ("clip_swap", "interval above 0", 0.3, 0.2, 0.4, True),
        ("apex_follow", "at least 0.8", 0.7, 0.6, 0.8, False),
    ]
    rows += [("inside_spearman_true over flow_magnitude", "interval above 0", 0.1, 0.0, 0.2, True)]
    table = pd.DataFrame(rows, columns=["claim", "needed", "estimate", "low", "high", "holds"])
    return table.assign(dataset=dataset, protocol="context", model="resnet18_bigru", input="flow", events=24)


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
    record = {"commit": "0" * 40, "python": "3.11.7", "device": "a processor", "packages": {}}
    (folder / "environment.json").write_text(json.dumps(record))
    return folder
