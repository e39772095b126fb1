"""The errors that users are meant to read."""


class DataError(ValueError):
    """Input that can't be used: one sentence that names the file or row and the remedy."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the sentence, without the traceback above it."""
        return [f"{type(self).__name__}: {self}"]


class Misuse(DataError):
    """A setting that can't be: the sentence says which can. The command line ends with 2 instead of 1."""
