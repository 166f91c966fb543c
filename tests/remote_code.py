"""Model folders that bring code of their own, which leaves a file when it is run."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file


def add_tokenizer_code(folder: Path) -> Path:
    """Let a folder's tokenizer be a class of its own file; returns the file that running it would leave."""
    trace = folder / "WAS_RUN"
    (folder / "own_tokenizer.py").write_text(
        f"open({str(trace)!r}, 'w').close()\nclass Own: pass\n"
    )
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": [None, "own_tokenizer.Own"]}}
    path.write_text(json.dumps(config), encoding="utf-8")
    return trace


CONFIGURATION = """
from transformers import PretrainedConfig

open({trace!r}, "w").close()


class OwnConfig(PretrainedConfig):
    model_type = "{model_type}"

    def __init__(self, vocab_size=300, hidden_size=32, **kwargs):
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        super().__init__(**kwargs)
"""
MODELING = """
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from .configuration_own import OwnConfig


class OwnModel(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.table = nn.Embedding(config.vocab_size, config.hidden_size)
        self.post_init()

    def _init_weights(self, module):
        if isinstance(module, nn.Embedding):
            module.weight.data.normal_()

    def forward(self, input_ids, attention_mask=None, output_hidden_states=False, return_dict=True):
        states = self.table(input_ids)
        return BaseModelOutput(last_hidden_state=states, hidden_states=(states,))
"""


def save_own_encoder(folder: Path, model_type: str = "own") -> Path:
    """A folder whose encoder is code of its own; returns the file that running it leaves."""
    trace = folder.parent / "WAS_RUN"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "configuration_own.py").write_text(
        CONFIGURATION.format(trace=str(trace), model_type=model_type)
    )
    (folder / "modeling_own.py").write_text(MODELING)
    auto_map = {"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
    config = {"model_type": model_type, "vocab_size": 300, "hidden_size": 32, "auto_map": auto_map}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    generator = torch.Generator().manual_seed(0)
    weights = {"table.weight": torch.randn(300, 32, generator=generator)}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return trace
