"""CustomTrainer, its optimizer groups, sampler and output folder."""
