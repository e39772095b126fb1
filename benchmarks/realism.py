"""Motion maps of simulated clips beside figures of real ones, and what a small network learns from them.

    python benchmarks/realism.py --clips 1

A map is onset to apex, as labelled, of a rendered clip: face found, cropped, our flow (melib.vision), the median motion of
the face taken off, 28 x 28 cells, in units of its own root mean square a channel. Only the labelled frames are rendered.
The median alone is taken off because the real maps, whose figures stand in FIGURES, keep most of the head's motion:
with it, the first world's share explained by a quadratic comes out as it was measured beside them (.53).
No real map is read here. benchmarks/realism.md holds the results.
"""

import argparse
import functools
import time
from concurrent.futures import ProcessPoolExecutor

import cv2
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import f1_score
from torch import nn

from melib import simulate
from melib.simulate import events, units, worlds
from melib.simulate.nuisance import resolve
from melib.vision import faces, flow

PEOPLE, CELLS, SEED = 40, 28, 2018
SEEN = 0.5  # crop pixels: what annotators see and label is mostly above
CLASSES = {"disgust": 0, "fear": 0, "anger": 0, "sadness": 0, "happiness": 1, "surprise": 2}

# Of CASME II's maps, and of the first world's beside them when they were measured (November 2026).
FIGURES = {
    "units an event": (1.61, 1.25),
    "surprise, inner brow down": (-1.77, -0.09),
    "surprise, outer brow down": (-1.72, -0.34),
    "negative, forehead down": (1.11, 0.32),
    "negative, forehead inward": (1.15, 0.21),
    "AU12, cheek outward": (1.03, 0.05),
    "negative, lids down": (0.65, -0.04),
    "contrast, vertical": (9, 5.3),
    "contrast, horizontal": (7, 3.9),
    "extent, horizontal, %": (4.5, 7.5),
    "explained by a quadratic": (0.40, 0.53),
    "rise with fall, horizontal": (-0.65, None),
    "rise with fall, vertical": (-0.56, None),
}


def measure(person, clip, settings):
    """Maps of one clip's rise and fall, and what is read off them; None if no face is found."""
    cv2.setNumThreads(1)
    scales = resolve(1.0, worlds.find_world(settings.get("world", "first")))
    scene = simulate.make_scene(person, clip, settings, scales)
    label = simulate.label_of(scene, person, clip, settings)
    rng = np.random.default_rng([settings["seed"], person, clip, 1])
    grain, quality = scene.grain(rng), [cv2.IMWRITE_JPEG_QUALITY, scene.paths.jpeg]
    moments = [label[f"{name} Frame"] - 1 for name in ("Onset", "Apex", "Offset")]
    written = [cv2.imencode(".jpg", scene.written(t, grain, rng), quality)[1] for t in moments]
    pictures = [cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) for data in written]
    face = faces.find_face(pictures[0])
    if face is None:
        return None
    matrix = faces.crop_transform(face.landmarks)
    points = face.landmarks @ matrix[:, :2].T + matrix[:, 2]
    crops = [faces.crop(picture, matrix) for picture in pictures]
    rise, fall = (
        _map(flow.dense_flow(*pair), points) for pair in ((crops[0], crops[1]), (crops[1], crops[2]))
    )
    about = {"person": person, "class": CLASSES[scene.event.emotion], "peak": scene.truth.peak.max()}
    return about | {"map": rise} | _figures(rise, fall, points, {m.unit for m in scene.event.movements})


def _map(field, points):
    """(28, 28, 2) in units of each channel's root mean square."""
    field = field - np.median(field[flow.face_region(points, len(field))], axis=0)
    cells = cv2.resize(field, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    return cells / np.sqrt((cells**2).mean(axis=(0, 1)))


def _figures(rise, fall, points, present):
    cells = points * CELLS / faces.SIZE - 0.375  # centres of 4 x 4 pixels

    def at(places, up=0.0):  # (n, 2): across, down
        index = np.clip(np.rint(places - [0, up]).astype(int), 0, CELLS - 1)
        return rise[index[:, 1], index[:, 0]]

    left, right = at(cells[18:22], 1.5), at(cells[22:26], 1.5)  # of the picture
    beside = 0.6 * cells[[48, 54]] + 0.4 * cells[[36, 45]] + [[-1, 0], [1, 0]]  # cheeks
    numbers = {
        "units an event": len(present),
        "surprise, inner brow down": at(cells[20:24])[:, 1].mean(),
        "surprise, outer brow down": at(cells[[17, 18, 25, 26]])[:, 1].mean(),
        "negative, forehead down": np.concatenate([left, right])[:, 1].mean(),
        "negative, forehead inward": np.concatenate([left[:, 0], -right[:, 0]]).mean(),
        "AU12, cheek outward": (at(beside)[:, 0] * [-1, 1]).mean() if 12 in present else np.nan,
        "negative, lids down": at(cells[[37, 38, 43, 44]])[:, 1].mean(),
    }
    y, x = np.mgrid[-1 : 1 : CELLS * 1j, -1 : 1 : CELLS * 1j].reshape(2, -1)
    basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    explained = []
    for channel, name in enumerate(("horizontal", "vertical")):
        values = rise[..., channel].ravel()
        spread = 1.4826 * np.median(np.abs(values - np.median(values)))
        numbers[f"contrast, {name}"] = np.abs(values).max() / spread
        numbers[f"extent, {name}, %"] = 100 * np.mean(np.abs(values) > np.abs(values).max() / 2)
        numbers[f"rise with fall, {name}"] = np.corrcoef(values, fall[..., channel].ravel())[0, 1]
        left_over = values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0]
        explained.append(1 - (left_over**2).sum() / (values**2).sum())
    return numbers | {"explained by a quadratic": np.mean(explained)}


def balanced(person, settings, n):
    """Numbers of a person's first so many clips of each class, found without rendering."""
    world, clips = worlds.find_world(settings.get("world", "first")), {k: [] for k in set(CLASSES.values())}
    for clip in range(1, settings["clips"] + 1):
        rng = np.random.default_rng([settings["seed"], person, clip])
        rng.uniform(size=2)  # make_scene draws the neutral stretches before the event
        event = events.draw_event(rng, settings["statistics"], 0.0, world=world)
        if len(clips.get(CLASSES.get(event.emotion), range(n))) < n:
            clips[CLASSES[event.emotion]].append(clip)
    return sorted(clip for own in clips.values() for clip in own)


def sample(world, family, n, pool):
    """Maps of so many clips of each class of every person, as one table."""
    settings = {"name": "x", "family": family, "clips": 400, "seed": SEED, "fps": 200}
    settings |= {"statistics": "samm_lv_micro"} | ({} if world == "first" else {"world": world})
    jobs = [(p, clip) for p in range(1, PEOPLE + 1) for clip in balanced(p, settings, n)]
    rows = pool.map(functools.partial(measure, settings=settings), *zip(*jobs, strict=True), chunksize=3 * n)
    return pd.DataFrame([row for row in rows if row is not None])


def figures(tables):
    """All figures, a column a world and family: means over maps; contrast, extent and correlation by the median."""
    columns = {
        "CASME II": {k: v[0] for k, v in FIGURES.items()},
        "first, then": {k: v[1] for k, v in FIGURES.items()},
    }
    for (world, family), table in tables.items():
        of_class = {"negative": table[table["class"] == 0], "surprise": table[table["class"] == 2]}
        columns[f"{world}, {family}"] = {"maps": len(table)}
        for name in FIGURES:
            values = of_class.get(name.split(",")[0], table)[name]
            skewed = name.startswith(("contrast", "rise", "extent"))
            columns[f"{world}, {family}"][name] = values.median() if skewed else values.mean()
    return pd.DataFrame(columns).rename_axis("figure").reset_index()


class Small(nn.Module):
    """Two convolutions and a linear layer, over maps of two channels and their strain."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout2d(0.2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Dropout(0.5), nn.Linear(32 * 7 * 7, 3),
        )  # fmt: skip

    def forward(self, maps):
        return self.layers(maps)


def inputs(table):
    """(n, 3, 28, 28) horizontal, vertical, strain, each by its own root mean square; (n,) classes."""
    maps = np.stack(table["map"]).transpose(0, 3, 1, 2)
    (uy, ux), (vy, vx) = (np.gradient(maps[:, channel], axis=(1, 2)) for channel in (0, 1))
    strain = np.sqrt(ux**2 + vy**2 + 0.5 * (uy + vx) ** 2)
    strain /= np.sqrt((strain**2).mean(axis=(1, 2), keepdims=True))
    both = np.concatenate([maps, strain[:, None]], axis=1)
    return torch.tensor(both, dtype=torch.float32), torch.tensor(table["class"].to_numpy())


def predictions(train, test, seed, epochs=40):
    """Classes that a network trained on one table gives another."""
    torch.manual_seed(seed)
    maps, classes = inputs(train)
    weight = len(classes) / (3 * torch.bincount(classes, minlength=3).clamp(min=1)).float()
    network = Small()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
    for _ in range(epochs):
        network.train()
        for batch in torch.randperm(len(maps)).split(32):
            mirrored = maps[batch]
            if torch.rand(()) < 0.5:
                mirrored = mirrored.flip(-1) * torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
            loss = nn.functional.cross_entropy(network(mirrored), classes[batch], weight=weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    network.eval()
    with torch.no_grad():
        return network(inputs(test)[0]).argmax(1).numpy()


def uf1(train, test, seed):
    """Unweighted F1 over three classes, each half of the people tested by a network trained on the other half."""
    guesses, classes = [], []
    for half in (train["person"] % 2 == 0, train["person"] % 2 == 1):
        others = test[test["person"] % 2 != train.loc[half, "person"].iloc[0] % 2]
        guesses.append(predictions(train[half], others, seed))
        classes.append(others["class"])
    return f1_score(np.concatenate(classes), np.concatenate(guesses), average="macro")


def transfer(tables, seeds):
    """Train on two families of a world, test on the second world's third, each in turn, on other people."""
    rows = []
    for tested in units.FAMILIES:
        test = tables["second", tested]
        for world in ("first", "second"):
            train = [tables[key] for key in tables if key[0] == world and key[1] != tested]
            if len(train) == 2:
                train = pd.concat(train)
                scores = [uf1(train, test, seed) for seed in range(seeds)]
                row = {
                    "tested on": f"second, {tested}",
                    "trained in": world,
                    "maps": f"{len(train)}, {len(test)}",
                }
                rows.append(row | {"UF1": np.mean(scores), "lowest": min(scores), "highest": max(scores)})
    return pd.DataFrame(rows)


def as_markdown(table, digits=2):
    """Lines of a table."""
    cells = [
        table.columns,
        ["---"] * len(table.columns),
        *table.round(digits).astype(object).fillna("").to_numpy(),
    ]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in cells)


def main():
    """Print both tables as markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=1, help="of each class, person, world and family")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    worlds_and_families = [(world, family) for world in ("first", "second") for family in units.FAMILIES]
    with ProcessPoolExecutor(given.jobs) as pool:  # one pool: a worker finds each photograph's face once
        tables = {key: sample(*key, given.clips, pool) for key in worlds_and_families}
    larger = {key: table[table["peak"] >= SEEN] for key, table in tables.items()}
    print("Movements of half a pixel or more\n\n" + as_markdown(figures(larger)), "\n\nAll\n")
    print(as_markdown(figures(tables)), f"\n{time.perf_counter() - started:.0f} s\n", flush=True)
    print(as_markdown(transfer(tables, given.seeds)), f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
