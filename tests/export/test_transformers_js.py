"""An export in the layout of the Hub answers in transformers.js, under Node, as it answers here.

`make test-js` installs the npm package into tests/node and runs this; TRAINER_EXT_NODE names another folder that has
it (its `node_modules`).
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import CLASSES, FILLER, ROOT, run_ok
from trainer_ext.compatibility import TRANSFORMERS_5
from trainer_ext.inference import load_predictor
from trainer_ext.inference.folder import read_tokenizer

NODE = shutil.which("node")
PACKAGES = Path(os.environ.get("TRAINER_EXT_NODE", ROOT / "tests/node"))
PACKAGE = PACKAGES / "node_modules/@huggingface/transformers"
FILES = {"fp32": "model.onnx", "q8": "model_quantized.onnx"}
# Float sums in another order; INT8 rounds an activation to the next of 256 levels where such a sum falls beside it.
TOLERANCES = {"fp32": 1e-4, "q8": 5e-3}
TEXTS = [
    "team match goal",
    "The new STOCK of a bank, today",
    "a level",
    "says the player: quest (old)",
    "unheard words ... and Zürich",
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NODE is None, reason="Node is not installed"),
    pytest.mark.skipif(not PACKAGE.is_dir(), reason=f"{PACKAGE} is not there: run `make test-js`"),
]


def save_encoder(folder: Path) -> Path:
    """A BERT with random weights and a WordPiece vocabulary, as a pretrained one is kept."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = sorted({*FILLER, *sum(CLASSES.values(), []), *"abcdefghijklmnopqrstuvwxyz.,:()"})
    pieces = [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *pieces]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """The folder of a pretrained encoder."""
    return save_encoder(tmp_path_factory.mktemp("encoders") / "bert")


def train_and_export(folder: Path, encoder: Path, *flags) -> Path:
    """Train two steps, and export in the layout of the Hub."""
    always = ("--model_name_or_path", encoder, "--max_length", "32", "--max_steps", "12")
    always += ("--learning_rate", "5e-3", "--report_to", "none")
    run_ok("train.py", *always, *flags, "--output_dir", folder / "run")
    exported = folder / "exported"
    # The rows are few, so that one of them is points.
    export_flags = ("--max_metric_drop", "100", "--layout", "hub")
    run_ok("export.py", folder / "run", "--output_dir", exported, *export_flags)
    if not TRANSFORMERS_5:
        # An operator that onnxruntime-node and onnxruntime-web know since 1.23.
        model = onnx.load(exported / "onnx/model_quantized.onnx")
        assert "Attention" in {node.op_type for node in model.graph.node}
    return exported


def answers_in_node(model: Path, folder: Path) -> dict:
    """By dtype: `texts` through the pipeline, and `rows` of ids through WebAssembly."""
    tokenizer = read_tokenizer(model)
    rows = []
    for text in TEXTS:
        rows.append({"input_ids": tokenizer.encode(text).ids})
    request = {"model": str(model), "dtypes": list(FILES), "texts": TEXTS, "rows": rows}
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    script = ROOT / "tests/node/answer.cjs"
    command = [str(NODE), str(script), str(PACKAGES), str(folder / "request.json")]
    done = subprocess.run(command, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def check_answers(model: Path, answers: dict) -> None:
    """Token ids, probabilities and logits are ours."""
    tokenizer = read_tokenizer(model)
    for dtype, file_name in FILES.items():
        predictor = load_predictor(model, 1, file_name=file_name, runtime="onnx")
        tolerance = TOLERANCES[dtype]
        ours = predictor.predict(TEXTS)
        for text, own, theirs in zip(TEXTS, ours, answers[dtype]["texts"], strict=True):
            assert theirs["ids"] == tokenizer.encode(text).ids
            scores = {item["label"]: item["score"] for item in theirs["scores"]}
            assert scores == pytest.approx(own["probabilities"], abs=tolerance), (dtype, text)
        np.testing.assert_allclose(
            answers[dtype]["rows"], predictor.logits(TEXTS), atol=10 * tolerance
        )


def test_one_of_several_classes(topic_files, encoder, tmp_path):
    files = ("--train_file", topic_files["train"], "--validation_file", topic_files["validation"])
    model = train_and_export(tmp_path, encoder, "--task", "single_label", *files)
    check_answers(model, answers_in_node(model, tmp_path))


def test_any_number_of_labels(emotion_file, encoder, tmp_path):
    """Of a multi-label model each probability is a sigmoid: `problem_type` in config.json says so."""
    files = ("--train_file", emotion_file, "--validation_file", emotion_file)
    files += ("--label_columns", "labels")
    model = train_and_export(tmp_path, encoder, "--task", "multi_label", *files)
    answers = answers_in_node(model, tmp_path)
    check_answers(model, answers)
    for answer in answers["fp32"]["texts"]:
        total = sum(item["score"] for item in answer["scores"])
        assert total != pytest.approx(1, abs=1e-3)
