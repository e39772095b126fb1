"""Both papers' experiments: a run's settings and data, its grid of fits, ablations, decoding, limits, result tables."""
