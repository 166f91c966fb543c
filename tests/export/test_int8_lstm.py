"""An LSTM in 8 bits: a part like any other, whose answers do not depend on the CPU."""

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.families import save_ours, some_texts
from trainer_ext.export.int8_weights import has_exact_products
from trainer_ext.export.quantise import Int8Setting, lstm_nodes, quantise
from trainer_ext.export.search import EMBEDDINGS, quantisable_parts
from trainer_ext.export.to_onnx import export_onnx
from trainer_ext.inference.hardware import instruction_set
from trainer_ext.inference.loading import checkpoint_tokenizer
from trainer_ext.inference.onnx_session import is_marked_exact, scales_at_run_time
from trainer_ext.modeling.session import load_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bilstm checkpoint, and model.onnx beside it."""
    path = save_ours(tmp_path_factory.mktemp("bilstm"), "bilstm_encoder", pooling="mean")
    export_onnx(load_checkpoint(path), path)
    return path


def operators(path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def answers(path, tokenizer, unsigned: bool = False) -> np.ndarray:
    """The logits, one text a run; with `unsigned` weights, as on a CPU without VNNI."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if unsigned:
        options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(path, options)
    rows = []
    for text in some_texts():
        ids = np.array([tokenizer.encode(text).ids])
        rows.append(session.run(["logits"], {"input_ids": ids, "attention_mask": ids**0})[0])
    return np.concatenate(rows)


def test_each_lstm_is_a_part_that_can_stay_in_fp32(folder, tmp_path):
    lstms = lstm_nodes(folder / "model.onnx")
    parts = quantisable_parts(folder / "model.onnx")
    assert len(lstms) == 2 and parts[0] == EMBEDDINGS and parts[-2:] == lstms
    everything = operators(quantise(folder / "model.onnx", tmp_path, Int8Setting("all")))
    assert everything.count("DynamicQuantizeLSTM") == 2 and "LSTM" not in everything
    one = Int8Setting("one", fp32_nodes=frozenset(lstms[:1]))
    found = operators(quantise(folder / "model.onnx", tmp_path, one))
    assert (found.count("LSTM"), found.count("DynamicQuantizeLSTM")) == (1, 1)


def test_answers_are_those_of_a_cpu_without_vnni(folder, tmp_path):
    """The file is not marked as exact, so that sessions ask for unsigned weights there."""
    path = quantise(folder / "model.onnx", tmp_path, Int8Setting("all"))
    assert scales_at_run_time(path) and not is_marked_exact(path)
    assert not has_exact_products(onnx.load(path))
    tokenizer = checkpoint_tokenizer(folder)
    unsigned = answers(path, tokenizer, unsigned=True)
    # Without VNNI signed products overflow, which is what unsigned weights are asked for.
    if "vnni" in instruction_set():
        np.testing.assert_allclose(unsigned, answers(path, tokenizer), atol=1e-6)
    float_answers = answers(folder / "model.onnx", tokenizer)
    assert np.abs(unsigned - float_answers).max() < 0.25 * float_answers.std()
