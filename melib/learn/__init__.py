"""One fit, one prediction: of windows (the intensity paper) and of whole videos (the spotting paper)."""

from melib.learn import videos, windows

__all__ = ["videos", "windows"]
