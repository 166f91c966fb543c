"""Each trainable parameter in exactly one group, with the right rate, for eight architectures."""

import pytest
from transformers import AutoConfig, Trainer

from trainer_ext.modeling import EncoderWithHead, EncoderWithHeadConfig
from trainer_ext.training.parameter_groups import layer_of, parameter_groups, rate_factor

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 40}
ARCHITECTURES = {
    "bert": {},
    "roberta": {},
    "xlm-roberta": {},
    "electra": {"embedding_size": 8},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 8,
        "conv_kernel_size": 3,
    },
    "distilbert": {"dim": 16, "hidden_dim": 32, "n_layers": 3, "n_heads": 2},
    "albert": {"embedding_size": 8},
    "modernbert": {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
}


def build(name: str) -> EncoderWithHead:
    sizes = {key: value for key, value in SMALL.items() if name != "distilbert" or key == "vocab_size"}
    return EncoderWithHead(EncoderWithHeadConfig(AutoConfig.for_model(name, **sizes, **ARCHITECTURES[name]), [3]))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_parameter_once_and_few_groups(name):
    model = build(name)
    decayed = set(Trainer.get_decay_parameter_names(None, model))
    groups = parameter_groups(model, 1e-3, 0.01, 0.5, 4.0, decayed)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert len(groups) <= 2 * (3 + 2), "one per rate and decay, not one per parameter"
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    by_name = dict(model.named_parameters())
    assert rates[id(model.head.weight)] == pytest.approx(4e-3)
    assert decays[id(model.head.weight)] == 0.01 and decays[id(model.head.bias)] == 0
    layers = sorted({layer_of(n) for n in by_name if n.startswith("encoder.")} - {None})
    assert layers == ([0] if name == "albert" else [0, 1, 2])  # ALBERT shares one layer
    top = max(layers)
    for key, parameter in by_name.items():
        if key.startswith("encoder.") and layer_of(key) is not None:
            assert rates[id(parameter)] == pytest.approx(1e-3 * 0.5 ** (top - layer_of(key))), key
    lowest = rates[id(model.get_input_embeddings().weight)]
    assert lowest == pytest.approx(1e-3 * 0.5 ** (top + 1))
    assert lowest == min(rates.values())
    assert groups[0]["lr"] == max(rates.values()), "the rate that is logged is the first group's"


def test_frozen_parameters_are_left_out():
    model = build("bert")
    model.get_input_embeddings().weight.requires_grad_(False)
    groups = parameter_groups(model, 1e-3, 0.01, 0.9, 1.0, set())
    assert sum(len(group["params"]) for group in groups) == sum(p.requires_grad for p in model.parameters())


def test_names_outside_the_layers():
    assert rate_factor("encoder.final_norm.weight", 12, 0.9, 2.0) == 1.0
    assert rate_factor("encoder.encoder.rel_embeddings.weight", 12, 0.5, 2.0) == 0.5**12
    assert rate_factor("encoder.embeddings.LayerNorm.bias", 2, 0.5, 2.0) == 0.25
    assert rate_factor("head.weight", 12, 0.9, 2.0) == 2.0
