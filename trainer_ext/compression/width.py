"""Structured pruning: keep the most important heads and feed-forward neurons, in really smaller matrices."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from trainer_ext.errors import UserError
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.layer_sizes import Block, blocks_of, keep, linear_at, sizes_of

TOLERANCE = 1e-4  # 0.3333 is a third

# Heads and feed-forward neurons of each layer.
Counts = list[tuple[int, int]]


class Importance:
    """Sums the first-order Taylor importance of heads and neurons over batches.

    A head's output z counts |sum z dL/dz|, summed over the text's tokens and the head's width: how much the loss would
    change to first order if the head were 0. A neuron counts the same of its activation.

    Source: Michel et al. 2019 (arXiv:1905.10650), eq. 2; Hou et al., DynaBERT (arXiv:2004.04037), section 2.1.

    Args:
        blocks: layers of the model that is run.
    """

    def __init__(self, blocks: list[Block]):
        self.heads = [torch.zeros(block.heads) for block in blocks]
        self.neurons = [torch.zeros(block.inner_size) for block in blocks]
        self.hooks: list[RemovableHandle] = []
        for number, block in enumerate(blocks):
            self.watch(linear_at(block.attention_output), self.heads[number])
            self.watch(linear_at(block.outer), self.neurons[number])

    def watch(self, reader: nn.Linear, total: Tensor) -> None:
        """Add to `total` (units) the importance of what a matrix reads, whenever a gradient reaches it."""

        def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            states = inputs[0]

            def add(gradient: Tensor) -> None:
                change = (states.detach() * gradient).float()
                of_texts = change.unflatten(-1, (len(total), -1)).sum(dim=-1).sum(dim=1)
                total.add_(of_texts.abs().sum(dim=0).cpu())

            states.register_hook(add)

        self.hooks.append(reader.register_forward_pre_hook(before))

    def remove(self) -> None:
        """Stop watching."""
        for hook in self.hooks:
            hook.remove()


def importance_of(
    model: EncoderWithHead,
    batches: Iterable[Any],
    loss_of: Callable[[Any], Tensor],
) -> Importance:
    """Measure heads and neurons on training batches, without dropout; the model is left as it was.

    Args:
        model: whose encoder is measured.
        batches: of training rows, as `loss_of` takes them.
        loss_of: runs the model on a batch and returns its loss.
    """
    importance = Importance(blocks_of(model.encoder))
    was_training = model.training
    model.eval()
    try:
        for batch in batches:
            loss_of(batch).backward()
            model.zero_grad()
    finally:
        importance.remove()
        model.train(was_training)
    return importance


def narrow(model: EncoderWithHead, importance: Importance, counts: Counts) -> None:
    """Keep the most important heads and neurons of each layer, and say so in the config.

    Args:
        model: changed in place; it stays as it is if all are kept.
        importance: of its heads and neurons.
        counts: how many of each layer stay.
    """
    if counts == counts_of(model):
        return
    for number, block in enumerate(blocks_of(model.encoder)):
        heads, neurons = counts[number]
        keep(
            block,
            most_important(importance.heads[number], heads),
            most_important(importance.neurons[number], neurons),
        )
    model.config.layer_sizes = sizes_of(model.encoder)


def counts_of(model: EncoderWithHead) -> Counts:
    """Return heads and neurons of each layer."""
    return [(block.heads, block.inner_size) for block in blocks_of(model.encoder)]


def kept_counts(encoder: nn.Module, width: float) -> Counts:
    """Return how many heads and neurons of each layer a share of them is.

    Raises:
        UserError: unless that is a whole number, and at least 1.
    """
    counts = []
    for block in blocks_of(encoder):
        heads = whole(width, block.heads, "heads")
        neurons = whole(width, block.inner_size, "feed-forward neurons")
        counts.append((heads, neurons))
    return counts


def whole(width: float, units: int, what: str) -> int:
    """Return a share of the units, or raise `UserError` if it is no whole number of them."""
    share = width * units
    count = round(share)
    if count < 1 or abs(share - count) > TOLERANCE * units:
        raise UserError(
            f"width {width:g} of a layer's {units} {what} is {share:g}: give a share that is a whole "
            "number of them, at least 1"
        )
    return count


def most_important(importance: Tensor, count: int) -> Tensor:
    """Return the numbers of the `count` units with the largest importance (units), ascending."""
    order = torch.argsort(importance, descending=True, stable=True)
    return order[:count].sort().values
