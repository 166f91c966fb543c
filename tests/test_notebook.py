"""The notebook in examples/kaggle, executed by a real kernel on the reviews in the repository."""

import csv
import os

import pytest

from tests.conftest import ROOT

NOTEBOOK = ROOT / "examples/kaggle/train_and_predict_offline.ipynb"


@pytest.mark.slow
def test_the_kaggle_notebook_runs_from_training_to_submission(tmp_path):
    """Two folds of 300 rows; the second part answers from the artifacts alone, and names each test row."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not [cell for cell in notebook.cells if cell.get("outputs")], "kept without outputs"
    sample = {"SAMPLE": "300", "WORK": str(tmp_path), "INPUT": str(ROOT / "data/reviews")}
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    client = nbclient.NotebookClient(
        notebook, timeout=900, resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute(env={**os.environ, **sample, "PYTHONPATH": paths})
    with open(tmp_path / "submission.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(ROOT / "data/reviews/test.csv", encoding="utf-8", newline="") as file:
        test_rows = list(csv.DictReader(file))[:300]
    assert [row["index"] for row in rows] == [row["index"] for row in test_rows]
    assert {row["dish_taste"] for row in rows} <= {"-2", "-1", "0", "1"}
    assert {path.name for path in (tmp_path / "cv").glob("fold-*")} == {"fold-0", "fold-1"}
