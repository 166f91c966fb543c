"""Small random models of the families whose layers can be cut."""

import pytest
import torch
from transformers import AutoConfig

from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.configuration import EncoderWithHeadConfig

BERT = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}
FAMILIES = {
    "bert": BERT,
    "roberta": BERT,
    "xlm-roberta": BERT,
    "electra": {**BERT, "embedding_size": 16},
    "distilbert": {
        "vocab_size": 50,
        "dim": 32,
        "n_layers": 4,
        "n_heads": 4,
        "hidden_dim": 24,
        "max_position_embeddings": 40,
    },
}


def small_model(family: str) -> EncoderWithHead:
    """Return a model of a family with three classes, not in training, the same at each call."""
    torch.manual_seed(3)
    encoder = AutoConfig.for_model(family, **FAMILIES[family], initializer_range=0.3)
    model = EncoderWithHead(EncoderWithHeadConfig(encoder, head_shape=[3]))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return model.eval()


@pytest.fixture(params=list(FAMILIES))
def model(request):
    """Yield each family's model in turn."""
    return small_model(request.param)


@pytest.fixture
def bert():
    """Return a BERT."""
    return small_model("bert")


@pytest.fixture
def inputs():
    """Return ids and mask (4, 9) of texts of different lengths."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 50, (4, 9), generator=generator)
    mask = (torch.arange(9) < torch.tensor([[9], [7], [4], [2]])).long()
    return {"input_ids": ids, "attention_mask": mask}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Return a folder with 40 labelled texts in rows.txt."""
    folder = tmp_path_factory.mktemp("compression")
    lines = [
        f"{'good day' if number % 2 else 'bad night'} {number}\t{number % 2}"
        for number in range(40)
    ]
    (folder / "rows.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
