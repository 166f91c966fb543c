"""Texts in, answers out.

Predicting from an ONNX folder needs onnxruntime, tokenizers and numpy only.
"""

from trainer_ext.inference.loading import load_predictor
from trainer_ext.inference.predictor import Predictor

__all__ = ["Predictor", "load_predictor"]
