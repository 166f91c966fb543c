"""A model small enough to compute by hand: the logits are the sum of a table's rows over the tokens."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ["[PAD]", "[UNK]", "[CLS]", "good", "bad", "dull", "food", "staff"]
CLASSES = ["neg", "neutral", "pos"]
# A row per word, a column per class; [PAD] would show if it were not masked, [CLS] tells three classes apart.
TABLE = np.array(
    [[9, -9, 9], [0, 1, 0], [0, 2, 1], [-1, 0, 4], [5, 0, -1], [1, 3, 0], [1, 1, 1], [2, 0, 0]],
    dtype=np.float32,
)


def save_onnx(path: Path, head_shape: tuple[int, ...] = (3,), sign: int = 1) -> None:
    """Gather -> mask -> sum over the tokens -> (B, *head_shape); every aspect has the same logits."""
    aspects = head_shape[0] if len(head_shape) == 2 else 1
    tensors = {
        "table": np.tile(sign * TABLE, aspects),
        "last": np.array([2], dtype=np.int64),
        "tokens": np.array([1], dtype=np.int64),
        "shape": np.array([-1, *head_shape], dtype=np.int64),
    }
    save_graph(
        path, tensors, [helper.make_node("Reshape", ["sum", "shape"], ["logits"])], head_shape
    )


def save_int8(path: Path) -> None:
    """The same sum, through a product that scales its input by the largest value of the whole run."""
    tensors = {
        "table": TABLE,
        "last": np.array([2], dtype=np.int64),
        "tokens": np.array([1], dtype=np.int64),
        "identity": np.eye(3, dtype=np.int8),
        "zero": np.array(0, dtype=np.int8),
    }
    head = [
        helper.make_node("DynamicQuantizeLinear", ["sum"], ["q", "scale", "point"]),
        helper.make_node("MatMulInteger", ["q", "identity", "point", "zero"], ["product"]),
        helper.make_node("Cast", ["product"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["as_float", "scale"], ["logits"]),
    ]
    save_graph(path, tensors, head, (3,))


def save_graph(path: Path, tensors: dict, head: list, head_shape: tuple[int, ...]) -> None:
    """Gather -> mask -> sum over the tokens -> the nodes of `head`."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["states"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask_3d"]),
        helper.make_node("Mul", ["states", "mask_3d"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "tokens"], ["sum"], keepdims=0),
        *head,
    ]
    inputs = ("input_ids", "attention_mask")
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
            for name in inputs
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", *head_shape])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def save_tokenizer(path: Path) -> None:
    """Words between spaces, with [CLS] in front."""
    tokenizer = Tokenizer(
        models.WordLevel({word: k for k, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", 2)]
    )
    tokenizer.save(str(path))


def save_model(folder: Path, task: str = "single_label", **changes) -> Path:
    """A folder as export.py leaves it; `changes` go into the pipeline."""
    columns = ["food", "staff"] if task == "multi_aspect" else ["label"]
    pipeline = {
        "task": task,
        "label_space": {"columns": columns, "classes": CLASSES, "values": CLASSES},
        "text_column": "review",
        "id_column": None,
        "max_length": 12,
        "input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "pad_token_id": 0,
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(
        json.dumps({"model_type": "tiny", "pipeline": pipeline}), encoding="utf-8"
    )
    save_tokenizer(folder / "tokenizer.json")
    save_onnx(folder / "model.onnx", (2, 3) if task == "multi_aspect" else (3,))
    return folder


def expected_logits(text: str, max_length: int = 12) -> list[float]:
    """By hand: the sum of the rows of [CLS] and the words."""
    ids = [2, *(WORDS.index(word) if word in WORDS else 1 for word in text.split())][:max_length]
    return TABLE[ids].sum(axis=0).tolist()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A single-label model; do not change it."""
    return save_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def tiny_aspects(tmp_path_factory) -> Path:
    """A multi-aspect model; do not change it."""
    return save_model(tmp_path_factory.mktemp("tiny") / "aspects", "multi_aspect")
