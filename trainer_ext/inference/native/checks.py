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
    check_size("hidden", content["hidden"])
    check_size("head_size", head_size_of(content))
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


def check_size(name: str, size: Any) -> None:
    """Raise `ValueError` unless a size is a whole number above 0, and not beyond any encoder's."""
    if type(size) is not int or not 1 <= size <= LARGEST_SIZE:
        raise ValueError(f"{name} {size!r:.40} is not a whole number above 0")


def head_size_of(content: Mapping[str, Any]) -> Any:
    """Return the width of a head, as encoder.json has it; one of format 1 says how many heads the hidden size holds.

    Raises:
        ValueError: if the heads of format 1 do not divide the hidden size.
    """
    if "head_size" in content:
        return content["head_size"]
    if content["hidden"] % content["heads"]:
        raise ValueError(f"{content['heads']} heads do not divide {content['hidden']}")
    return content["hidden"] // content["heads"]


def layer_sizes(plan: Plan, layer: Mapping[str, Any]) -> tuple[int, int]:
    """Return the width of all heads of a layer together, and how many feed-forward neurons it has.

    Layers may differ (`--compression width`), and heads need not be as wide together as the hidden size.
    """
    heads, _ = plan.array(layer["output"]["weights"]).shape
    _, inner = plan.array(layer["inner"]["weights"]).shape
    return heads, inner


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
        heads, inner = layer_sizes(plan, layer)
        check_size("the width of the heads", heads)
        check_size("inner", inner)
        if heads % head_size_of(content):
            raise ValueError(f"heads {head_size_of(content)} wide do not divide {heads}")
        shapes = linear_shapes(content["hidden"], heads, inner, layer["query"] is not None)
        for name, shape in shapes.items():
            check_linear(plan, name, layer[name], shape)
        for name in NORMS:
            check_norm(plan, layer[name], content["hidden"])


def linear_shapes(
    hidden: int, heads: int, inner: int, has_query: bool
) -> dict[str, tuple[int, int]]:
    """Return depth and columns of a layer's products.

    Args:
        hidden: the size of a state.
        heads: the width of all heads together.
        inner: the number of feed-forward neurons.
        has_query: whether the layer has a query of its own, of the first token.
    """
    shapes = {
        "joined": (hidden, 3 * heads),
        "output": (heads, hidden),
        "inner": (hidden, inner),
        "outer": (inner, hidden),
    }
    if has_query:
        shapes["joined"] = (hidden, 2 * heads)
        shapes["query"] = (hidden, heads)
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
