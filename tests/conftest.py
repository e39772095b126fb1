"""What all tests share: how hypothesis looks for examples, and one simulated data set."""

import hypothesis
import pytest

from melib import simulate

# Cores are shared: how long an example takes says nothing about the law.
hypothesis.settings.register_profile("melib", deadline=None)
hypothesis.settings.load_profile("melib")


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory):
    """Two people, a clip each, as a data set arrives; whoever changes it changes a copy."""
    out = tmp_path_factory.mktemp("tiny") / "synthme"
    return simulate.write(out, people=2, clips=1, empty=0, fps=100, jobs=1, progress=False)
