"""CustomTrainer, and the job of training one model."""
