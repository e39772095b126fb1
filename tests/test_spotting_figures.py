"""Figures of the spotting paper: the csv's numbers, nothing left out, nothing overlaps."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from test_figures import nothing_overlaps, places

from melib.data import cache
from melib.paper import spotting_figures, style
from melib.study import spotting_runs
from melib.study.spotting_decoding import DECODERS


def a_table_of_systems():
    rows = []
    for i, system in enumerate(spotting_runs.SYSTEMS):
        row = {
            "system": system.name,
            "seed": 0,
            "videos": 8,
            "minutes": 12.0,
            "tp": i,
            "fn": 10 - i,
            "rule": "strict",
        }
        row["ap"] = 0.1 * i
        for name in ("spotting_f1", "end_to_end_f1", "strs", "fp_per_hour"):
            row |= {name: 0.1 * i, f"{name}_low": 0.1 * i - 0.05, f"{name}_high": 0.1 * i + 0.05}
        rows += [row, row | {"rule": "megc"}]
    return pd.DataFrame(rows).assign(dataset="toy")


def curves():
    seconds = np.arange(300) / 30
    return pd.concat(
        [pd.DataFrame({"panel": p, "seconds": seconds, "score": np.sin(seconds) ** 2}) for p in ("006", "b")]
    )


INTERVALS = pd.DataFrame(
    [("006", "found", 1.0, 1.4, 0.9), ("006", "micro", 1.0, 1.5, np.nan), ("b", "macro", 2.0, 5.0, np.nan)],
    columns=["panel", "what", "start", "stop", "score"],
)
RECALL = pd.DataFrame(
    [
        ("ours", by, group, 5, 3, 0.6)
        for by, group in (("peak_px", "0 to 1"), ("peak_px", "1 to inf"), ("overlapped", "True"))
    ]
    + [("ours", "duration_s", "0 to 1", 0, 0, np.nan)],
    columns=["system", "by", "group", "events", "found", "recall"],
)
EFFECTS = pd.DataFrame(
    [
        (factor, *levels, metric, 0.1, 0.0, 0.2, 16)
        for factor, levels in spotting_runs.FACTORS.items()
        for metric in ("spotting_f1", "end_to_end_f1", "fp_per_hour")
    ],
    columns=["factor", "reference", "ours", "metric", "effect", "low", "high", "combinations"],
)
# The public scorer counts fewer events than there are.
ABLATIONS = pd.DataFrame(
    [("megc", 80, 38, 38), ("strict", 80, 38, 48)], columns=["rule", "videos", "tp", "fn"]
)
DECODERS_TABLE = pd.DataFrame(
    [("own", decoder, iou, 0.5, 0.4, 0.6) for decoder in DECODERS for iou in (0.3, 0.5)],
    columns=["setting", "decoder", "iou", "f1", "low", "high"],
)
DIFFERENCES = pd.DataFrame([("own", 86, 40)], columns=["setting", "events", "subjects"])
PARTS = pd.DataFrame(
    [
        (question, system.name, part[-1].name, metric, 0.1, -0.1, 0.3, 0.05, question == "prior")
        for question, part in spotting_runs.PARTS.items()
        for system in part[:-1]
        for metric in ("end_to_end_f1", "spotting_f1", "fp_per_hour")
    ],
    columns=["question", "system", "against", "metric", "difference", "low", "high", "floor", "significant"],
).assign(tests=3, events=80, seeds=1)
TABLES = {
    "spotting_parts": PARTS,
    "ablations": a_table_of_systems(),
    "decoder_differences": DIFFERENCES,
    "spotting": a_table_of_systems(),
    "spotting_curves": curves(),
    "spotting_intervals": INTERVALS,
    "spotting_recall": RECALL,
    "factorial": EFFECTS,
    "decoders": DECODERS_TABLE,
}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


DRAW = {
    "systems": lambda: spotting_figures.systems(TABLES["spotting"]),
    "timelines": lambda: spotting_figures.timelines_figure(TABLES["spotting_curves"], INTERVALS),
    "recall": lambda: spotting_figures.recall(RECALL),
    "parts": lambda: spotting_figures.parts(PARTS),
    "effects": lambda: spotting_figures.effects(EFFECTS, TABLES["ablations"]),
    "decoders": lambda: spotting_figures.decoders(DECODERS_TABLE, DIFFERENCES),
}


@pytest.mark.parametrize("name", DRAW)
def test_no_text_leaves_the_page_or_lies_on_another(name):
    nothing_overlaps(DRAW[name]())


def test_a_run_s_results_give_every_figure_one_a_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(style, "save", lambda *about, **more: None)
    assert style.draw(tmp_path, spotting_figures.PLOTS) == []
    both = pd.concat([TABLES["spotting"], TABLES["spotting"].assign(dataset="other")])
    for name, table in (TABLES | {"spotting": both}).items():
        cache.write_table(tmp_path / "results" / f"{name}.csv", table)
    drawn = [path.stem for path in style.draw(tmp_path, spotting_figures.PLOTS)]
    names = [f"spotting_{name}" for name in DRAW]
    assert drawn == ["spotting_systems_toy", "spotting_systems_other", *names[1:]]


def test_every_system_has_its_row_where_the_csv_says():
    fig = spotting_figures.systems(TABLES["spotting"])
    names = [text.get_text() for text in fig.axes[0].get_yticklabels()]
    assert names == [system.name for system in spotting_runs.SYSTEMS]
    strict = TABLES["spotting"].query("rule == 'strict'")
    for axis, metric in zip(fig.axes, ("spotting_f1", "ap", "end_to_end_f1", "fp_per_hour"), strict=True):
        dots, _ = places(axis)
        np.testing.assert_allclose(dots[np.argsort(dots[:, 1]), 0], strict[metric])


def test_a_dot_is_filled_where_its_interval_leaves_0_out_and_nowhere_else():
    effects = EFFECTS.assign(low=np.resize([0.01, 0.0, -0.02, 0.03], len(EFFECTS)))
    fig = spotting_figures.effects(effects, TABLES["ablations"])
    dots = [line for line in fig.axes[0].lines if line.get_marker() == "o"]
    filled = {y for dot in dots if dot.get_markerfacecolor() != "white" for y in dot.get_ydata()}
    apart = effects[effects["metric"] == "spotting_f1"]["low"] > 0
    assert filled == set(np.flatnonzero(apart)) and 0 < len(filled) < len(apart)


def test_shares_have_wilson_s_interval_and_a_group_without_events_has_no_point():
    by_size, by_length, _ = spotting_figures.recall(RECALL).axes
    dots, bars = places(by_size)
    np.testing.assert_allclose(dots[:, 1], 0.6)
    p, n, z = 0.6, 5, 1.959964  # 3 of 5 found
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    ends = np.array([middle - half, middle + half]) / (1 + z**2 / n)
    np.testing.assert_allclose(np.unique(bars[:, 1].round(6)), ends, atol=1e-5)
    assert not np.isfinite(places(by_length)[0][:, 1]).any()
