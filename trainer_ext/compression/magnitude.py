"""Unstructured pruning by magnitude: the smallest weights of chosen matrices become and stay 0.

The matrices keep their shapes: a run takes as long as before. What shrinks is the file once it is compressed.
"""

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.layer_sizes import blocks_of, linear_at


def matrices(model: EncoderWithHead, kinds: Sequence[str]) -> dict[str, Tensor]:
    """Return the weights of all layers of some kinds, by layer and name.

    Args:
        model: with an encoder whose layers are known.
        kinds: of `query`, `attention` (query, key, value and output) and `feed_forward`.

    Raises:
        UserError: for an encoder whose layers are not known.
    """
    found: dict[str, Tensor] = {}
    for number, block in enumerate(blocks_of(model.encoder)):
        linears: dict[str, nn.Linear] = {}
        query, *others = block.projections
        if "query" in kinds or "attention" in kinds:
            linears[query] = getattr(block.attention, query)
        if "attention" in kinds:
            for name in others:
                linears[name] = getattr(block.attention, name)
            linears["attention_output"] = linear_at(block.attention_output)
        if "feed_forward" in kinds:
            linears["inner"] = linear_at(block.inner)
            linears["outer"] = linear_at(block.outer)
        for name, linear in linears.items():
            found[f"{number}.{name}"] = linear.weight
    return found


def masks_of(
    weights: Mapping[str, Tensor],
    sparsity: float,
    is_global: bool,
) -> dict[str, Tensor]:
    """Return masks (bool, True: kept) that leave out the smallest weights.

    Args:
        weights: by name.
        sparsity: share that is left out, rounded to a whole number of weights.
        is_global: whether all matrices are ranked together; else each by itself.
    """
    if not is_global:
        return {name: mask_of(weight, sparsity) for name, weight in weights.items()}
    joined = torch.cat([weight.detach().flatten() for weight in weights.values()])
    parts = mask_of(joined, sparsity).split([weight.numel() for weight in weights.values()])
    masks = {}
    for (name, weight), part in zip(weights.items(), parts, strict=True):
        masks[name] = part.view_as(weight)
    return masks


def mask_of(weight: Tensor, sparsity: float) -> Tensor:
    """Return a mask that leaves out exactly `sparsity` of the weights, of equal ones the first."""
    size = weight.detach().abs().flatten()
    order = torch.argsort(size, stable=True)
    mask = torch.ones_like(size, dtype=torch.bool)
    mask[order[: round(sparsity * size.numel())]] = False
    return mask.view_as(weight)


def cubic_sparsity(step: int, ramp_steps: int, final: float) -> float:
    """Return the sparsity after `step` optimizer steps.

    s = s_f - s_f (1 - t / n)^3 up to step n, then s_f: most weights go early, when others can still take over.

    Source: Zhu & Gupta 2017 (arXiv:1710.01878), eq. 1 with s_i = 0 and t_0 = 0.
    """
    if step >= ramp_steps:
        return final
    left = 1 - step / ramp_steps
    return final - final * left**3  # Eq. 1


class MagnitudePruning(TrainerCallback):
    """Keeps the smallest weights at 0 while a model is trained.

    The masks are a function of the weights and the step: what was pruned is 0, so it is the smallest again. A resumed
    run therefore finds its masks in the weights of the checkpoint.

    Args:
        kinds: of matrices, as `matrices` takes them.
        sparsity: at the end.
        is_global: as `masks_of` takes it.
        ramp: share of the training over which the sparsity rises (cubic); 0: all at once, before the first step.
    """

    def __init__(self, kinds: Sequence[str], sparsity: float, is_global: bool, ramp: float = 0.0):
        self.kinds = tuple(kinds)
        self.sparsity = sparsity
        self.is_global = is_global
        self.ramp = ramp
        self.masks: dict[str, Tensor] = {}

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs,
    ) -> None:
        """Prune the weights that the training starts, or goes on, from."""
        self.masks = {}
        self.prune(kwargs["model"], state)

    def on_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs,
    ) -> None:
        """Undo what the step did to pruned weights, before an average of the weights takes it up."""
        apply_masks(matrices(kwargs["model"], self.kinds), self.masks)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs,
    ) -> None:
        """Prune what the schedule says, also of an average that the model holds now."""
        self.prune(kwargs["model"], state)

    def on_epoch_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs,
    ) -> None:
        """Prune an average that is evaluated at the end of an epoch."""
        apply_masks(matrices(kwargs["model"], self.kinds), self.masks)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs,
    ) -> None:
        """Prune an average that the training leaves in the model."""
        apply_masks(matrices(kwargs["model"], self.kinds), self.masks)

    def prune(self, model: EncoderWithHead, state: TrainerState) -> None:
        """Set masks as of the step and apply them."""
        weights = matrices(model, self.kinds)
        apply_masks(weights, self.masks)
        ramp_steps = round(self.ramp * state.max_steps)
        if self.masks and state.global_step > ramp_steps:
            return  # the schedule is over
        sparsity = cubic_sparsity(state.global_step, ramp_steps, self.sparsity)
        self.masks = masks_of(weights, sparsity, self.is_global)
        apply_masks(weights, self.masks)


@torch.no_grad()
def apply_masks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Set the weights that the masks leave out to 0, in place."""
    for name, mask in masks.items():
        weights[name].mul_(mask)


def sparsity_of(weights: Mapping[str, Tensor]) -> float:
    """Return the share of zeros among all weights."""
    zeros = sum(int((weight == 0).sum()) for weight in weights.values())
    return zeros / sum(weight.numel() for weight in weights.values())


def compressed_bytes(file: Path) -> int:
    """Return the size of a file in bytes as gzip writes it: what zeros save on disk or on the way."""
    return len(gzip.compress(file.read_bytes(), compresslevel=6, mtime=0))
