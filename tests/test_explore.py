"""What is looked at is what was scored; a frame always gives the same picture; a forbidden face changes none of it."""

import itertools
import json
import time
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
from test_review import review as a_review  # noqa: F401
from test_spotting import made_up_material

from melib import DataError, metrics
from melib.app import explore, explore_widgets, runner
from melib.app.explore_pictures import EventPicture, VideoPicture, curve_of, lengths_of, said_of, sample_at
from melib.data import cache
from melib.study import intensity, spotting, spotting_decoding, spotting_runs
from melib.study.run import begin

ROOT = Path(__file__).parent.parent
NUMBERS = np.arange(20, 60)


# ---- made up: one event, one video of 20 seconds -----------------------------------------------------------------


def an_event(shown="all", seed=0, **changed):
    rng = np.random.default_rng(seed)
    about = {
        "study": a_study(shown),
        "subject": "006",
        "video": "v",
        "name": "v",
        "fps": 100.0,
        "landmarks": (28, 36, 50),
        "numbers": NUMBERS,
        "crops": rng.integers(0, 256, (40, SIDE, SIDE), np.uint8),
        "seen": np.arange(40) != 5,
        "points": LANDMARKS,
        "positions": np.linspace(24, 55, 16),
        "motion": np.random.default_rng(1).normal(0, 0.5, (16, 2, SIDE, SIDE)).astype(np.float32),
        "reference": 0,
        "curves": {"flow": np.linspace(0, 1, 16), "raw": np.full(16, 0.2)},
        "truth": np.linspace(0, 1, 40),
        "said": ("true peak 0.70 pixels of the crop",),
        "notes": (),
    }
    return explore.Event(**{**about, **changed})


def a_footage(seconds=20, shown="all"):
    """One video of a made-up material, whose face is at rest after ten seconds."""
    material = made_up_material()
    rng, rest = np.random.default_rng(0), int(30 * seconds) - 300

    def longer(video):
        n = 300 + rest
        motion = np.pad(video.motion, ((0, rest), (0, 0)))
        return replace(video, numbers=np.arange(n), mask=np.ones(n, bool), motion=motion)

    def longer_curves(curves):
        quiet = np.clip(0.1 + rng.normal(0, 0.05, (rest, curves.scores.shape[1])), 0.001, 0.999)
        scores = np.vstack([curves.scores, quiet]).astype(np.float32)
        return replace(curves, scores=scores, logits=np.pad(curves.logits, ((0, rest), (0, 0))))

    said = {fit: {key: longer_curves(each) for key, each in of.items()} for fit, of in material.said.items()}
    material = replace(material, videos=[longer(v) for v in material.videos], said=said)
    fold = material.folds[0]
    video = next(v for v in material.videos if v.subject in fold.test and len(v.of("micro")))
    study = SimpleNamespace(name="toy", manifest=SimpleNamespace(show_subjects=shown, fps=30.0))
    found = explore.Videos(study, material.folds, material)
    of = spotting_decoding.curves_of(explore.OURS, material, fold, video)
    return explore.Footage(found, fold, video, of, [], spotting.annotated([video]), ())


@pytest.fixture(scope="module")
def shown():
    return a_footage()


@pytest.fixture
def faces(monkeypatch):
    """Noise instead of frames: what an aligned stretch of a video looks like, another for another seed."""

    def show(seed=0):
        crops = np.random.default_rng(seed).integers(0, 256, (explore.STRETCH, SIDE, SIDE), np.uint8)
        motion = np.random.default_rng(1).normal(0, 0.5, (explore.STRETCH, 2, SIDE, SIDE))
        points = np.tile(LANDMARKS, (explore.STRETCH, 1, 1))
        stretch = crops, points, motion.astype(np.float32), np.ones(explore.STRETCH, bool)
        monkeypatch.setattr(explore, "stretch", lambda *_: stretch)

    show()
    return show


# ---- pictures ----------------------------------------------------------------------------------------------------


def test_a_frame_s_picture_doesn_t_depend_on_the_way_to_it():
    one, other = EventPicture(an_event()), EventPicture(an_event())
    for number in (59, 20, 25, 41):
        last = one.frame(number)
    one.label((25, 30, 40), "gaussian")
    one.frame(30)
    one.label((28, 36, 50))
    assert one.frame(41) == last == other.frame(41)


def test_intervals_change_under_the_same_face_as_if_they_were_drawn_anew(shown, faces):
    one, other = VideoPicture(shown), VideoPicture(shown)
    for decoder, t in (("fixed_window", 9), ("half_height", 9), ("semi_markov", 70), ("semi_markov", 9)):
        one.decoded(explore.decode(shown, decoder))
        last = one.frame(t)
    other.decoded(explore.decode(shown))
    assert other.frame(9) == last


def test_another_frame_another_label_and_other_landmarks_change_the_picture():
    picture = EventPicture(an_event())
    seen = [picture.frame(number) for number in NUMBERS[::5]]
    assert len(set(seen)) == len(seen)
    assert all(png.startswith(b"\x89PNG") for png in seen)
    for landmarks, shape in (
        ((28, 36, 50), "boxcar"),
        ((27, 36, 50), "triangular"),
        ((28, None, 50), "boxcar"),
    ):
        picture.label(landmarks, shape)
        assert picture.frame(30) != seen[2]


@pytest.mark.parametrize("who", [(), ("007",)], ids=["nobody", "somebody else"])
def test_a_forbidden_face_changes_no_picture(who, faces):
    one, two = (EventPicture(an_event(who, seed)).frame(36) for seed in (2, 3))
    assert one == two
    one, two = ([faces(seed), VideoPicture(a_footage(10, shown=who)).frame(9)][1] for seed in (2, 3))
    assert one == two


def test_an_allowed_face_is_seen_so_that_the_law_above_can_fail(faces):
    one, two = (EventPicture(an_event("all", seed)).frame(36) for seed in (2, 3))
    assert one != two
    one, two = ([faces(seed), VideoPicture(a_footage(10)).frame(9)][1] for seed in (2, 3))
    assert one != two


def test_an_event_without_window_truth_or_apex_is_drawn_and_says_why():
    nothing = {"positions": np.zeros(0), "motion": np.zeros((0, 2, 1, 1), np.float32), "curves": {}}
    bare = an_event(**nothing, truth=None, landmarks=(28, None, 50), notes=("make it with `melib run`.",))
    assert EventPicture(bare).frame(30) != EventPicture(an_event()).frame(30)


def test_a_sample_is_the_nearest_and_none_is_outside_the_window():
    positions = np.array([10.0, 14.0, 18.0])
    found = [sample_at(positions, number) for number in (7, 8, 11, 13, 20, 21)]
    assert found == [None, 0, 0, 1, 2, None]
    assert sample_at(np.zeros(0), 3) is None


def test_a_label_needs_three_landmarks_in_order():
    curve = curve_of((22, 30, 40), NUMBERS)
    assert NUMBERS[curve.argmax()] == 30 and curve[0] == curve[-1] == 0
    assert curve_of((22, None, 40), NUMBERS) is None
    assert curve_of((31, 30, 40), NUMBERS) is None


def test_landmarks_are_said_with_what_is_known():
    assert lengths_of((10, 20, 40), 100) == "onset 10, apex 20, offset 40: 100 ms to the apex, 300 ms in all"
    assert lengths_of((10, None, 40), 100) == "onset 10, apex none, offset 40: 300 ms in all"


# ---- the worst ---------------------------------------------------------------------------------------------------


def an_opened(**changed):
    about = {"run": unbegun("smoke", "runs/toy"), "short": {}, "long": {}, "other": ()}
    return explore.Opened(**{**about, "agreement": results(), "command": "melib run", **changed})


@pytest.mark.parametrize("metric", ["inside_spearman_true", "spearman_pseudo"])
def test_the_worst_come_first_and_every_scored_event_once(metric):
    found = explore.worst(an_opened(), "synthme", "context", metric, "raw")
    assert found["value"].is_monotonic_increasing
    assert len(found) == 24 and not found.duplicated(["subject", "event"]).any()


def test_of_errors_the_largest_is_the_worst():
    table = results().replace({"metric": {"spearman_pseudo": "apex_error_ms"}})
    found = explore.worst(an_opened(agreement=table), "synthme", "context", "apex_error_ms")
    assert found["value"].is_monotonic_decreasing and len(found)


def test_what_was_never_scored_has_no_worst():
    assert explore.worst(an_opened(), "synthme", "context", "apex_error_ms").empty
    assert explore.worst(an_opened(agreement=pd.DataFrame()), "synthme", "paper", "spearman_pseudo").empty


# ---- a run that isn't there ---------------------------------------------------------------------------------------


def test_a_missing_run_is_one_sentence_with_the_command(tmp_path):
    with pytest.raises(DataError, match=r"make it with `melib run --profile demo --run .*none --seed 3`"):
        explore.open_run(tmp_path / "none", "demo", 3)


def test_a_run_of_another_profile_says_which(tmp_path):
    cache.write_yaml(tmp_path / "parameters.yml", {"profile": "demo", "seed": 0, "data": ""})
    with pytest.raises(DataError, match="made with profile 'demo', seed 0 and data simulated"):
        explore.open_run(tmp_path, "smoke")


def test_a_run_beside_the_folder_of_the_notebooks_is_found(tmp_path, monkeypatch):
    cache.write_yaml(
        tmp_path / "runs" / "smoke" / "parameters.yml", {"profile": "smoke", "seed": 0, "data": ""}
    )
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    with pytest.raises(DataError, match="runs/smoke holds no data yet: make it with `melib run"):
        explore.open_run("runs/smoke")
    monkeypatch.setattr(explore, "_simulated", lambda *_: [SimpleNamespace(name="toy")])
    opened = explore.open_run("runs/smoke")
    assert opened.run.folder.resolve() == tmp_path / "runs" / "smoke"
    assert opened.agreement.empty and set(opened.short) == set(opened.long) == {"toy"}


@pytest.mark.parametrize("made", ["profile: [", "profile: smoke", "\x00", ""])
def test_a_run_whose_settings_can_t_be_read_is_one_sentence(tmp_path, made):
    (tmp_path / "parameters.yml").write_text(made)
    with pytest.raises(DataError, match=r"parameters.yml can't be read; write it again with `melib run"):
        explore.open_run(tmp_path)


@pytest.mark.parametrize("data", ['{"samm": /x}', {"samm": "/x"}, "samm"])
def test_data_that_is_no_json_text_is_one_sentence(tmp_path, data):
    with pytest.raises(DataError, match=r'make it json text such as \{"samm": "/path"\}'):
        explore.open_run(tmp_path, data=data)


def test_missing_weights_are_one_sentence_with_the_command(tmp_path):
    opened = an_opened(run=unbegun("smoke", tmp_path), command="melib run --profile smoke")
    with pytest.raises(DataError, match="no weights of some-fit; make them with `melib run --profile smoke`"):
        explore._weights(opened, "some-fit")


def test_a_panel_over_a_run_without_its_data_is_one_sentence():
    for panel in (explore_widgets.EventPanel, explore_widgets.VideoPanel):
        assert "make" in explore_widgets.show(panel, an_opened()).value


# ---- intervals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoder", spotting_decoding.DECODERS)
def test_untouched_sliders_give_the_intervals_that_are_scored(shown, decoder):
    found = explore.decode(shown, decoder)
    system = replace(explore.OURS, decoder=decoder)
    whole = spotting_decoding.predict(system, shown.found.material)
    mine = whole[(whole["subject"] == shown.video.subject) & (whole["video"] == shown.video.video)]
    columns = ["onset", "apex", "offset", "score", "emotion", "kept"]
    mine = mine[columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(found[columns], mine, check_dtype=False)  # an empty table has other text
    k = explore.half_length_of(shown)
    again = explore.decode(shown, decoder, half_length=k, least=explore.tuned(shown, decoder))
    pd.testing.assert_frame_equal(again, found)


def test_a_higher_least_score_keeps_fewer_and_moves_none(shown):
    tables = [explore.decode(shown, "half_height", least=least) for least in (0.0, 0.3, 1.1)]
    kept = [set(table.index[table["kept"]]) for table in tables]
    assert kept[0] >= kept[1] >= kept[2] == set()
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table[["onset", "offset"]], tables[0][["onset", "offset"]])


def test_a_longer_half_length_gives_longer_intervals(shown):
    short, long = (explore.decode(shown, "fixed_window", half_length=k) for k in (4, 12))
    assert (long["offset"] - long["onset"]).median() > (short["offset"] - short["onset"]).median()


def test_right_are_those_that_find_a_micro_expression_and_the_words_count_them(shown):
    found = explore.decode(shown)
    assert found["right"].sum() == 1 and not (found["right"] & ~found["kept"]).any()
    assert said_of(shown, found)[0].startswith("1 of 1 micro-expressions found")


def test_mistakes_are_what_is_missed_and_invented_each_from_its_worst(monkeypatch):
    found = a_footage(10).found
    monkeypatch.setattr(explore, "speak", lambda *_: None)
    table = explore.mistakes(None, found)
    said = spotting_decoding.kept(spotting_decoding.predict(explore.OURS, found.material))
    counts = metrics.spotting(said, spotting.annotated(found.material.videos))
    assert (table["what"] == "missed").sum() == counts["fn"]
    assert (table["what"] == "invented").sum() == counts["fp"]
    for _, part in table.groupby("what"):
        assert part["size"].is_monotonic_decreasing


# ---- widgets, without a browser -----------------------------------------------------------------------------------


def refuses(words):
    def action(*_):
        raise DataError(words)

    return action


def panel_over(shown, monkeypatch):
    """The panel of long videos over a made-up one."""
    shown.found.study.videos = pd.DataFrame({"subject": [shown.video.subject], "video": [shown.video.video]})
    monkeypatch.setattr(explore, "videos", lambda *_: shown.found)
    monkeypatch.setattr(explore, "footage", lambda *_: shown)
    return explore_widgets.VideoPanel(an_opened(long={"toy": shown.found.study}))


@pytest.fixture
def panel(shown, faces, monkeypatch):
    return panel_over(shown, monkeypatch)


def test_every_widget_of_a_long_video_changes_the_picture_within_a_tenth_of_a_second(panel):
    changes = [
        *((panel.decoder, name) for name in spotting_decoding.DECODERS[:3]),
        (panel.half_length, 9),
        (panel.peak_fraction, 0.1),
        (panel.least, 0.9),
        (panel.decoder, "semi_markov"),
        (panel.frames.slider, 77),
    ]
    took = {}
    for k, (_, (widget, value)) in itertools.product(range(3), enumerate(changes)):
        before = panel.frames.image.value
        start = time.process_time()  # nothing is waited for, and others may use the machine
        widget.value = value + k if widget is panel.frames.slider else value
        name = f"{widget.description} {value}"
        took[name] = min(took.get(name, 1), time.process_time() - start)
        assert panel.frames.image.value != before or k, name
    assert len(panel.shown.video) / panel.shown.video.fps == 20
    assert max(took.values()) < 0.1, took


def test_once_a_video_is_open_nothing_is_fitted_any_more(panel, monkeypatch):
    monkeypatch.delattr(spotting_decoding, "fitted")
    for name in spotting_decoding.DECODERS:
        panel.decoder.value = name
        assert panel.intervals["right"].sum() == 1


def test_another_decoder_begins_at_its_own_tuned_least_score(panel):
    panel.least.value = 0.99
    panel.decoder.value = "half_height"
    assert panel.least.value == pytest.approx(np.clip(explore.tuned(panel.shown, "half_height"), 0, 1))
    assert not panel.half_length.disabled
    panel.decoder.value = "semi_markov"
    assert panel.half_length.disabled
    assert panel.intervals["right"].sum() == 1


def test_without_weights_the_video_is_shown_and_the_line_says_what_makes_them(shown, faces, monkeypatch):
    bare = replace(shown, of=None, notes=("no weights; make them with `melib run`.",))
    panel = panel_over(bare, monkeypatch)
    assert panel.frames.line.value == "no weights; make them with `melib run`."
    assert panel.decoder.disabled and panel.least.disabled
    before = panel.frames.image.value
    panel.frames.slider.value = 8
    assert panel.frames.image.value != before


def test_a_video_that_can_t_be_read_is_said_and_nothing_of_the_one_before_stays(panel, monkeypatch):
    monkeypatch.setattr(explore, "footage", refuses("its frames are gone; copy them again."))
    panel.subject.options = [*panel.subject.options, "nobody"]
    panel.subject.value = "nobody"
    assert panel.video.value is None and panel.shown is None
    panel.chosen.open()
    assert panel.frames.line.value == "its frames are gone; copy them again."
    for widget, value in (
        (panel.decoder, "half_height"),
        (panel.least, 0.5),
        (panel.review.sliders["onset"], 9),
    ):
        widget.value = value
    assert not panel.frames.image.value and not panel.event.options


@pytest.fixture
def events(monkeypatch):
    """The panel of clips over made-up events."""
    people = [("006", "006_1"), ("006", "006_2"), ("007", "007_1")]
    rows = pd.DataFrame(people, columns=["subject", "event"]).assign(status="ok", video="v")
    study = SimpleNamespace(name="toy", events=rows, manifest=SimpleNamespace(has_context=True))

    def event(opened, dataset, subject, name, protocol):
        if name == "006_2":
            raise DataError("its frames are gone; copy them again.")
        return an_event(study=a_study("all"), subject=subject, name=name, said=(protocol,))

    monkeypatch.setattr(explore, "event", event)
    monkeypatch.setattr(explore, "reviewed", lambda _: None)
    monkeypatch.setattr(explore, "landmarks_of", lambda *_: (28, 36, 50))
    values = [(0.5, *people[0]), (-0.2, *people[2])]
    about = {
        "dataset": "toy",
        "protocol": "context",
        "model": "resnet18_bigru",
        "input": "flow",
        "peak_px": 1.0,
    }
    rows = [
        {**about, "metric": "spearman_pseudo", "value": v, "subject": s, "event": e} for v, s, e in values
    ]
    return explore_widgets.EventPanel(an_opened(short={"toy": study}, agreement=pd.DataFrame(rows)))


def test_the_buttons_step_through_the_worst_events(events):
    events.steps.worst.click()
    assert (events.subject.value, events.event.value) == ("007", "007_1")
    first = events.frames.image.value
    events.steps.next.click()
    assert (events.subject.value, events.event.value) == ("006", "006_1")
    assert "2 of 2" in events.steps.where.value and events.frames.image.value != first
    events.steps.next.click()  # there is none
    events.steps.previous.click()
    assert events.event.value == "007_1" and events.frames.image.value == first


def test_what_can_t_be_read_is_said_and_the_next_event_is_shown(events):
    events.event.value = "006_2"
    assert events.frames.line.value == "its frames are gone; copy them again."
    assert events.frames.image.layout.visibility == "hidden"
    events.frames.slider.value = 0
    assert not events.frames.image.value
    events.subject.value = "007"
    assert events.frames.line.value == ""


def test_a_moved_landmark_is_shown_with_its_frame(events):
    before = events.frames.image.value
    events.review.sliders["onset"].value = 25
    assert events.frames.slider.value == 25
    assert events.review.landmarks() == (25, 36, 50)
    assert events.frames.image.value != before


def test_what_is_saved_or_taken_back_is_shown_as_it_is_read_then(events, monkeypatch):
    monkeypatch.setattr(
        explore, "landmarks_of", lambda *_: (27, 38, 50)
    )  # the midpoint of a missing apex moves, too
    for action, button in (("save", events.review.save), ("undo", events.review.undo)):
        monkeypatch.setattr(explore, action, lambda *_: "done")
        events.review.sliders["onset"].value = 25
        button.click()
        assert events.frames.line.value == "done"
        assert events.review.landmarks() == (27, 38, 50)
        monkeypatch.setattr(explore, action, refuses("no reviewer."))
        events.review.sliders["onset"].value = 25
        button.click()
        assert events.frames.line.value == "no reviewer."
        assert events.review.landmarks() == (25, 38, 50)


def test_an_event_whose_corrections_can_t_be_read_is_shown_as_annotated(events, monkeypatch):
    monkeypatch.setattr(explore, "landmarks_of", refuses("toy.csv has no column new."))
    events.subject.value = "007"
    assert events.frames.line.value == "toy.csv has no column new."
    assert events.marks == (28, 36, 50) and events.frames.image.value


def test_without_an_event_nothing_is_saved_or_taken_back(events):
    events.event.value = "006_2"
    for button in (events.review.save, events.review.undo):
        button.click()
        assert events.frames.line.value == "Choose an event first."


# ---- review ------------------------------------------------------------------------------------------------------


def test_what_was_moved_is_saved_in_words_and_taken_back(a_review):  # noqa: F811
    before = explore.landmarks_of(a_review, "006", "006_1")
    asked = (a_review, "006", "006_1", (before[0], before[1] + 4, before[2]))
    said = explore.save(*asked, "blur", "AB")
    assert f"apex from {before[1]} to {before[1] + 4} saved in {a_review.file}" in said
    assert explore.landmarks_of(a_review, "006", "006_1")[1] == before[1] + 4
    assert "nothing was moved" in explore.save(*asked, "blur", "AB")
    assert "taken back" in explore.undo(a_review)
    assert explore.landmarks_of(a_review, "006", "006_1") == before
    assert "Nothing was saved" in explore.undo(a_review)


def test_only_what_was_moved_is_written(a_review):  # noqa: F811
    onset, apex, offset = explore.landmarks_of(a_review, "006", "006_2")
    explore.save(a_review, "006", "006_2", (onset - 1, apex, offset), "early", "AB")
    assert pd.read_csv(a_review.file)["field"].tolist() == ["onset"]


def test_a_correction_of_simulated_data_repeats_the_notebooks(tmp_path):
    path = ROOT / "notebooks" / "90_explore.ipynb"
    asked = (path, tmp_path, {"profile": "smoke", "seed": 0, "run": "a", "data": ""}, {})
    before = runner.stamp(*asked)
    file = tmp_path / "data" / "synthme" / "corrections" / "synthme.csv"
    file.parent.mkdir(parents=True)
    (file.parent / ".synthme.host-1.csv").write_text("sub")  # whoever wrote it was killed
    assert runner.stamp(*asked) == before
    file.write_text("subject\n")
    assert runner.stamp(*asked) != before


# ---- the notebook -------------------------------------------------------------------------------------------------


def test_the_runner_passes_the_notebook_by():
    assert "90_explore" not in [path.stem for path in runner.find()]
    source = nbformat.read(ROOT / "notebooks" / "90_explore.ipynb", as_version=4)
    nbformat.validate(source)
    assert source.metadata["melib"]["outputs"] == []
    assert [cell.id for cell in source.cells] == [f"cell-{k:02d}" for k in range(len(source.cells))]
    assert source.cells[1].metadata["tags"] == ["parameters"]


# ---- a real run, a real browser -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of notebook 04, and our own system's fits: what the notebook reads."""
    folder = runner.run("smoke", root=tmp_path_factory.mktemp("runs"), only=["04"])
    begun = begin(folder, "smoke")
    (long,) = spotting.open_long(begun)
    spotting_runs.gather([explore.OURS], begun, long)
    return folder


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_the_curve_that_is_shown_is_the_one_that_was_scored(run):
    opened = explore.open_run(run)
    (study,) = opened.short.values()
    for protocol in intensity.PROTOCOLS:
        scored = explore.worst(opened, study.name, protocol, "spearman_pseudo")
        for row in itertools.islice(scored.itertuples(), 3):
            event = explore.event(opened, study.name, row.subject, row.event, protocol)
            target = np.interp(event.positions, event.numbers, curve_of(event.landmarks, event.numbers))
            known = np.isfinite(event.curves["flow"])
            rho = metrics.curve_agreement(event.curves["flow"], target, known)["spearman"]
            assert rho == pytest.approx(row.value, abs=2e-3)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_what_is_decoded_is_what_the_run_predicted(run):
    opened = explore.open_run(run)
    (name,) = opened.long
    found = explore.videos(opened, name)
    table = explore.mistakes(opened, found)
    (long,) = spotting.open_long(opened.run)
    material = spotting_runs.gather([explore.OURS], opened.run, long)
    said = spotting_decoding.kept(spotting_decoding.predict(explore.OURS, material))
    counts = metrics.spotting(said, spotting.annotated(long.videos))
    assert table["what"].value_counts().to_dict() == {"missed": counts["fn"], "invented": counts["fp"]}
    shown = explore.footage(opened, found, long.videos[0].subject, long.videos[0].video)
    mine = said[(said["subject"] == shown.video.subject) & (said["video"] == shown.video.video)]
    decoded = explore.decode(shown)
    assert decoded[decoded["kept"]]["onset"].tolist() == mine["onset"].tolist()
    assert set(explore.statistics_of(shown)) == {name, *(study.name for study in opened.other)}
    assert VideoPicture(shown).frame(0).startswith(b"\x89PNG")


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


def found(kind, name, place=0):
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
        return now if now[place] != before[place] else None

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
            assert [each.split(":")[0] for each in pictures] == ["1000", "1000"]

            for place in (0, 1):  # the frames of the event, and of the long video
                focus(page, found("widget-slider", "frame", place) + ".querySelector('.noUi-handle')")
                page.press("ArrowRight", 39)
                pictures = changed(page, pictures, place)
                page.picture(tmp_path / f"frames_{place}.png")

            menu = found("widget-dropdown", "decoder") + ".querySelector('select')"
            chosen = "new Event('change', {bubbles: true})"
            page.ask(f"(each => {{ each.selectedIndex = 0; each.dispatchEvent({chosen}); }})({menu})")
            pictures = changed(page, pictures, 1)

            press = "[...document.querySelectorAll('button')].find(each => each.textContent === {!r}).click()"
            page.ask(press.format("worst"))
            pictures = changed(page, pictures, 0)
            header = "document.querySelector('.jupyter-widget-Collapse-header')"
            page.ask(f"{header}.click(); {header}.scrollIntoView({{block: 'center'}})")
            page.ask(press.format("Save"))
            said = (
                "[...document.querySelectorAll('.widget-html-content')].map(each => each.textContent).join()"
            )
            lab.until(lambda: "nothing was moved" in page.ask(said), 30, "Save says that nothing was moved")
            page.picture(tmp_path / "review.png")
            assert page.ask(STATE)["errors"] == []
            page.ask("jupyterapp.commands.execute('docmanager:save').then(() => true)")
    saved = nbformat.read(tmp_path / "90_explore.ipynb", as_version=4)
    assert any(cell.get("outputs") for cell in saved.cells), "it was saved after it ran"
    assert "widgets" not in saved.metadata and "image/png" not in nbformat.writes(saved), "a face was saved"
    assert not list(Path(run).rglob("corrections/*.csv"))
