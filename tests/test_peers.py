"""The comparison with other libraries: its figures, its files, and the ways that need no more than training does."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel

from tests.families import save_plain

ROOT = Path(__file__).resolve().parent.parent
TIMES = {
    "PyTorch float32": [8.0, 6.0, 12.0],
    "plain INT8": [4.0, 4.0, 4.0],
    "load_predictor": [2.0, 1.0, 3.0],
}
LOGITS = {
    "PyTorch float32": np.array([[1.0, 2.0], [3.0, 6.0]]),
    "plain INT8": np.array([[1.5, 2.0], [3.0, 5.5]]),
    "load_predictor": np.array([[1.0, 2.0], [3.0, 6.2]]),
}


@pytest.fixture
def benchmark(monkeypatch):
    """Import a module of benchmarks/ by name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def comparison(benchmark):
    peers = benchmark("peers")
    return peers.Comparison(
        model="minilm",
        texts="SNIPS queries",
        tokens=11.4,
        setting="int8: INT8 embeddings and MatMuls",
        logit_spread=1.5,
        results=peers.summarise(TIMES, LOGITS),
    )


def test_ratios_are_those_of_a_round(comparison):
    reference, plain, ours = comparison.results
    assert reference.times_pytorch == (1, 1, 1)
    assert plain.times_pytorch == (2, 1.5, 3)
    assert ours.times_pytorch == (4, 4, 6)
    assert plain.ours_over_it == (2, pytest.approx(4 / 3), 4)
    assert ours.ours_over_it == (1, 1, 1)
    assert reference.logit_diff == 0
    assert plain.logit_diff == 0.25
    assert ours.logit_diff == pytest.approx(0.05)


def test_table_json_and_picture(benchmark, comparison, tmp_path):
    peers = benchmark("peers")
    lines = peers.comparison_table(comparison).splitlines()
    assert lines[1] == "minilm, SNIPS queries, 11 tokens on average"
    plain = " ".join(lines[5].split())
    assert plain == "plain INT8 4.00 2.00 1.50 3.00 2.00 1.33 4.00 0.25"

    content = peers.report([comparison], {"CTranslate2 INT8": ["ctranslate2"]}, sample=96)
    read = json.loads(json.dumps(content))
    assert read["not_installed"] == {"CTranslate2 INT8": ["ctranslate2"]}
    assert read["versions"]["torch"] == torch.__version__
    ours = read["comparisons"][0]["results"][2]
    assert ours["name"] == "load_predictor" and ours["ms"] == [2.0, 1.0, 3.0]

    path = tmp_path / "peers.png"
    peers.draw([comparison, comparison], path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_package_that_is_not_there_is_named(benchmark):
    ways = benchmark("peer_ways")
    peer = ways.Peer("theirs", ways.torch_float, ("torch", "no_such_package"))
    assert peer.missing() == ["no_such_package"]


def test_measured_and_calibration_texts_are_apart(benchmark):
    models = benchmark("peer_models")
    rows = [models.Labelled(f"text {number}", "a") for number in range(1000)]
    measured, others = models.split(rows, 10)
    assert measured == rows[::100]
    assert len(others) == models.FOR_CALIBRATION and not set(measured) & set(others)


def test_ways_answer_with_the_logits_of_the_checkpoint(benchmark, tmp_path):
    ways = benchmark("peer_ways")
    checkpoint = save_plain(tmp_path / "checkpoint")
    # `load_predictor` answers from a checkpoint as it does from an export of it.
    (tmp_path / "ours").symlink_to(checkpoint)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    text = "the staff was not kind but the room was clean"
    with torch.inference_mode():
        expected = model(**tokenizer(text, return_tensors="pt")).logits[0].numpy()
    for build in (ways.torch_float, ways.transformers_pipeline, ways.ours):
        way = build(tmp_path, [])
        way.answer(text)
        np.testing.assert_allclose(way.logits(text), expected, atol=1e-5)
    quantised = ways.torch_int8(tmp_path, []).logits(text)
    assert 0 < np.abs(quantised - expected).max() < 0.2 * expected.std()


def test_operations_are_those_that_torch_counts(benchmark):
    floor = benchmark("floor")
    config = BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=12,
        attn_implementation="eager",
    )
    model = BertModel(config, add_pooling_layer=False)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(input_ids=torch.ones(1, 7, dtype=torch.int64))
    products = floor.int8_operations(config, tokens=7, first_token_only=False)
    attention = floor.attention_operations(config, tokens=7, first_token_only=False)
    counted = counter.get_flop_counts()["Global"]
    assert products == counted[torch.ops.aten.addmm]
    assert attention == counted[torch.ops.aten.bmm]


def test_the_floor_with_one_token_in_the_last_layer(benchmark):
    floor = benchmark("floor")
    config = BertConfig(hidden_size=4, intermediate_size=8, num_hidden_layers=2)
    # Multiply-adds: 128 a token in the first layer; keys and values of 3 tokens, 32 each, and 96 of one in the last.
    assert floor.int8_operations(config, 3, first_token_only=True) == 2 * (3 * 128 + 3 * 32 + 96)
    # 3 + 1 queries, each with 3 keys and 3 values of width 4.
    assert floor.attention_operations(config, 3, first_token_only=True) == 2 * 4 * (3 * 4 + 3 * 4)
    rates = floor.Rates(int8=1152e3, float32=192e3)
    assert floor.floor_ms(config, [3, 3], True, rates) == pytest.approx(2.0)
