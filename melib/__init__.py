"""melib: micro-expression intensity and spotting, with controls that show whether the model saw the face."""

from melib.errors import DataError

__version__ = "0.1.0"
__all__ = ["DataError", "__version__"]
