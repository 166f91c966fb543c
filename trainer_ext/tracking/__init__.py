"""Weights & Biases runs, and models as versioned artifacts."""
