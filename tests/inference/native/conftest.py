"""An export with a plan for the native runtime, made as those of the stage's own tests."""

from tests.export.native.conftest import checkpoint, exported, rows

__all__ = ["checkpoint", "exported", "rows"]
