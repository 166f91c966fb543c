"""Prediction. From an ONNX folder it needs onnxruntime, tokenizers and numpy only."""

from trainer_ext.inference.predictor import Predictor, load_predictor

__all__ = ["Predictor", "load_predictor"]
