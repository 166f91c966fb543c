"""Checkpoint to ONNX and INT8, through a gate that proves them equal."""
