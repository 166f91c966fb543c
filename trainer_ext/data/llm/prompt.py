"""Prompts are files: text with placeholders, and above a line `---`, where there is one, what the system message says.

Placeholders: `{{text}}` the row's text; `{{label}}` its label (several label columns: `name: value; ...`);
`{{labels}}` the labels to choose from; `{{count}}` how many texts are wanted; `{{schema}}` the JSON schema of the
answer.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer_ext.data.io.readers import Row, text_of
from trainer_ext.errors import UserError, did_you_mean

OWN = Path(__file__).parent / "prompts"
PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
KNOWN = ("text", "label", "labels", "count", "schema")


@dataclass(frozen=True)
class Prompt:
    """A template and what is the same for every row."""

    system: str
    user: str
    text_column: str
    label_columns: tuple[str, ...]
    fixed: dict[str, str]

    def messages(self, row: Row) -> list[dict[str, str]]:
        """The chat to send for a row.

        Raises:
            UserError: for a missing text, or a missing label where the template shows it, with file and row.
        """
        values = {**self.fixed, "text": text_of(row, self.text_column)}
        if self.shows("label"):
            values["label"] = self.label(row)
        parts = (("system", self.system), ("user", self.user))
        return [{"role": role, "content": fill(part, values)} for role, part in parts if part]

    def shows(self, name: str) -> bool:
        """Whether the template has the placeholder."""
        return name in PLACEHOLDER.findall(self.system + self.user)

    def label(self, row: Row) -> str:
        """The row's label as text."""
        for column in self.label_columns:
            if row.values.get(column) in (None, ""):
                raise UserError(
                    f"{row.where}: the prompt shows the label, but there is none in column {column!r} "
                    "(--label_columns names other columns; without any, no label is shown)"
                )
        shown = [(column, as_text(row.values[column])) for column in self.label_columns]
        return shown[0][1] if len(shown) == 1 else "; ".join(f"{a}: {b}" for a, b in shown) or "-"


def as_text(value: Any) -> str:
    """A label as text; lists with commas between."""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def fill(template: str, values: dict[str, str]) -> str:
    """Put values in place of placeholders, all at once: what a value holds is never read as a placeholder."""
    return PLACEHOLDER.sub(lambda match: values[match[1]], template)


def read_prompt(
    path: str | None,
    mode: str,
    language: str,
    schema: dict[str, Any],
    text_column: str,
    label_columns: Sequence[str],
    labels: Sequence[str] = (),
    count: int = 1,
) -> Prompt:
    """The prompt in a file, or the one that comes with the package for a mode and a language.

    Raises:
        UserError: for a file that cannot be read, an unknown placeholder, or no place for the text.
    """
    path = path or str(OWN / f"{mode}.{language}.md")
    try:
        template = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--prompt {path} cannot be read: {error}") from error
    names = PLACEHOLDER.findall(template)
    for name in names:
        if name not in KNOWN:
            near = did_you_mean(name, KNOWN)
            raise UserError(
                f"--prompt {path}: unknown placeholder {name!r}{near}; known are {', '.join(KNOWN)}"
            )
    if "text" not in names:
        raise UserError(f"--prompt {path} has no {{{{text}}}}: the row's text would not be sent")
    system, line, user = template.partition("\n---\n")
    if not line:
        system, user = "", template
    fixed = {
        "labels": ", ".join(labels),
        "count": str(count),
        "schema": json.dumps(schema, ensure_ascii=False),
    }
    return Prompt(system.strip(), user.strip(), text_column, tuple(label_columns), fixed)
