"""Write `trainer_ext/arguments/keywords.py` from the dataclasses of flags: `python docs/write_keywords.py`.

An editor completes the keywords of `fit(...)` only if their names and types are written somewhere. They are written
from the same dataclasses as the flags of the command line; `tests/test_api.py` fails when the file is out of date.
"""

import sys
from dataclasses import fields
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "trainer_ext" / "arguments" / "keywords.py"
SPLITS = ("train_file", "validation_file", "test_file")
PATHS = ("output_dir", "model_name_or_path", "stopwords_file", "logging_dir")
HEAD = '''"""The keywords of `fit`, `cross_validate` and `export`, written by docs/write_keywords.py, not by hand.

None takes a recipe's value back. What a flag does is in docs/flags.md and in `python train.py --help`.
"""

import os
from collections.abc import Sequence
from typing import Any, TypedDict

Items = str | float | Sequence[Any] | None
Mapped = dict[str, Any] | str | None
Path = str | os.PathLike[str] | None
Rows = Any
"""A file, a data frame, a `datasets.Dataset`, a list of mappings or tuples, or a mapping of columns to lists."""
'''


def main() -> None:
    """Write the file."""
    sys.path.insert(0, str(ROOT))
    TARGET.write_text(source(), encoding="utf-8")


def source() -> str:
    """Return the text of the module."""
    from trainer_ext.arguments.files import FileOptions
    from trainer_ext.arguments.first_pass import GROUPS
    from trainer_ext.arguments.training import TrainingArguments

    flags: dict[str, str] = {}
    headings: dict[str, str] = {}
    for group in (*GROUPS, TrainingArguments):
        keywords = keywords_of(group)
        # A group that inherits from others repeats what they have.
        first = next((name for name in keywords if name not in flags), None)
        if first:
            is_own = group is not TrainingArguments
            headings[first] = group._argument_group_name if is_own else "transformers' own"
        flags |= keywords
    number_of_folds = flags.pop("folds")
    parts = [
        HEAD,
        typed_dict("ReadingKeywords", "How a file of rows is written.", keywords_of(FileOptions)),
        typed_dict("FoldKeywords", "Every flag of train.py but `folds`.", flags, headings=headings),
        typed_dict(
            "Keywords", "Every flag of train.py.", {"folds": number_of_folds}, "FoldKeywords"
        ),
    ]
    return "\n\n".join(parts)


def keywords_of(group: type) -> dict[str, str]:
    """Return the fields of a dataclass with the type that a caller of `fit` may give each."""
    hints = get_type_hints(group)
    return {spec.name: type_of(spec.name, hints[spec.name]) for spec in fields(group) if spec.init}


def type_of(name: str, hint: Any) -> str:
    """Return a type as source; enums and lists may be given as words, as on the command line."""
    if name in SPLITS:
        return "Rows"
    if name in PATHS:
        return "Path"
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    names = set()
    for kind in kinds:
        if get_origin(kind) is list:
            return "Items"
        if kind is dict or get_origin(kind) is dict:
            return "Mapped"
        if issubclass(kind, Enum):
            names.add("str")
        elif kind is not NoneType:
            names.add(kind.__name__ if kind.__module__ == "builtins" else "Any")
    return " | ".join([*sorted(names), "None"])


def typed_dict(
    name: str,
    summary: str,
    keywords: dict[str, str],
    base: str = "TypedDict",
    headings: dict[str, str] | None = None,
) -> str:
    """Return the source of one class, with a comment before each keyword that has a heading."""
    lines = [f"class {name}({base}, total=False):", f'    """{summary}"""', ""]
    for keyword, kind in keywords.items():
        if headings and keyword in headings:
            lines.append(f"    # {headings[keyword]}")
        lines.append(f"    {keyword}: {kind}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
