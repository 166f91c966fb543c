"""Shapes of tensors: inferred, and named by what was seen when the graph ran."""

from collections.abc import Sequence

import onnx

# Optimum's names for the dimensions of token ids.
DIMENSIONS = ("batch_size", "sequence_length")

Dimension = int | str | None
Shape = tuple[Dimension, ...]


def infer_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Return the shape of each tensor as far as ONNX can tell it, values of shape arithmetic included."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    shapes: dict[str, Shape] = {}
    graph = inferred.graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape"):
            shapes[value.name] = tuple(dimension_of(each) for each in tensor.shape.dim)
    return shapes


def name_dimensions(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Give token ids, masks and token types the same names for batch and length, which exporters need not do."""
    for value in model.graph.input:
        dimensions = value.type.tensor_type.shape.dim
        if value.name not in names or len(dimensions) != 2:
            continue
        for dimension, name in zip(dimensions, DIMENSIONS, strict=True):
            is_fixed = dimension.HasField("dim_value")
            if not is_fixed:
                dimension.dim_param = name
    return model


def name_observed(shapes: dict[str, Shape], observed: dict[str, Shape]) -> dict[str, Shape]:
    """Give dimensions that inference made up names for, each name for one length, the names that were observed.

    Inference has the numbers; which of its names is the batch and which the length shows only when the graph runs.
    """
    names: dict[Dimension, Dimension] = {}
    for tensor, seen in observed.items():
        inferred = shapes.get(tensor, ())
        for made_up, name in zip(inferred, seen, strict=False):
            if isinstance(made_up, str) and name is not None:
                names[made_up] = name
    named: dict[str, Shape] = {}
    for tensor, shape in shapes.items():
        named[tensor] = tuple(names.get(dimension, dimension) for dimension in shape)
    for tensor, seen in observed.items():
        if None not in seen:
            named.setdefault(tensor, seen)
    return named


def dimension_of(dimension: onnx.TensorShapeProto.Dimension) -> Dimension:
    """Return a dimension as a number, a name, or None if nothing is known of it."""
    if dimension.HasField("dim_value"):
        return int(dimension.dim_value)
    return dimension.dim_param or None


def static_product(sizes: Sequence[Dimension]) -> int | None:
    """Return the product of dimensions, None if one is dynamic."""
    total = 1
    for size in sizes:
        if not isinstance(size, int) or size <= 0:
            return None
        total *= size
    return total
