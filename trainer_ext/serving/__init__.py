"""Answers over HTTP: `trainer-ext serve`. Imports inference only; docs/serving.md lists what it promises."""
