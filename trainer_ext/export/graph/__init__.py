"""Rewrites of an exported ONNX graph that make it faster on CPUs: named passes, each checked."""

from trainer_ext.export.graph.optimise import PASSES, GraphReport, PassResult, optimise_graph

__all__ = ["PASSES", "GraphReport", "PassResult", "optimise_graph"]
