"""Searches over flags."""
