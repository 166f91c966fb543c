"""Adversarial training: FGM and PGD on the input embeddings, AWP on the weights.

Each micro-batch is run forward and backward once as it is and `steps` times more with perturbed parameters. The
gradient the optimizer sees is clean + adversarial: the two **add**, as in the published FGM code, so at epsilon 0 and
without dropout it is exactly twice the clean one. The perturbation follows the gradient of *this* micro-batch, not the
one accumulated so far; 8x1, 4x2 and 2x4 therefore perturb along 1, 2 and 4 directions and do not take the same step. A
loss that is not a mean over rows (RMSE) is, in a perturbed run, that of the step with this micro-batch perturbed and
the others as they are.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainer_ext.arguments.optimisation import OptimisationArguments


def ascend(
    delta: Tensor | float,
    gradient: Tensor,
    size: Tensor | float,
    radius: Tensor | float,
) -> Tensor:
    """Return the next perturbation: a step of length `size` along the gradient, then back onto the ball of `radius`.

    FGM is one step of length epsilon from 0: r = epsilon g / ||g||_2 (Miyato et al., Adversarial Training Methods for
    Semi-Supervised Text Classification, arXiv:1605.07725, eq. 5). PGD repeats and projects (Madry et al., Towards Deep
    Learning Models Resistant to Adversarial Attacks, arXiv:1706.06083, section 2.1, in the L2 ball).

    Args:
        delta: the perturbation so far, shaped as the gradient, or 0.
        gradient: of the loss at the perturbed point; its scale (a grad scaler's, too) does not matter.
        size, radius: L2 lengths over the whole tensor.

    Returns:
        The new perturbation; the old one if the gradient is zero or not finite (an overflow under fp16, whose step the
        grad scaler skips).
    """
    # In float32: in half precision the sum of squares overflows.
    length = torch.linalg.vector_norm(gradient, dtype=torch.float32)
    usable = torch.isfinite(length) & (length > 0)
    # torch.where picks elements: what the division makes of an unusable gradient does not leak out of its branch.
    step = gradient / length * size
    moved = delta + torch.where(usable, step, torch.zeros_like(gradient))
    distance = torch.linalg.vector_norm(moved, dtype=torch.float32)
    return moved * torch.where(distance > radius, radius / distance, 1.0)


class Adversary(ABC):
    """Perturbs some parameters within L2 balls, and puts every bit of them back.

    Args:
        epsilon: radius of the ball; what it is relative to is the subclass's.
        steps: forward/backward runs with perturbed parameters.
    """

    step_length: ClassVar[float] = 1.0
    """Length of all steps together, in radii."""

    def __init__(self, epsilon: float, steps: int = 1):
        self.epsilon = epsilon
        self.steps = steps
        self.active = False
        """Whether the parameters are perturbed at the moment."""

    @abstractmethod
    def targets(self, model: PreTrainedModel) -> list[nn.Parameter]:
        """Return the parameters to perturb."""

    def radius(self, parameter: Tensor) -> Tensor | float:
        """Return the radius of the ball around a parameter's value."""
        return self.epsilon

    @contextmanager
    def perturbing(self, targets: Sequence[nn.Parameter]) -> Iterator[Callable[[], None]]:
        """Yield a function that moves `targets` one step along their `.grad`; restore their values at the end.

        Restored are copies, bit for bit, also when an exception passes through: subtracting the perturbation again
        would leave rounding errors, and keeping a view instead of a copy would restore nothing.
        """
        original = [parameter.detach().clone() for parameter in targets]
        radii = [self.radius(value) for value in original]
        deltas: list[Tensor | float] = [0.0] * len(targets)
        # A longer step would only be cut back onto the ball.
        step_in_radii = min(self.step_length / self.steps, 1.0)

        @torch.no_grad()
        def step() -> None:
            for k, parameter in enumerate(targets):
                if parameter.grad is None:
                    continue
                size = step_in_radii * radii[k]
                deltas[k] = ascend(deltas[k], parameter.grad, size, radii[k])
                # In place: the optimizer refers to this very tensor. From the original: no rounding errors add up.
                parameter.copy_(original[k] + deltas[k])

        self.active = True
        try:
            yield step
        finally:
            self.active = False
            with torch.no_grad():
                for parameter, value in zip(targets, original, strict=True):
                    parameter.copy_(value)


class FGM(Adversary):
    """One step of length epsilon on the input embedding matrix.

    Miyato et al. perturb each text's sequence of embeddings; on the matrix all texts of the micro-batch share one
    perturbation of norm epsilon, which is what the widely used FGM code does and what works with any encoder.
    """

    def targets(self, model: PreTrainedModel) -> list[nn.Parameter]:
        """Return the input embedding matrix, unless it is frozen."""
        embeddings = model.get_input_embeddings().parameters()
        return [parameter for parameter in embeddings if parameter.requires_grad]


class PGD(FGM):
    """K steps of length 2.5 epsilon / K on the input embedding matrix, projected onto the epsilon ball after each.

    The step length is that of Madry et al.'s L2 attacks: it reaches the boundary and can still walk along it. Only the
    gradient at the last point counts; those on the way only show the way. With K = 1 it is FGM.
    """

    step_length = 2.5


class AWP(Adversary):
    """Adversarial weight perturbation: every weight matrix w moves within a ball of radius epsilon ||w||.

    Source: Wu et al., Adversarial Weight Perturbation Helps Robust Generalization (arXiv:2004.05884), section 4
    (layer-wise size relative to the weights' norm), on the clean inputs. Biases and norms (vectors) stay, as in the
    authors' code. They step along the adversarial gradient alone, which here is added to the clean one as for FGM.
    """

    def targets(self, model: PreTrainedModel) -> list[nn.Parameter]:
        """Return all trainable matrices, embeddings and head included."""
        matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
        return [parameter for parameter in matrices if parameter.requires_grad]

    def radius(self, parameter: Tensor) -> Tensor:
        """Return epsilon times the norm of the parameter."""
        return self.epsilon * torch.linalg.vector_norm(parameter, dtype=torch.float32)


ADVERSARIES: dict[str, type[Adversary]] = {"fgm": FGM, "pgd": PGD, "awp": AWP}


def build_adversary(args: OptimisationArguments) -> Adversary | None:
    """Return the adversary that the flags describe; None for `adversarial none`."""
    if args.adversarial == "none":
        return None
    settings = args.adversarial_settings()
    return ADVERSARIES[args.adversarial](settings.epsilon, settings.steps)


def adversarial_backward(
    adversary: Adversary,
    model: PreTrainedModel,
    backward: Callable[[], Tensor],
    unsynchronised: Callable[[], AbstractContextManager] = nullcontext,
) -> tuple[Tensor, Tensor]:
    """Run one micro-batch clean and perturbed, and add the sum of both gradients to `.grad`.

    Args:
        model: the plain module (not wrapped for several devices).
        backward: forward and backward of the micro-batch; adds to `.grad` and returns the detached loss.
        unsynchronised: returns the context in which gradients are not yet exchanged between devices. Only the last
            backward exchanges them, for all of them: then clean gradients count once, and a perturbation is a device's
            own.

    Returns:
        The clean loss and the adversarial one.
    """
    targets = adversary.targets(model)
    # With one step only the targets' gradients must be those of this micro-batch alone. More steps make gradients that
    # are thrown away, of all parameters.
    set_aside = targets if adversary.steps == 1 else list(model.parameters())
    earlier = take_gradients(set_aside)
    with unsynchronised():
        clean_loss = backward()
    with adversary.perturbing(targets) as step:
        step()
        clean = take_gradients(set_aside)
        for _ in range(adversary.steps - 1):
            with unsynchronised():
                backward()
            step()
            # These gradients only showed the way to the next point.
            take_gradients(set_aside)
        # Before the last backward, which adds its gradient to them.
        give_gradients(set_aside, earlier, clean)
        adversarial_loss = backward()
    return clean_loss, adversarial_loss


def keep_random_state_if_active(adversary: Adversary, backward: Callable[[], Tensor]) -> Tensor:
    """Run `backward`; if the parameters are perturbed, leave the random state as it was before."""
    if not adversary.active:
        return backward()
    with torch.random.fork_rng():
        return backward()


def take_gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor | None]:
    """Remove the gradients from the parameters and return them."""
    gradients = []
    for parameter in parameters:
        gradients.append(parameter.grad)
        parameter.grad = None
    return gradients


def give_gradients(
    parameters: Iterable[nn.Parameter],
    first: Iterable[Tensor | None],
    second: Iterable[Tensor | None],
) -> None:
    """Set each gradient to the sum of two that were taken, of which either may be missing."""
    for parameter, one, other in zip(parameters, first, second, strict=True):
        if one is None:
            parameter.grad = other
        elif other is None:
            parameter.grad = one
        else:
            parameter.grad = one.add_(other)
