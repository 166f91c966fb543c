"""Several models of one recipe, one per fold or per seed, each trained in a process of its own."""
