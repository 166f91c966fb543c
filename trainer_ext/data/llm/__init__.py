"""Rows and a language model behind an OpenAI-compatible endpoint: paraphrases, a judge, pseudo-labels."""
