"""One array or one of each head: what models and batches hold, between torch and numpy, and joined over batches."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Nested = Tensor | tuple[Tensor, ...]
PADDING = -100


def as_tuple(values: Any) -> tuple:
    """One of each head, also where there is only one."""
    return tuple(values) if isinstance(values, (tuple, list)) else (values,)


def to_arrays(values: Nested) -> Any:
    """Tensors as numpy arrays, which have no bfloat16."""
    if isinstance(values, (tuple, list)):
        return tuple(map(to_arrays, values))
    values = values.detach().cpu()
    return (values.float() if values.is_floating_point() else values).numpy()


def to_tensors(values: Any, device: torch.device) -> Nested:
    """Arrays, and lists of the rows' arrays, as tensors on a device; shorter rows are filled up."""
    if isinstance(values, tuple):
        return tuple(to_tensors(part, device) for part in values)
    if isinstance(values, list):
        rows = [torch.as_tensor(row) for row in values]
        return pad_sequence(rows, batch_first=True, padding_value=PADDING).to(device)
    return torch.as_tensor(values).to(device)


def join(batches: list) -> Any:
    """A list of batches as one: an array, or a list of rows where batches were padded to different lengths."""
    if isinstance(batches[0], (tuple, list)):
        return tuple(join(list(parts)) for parts in zip(*batches, strict=True))
    if len({batch.shape[1:] for batch in batches}) > 1:
        return [row for batch in batches for row in batch]
    return np.concatenate(batches)


def padded(values: Any) -> Any:
    """What `join` gives, with rows of different lengths filled up to one array."""
    if isinstance(values, tuple):
        return tuple(map(padded, values))
    return to_tensors(values, torch.device("cpu")).numpy() if isinstance(values, list) else values
