"""Models as versioned artifacts: the local store, W&B, and references to them."""
