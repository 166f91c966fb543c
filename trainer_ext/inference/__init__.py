"""Prediction. From an ONNX folder it needs onnxruntime, tokenizers and numpy only."""

from trainer_ext.inference.loading import load_predictor
from trainer_ext.inference.predictor import Predictor

__all__ = ["Predictor", "load_predictor"]
