"""Scoring and calibrating a saved model: shared by training, the export gate and prediction."""
