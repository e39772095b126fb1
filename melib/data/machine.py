"""This machine and this interpreter: processor, and versions of what is installed.

Only the standard library is imported, so that `melib doctor` can ask where a package is broken.
"""

import importlib.metadata
import platform
from pathlib import Path


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
