"""What all tests share: how hypothesis looks for examples, one simulated data set, small disks."""

import shutil
import subprocess

import hypothesis
import pytest

from melib import simulate

# Cores are shared: how long an example takes says nothing about the law.
hypothesis.settings.register_profile("melib", deadline=None)
hypothesis.settings.load_profile("melib")


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory):
    """Two people, a clip each, as a data set arrives; whoever changes it changes a copy."""
    out = tmp_path_factory.mktemp("tiny") / "synthme"
    return simulate.write_clips(out, people=2, clips=1, empty=0, fps=100, jobs=1, progress=False)


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
