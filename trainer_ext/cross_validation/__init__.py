"""One model per fold or per seed, and all of them together.

Each model is trained in a process of its own.
"""
