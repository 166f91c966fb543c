"""One array or one for each head: what models and batches hold, between torch and numpy, and joined over batches."""

from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Nested: TypeAlias = Tensor | tuple[Tensor, ...]
"""What a model with one head gives, or one with several."""

PADDING = -100


def as_tuple(values: Any) -> tuple:
    """Return one value for each head, as a tuple even if there is only one head."""
    return tuple(values) if isinstance(values, (tuple, list)) else (values,)


def to_arrays(values: Nested) -> Any:
    """Convert tensors to numpy arrays."""
    if isinstance(values, (tuple, list)):
        return tuple(to_arrays(part) for part in values)
    values = values.detach().cpu()
    if values.is_floating_point():
        values = values.float()  # numpy has no bfloat16
    return values.numpy()


def to_tensors(values: Any, device: torch.device) -> Any:
    """Convert arrays, and lists of the rows' arrays, to tensors on a device; shorter rows are padded."""
    if isinstance(values, tuple):
        return tuple(to_tensors(part, device) for part in values)
    if isinstance(values, list):
        rows = [torch.as_tensor(row) for row in values]
        return pad_sequence(rows, batch_first=True, padding_value=PADDING).to(device)
    return torch.as_tensor(values).to(device)


def join(batches: Any) -> Any:
    """Join a list of batches: to an array, or to a list of rows if batches were padded to different lengths."""
    if isinstance(batches[0], (tuple, list)):
        return tuple(join(list(parts)) for parts in zip(*batches, strict=True))
    # Each batch is padded to its own longest row.
    shapes = {batch.shape[1:] for batch in batches}
    if len(shapes) == 1:
        return np.concatenate(batches)
    return [row for batch in batches for row in batch]


def pad(values: Any) -> Any:
    """Pad what `join` returns to one array (for each head)."""
    if isinstance(values, tuple):
        return tuple(pad(part) for part in values)
    if isinstance(values, list):
        return to_tensors(values, torch.device("cpu")).numpy()
    return values
