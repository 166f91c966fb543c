"""Models that were cut: layers with heads and neurons of their own pass the gate, and are answered natively."""

import shutil

import numpy as np
import pytest
import torch

from tests.conftest import run_script
from tests.export.native.conftest import export, found, needs_exporter, needs_library
from tests.export.native.test_families import TEXTS, check
from tests.families import save_ours
from trainer_ext.compatibility import TRANSFORMERS_5
from trainer_ext.inference import load_predictor
from trainer_ext.inference.hardware import instruction_set
from trainer_ext.inference.native import library as library_module
from trainer_ext.inference.native.checks import layer_sizes
from trainer_ext.inference.native.library import TARGETS, library_file, library_here
from trainer_ext.inference.native.plan import read_plan
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.layer_sizes import blocks_of, keep, sizes_of

pytestmark = [
    needs_library,
    pytest.mark.skipif(TRANSFORMERS_5, reason="its graphs have masks of another form"),
]
HEAD_SIZE = 8
# Of 4 heads and 64 neurons: neither fits the hidden size of 32, nor any step of a kernel.
HEADS = ([1, 3, 0], [2])
NEURONS = (list(range(37)), list(range(0, 64, 3)))
TRAINING = [
    *("--task", "single_label", "--label_names", "bad", "good", "--max_length", "24"),
    *("--num_train_epochs", "1", "--report_to", "none", "--disable_tqdm", "true"),
]
START = [
    *("--from_scratch", "tiny", "--vocab_size", "60", "--config_overrides"),
    "hidden_size=32,num_hidden_layers=2,num_attention_heads=4,intermediate_size=64",
]


def narrowed(folder, family, pooling=None):
    """Save a model of a family whose two layers have different sizes."""
    whole = save_ours(folder / "whole", family, pooling)
    model = EncoderWithHead.from_pretrained(whole)
    for block, heads, neurons in zip(blocks_of(model.encoder), HEADS, NEURONS, strict=True):
        keep(block, torch.tensor(heads), torch.tensor(neurons))
    model.config.layer_sizes = sizes_of(model.encoder)
    # The tokenizer stays.
    shutil.copytree(whole, folder / "checkpoint")
    model.save_pretrained(folder / "checkpoint")
    return folder / "checkpoint"


def sizes_in(out):
    """Return heads and neurons of each layer, as the plan's weights have them."""
    plan = read_plan(out / "model_quantized.onnx")
    assert plan.content["hidden"] == 32 and plan.content["head_size"] == HEAD_SIZE
    sizes = [layer_sizes(plan, layer) for layer in plan.content["layers"]]
    return [(width // HEAD_SIZE, inner) for width, inner in sizes]


@pytest.fixture
def of_target(request, monkeypatch):
    """Serve with the library for one kind of CPU."""
    target = request.param
    if target not in instruction_set().split() or not library_file(target).is_file():
        pytest.skip(f"no {target} here")
    monkeypatch.setattr(library_module, "TARGETS", (target,))
    library_here.cache_clear()
    yield target
    library_here.cache_clear()


@pytest.fixture(scope="module")
def exported_narrow(rows, tmp_path_factory):
    """Export a narrowed BERT; do not change it."""
    folder = tmp_path_factory.mktemp("narrow")
    report = export(narrowed(folder, "bert"), folder / "onnx", rows)
    assert report.passed and found(report)["layers"] == 2
    return folder / "onnx"


@needs_exporter["optimum"]
@pytest.mark.parametrize("of_target", TARGETS, indirect=True)
def test_each_library_answers_as_onnx_runtime(of_target, exported_narrow):
    assert of_target in load_predictor(exported_narrow, runtime="native").description
    assert sizes_in(exported_narrow) == [(3, 37), (1, 22)]
    check(exported_narrow)


@pytest.mark.parametrize(
    "family, pooling, exporter",
    [
        pytest.param("distilbert", "mean", "optimum", marks=needs_exporter["optimum"]),
        pytest.param("bert", "cls", "torch", marks=needs_exporter["torch"]),
        pytest.param("roberta", "mean", "torch", marks=[needs_exporter["torch"], pytest.mark.slow]),
    ],
)
def test_both_exporters_pass_the_gate(family, pooling, exporter, rows, tmp_path):
    """With INT8 chosen, which the native runtime serves."""
    checkpoint = narrowed(tmp_path, family, pooling)
    report = export(checkpoint, tmp_path / "onnx", rows, exporter=exporter)
    assert report.passed and report.chosen == "int8"
    details = found(report)
    assert details["layers"] == 2 and details["difference"] <= details["allowed"]
    assert sizes_in(tmp_path / "onnx") == [(3, 37), (1, 22)]
    check(tmp_path / "onnx")


@needs_exporter["optimum"]
@pytest.mark.slow
def test_what_training_cuts_is_answered_natively(rows, tmp_path):
    """`--compression width`, `l1` and `qat` by train.py, then export.py."""
    data = ["--train_file", str(rows), *TRAINING]
    run_script("train.py", *data, *START, "--output_dir", str(tmp_path / "start"))
    for stage, more, heads in (("width", ["--width", "0.5"], 2), ("l1", [], 4), ("qat", [], 4)):
        words = ["--model_name_or_path", str(tmp_path / "start"), "--compression", stage, *more]
        run_script("train.py", *data, *words, "--output_dir", str(tmp_path / stage))
        out = tmp_path / f"{stage}-onnx"
        given = ["--eval_file", str(rows), "--max_metric_drop", "100"]
        run_script("export.py", str(tmp_path / stage), "--output_dir", str(out), *given)
        assert sizes_in(out) == [(heads, heads * 16)] * 2, stage
        native = load_predictor(out, num_threads=1, runtime="native")
        runtime = load_predictor(
            out, num_threads=1, runtime="onnx", file_name="model_quantized.onnx"
        )
        expected = runtime.logits(TEXTS)
        assert np.abs(native.logits(TEXTS) - expected).max() < 0.2 * expected.std(), stage
