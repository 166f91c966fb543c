"""What a test needs that is not in every environment, each with its reason."""

from importlib.util import find_spec
from shutil import which

import pytest

from trainer_ext.compatibility import TRANSFORMERS_5

needs_optimum = pytest.mark.skipif(find_spec("optimum") is None, reason="Optimum is not installed")
needs_dev = pytest.mark.skipif(
    find_spec("ruff") is None and which("ruff") is None, reason="the extra dev is not installed"
)
until_4 = pytest.mark.skipif(TRANSFORMERS_5, reason="about flags or words of transformers 4.57")
graph_of_4 = pytest.mark.skipif(
    TRANSFORMERS_5, reason="counts places in the graph that transformers 4.57 exports to"
)
