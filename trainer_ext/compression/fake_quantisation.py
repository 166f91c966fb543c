"""Quantisation-aware training for the INT8 that `export.py` writes and ONNX Runtime runs.

While a model trains, its linear layers and embedding tables compute with the numbers that the INT8 file will hold, and
gradients pass the rounding as if it were not there (the straight-through estimator: Bengio et al. 2013,
arXiv:1308.3432; Jacob et al. 2018, arXiv:1712.05877, section 3):

- activations in 8 bits, unsigned, with the range of each text, as DynamicQuantizeLinear of ONNX computes it for one
  text a run;
- weights in 8 bits, signed, with a scale for each output channel, in pairs that never overflow (`int8_weights`);
- rows of embedding tables in 8 bits, each with a scale of its own (`int8_embeddings`).

Parameters keep their names and their float values, so that checkpoints, optimizers and averages are what they were.
"""

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from trainer_ext.export.int8_embeddings import MIN_ROWS
from trainer_ext.export.int8_weights import PAIR_LIMIT, quantise_pairs
from trainer_ext.modeling.model import EncoderWithHead

# How often the steps of a channel are chosen anew while training; evaluation takes those of the weights as they are.
STEPS_KEPT = 100
# Names of the projections that read all tokens even where only the first one is wanted.
KEYS_AND_VALUES = ("key", "value", "k_lin", "v_lin", "k_proj", "v_proj")


def fake_quantise_texts(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Round activations to the 256 levels of their text, as DynamicQuantizeLinear of ONNX does.

    Args:
        values: (B, ...), one text a row.
        mask: (B, L) of values (B, L, width): 1 where a token counts for the range; None: all do.

    Returns:
        The same shape; its gradient is passed on as it is.
    """
    floats = values.detach().float()
    counted = floats
    if mask is not None:
        counted = floats * mask.to(floats.dtype).unsqueeze(-1)
    rows = counted.flatten(1)
    # The range holds 0.
    low = rows.amin(1).clamp(max=0)
    high = rows.amax(1).clamp(min=0)
    scale = (high - low) / 255
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    zero_point = torch.round(-low / scale)
    shape = [-1] + [1] * (values.dim() - 1)
    scale = scale.view(shape)
    zero_point = zero_point.view(shape)
    levels = (torch.round(floats / scale) + zero_point).clamp(0, 255)
    rounded = (levels - zero_point) * scale
    return values + (rounded - floats).to(values.dtype)


def fake_quantise_rows(rows: Tensor) -> Tensor:
    """Round vectors (..., width) to 8 bits, each with the scale of its largest number; gradients pass."""
    floats = rows.detach().float()
    largest = floats.abs().amax(-1, keepdim=True)
    scale = torch.where(largest == 0, torch.ones_like(largest), largest) / 127
    rounded = torch.round(floats / scale) * scale
    return rows + (rounded - floats).to(rows.dtype)


def fake_quantise_weights(weight: Tensor, steps: Tensor) -> Tensor:
    """Round the weights of a linear layer to the pair-safe integers of `int8_weights`; gradients pass.

    Args:
        weight: (outputs, inputs).
        steps: (outputs): how many steps the largest weight of a channel has (`channel_steps`).
    """
    floats = weight.detach().float()
    largest = floats.abs().amax(1, keepdim=True)
    largest = torch.where(largest == 0, torch.ones_like(largest), largest)
    scaled = floats / largest * steps.unsqueeze(1)
    rounded = round_pairs(scaled) * (largest / steps.unsqueeze(1))
    return weight + (rounded - floats).to(weight.dtype)


def round_pairs(scaled: Tensor) -> Tensor:
    """Return the nearest integers (outputs, inputs) of which no two neighbours leave 16 bits; see `int8_weights`."""
    inputs = scaled.shape[1]
    pairs = functional.pad(scaled, (0, inputs % 2)).unflatten(1, (-1, 2))
    first, second = pairs.unbind(-1)
    rounded = torch.round(pairs)
    excess = rounded.sum(-1).abs() > PAIR_LIMIT
    limit = torch.copysign(torch.full_like(first, PAIR_LIMIT), first + second)
    moved = torch.round((limit + first - second) / 2)
    moved_pair = torch.stack([moved, limit - moved], -1)
    rounded = torch.where(excess.unsqueeze(-1), moved_pair, rounded)
    return rounded.flatten(1)[:, :inputs]


def channel_steps(weight: Tensor) -> Tensor:
    """Return the steps (outputs) that `quantise_pairs` chooses for a linear layer's weight (outputs, inputs)."""
    columns = weight.detach().float().cpu().numpy().T
    _, scales = quantise_pairs(columns)
    largest = np.abs(columns).max(axis=0)
    largest[largest == 0] = 1
    return torch.from_numpy(np.rint(largest / scales)).to(weight.device)


class TokenMask:
    """The attention mask of the batch that the model is computing."""

    def __init__(self) -> None:
        self.mask: Tensor | None = None

    def take(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        """Remember the mask; a hook that runs before the model's `forward`."""
        self.mask = kwargs.get("attention_mask")


class FirstToken(TokenMask):
    """A mask of which only the first token counts: an export computes no other one in these layers."""

    def take(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        ids = kwargs["input_ids"]
        self.mask = torch.zeros_like(ids)
        self.mask[:, 0] = 1


class FakeQuantisedLinear(nn.Linear):
    """A linear layer whose input and weights are rounded to 8 bits; made by `fake_quantise`."""

    tokens: TokenMask | None
    steps: Tensor | None
    age: int
    version: int

    def forward(self, input: Tensor) -> Tensor:
        """Return (..., outputs) of an input (B, ..., inputs), one text a row."""
        weight = fake_quantise_weights(self.weight, self.current_steps())
        mask = self.tokens.mask if self.tokens and input.dim() == 3 else None
        return functional.linear(fake_quantise_texts(input, mask), weight, self.bias)

    def current_steps(self) -> Tensor:
        """Return the steps to round with: choosing them takes much longer than rounding."""
        # PyTorch counts the changes of a tensor.
        is_old = self.version != self.weight._version
        may_be_old = self.training and self.age < STEPS_KEPT
        if self.steps is None or (is_old and not may_be_old):
            self.steps = channel_steps(self.weight)
            self.version = self.weight._version
            self.age = 0
        self.age += 1
        return self.steps


class FakeQuantisedEmbedding(nn.Embedding):
    """A table whose rows are rounded to 8 bits; made by `fake_quantise`."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the rows (..., width) of ids (...)."""
        return fake_quantise_rows(super().forward(input))


def fake_quantise(model: EncoderWithHead) -> None:
    """Make a model compute, from now on, with the numbers that its INT8 export will hold."""
    model.config.quantisation_aware = True
    tokens = TokenMask()
    first_token = FirstToken()
    for holder in (tokens, first_token):
        model.register_forward_pre_hook(holder.take, with_kwargs=True)
    first_only = set(modules_of_first_token(model))
    for name, module in model.named_modules():
        if type(module) is nn.Embedding and module.num_embeddings >= MIN_ROWS:
            module.__class__ = FakeQuantisedEmbedding
        elif type(module) is nn.Linear:
            # The parameters stay where they are: only what `forward` computes is another.
            module.__class__ = FakeQuantisedLinear
            linear = cast(FakeQuantisedLinear, module)
            linear.steps = None
            linear.age = 0
            linear.version = 0
            linear.tokens = None
            if name.startswith("encoder.") or name == "token_head":
                linear.tokens = first_token if module in first_only else tokens


class StepsAnewAfterSaving(TrainerCallback):
    """Choose the steps anew after a checkpoint, as a run that is resumed from it has to."""

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Forget the steps of the model's layers."""
        for module in kwargs["model"].modules():
            if isinstance(module, FakeQuantisedLinear):
                module.steps = None


def stop_fake_quantising(model: nn.Module) -> None:
    """Make a model compute in floats again."""
    for module in model.modules():
        if isinstance(module, FakeQuantisedEmbedding):
            module.__class__ = nn.Embedding  # type: ignore[assignment]
        elif isinstance(module, FakeQuantisedLinear):
            module.__class__ = nn.Linear  # type: ignore[assignment]


def modules_of_first_token(model: EncoderWithHead) -> Iterator[nn.Module]:
    """Yield the linear layers that an export computes for the first token only (its pass `first_token`)."""
    if model.config.pooling != "cls" or model.token_head is not None:
        return
    stacks = [module for module in model.encoder.modules() if isinstance(module, nn.ModuleList)]
    if not stacks:
        return
    last_layer = stacks[0][-1]
    for name, module in last_layer.named_modules():
        if isinstance(module, nn.Linear) and name.split(".")[-1] not in KEYS_AND_VALUES:
            yield module
