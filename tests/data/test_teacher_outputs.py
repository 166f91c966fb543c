"""The teacher's stored values: found by row and word, kept when a run is cut off, replaced for another teacher."""

import json

import numpy as np
import pytest

from trainer_ext.data.teacher_outputs import TeacherOutputs
from trainer_ext.errors import UserError

WORDS = [2, 0, 3]


def values(row: int) -> tuple[np.ndarray, np.ndarray]:
    """Of a row (2,), and of its words (words, 2): numbers that say where they belong."""
    words = np.array([[100 * row + word, 0.5] for word in range(WORDS[row])]).reshape(-1, 2)
    return np.array([row, -row]), words


def opened(folder, key: str = "one") -> TeacherOutputs:
    """The values of three rows of words."""
    return TeacherOutputs(folder, key, 3, (2,), WORDS, 2)


def test_values_are_found_by_row_and_word(tmp_path):
    outputs = opened(tmp_path / "cache")
    outputs.write([values(row) for row in range(3)])
    assert outputs.is_complete
    for stored in (outputs, opened(tmp_path / "cache")):
        assert stored.of_rows([2, 0, 2]).tolist() == [[2, -2], [0, 0], [2, -2]]
        assert stored.of_words(2, [2, 0]).tolist() == [[202, 0.5], [200, 0.5]]
        assert stored.of_words(1, []).shape == (0, 2)
        assert stored.of_rows([0]).dtype == np.float32


def test_it_goes_on_behind_the_last_part(tmp_path):
    opened(tmp_path / "cache").write([values(0), values(1)])
    outputs = opened(tmp_path / "cache")
    assert outputs.done == 2 and not outputs.is_complete
    outputs.write([values(2)])
    assert outputs.is_complete
    assert outputs.of_words(0, [1]).tolist() == [[1, 0.5]]


def test_another_key_begins_anew(tmp_path):
    opened(tmp_path / "cache").write([values(row) for row in range(3)])
    assert opened(tmp_path / "cache", "another").done == 0


@pytest.mark.parametrize("damage", ["cut", "gone", "progress"])
def test_damaged_files_are_made_anew(tmp_path, damage):
    folder = tmp_path / "cache"
    opened(folder).write([values(row) for row in range(3)])
    if damage == "cut":
        content = (folder / "rows.npy").read_bytes()
        (folder / "rows.npy").write_bytes(content[:-4])
    elif damage == "gone":
        (folder / "words.npy").unlink()
    else:
        (folder / "progress.json").write_text("{", encoding="utf-8")
    assert opened(folder).done == 0


def test_somebody_elses_folder_is_left_alone(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="holds something else"):
        opened(tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["notes.txt"]


def test_progress_names_its_key(tmp_path):
    opened(tmp_path / "cache").write([values(0)])
    state = json.loads((tmp_path / "cache" / "progress.json").read_text(encoding="utf-8"))
    assert state == {"key": "one", "rows": 1}
