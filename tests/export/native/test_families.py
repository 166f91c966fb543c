"""Which encoders the stage `native` recognises, and that they answer as ONNX Runtime does."""

import numpy as np
import onnx
import pytest

from tests.export.native.conftest import export, found, needs_exporter, needs_library
from tests.export.native.heads import save_head
from tests.families import save_ours, save_plain, some_texts
from trainer_ext.compatibility import TRANSFORMERS_5
from trainer_ext.inference import load_predictor
from trainer_ext.inference.native.library import library_here
from trainer_ext.inference.native.plan import read_plan

pytestmark = [
    needs_library,
    pytest.mark.skipif(TRANSFORMERS_5, reason="its graphs have masks of another form"),
]
# The tokenizer reads [PAD] in a text as the token; RoBERTa does not count it as a position.
TEXTS = [*some_texts(30), "", " ".join(some_texts(11)), "[PAD] [PAD]", "good [PAD] food"]
CHECKPOINTS = {"ours": save_ours, "plain": save_plain}


def check(out) -> None:
    """Both runtimes answer, and differ by a rounding of INT8 at most."""
    native = load_predictor(out, num_threads=1, runtime="native")
    runtime = load_predictor(out, num_threads=1, runtime="onnx", file_name="model_quantized.onnx")
    assert "(native, " in native.description and "native" not in runtime.description
    flat = native.task.flat
    expected = flat(runtime.logits(TEXTS))
    difference = flat(native.logits(TEXTS)) - expected
    # Most texts are not near any rounding; those that are may differ by a level here and there. Attention in bfloat16
    # moves some numbers of every text.
    usual = 0.05 if library_here().target == "avx512_bf16" else 1e-3
    assert np.median(np.abs(difference)) < usual * expected.std()
    assert np.abs(difference).max() < 0.2 * expected.std()


RECOGNISED = [
    ("bert", {}),
    ("roberta", {}),
    ("distilbert", {}),
    ("electra", {"embedding_size": 32}),
    # Heads whose size is no multiple of anything, and an inner size as odd.
    ("bert", {"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 40}),
]


def cases() -> list:
    """Every family; plain classifiers, and torch's exporter, which takes long, with the slow tests."""
    listed = []
    for family, changes in RECOGNISED:
        for kind, exporter in (("ours", "optimum"), ("plain", "optimum"), ("ours", "torch")):
            marks = [needs_exporter[exporter]]
            if (kind, exporter) != ("ours", "optimum"):
                marks.append(pytest.mark.slow)
            listed.append(pytest.param(family, changes, kind, exporter, marks=marks))
    return listed


@pytest.mark.parametrize("family, changes, kind, exporter", cases())
def test_a_family_that_is_recognised(family, changes, kind, exporter, rows, tmp_path):
    checkpoint = CHECKPOINTS[kind](tmp_path / "checkpoint", family, **changes)
    details = found(export(checkpoint, tmp_path / "onnx", rows, exporter=exporter))
    assert details["layers"] == 2 and details["difference"] <= details["allowed"]
    plan = read_plan(tmp_path / "onnx/model_quantized.onnx")
    tables = {table["row_of"]: table["offset"] for table in plan.content["tables"]}
    # RoBERTa counts positions from the id of its padding, which is 0 here, plus one.
    assert tables["token"] == 0 and tables["position"] == (1 if family == "roberta" else 0)
    skipped = [
        table["skipped"] for table in plan.content["tables"] if table["row_of"] == "position"
    ]
    assert skipped == [0 if family == "roberta" else None]
    check(tmp_path / "onnx")


@needs_exporter["optimum"]
@pytest.mark.parametrize(
    "family, reason",
    [
        ("deberta-v2", "0 products in 8 bits at the start of a layer"),
        ("modernbert", "attn/Wqkv/MatMul_output_0 is not split into query, key and value"),
        # Positions are added to the scores of its attention.
        ("mpnet", "is not read by an Attention"),
        # Their embeddings are smaller than their layers: a product comes between them.
        ("albert", "embedding_hidden_mapping_in/Add_output_0 is not split"),
        ("electra", "embeddings_project/Add_output_0 is not split"),
    ],
)
def test_a_family_that_is_not(family, reason, rows, tmp_path):
    checkpoint = save_ours(tmp_path / "checkpoint", family)
    details = found(export(checkpoint, tmp_path / "onnx", rows))
    assert list(details) == ["not recognised"] and reason in details["not recognised"]
    assert not (tmp_path / "onnx/native").exists()
    predictor = load_predictor(tmp_path / "onnx", file_name="model_quantized.onnx")
    assert "native" not in predictor.description
    assert len(predictor.predict(TEXTS)) == len(TEXTS)


@needs_exporter["optimum"]
@pytest.mark.parametrize(
    "task, pooling, is_first_token_only, reads_mask",
    [
        ("single_label", "mean", False, False),
        ("single_label", "max", False, False),
        ("single_label", "attention", False, True),
        ("multi_aspect", "cls", True, False),
        ("multi_aspect", "label_attention", False, True),
        ("joint", "cls", False, False),
    ],
)
def test_heads_and_poolings(task, pooling, is_first_token_only, reads_mask, tmp_path):
    """What reads only the last hidden state, of all tokens or of the first."""
    checkpoint, rows = save_head(tmp_path, task, pooling)
    details = found(export(checkpoint, tmp_path / "onnx", rows))
    assert details["layers"] == 2 and details["difference"] <= details["allowed"]
    plan = read_plan(tmp_path / "onnx/model_quantized.onnx")
    assert (plan.content["layers"][-1]["query"] is not None) == is_first_token_only
    head = onnx.load(tmp_path / "onnx/native/head.onnx")
    assert ("attention_mask" in {value.name for value in head.graph.input}) == reads_mask
    check(tmp_path / "onnx")
