"""Model folders that bring code of their own, which leaves a file when it is run."""

import json
from pathlib import Path


def add_tokenizer_code(folder: Path) -> Path:
    """Let a folder's tokenizer be a class of its own file; returns the file that running it would leave."""
    trace = folder / "WAS_RUN"
    (folder / "own_tokenizer.py").write_text(f"open({str(trace)!r}, 'w').close()\nclass Own: pass\n")
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": [None, "own_tokenizer.Own"]}}
    path.write_text(json.dumps(config), encoding="utf-8")
    return trace
