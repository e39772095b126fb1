"""What is looked at is what was scored; what is decoded is the decoder's answer; a forbidden face changes no picture."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import lab
import nbformat
import numpy as np
import pandas as pd
import pytest
from made_up import results, unbegun
from test_private import LANDMARKS, SIDE, a_study
from test_spotting import made_up_material

from melib import DataError, metrics, priors
from melib.app import explore, finished
from melib.data import cache
from melib.study import spotting, spotting_decoding, spotting_runs
from melib.vision.faces import Clip

ROOT = Path(__file__).parent.parent
NUMBERS = np.arange(20, 60)


# ---- made up: one event, one video ---------------------------------------------------------------------------------


def an_event(shown="all", seed=0, **changed):
    rng = np.random.default_rng(seed)
    crops, mask = rng.integers(0, 256, (40, SIDE, SIDE), np.uint8), np.arange(40) != 5
    landmarks = {"onset": 28, "apex": 36, "offset": 50}
    about = {
        "study": a_study(shown),
        "row": pd.Series({"subject": "006", "video": "v", "event": "v", "fps": 100.0, **landmarks}),
        "clip": Clip("toy", "006", "v", 100.0, NUMBERS, crops, mask, LANDMARKS, "key"),
        "truth": np.linspace(0, 1, 40),
        "positions": np.linspace(24, 55, 16),
        "motion": np.random.default_rng(1).normal(0, 0.5, (16, 2, SIDE, SIDE)).astype(np.float32),
        "reference": 0,
        "curves": {"flow": np.linspace(0, 1, 16), "raw": np.full(16, 0.2)},
        "words": (),
    }
    return explore.Event(**{**about, **changed})


def a_video(shown="all"):
    material = made_up_material()
    material = replace(material, folds=material.folds[:1])
    study = SimpleNamespace(name="toy", manifest=SimpleNamespace(show_subjects=shown, fps=30.0))
    (fold,) = material.folds
    video = next(v for v in material.videos if v.subject in fold.test and len(v.events_of("micro")))
    curves = spotting_decoding.curves_of(explore.OURS, material, fold, video)
    return explore.LongVideo(study, material, video, curves, [], "melib run")


@pytest.fixture
def faces(monkeypatch):
    """Noise instead of frames: what an aligned stretch of a video looks like, another for another seed."""

    def show(seed=0):
        n = explore.STRETCH
        crops = np.random.default_rng(seed).integers(0, 256, (n, SIDE, SIDE), np.uint8)
        motion = np.random.default_rng(1).normal(0, 0.5, (n, 2, SIDE, SIDE)).astype(np.float32)
        stretch = crops, np.tile(LANDMARKS, (n, 1, 1)), motion, np.ones(n, bool)
        monkeypatch.setattr(explore, "stretch", lambda *_: stretch)

    show()
    return show


def event_png(event, frame):
    return explore.png(explore.event_picture(event, frame))


# ---- pictures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", [(), ("007",), "all"], ids=["nobody", "somebody else", "everybody"])
def test_a_face_changes_a_picture_only_where_it_may_be_shown(who, faces):
    events = [event_png(an_event(who, seed), 36) for seed in (2, 3)]
    videos = [[faces(seed), explore.png(explore.video_picture(a_video(who), 9))][1] for seed in (2, 3)]
    assert (events[0] == events[1]) == (videos[0] == videos[1]) == (who != "all")


def test_every_frame_has_a_picture_of_its_own_and_what_is_missing_is_left_out():
    event = an_event()
    nothing = {"positions": np.zeros(0), "motion": np.zeros((0, 2, 1, 1), np.float32), "curves": {}}
    row = event.row.astype(object).to_dict() | {"apex": pd.NA}
    bare = an_event(**nothing, truth=None, row=pd.Series(row), words=("make it with `melib run`.",))
    shown = [event_png(event, frame) for frame in (20, 25, 36, 59)] + [event_png(bare, 36)]
    assert len(set(shown)) == 5


# ---- what is listed, and what is decoded ---------------------------------------------------------------------------


def test_the_worst_come_first_and_every_usable_event_once():
    scores = results()
    scores = scores[scores["model"] == finished.MODEL]
    events = scores[["subject", "event"]].drop_duplicates().assign(status="ok")
    more = pd.DataFrame([("999", "late", "ok"), ("999", "gone", "dropped")], columns=[*events])
    events = pd.concat([events, more], ignore_index=True)
    study = SimpleNamespace(name="synthme", events=events, manifest=SimpleNamespace(has_context=True))
    run = finished.FinishedRun(unbegun("smoke"), {"synthme": study}, {}, scores, "melib run")
    table = explore.ranked(run, "synthme")
    assert table["value"][:-1].is_monotonic_increasing
    assert len(table) == 25 and not table.duplicated(["subject", "event"]).any()
    assert table.iloc[-1]["event"] == "late" and np.isnan(table.iloc[-1]["value"])


def test_right_are_those_that_find_a_micro_expression():
    shown = a_video()
    for decoder in spotting_decoding.DECODERS:
        intervals = explore.decode_video(shown, decoder)
        assert intervals["right"].sum() <= 1 and not (intervals["right"] & ~intervals["kept"]).any()
    assert explore.decode_video(shown)["right"].sum() == 1


def test_mistakes_are_what_is_missed_and_invented_each_from_its_worst(monkeypatch):
    whole = made_up_material()
    monkeypatch.setattr(
        explore, "fold_curves", lambda *_: [replace(whole, folds=[fold]) for fold in whole.folds]
    )
    table = explore.mistakes(None, "toy")
    accepted = spotting_decoding.accepted_intervals(spotting_decoding.decode_system(explore.OURS, whole))
    counts = metrics.spotting(accepted, spotting.annotated(whole.videos))
    assert [(table["what"] == what).sum() for what in ("missed", "invented")] == [counts["fn"], counts["fp"]]
    for _, part in table.groupby("what"):
        assert part["size"].is_monotonic_decreasing


# ---- a run that isn't there ----------------------------------------------------------------------------------------


def configured(folder, data="''"):
    about = {"profile": "smoke", "seed": 0, "data": ["simulated"], "settings": unbegun("smoke").settings}
    cache.write_yaml(folder / "configuration.yml", about)
    (folder / "parameters.yml").write_text(f"data: {data}")
    return folder


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "is no finished run: make it with `melib run --run .*runs/a`"),
        ("''", "holds no data yet: make it with `melib run --profile smoke --run runs/a"),
        ("[", "can't be read; `melib run` writes it again"),
        ("'samm'", "make it json text"),
    ],
)
def test_a_run_that_can_t_be_opened_is_one_sentence_also_beside_the_notebooks(
    tmp_path, monkeypatch, data, message
):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    if data is not None:
        configured(tmp_path / "runs" / "a", data)
    with pytest.raises(DataError, match=message) as caught:
        finished.open_run("runs/a")
    assert "\n" not in str(caught.value)


# ---- a real run, a real browser ------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_the_curve_and_the_intervals_that_are_shown_are_those_that_were_scored(smoke_run):
    shown_run = finished.open_run(smoke_run)
    (name,), (long_name,) = shown_run.short, shown_run.long
    scores = shown_run.scores[
        (shown_run.scores["metric"] == "spearman_pseudo") & (shown_run.scores["protocol"] == "context")
    ]
    for row in itertools.islice(scores[scores["input"] == "flow"].itertuples(), 3):
        event = explore.event(shown_run, name, row.subject, row.event)
        onset, apex, offset = (event.row[mark] - event.positions[0] for mark in explore.MARKS)
        step = event.positions[1] - event.positions[0]
        target = priors.triangular(onset / step, apex / step, offset / step, len(event.positions))
        known = np.isfinite(event.curves["flow"])
        rho = metrics.curve_agreement(event.curves["flow"], target, known)["spearman"]
        assert rho == pytest.approx(row.value, abs=2e-3)
    (long,) = spotting.open_long(shown_run.run)
    material = spotting_runs.gather([explore.OURS], shown_run.run, long)
    accepted = spotting_decoding.accepted_intervals(spotting_decoding.decode_system(explore.OURS, material))
    shown = explore.long_video(shown_run, long_name, long.videos[0].subject, long.videos[0].video)
    scored = accepted[(accepted["subject"] == shown.video.subject) & (accepted["video"] == shown.video.video)]
    intervals = explore.decode_video(shown)
    assert intervals[intervals["kept"]]["onset"].tolist() == scored["onset"].tolist()


# What the notebook in the page looks like: null until it is open.
STATE = """(() => {
  const found = window.jupyterapp &&
    [...jupyterapp.shell.widgets('main')].find(each => each.content && each.content.widgets);
  if (!found) return null;
  jupyterapp.shell.activateById(found.id);
  const cells = found.content.widgets.filter(cell => cell.model.type === 'code');
  const outputs = cells.flatMap(cell => cell.model.outputs.toJSON());
  const kernel = found.sessionContext.session && found.sessionContext.session.kernel;
  return {
    ran: cells.every(cell => cell.model.executionCount),
    errors: outputs.filter(each => each.output_type !== 'execute_result'),
    idle: Boolean(kernel) && kernel.status === 'idle',
  };
})()"""
PICTURES = """Promise.all([...document.querySelectorAll('img.widget-image')].map(async image => {
  const bytes = await (await fetch(image.src)).arrayBuffer();
  const hash = await crypto.subtle.digest('SHA-256', bytes);
  return image.naturalWidth + ':' + [...new Uint8Array(hash)].join('.');
}))"""


def widget(kind, name, place=0):
    """JavaScript that finds a widget by its kind and description."""
    named = f"each.querySelector('.widget-label').textContent === {json.dumps(name)}"
    return f"[...document.querySelectorAll('.{kind}')].filter(each => {named})[{place}]"


def changed(page, before, place):
    """Wait for another picture in a place, and return all."""

    def asked():
        now = page.ask(PICTURES)
        return now if len(now) == len(before) and now[place] != before[place] else None

    return lab.until(asked, 60, f"picture {place} changes")


@pytest.mark.browser
@pytest.mark.skipif(lab.CHROMIUM is None, reason="no Chromium on PATH: apt-get install chromium")
@pytest.mark.timeout(1500)
def test_in_jupyterlab_arrow_keys_scrub_and_menus_change_event_mistake_and_decoder(smoke_run, tmp_path):
    source = nbformat.read(ROOT / "notebooks" / "90_explore.ipynb", as_version=4)
    source.cells[1].source = source.cells[1].source.replace("runs/smoke", str(smoke_run))
    nbformat.write(source, tmp_path / "90_explore.ipynb")
    with lab.lab(tmp_path) as (url, token):
        address = f"{url}/lab/tree/90_explore.ipynb?token={token}&reset"
        with lab.browser(tmp_path, address) as page:

            def done(key):
                return lambda: (state := page.ask(STATE)) and state["idle"] and state[key] and state

            lab.until(lambda: (state := page.ask(STATE)) and state["idle"], 120, "the notebook is open")
            page.ask("jupyterapp.commands.execute('notebook:run-all-cells').then(() => true)")
            assert lab.until(done("ran"), 240, "all cells have run")["errors"] == []
            pictures = lab.until(lambda: page.ask(PICTURES), 30, "the pictures are there")
            assert [picture.split(":")[0] for picture in pictures] == ["1000", "1000"]
            for place in (0, 1):  # the frames of the event, and of the long video
                handle = widget("widget-slider", "frame", place) + ".querySelector('.noUi-handle')"
                page.ask(
                    f"{handle}.scrollIntoView({{block: 'center'}})"
                )  # out of view it can't have the keys
                has = f"(each => {{ each.focus(); return document.activeElement === each; }})({handle})"
                lab.until(lambda has=has: page.ask(has), 30, "it has the focus")
                page.press("ArrowRight", 39)
                pictures = changed(page, pictures, place)
                page.picture(tmp_path / f"frames_{place}.png")
            chosen = "new Event('change', {bubbles: true})"
            for place, name, nth, row in ((1, "decoder", 0, 0), (0, "show", 0, 1), (1, "show", 1, 1)):
                menu = widget("widget-dropdown", name, nth) + ".querySelector('select')"
                page.ask(f"(each => {{ each.selectedIndex = {row}; each.dispatchEvent({chosen}); }})({menu})")
                pictures = changed(page, pictures, place)
            page.picture(tmp_path / "menus.png")
            assert page.ask(STATE)["errors"] == []
            page.ask("jupyterapp.commands.execute('docmanager:save').then(() => true)")
    saved = nbformat.read(tmp_path / "90_explore.ipynb", as_version=4)
    assert any(cell.get("outputs") for cell in saved.cells), "it was saved after it ran"
    assert "widgets" not in saved.metadata and "image/png" not in nbformat.writes(saved), "a face was saved"
