"""Each trainable parameter in exactly one group, with the right rate, for eight architectures."""

import pytest
from transformers import AutoConfig, Trainer

from trainer_ext.errors import UserError
from trainer_ext.modeling import EncoderWithHead, EncoderWithHeadConfig
from trainer_ext.modeling.layers import layer_of, part_of
from trainer_ext.training.parameter_groups import explicit_groups, parameter_groups, rate_factor

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 40,
}
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
    "modernbert": {
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "cls_token_id": 1,
        "sep_token_id": 2,
    },
}


def build(name: str) -> EncoderWithHead:
    sizes = {
        key: value for key, value in SMALL.items() if name != "distilbert" or key == "vocab_size"
    }
    return EncoderWithHead(
        EncoderWithHeadConfig(AutoConfig.for_model(name, **sizes, **ARCHITECTURES[name]), [3])
    )


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


def test_a_decay_over_layers_that_are_not_found_is_refused():
    """XLM numbers its attentions and norms, not its layers."""
    config = AutoConfig.for_model(
        "xlm", emb_dim=16, n_layers=2, n_heads=2, n_words=40, max_position_embeddings=32
    )
    model = EncoderWithHead(EncoderWithHeadConfig(config, [3]))
    with pytest.raises(UserError, match="layer_wise_lr_decay 0.5 has no effect.*xlm"):
        parameter_groups(model, 1e-3, 0.01, 0.5, 1.0, set())
    assert len(parameter_groups(model, 1e-3, 0.01, 1.0, 2.0, set())) == 2


def test_frozen_parameters_are_left_out():
    model = build("bert")
    model.get_input_embeddings().weight.requires_grad_(False)
    groups = parameter_groups(model, 1e-3, 0.01, 0.9, 1.0, set())
    assert sum(len(group["params"]) for group in groups) == sum(
        p.requires_grad for p in model.parameters()
    )


def test_names_outside_the_layers():
    assert rate_factor("encoder.final_norm.weight", 12, 0.9, 2.0) == 1.0
    assert rate_factor("encoder.encoder.rel_embeddings.weight", 12, 0.5, 2.0) == 0.5**12
    assert rate_factor("encoder.embeddings.LayerNorm.bias", 2, 0.5, 2.0) == 0.25
    assert rate_factor("head.weight", 12, 0.9, 2.0) == 2.0


@pytest.mark.parametrize(
    "name, layer",
    [
        ("encoder.encoder.layer.11.attention.self.query.weight", 11),
        ("encoder.lstm.weight_ih_l0", 0),
        ("encoder.lstm.weight_hh_l1_reverse", 1),
        ("encoder.lstm.bias_ih_l2", 2),
        ("encoder.embeddings.word_embeddings.weight", None),
        ("head.weight", None),
    ],
)
def test_layer_numbers(name, layer):
    """Of transformers and of a torch LSTM."""
    assert layer_of(name) == layer


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_explicit_groups(name):
    """Every parameter once, at the rate of its entry; a final norm and what is not named at the learning rate."""
    model = build(name)
    layers = ["layers=2e-3"] if name == "albert" else ["layers.2-=3e-3", "layers.0-1=2e-3"]
    decayed = set(Trainer.get_decay_parameter_names(None, model))
    groups = explicit_groups(model, [*layers, "head=5e-3"], 1e-4, 0.01, decayed)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    assert len(groups) <= 2 * 4
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    for key, parameter in model.named_parameters():
        part, layer = part_of(key)
        expected = {"head": 5e-3, "layers": 3e-3 if layer == 2 else 2e-3}.get(part, 1e-4)
        assert rates[id(parameter)] == expected, key


@pytest.mark.parametrize(
    "entries, parts",
    [
        (["layers.0-5=1e-3"], ["layers.0-5=1e-3", None]),
        (["layers.0-1=1e-3"], ["layers.0-1=1e-3", "leave out layer 2 of 3"]),
        (["layers.0-2=1e-3", "layers.3-=1e-4"], ["layers.3-=1e-4 has no effect", "3 layers"]),
    ],
)
def test_entries_must_fit_the_model(entries, parts):
    """A range may reach beyond the top; an entry may not lie beyond it, and no layer may be left over."""
    if None in parts:
        assert explicit_groups(build("bert"), entries, 1e-4, 0.0, set())
        return
    with pytest.raises(UserError) as caught:
        explicit_groups(build("bert"), entries, 1e-4, 0.0, set())
    assert all(part in str(caught.value) for part in parts), caught.value


def test_an_entry_for_frozen_parameters_has_no_effect():
    model = build("bert")
    model.encoder.embeddings.requires_grad_(False)
    with pytest.raises(UserError, match="embeddings=1e-5 has no effect"):
        explicit_groups(model, ["embeddings=1e-5", "head=1e-3"], 1e-4, 0.0, set())
