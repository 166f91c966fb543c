"""Both exporters: the same files and answers for every encoder family, whatever the batch and the length."""

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from tests.conftest import ROOT, run_ok
from tests.versions import needs_optimum
from trainer_ext.errors import UserError
from trainer_ext.export import with_torch
from trainer_ext.export.exported import encoder_config
from trainer_ext.export.quantise import Int8Setting, quantise
from trainer_ext.export.to_onnx import export_onnx
from trainer_ext.files import read_json
from trainer_ext.modeling import EncoderWithHead, EncoderWithHeadConfig
from trainer_ext.modeling.distances import fit_distances

VOCABULARY = 40
LONGEST = 48
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": LONGEST,
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
}
AFTER_PADDING = {"max_position_embeddings": LONGEST + 2, "pad_token_id": 1}
FAMILIES = {
    "bert": {},
    "roberta": AFTER_PADDING,
    "xlm-roberta": AFTER_PADDING,
    "electra": {"embedding_size": 16},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
        "position_buckets": 8,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
        "conv_kernel_size": 3,
    },
    "distilbert": {"dim": 32, "n_layers": 3, "n_heads": 2, "hidden_dim": 64},
    "albert": {"embedding_size": 16},
    "modernbert": {
        "local_attention": 8,
        "global_attn_every_n_layers": 2,
        "bos_token_id": 1,
        "cls_token_id": 1,
        "eos_token_id": 2,
        "sep_token_id": 2,
    },
    "mpnet": AFTER_PADDING,
    "ernie": {},
}
SMALL_DISTILBERT = {"vocab_size": VOCABULARY, **FAMILIES["distilbert"]}
# An export by torch takes five seconds: these two stand for the others where time is short.
QUICK = ("bert",)
INPUTS = ["input_ids", "attention_mask"]


def quick_first(names, quick):
    """Mark as slow the exports by torch that are not among `quick`."""
    return [
        pytest.param(name, marks=[] if name in quick else pytest.mark.slow, id=name)
        for name in names
    ]


def family(name: str, head_shape=(3,), **options) -> EncoderWithHead:
    """A small encoder with weights so large that its logits spread as those of a trained one."""
    sizes = {**SIZES, **FAMILIES[name]}
    if name == "distilbert":
        for wide in ("hidden_size", "num_hidden_layers", "num_attention_heads"):
            del sizes[wide]
    torch.manual_seed(0)
    config = EncoderWithHeadConfig(
        AutoConfig.for_model(name, **sizes), list(head_shape), **{"pooling": "mean", **options}
    )
    model = EncoderWithHead(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    model.config.pipeline = {"input_names": INPUTS}
    return model


def padded_batch(model: PreTrainedModel, rows: int, length: int) -> dict[str, torch.Tensor]:
    """Random token ids, each row two tokens shorter than the one before."""
    pad = encoder_config(model).pad_token_id
    ids = torch.randint(5, VOCABULARY, (rows, length))
    mask = torch.ones_like(ids)
    for row in range(1, rows):
        end = max(1, length - 2 * row)
        ids[row, end:] = pad
        mask[row, end:] = 0
    types = torch.randint(0, 2, (rows, length))
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def assert_same_answers(model: EncoderWithHead, path) -> None:
    """The file answers as the model does, in batches of one and more, for texts of one token and of the most."""
    session = onnxruntime.InferenceSession(path)
    inputs = [item.name for item in session.get_inputs()]
    outputs = [item.name for item in session.get_outputs()]
    for rows in (1, 2, 5):
        for length in (1, 2, 7, 33, LONGEST):
            batch = padded_batch(model, rows, length)
            feed = {name: batch[name] for name in inputs}
            with torch.no_grad():
                expected = model(**feed)
            got = session.run(outputs, {name: value.numpy() for name, value in feed.items()})
            assert len(outputs) == 1 + ("token_logits" in expected) + ("ood_distance" in expected)
            for name, array in zip(outputs, got, strict=True):
                wanted = expected[name].numpy()
                if name == "token_logits":  # what is said of padding is not read
                    tokens = batch["attention_mask"].numpy() == 1
                    array, wanted = array[tokens], wanted[tokens]
                assert wanted.std() > 0.1 or wanted.size < 9, "differences would not show"
                np.testing.assert_allclose(array, wanted, 1e-5, 1e-4, err_msg=f"{rows}x{length}")


@pytest.mark.parametrize("name", quick_first(FAMILIES, QUICK))
def test_torch_exports_every_family(name, tmp_path):
    model = family(name)
    export = export_onnx(model, tmp_path, exporter="torch")
    assert export == (tmp_path / "model.onnx", "torch", "asked for by --exporter")
    assert_same_answers(model, export.path)
    file = onnx.load(export.path)
    shapes = [value.type.tensor_type.shape.dim for value in file.graph.input]
    assert [[axis.dim_param for axis in shape] for shape in shapes] == [
        ["batch_size", "sequence_length"]
    ] * 2
    assert {node.domain for node in file.graph.node} == {""}, "standard operators only"
    assert str(ROOT).encode() not in export.path.read_bytes(), "no folders of this machine"


@needs_optimum
@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "ernie"])
def test_optimum_exports_the_families_that_it_knows(name, tmp_path):
    model = family(name)
    export = export_onnx(model, tmp_path)
    assert export.exporter == "optimum"
    assert_same_answers(model, export.path)


@pytest.mark.parametrize(
    "pooling",
    quick_first(
        ["cls", "max", "attention", "weighted_layers", "concat_last4", "label_attention"],
        ["attention"],
    ),
)
def test_torch_exports_every_head(pooling, tmp_path, monkeypatch):
    """With a token head, token types, and outputs on the scale of the labels."""
    monkeypatch.setitem(SIZES, "num_hidden_layers", 4)
    scale = {"logit_scale": [2.0, 0.5], "logit_mean": [1.0, -3.0]}
    model = family("bert", (2,), pooling=pooling, token_classes=5, **scale)
    model.config.pipeline = {"input_names": [*INPUTS, "token_type_ids"]}
    export = export_onnx(model, tmp_path, exporter="torch")
    assert_same_answers(model, export.path)
    session = onnxruntime.InferenceSession(export.path)
    assert [item.name for item in session.get_inputs()] == [*INPUTS, "token_type_ids"]
    assert [item.name for item in session.get_outputs()] == ["logits", "token_logits"]


@pytest.mark.parametrize("exporter", ["torch", pytest.param("optimum", marks=needs_optimum)])
def test_distances_are_an_output_that_stays_in_float(exporter, tmp_path):
    model = family("bert", (3,), pooling="mean", ood_classes=3)
    width = model.pooling.width
    vectors = np.random.default_rng(0).normal(size=(60, width)).astype(np.float32)
    model.distances = fit_distances(vectors, np.arange(60) % 3).eval()
    path = export_onnx(model, tmp_path, exporter=exporter).path
    assert_same_answers(model, path)
    assert [item.name for item in onnxruntime.InferenceSession(path).get_outputs()] == [
        "logits",
        "ood_distance",
    ]
    file = onnx.load(quantise(path, tmp_path, Int8Setting("int8")))
    kept = [tensor.name for tensor in file.graph.initializer if "whitening" in tensor.name]
    assert len(kept) == 1 and kept[0].endswith("distances.whitening")


def test_torch_exports_a_plain_classifier(tmp_path):
    """Pooler and classifier are its own."""
    config = AutoConfig.for_model("distilbert", num_labels=3, **SMALL_DISTILBERT)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    with_torch.export_with_torch(model, [*INPUTS, "token_type_ids"], tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [item.name for item in session.get_inputs()] == INPUTS, "it takes no token types"
    batch = padded_batch(model, 3, 9)
    del batch["token_type_ids"]
    (logits,) = session.run(None, {name: value.numpy() for name, value in batch.items()})
    np.testing.assert_allclose(logits, model(**batch).logits.detach(), atol=1e-4)


@needs_optimum
def test_an_encoder_that_optimum_does_not_know_goes_through_torch(tmp_path):
    model = family("ernie")
    with pytest.raises(UserError, match="Optimum does not export ernie encoders"):
        export_onnx(model, tmp_path, exporter="optimum")
    assert not list(tmp_path.iterdir())
    export = export_onnx(model, tmp_path, exporter="auto")
    assert export.exporter == "torch" and "does not export ernie" in export.why
    assert_same_answers(model, export.path)


def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch):
    model = family("bert")
    for package, exporter, extra in (
        ("onnxscript", "torch", "onnx"),
        ("optimum.exporters.onnx", "optimum", "optimum"),
    ):
        monkeypatch.delitem(sys.modules, f"trainer_ext.export.with_{exporter}", raising=False)
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(UserError, match=rf"pip install 'trainer-ext\[{extra}\]'.*{package}"):
            export_onnx(model, tmp_path, exporter=exporter)
    with pytest.raises(UserError, match=r"trainer-ext\[optimum\].*; and .*trainer-ext\[onnx\]"):
        export_onnx(model, tmp_path, exporter="auto")


@pytest.mark.slow
def test_weights_beyond_what_one_file_holds_go_into_a_second(tmp_path, monkeypatch):
    monkeypatch.setattr(with_torch, "LARGEST_FILE", 1000)
    model = family("bert")
    path = export_onnx(model, tmp_path, exporter="torch").path
    weights = sum(4 * parameter.numel() for parameter in model.parameters())
    assert path.stat().st_size < weights / 2 < (tmp_path / "model.onnx_data").stat().st_size
    assert_same_answers(model, path)


def test_attention_is_written_out_and_the_model_stays_as_it_is(tmp_path):
    model = family("bert")
    before = model.encoder
    eager = with_torch.with_eager_attention(model)
    assert eager.encoder.config._attn_implementation == "eager" and model.encoder is before
    assert before.config._attn_implementation == "sdpa"
    own, shared = (each.encoder.embeddings.word_embeddings.weight for each in (model, eager))
    assert own.data_ptr() == shared.data_ptr(), "no second copy of the weights"
    batch = padded_batch(model, 3, 7)
    torch.testing.assert_close(eager(**batch).logits, model(**batch).logits)


WITHOUT_OPTIMUM = """
import runpy, sys
sys.modules["optimum"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_without_optimum_the_command_goes_through_torch(topic_checkpoint, tmp_path):
    """The float file, INT8 by ONNX Runtime's own quantiser, and answers from both."""
    out = tmp_path / "export"
    command = ["-c", WITHOUT_OPTIMUM, "export.py", str(topic_checkpoint), "--output_dir", str(out)]
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = read_json(out / "export_report.json")
    assert report["passed"] and report["chosen"] == "int8"
    assert report["stages"][0]["details"]["exporter"] == "torch"
    assert "trainer-ext[optimum]" in report["stages"][0]["details"]["why"]
    answered = run_ok("predict.py", "--model", out, "--text", "team match")
    assert "sports" in answered.stdout


@needs_optimum
def test_the_exporter_is_a_flag(topic_checkpoint, tmp_path):
    out = tmp_path / "export"
    run_ok("export.py", topic_checkpoint, "--output_dir", out, "--exporter", "optimum")
    details = read_json(out / "export_report.json")["stages"][0]["details"]
    assert details == {"exporter": "optimum", "why": "asked for by --exporter"}
