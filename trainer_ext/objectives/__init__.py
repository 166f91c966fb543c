"""Loss terms, one file each, and the objective that adds them up."""
