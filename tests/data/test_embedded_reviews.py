"""The embedded reviews: made again byte for byte, and fit to learn from."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from trainer_ext.data.io.readers import Row, read_rows

FOLDER = Path(__file__).resolve().parents[2] / "data" / "reviews"
ROWS = {"train": 3000, "validation": 500, "test": 500}
AT_LEAST = {"train": 20, "validation": 5, "test": 5}


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Row]]:
    """The committed files through our own reader."""
    return {split: list(read_rows(str(FOLDER / f"{split}.csv"))) for split in ROWS}


def test_make_reviews_makes_the_committed_files(tmp_path):
    """The script is the source of the files."""
    subprocess.run(
        [sys.executable, FOLDER / "make_reviews.py", "--output_dir", tmp_path], check=True
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{split}.csv" for split in ROWS
    )
    for split in ROWS:
        assert (tmp_path / f"{split}.csv").read_bytes() == (FOLDER / f"{split}.csv").read_bytes(), (
            split
        )


def test_row_counts(splits):
    """As the README says."""
    assert {split: len(rows) for split, rows in splits.items()} == ROWS


def test_columns_and_labels(splits):
    """18 aspects, each -2..1 in every row; index unique over the files."""
    aspects = list(json.loads((FOLDER / "fragments.json").read_text(encoding="utf-8"))["aspects"])
    assert len(aspects) == 18
    for rows in splits.values():
        assert list(rows[0].values) == ["index", "reviewbody", "star", *aspects]
        assert {row.values[aspect] for row in rows for aspect in aspects} == {"-2", "-1", "0", "1"}
        assert {row.values["star"] for row in rows} == {"1.0", "2.0", "3.0", "4.0", "5.0"}
    indices = [row.values["index"] for rows in splits.values() for row in rows]
    assert indices == [str(k) for k in range(1, 4001)]


def test_no_text_twice(splits):
    """Within a file or across files."""
    texts = Counter(row.values["reviewbody"].strip() for rows in splits.values() for row in rows)
    assert [text for text, count in texts.items() if count > 1] == []
    assert all(texts)


@pytest.mark.parametrize("split", ROWS)
def test_every_polarity_of_every_aspect_occurs(splits, split):
    """Often enough to be learnt and to be scored."""
    counts = Counter(
        (name, value) for row in splits[split] for name, value in list(row.values.items())[3:]
    )
    assert len(counts) == 18 * 4
    assert min(counts.values()) >= AT_LEAST[split], counts.most_common()[-1]
