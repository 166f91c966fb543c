"""Runs side by side: what differs between them, what they score, and whether the difference can be chance."""
