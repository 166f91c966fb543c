"""The terms of distillation: closed forms for each kind of head, what counts, and what the flags build."""

import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence
from torch.nn import functional as F

from trainer_ext.arguments.objective import ObjectiveArguments
from trainer_ext.objectives.build import build_objective
from trainer_ext.objectives.distillation import (
    BernoulliDistillHardTerm,
    BernoulliDistillSoftTerm,
    DistillHardTerm,
    DistillSoftTerm,
    soft_bernoulli_divergence,
    soft_divergence,
)
from trainer_ext.tasks import TASKS, LabelSpace
from trainer_ext.tasks.joint import Joint
from trainer_ext.tasks.joint_space import JointLabelSpace

SCORES = LabelSpace(("price", "quality"), (), ())
LN_3 = 1.0986122886681098
NAN = float("nan")
SPACE = LabelSpace(("label",), ("a", "b", "c"), ("a", "b", "c"))
ASPECTS = LabelSpace(("food", "staff"), ("a", "b", "c"), ("a", "b", "c"))
JOINT = Joint(JointLabelSpace(("intent",), ("a", "b", "c"), ("a", "b", "c"), ("O", "B-x")))


def test_softmax_closed_form():
    # T 2: p = [1/4, 3/4], q = [1/2, 1/2]; 4 (1/4 ln(1/2) + 3/4 ln(3/2)) = 0.5232481438
    logits, teacher = torch.zeros(1, 2), torch.tensor([[0.0, 2 * LN_3]])
    torch.testing.assert_close(soft_divergence(logits, teacher, 2.0), torch.tensor([0.5232481438]))
    # T 1: p = [1/10, 9/10]; 1/10 ln(1/5) + 9/10 ln(9/5) = 0.3680642072
    torch.testing.assert_close(soft_divergence(logits, teacher, 1.0), torch.tensor([0.3680642072]))


def test_softmax_equals_torch():
    logits, teacher = 3 * torch.randn(7, 5), 3 * torch.randn(7, 5)
    expected = F.kl_div(
        (logits / 4).log_softmax(-1),
        (teacher / 4).log_softmax(-1),
        reduction="batchmean",
        log_target=True,
    )
    mean = DistillSoftTerm(4.0)(logits.unsqueeze(0), teacher)
    torch.testing.assert_close(mean, 16 * expected)


def test_sigmoid_closed_form():
    # T 2: p = 3/4 and 1/4, q = 1/2: the same number as above for both
    teacher = torch.tensor([[2 * LN_3, -2 * LN_3]])
    value = soft_bernoulli_divergence(torch.zeros(1, 2), teacher, 2.0)
    torch.testing.assert_close(value, torch.tensor([[0.5232481438, 0.5232481438]]))


def test_sigmoid_equals_torch_and_is_finite_where_the_teacher_is_sure():
    logits, teacher = torch.randn(6, 4), torch.randn(6, 4)
    expected = kl_divergence(Bernoulli(logits=teacher / 3), Bernoulli(logits=logits / 3)).mean()
    mean = BernoulliDistillSoftTerm(3.0)(logits.unsqueeze(0), teacher)
    torch.testing.assert_close(mean, 9 * expected, rtol=1e-4, atol=1e-6)
    sure = soft_bernoulli_divergence(torch.zeros(2), torch.tensor([500.0, -500.0]), 1.0)
    torch.testing.assert_close(sure, torch.tensor([0.6931471806, 0.6931471806]))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_equal_models_have_no_divergence_and_no_gradient(temperature):
    logits = torch.randn(3, 4, requires_grad=True)
    for divergence in (soft_divergence, soft_bernoulli_divergence):
        value = divergence(logits, logits.detach(), temperature).sum()
        assert value.abs() < 1e-6
        (gradient,) = torch.autograd.grad(value, logits)
        assert gradient.abs().max() < 1e-6


def test_hard_labels():
    # The teacher answers the first class: -ln(1/4); a sigmoid at 3/4 that should be 0: -ln(1/4), and 1: -ln(3/4)
    logits = torch.tensor([[[0.0, LN_3]]])
    value = DistillHardTerm()(logits, torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(value, torch.tensor(1.3862943611))
    both = torch.tensor([[[LN_3, LN_3]]])
    value = BernoulliDistillHardTerm()(both, torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(value, torch.tensor((1.3862943611 + 0.2876820724) / 2))


@pytest.mark.parametrize(
    "loss, expected",
    [
        ("mse", (4 + 0.25) / 2),
        ("rmse", (2 + 0.5) / 2),
        ("smooth_l1", (1.5 + 0.125) / 2),
    ],
)
@pytest.mark.parametrize("distill", ["soft", "hard"])
def test_scores_have_the_distance_of_the_task(distill, loss, expected):
    built = objective(TASKS["regression"](SCORES), distill=distill, regression_loss=loss)
    (_, main), (_, term) = built.terms
    assert (term.name, term.target) == (f"distill_{distill}", "teacher_labels")
    assert not main.takes_teacher and main.name != term.name
    value = term(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[3.0, 2.5]]))
    torch.testing.assert_close(value, torch.tensor(expected))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 8.0])
def test_the_gradient_is_t_times_the_difference_of_probabilities(temperature):
    logits, teacher = torch.randn(5, 4, requires_grad=True), torch.randn(5, 4)
    (gradient,) = torch.autograd.grad(soft_divergence(logits, teacher, temperature).sum(), logits)
    q, p = (logits / temperature).softmax(-1), (teacher / temperature).softmax(-1)
    torch.testing.assert_close(gradient, temperature * (q - p).detach())
    (gradient,) = torch.autograd.grad(
        soft_bernoulli_divergence(logits, teacher, temperature).sum(), logits
    )
    q, p = (logits / temperature).sigmoid(), (teacher / temperature).sigmoid()
    torch.testing.assert_close(gradient, temperature * (q - p).detach())


def test_at_high_temperatures_logits_are_matched():
    """Hinton et al., eq. 4, with T^2: (z - v) / C for logits of mean 0."""
    logits, teacher = torch.randn(3, 4).double(), torch.randn(3, 4).double()
    logits -= logits.mean(-1, keepdim=True)
    teacher -= teacher.mean(-1, keepdim=True)
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(soft_divergence(logits, teacher, 1e4).sum(), logits)
    torch.testing.assert_close(gradient, (logits - teacher).detach() / 4, rtol=1e-3, atol=1e-5)


TRUE = {
    "single_label": (SPACE, torch.tensor([0, 2, 1, 1])),
    "multi_aspect": (ASPECTS, torch.tensor([[0, 1], [2, 2], [1, 0], [0, 0]])),
    "multi_label": (SPACE, torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])),
    "regression": (SCORES, torch.tensor([[150.0, 2.0], [300.0, 1.0], [0.0, 3.0], [20.0, 2.5]])),
}


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("distill", ["soft", "hard"])
@pytest.mark.parametrize("name", TRUE)
def test_a_teacher_that_is_certain_of_the_truth_changes_nothing(name, distill, passes):
    """Loss and gradient of the plain run, at any alpha: no term is off by a factor."""
    space, labels = TRUE[name]
    task = TASKS[name](space)
    teacher = labels.float()
    if name in ("single_label", "multi_aspect"):
        teacher = F.one_hot(labels, 3).float()
    if task.has_classes and distill == "soft":
        teacher = 200 * teacher - 100
    torch.manual_seed(2)
    logits = torch.randn(passes, 4, *task.head_shape, requires_grad=True)
    shared = {"rdrop_alpha": 0.5} if passes > 1 else {}
    batch = {"labels": labels, "teacher_labels": teacher}
    results = []
    for flags in ({}, {"distill_alpha": 0.3}, {"distill_alpha": 1.0}):
        if flags:
            flags |= {"distill": distill, "distill_temperature": 1.0}
        loss, _ = objective(task, **shared, **flags)({"labels": logits}, batch)
        results.append((loss.detach(), torch.autograd.grad(loss, logits)[0]))
    for loss, gradient in results[1:]:
        torch.testing.assert_close(loss, results[0][0])
        torch.testing.assert_close(gradient, results[0][1])


@pytest.mark.parametrize("term", [DistillSoftTerm(2.0), DistillHardTerm()])
def test_items_that_the_teacher_has_not_read_do_not_count(term):
    logits = torch.randn(2, 3, 4, 5, requires_grad=True)
    teacher = torch.randn(3, 4, 5)
    teacher[0, 1:] = NAN
    teacher[2, 0] = NAN
    is_read = torch.ones(3, 4, dtype=torch.bool)
    is_read[0, 1:] = False
    is_read[2, 0] = False
    assert term.total_weight(teacher) == 8
    value = term(logits, teacher)
    kept = [term(one[is_read].unsqueeze(0), teacher[is_read]) for one in logits]
    torch.testing.assert_close(value, (kept[0] + kept[1]) / 2)
    (gradient,) = torch.autograd.grad(value, logits)
    assert gradient.isfinite().all()
    assert gradient[:, ~is_read].abs().max() == 0
    assert term(logits, torch.full((3, 4, 5), NAN)) == 0


def objective(task, **flags):
    """What the flags build, with the temperature 2."""
    return build_objective(ObjectiveArguments(**flags), task, [])


@pytest.mark.parametrize("space, shape", [(SPACE, (6,)), (ASPECTS, (6, 2))])
def test_alpha_weighs_the_teacher_against_the_true_labels(space, shape):
    task = TASKS["multi_aspect" if len(shape) > 1 else "single_label"](space)
    logits, teacher = torch.randn(1, *shape, 3), torch.randn(*shape, 3)
    batch = {"labels": torch.randint(3, shape), "teacher_labels": teacher}
    loss, values = objective(task, distill="soft", distill_alpha=0.7)({"labels": logits}, batch)
    cross_entropy = F.cross_entropy(logits.reshape(-1, 3), batch["labels"].reshape(-1))
    divergence = soft_divergence(logits[0], teacher, 2.0).mean()
    torch.testing.assert_close(loss, 0.3 * cross_entropy + 0.7 * divergence)
    assert set(values) == {"cross_entropy", "distill_soft"}


def test_it_combines_with_focal_loss_and_rdrop_on_both_heads():
    flags = {"focal_gamma": 2.0, "rdrop_alpha": 0.5, "slot_loss_weight": 3.0}
    built = objective(JOINT, distill="hard", distill_alpha=0.25, **flags)
    weights = {term.name: weight for weight, term in built.terms}
    assert weights == {
        "focal": 0.75,
        "distill_hard": 0.25,
        "rdrop": 0.5,
        "slot_focal": 2.25,
        "slot_distill_hard": 0.75,
        "slot_rdrop": 1.5,
    }
    targets = {term.name: term.target for _, term in built.terms}
    assert targets["distill_hard"] == "teacher_labels"
    assert targets["slot_distill_hard"] == "teacher_token_labels"
    assert built.evaluation.terms[0][0] == 1.0
    assert not any(term.takes_teacher for _, term in built.evaluation.terms)


def test_slots_word_by_word():
    logits = {"labels": torch.randn(1, 2, 3), "token_labels": torch.randn(1, 2, 4, 2)}
    labels = {"labels": torch.tensor([0, 1])}
    labels["token_labels"] = torch.tensor([[-100, 1, 0, -100], [-100, 0, -100, -100]])
    labels["teacher_labels"] = torch.randn(2, 3)
    # The teacher has cut off the second word of the first row.
    teacher = torch.full((2, 4, 2), NAN)
    teacher[0, 1] = torch.tensor([0.0, 1.0])
    teacher[1, 1] = torch.tensor([2.0, 0.0])
    labels["teacher_token_labels"] = teacher
    _, values = objective(JOINT, distill="soft", distill_alpha=1.0)(logits, labels)
    assert set(values) == {"distill_soft", "slot_distill_soft"}
    total, weight = values["slot_distill_soft"]
    words = logits["token_labels"][0, [0, 1], [1, 1]]
    torch.testing.assert_close(total, soft_divergence(words, teacher[[0, 1], [1, 1]], 2.0).sum())
    assert weight == 2


@pytest.mark.parametrize("name", ["single_label", "multi_label", "multi_aspect", "regression"])
def test_alpha_0_is_the_plain_objective(name):
    task = TASKS[name](SPACE)
    plain = objective(task, rdrop_alpha=1.0)
    off = objective(task, rdrop_alpha=1.0, distill="soft", distill_alpha=0.0)
    assert [weight for weight, _ in off.terms] == [weight for weight, _ in plain.terms]
    assert [type(term) for _, term in off.terms] == [type(term) for _, term in plain.terms]
    assert off.evaluation is None
