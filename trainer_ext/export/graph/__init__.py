"""Rewrites of an exported ONNX graph that make it faster on CPUs: named passes, each checked."""

from trainer_ext.export.graph.optimise import (
    PASSES,
    RUNTIME_PASSES,
    GraphReport,
    PassResult,
    fuse_for_runtime,
    optimise_graph,
)

__all__ = [
    "PASSES",
    "RUNTIME_PASSES",
    "fuse_for_runtime",
    "GraphReport",
    "PassResult",
    "optimise_graph",
]
