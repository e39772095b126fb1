"""Figures: the csv's numbers, the same bytes for the same results; fonts embedded; nothing overlaps or leaves the page."""

import json
import shutil

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from made_up import a_run, card, results
from PIL import Image

from melib import DataError, priors, stats
from melib.data import cache
from melib.paper import figures, style
from melib.study import published
from melib.study.provenance import NOTEBOOK
from melib.study.results import intervals, over_seeds, read_result, records


@pytest.fixture(autouse=True)
def _no_window():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def curve_table():
    time = np.linspace(0, 800, 32)
    shape = priors.triangular(5, 15, 28, 32)
    series = {"truth": 1, "pseudo_label": 1, "resnet18_bigru flow": 0.9, "framewise raw": 0}
    parts = [
        pd.DataFrame(
            {
                "panel": f"s{i:02d}, 1.{i} px",
                "series": name,
                "seed": seed,
                "ms": time,
                "value": shape * height,
            }
        )
        for i in range(4)
        for name, height in series.items()
        for seed in (range(2) if " " in name else (0,))
    ]
    return pd.concat(parts)


def control_table():
    rows = [
        ("SAMM, position only", 0.88, np.nan, np.nan, "control"),
        ("SAMM, published", 0.90, np.nan, np.nan, "published"),
        ("synthme, ResNet18 + BiGRU, raw", 0.85, 0.84, 0.86, "ours"),
    ]
    return pd.DataFrame(rows, columns=["label", "estimate", "low", "high", "kind"])


EVENTS = pd.DataFrame(
    [
        ("synthme", f"{i:03d}", "micro", 10, 10 + 3 * i, 40, status)
        for i, status in enumerate(["ok", "repaired", "dropped"] * 3)
    ],
    columns=["dataset", "subject", "kind", "onset", "apex", "offset", "status"],
)
# As notebook 03 writes them.
CONTROL = pd.DataFrame(
    [
        ("synthme", protocol, metric, 0.88123, 0.8644, 0.8958, 280, 40, 0.87654, 0.86, 0.89)
        for protocol in ("paper", "context")
        for metric in ("spearman_pseudo", "kendall_pseudo", "apex_error_ms")
    ],
    columns=[
        *("dataset", "protocol", "metric", "estimate", "low", "high", "events", "subjects"),
        *("over_events", "over_events_low", "over_events_high"),
    ],
)
PUBLISHED_CONTROL = published.control_beside_published(CONTROL)
TARGETS = np.stack([priors.resampled_triangle(0, apex, 9, 16) for apex in range(1, 9)])

DRAW = {
    "agreement": lambda: figures.agreement(results()),
    "amplitude": lambda: figures.amplitude(results()),
    "face_card": lambda: figures.face_card(card()),
    "curves": lambda: figures.curves(curve_table()),
    "position_figure": lambda: figures.position_figure(TARGETS, control_table()),
}


def places(axis):
    """Where the dots of a panel stand, and the ends of their intervals: (N, 2) and (M, 2)."""
    dots = [line.get_xydata() for line in axis.lines if line.get_marker() == "o"]
    bars = [
        line.get_xydata() for line in axis.lines if line.get_marker() == "None" and len(line.get_xdata()) == 2
    ]
    return tuple(np.concatenate([np.empty((0, 2)), *points]) for points in (dots, bars))


def test_each_training_is_a_line_that_runs_forward_in_time():
    axis = figures.curves(curve_table()).axes[0]
    assert len(axis.lines) == 5  # the pseudo-label, and two models trained twice
    assert all((np.diff(line.get_xdata()) > 0).all() for line in axis.lines)


def test_dots_and_intervals_stand_where_the_csv_says():
    table = card().query("protocol == 'context'")
    fig = figures.face_card(table)
    names = [text.get_text() for text in fig.axes[0].get_yticklabels()]
    for axis, quantity in zip(fig.axes, table["quantity"].unique(), strict=True):
        dots, bars = places(axis)
        rows = table[table["quantity"] == quantity]
        np.testing.assert_allclose(np.sort(dots[:, 0]), np.sort(rows["estimate"]))
        ends = set(bars[:, 0].round(9))
        assert ends >= set(rows[["low", "high"]].to_numpy().ravel().round(9))
        for row in records(rows):
            here = [names[round(y)] for y in dots[np.isclose(dots[:, 0], row["estimate"]), 1]]
            assert any(name.startswith(figures.label(row["model"], row["input"])[:10]) for name in here)


@pytest.mark.parametrize("name", DRAW)
def test_every_figure_is_a_journals_and_repeats_itself_byte_by_byte(name, tmp_path):
    for run in ("one", "two"):
        style.save(DRAW[name](), tmp_path / run, name, settings={"drawn": "by a test"})
    one, two = (sorted((tmp_path / run / "figures").iterdir()) for run in ("one", "two"))
    sidecar, pdf, png, svg = one
    assert [path.suffix for path in one] == [".json", ".pdf", ".png", ".svg"]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    record = json.loads(sidecar.read_text())
    assert record["caption"].endswith(".") and record["settings"]["drawn"] == "by a test"
    assert b"/FontFile2" in pdf.read_bytes() and b"/Type3" not in pdf.read_bytes()  # TrueType, embedded
    assert "<text" in svg.read_text()
    assert width(png) in (style.ONE_COLUMN, style.TWO_COLUMNS)


def width(png):
    return round(Image.open(png).width / 300, 2)


@pytest.mark.parametrize("name", DRAW)
def test_no_text_leaves_the_page_or_lies_on_another(name):
    nothing_overlaps(DRAW[name]())


def nothing_overlaps(fig):
    """Fail where text leaves the page, lies on another text or is too small to read."""
    fig.canvas.draw()
    page = fig.bbox
    hidden = {text for axes in fig.axes for text in _undrawn(axes)}
    shown = [t for t in fig.findobj(plt.Text) if t.get_text().strip() and t.get_visible() and t not in hidden]
    assert min(text.get_fontsize() for text in shown) >= 5.5
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown]
    assert len(boxes) > 8
    for i, (text, box) in enumerate(boxes):
        assert page.x0 - 1 <= box.x0 and box.x1 <= page.x1 + 1, text
        assert page.y0 - 1 <= box.y0 and box.y1 <= page.y1 + 1, text
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


def test_intervals_are_the_bootstrap_over_subjects_crossed_with_seeds():
    table, by = results(), ["protocol", "model", "input", "metric"]
    both = intervals(pd.concat([table, table.assign(seed=1, value=table["value"] + 0.1)]), by)
    row = both[(both["model"] == "resnet18_bigru") & (both["metric"] == "spearman_pseudo")].iloc[0]
    part = table[(table[by] == row[by]).all(axis=1)].sort_values(["subject", "event"])
    values, people = part["value"].to_numpy(), part["subject"].to_numpy()
    seeds = np.repeat([0, 1], len(values))
    expected = stats.bootstrap(np.concatenate([values, values + 0.1]), np.tile(people, 2), runs=seeds)
    np.testing.assert_allclose(row[["estimate", "low", "high"]].to_numpy(float), expected)
    assert row["events"] == len(part)
    # One seed, whatever its number, gives the plain interval.
    alone = intervals(table.assign(seed=7), by).loc[row.name, ["estimate", "low", "high"]]
    np.testing.assert_array_equal(alone.to_numpy(float), stats.bootstrap(values, people))


def test_rows_over_all_seeds_speak_where_there_are_several():
    rows = [("a", 0, 0.4), ("a", 1000, 0.6), ("a", np.nan, 0.5), ("b", 0, 0.2)]
    table = pd.DataFrame(rows, columns=["model", "seed", "estimate"])
    table = table.assign(dataset="d", protocol="context", input="flow", quantity="clip_swap")
    assert over_seeds(table)["estimate"].tolist() == [0.5, 0.2]


def test_names_stay_text_when_results_are_read(tmp_path):
    file = tmp_path / "intensity.csv"
    file.write_text("dataset,subject,event,input,value\nsamm,006,006_1,none,0.5\nsamm,,,,1\n")
    table = read_result(file)
    assert table["subject"].tolist() == ["006", ""]
    assert table["input"].tolist() == ["none", "none"]


@pytest.fixture
def run(tmp_path):
    """A run whose results allow every figure of the first paper."""
    folder = a_run(tmp_path / "runs" / "made up")
    more = {"events": EVENTS, "table_control": CONTROL, "published_control": PUBLISHED_CONTROL}
    for name, table in (more | {"curves_paper": curve_table(), "curves_context": curve_table()}).items():
        cache.write_table(folder / "results" / f"{name}.csv", table)
    return folder


OTHER_STYLE = "# column widths, inches: 3.3 6.9\nfont.size: 9\n" + "".join(
    f"{name}: 8\n" for name in ("axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize")
)


def test_a_figure_is_drawn_again_only_where_its_results_its_style_or_a_file_of_it_changed(run, tmp_path):
    drawn = []
    plot = style.Plot("f", lambda table: drawn.append(len(table)) or DRAW["face_card"](), ("face_card",))
    other = tmp_path / "journal.mplstyle"
    other.write_text("font.size: 8")
    picture, table = run / "figures" / "f.png", run / "results" / "face_card.csv"
    for change in (
        lambda: None,
        lambda: picture.write_bytes(b""),
        lambda: picture.with_suffix(".json").write_text("{"),
        lambda: table.write_text(table.read_text().replace("0.3", "0.2", 1)),
    ):
        change()
        before = len(drawn)
        assert style.draw(run, [plot]) == style.draw(run, [plot]) == [picture]
        assert len(drawn) == before + 1
    with style.styled(other):
        style.draw(run, [plot])
    assert len(drawn) == 5


@pytest.mark.long
def test_a_redrawn_figure_names_the_results_that_it_is_drawn_from_and_needs_no_other(run, tmp_path):
    drawn = figures.draw_all(run)
    assert [path.stem for path in drawn] == [plot.name for plot in figures.PLOTS]
    for path in drawn[::3]:
        record = json.loads(path.with_suffix(".json").read_text())
        files = [run / "results" / name for name in record["results"]]
        assert record["results"] == {file.name: cache.content_hash([file]) for file in files}
        assert record["notebook"] == NOTEBOOK
        assert record["settings"] == {"profile": "smoke", "seed": 0, "data": ["simulated"]}
        assert record["style"] == {"paper.mplstyle": cache.content_hash([style.STYLE])}
        alone = tmp_path / path.stem
        (alone / "results").mkdir(parents=True)
        for file in files:
            shutil.copy(file, alone / "results")
        figures.draw_all(alone)
        assert (alone / "figures" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.long
def test_another_journal_s_style_gives_figures_beside_the_others_at_its_widths(run, tmp_path):
    figures.draw_all(run)
    before = {path: path.read_bytes() for path in (run / "figures").iterdir()}
    other = tmp_path / "journal.mplstyle"
    other.write_text(OTHER_STYLE)
    drawn = figures.draw_all(run, other)
    assert {path.parent for path in drawn} == {run / "figures" / "journal"}
    assert {path: path.read_bytes() for path in before} == before
    for path in drawn:
        assert width(path) in (3.3, 6.9)
        assert b"/FontFile2" in path.with_suffix(".pdf").read_bytes()
        record = json.loads(path.with_suffix(".json").read_text())
        assert record["style"] == {"journal.mplstyle": cache.content_hash([other])}
    assert style.folder(run) == run / "figures"  # and afterwards all is as it was


@pytest.mark.parametrize("text", [None, b"font.size: 9\nno such thing: 1 : 2\xff"])
def test_no_style_and_no_result_are_each_named_in_one_sentence(tmp_path, text):
    other = tmp_path / "journal.mplstyle"
    if text is not None:
        other.write_bytes(text)
    with pytest.raises(
        DataError, match=r"journal.mplstyle isn't a matplotlib style file .*copy .*paper.mplstyle"
    ):
        figures.draw_all(a_run(tmp_path / "run"), other)
    with pytest.raises(DataError, match=r"intensity.csv doesn't exist"):
        figures.draw_all(tmp_path)
