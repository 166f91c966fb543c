"""What a run leaves for people: tables, plots and the model card."""
