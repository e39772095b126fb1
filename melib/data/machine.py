"""This machine and this interpreter: processor, graphics cards, versions of what is installed and of what is locked.

Only the standard library is imported, so that `melib doctor` can ask where a package is broken.
"""

import importlib.metadata
import platform
import re
from pathlib import Path

from melib import PACKAGE


def package_version(package: str) -> str:
    """Version of an installed package, or that it isn't."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """Name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def graphics_cards() -> list[Path]:
    """NVIDIA's devices, whether or not anything can use them."""
    return sorted(Path("/dev").glob("nvidia[0-9]*"))


def locked() -> dict[str, str]:
    """Versions that requirements.lock names, by package; none where melib isn't a checkout.

    With torch's processor build it is requirements-cpu.lock.
    """
    small = package_version("torch").endswith("+cpu")
    lock = PACKAGE.parent / f"requirements{'-cpu' if small else ''}.lock"
    text = lock.read_text(encoding="utf-8") if lock.is_file() else ""
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE))
