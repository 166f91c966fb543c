"""Paraphrase, judge and label rows with a language model of any OpenAI-compatible endpoint."""
