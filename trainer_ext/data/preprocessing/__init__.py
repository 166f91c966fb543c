"""Cleaning, tokenising, truncating and collating texts."""
