"""The errors that users are meant to read."""

import re


class DataError(ValueError):
    """Input that can't be used: one sentence that names the file or row and the remedy.

    It is one line, whatever a file's name, a cell or another library's message brings in.
    """

    def __init__(self, sentence: str):
        """Make one line of it."""
        super().__init__(re.sub(r"\s*[\x00-\x1f\x7f-\x9f\u2028\u2029]+\s*", " ", str(sentence)))

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the sentence, without the traceback above it."""
        return [f"{type(self).__name__}: {self}"]


class Misuse(DataError):
    """A setting that can't be: the sentence says which can. The command line ends with 2 instead of 1."""
