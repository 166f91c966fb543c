"""Who runs a training in a process of its own: this machine, or a node of a Ray cluster."""
