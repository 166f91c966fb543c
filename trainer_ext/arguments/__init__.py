"""The flags: dataclasses by subject, their checks, the parser and the recipe."""
