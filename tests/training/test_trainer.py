"""`CustomTrainer` against the stock Trainer and against itself under other batch splits."""

import shutil

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.nn import functional as F
from transformers import BertConfig, PreTrainedTokenizerFast, Trainer, TrainerState
from transformers.modeling_outputs import SequenceClassifierOutput

from tests.conftest import CLASSES, labelled_lines
from tests.objectives.test_joint import JOINT_OBJECTIVES
from tests.objectives.test_objective import MULTI_LABEL, OBJECTIVES, REGRESSION
from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.data.preprocessing.tokenize import Collator, tokenize
from trainer_ext.data.sampling.resample import make_resampler
from trainer_ext.errors import RunError, UserError
from trainer_ext.modeling import EncoderWithHead, EncoderWithHeadConfig
from trainer_ext.modeling.scratch import train_tokenizer
from trainer_ext.tasks import TASKS, LabelSpace
from trainer_ext.tasks.joint import Joint
from trainer_ext.tasks.joint_space import JointLabelSpace
from trainer_ext.training.trainer import CustomTrainer

ROWS = labelled_lines(24, seed=0)
TOKENIZER: PreTrainedTokenizerFast = train_tokenizer([text for text, _ in ROWS], 200, 32)


def make_data(aspects: int = 0) -> Dataset:
    """24 tokenised rows; with `aspects` the labels are a list of that length, some of them not to be counted."""
    labels = [list(CLASSES).index(label) for _, label in ROWS]
    if aspects:
        labels = [[label, -100 if k % 3 else label][:aspects] for k, label in enumerate(labels)]
    return tokenize(
        Dataset.from_dict({"text": [text for text, _ in ROWS], "labels": labels}),
        TOKENIZER,
        32,
        None,
    )


def make_model(
    aspects: int = 0, dropout: float = 0.0, model_class=EncoderWithHead
) -> EncoderWithHead:
    """A small encoder with fixed weights."""
    torch.manual_seed(0)
    encoder = BertConfig(
        vocab_size=len(TOKENIZER),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    shape = [aspects, 3] if aspects else [3]
    return model_class(EncoderWithHeadConfig(encoder, shape, pooling="mean", head_dropout=dropout))


def make_arguments(folder, **kwargs) -> TrainingArguments:
    defaults = {
        "max_steps": 3,
        "learning_rate": 0.5,
        "optim": "sgd",
        "lr_scheduler_type": "constant",
        "seed": 3,
    }
    defaults |= {
        "max_grad_norm": 0.0,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1,
    }
    return TrainingArguments(output_dir=str(folder), use_cpu=True, **(defaults | kwargs))


def make_trainer(
    folder,
    objective,
    aspects: int = 0,
    dropout: float = 0.0,
    data: Dataset | None = None,
    task=None,
    **kwargs,
) -> CustomTrainer:
    task = task or TASKS["multi_aspect" if aspects else "single_label"](
        LabelSpace(tuple("ab"[:aspects] or "a"), tuple(CLASSES), tuple(CLASSES))
    )
    data = data or make_data(aspects)
    return CustomTrainer(
        model=make_model(aspects, dropout),
        args=make_arguments(folder, **kwargs),
        objective=objective,
        task=task,
        train_dataset=data,
        eval_dataset=data,
        processing_class=TOKENIZER,
        data_collator=Collator(TOKENIZER),
    )


def largest_difference(a: torch.nn.Module, b: torch.nn.Module) -> float:
    return max(
        (p - q).abs().max().item() for p, q in zip(a.parameters(), b.parameters(), strict=True)
    )


class WithLoss(EncoderWithHead):
    """What the stock Trainer needs: a model that computes its own loss."""

    def forward(self, input_ids, attention_mask=None, labels=None):
        logits = super().forward(input_ids, attention_mask).logits
        return SequenceClassifierOutput(loss=F.cross_entropy(logits, labels), logits=logits)


def test_plain_cross_entropy_takes_the_steps_of_the_stock_trainer(tmp_path):
    options = {
        "per_device_train_batch_size": 5,
        "max_steps": 8,
        "optim": "adamw_torch",
        "learning_rate": 1e-2,
    }
    before = make_model(dropout=0.1)
    ours = make_trainer(tmp_path / "a", OBJECTIVES["cross_entropy"], dropout=0.1, **options)
    ours.train()
    stock = Trainer(  # made only now: a Trainer seeds the random state when it is made
        model=make_model(dropout=0.1, model_class=WithLoss),
        args=make_arguments(tmp_path / "b", **options),
        train_dataset=make_data(),
        data_collator=Collator(TOKENIZER),
    )
    stock.train()
    assert largest_difference(ours.model, before) > 1e-2
    assert largest_difference(ours.model, stock.model) < 1e-5
    pairs = zip(ours.state.log_history, stock.state.log_history, strict=True)
    assert all(abs(a["loss"] - b["loss"]) < 1e-3 for a, b in pairs if "loss" in a)


@pytest.mark.parametrize("aspects", [0, 2], ids=["rows", "aspects with ignored items"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_8x1_equals_4x2_equals_2x4(name, aspects, tmp_path):
    trained = {}
    for size, steps in ((8, 1), (4, 2), (2, 4)):
        trainer = make_trainer(
            tmp_path / f"{size}",
            OBJECTIVES[name],
            aspects,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=steps,
        )
        trainer.train()
        trained[size] = trainer
    assert largest_difference(trained[8].model, make_model(aspects)) > 1e-2
    for size in (4, 2):
        assert largest_difference(trained[8].model, trained[size].model) < 2e-6
        for one, other in zip(
            trained[8].state.log_history, trained[size].state.log_history, strict=True
        ):
            assert all(abs(one[key] - other[key]) < 1e-4 for key in one if key.startswith("loss"))


def flag_or_score_options(name: str) -> dict:
    """Task and rows of 0/1 flags or of scores, for `make_trainer`."""
    space = LabelSpace(tuple(CLASSES), *2 * (tuple(CLASSES) if name in MULTI_LABEL else (),))
    task = TASKS["multi_label" if name in MULTI_LABEL else "regression"](space)
    labels = [[int(k == j or j == 0) for j in range(3)] for k in make_data()["labels"]]
    if name in REGRESSION:
        labels = [
            [3.0 + flags[0], flags[1] - 0.5 * row, 5.0 * flags[2]]
            for row, flags in enumerate(labels)
        ]
    data = make_data().remove_columns("labels").add_column("labels", labels)
    return {"task": task, "data": data, "learning_rate": 0.1}


@pytest.mark.parametrize("name", [*MULTI_LABEL, *REGRESSION])
def test_8x1_equals_4x2_equals_2x4_of_flags_and_scores(name, tmp_path):
    trained = {}
    for size, steps in ((8, 1), (4, 2), (2, 4)):
        trained[size] = make_trainer(
            tmp_path / f"{size}",
            (MULTI_LABEL | REGRESSION)[name],
            per_device_train_batch_size=size,
            gradient_accumulation_steps=steps,
            **flag_or_score_options(name),
        )
        trained[size].train()
    assert largest_difference(trained[8].model, make_model()) > 1e-2
    for size in (4, 2):
        assert largest_difference(trained[8].model, trained[size].model) < 5e-6
        for one, other in zip(
            trained[8].state.log_history, trained[size].state.log_history, strict=True
        ):
            assert all(
                one[key] == pytest.approx(other[key], rel=1e-4)
                for key in one
                if key.startswith("loss")
            )


def test_statistics_of_a_step_come_from_the_logits_that_are_trained_on(tmp_path):
    trainer = make_trainer(
        tmp_path,
        REGRESSION["rmse_rdrop"],
        dropout=0.3,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
        max_steps=2,
        **flag_or_score_options("rmse"),
    )
    seen, compute = {True: [], False: []}, trainer._logits

    def record(*args, **kwargs):
        logits, labels, outputs = compute(*args, **kwargs)
        seen[logits["labels"].requires_grad].append(logits["labels"].detach().clone())
        return logits, labels, outputs

    trainer._logits = record
    trainer.train()
    assert len(seen[True]) == len(seen[False]) == 8
    for trained, first in zip(seen[True], seen[False], strict=True):
        assert torch.equal(trained, first)
        assert not torch.equal(trained[0], trained[1]), "the dropout must be on"


def test_a_short_last_accumulation_is_normalised_too(tmp_path):
    # 24 rows as 5 x 2: optimizer steps of 10, 10 and 4 rows in 2, 2 and 1 batches
    trainers = [
        make_trainer(
            tmp_path / str(size),
            OBJECTIVES["cross_entropy"],
            per_device_train_batch_size=size,
            gradient_accumulation_steps=steps,
            max_steps=-1,
            num_train_epochs=1,
        )
        for size, steps in ((10, 1), (5, 2))
    ]
    for trainer in trainers:
        trainer.train()
    assert largest_difference(trainers[0].model, trainers[1].model) < 2e-6


def test_without_dropout_the_rdrop_term_is_zero_and_changes_nothing(tmp_path):
    plain = make_trainer(tmp_path / "a", OBJECTIVES["cross_entropy"], per_device_train_batch_size=8)
    rdrop = make_trainer(tmp_path / "b", OBJECTIVES["rdrop"], per_device_train_batch_size=8)
    plain.train()
    rdrop.train()
    assert largest_difference(plain.model, rdrop.model) < 2e-6
    assert all(abs(entry.get("loss_rdrop", 0)) < 1e-6 for entry in rdrop.state.log_history)


def test_with_dropout_it_is_positive_and_logged_by_name(tmp_path):
    trainer = make_trainer(
        tmp_path, OBJECTIVES["focal_rdrop"], dropout=0.3, per_device_train_batch_size=8
    )
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logs) == 3
    for entry in logs:
        assert entry["loss_rdrop"] > 0
        assert entry["loss"] == pytest.approx(
            entry["loss_focal"] + 0.5 * entry["loss_rdrop"], abs=1e-3
        )


def test_evaluation_is_one_pass_in_row_order_with_the_tasks_metrics(tmp_path):
    trainer = make_trainer(
        tmp_path,
        OBJECTIVES["rdrop"],
        dropout=0.3,
        group_by_length=True,
        per_device_eval_batch_size=5,
    )
    result = trainer.predict(trainer.eval_dataset)
    assert result.label_ids.tolist() == trainer.eval_dataset["labels"]
    assert {"test_accuracy", "test_f1_macro", "test_loss"} <= set(result.metrics)
    again = trainer.predict(trainer.eval_dataset)
    assert (result.predictions == again.predictions).all()


def test_a_run_that_diverges_ends_with_an_error(tmp_path):
    """Whether its weights show it when a loss is logged, or its logits when it is evaluated."""
    trainer = make_trainer(
        tmp_path / "a", OBJECTIVES["focal_rdrop"], max_steps=4, learning_rate=1e38, logging_steps=1
    )
    with pytest.raises(
        RunError,
        match="after step [1-4] the weights are no longer finite.*learning_rate below 1e[+]38",
    ):
        trainer.train()
    trainer = make_trainer(tmp_path / "b", OBJECTIVES["focal_rdrop"])
    torch.nn.init.constant_(trainer.model.head.bias, float("nan"))
    with pytest.raises(RunError, match="outputs are not finite numbers"):
        trainer.evaluate()


def test_no_pickled_arguments_are_saved(tmp_path):
    trainer = make_trainer(tmp_path, OBJECTIVES["cross_entropy"])
    trainer.save_model(str(tmp_path / "saved"))
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in names)


def test_gradient_checkpointing_takes_the_same_steps(tmp_path):
    plain = make_trainer(tmp_path / "a", OBJECTIVES["rdrop"], per_device_train_batch_size=8)
    saving = make_trainer(
        tmp_path / "b",
        OBJECTIVES["rdrop"],
        per_device_train_batch_size=8,
        gradient_checkpointing=True,
    )
    plain.train()
    saving.train()
    assert saving.model.encoder.encoder.layer[0].gradient_checkpointing
    assert largest_difference(plain.model, saving.model) < 2e-6


def test_a_factor_for_the_head_alone_makes_groups(tmp_path):
    """Norms and biases in theirs without decay."""
    trainer = make_trainer(
        tmp_path, OBJECTIVES["cross_entropy"], head_lr_factor=4.0, weight_decay=0.1
    )
    groups = [
        (g["lr"], g["weight_decay"], len(g["params"]))
        for g in trainer.create_optimizer().param_groups
    ]
    rest = len(list(trainer.model.encoder.parameters()))
    assert [group[:2] for group in groups] == [(2.0, 0.1), (2.0, 0.0), (0.5, 0.1), (0.5, 0.0)]
    assert [group[2] for group in groups[:2]] == [1, 1] and groups[2][2] + groups[3][2] == rest


def test_samplers_group_the_rows_of_an_optimizer_step_and_are_seeded_by_data_seed(tmp_path):
    options = {
        "group_by_length": True,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 3,
    }
    for flags, seed in (({}, 3), ({"data_seed": 7}, 7)):
        trainer = make_trainer(tmp_path, OBJECTIVES["cross_entropy"], **options, **flags)
        labels = np.asarray(trainer.train_dataset["labels"])
        for resampler in (None, make_resampler(labels, "oversample")):
            trainer.resampler = resampler
            sampler = trainer._get_train_sampler()
            assert (sampler.seed, sampler.batch_size) == (seed, 6)


def test_of_a_run_that_was_over_the_best_weights_are_taken_up_not_the_last(tmp_path):
    """Those beside the checkpoint, wherever it was when its state was written; without a best one the last."""
    looking = {"load_best_model_at_end": True, "eval_strategy": "steps", "save_strategy": "steps"}
    trainer = make_trainer(tmp_path, OBJECTIVES["cross_entropy"], **looking)
    for step in (1, 2):
        torch.nn.init.constant_(trainer.model.head.bias, step)
        trainer.save_model(str(tmp_path / f"checkpoint-{step}"))
    for best, expected in (("/moved/checkpoint-1", 1), (None, 2)):
        state = TrainerState(global_step=2, best_model_checkpoint=best)
        state.save_to_json(str(tmp_path / "checkpoint-2" / "trainer_state.json"))
        torch.nn.init.constant_(trainer.model.head.bias, 9)
        trainer.load_finished(str(tmp_path / "checkpoint-2"))
        assert trainer.state.global_step == 2 and trainer.model.head.bias.tolist() == [expected] * 3
        assert (trainer.holds_best, trainer.step_of_model) == (bool(best), expected)
    shutil.rmtree(tmp_path / "checkpoint-1")
    TrainerState(best_global_step=1).save_to_json(
        str(tmp_path / "checkpoint-2" / "trainer_state.json")
    )
    with pytest.raises(
        UserError, match="the best model .* is that of step 1, which must lie beside it"
    ):
        trainer.load_finished(str(tmp_path / "checkpoint-2"))


SLU_TASK = Joint(
    JointLabelSpace(("intent",), tuple(CLASSES), tuple(CLASSES), ("O", "B-x", "I-x", "B-y"))
)


def make_joint_data() -> Dataset:
    """The rows as words with tags: some filler words are slots, so every row has another number of them."""
    words = [text.split() for text, _ in ROWS]
    tags = [[len(word) % 4 for word in row] for row in words]
    columns = {
        "words": words,
        "labels": [list(CLASSES).index(label) for _, label in ROWS],
        "token_labels": tags,
    }
    return tokenize(
        Dataset.from_dict({"text": [text for text, _ in ROWS], **columns}), TOKENIZER, 32, None
    )


def make_joint_trainer(folder, objective, dropout: float = 0.0, **kwargs) -> CustomTrainer:
    """With a fresh model of two heads, always the same."""
    torch.manual_seed(0)
    config = make_model(dropout=dropout).config
    config.token_classes = SLU_TASK.token_classes
    arguments = make_arguments(folder, **kwargs)
    arguments.label_names = ["labels", "token_labels"]
    torch.manual_seed(0)
    return CustomTrainer(
        model=EncoderWithHead(config),
        args=arguments,
        objective=objective,
        task=SLU_TASK,
        train_dataset=make_joint_data(),
        eval_dataset=make_joint_data(),
        processing_class=TOKENIZER,
        data_collator=Collator(TOKENIZER),
    )


@pytest.mark.parametrize("name", JOINT_OBJECTIVES)
def test_8x1_equals_4x2_equals_2x4_with_two_heads(name, tmp_path):
    """The slots are normalised over the words of the whole optimizer step."""
    trained = {}
    for size, steps in ((8, 1), (4, 2), (2, 4)):
        options = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps}
        trained[size] = make_joint_trainer(tmp_path / str(size), JOINT_OBJECTIVES[name], **options)
        start = make_joint_trainer(tmp_path / "start", JOINT_OBJECTIVES[name]).model
        trained[size].train()
        assert largest_difference(trained[size].model.token_head, start.token_head) > 1e-2
    for size in (4, 2):
        assert largest_difference(trained[8].model, trained[size].model) < 2e-6
        for one, other in zip(
            trained[8].state.log_history, trained[size].state.log_history, strict=True
        ):
            assert all(abs(one[key] - other[key]) < 1e-4 for key in one if key.startswith("loss"))


def test_two_heads_are_logged_and_evaluated_together(tmp_path):
    trainer = make_joint_trainer(
        tmp_path, JOINT_OBJECTIVES["joint_focal_rdrop"], dropout=0.3, per_device_eval_batch_size=5
    )
    trainer.train()
    for entry in [entry for entry in trainer.state.log_history if "loss" in entry]:
        parts = {
            name: entry[f"loss_{name}"] for name in ("focal", "rdrop", "slot_focal", "slot_rdrop")
        }
        assert min(parts.values()) > 0
        expected = parts["focal"] + parts["rdrop"] + 2 * (parts["slot_focal"] + parts["slot_rdrop"])
        assert entry["loss"] == pytest.approx(expected, abs=1e-3)
    result = trainer.predict(trainer.eval_dataset)
    intents, tags = result.predictions
    assert intents.shape == (24, 3) and tags.shape == (*result.label_ids[1].shape, 4)
    words = [[tag for tag in row if tag != -100] for row in result.label_ids[1].tolist()]
    assert words == [[len(word) % 4 for word in text.split()] for text, _ in ROWS]
    assert {"test_intent_accuracy", "test_slot_f1", "test_sentence_accuracy", "test_loss"} <= set(
        result.metrics
    )
