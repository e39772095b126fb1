"""No pixel of a face reaches a figure unless the manifest allows it: the same figure whatever the face looks like.

Every figure of the project is drawn here. Those that take images are drawn of two entirely different faces; those that take
tables are drawn while nothing can be read as an image.
"""

import ast
import io
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import made_up
import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import PIL.Image
import pytest
import test_figures
import test_spotting_figures as spotting_tables

from melib.app import pictures, prediction
from melib.data import manifest
from melib.paper import ablation_figures, data_figures, limits_figures, spotting_figures
from melib.study import durations
from melib.vision import faces

ROOT = Path(__file__).parent.parent
SIDE, T = 48, 6
SUBJECTS = ("006", "007")
LANDMARKS = np.random.default_rng(0).uniform(8, SIDE - 8, (68, 2)).astype(np.float32)
FLOW = np.random.default_rng(1).normal(0, 0.5, (T, 2, SIDE, SIDE)).astype(np.float16)


@pytest.fixture(autouse=True)
def _no_window():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


# Studies whose faces are noise


def events():
    frames = {"onset": [10, 20], "apex": [14, 26], "offset": [22, 33]}
    names = {"subject": SUBJECTS, "video": ["v", "v"], "event": ["v", "v"]}
    return pd.DataFrame({**names, **frames, "dataset": "toy", "fps": 100.0, "kind": "micro", "status": "ok"})


def a_study(shown, clips=()):
    videos = pd.DataFrame({"subject": SUBJECTS, "video": "v", "folder": [Path(s) for s in SUBJECTS]})
    about = SimpleNamespace(show_subjects=shown, fps=100.0, citation="Somebody, 2020.")
    return SimpleNamespace(
        name="toy", manifest=about, events=events(), videos=videos, truth=None, clips=clips, long=False
    )


def faces_of(seed):
    """(T, SIDE, SIDE) uint8 for each subject: another seed, other pixels everywhere."""
    rng = np.random.default_rng(seed)
    return {subject: rng.integers(0, 256, (T, SIDE, SIDE), np.uint8) for subject in SUBJECTS}


def clips_of(pixels):
    about = ("toy", "v", 100.0)
    return tuple(
        faces.Clip(about[0], s, *about[1:], np.arange(T), images, np.ones(T, bool), LANDMARKS, "key")
        for s, images in pixels.items()
    )


def prepared_of(pixels):
    def load(rows):
        subject = SUBJECTS[rows[0]]
        return SimpleNamespace(
            raw=pixels[subject][None], flow=FLOW[None], reference=np.array([1]), mask=np.ones((1, T), bool)
        )

    return SimpleNamespace(
        dataset="toy",
        table=events().assign(complete=True),
        annotated=np.array([[0, 3, 5], [0, 2, 5]], float),
        true=np.array([[0, 3, 5], [1, 2, 5]], float),
        peak_px=np.array([0.5, 1.0]),
        complete=lambda: np.ones(2, bool),
        step=lambda: np.ones(2),
        fps=100.0,
        load=load,
    )


OF_IMAGES = {
    "pictures.alignment": lambda study, pixels: pictures.alignment(study),
    "pictures.motion": lambda study, pixels: pictures.motion(study, prepared_of(pixels)),
}

OF_TABLES = {
    **{f"figures.{name}": draw for name, draw in test_figures.DRAW.items()},
    "pictures.events_picture": lambda: pictures.events_picture(blind_study()),
    "pictures.curves_picture": lambda: pictures.curves_picture(blind_study()),
    "pictures.shapes": pictures.shapes,
    "pictures.annotators": lambda: pictures.annotators(prepared_of({})),
    "spotting_figures.systems": lambda: spotting_figures.systems(spotting_tables.TABLES["spotting"]),
    "spotting_figures.timelines_figure": lambda: spotting_figures.timelines_figure(
        spotting_tables.curves(), spotting_tables.INTERVALS
    ),
    "spotting_figures.recall": lambda: spotting_figures.recall(spotting_tables.RECALL),
    "spotting_figures.parts": lambda: spotting_figures.parts(spotting_tables.PARTS),
    "spotting_figures.effects": lambda: spotting_figures.effects(
        spotting_tables.EFFECTS, spotting_tables.ABLATIONS
    ),
    "spotting_figures.decoders": lambda: spotting_figures.decoders(
        spotting_tables.DECODERS_TABLE, spotting_tables.DIFFERENCES
    ),
    "ablation_figures.forest": lambda: ablation_figures.forest(*made_up.ablations()[:2], protocol="context"),
    "ablation_figures.prior_figure": lambda: ablation_figures.prior_figure(made_up.ablations()[2]),
    "limits_figures.limits_of_detection": lambda: limits_figures.limits_of_detection(*made_up.limits()),
    "limits_figures.cascade_figure": lambda: limits_figures.cascade_figure(made_up.cascade()),
    "prediction.draw_prediction": lambda: prediction.draw_prediction(a_prediction()),
    "data_figures.durations": lambda: data_figures.durations(
        durations.event_durations([blind_study()]),
        durations.fits([blind_study()]),
        durations.duration_statistics(durations.event_durations([blind_study()])),
    ),
}


def a_prediction():
    curve = pd.DataFrame({"frame": np.arange(T), "seconds": np.arange(T) / 30, "face": True})
    interval = {"onset_s": 0.03, "apex_s": 0.07, "offset_s": 0.1, "confidence": 0.5, "emotion": "others"}
    return prediction.Prediction(
        Path("clip.mp4"),
        30.0,
        curve.assign(intensity=0.5, score=0.2),
        pd.DataFrame([interval]),
        FLOW[2].astype(np.float32),
        LANDMARKS,
        (),
        {"data": ["toy"]},
        pd.DataFrame(),
    )


# Drawn by widgets, frame by frame: tests/test_explore.py holds them to the same laws.
ON_SCREEN = {("explore.py", "_figure")}


class Unseen:
    """A clip that fails the test when anything is asked of it."""

    def __getattr__(self, name):
        raise AssertionError(f"a figure of tables asks a clip for its {name}")


def blind_study():
    return a_study((), clips=(Unseen(), Unseen()))


def drawn(draw, shown, seed, monkeypatch):
    """The figure's PNG, given the faces of a seed; landmarks, flow and annotation are always the same."""
    pixels = faces_of(seed)
    monkeypatch.setattr(manifest, "frame_files", lambda place, *_: (np.arange(T), [place] * T))
    monkeypatch.setattr(faces, "read_image", lambda path: pixels[path.name][0].repeat(2, 0).repeat(2, 1))
    monkeypatch.setattr(
        faces, "find_face", lambda image: faces.Face((0.0, 0.0, 90.0, 90.0), 1.0, 2 * LANDMARKS)
    )
    return png(draw(a_study(shown, clips_of(pixels)), pixels))


def png(fig):
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=100, metadata={"Software": None})
    plt.close(fig)
    return file.getvalue()


def halves(data):
    """Left and right half of a PNG's pixels: of two events in two columns, the first and the second."""
    image = np.asarray(PIL.Image.open(io.BytesIO(data)).convert("L"))
    return image[:, : image.shape[1] // 2], image[:, image.shape[1] // 2 :]


# What is drawn


@pytest.mark.parametrize("name", OF_IMAGES)
@pytest.mark.parametrize("shown", [(), ("008",)], ids=["nobody", "somebody else"])
def test_a_figure_is_the_same_whatever_a_forbidden_face_looks_like(name, shown, monkeypatch):
    one, two = (drawn(OF_IMAGES[name], shown, seed, monkeypatch) for seed in (2, 3))
    assert one == two


@pytest.mark.parametrize("name", OF_IMAGES)
def test_an_allowed_face_is_seen_so_that_the_law_above_can_fail(name, monkeypatch):
    one, two, again = (drawn(OF_IMAGES[name], "all", seed, monkeypatch) for seed in (2, 3, 2))
    assert one != two
    assert one == again


@pytest.mark.parametrize("name", OF_IMAGES)
@pytest.mark.parametrize("place", [0, 1])
def test_of_two_people_only_the_allowed_one_is_seen(name, place, monkeypatch):
    one, two = (halves(drawn(OF_IMAGES[name], (SUBJECTS[place],), seed, monkeypatch)) for seed in (2, 3))
    assert (one[place] != two[place]).any()
    np.testing.assert_array_equal(one[1 - place], two[1 - place])


@pytest.mark.parametrize("name", OF_TABLES)
def test_a_figure_of_tables_reads_no_image(name, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError(f"{name} reads an image")

    readers = {faces: "read_image find_face load_clips", manifest: "frame_files"}
    readers |= {cv2: "imread imdecode", matplotlib.image: "imread", PIL.Image: "open"}
    for module, names in readers.items():
        for reader in names.split():
            monkeypatch.setattr(module, reader, refuse)
    assert len(png(OF_TABLES[name]())) > 1000


# What the source says

# Calls that put an array of pixels into a figure, a file or a page.
SHOWING = {
    "imshow", "matshow", "pcolor", "pcolormesh", "figimage", "imsave", "fromarray", "OffsetImage", "BboxImage",
}  # fmt: skip
SHOWN_IN = {
    ("pictures.py", "show_face"),  # asks faces.may_show
    ("pictures.py", "arrows"),  # flow alone
}


def functions_that_call(names):
    """(file, function) of every call of one of ``names`` in melib, for the outermost function around it."""
    callers = set()
    for path in sorted((ROOT / "melib").rglob("*.py")):
        for part in ast.parse(path.read_text(encoding="utf-8")).body:
            for node in ast.walk(part):
                if isinstance(node, ast.Call) and called(node) in names:
                    callers.add((path.name, getattr(part, "name", "")))
    return callers


def called(node):
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def test_pixels_are_drawn_in_two_functions_and_nowhere_else():
    assert functions_that_call(SHOWING) == SHOWN_IN


def test_the_one_that_draws_faces_asks_first():
    tree = ast.parse((ROOT / "melib" / "app" / "pictures.py").read_text(encoding="utf-8"))
    face = next(part for part in tree.body if getattr(part, "name", "") == "show_face")
    asked = next(node for node in face.body if isinstance(node, ast.If))
    assert ast.unparse(asked.test) == "faces.may_show(study.manifest, subject)"
    allowed = ast.Module(asked.body, [])
    everywhere, after_asking = (
        [n for n in ast.walk(tree) if isinstance(n, ast.Call) and called(n) in SHOWING]
        for tree in (face, allowed)
    )
    assert everywhere and everywhere == after_asking


def test_every_figure_of_the_project_is_drawn_here():
    panels = {("style.py", "dot_panels"), ("spotting_figures.py", "_changes")}  # by which figures are made
    made = functions_that_call({"subplots", "figure", "Figure", "subplot_mosaic", "dot_panels"})
    made |= {place for place in functions_that_call({"_changes"}) if place[0] == "spotting_figures.py"}
    made -= ON_SCREEN | panels
    assert {f"{file.removesuffix('.py')}.{name}" for file, name in made} == {*OF_IMAGES, *OF_TABLES}


def test_no_notebook_draws_pixels_or_reads_their_files():
    """A notebook may compute with aligned frames; whatever it draws of a face, `pictures` draws."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        for cell in cells:
            if cell["cell_type"] == "code":
                tree = ast.parse("".join(cell["source"]))
                calls = {called(node) for node in ast.walk(tree) if isinstance(node, ast.Call)}
                assert not calls & {*SHOWING, "read_image", "imread", "memmap", "load_clip"}, path.name
                assert "np.load(" not in ast.unparse(tree), path.name
                asked = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
                assert not asked & {"clips", "raw", "crops"}, path.name


@pytest.mark.parametrize(
    ("shown", "subject", "allowed"),
    [("all", "006", True), (("006",), "006", True), (("006",), "6", False), ((), "006", False)],
)
def test_only_what_the_manifest_names_is_shown(shown, subject, allowed):
    assert faces.may_show(SimpleNamespace(show_subjects=shown), subject) is allowed
