"""The one error that users are meant to read."""


class DataError(ValueError):
    """Input that can't be used: one sentence that names the file or row and the remedy."""
