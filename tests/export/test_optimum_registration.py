"""Optimum's own tools export our checkpoints."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trainer_ext.inference import load_predictor

RUNS = Path(__file__).parent.parent / "compatibility/runs_of_0_1"
# In the order of a user's script, and the other way round.
IMPORTS = (
    "from optimum.onnxruntime import ORTModelForSequenceClassification as Model\nimport trainer_ext\n",
    "import trainer_ext\nfrom optimum.onnxruntime import ORTModelForSequenceClassification as Model\n",
)
EXPORT = """
import sys
Model.from_pretrained(sys.argv[1], export=True).save_pretrained(sys.argv[2])
"""
TEXTS = ["a good film", "rain"]


@pytest.mark.parametrize("imports", [IMPORTS[0], pytest.param(IMPORTS[1], marks=pytest.mark.slow)])
def test_optimum_exports_a_checkpoint(imports, tmp_path):
    pytest.importorskip("optimum.exporters.onnx", reason="Optimum is not installed")
    checkpoint = RUNS / "single_label"
    subprocess.run(
        [sys.executable, "-c", imports + EXPORT, str(checkpoint), str(tmp_path)],
        check=True,
        capture_output=True,
    )
    expected = load_predictor(checkpoint).logits(TEXTS)

    # Its file, our tokenizer and labels.
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((checkpoint / name).read_bytes())
    found = load_predictor(tmp_path, file_name="model.onnx").logits(TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-4)
