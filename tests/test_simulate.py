"""Laws of the simulator's parts: photographs, units, events, nuisance. What it writes is in test_simulate_write.py."""

import dataclasses
import functools
import hashlib

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, spearmanr

from melib.priors import resampled_triangle
from melib.simulate import events, frozen, portraits, render, units, worlds
from melib.simulate.nuisance import Nuisance, draw_paths, resolve
from melib.vision import faces

FPS = 200


@functools.cache
def canvas(person=1, world="first", picture=0):
    return units.make_canvas(portraits.portraits(person)[picture], worlds.find_world(world))


def scene(unit, side, family, strength, *, person=1, nuisance=0.0, seed=0):
    """A unit that rises for 20 frames and falls for 20."""
    movement = events.Movement(unit, side, 1.0, 0.0, 0.1, 0.0, 0.2, (2, 2), (2, 2), 0.0, np.inf)
    paths = draw_paths(np.random.default_rng(seed), resolve(nuisance), 41, FPS)
    return render.Scene(
        canvas(person), family, events.Expression("others", strength, (movement,)), paths, FPS
    )


@functools.cache
def drawn(n=900, statistics="samm_lv_micro", world="first"):
    """Events with their displacement over time and their labels, six a subject; nothing is rendered."""
    rng = np.random.default_rng(11)
    rows = []
    for _ in range(n):
        event = events.draw_event(rng, statistics, 0.0, world=worlds.find_world(world))
        event = event.moved(0.5 - event.start)
        seconds = np.arange(round((event.stop + 0.5) * FPS)) / FPS
        course = sum(
            events.UNIT_SCALE[m.unit] * m.share * events.profile(m, seconds) for m in event.movements
        )
        displacement = event.strength * course / course.max()
        rows.append((event, displacement, events.annotate(rng, displacement, int(event.stop * FPS), FPS)))
    return rows


# Photographs --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everyone():
    return [portraits.portraits(person) for person in range(1, portraits.PEOPLE + 1)]


def test_no_two_subjects_share_a_photograph(everyone):
    owners = {}
    for chosen in everyone:
        for portrait in chosen:
            assert owners.setdefault(portrait.image.tobytes(), portrait.person) == portrait.person
    assert len(owners) == portraits.PEOPLE * portraits.CHOSEN


# Units --------------------------------------------------------------------------------------------------------------

# Where the skin goes: place, lowest and highest angle in degrees (0 is outward, 90 is up).
DIRECTIONS = [
    (1, "brow_inner", 65, 115),
    (2, "brow_tail", 60, 120),
    (4, "brow_inner", 195, 265),
    (5, "upper_lid", 65, 115),
    (6, "cheek", 55, 125),
    (6, "crow", 120, 240),
    (7, "lower_lid", 50, 130),
    (7, "upper_lid", 230, 310),
    (9, "wing", 55, 135),
    (10, "upper_lip", 55, 125),
    (12, "corner", 40, 50),
    (15, "corner", 245, 295),
    (16, "lower_lip", 245, 295),
    (17, "boss", 65, 115),
    (17, "lower_lip", 65, 115),
    (18, "corner", 150, 210),
    (20, "corner", -20, 20),
    (24, "upper_lip", 240, 300),
    (24, "lower_lip", 60, 120),
    (25, "lip_above", 65, 115),
    (25, "lip_below", 245, 295),
    (38, "wing", -30, 45),
    (43, "upper_lid", 245, 295),
]


# Of the second generation: what was seen on real motion maps.
LATER = [
    (1, "brow_inner", 60, 125),
    (2, "brow_tail", 60, 120),
    (4, "brow_inner", 195, 265),
    (4, "forehead", 195, 265),
    (4, "upper_lid", 205, 300),
    (12, "corner", 25, 50),
    (12, "smile", 20, 60),
    (14, "corner", -20, 30),
    (17, "boss", 65, 115),
]


def places(points, side):
    a = units.anchors(points, side)
    a.brow_tail = 0.55 * a.brow_outer + 0.45 * a.brow_middle
    a.crow = a.eye_outer + np.array([5 * a.out, 2])
    a.lip_above = a.mouth + np.array([2 * a.out, -1.5])
    a.lip_below = a.mouth + np.array([2 * a.out, 1.5])
    a.forehead = a.brow_middle + np.array([0, -8])
    a.smile = a.corner + np.array([6 * a.out, -8])
    return a


def at(face, vectors, place):
    """Displacement at a place in crop pixels: that of the nearest pixel."""
    index = np.argmin((face.x - place[0]) ** 2 + (face.y - place[1]) ** 2)
    return vectors.reshape(-1, 2)[index]


@pytest.mark.parametrize("family", ["patches", "muscles"])
@pytest.mark.parametrize(("world", "directions"), [("first", DIRECTIONS), ("second", LATER)])
def test_every_unit_moves_the_skin_the_way_facs_says(family, world, directions):
    wrong = []
    for person in (1, 8, 12):
        face = canvas(person, world)
        for unit, name, low, high in directions:
            vectors = units.unit_field(face, family, unit).displacement(face)
            for side in ("left", "right"):
                place = places(face.points, side)
                moved = at(face, vectors, getattr(place, name))
                angle = np.degrees(np.arctan2(-moved[1], moved[0] * place.out))
                off = (angle - (low + high) / 2 + 180) % 360 - 180
                if abs(off) > (high - low) / 2 or np.linalg.norm(moved) < 0.08:
                    wrong.append((person, unit, name, side, round(float(angle)), moved.round(2).tolist()))
    assert not wrong
    assert {unit for unit, *_ in DIRECTIONS} | {14} == set(units.UNITS)


@pytest.mark.parametrize("family", units.FAMILIES)
@pytest.mark.parametrize("unit", units.UNITS)
def test_both_sides_together_are_the_sum_and_one_side_stays_on_its_own(family, unit):
    face = canvas(1)
    left, right = (
        units.unit_field(face, family, unit, side).displacement(face) for side in ("left", "right")
    )
    middle = face.points[27:31, 0].mean()
    for one, own in ((left, face.x > middle), (right, face.x < middle)):  # the subject's left is on the right
        energy = (one**2).sum(-1) * face.skin
        share = 0.5 if unit in events.MIDLINE else 0.75  # what lies on the midline moves with either side
        assert energy[own].sum() > share * energy.sum()
        assert np.linalg.norm(one[face.skin], axis=-1).max() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("one", "other", "least"),
    [("patches", "muscles", 0.5), ("head", "patches", 0.1), ("head", "muscles", 0.1)],
)
def test_any_two_families_are_different_fields_of_the_same_movement(one, other, least):
    face = canvas(1, "first" if one == "patches" else "second")  # 14 points outward in the second alone
    for unit in set(units.UNITS) - ({6, 17} if one == "head" else set()):  # the head has none, a muscle pulls
        pair = [units.unit_field(face, family, unit).displacement(face)[face.skin] for family in (one, other)]
        cosine = (pair[0] * pair[1]).sum() / np.sqrt((pair[0] ** 2).sum() * (pair[1] ** 2).sum())
        assert least < cosine < 0.985, unit


def determinant(movement):
    """Jacobian determinant of p -> p + movement(p), movement (H, W, 2) pixels; brute force."""
    (xy, xx), (yy, yx) = (np.gradient(movement[..., i]) for i in (0, 1))
    return (1 + xx) * (1 + yy) - xy * yx


def folding(unit, side, family, strength, person, seed):
    """Smallest determinant over the frames of a clip with all nuisance on, the line between the lips left out."""
    clip = scene(unit, side, family, strength, person=person, nuisance=1.0, seed=seed)
    off_line = np.abs(clip.canvas.below) > 1.5 / clip.canvas.portrait.scale
    off_line |= np.abs(clip.canvas.along) > 1.05
    return min(determinant(clip.field(t)[..., :2])[off_line].min() for t in (0, 10, 20, 30))


@settings(max_examples=30, derandomize=True)
@given(
    st.sampled_from(units.UNITS),
    st.sampled_from(units.SIDES),
    st.sampled_from(units.FAMILIES),
    st.floats(0.1, 2.5),
    st.sampled_from([1, 8, 12, 20]),
    st.integers(0, 1000),
)
def test_no_frame_folds_the_skin(unit, side, family, strength, person, seed):
    assert folding(unit, side, family, strength, person, seed) > 0.2


# Frames -------------------------------------------------------------------------------------------------------------


def test_a_face_at_rest_is_its_photograph():
    clip = scene(12, "both", "patches", 1.0)
    still = clip.frame(0)
    assert np.abs(still - clip.canvas.portrait.image)[5:-5, 5:-5].max() < 1.0


def test_the_backward_warp_inverts_the_forward_map():
    clip = scene(12, "both", "muscles", 2.5, nuisance=1.0)
    total, (wanted_x, wanted_y) = clip.field(20), clip.undo_similarity(20)
    x, y, _ = clip.origin(20, total, wanted_x, wanted_y)
    moved = render.look_up(total, x, y)
    error = np.hypot(x + moved[..., 0] - wanted_x, y + moved[..., 1] - wanted_y)
    assert error.max() < 0.03  # pixels of the frame


def eyes(**changes):
    """A face of which nothing but lids or gaze move, in two frames."""
    paths = draw_paths(np.random.default_rng(3), resolve(0.0), 2, FPS)
    clip = render.Scene(canvas(8), "patches", None, dataclasses.replace(paths, **changes), FPS)
    return clip, np.abs(clip.frame(1) - clip.frame(0))


def test_a_blink_moves_the_lid_as_far_as_it_says_and_gaze_the_iris_alone():
    for way in Nuisance().blink:
        clip, change = eyes(blink=np.array([0.0, 1.0]), blink_px=way)
        for eye in clip.eyes:
            assert eye.way(way) == pytest.approx(way, abs=0.7)  # an eye narrower than that is shut earlier
        inside = (clip.canvas.lids["left"][..., 0] > 1) & (clip.canvas.lids["left"][..., 1] > 1)
        assert change[inside].mean() > 8
    clip, change = eyes(gaze=np.array([[0.0, 0.0], [1.5, 0.0]]))
    open_ = np.any([(lid[..., 0] > -0.6) & (lid[..., 1] > -0.6) for lid in clip.canvas.lids.values()], axis=0)
    assert change[open_].max() > 20
    assert change[~open_].max() < 0.5


def test_the_detector_finds_the_face_in_at_least_99_of_100_frames(everyone):
    detected = []
    for person in range(1, portraits.PEOPLE + 1):
        rng = np.random.default_rng([7, person])
        event = events.draw_event(rng, "samm_lv_micro", 0.0)
        paths = draw_paths(rng, Nuisance(), 80, FPS)
        face = units.make_canvas(everyone[person - 1][person % 2])
        clip = render.Scene(face, units.FAMILIES[person % 2], event, paths, FPS)
        grain = clip.grain(rng)
        detected += [faces.find_face(clip.written(t, grain, rng)) is not None for t in (40, 79)]
    assert np.mean(detected) >= 0.99


def flow_share(person, family, seed):
    """Measured flow at the apex against a neutral frame, as a share of what was commanded."""
    rng = np.random.default_rng([seed, person])
    event = events.draw_event(rng, "samm_lv_micro", 0.1)
    event = event.moved(0.1 - event.start)
    paths = draw_paths(rng, resolve(0.0), round((event.stop + 0.1) * FPS), FPS)
    face = units.make_canvas(portraits.portraits(person)[0])
    clip = render.Scene(face, family, event, paths, FPS)
    apex = int(np.argmax(clip.truth.peak))
    neutral, moved = (np.clip(np.rint(clip.frame(t)), 0, 255).astype(np.uint8) for t in (0, apex))
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    method.setFinestScale(0)
    flow = method.calc(neutral, moved, None)
    commanded = sum(
        np.float32(a) * field.displacement(face)
        for a, field in zip(clip.amplitudes[apex], clip.movements, strict=True)
    )
    size = np.linalg.norm(commanded, axis=-1)
    assert size[face.skin].max() == pytest.approx(clip.truth.peak[apex], rel=0.02)
    moving = face.skin & (size > 0.3 * size[face.skin].max())
    commanded = face.to_image(commanded)
    return (flow * commanded)[moving].sum() / (commanded**2)[moving].sum()


@pytest.mark.parametrize("family", units.FAMILIES)
def test_flow_at_the_apex_agrees_with_the_commanded_displacement(family):
    shares = [flow_share(person, family, seed=3) for person in range(1, 25, 2)]
    assert 0.85 <= np.median(shares) <= 1.15


# Events -------------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.integers(0, 10**6))
def test_every_profile_peaks_at_one_and_its_velocity_is_smooth(seed):
    event = events.draw_event(np.random.default_rng(seed), "samm_lv_micro", 0.0)
    for movement in event.movements:
        assert movement.start < movement.apex <= movement.apex + movement.hold < movement.stop
        seconds = np.linspace(movement.start - 0.1, movement.stop + 0.1, 4001)
        course = events.profile(movement, seconds)
        assert course.max() == pytest.approx(1, abs=1e-3)
        assert course.min() >= 0
        assert not course[seconds < movement.start].any()
        velocity = np.diff(course) / np.diff(seconds)
        jumps = np.abs(np.diff(velocity)) / np.abs(velocity).max()
        # A kink jumps whatever the sampling; a smooth velocity changes the less, the more samples a flank has.
        flank = min(movement.apex - movement.start, movement.stop - movement.apex - movement.hold)
        assert jumps.max() * flank / np.diff(seconds).mean() < 12


@pytest.mark.parametrize("name", ["samm_lv_micro", "casme_sq_micro", "casme3_micro"])
def test_annotated_durations_and_apexes_follow_the_event_statistics(name):
    published = events.statistics_of(name)
    labels = np.array([label for *_, label in drawn(statistics=name)])
    duration = (labels[:, 2] - labels[:, 0]) / FPS
    position = (labels[:, 1] - labels[:, 0]) / (labels[:, 2] - labels[:, 0])
    # n real events stand behind each figure: 1.25 sd / sqrt(n) is a median's error, doubled, and 6 % for jitter.
    slack = 2.5 * published["log_duration_sd"] / np.sqrt(published["n"]) + 0.06
    quartiles = np.log(np.percentile(duration, [25, 50, 75]) / published["duration_s"][1:4])
    assert np.abs(quartiles).max() < slack + 0.03
    assert np.abs(np.percentile(position, [25, 50, 75]) - published["apex_position"][1:4]).max() < 0.06


def test_the_position_only_control_lands_where_real_data_does():
    onset, apex, offset = np.array([label for *_, label in drawn()]).T
    pseudo = np.array([resampled_triangle(*label) for label in zip(onset, apex, offset, strict=True)])
    true = np.array(
        [
            np.interp(np.linspace(first, last, 16), np.arange(len(displacement)), displacement)
            for (_, displacement, (first, _, last)) in drawn()
        ]
    )
    subject = np.arange(len(pseudo)) // 6
    guesses = [pseudo[subject != own].mean(0) for own in range(subject.max() + 1)]
    for target in (pseudo, true):
        score = np.mean([spearmanr(guesses[s], curve)[0] for s, curve in zip(subject, target, strict=True)])
        assert 0.80 <= score <= 0.92


def test_in_the_second_world_units_come_as_they_were_coded_and_strengths_log_uniform():
    rows = [event for event, *_ in drawn(world="second")]
    coded = {
        frozenset(units_)
        for emotion in events.event_statistics()["casme3_emotion_counts"]
        for units_ in events.unit_combinations("samm_lv_micro", emotion)[0]
    }
    assert {frozenset((m.unit, m.side) for m in event.movements) for event in rows} <= coded
    surprise = [{m.unit for m in event.movements} for event in rows if event.emotion == "surprise"]
    # SAMM 4 of 14 with units that we have, CASME II 14 of 25
    assert np.mean([{1, 2} <= moved for moved in surprise]) == pytest.approx(18 / 39, abs=0.1)
    one_sided = np.mean([any(m.side != "both" for m in event.movements) for event in rows])
    assert 0.15 < one_sided < 0.3
    logs = np.log([event.strength for event in rows]) - np.log(0.1)
    assert kstest(logs / np.log(25), "uniform").pvalue > 0.01


def test_in_the_second_world_the_generator_knows_neither_the_landmarks_nor_the_depth():
    for person in (1, 8, 12):
        first, second = canvas(person), canvas(person, "second")
        off = np.sqrt(((second.points - first.points) ** 2).sum(1).mean())
        assert 1 <= off <= 3
        assert np.abs(second.depth - first.depth).max() > 1
        other = canvas(person, "second", 1).points - canvas(person, "first", 1).points
        assert np.abs(other - (second.points - first.points)).max() < 1  # the person's, in every picture
    assert (canvas(1).skin == canvas(1, "second").skin).all()


def test_a_slower_camera_holds_its_picture():
    world = dataclasses.replace(worlds.find_world("second"), camera_fps=(50,))
    paths = draw_paths(np.random.default_rng(3), resolve(1.0, world), 12, FPS, world)
    clip = render.Scene(canvas(8, "second"), "patches", None, paths, FPS)
    frames = [clip.frame(t - t % paths.hold) for t in range(8)]
    grain = clip.grain(np.random.default_rng(0))
    written = [clip.written(t, grain, np.random.default_rng(1)) for t in range(8)]
    assert paths.hold == 4
    assert (written[0] == written[3]).all() and not (written[3] == written[4]).all()
    assert np.abs(written[5].astype(float) - frames[5]).mean() < 6


def test_frozen_sets_are_what_they_were():
    recorded = yaml.safe_load((frozen.PLACE / "frozen_hashes.yml").read_text())
    if recorded["processor"] != frozen.processor():
        pytest.skip("bytes are compared on the processor that they were recorded on")
    for name in ("first_clips", "second_clips"):
        assert frozen.digest(name, 1, 1) == recorded["hashes"][f"{name} s01_01"]


def test_a_share_of_a_frozen_set_has_the_bytes_of_the_whole_one(tmp_path, monkeypatch):
    monkeypatch.setitem(frozen._DEFAULTS, "people", 1)
    out = frozen.write_share(tmp_path / "share", "second_clips", [2], jobs=1)
    written = hashlib.sha256()
    for part in (".parts", "frames"):
        for path in sorted(path for path in (out / part).rglob("*") if path.is_file()):
            written.update(path.read_bytes())
    assert written.hexdigest() == frozen.digest("second_clips", 1, 2)
    assert (out / "truth.csv").is_file() and (out / "annotations.xlsx").is_file()


def test_labels_get_worse_as_the_movement_gets_weaker():
    weak, strong = [], []
    for event, displacement, (onset, apex, offset) in drawn():
        error = (apex - np.argmax(displacement), onset - event.start * FPS, event.stop * FPS - offset)
        (weak if event.strength < 0.45 else strong if event.strength > 0.9 else []).append(error)
    weak, strong = np.array(weak), np.array(strong)
    assert weak[:, 0].std() > 1.3 * strong[:, 0].std()  # jitter of the apex
    assert (weak[:, 1:].mean(0) > strong[:, 1:].mean(0) + 2).all()  # ends that go unseen
    assert (strong[:, 1:].mean(0) > 0).all()


@given(st.integers(0, 10**6), st.integers(3, 60), st.floats(0.01, 3), st.data())
def test_labels_are_ordered_and_inside_the_clip(seed, n, strength, data):
    course = strength * np.sin(np.linspace(0, np.pi, n))
    stop = data.draw(st.integers(0, n + 5))
    onset, apex, offset = events.annotate(np.random.default_rng(seed), course, stop, FPS)
    assert 0 <= onset < apex < offset < n


def test_strength_and_sides_follow_their_distributions_and_every_unit_comes():
    rows = [event for event, *_ in drawn()]
    strength = np.array([event.strength for event in rows])
    assert 0.5 < np.median(strength) < 0.8
    assert strength.min() >= 0.1 and strength.max() <= 2.5
    for side in ("left", "right"):
        share = np.mean([any(m.side == side for m in event.movements) for event in rows])
        assert 0.09 < share < 0.15
    assert {m.unit for event in rows for m in event.movements} == set(events.UNIT_SCALE)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(60, 400))
def test_the_head_moves_smoothly_and_within_its_scale(seed, n):
    scales = Nuisance()
    paths = draw_paths(np.random.default_rng(seed), scales, n, FPS)
    far = np.linalg.norm(paths.shift, axis=1).max()
    assert scales.drift[0] <= far <= scales.drift[1] + 1e-9
    assert np.degrees(np.linalg.norm(paths.turn, axis=1).max()) <= scales.turn[1] + 1e-9
    spectrum = np.abs(np.fft.rfft((paths.shift[:, 0] - paths.shift[:, 0].mean()) * np.hanning(n))) ** 2
    hertz = np.fft.rfftfreq(n, 1 / FPS)
    assert spectrum[hertz > 15].sum() < 0.01 * spectrum.sum()
    assert ((paths.blink >= 0) & (paths.blink <= 1)).all()
