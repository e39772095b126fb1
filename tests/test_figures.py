"""Figures: same results, same bytes; fonts embedded; nothing overlaps or leaves the page."""

import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from made_up import card, results
from PIL import Image

from melib import DataError, figures, metrics, priors


@pytest.fixture(autouse=True)
def _no_window():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def curve_table():
    time = np.linspace(0, 800, 32)
    shape = priors.triangular(5, 15, 28, 32)
    series = {
        "truth": shape,
        "pseudo_label": shape,
        "resnet18_bigru flow": shape * 0.9,
        "framewise raw": shape * 0,
    }
    parts = [
        pd.DataFrame({"panel": f"s{i:02d}, 1.{i} px", "series": name, "ms": time, "value": value})
        for i in range(4)
        for name, value in series.items()
    ]
    return pd.concat(parts)


def control_table():
    rows = [
        ("SAMM, position only", 0.88, np.nan, np.nan, "control"),
        ("SAMM, published", 0.90, np.nan, np.nan, "published"),
    ]
    rows += [("synthme, ResNet18 + BiGRU, raw", 0.85, 0.84, 0.86, "ours")]
    return pd.DataFrame(rows, columns=["label", "estimate", "low", "high", "kind"])


DRAW = {
    "agreement": lambda: figures.agreement(results()),
    "amplitude": lambda: figures.amplitude(results()),
    "face_card": lambda: figures.face_card(card()),
    "curves": lambda: figures.curves(curve_table()),
    "position_control": lambda: figures.position_control(
        np.stack([priors.resampled_triangle(0, a, 9, 16) for a in range(1, 9)]), control_table()
    ),
}


@pytest.mark.parametrize("name", DRAW)
def test_every_figure_is_a_journals_and_repeats_itself_byte_by_byte(name, tmp_path):
    for run in ("one", "two"):
        fig = DRAW[name]()
        figures.save(fig, tmp_path / run, name, settings={"drawn": "by a test"})
    one, two = (sorted((tmp_path / run / "figures").iterdir()) for run in ("one", "two"))
    assert [path.suffix for path in one] == [".json", ".pdf", ".png", ".svg"]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]

    record = json.loads(one[0].read_text())
    assert record["caption"].endswith(".")
    assert record["settings"]["drawn"] == "by a test"
    pdf = one[1].read_bytes()
    assert b"/FontFile2" in pdf  # TrueType, embedded
    assert b"/Type3" not in pdf
    assert "<text" in one[3].read_text()
    width = Image.open(one[2]).width / 300
    assert width == pytest.approx(figures.ONE_COLUMN, abs=0.01) or width == pytest.approx(
        figures.TWO_COLUMNS, abs=0.01
    )


@pytest.mark.parametrize("name", DRAW)
def test_no_text_leaves_the_page_or_lies_on_another(name):
    fig = DRAW[name]()
    fig.canvas.draw()
    page = fig.bbox
    hidden = {text for axes in fig.axes for text in _undrawn(axes)}
    shown = [t for t in fig.findobj(plt.Text) if t.get_text().strip() and t.get_visible() and t not in hidden]
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown]
    assert len(boxes) > 8
    for text, box in boxes:
        assert page.x0 - 1 <= box.x0 and box.x1 <= page.x1 + 1, text
        assert page.y0 - 1 <= box.y0 and box.y1 <= page.y1 + 1, text
    for i, (text, box) in enumerate(boxes):
        for other, second in boxes[i + 1 :]:
            shared = box.intersection(box, second)
            assert shared is None or min(shared.width, shared.height) < 2 or text == other, (text, other)


def _undrawn(axes):
    """Labels of ticks that lie outside the view, or of an axes that isn't shown at all."""
    if not axes.get_visible():
        yield from axes.findobj(plt.Text)
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks():
            inside = low - 1e-9 <= tick.get_loc() <= high + 1e-9
            if not (inside and tick.label1.get_visible()):
                yield tick.label1
            yield tick.label2


def test_text_is_never_smaller_than_a_reader_can_read():
    for draw in DRAW.values():
        for text in draw().findobj(plt.Text):
            assert not text.get_text().strip() or text.get_fontsize() >= 5.5


def test_intervals_are_the_bootstrap_over_subjects_of_seed_means():
    table = results()
    twice = pd.concat([table, table.assign(seed=1, value=table["value"] + 0.1)])
    found = figures.intervals(twice, ["protocol", "model", "input", "metric"])
    row = found[(found["model"] == "resnet18_bigru") & (found["metric"] == "spearman_pseudo")].iloc[0]
    part = table[
        (
            table[["protocol", "model", "input", "metric"]] == row[["protocol", "model", "input", "metric"]]
        ).all(axis=1)
    ]
    part = part[part["subject"] != ""].sort_values(["subject", "event"])
    expected = metrics.bootstrap(part["value"].to_numpy() + 0.05, part["subject"].to_numpy())
    np.testing.assert_allclose(row[["estimate", "low", "high"]].to_numpy(float), expected)


def test_undefined_values_and_rows_over_clips_count_for_nothing():
    table = results()
    more = table.iloc[:3].assign(value=np.nan)
    clips = table.iloc[:1].assign(subject="", event="", value=99.0)
    by = ["protocol", "model", "input", "metric"]
    pd.testing.assert_frame_equal(
        figures.intervals(table, by), figures.intervals(pd.concat([table, clips]), by)
    )
    assert np.isfinite(figures.intervals(pd.concat([table, more.assign(event="new")]), by)["estimate"]).all()


def test_names_stay_text_when_results_are_read(tmp_path):
    file = tmp_path / "intensity.csv"
    file.write_text("dataset,subject,event,input,value\nsamm,006,006_1,none,0.5\nsamm,,,,1\n")
    table = figures.read(file)
    assert table["subject"].tolist() == ["006", ""]
    assert table["input"].tolist() == ["none", "none"]


def test_a_style_of_ones_own_is_used(tmp_path, monkeypatch):
    style = tmp_path / "journal.mplstyle"
    style.write_text("font.size: 11\naxes.labelsize: 11\nfigure.constrained_layout.use: True\n")
    monkeypatch.setenv("MELIB_STYLE", str(style))
    assert figures.amplitude(results()).axes[0].xaxis.label.get_fontsize() == 11


def test_colours_differ_in_lightness_or_hue_for_any_eye():
    colours = [*figures.INPUT_COLOURS.values(), figures.GREY]
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in colours)
    assert len(set(colours)) == len(colours)


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda: figures.agreement(results().assign(metric="else")), "run notebook 04"),
        (lambda: figures.amplitude(results().assign(peak_px=np.nan)), "only simulated clips"),
        (lambda: figures.face_card(card(), protocol="else"), "no row under else"),
        (lambda: figures.curves(curve_table().iloc[:0]), "no event to draw"),
        (lambda: figures.position_control(np.zeros((0, 16)), control_table()), "no target to draw"),
    ],
)
def test_nothing_to_draw_is_said_in_one_sentence(draw, sentence):
    with pytest.raises(DataError, match=sentence):
        draw()


def test_a_run_without_results_is_named(tmp_path):
    with pytest.raises(DataError, match=r"intensity.csv doesn't exist"):
        figures.draw_all(tmp_path)
