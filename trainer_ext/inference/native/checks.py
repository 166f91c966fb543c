"""Whether a plan's numbers fit together: the library reads and writes where they say, and wrong ones would crash."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from trainer_ext.inference.native.plan import NORMS, Plan

# As many as the library has room for.
MOST_TABLES = 4
LARGEST_SIZE = 1 << 20


def check_sizes(content: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless encoder.json has sizes that an encoder can have.

    Args:
        content: of encoder.json.
    """
    for name in ("hidden", "heads", "inner"):
        size = content[name]
        if type(size) is not int or not 1 <= size <= LARGEST_SIZE:
            raise ValueError(f"{name} {size!r:.40} is not a whole number above 0")
    if content["hidden"] % content["heads"]:
        raise ValueError(f"{content['heads']} heads do not divide {content['hidden']}")
    for name in ("epsilon", "attention_scale"):
        if not 0 < float(content[name]) < 1e6:
            raise ValueError(f"{name} {content[name]!r:.40} is not a number above 0")
    if not isinstance(content["output"], str):
        raise ValueError("output is not the name of a tensor")
    layers = content["layers"]
    if not isinstance(layers, list) or not layers:
        raise ValueError("there are no layers")
    for layer in layers[:-1]:
        if layer["query"] is not None:
            raise ValueError("a layer before the last computes the first token only")
    tables = content["tables"]
    if not isinstance(tables, list) or not 1 <= len(tables) <= MOST_TABLES:
        raise ValueError(f"there are no tables, or more than {MOST_TABLES}")


def check_weights(plan: Plan) -> None:
    """Raise `ValueError` unless all arrays that a plan names have the shapes of its sizes.

    Args:
        plan: with a content that has passed `check_sizes`.
    """
    content = plan.content
    for table in content["tables"]:
        check_table(plan, table, content["hidden"])
    check_norm(plan, content["embedding_norm"], content["hidden"])
    for layer in content["layers"]:
        for name, shape in linear_shapes(content, layer["query"] is not None).items():
            check_linear(plan, name, layer[name], shape)
        for name in NORMS:
            check_norm(plan, layer[name], content["hidden"])


def linear_shapes(content: Mapping[str, Any], has_query: bool) -> dict[str, tuple[int, int]]:
    """Return depth and columns of a layer's products.

    Args:
        content: of encoder.json.
        has_query: whether the layer has a query of its own, of the first token.
    """
    hidden = content["hidden"]
    inner = content["inner"]
    shapes = {
        "joined": (hidden, 3 * hidden),
        "output": (hidden, hidden),
        "inner": (hidden, inner),
        "outer": (inner, hidden),
    }
    if has_query:
        shapes["joined"] = (hidden, 2 * hidden)
        shapes["query"] = (hidden, hidden)
    return shapes


def check_linear(plan: Plan, name: str, linear: Mapping[str, Any], shape: tuple[int, int]) -> None:
    """Raise `ValueError` unless a product has weights, scales, bias and smoothing of its size."""
    depth, columns = shape
    check_array(name, plan.array(linear["weights"]), np.int8, shape)
    scales = plan.array(linear["scales"])
    if scales.dtype != np.float32 or scales.shape not in ((columns,), (1,), ()):
        raise ValueError(f"the scales of {name} are neither {columns} floats nor one")
    if linear["bias"] is not None:
        check_array(f"the bias of {name}", plan.array(linear["bias"]), np.float32, (columns,))
    if linear["smoothing"] is not None:
        smoothing = plan.array(linear["smoothing"])
        check_array(f"the smoothing of {name}", smoothing, np.float32, (depth,))


def check_norm(plan: Plan, norm: Mapping[str, Any], hidden: int) -> None:
    """Raise `ValueError` unless a normalisation has a weight and a bias of its size."""
    for part in ("weight", "bias"):
        check_array(f"the {part} of a normalisation", plan.array(norm[part]), np.float32, (hidden,))


def check_table(plan: Plan, table: Mapping[str, Any], hidden: int) -> None:
    """Raise `ValueError` unless a table has rows of that size, and a scale for each if they are in 8 bits."""
    rows = plan.array(table["rows"])
    kind = np.float32 if table["scales"] is None else np.int8
    check_array("a table", rows, kind, (len(rows), hidden))
    if table["scales"] is not None:
        check_array(
            "the scales of a table", plan.array(table["scales"]), np.float32, (len(rows), 1)
        )
    offset = table["offset"]
    if type(offset) is not int or not 0 <= offset <= LARGEST_SIZE:
        raise ValueError(f"offset {offset!r:.40} is not a number of a row")
    skipped = table.get("skipped")
    if skipped is not None and (table["row_of"] != "position" or skipped != offset - 1):
        raise ValueError(f"skipped {skipped!r:.40} is not the row before the first position")


def check_array(name: str, array: np.ndarray, kind: type, shape: tuple[int, ...]) -> None:
    """Raise `ValueError` unless an array has the type and shape that it must have."""
    if array.dtype != kind or array.shape != shape:
        expected = " x ".join(map(str, shape))
        raise ValueError(
            f"{name} is {array.dtype} {array.shape}, but {np.dtype(kind)} {expected} is needed"
        )
