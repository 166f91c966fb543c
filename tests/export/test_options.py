"""What export.py refuses before it loads anything."""

import pytest

from trainer_ext.errors import UserError
from trainer_ext.export.run import ExportOptions


def options(tmp_path, output_dir, max_eval_samples=None) -> ExportOptions:
    return ExportOptions(tmp_path, output_dir, None, 0.5, max_eval_samples, False)


def test_a_number_of_rows_that_is_none(tmp_path):
    for number in (0, -1):
        with pytest.raises(UserError, match=f"--max_eval_samples {number} is out of range: it must be at least 1"):
            options(tmp_path, tmp_path / "out", number)
    assert options(tmp_path, tmp_path / "out", 1).max_eval_samples == 1


def test_an_output_folder_that_is_a_file(tmp_path):
    """Or below one; a folder that can be made is not made yet."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="is no folder that can be written: Not a directory"):
            options(tmp_path, path)
    options(tmp_path, tmp_path / "some" / "where")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
