"""How the libraries that `benchmarks/peers.py` compares answer a text with the same weights, each on one thread.

A model lies in a folder: `checkpoint` (a BERT sequence classifier of plain transformers), `ours` (what `export.py`
makes of it) and `plain` (what tutorials make of it). Whatever a library does by default stays as it is, but for the
threads: OpenVINO computes in bfloat16 what is not in INT8, where the CPU has it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from side_by_side import LENGTH, Inputs, one_thread, run_plain
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from trainer_ext.inference import load_predictor

CHECKPOINT_INPUTS = ("input_ids", "attention_mask")
OPENVINO_ON_ONE_THREAD = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}


@dataclass(frozen=True)
class Way:
    """How one library answers.

    Attributes:
        answer: what is timed, for one text, tokenising included.
        logits: the logits (C,) that the answer comes from.
    """

    answer: Callable[[str], object]
    logits: Callable[[str], np.ndarray]


@dataclass(frozen=True)
class Peer:
    """A way to answer that is compared.

    Attributes:
        name: in the table.
        build: makes it from the folder of a model, and from texts that are not measured.
        packages: that it needs beyond those of training.
    """

    name: str
    build: Callable[[Path, Sequence[str]], Way]
    packages: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """Return the packages that are not installed."""
        return [name for name in self.packages if find_spec(name) is None]


def alike(logits: Callable[[str], np.ndarray]) -> Way:
    """Return the way of a library that answers with logits (1, C)."""
    return Way(logits, lambda text: logits(text)[0])


def ours(folder: Path, texts: Sequence[str]) -> Way:
    """Return `load_predictor`, which is asked for one text at a time."""
    predictor = load_predictor(folder / "ours", num_threads=1)
    return Way(lambda text: predictor.predict([text]), lambda text: predictor.logits([text])[0])


def load_checkpoint(folder: Path) -> torch.nn.Module:
    """Return the checkpoint in float32, on one thread."""
    torch.set_num_threads(1)
    return AutoModelForSequenceClassification.from_pretrained(folder / "checkpoint").eval()


def run_torch(model: torch.nn.Module, folder: Path) -> Way:
    """Return the way of a torch model, without padding."""
    inputs = Inputs(folder, padded=False)

    @torch.inference_mode()
    def logits(text: str) -> np.ndarray:
        arrays = inputs(text)
        tensors = {name: torch.from_numpy(arrays[name]) for name in CHECKPOINT_INPUTS}
        return model(**tensors).logits.numpy()

    return alike(logits)


def torch_float(folder: Path, texts: Sequence[str]) -> Way:
    """Return PyTorch in float32."""
    return run_torch(load_checkpoint(folder), folder)


def torch_int8(folder: Path, texts: Sequence[str]) -> Way:
    """Return PyTorch with all linear layers in dynamic INT8."""
    from torch.ao.quantization import quantize_dynamic

    model = quantize_dynamic(load_checkpoint(folder), {torch.nn.Linear}, dtype=torch.qint8)
    return run_torch(model, folder)


def onnx_float(folder: Path, texts: Sequence[str]) -> Way:
    """Return ONNX Runtime with the plain float32 file."""
    return alike(run_plain(folder, "model.onnx", padded=False))


def onnx_int8(folder: Path, texts: Sequence[str]) -> Way:
    """Return ONNX Runtime with the plain INT8 file."""
    return alike(run_plain(folder, "model_quantized.onnx", padded=False))


def onnx_int8_padded(folder: Path, texts: Sequence[str]) -> Way:
    """Return ONNX Runtime with the plain INT8 file, each text padded."""
    return alike(run_plain(folder, "model_quantized.onnx", padded=True))


def run_pipeline(model: object, folder: Path) -> Way:
    """Return the way of `transformers.pipeline` around a model."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "checkpoint")
    classify = pipeline("text-classification", model, tokenizer=tokenizer, device="cpu")
    cut = {"truncation": True, "max_length": LENGTH}

    def logits(text: str) -> np.ndarray:
        scores = classify(text, top_k=None, function_to_apply="none", **cut)
        by_name = {item["label"]: item["score"] for item in scores}
        names = classify.model.config.id2label
        return np.array([by_name[names[number]] for number in range(len(names))])

    return Way(lambda text: classify(text, **cut), logits)


def transformers_pipeline(folder: Path, texts: Sequence[str]) -> Way:
    """Return `transformers.pipeline` with the checkpoint."""
    return run_pipeline(load_checkpoint(folder), folder)


def optimum_pipeline(folder: Path, texts: Sequence[str]) -> Way:
    """Return `transformers.pipeline` with Optimum's model of the plain INT8 file."""
    from optimum.onnxruntime import ORTModelForSequenceClassification

    model = ORTModelForSequenceClassification.from_pretrained(
        folder / "plain", file_name="model_quantized.onnx", session_options=one_thread()
    )
    return run_pipeline(model, folder)


def convert_to_openvino(folder: Path) -> object:
    """Return the checkpoint as an OpenVINO model in float32."""
    import openvino

    example = torch.ones(1, 2, dtype=torch.int64)
    return openvino.convert_model(
        load_checkpoint(folder), example_input=dict.fromkeys(CHECKPOINT_INPUTS, example)
    )


def run_openvino(model: object, folder: Path) -> Way:
    """Return the way of an OpenVINO model, without padding."""
    import openvino

    compiled = openvino.Core().compile_model(model, "CPU", OPENVINO_ON_ONE_THREAD)
    request = compiled.create_infer_request()
    inputs = Inputs(folder, padded=False)

    def logits(text: str) -> np.ndarray:
        arrays = inputs(text)
        request.infer({name: arrays[name] for name in CHECKPOINT_INPUTS})
        return request.get_output_tensor(0).data.copy()

    return alike(logits)


def openvino_static(folder: Path, texts: Sequence[str]) -> Way:
    """Return OpenVINO with weights and activations in INT8, whose ranges NNCF finds on `texts`."""
    import nncf

    inputs = Inputs(folder, padded=False)

    def model_inputs(text: str) -> dict[str, np.ndarray]:
        arrays = inputs(text)
        return {name: arrays[name] for name in CHECKPOINT_INPUTS}

    quantised = nncf.quantize(
        convert_to_openvino(folder),
        nncf.Dataset(texts, model_inputs),
        subset_size=len(texts),
        model_type=nncf.ModelType.TRANSFORMER,
    )
    return run_openvino(quantised, folder)


def openvino_weights(folder: Path, texts: Sequence[str]) -> Way:
    """Return OpenVINO with weights in INT8."""
    import nncf

    return run_openvino(nncf.compress_weights(convert_to_openvino(folder)), folder)


def ctranslate2_int8(folder: Path, texts: Sequence[str]) -> Way:
    """Return CTranslate2's encoder with pooler in INT8; the classifier on top is one product in numpy."""
    import ctranslate2

    converter = ctranslate2.converters.TransformersConverter(str(folder / "checkpoint"))
    converter.convert(str(folder / "ctranslate2"), quantization="int8", force=True)
    encoder = ctranslate2.Encoder(
        str(folder / "ctranslate2"), compute_type="int8", inter_threads=1, intra_threads=1
    )
    classifier = load_checkpoint(folder).classifier
    weights = classifier.weight.detach().numpy().T
    bias = classifier.bias.detach().numpy()
    inputs = Inputs(folder, padded=False)

    def logits(text: str) -> np.ndarray:
        ids = inputs(text)["input_ids"].tolist()
        pooled = np.array(encoder.forward_batch(ids).pooler_output)
        return pooled @ weights + bias

    return alike(logits)


REFERENCE = "PyTorch float32"
OURS = "load_predictor"
PEERS = (
    Peer(REFERENCE, torch_float),
    Peer("torch dynamic INT8", torch_int8),
    Peer("transformers.pipeline", transformers_pipeline),
    Peer("ONNX Runtime float32", onnx_float, ("optimum",)),
    Peer("plain INT8, padded", onnx_int8_padded, ("optimum",)),
    Peer("plain INT8", onnx_int8, ("optimum",)),
    Peer("Optimum's pipeline, plain INT8", optimum_pipeline, ("optimum",)),
    Peer("OpenVINO INT8 weights", openvino_weights, ("openvino", "nncf")),
    Peer("OpenVINO static INT8 (NNCF)", openvino_static, ("openvino", "nncf")),
    Peer("CTranslate2 INT8", ctranslate2_int8, ("ctranslate2",)),
    Peer(OURS, ours),
)
