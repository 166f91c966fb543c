"""The heads of every task on every pooling: exported and rewritten, they answer as PyTorch does."""

from importlib.util import find_spec

import numpy as np
import onnxruntime
import pytest
import torch

from tests.families import family_config, spread_out
from trainer_ext.export.graph.optimise import optimise_graph
from trainer_ext.export.to_onnx import export_onnx
from trainer_ext.modeling import EncoderWithHead, EncoderWithHeadConfig
from trainer_ext.modeling.model import POOLING_MODULES

pytestmark = pytest.mark.skipif(find_spec("optimum") is None, reason="no Optimum here")

POOLINGS = ["cls", "mean", "max", *POOLING_MODULES]
# single_label and multi_label have a logit for each class, multi_aspect one for each class of each aspect, regression
# scores on the scale of the labels, joint a second head on each token.
SCALE = {"logit_scale": [2.0, 0.5], "logit_mean": [1.0, -3.0]}
HEADS = {
    "classes": ([3], {}),
    "aspects": ([4, 3], {}),
    "scores": ([2], SCALE),
    "tokens": ([3], {"token_classes": 5}),
}


def batch(lengths: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Random tokens, padded to the longest."""
    mask = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
    ids = torch.randint(5, 50, mask.shape) * mask
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("head", HEADS)
def test_a_head_answers_as_pytorch(head, pooling, tmp_path):
    shape, options = HEADS[head]
    layers = 4 if pooling == "concat_last4" else 2
    encoder = family_config("bert", num_hidden_layers=layers)
    config = EncoderWithHeadConfig(encoder, shape, pooling=pooling, **options)
    model = spread_out(EncoderWithHead(config))
    model.config.pipeline = {"input_names": ["input_ids", "attention_mask"]}
    path = export_onnx(model, tmp_path, exporter="optimum").path
    optimise_graph(path, path)
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    assert names == ["logits", "token_logits"][: 1 + ("token_classes" in options)]
    for lengths in ((1,), (9,), (12, 3, 7)):
        inputs = batch(lengths)
        with torch.inference_mode():
            expected = model(**inputs)
        found = session.run(names, {name: value.numpy() for name, value in inputs.items()})
        for name, array in zip(names, found, strict=True):
            wanted = expected[name].numpy()
            if name == "token_logits":
                # What is said of padding is not read.
                tokens = inputs["attention_mask"].numpy() == 1
                array, wanted = array[tokens], wanted[tokens]
            np.testing.assert_allclose(array, wanted, atol=1e-3 * max(wanted.std(), 0.1))
