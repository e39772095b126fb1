"""What is looked at is what was scored; what is decoded is the decoder's answer; a forbidden face changes no picture."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import ipywidgets as widgets
import lab
import nbformat
import numpy as np
import pandas as pd
import pytest
from made_up import results, unbegun
from test_private import LANDMARKS, SIDE, a_study
from test_review import review as a_review  # noqa: F401
from test_spotting import made_up_material

from melib import DataError, metrics, priors
from melib.app import explore, runner
from melib.data import cache
from melib.study import intensity, spotting, spotting_decoding, spotting_runs
from melib.study.run import begin
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
        "scores": results().iloc[:0],
        "positions": np.linspace(24, 55, 16),
        "motion": np.random.default_rng(1).normal(0, 0.5, (16, 2, SIDE, SIDE)).astype(np.float32),
        "reference": 0,
        "curves": {"flow": np.linspace(0, 1, 16), "raw": np.full(16, 0.2)},
        "notes": (),
    }
    return explore.Event(**{**about, **changed})


def a_video(shown="all"):
    material = made_up_material()
    material = replace(material, folds=material.folds[:1])
    study = SimpleNamespace(name="toy", manifest=SimpleNamespace(show_subjects=shown, fps=30.0))
    source = explore.FoldCurves(study, material, ())
    video = next(v for v in material.videos if v.subject in source.fold.test and len(v.events_of("micro")))
    curves = spotting_decoding.curves_of(explore.OURS, material, source.fold, video)
    return explore.LongVideo(source, video, curves, [])


@pytest.fixture(scope="module")
def shown():
    return a_video()


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


def event_png(event, *about):
    return explore.png(explore.event_picture(event, *about))


def video_png(video, *about):
    return explore.png(explore.video_picture(video, *about))


# ---- pictures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", [(), ("007",)], ids=["nobody", "somebody else"])
def test_a_forbidden_face_changes_no_picture(who, faces):
    one, two = (event_png(an_event(who, seed), 36) for seed in (2, 3))
    assert one == two
    one, two = ([faces(seed), video_png(a_video(who), 9)][1] for seed in (2, 3))
    assert one == two


def test_an_allowed_face_is_seen_so_that_the_law_above_can_fail(faces):
    one, two = (event_png(an_event("all", seed), 36) for seed in (2, 3))
    assert one != two
    one, two = ([faces(seed), video_png(a_video(), 9)][1] for seed in (2, 3))
    assert one != two


def test_every_frame_and_every_landmark_has_a_picture_of_its_own():
    event = an_event()
    asked = [(20,), (25,), (36,), (59,), (36, (27, 36, 50)), (36, (28, None, 50)), (36, (37, 36, 50))]
    assert len({event_png(event, *about) for about in asked}) == len(asked)


def test_an_event_without_window_truth_or_apex_is_drawn():
    nothing = {"positions": np.zeros(0), "motion": np.zeros((0, 2, 1, 1), np.float32), "curves": {}}
    row = an_event().row.astype(object).to_dict() | {"apex": pd.NA}
    bare = an_event(**nothing, truth=None, row=pd.Series(row), notes=("make it with `melib run`.",))
    assert event_png(bare, 30) != event_png(an_event(), 30)


# ---- the worst -----------------------------------------------------------------------------------------------------


def finished_run(**changed):
    scores = results()
    scores = scores[scores["model"] == explore.MODEL]
    about = {"run": unbegun("smoke", "runs/toy"), "short": {}, "long": {}, "transfer": [], "scores": scores}
    return explore.FinishedRun(**{**about, "command": "melib run --profile smoke", **changed})


def with_clips(scores=None):
    """A run with clips of everybody who was scored, one event that wasn't, and one that was dropped."""
    finished = finished_run() if scores is None else finished_run(scores=scores)
    events = finished_run().scores[["subject", "event"]].drop_duplicates().assign(status="ok")
    more = pd.DataFrame([("999", "late", "ok"), ("999", "gone", "dropped")], columns=[*events])
    study = SimpleNamespace(
        name="synthme",
        events=pd.concat([events, more], ignore_index=True),
        manifest=SimpleNamespace(has_context=True),
    )
    return replace(finished, short={"synthme": study})


@pytest.mark.parametrize("metric", ["inside_spearman_true", "spearman_pseudo"])
def test_the_worst_come_first_and_every_usable_event_once(metric):
    table = explore.ranked(with_clips(), "synthme", "context", metric, "raw")
    assert table["value"][:-1].is_monotonic_increasing
    assert len(table) == 25 and not table.duplicated(["subject", "event"]).any()
    assert table.iloc[-1]["event"] == "late" and np.isnan(table.iloc[-1]["value"])


# ---- a run that isn't there ----------------------------------------------------------------------------------------


def configured(folder, data="''"):
    about = {"profile": "smoke", "seed": 0, "data": ["simulated"], "settings": unbegun("smoke").settings}
    cache.write_yaml(folder / "configuration.yml", about)
    (folder / "parameters.yml").write_text(f"data: {data}")
    return folder


def test_a_missing_run_is_one_sentence_with_the_command(tmp_path):
    with pytest.raises(DataError, match=r"is no finished run: make it with `melib run --run .*none`"):
        explore.open_run(tmp_path / "none")


def test_a_run_beside_the_folder_of_the_notebooks_is_opened(tmp_path, monkeypatch):
    configured(tmp_path / "runs" / "smoke")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    with pytest.raises(
        DataError, match="holds no data yet: make it with `melib run --profile smoke --run runs/"
    ):
        explore.open_run("runs/smoke")
    monkeypatch.setattr(explore, "_simulated", lambda *_: [SimpleNamespace(name="toy")])
    finished = explore.open_run("runs/smoke")
    assert finished.run.folder.resolve() == tmp_path / "runs" / "smoke"
    assert finished.scores.empty and set(finished.short) == set(finished.long) == {"toy"}


@pytest.mark.parametrize("data", ["[", "'samm'"])
def test_a_run_whose_data_can_t_be_read_is_one_sentence(tmp_path, data):
    with pytest.raises(
        DataError, match=r"can't be read; `melib run` writes it again|make it json text"
    ) as caught:
        explore.open_run(configured(tmp_path, data))
    assert "\n" not in str(caught.value)


def test_a_panel_over_a_run_without_its_data_is_one_sentence():
    for panel in (explore.events_panel, explore.videos_panel):
        assert "make some with `melib run" in panel(finished_run()).value


# ---- intervals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoder", spotting_decoding.DECODERS)
def test_untouched_settings_give_the_intervals_that_are_scored(shown, decoder):
    intervals = explore.decode_video(shown, decoder)
    scored = spotting_decoding.predict(replace(explore.OURS, decoder=decoder), shown.source.material)
    scored = scored[(scored["subject"] == shown.video.subject) & (scored["video"] == shown.video.video)]
    columns = ["onset", "apex", "offset", "score", "emotion", "kept"]
    expected = scored[columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        intervals[columns], expected, check_dtype=False
    )  # empty text has another type
    (prior,) = explore.duration_priors(shown.source).values()
    least = explore.fitted_decoder(shown.source, decoder, "toy").least
    again = explore.decode_video(shown, decoder, "toy", prior.duration.half_length, 0.55, least)
    pd.testing.assert_frame_equal(again, intervals)


def test_right_are_those_that_find_a_micro_expression(shown):
    intervals = explore.decode_video(shown)
    assert intervals["right"].sum() == 1 and not (intervals["right"] & ~intervals["kept"]).any()


def test_mistakes_are_what_is_missed_and_invented_each_from_its_worst(shown, monkeypatch):
    whole = made_up_material()
    sources = [replace(shown.source, material=replace(whole, folds=[fold])) for fold in whole.folds]
    monkeypatch.setattr(explore, "fold_curves", lambda *_: sources)
    table = explore.mistakes(None, "toy")
    kept = spotting_decoding.accepted_intervals(spotting_decoding.predict(explore.OURS, whole))
    counts = metrics.spotting(kept, spotting.annotated(whole.videos))
    assert (table["what"] == "missed").sum() == counts["fn"]
    assert (table["what"] == "invented").sum() == counts["fp"]
    for _, part in table.groupby("what"):
        assert part["size"].is_monotonic_decreasing


# ---- widgets, without a browser ------------------------------------------------------------------------------------


def parts(box):
    """All widgets in a box: dict description (of a picture: picture) -> widget."""
    name = "picture" if isinstance(box, widgets.Image) else getattr(box, "description", "")
    return {name: box} | {k: w for child in getattr(box, "children", ()) for k, w in parts(child).items()}


def sentences(box):
    """What is said anywhere in a box."""
    own = [box.value] if isinstance(box, widgets.HTML) else []
    return [*own, *itertools.chain(*map(sentences, getattr(box, "children", ())))]


def refuses(words):
    def action(*_, **__):
        raise DataError(words)

    return action


@pytest.fixture
def event_panel(a_review, monkeypatch):  # noqa: F811
    """The panel of clips over the events of a table that can be reviewed; the frames of one are gone."""

    def event(finished, dataset, subject, name, protocol):
        if name == "006_2":
            raise DataError("its frames are gone; copy them again.")
        events = a_review.audit.events
        row = events[events["event"] == name].iloc[0]
        numbers = np.arange(row["onset"] - 10, row["onset"] + 30)
        clip = replace(an_event().clip, numbers=numbers)
        return an_event(row=row, clip=clip, positions=np.zeros(0), curves={})

    monkeypatch.setattr(explore, "event", event)
    monkeypatch.setattr(explore, "_session", lambda *_: a_review)
    study = SimpleNamespace(
        name="toy", events=a_review.audit.events, manifest=SimpleNamespace(has_context=True)
    )
    about = {"dataset": "toy", "protocol": "context", "input": "flow", "metric": "spearman_pseudo"}
    scores = [{**about, "subject": "006", "event": "006_1", "value": 0.5}]
    scores.append({**about, "subject": "007", "event": "007_1", "value": -0.2})
    return explore.events_panel(finished_run(short={"toy": study}, scores=pd.DataFrame(scores)))


def test_a_moved_landmark_is_shown_saved_in_words_and_taken_back(event_panel, a_review):  # noqa: F811
    control = parts(event_panel)
    before, onset = control["picture"].value, control["onset"].value
    control["onset"].value = onset - 4
    assert control["frame"].value == onset - 4 and control["picture"].value != before
    control["Save"].click()
    assert "a correction needs a reason and a reviewer: others must be able to judge it." in sentences(
        event_panel
    )
    assert control["onset"].value == onset - 4 and not a_review.file.exists()
    control["reason"].value, control["reviewer"].value = "early", "AB"
    control["Save"].click()
    assert f"007/007_1: onset from {onset} to {onset - 4} saved in" in " ".join(sentences(event_panel))
    assert pd.read_csv(a_review.file)["field"].tolist() == ["onset"]
    control["Save"].click()
    assert "nothing was moved" in " ".join(sentences(event_panel))
    control["Undo"].click()
    assert control["onset"].value == onset and not a_review.file.exists()
    control["Undo"].click()
    assert "Nothing was saved" in " ".join(sentences(event_panel))


def test_a_correction_of_simulated_data_repeats_the_notebooks(tmp_path):
    path = ROOT / "notebooks" / "90_explore.ipynb"
    asked = (path, tmp_path, {"profile": "smoke", "seed": 0, "run": "a", "data": ""}, {})
    before = runner.notebook_stamp(*asked)
    file = tmp_path / "data" / "synthme" / "corrections" / "synthme.csv"
    file.parent.mkdir(parents=True)
    (file.parent / ".synthme.host-1.csv").write_text("sub")  # whoever wrote it was killed
    assert runner.notebook_stamp(*asked) == before
    file.write_text("subject\n")
    assert runner.notebook_stamp(*asked) != before


# ---- the notebook -------------------------------------------------------------------------------------------------


# ---- a real run, a real browser -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of notebook 04, and our own system's fits: what the notebook reads."""
    folder = runner.run_notebooks("smoke", root=tmp_path_factory.mktemp("runs"), only=["04"])
    begun = begin(folder, "smoke")
    (long,) = spotting.open_long(begun)
    spotting_runs.gather([explore.OURS], begun, long)
    return folder


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_the_curve_that_is_shown_is_the_one_that_was_scored(run):
    finished = explore.open_run(run)
    (name,) = finished.short
    for protocol in intensity.PROTOCOLS:
        scored = explore.ranked(finished, name, protocol, "spearman_pseudo").dropna()
        for row in itertools.islice(scored.itertuples(), 3):
            event = explore.event(finished, name, row.subject, row.event, protocol)
            onset, apex, offset = (event.row[mark] - event.positions[0] for mark in explore.MARKS)
            step = event.positions[1] - event.positions[0]
            target = priors.triangular(onset / step, apex / step, offset / step, len(event.positions))
            known = np.isfinite(event.curves["flow"])
            rho = metrics.curve_agreement(event.curves["flow"], target, known)["spearman"]
            assert rho == pytest.approx(row.value, abs=2e-3)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_what_is_decoded_is_what_the_run_predicted(run):
    finished = explore.open_run(run)
    (name,) = finished.long
    table = explore.mistakes(finished, name)
    (long,) = spotting.open_long(finished.run)
    material = spotting_runs.gather([explore.OURS], finished.run, long)
    kept = spotting_decoding.accepted_intervals(spotting_decoding.predict(explore.OURS, material))
    counts = metrics.spotting(kept, spotting.annotated(long.videos))
    assert table["what"].value_counts().to_dict() == {"missed": counts["fn"], "invented": counts["fp"]}
    shown = explore.long_video(finished, name, long.videos[0].subject, long.videos[0].video)
    scored = kept[(kept["subject"] == shown.video.subject) & (kept["video"] == shown.video.video)]
    intervals = explore.decode_video(shown)
    assert intervals[intervals["kept"]]["onset"].tolist() == scored["onset"].tolist()
    assert set(explore.duration_priors(shown.source)) == {name, *(study.name for study in finished.transfer)}
    assert video_png(shown, 0).startswith(b"\x89PNG")


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


def focus(page, element):
    """Bring an element into view and give it the keys; what is out of view isn't laid out and can't have them."""
    page.ask(f"{element}.scrollIntoView({{block: 'center'}})")
    has = f"(each => {{ each.focus(); return document.activeElement === each; }})({element})"
    lab.until(lambda: page.ask(has), 30, "it has the focus")


def changed(page, before, place, seconds=30):
    """Wait for another picture in a place, and return all."""

    def asked():
        now = page.ask(PICTURES)
        return now if len(now) == len(before) and now[place] != before[place] else None

    return lab.until(asked, seconds, f"picture {place} changes")


@pytest.mark.browser
@pytest.mark.skipif(lab.CHROMIUM is None, reason="no Chromium on PATH: apt-get install chromium")
@pytest.mark.timeout(1500)
def test_in_jupyterlab_all_cells_run_and_the_arrow_keys_move_the_picture(run, tmp_path):
    source = nbformat.read(ROOT / "notebooks" / "90_explore.ipynb", as_version=4)
    source.cells[1].source = source.cells[1].source.replace("runs/smoke", str(run))
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
                focus(page, widget("widget-slider", "frame", place) + ".querySelector('.noUi-handle')")
                page.press("ArrowRight", 39)
                pictures = changed(page, pictures, place)
                page.picture(tmp_path / f"frames_{place}.png")

            chosen = "new Event('change', {bubbles: true})"
            for place, name, row in ((1, "decoder", 0), (0, "event", 1)):
                menu = widget("widget-dropdown", name) + ".querySelector('select')"
                page.ask(f"(each => {{ each.selectedIndex = {row}; each.dispatchEvent({chosen}); }})({menu})")
                pictures = changed(page, pictures, place)

            press = "[...document.querySelectorAll('button')].find(each => each.textContent === {!r}).click()"
            header = "document.querySelector('.jupyter-widget-Collapse-header')"
            page.ask(f"{header}.click(); {header}.scrollIntoView({{block: 'center'}})")
            page.ask(press.format("Save"))
            lines = "[...document.querySelectorAll('.widget-html-content')].map(e => e.textContent).join()"
            lab.until(lambda: "nothing was moved" in page.ask(lines), 30, "Save says that nothing was moved")
            page.picture(tmp_path / "review.png")
            assert page.ask(STATE)["errors"] == []
            page.ask("jupyterapp.commands.execute('docmanager:save').then(() => true)")
    saved = nbformat.read(tmp_path / "90_explore.ipynb", as_version=4)
    assert any(cell.get("outputs") for cell in saved.cells), "it was saved after it ran"
    assert "widgets" not in saved.metadata and "image/png" not in nbformat.writes(saved), "a face was saved"
    assert not list(Path(run).rglob("corrections/*.csv"))
