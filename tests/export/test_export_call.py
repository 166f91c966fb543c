"""`trainer_ext.export` is a package and a function."""

import inspect
import subprocess
import sys

import pytest

from tests.inference.conftest import save_model
from trainer_ext.errors import UserError


def test_the_package_is_callable_whatever_is_imported_first():
    """In fresh processes; a module of the package binds its name in `trainer_ext`."""
    for first in ("", "import trainer_ext.export.options; "):
        code = f"{first}from trainer_ext import export; import trainer_ext.export.publish; print(callable(export))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout == "True\n", done.stderr


def test_it_shows_its_arguments_and_refuses_what_the_command_refuses(tmp_path):
    from trainer_ext import export

    assert {"model", "output_dir", "max_metric_drop"} <= set(inspect.signature(export).parameters)
    with pytest.raises(UserError, match="nothing does not exist"):
        export(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(UserError, match="has no model.safetensors"):
        export(save_model(tmp_path / "onnx"), tmp_path / "out")
    with pytest.raises(UserError, match="--max_eval_samples 0 is out of range"):
        export(tmp_path / "onnx", tmp_path / "out", max_eval_samples=0)
    with pytest.raises(UserError, match="unknown keyword delimeter.*delimiter"):
        export(tmp_path / "onnx", tmp_path / "out", delimeter=";")
    with pytest.raises(UserError, match="unknown keyword max_metrics_drop.*max_metric_drop"):
        export(tmp_path / "onnx", tmp_path / "out", max_metrics_drop=1)
    with pytest.raises(UserError, match="unknown keyword file_flags"):
        export(tmp_path / "onnx", tmp_path / "out", file_flags={})
    with pytest.raises(UserError, match="eval_file: expected the path of a file .*, got list"):
        export(tmp_path / "onnx", tmp_path / "out", eval_file=[("good", "pos")])
    assert not (tmp_path / "out").exists()
