"""What all tests share: how hypothesis looks for examples, one simulated data set, one whole run, small disks."""

import os
import shutil
import subprocess
from pathlib import Path

import cv2
import hypothesis
import pytest
from filelock import FileLock

from melib import simulate
from melib.app import runner
from melib.simulate import portraits
from melib.study import provenance

# Cores are shared: how long an example takes says nothing about the law.
hypothesis.settings.register_profile("melib", deadline=None)
hypothesis.settings.load_profile("melib")

# Another folder for changed code, so that nothing of an older one is looked at.
RUNS = Path(__file__).parents[1] / "build" / "runs" / provenance.code_and_packages()["code"][:12]
# What takes minutes in one test begins first, so that two processes end together.
FIRST = ("test_readme.py", "test_notebooks.py", "test_licensed.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory):
    """Two people, a clip each, as a data set arrives; whoever changes it changes a copy."""
    out = tmp_path_factory.mktemp("tiny") / "synthme"
    return simulate.write_clips(out, people=2, clips=1, empty=0, fps=100, jobs=1, progress=False)


@pytest.fixture(scope="session")
def smoke_run():
    """A whole run at profile smoke, which many look at; `make test` makes it, `make test-long` goes on from it."""
    RUNS.mkdir(parents=True, exist_ok=True)
    with FileLock(RUNS / "lock"):
        return runner.run_notebooks("smoke", root=RUNS)


@pytest.fixture
def own_run(smoke_run, tmp_path):
    """A copy of it to be changed, with the same cache."""
    run = tmp_path / "runs" / "trial"
    shutil.copytree(smoke_run, run, copy_function=os.link, ignore=shutil.ignore_patterns("log.txt", ".lock"))
    (tmp_path / "runs" / "cache").symlink_to(RUNS / "cache")
    return run


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts a disk of some megabytes, or gives it another size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(megabytes):
        how = "remount," if folder.is_mount() else ""
        command = ["mount", "-t", "tmpfs", "-o", f"{how}size={megabytes}m", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no small disk here ({done.stderr.strip()}); the simulated one is tested instead")
        return folder

    if not shutil.which("mount"):
        pytest.skip("no mount command here; the simulated full disk is tested instead")
    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def frames(tmp_path_factory):
    """A simulated face, 4 seconds at 30 frames a second, in colour."""
    folder = simulate.write_long(
        tmp_path_factory.mktemp("sim") / "lv", people=1, videos=1, seconds=(4, 4), jobs=1, progress=False
    )
    (place,) = (folder / "frames").glob("*/*")
    return [cv2.imread(str(path)) for path in sorted(place.iterdir())]


@pytest.fixture(scope="session")
def stranger(frames):
    """A photograph of somebody else, as large as the frames."""
    photograph = cv2.cvtColor(portraits.portraits(20)[0].image, cv2.COLOR_GRAY2BGR)
    return cv2.resize(photograph, frames[0].shape[1::-1])
