"""FGM, PGD and AWP: closed forms, norms, restoration to the bit, and what they do inside the Trainer."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.conftest import run_ok, run_script
from tests.objectives.test_objective import OBJECTIVES
from tests.training.test_trainer import largest_difference, make_model, make_trainer
from trainer_ext.training.adversarial import AWP, FGM, PGD, adversarial_backward, ascend

ADVERSARIES = {"fgm": FGM(1.0), "pgd": PGD(0.7, 3), "awp": AWP(0.05), "awp 2 steps": AWP(0.05, 2)}
SGD = {"per_device_train_batch_size": 8, "max_steps": 2, "learning_rate": 0.1}


class Linear(nn.Module):
    """Embedding of one token and a fixed projection of it: loss = a . w for the token's row w."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(3, 2)
        self.embedding.weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
        self.head = nn.Parameter(torch.tensor([[3.0, 4.0]]))

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding

    def backward(self, token: int, scale: float = 1.0) -> torch.Tensor:
        loss = (self.head[0] * self.embedding(torch.tensor(token))).sum()
        (scale * loss).backward()
        return loss.detach()


def snapshot(model: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def same_bits(model: nn.Module, values: list[torch.Tensor]) -> bool:
    return all(torch.equal(p, v) for p, v in zip(model.parameters(), values, strict=True))


# --- closed forms ---------------------------------------------------------------------------------------------------


def test_fgm_on_a_linear_model():
    """loss = h.w, so g = h, r = epsilon h/|h|, the adversarial loss is h.w + epsilon |h|."""
    model = Linear()
    clean, adversarial = adversarial_backward(FGM(0.5), model, lambda: model.backward(1))
    assert clean == 3 * 3 + 4 * 4
    assert adversarial == pytest.approx(25 + 0.5 * 5)
    # d/dw = h twice; d/dh = w + (w + r) with r = 0.5 (3, 4) / 5
    torch.testing.assert_close(
        model.embedding.weight.grad, torch.tensor([[0.0, 0.0], [6.0, 8.0], [0.0, 0.0]])
    )
    torch.testing.assert_close(model.head.grad, torch.tensor([[6.3, 8.4]]))


def test_awp_on_a_linear_model():
    """Both matrices move by epsilon times their norm along their gradients: h by w/|w|, E by h/|h| in the one row."""
    model = Linear()
    norm_e, norm_h = model.embedding.weight.detach().norm(), 5.0
    r_h = 0.1 * norm_h * torch.tensor([3.0, 4.0]) / 5
    r_e = 0.1 * norm_e * torch.tensor([3.0, 4.0]) / 5
    w, h = torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.0])
    _, adversarial = adversarial_backward(AWP(0.1), model, lambda: model.backward(1))
    assert adversarial == pytest.approx(((h + r_h) * (w + r_e)).sum().item())
    torch.testing.assert_close(model.head.grad[0], w + w + r_e)
    torch.testing.assert_close(model.embedding.weight.grad[1], h + h + r_h)


def test_pgd_steps_and_projection_by_hand():
    """epsilon 1, 2 steps: of length 1.25, cut to 1, along x; then 1.25 along y from (1, 0), projected."""
    first = ascend(0.0, torch.tensor([2.0, 0.0]), 1.0, 1.0)
    assert first.tolist() == [1.0, 0.0]
    second = ascend(first, torch.tensor([0.0, 9.0]), 0.75, 1.0)
    torch.testing.assert_close(second, torch.tensor([1.0, 0.75]) / math.hypot(1, 0.75))
    inside = ascend(torch.tensor([0.1, 0.0]), torch.tensor([0.0, 1.0]), 0.2, 1.0)
    torch.testing.assert_close(inside, torch.tensor([0.1, 0.2]))


STEP, CORNER = 2.5 / 3, math.sqrt(0.5)


@pytest.mark.parametrize(
    "directions, path",
    [
        (
            [(1.0, 0.0), (0.0, 5.0), (-1.0, 0.0), (0.0, 7.0)],
            [(STEP, 0.0), (CORNER, CORNER), (CORNER - STEP, CORNER)],
        ),
        (
            [(1.0, 0.0), (0.0, 5.0), (0.0, 7.0)],
            [(1.0, 0.0), (CORNER, CORNER)],
        ),  # no step is longer than the radius
    ],
)
def test_each_pgd_step_follows_the_gradient_at_its_own_point(directions, path):
    """Of length 2.5 / K in the ball of 1; what was found on the way is in no sum."""
    model, seen = Linear(), []
    start = model.embedding.weight.detach().clone()
    gradients = [torch.tensor([direction, (0.0, 0.0), (0.0, 0.0)]) for direction in directions]

    def backward() -> torch.Tensor:
        seen.append((model.embedding.weight.detach() - start)[0])
        model.embedding.weight.backward(gradients[len(seen) - 1])
        return torch.tensor(0.0)

    adversarial_backward(PGD(1.0, len(path)), model, backward)
    torch.testing.assert_close(torch.stack(seen), torch.tensor([(0.0, 0.0), *path]))
    torch.testing.assert_close(model.embedding.weight.grad, gradients[0] + gradients[-1])


@pytest.mark.parametrize("gradient", [[0.0, 0.0], [math.inf, 1.0], [math.nan, 1.0]])
def test_without_a_usable_gradient_nothing_moves(gradient):
    """Zero, or overflowed under a grad scaler."""
    delta = torch.tensor([0.25, 0.5])
    assert torch.equal(ascend(delta, torch.tensor(gradient), 1.0, 2.0), delta)
    assert torch.equal(ascend(0.0, torch.tensor(gradient), 1.0, torch.tensor(0.0)), torch.zeros(2))


@pytest.mark.parametrize("scale", [1e-6, 65536.0])
def test_a_grad_scaler_changes_no_perturbation(scale):
    """The direction is all that counts."""
    model = Linear()
    clean, adversarial = adversarial_backward(FGM(0.5), model, lambda: model.backward(1, scale))
    assert adversarial == pytest.approx(27.5) and clean == 25
    torch.testing.assert_close(model.head.grad / scale, torch.tensor([[6.3, 8.4]]))


# --- norms and restoration ------------------------------------------------------------------------------------------


def text_model(checkpointing: bool = False) -> tuple[nn.Module, dict]:
    model = make_model(dropout=0.0).train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    torch.manual_seed(1)
    return model, {"input_ids": torch.randint(5, 60, (4, 9)), "labels": torch.tensor([0, 1, 2, 0])}


def run(model: nn.Module, batch: dict) -> torch.Tensor:
    loss = F.cross_entropy(model(batch["input_ids"]).logits, batch["labels"])
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize("name", ADVERSARIES)
def test_norms_at_every_step(name):
    """FGM: exactly epsilon; PGD never leaves the ball; AWP: epsilon times the matrix's norm; others stay."""
    adversary, (model, batch) = ADVERSARIES[name], text_model()
    before, seen = snapshot(model), []

    def backward() -> torch.Tensor:
        moved = [(p.detach() - v).norm() for p, v in zip(model.parameters(), before, strict=True)]
        seen.append(dict(zip((n for n, _ in model.named_parameters()), moved, strict=True)))
        return run(model, batch)

    clean, adversarial = adversarial_backward(adversary, model, backward)
    assert len(seen) == 1 + adversary.steps
    assert not any(seen[0].values())
    table = "encoder.embeddings.word_embeddings.weight"
    for moved in seen[1:]:
        for (key, distance), value in zip(moved.items(), before, strict=True):
            radius = adversary.epsilon * (value.norm() if isinstance(adversary, AWP) else 1)
            touched = value.dim() > 1 if isinstance(adversary, AWP) else key == table
            assert distance <= radius * 1.0001 if touched else distance == 0, key
    if adversary.steps == 1 or name == "pgd":
        radius = adversary.epsilon * (
            dict(model.named_parameters())[table].norm().item() if name == "awp" else 1
        )
        assert seen[-1][table].item() == pytest.approx(radius, rel=1e-4)
    assert adversarial > clean, "along the gradient the loss rises"
    assert same_bits(model, before)


@pytest.mark.parametrize("name", ADVERSARIES)
def test_restored_to_the_bit_when_an_exception_passes_through(name):
    """In the first perturbed run and in the last."""
    for fails_at in (1, ADVERSARIES[name].steps):
        model, batch = text_model()
        before, runs = snapshot(model), []

        def backward(
            model=model, batch=batch, before=before, runs=runs, fails_at=fails_at
        ) -> torch.Tensor:
            runs.append(0)
            if len(runs) == fails_at + 1:
                assert not same_bits(model, before), "perturbed when it happens"
                raise KeyboardInterrupt
            return run(model, batch)

        with pytest.raises(KeyboardInterrupt):
            adversarial_backward(ADVERSARIES[name], model, backward)
        assert same_bits(model, before) and not ADVERSARIES[name].active


def test_more_pgd_steps_find_a_higher_loss():
    """And one step is FGM."""
    losses = {}
    for name, adversary in {"fgm": FGM(3.0), 1: PGD(3.0, 1), 5: PGD(3.0, 5)}.items():
        model, batch = text_model()
        losses[name] = adversarial_backward(adversary, model, lambda m=model, b=batch: run(m, b))[
            1
        ].item()
    assert losses[1] == losses["fgm"]
    assert losses[5] > losses[1]


@pytest.mark.parametrize("name", ADVERSARIES)
def test_the_gradient_is_what_was_there_plus_clean_plus_adversarial(name):
    """Also under accumulation, where the perturbation must not see what was there."""
    adversary, (model, batch) = ADVERSARIES[name], text_model()
    adversarial_backward(adversary, model, lambda: run(model, batch))
    alone = [p.grad.clone() for p in model.parameters()]
    torch.manual_seed(2)
    earlier = [torch.randn_like(p) * 10 for p in model.parameters()]
    for parameter, gradient in zip(model.parameters(), earlier, strict=True):
        parameter.grad = gradient.clone()
    adversarial_backward(adversary, model, lambda: run(model, batch))
    for parameter, own, before in zip(model.parameters(), alone, earlier, strict=True):
        torch.testing.assert_close(parameter.grad, own + before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ADVERSARIES)
def test_gradient_checkpointing_recomputes_with_the_perturbed_weights(name):
    gradients = []
    for checkpointing in (False, True):
        model, batch = text_model(checkpointing)
        adversarial_backward(ADVERSARIES[name], model, lambda m=model, b=batch: run(m, b))
        gradients.append([p.grad for p in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


# --- in the Trainer -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fgm", "pgd", "awp"])
def test_epsilon_0_is_the_clean_gradient_twice(name, tmp_path):
    """So without dropout plain SGD at twice the rate takes the same steps."""
    options = {"adversarial": name, "adversarial_start_epoch": 0, "gradient_accumulation_steps": 2}
    twice = SGD | {"learning_rate": 0.2, "gradient_accumulation_steps": 2}
    plain = make_trainer(tmp_path / "a", OBJECTIVES["focal_rdrop"], **twice)
    zero = make_trainer(
        tmp_path / "b", OBJECTIVES["focal_rdrop"], adversarial_epsilon=0.0, **(SGD | options)
    )
    some = make_trainer(
        tmp_path / "c", OBJECTIVES["focal_rdrop"], adversarial_epsilon=1.0, **(SGD | options)
    )
    for trainer in (plain, zero, some):
        trainer.train()
    assert largest_difference(plain.model, make_model()) > 1e-2
    assert largest_difference(plain.model, zero.model) < 1e-6
    assert largest_difference(plain.model, some.model) > 1e-3


def test_both_losses_are_logged_and_loss_is_the_clean_one(tmp_path):
    options = SGD | {"gradient_accumulation_steps": 2, "max_steps": 3}
    trainer = make_trainer(
        tmp_path, OBJECTIVES["focal_rdrop"], dropout=0.1, adversarial="fgm", **options
    )
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logs) == 3
    for entry in logs:
        assert entry["loss"] == pytest.approx(
            entry["loss_focal"] + 0.5 * entry["loss_rdrop"], abs=1e-3
        )
        assert entry["loss_adversarial"] > entry["loss"]


def test_it_starts_at_its_epoch(tmp_path):
    """3 steps an epoch: steps 1 to 3 are plain to the bit."""
    options = SGD | {"max_steps": 5, "adversarial": "awp"}  # awp starts at epoch 1
    plain = make_trainer(tmp_path / "a", OBJECTIVES["cross_entropy"], **(SGD | {"max_steps": 3}))
    trainer = make_trainer(tmp_path / "b", OBJECTIVES["cross_entropy"], **options)
    plain.train()
    trainer.train()
    logged = ["loss_adversarial" in entry for entry in trainer.state.log_history if "loss" in entry]
    assert logged == [False, False, False, True, True]
    short = make_trainer(
        tmp_path / "c", OBJECTIVES["cross_entropy"], **(options | {"max_steps": 3})
    )
    short.train()
    assert largest_difference(plain.model, short.model) == 0


def test_bf16_sees_the_perturbed_weights(tmp_path, bf16_cpu):
    """Autocast keeps copies of the weights: those of the clean run must not serve the perturbed one."""
    trainer = make_trainer(
        tmp_path, OBJECTIVES["cross_entropy"], bf16=True, adversarial="awp", adversarial_epsilon=0.5,
        adversarial_start_epoch=0, **SGD,
    )  # fmt: skip
    trainer.train()
    for entry in (entry for entry in trainer.state.log_history if "loss" in entry):
        assert entry["loss_adversarial"] > entry["loss"] + 0.1


@pytest.mark.parametrize("name", ["fgm", "pgd", "awp"])
def test_a_resumed_run_ends_with_the_same_bits(name, tmp_path):
    """With dropout, so that random states count; AWP starts before the cut or after it."""
    options = SGD | {"max_steps": 6, "adversarial": name, "save_strategy": "steps", "save_steps": 2}
    whole = make_trainer(tmp_path / "a", OBJECTIVES["rdrop"], dropout=0.1, **options)
    whole.train()
    resumed = make_trainer(tmp_path / "b", OBJECTIVES["rdrop"], dropout=0.1, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-2"))
    assert largest_difference(whole.model, resumed.model) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="fp16 with a grad scaler needs a GPU")
def test_fp16_with_a_grad_scaler(tmp_path):
    trainer = make_trainer(
        tmp_path, OBJECTIVES["rdrop"], adversarial="fgm", **(SGD | {"max_steps": 6}), fp16=True
    )
    trainer.train()
    assert math.isfinite(trainer.state.log_history[-1]["train_loss"])


@pytest.mark.parametrize(
    "flags",
    [
        ["fgm", "--adversarial_epsilon", "1.0"],
        ["pgd", "--adversarial_epsilon", "1.0", "--adversarial_steps", "2"],
        ["awp", "--adversarial_start_epoch", "0.5"],
    ],
    ids=["fgm", "pgd", "awp"],
)
def test_with_focal_rdrop_and_accumulation_through_train_py(flags, topic_flags, tmp_path):
    extra = [
        "--focal_gamma",
        "2",
        "--rdrop_alpha",
        "1",
        "--gradient_accumulation_steps",
        "2",
        "--bf16",
        "true",
    ]
    run_ok(
        "train.py", *topic_flags, *extra, "--adversarial", *flags, "--output_dir", tmp_path / "out"
    )
    state = (tmp_path / "out" / "checkpoint-18" / "trainer_state.json").read_text()
    assert "loss_adversarial" in state and "loss_rdrop" in state


def test_a_misspelt_method_names_the_nearest(topic_flags, tmp_path):
    done = run_script(
        "train.py", *topic_flags, "--adversarial", "fmg", "--output_dir", tmp_path / "out"
    )
    assert done.returncode == 2
    assert (
        "'fmg'" in done.stderr
        and "did you mean 'fgm'?" in done.stderr
        and "Traceback" not in done.stderr
    )
