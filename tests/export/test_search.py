"""Which nodes stay in FP32: found in a model where one of them has an outlier before it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.inference.conftest import WORDS, save_graph, save_model
from trainer_ext.export.eval_rows import EvalRows
from trainer_ext.export.gate import Variant
from trainer_ext.export.int8 import Int8Gate
from trainer_ext.export.quantise import Int8Setting
from trainer_ext.export.search import (
    EMBEDDINGS,
    Tried,
    by_layer,
    fewest_kept,
    quantisable_parts,
    rank,
    search,
    setting_with,
    smallest_good,
)
from trainer_ext.export.texts import Texts
from trainer_ext.inference.loading import load_single

WIDTH = 16
LAYERS = 3
HARMFUL = "/layer.1/down/MatMul"


def save_layers(folder: Path, outlier: float) -> Path:
    """Words -> sums -> three layers of two products, the activations between two of which have an outlier.

    What scales up a column before the harmful product is scaled down again inside of it: the float model is the same
    for every `outlier`.
    """
    save_model(folder)
    draw = np.random.default_rng(0)
    embeddings = draw.normal(size=(len(WORDS), WIDTH)).astype(np.float32)
    tensors = {
        "table": embeddings,
        "last": np.array([2], dtype=np.int64),
        "tokens": np.array([1], dtype=np.int64),
        "up.head": draw.normal(size=(WIDTH, 3)).astype(np.float32),
    }
    nodes = []
    before = "sum"
    for layer in range(LAYERS):
        up = np.linalg.qr(draw.normal(size=(WIDTH, WIDTH)))[0].astype(np.float32)
        down = np.linalg.qr(draw.normal(size=(WIDTH, WIDTH)))[0].astype(np.float32)
        if f"/layer.{layer}/down/MatMul" == HARMFUL:
            up[:, 3] *= outlier
            down[3] /= outlier
        for name, weights in (("up", up), ("down", down)):
            tensors[f"{name}.{layer}"] = weights
            after = f"{name}_{layer}"
            node_name = f"/layer.{layer}/{name}/MatMul"
            nodes.append(
                helper.make_node("MatMul", [before, f"{name}.{layer}"], [after], name=node_name)
            )
            before = after
    nodes.append(helper.make_node("MatMul", [before, "up.head"], ["logits"], name="/head/MatMul"))
    save_graph(folder / "model.onnx", tensors, nodes, (3,))
    return folder / "model.onnx"


def gate_of(folder: Path, outlier: float, allowed: float = 0.5) -> Int8Gate:
    """The gate on 200 rows, whose labels are the float model's answers."""
    path = save_layers(folder, outlier)
    float_model = load_single(folder, 1, "cpu", file_name=path.name)
    draw = np.random.default_rng(1)
    texts = []
    for _ in range(200):
        texts.append(" ".join(draw.choice(WORDS[3:], size=draw.integers(1, 9))))
    reference = float_model.logits(texts)
    rows = EvalRows(texts, reference.argmax(axis=-1).tolist())
    pytorch = Variant("pytorch", "model.safetensors", 1, 1.0)
    return Int8Gate(folder, path, float_model, rows, reference, pytorch, allowed)


def test_nothing_is_kept_in_float_where_nothing_hurts(tmp_path):
    chosen = gate_of(tmp_path, outlier=1).choose()
    assert chosen.variant.good and chosen.variant.fp32_nodes == []
    assert len(chosen.tried) == 1 and chosen.variant.setting == "INT8 embeddings and MatMuls"


def test_the_node_that_hurts_is_found_and_kept_alone_in_float(tmp_path):
    """Refused at first for its logits; one node of seven in FP32 mends it."""
    chosen = gate_of(tmp_path, outlier=3000).choose()
    first, second = chosen.tried
    assert not first.good and first.fp32_nodes == []
    assert chosen.variant.good and chosen.variant.fp32_nodes == second.fp32_nodes == [HARMFUL]
    assert chosen.variant.setting == "INT8 embeddings and MatMuls, 1 of 7 MatMuls in FP32"
    kept = [node.name for node in onnx.load(tmp_path / "model_quantized.onnx").graph.node]
    assert HARMFUL in kept and "/layer.0/up/MatMul" not in kept, "the file is the chosen one's"
    assert chosen.predictor.logits(["good bad"]).shape == (1, 3)
    assert all(variant.latency_ms_p50 > 0 for variant in chosen.tried)
    assert chosen.variant.rms_relative_diff < 0.1 < first.rms_relative_diff


def test_if_nothing_passes_all_that_was_tried_is_told(tmp_path):
    chosen = gate_of(tmp_path, outlier=1, allowed=-200).choose()
    assert not chosen.variant.good
    kept = [len(variant.fp32_nodes) for variant in chosen.tried]
    assert kept == [0, 1, 2, 4, 7], "doubled up to all parts but one"
    assert chosen.variant.bytes == max(variant.bytes for variant in chosen.tried)


def test_texts_without_labels_can_refuse(tmp_path):
    """The labelled rows are the four on which INT8 has no chance to err; 200 texts show what it does."""
    gate = gate_of(tmp_path, outlier=3000)
    texts = gate.rows.texts
    few = EvalRows(texts[:4], gate.rows.labels[:4])
    gate.rows = few
    gate.reference = gate.reference[:4]
    alone = gate.attempt(Int8Setting("all"))
    gate.texts = Texts(texts[4:], "texts of x.txt")
    # As if the few rows had not shown it.
    gate_logits = alone.rms_relative_diff
    variant = Variant("int8", "model_quantized.onnx", 1, 1.0)
    gate.judge_on_texts(variant, gate.load(Int8Setting("all")), gate.texts)
    assert variant.loss_on_texts.rows == 196 and variant.loss_on_texts.changed > 20
    assert not variant.good and "texts of x.txt" in variant.why
    assert gate_logits > 0


# --- the search itself, without models --------------------------------------------------------------------------------


def fake_search(parts, needed, damages):
    """Settings that are good if all `needed` parts are kept, and how often each part was measured."""
    measured = []

    def attempt(setting: Int8Setting) -> Variant:
        kept = set(setting.fp32_nodes)
        if not setting.quantise_embeddings:
            kept.add(EMBEDDINGS)
        size = 100 + 10 * len(kept) + 1000 * (EMBEDDINGS in kept)
        return Variant("int8", "x", size, 1.0, setting=setting.name, good=needed <= kept)

    def damage(quantised: frozenset[str]) -> float:
        measured.append(quantised)
        return sum(damages.get(part, 1e-5) for part in quantised)

    return search(parts, attempt, damage), measured


LARGE = [EMBEDDINGS, *(f"/encoder/layer.{k}/n{j}" for k in range(12) for j in range(6)), "/head"]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_the_fewest_are_kept(count):
    """Of 74 parts, `count` hurt: exactly these stay in FP32, after few runs of the gate."""
    harmful = [f"/encoder/layer.{k}/n2" for k in range(count - 1)] + ["/head"]
    damages = {part: 1.0 + k for k, part in enumerate(harmful)}
    tried, measured = fake_search(LARGE, set(harmful), damages)
    best = smallest_good(tried)
    assert best.setting.fp32_nodes == frozenset(harmful) and best.setting.quantise_embeddings
    assert len(tried) <= 10
    # 14 groups, then the nodes of those that hurt.
    assert len(measured) <= 14 + 6 * count


def test_embeddings_are_kept_in_int8_if_the_others_are_enough():
    """They are most of the file: the set is tried without them, too."""
    damages = {EMBEDDINGS: 9.0, "/head": 5.0}
    tried, _ = fake_search(LARGE, {"/head"}, damages)
    assert [one.setting.quantise_embeddings for one in tried] == [True, False, False, True]
    best = smallest_good(tried)
    assert best.setting.fp32_nodes == {"/head"} and best.setting.quantise_embeddings
    tried, _ = fake_search(LARGE, {"/head", EMBEDDINGS}, damages)
    assert not smallest_good(tried).setting.quantise_embeddings


def test_of_settings_that_pass_the_smallest_file_is_chosen():
    """The four of a fine-tuned encoder that differ by less than chance; without any that pass, the largest."""
    tried = []
    for size, good in ((118, True), (140, True), (407, True), (428, True)):
        variant = Variant("int8", "x", size, 0.9, good=good)
        tried.append(Tried(Int8Setting(str(size)), variant))
    assert smallest_good(tried).variant.bytes == 118
    for one in tried:
        one.variant.good = False
    assert smallest_good(tried).variant.bytes == 428


def test_parts_are_grouped_by_layer():
    names = [EMBEDDINGS, "/layer.0/a", "/layer.0/b", "/layer.10/a", "/layer.1/a", "/pool", "/head"]
    assert by_layer(names) == [
        [EMBEDDINGS],
        ["/layer.0/a", "/layer.0/b"],
        ["/layer.10/a"],
        ["/layer.1/a"],
        ["/pool", "/head"],
    ]
    # Names that tell nothing: chunks in the order of the graph.
    assert [len(group) for group in by_layer([f"node_{k}" for k in range(19)])] == [8, 8, 3]


def test_parts_of_harmless_layers_are_not_measured():
    asked = []

    def damage(quantised):
        asked.append(quantised)
        return float(any("layer.3/n5" in part for part in quantised))

    ranked = rank(LARGE, damage)
    assert ranked[0] == "/encoder/layer.3/n5" and sorted(ranked) == sorted(LARGE)
    assert len(asked) == 14 + 6


def test_a_model_of_one_product_has_nothing_to_search():
    assert fewest_kept(["only"], lambda kept: pytest.fail("nothing is left in INT8")) == []


def test_settings_are_named_by_what_they_keep():
    parts = [EMBEDDINGS, "a", "b", "c"]
    assert setting_with([], parts) == Int8Setting("INT8 embeddings and MatMuls")
    assert setting_with(["a"], parts).name == "INT8 embeddings and MatMuls, 1 of 3 MatMuls in FP32"
    both = setting_with([EMBEDDINGS, "a"], parts)
    assert both.name == "INT8 MatMuls, FP32 embeddings, 1 of 3 MatMuls in FP32"
    assert both.fp32_nodes == {"a"} and not both.quantise_embeddings


def test_products_of_activations_are_no_parts(tmp_path):
    """Attention scores are never quantised, so they cannot be kept either."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [2, 2])
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2, 2], range(4))
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], name="product"),
        helper.make_node("MatMul", ["y", "x"], ["out"], name="scores"),
    ]
    graph = helper.make_graph(nodes, "g", [x], [out], [weights])
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    assert quantisable_parts(tmp_path / "model.onnx") == [EMBEDDINGS, "product"]


def test_the_reference_on_texts_is_computed_once(tmp_path):
    gate = gate_of(tmp_path, outlier=1)
    gate.texts = Texts(["good bad", "dull food"], "training texts")
    calls = []
    float_model = gate.onnx_predictor
    gate.onnx_predictor = SimpleNamespace(
        task=float_model.task,
        logits=lambda texts: calls.append(len(texts)) or float_model.logits(texts),
    )
    for name in ("a", "b"):
        gate.attempt(Int8Setting(name))
    assert calls.count(2) == 1
