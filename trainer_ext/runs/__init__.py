"""The folder of a run: who owns it, its checkpoints, and how a run resumes."""
