"""What must be equal, for every objective of the settings table and every task: however an optimizer step is split
into batches, however rows are padded; R-Drop and the paper's two forwards; RMSE and FGM under accumulation by hand.
"""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence
from torch.nn import functional as F

from tests.settings import ALL, BY_NAME, SETTINGS, Setting
from tests.training.test_trainer import (
    flag_or_score_options,
    largest_difference,
    make_joint_trainer,
    make_trainer,
)
from trainer_ext.arguments.objective import ObjectiveArguments
from trainer_ext.data.preprocessing.tokenize import WORD_NUMBERS, Collator
from trainer_ext.data.teacher_outputs import TeacherOutputs
from trainer_ext.objectives.build import build_objective
from trainer_ext.objectives.rmse import mcrmse
from trainer_ext.training.teacher import with_row_numbers
from trainer_ext.training.trainer import CustomTrainer

OBJECTIVES = [
    (setting, task) for setting in SETTINGS if setting.is_objective for task in setting.tasks
]
PLAIN = [(BY_NAME["plain"], task) for task in ALL]
SPLITS = {8: 1, 4: 2, 2: 4}


def trainer_for(
    folder, task: str, *settings: Setting, dropout: float = 0.0, **kwargs
) -> CustomTrainer:
    """A trainer of the task with the objective that the flags of the settings build."""
    flags = {
        name: value
        for setting in settings
        for name, value in setting.flags.items()
        if name != "pooling"
    }
    smoothing = flags.pop("label_smoothing_factor", 0.0)
    for name in ("class_weights", "focal_alpha"):
        if name in flags:
            flags[name] = (
                [str(v) for v in flags[name]]
                if isinstance(flags[name], list)
                else [str(flags[name])]
            )
    if task == "joint":
        trainer = make_joint_trainer(folder, None, dropout, **kwargs)
    else:
        options = {"multi_aspect": {"aspects": 2}, "single_label": {}}.get(task)
        if options is None:
            options = flag_or_score_options({"multi_label": "bce", "regression": "rmse"}[task])
        trainer = make_trainer(folder, None, dropout=dropout, **(options | kwargs))
    labels = trainer.train_dataset["labels"]
    trainer.objective = build_objective(
        ObjectiveArguments(**flags), trainer.task, labels, smoothing
    )
    return trainer


def identifier(value) -> str | None:
    return value.name if isinstance(value, Setting) else None


def batches_of(
    trainer: CustomTrainer, rows: list[range], padding: int = 0
) -> list[dict[str, torch.Tensor]]:
    """Batches of these rows, with some more padding than they need."""
    batches = [trainer.data_collator([trainer.train_dataset[k] for k in part]) for part in rows]
    fills = {
        "input_ids": trainer.processing_class.pad_token_id,
        "attention_mask": 0,
        "token_labels": -100,
    }
    return [
        {n: F.pad(v, (0, padding), value=fills[n]) if n in fills else v for n, v in b.items()}
        for b in batches
    ]


def step_gradients(trainer: CustomTrainer, batches: list[dict]) -> tuple[float, list[torch.Tensor]]:
    """The loss and the gradients of one optimizer step over some batches, as the Trainer accumulates them."""
    model = trainer.model.train()
    trainer.model_wrapped = model
    model.zero_grad()
    trainer.current_gradient_accumulation_steps = len(batches)
    weights, total = trainer._get_num_items_in_batch(batches, torch.device("cpu")), 0.0
    for batch in batches:
        total += trainer.training_step(model, batch, weights).item()
    return total, [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("setting, task", [*PLAIN, *OBJECTIVES], ids=identifier)
def test_without_dropout_neither_batches_nor_padding_matter(setting, task, tmp_path):
    """Loss and gradients of 8 rows at once, split unevenly, one by one, and padded; R-Drop's term is 0."""
    trainer = trainer_for(tmp_path, task, setting)
    whole, gradients = step_gradients(trainer, batches_of(trainer, [range(8)]))
    assert max(g.abs().max() for g in gradients) > 1e-3
    splits = {
        "uneven": [range(3), range(3, 8)],
        "single": [range(k, k + 1) for k in range(8)],
        "padded": [range(8)],
    }
    for name, rows in splits.items():
        loss, others = step_gradients(
            trainer, batches_of(trainer, rows, padding=9 if name == "padded" else 0)
        )
        assert loss == pytest.approx(whole, rel=1e-4, abs=1e-5), name
        for one, other in zip(gradients, others, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-3, atol=2e-5)
    for name, (total, _) in trainer.term_means.sums.items():
        assert "rdrop" not in name or total == 0


def taught_trainer(folder, task: str, distill: str) -> CustomTrainer:
    """A trainer whose rows have a teacher, which answers at random and has not read every fourth word."""
    flags = {"distill": distill, "distill_alpha": 0.7}
    trainer = trainer_for(folder / distill, task, Setting("distillation", flags))
    rows = with_row_numbers(trainer.train_dataset, range(len(trainer.train_dataset)))
    words = None
    if task == "joint":
        words = [max(numbers) + 1 for numbers in rows[WORD_NUMBERS]]
    shape, classes = tuple(trainer.task.head_shape), trainer.task.token_classes
    teacher = TeacherOutputs(folder / f"{distill} cache", "key", len(rows), shape, words, classes)
    generator = np.random.default_rng(1)
    values = []
    for row in range(len(rows)):
        of_words = generator.normal(size=(words[row] if words else 0, classes))
        of_words[::4] = np.nan
        values.append((generator.normal(size=shape), of_words))
    teacher.write(values)
    trainer.train_dataset = rows
    trainer.data_collator = Collator(trainer.processing_class, teacher)
    return trainer


@pytest.mark.parametrize("distill", ["soft", "hard"])
@pytest.mark.parametrize("task", ALL)
def test_a_teacher_counts_alike_however_a_step_is_split(task, distill, tmp_path):
    """Its items are those of the whole step, also where batches hold other numbers of words that it has read."""
    trainer = taught_trainer(tmp_path, task, distill)
    whole, gradients = step_gradients(trainer, batches_of(trainer, [range(8)]))
    names = set(trainer.term_means.sums)
    assert f"distill_{distill}" in names
    assert (f"slot_distill_{distill}" in names) == (task == "joint")
    for rows in ([range(3), range(3, 8)], [range(k, k + 1) for k in range(8)]):
        loss, others = step_gradients(trainer, batches_of(trainer, rows))
        assert loss == pytest.approx(whole, rel=1e-4, abs=1e-5)
        for one, other in zip(gradients, others, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("task", ["multi_aspect", "regression", "joint"])
def test_epsilon_0_takes_twice_the_clean_step_however_it_is_split(task, tmp_path):
    """8x1 == 4x2 == 2x4 with FGM too, where its directions do not matter; in regression the loss is the exact RMSE."""
    options = {"max_steps": 2, "learning_rate": 0.02}
    plain = trainer_for(
        tmp_path / "plain",
        task,
        per_device_train_batch_size=8,
        **(options | {"learning_rate": 0.04}),
    )
    start = trainer_for(tmp_path / "start", task).model
    plain.train()
    assert largest_difference(plain.model, start) > 1e-3
    for size, steps in SPLITS.items():
        split = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps}
        fgm = trainer_for(
            tmp_path / f"{size}",
            task,
            adversarial="fgm",
            adversarial_epsilon=0.0,
            **split,
            **options,
        )
        fgm.train()
        assert largest_difference(plain.model, fgm.model) < 5e-6, size


# --- R-Drop and the paper -------------------------------------------------------------------------------------------


class Masks:
    """Stands in for `torch.nn.functional.dropout`: remembers the masks of a forward, or gives out halves of them."""

    def __init__(self):
        self.seen: list[torch.Tensor] = []
        self.half: int | None = None
        self.position = 0

    def __call__(
        self, states: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ):
        if not training or p == 0:
            return states
        if self.half is None:
            self.seen.append((torch.rand_like(states) >= p) / (1 - p))
            return states * self.seen[-1]
        mask = self.seen[self.position].chunk(2)[self.half]
        self.position += 1
        return states * mask

    def attention(
        self,
        query,
        key,
        value,
        attn_mask=None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **options,
    ):
        """Written out, because torch's draws its own masks."""
        scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        return (
            self((scores if attn_mask is None else scores + attn_mask).softmax(-1), dropout_p)
            @ value
        )

    def replay(self, half: int) -> None:
        """From now on give out the first or the second half of the rows of each mask."""
        self.half, self.position = half, 0


def two_kls(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Eq. 2 of the paper, an item: (KL(P1 || P2) + KL(P2 || P1)) / 2."""
    log_p, log_q = one.log_softmax(-1), other.log_softmax(-1)
    first, second = (
        F.kl_div(b, a, reduction="none", log_target=True)
        for a, b in ((log_p, log_q), (log_q, log_p))
    )
    return (first + second).sum(-1) / 2


def paper_loss(
    task: str, passes: list[dict[str, torch.Tensor]], labels: dict[str, torch.Tensor], alpha: float
):
    """The mean of the two passes' losses plus alpha times their distance, each a mean over items; written out."""
    one, other = (p["logits"] for p in passes)
    target = labels["labels"]
    if task == "regression":
        loss = (mcrmse(one, target) + mcrmse(other, target)) / 2
        return loss + alpha * ((one - other) ** 2).mean()
    if task == "multi_label":
        p, q = Bernoulli(logits=one), Bernoulli(logits=other)
        distance = (kl_divergence(p, q) + kl_divergence(q, p)) / 2
        losses = (
            F.binary_cross_entropy_with_logits(logits, target.float()) for logits in (one, other)
        )
        return sum(losses) / 2 + alpha * distance.mean()

    def heads(one: torch.Tensor, other: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        valid = target >= 0
        loss = (
            F.cross_entropy(one[valid], target[valid])
            + F.cross_entropy(other[valid], target[valid])
        ) / 2
        return loss + alpha * two_kls(one, other)[valid].mean()

    slots = (
        heads(*(p["token_logits"] for p in passes), labels["token_labels"])
        if task == "joint"
        else 0
    )
    return heads(one, other, target) + slots


@pytest.mark.parametrize("task", ALL)
def test_rdrop_is_two_forwards_with_the_same_masks(task, tmp_path, monkeypatch):
    """One forward over the batch twice, as here, and the paper's two forwards: equal loss and gradients."""
    trainer = trainer_for(tmp_path, task, Setting("R-Drop", {"rdrop_alpha": 3.0}), dropout=0.3)
    model, masks = trainer.model, Masks()
    monkeypatch.setattr(F, "dropout", masks)
    monkeypatch.setattr(F, "scaled_dot_product_attention", masks.attention)
    (batch,) = batches_of(trainer, [range(8)])
    loss, gradients = step_gradients(trainer, [batch])
    labels = {name: batch[name] for name in trainer.label_names}
    passes = []
    for half in (0, 1):
        masks.replay(half)
        passes.append(model(batch["input_ids"], batch["attention_mask"]))
    assert masks.position == len(masks.seen) >= 5 and not torch.equal(
        passes[0].logits, passes[1].logits
    )
    model.zero_grad()
    expected = paper_loss(task, passes, labels, 3.0)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    for one, other in zip(
        gradients, (p.grad for p in model.parameters() if p.grad is not None), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


# --- adversarial training and exact RMSE under accumulation -----------------------------------------------------------

ACCUMULATED = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 4,
    "max_steps": 1,
    "learning_rate": 0.1,
}


def test_fgm_and_rmse_under_accumulation_by_hand(tmp_path):
    """In a perturbed run the RMSE is that of the whole step, with this micro-batch perturbed and the others clean."""
    epsilon, rate = 2.0, ACCUMULATED["learning_rate"]
    trainer = trainer_for(
        tmp_path, "regression", adversarial="fgm", adversarial_epsilon=epsilon, **ACCUMULATED
    )
    reference = trainer_for(tmp_path / "r", "regression").model.train()
    batches, compute = [], trainer.compute_loss

    def record(model, inputs, *args, **kwargs):
        if not trainer.adversary.active:
            batches.append({name: value.clone() for name, value in inputs.items()})
        return compute(model, inputs, *args, **kwargs)

    trainer.compute_loss = record
    trainer.train()
    assert [len(batch["labels"]) for batch in batches] == [2, 2, 2, 2]

    def squares(batch: dict) -> torch.Tensor:
        return (
            (reference(batch["input_ids"], batch["attention_mask"]).logits - batch["labels"]) ** 2
        ).sum(dim=0)

    table, parameters = reference.get_input_embeddings().weight, list(reference.parameters())
    clean = [squares(batch) for batch in batches]
    joined = (sum(clean) / 8).sqrt().mean()
    expected = list(torch.autograd.grad(joined, parameters, retain_graph=True))
    for k, batch in enumerate(batches):
        others = sum(values for j, values in enumerate(clean) if j != k).detach()
        (own,) = torch.autograd.grad(
            ((others + clean[k]) / 8).sqrt().mean(), table, retain_graph=True
        )
        value = table.detach().clone()
        with torch.no_grad():
            table += epsilon * own / own.norm()
        perturbed = torch.autograd.grad(((others + squares(batch)) / 8).sqrt().mean(), parameters)
        with torch.no_grad():
            table.copy_(value)
        expected = [one + other for one, other in zip(expected, perturbed, strict=True)]
    for start, gradient, trained in zip(
        parameters, expected, trainer.model.parameters(), strict=True
    ):
        torch.testing.assert_close(start - rate * gradient, trained, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["fgm", "pgd"])
def test_statistics_are_those_of_the_clean_runs_also_with_perturbed_ones_between(method, tmp_path):
    """With dropout: the perturbed runs of one batch must not change the dropout of the next."""
    options = ACCUMULATED | {"max_steps": 2, "adversarial_start_epoch": 0, "adversarial": method}
    trainer = trainer_for(tmp_path, "regression", dropout=0.3, **options)
    seen, compute = {"statistics": [], "clean": [], "perturbed": []}, trainer._logits

    def record(*args, **kwargs):
        logits, labels, outputs = compute(*args, **kwargs)
        kind = (
            "perturbed"
            if trainer.adversary.active
            else "clean"
            if torch.is_grad_enabled()
            else "statistics"
        )
        seen[kind].append(logits["labels"].detach().clone())
        return logits, labels, outputs

    trainer._logits = record
    trainer.train()
    assert len(seen["clean"]) == len(seen["statistics"]) == 8 <= len(seen["perturbed"])
    for trained, first in zip(seen["clean"], seen["statistics"], strict=True):
        assert torch.equal(trained, first)
    assert not any(torch.equal(a, b) for a, b in pairwise(seen["clean"]))


@pytest.mark.parametrize("average", [0.0, 0.7])
def test_rmse_under_accumulation_resumes_to_the_bit(average, tmp_path):
    """The step's statistics are made with the random state and the weights that it is trained with, also at its start.

    With an average the first step after a checkpoint begins while the model still holds the average.
    """
    options = {
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "save_strategy": "steps",
    }
    options |= {"dropout": 0.3, "max_steps": 4, "save_steps": 2, "ema_decay": average}
    whole = trainer_for(
        tmp_path / "a", "regression", **options
    )  # a Trainer seeds the random state when it is made
    whole.train()
    resumed = trainer_for(tmp_path / "b", "regression", **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-2"))
    assert largest_difference(whole.model, resumed.model) == 0
    unsaved = trainer_for(tmp_path / "c", "regression", **(options | {"save_strategy": "no"}))
    unsaved.train()
    assert largest_difference(whole.model, unsaved.model) == 0, "a checkpoint changes nothing"


def test_the_objectives_of_the_table_are_all_here():
    """The tests above would pass on an empty list."""
    assert {task for _, task in OBJECTIVES} == set(ALL) and len(OBJECTIVES) > 30
