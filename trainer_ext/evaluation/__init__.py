"""Scoring and calibrating a model as saved.

Training, the export gate and prediction share it.
"""
