"""A teacher beside the student: equal models are 0 apart, the equations on a tiny pair, whole runs, and refusals."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import BertConfig

from tests.conftest import run_ok
from tests.training.test_teacher import check_refused, losses_of
from trainer_ext.errors import UserError
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.configuration import EncoderWithHeadConfig
from trainer_ext.modeling.layer_sizes import blocks_of, keep
from trainer_ext.training.layer_teacher import LayerTeacher, checked_map, relation_heads

INPUTS = {
    "input_ids": torch.tensor([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
}
BOTH = ["--distill_hidden_weight", "0.5", "--distill_attention_weight", "0.2"]
TEACHER_FLAGS = ["--distill", "soft", "--distill_alpha", "0.7"]


def model_of(width: int, layers: int, heads: int, seed: int) -> EncoderWithHead:
    """A model that computes without dropout."""
    torch.manual_seed(seed)
    encoder = BertConfig(
        vocab_size=12,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * width,
        initializer_range=0.5,
    )
    return EncoderWithHead(EncoderWithHeadConfig(encoder=encoder, head_shape=[3])).eval()


def measured(teacher: EncoderWithHead, student: EncoderWithHead, layer_map=None) -> dict:
    pair = LayerTeacher(teacher, student, layer_map, True, True)
    states = student(**INPUTS, output_hidden_states=True).hidden_states
    return pair.measure(INPUTS, states, passes=1)


def test_equal_models_are_0_apart():
    model = model_of(8, 2, 2, seed=1)
    same = model_of(8, 2, 2, seed=2)
    same.load_state_dict(model.state_dict())
    for values in measured(model, same).values():
        assert values.abs().max() == 0


def test_the_equations_on_a_tiny_pair():
    teacher, student = model_of(12, 4, 2, seed=3), model_of(8, 2, 2, seed=4)
    pair = LayerTeacher(teacher, student, None, True, True)
    assert pair.layer_map == [1, 3]
    own = student(**INPUTS, output_hidden_states=True).hidden_states
    with torch.no_grad():
        others = teacher(**INPUTS, output_hidden_states=True).hidden_states
    found = pair.measure(INPUTS, own, passes=1)
    w_e = pair.projections.embeddings.detach().numpy()
    w_h = pair.projections.hidden.detach().numpy()
    for row, length in ((0, 5), (1, 3)):
        s = [state[row, :length].detach().numpy() for state in own]
        t = [state[row, :length].numpy() for state in others]
        # Eq. 9 and 8: E^S W_e with E^T, H^S W_h with H^T; the mean over the three
        expected = ((s[0] @ w_e.T - t[0]) ** 2).mean()
        expected += ((s[1] @ w_h.T - t[2]) ** 2).mean() + ((s[2] @ w_h.T - t[4]) ** 2).mean()
        np.testing.assert_allclose(
            found["distill_hidden"][0, row, :length].mean().item(), expected / 3, rtol=1e-4
        )
        total = 0.0
        for number, layer in ((0, 1), (1, 3)):
            of_student = scores(student, number, s[number])
            of_teacher = scores(teacher, layer, t[layer])
            total += ((of_student - of_teacher) ** 2).mean() / 2
        value = found["distill_attention"][0, row, :length].mean().item()
        np.testing.assert_allclose(value, total, rtol=1e-4)


def scores(model: EncoderWithHead, layer: int, states: np.ndarray) -> np.ndarray:
    """Q K^T / sqrt(d) of each head (heads, L, L), from the layer's weights."""
    attention = model.encoder.encoder.layer[layer].attention.self
    of_heads = []
    q, k = (
        states @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
        for linear in (attention.query, attention.key)
    )
    width = q.shape[1] // 2
    for head in range(2):
        own = slice(head * width, (head + 1) * width)
        of_heads.append(q[:, own] @ k[:, own].T / np.sqrt(width))
    return np.stack(of_heads)


def test_attention_scores_are_those_that_the_encoder_computes():
    model = model_of(8, 2, 2, seed=5)
    model.encoder.set_attn_implementation("eager")
    outputs = model.encoder(**INPUTS, output_attentions=True, output_hidden_states=True)
    for layer in range(2):
        own = scores(model, layer, outputs.hidden_states[layer][0].detach().numpy())
        expected = torch.tensor(own).float().softmax(-1)
        torch.testing.assert_close(outputs.attentions[layer][0], expected, rtol=1e-4, atol=1e-5)


def test_other_numbers_of_heads_are_compared_by_their_relations():
    teacher, student = model_of(8, 2, 4, seed=6), model_of(8, 2, 4, seed=7)
    for block in blocks_of(student.encoder):
        keep(block, torch.tensor([0, 2]), torch.arange(16))
    values = measured(teacher, student)["distill_attention"]
    # A divergence: never below 0, and 0 at padding-free equality only.
    assert values.min() > 0 and values.isfinite().all()
    assert relation_heads(192, 384, 12) == 12
    assert relation_heads(312, 768, 12) == 12
    assert relation_heads(10, 4, 4) == 2


def test_the_projections_are_trained_but_not_saved(tmp_path):
    teacher, student = model_of(12, 2, 2, seed=8), model_of(8, 2, 2, seed=9)
    names = set(student.state_dict())
    pair = LayerTeacher(teacher, student, None, True, False)
    assert {name for name, _ in student.named_parameters()} - names == {
        "layer_projections.hidden",
        "layer_projections.embeddings",
    }
    assert set(student.state_dict()) == names
    student.load_state_dict(student.state_dict())
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")  # a checkpoint has one
    pair.save(tmp_path)
    before = pair.projections.hidden.detach().clone()
    with torch.no_grad():
        pair.projections.hidden.zero_()
    pair.load(tmp_path)
    assert torch.equal(pair.projections.hidden, before)
    with pytest.raises(UserError, match="cannot resume"):
        pair.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "layer_map, depth, of_teacher, expected",
    [(None, 4, 12, [2, 5, 8, 11]), ([0, 0, 3], 3, 4, [0, 0, 3]), (None, 2, 2, [0, 1])],
)
def test_layer_map(layer_map, depth, of_teacher, expected):
    assert checked_map(layer_map, depth, of_teacher) == expected


@pytest.mark.parametrize(
    "layer_map, depth, words",
    [
        (None, 6, "the student has 6 layers and its teacher 4"),
        ([1, 2], 3, "distill_layer_map 1 2 names 2 layers, but the student has 3"),
        ([1, 4], 2, "distill_layer_map 1 4: the teacher has 4 layers"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(layer_map, depth, words):
    with pytest.raises(UserError, match=words):
        checked_map(layer_map, depth, 4)


@pytest.fixture(scope="module")
def flags(topic_flags, topic_checkpoint) -> list:
    """A student of another width, whose vocabulary is trained on the same texts and so is the teacher's."""
    narrow = "hidden_size=16,num_hidden_layers=1,num_attention_heads=2,intermediate_size=32"
    taught = ["--config_overrides", narrow, "--max_steps", "6", "--teacher", topic_checkpoint]
    return [*topic_flags, *taught, *TEACHER_FLAGS, *BOTH, "--save_total_limit", "3"]


def test_a_narrow_student_learns_with_everything_else(flags, tmp_path):
    more = ["--rdrop_alpha", "1", "--adversarial", "fgm", "--adversarial_start_epoch", "0"]
    more += ["--gradient_accumulation_steps", "2", "--ema_decay", "0.5", "--max_grad_norm", "1"]
    done = run_ok("train.py", *flags, *more, "--output_dir", tmp_path / "student")
    assert "the student's layers learn from the teacher's layers" in done.stderr
    assert losses_of(tmp_path / "student") >= {
        "loss_distill_hidden",
        "loss_distill_attention",
        "loss_distill_soft",
        "loss_rdrop",
        "loss_adversarial",
    }
    saved = load_file(tmp_path / "student" / "model.safetensors")
    assert not any("projection" in name for name in saved)


def test_hidden_states_come_nearer(flags, tmp_path):
    longer = ["--max_steps", "60", "--logging_steps", "20", "--eval_steps", "60"]
    longer += ["--save_steps", "60", "--distill_hidden_weight", "5"]
    run_ok("train.py", *flags, *longer, "--output_dir", tmp_path / "student")
    (file,) = (tmp_path / "student").glob("checkpoint-60/trainer_state.json")
    history = json.loads(file.read_text(encoding="utf-8"))["log_history"]
    values = [entry["loss_distill_hidden"] for entry in history if "loss_distill_hidden" in entry]
    assert len(values) == 3 and values[2] < 0.8 * values[0]


@pytest.mark.parametrize("ema", [pytest.param([], marks=pytest.mark.slow), ["--ema_decay", "0.5"]])
def test_a_resumed_run_ends_as_one_that_was_not_cut_off(ema, flags, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run_ok("train.py", *flags, *ema, "--max_steps", "12", "--output_dir", whole)
    cut.mkdir()
    for name in ("checkpoint-6", "teacher_cache"):
        shutil.copytree(whole / name, cut / name)
    resume = ["--resume_from_checkpoint", "true", "--max_steps", "12"]
    run_ok("train.py", *flags, *ema, *resume, "--output_dir", cut)
    one, other = (load_file(folder / "model.safetensors") for folder in (whole, cut))
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-3, atol=1e-5)
    states = [
        load_file(folder / "checkpoint-12" / "layer_projections.safetensors")["hidden"]
        for folder in (whole, cut)
    ]
    np.testing.assert_allclose(*states, rtol=1e-3, atol=1e-5)


def cut_flags(topic_flags: list, teacher: Path) -> list:
    cut = ["--from_scratch", "none", "--config_overrides", "hidden_dropout_prob=0"]
    cut += ["--model_name_or_path", teacher]
    return [*topic_flags, *cut, "--teacher", teacher, "--max_steps", "6", *TEACHER_FLAGS, *BOTH]


@pytest.mark.parametrize(
    "stage",
    [["layers", "--keep_layers", "1"], ["width", "--width", "0.5"]],
    ids=["layers", "width"],
)
def test_a_cut_model_learns_from_the_one_it_was_cut_from(
    stage, topic_flags, topic_checkpoint, tmp_path
):
    flags = [*cut_flags(topic_flags, topic_checkpoint), "--compression", *stage]
    more = tmp_path / "more.txt"
    more.write_text("a new match\nthe bank said so\n", encoding="utf-8")
    folder = tmp_path / "student"
    run_ok("train.py", *flags, "--unlabelled_file", more, "--output_dir", folder)
    assert losses_of(folder) >= {"loss_distill_hidden", "loss_distill_attention"}


REFUSED = [
    (["--distill_alpha", "0"], ["distill_hidden_weight 0.5", "distill_alpha is 0"]),
    (["--teacher", "a", "b"], ["one teacher", "names 2"]),
    (["--distill_layer_map", "0", "1"], ["distill_layer_map 0 1", "the student has 1"]),
    (["--vocab_size", "40"], ["another tokenizer", "40 pieces"]),
    (
        ["--from_scratch", "bilstm", "--config_overrides", "none", "--pooling", "mean"],
        ["from_scratch bilstm", "distill_hidden_weight 0.5"],
    ),
    (
        ["--distill_hidden_weight", "0", "--distill_attention_weight", "0", "--distill_layer_map", "1"],
        ["distill_layer_map 1 has no effect"],
    ),
    (["--distill_hidden_weight", "-1"], ["distill_hidden_weight -1", "at least 0"]),
]  # fmt: skip


@pytest.mark.parametrize("more, words", REFUSED)
def test_what_cannot_be_compared_is_refused(more, words, flags, tmp_path):
    check_refused([*flags, *more], words, tmp_path)


def test_the_terms_need_distillation(topic_flags, topic_checkpoint, tmp_path):
    check_refused(
        [*topic_flags, "--distill_hidden_weight", "1"], ["no effect", "distill is none"], tmp_path
    )
