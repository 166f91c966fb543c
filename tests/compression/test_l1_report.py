"""The report on pruning by magnitude: counts that are known, and words for what is measured."""

import json

import torch

from trainer_ext.compression.l1_report import L1Report, State, Zeros, zeros_by_kind
from trainer_ext.compression.magnitude import apply_masks, masks_of, matrices

REPORT = L1Report(
    "accuracy",
    State(0.9, 2_000_000, 1_800_000),
    State(0.875, 2_000_000, 1_500_000),
    {"query": Zeros(1000, 300), "whole model": Zeros(10_000, 300)},
)


def test_zeros_are_counted_by_kind(bert):
    """Four layers of 32 x 32 queries, half of them 0, and 24 x 32 inner matrices with one 0 each."""
    apply_masks(matrices(bert, ["query"]), masks_of(matrices(bert, ["query"]), 0.5, False))
    with torch.no_grad():
        for name, weight in matrices(bert, ["feed_forward"]).items():
            weight[0, 0] = 0 if name.endswith("inner") else 1
    found = zeros_by_kind(bert)
    assert list(found) == [
        *("query", "key", "value", "attention_output"),
        *("inner", "outer", "whole model"),
    ]
    assert found["query"] == Zeros(4 * 1024, 4 * 512)
    assert found["key"] == Zeros(4 * 1024, 0)
    assert found["inner"] == Zeros(4 * 768, 4)
    assert found["whole model"].weights == bert.num_parameters()


def test_the_text_has_every_figure():
    """And says what pruning does to speed."""
    text = " ".join(REPORT.text().split())
    assert "query 1000 300 30.00%" in text
    assert "whole model 10000 300 3.00%" in text
    assert "accuracy on the validation rows: 0.9000 before, 0.8750 after" in text
    assert "2.00 MB before, 2.00 MB after; compressed (gzip) 1.80 MB before, 1.50 MB after" in text
    assert "Gain in speed: none" in text


def test_without_validation_rows_no_metric_is_claimed():
    """Only sizes."""
    report = L1Report("accuracy", State(None, 2, 2), State(None, 2, 1), REPORT.matrices)
    assert "validation" not in report.text()


def test_the_file_has_the_same(tmp_path):
    """With the sparsity of each matrix."""
    REPORT.write(tmp_path)
    found = json.loads((tmp_path / "l1_report.json").read_text(encoding="utf-8"))
    assert found["matrices"]["query"] == {"weights": 1000, "zeros": 300, "sparsity": 0.3}
    assert found["before"] == {"metric": 0.9, "bytes": 2_000_000, "compressed_bytes": 1_800_000}
    assert found["speed"].startswith("none")
