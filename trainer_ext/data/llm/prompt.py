"""Prompts are files: Jinja2 templates, in which what stands above a line `---` is the system message.

Placeholders: `{{text}}` the row's text; `{{label}}` its label (several label columns: `name: value; ...`);
`{{labels}}` the labels to choose from; `{{count}}` how many texts are wanted; `{{schema}}` the JSON schema of the
answer.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, meta
from jinja2.sandbox import SandboxedEnvironment

from trainer_ext.data.io.readers import Row, text_of
from trainer_ext.errors import UserError, describe_error, did_you_mean

OWN = Path(__file__).parent / "prompts"
KNOWN = ("text", "label", "labels", "count", "schema")
SEPARATOR = "\n---\n"
# A prompt may come from anywhere: it must not reach the machine, nor render a misspelt name as nothing.
ENVIRONMENT = SandboxedEnvironment(undefined=StrictUndefined)

Message = dict[str, str]


@dataclass(frozen=True)
class Prompt:
    """The templates of a prompt file, and the values that are the same for every row.

    Attributes:
        path: the file, for messages.
        templates: by role, `system` before `user`.
        shows_label: whether a template has the placeholder `{{label}}`.
        fixed: values of the placeholders that do not depend on the row.
    """

    path: str
    templates: dict[str, Template]
    shows_label: bool
    text_column: str
    label_columns: tuple[str, ...]
    fixed: dict[str, str | int]

    def messages(self, row: Row) -> list[Message]:
        """Return the chat to send for a row.

        Raises:
            UserError: for a missing text, a missing label if the template shows it, or a template that fails on the
                row, with file and row.
        """
        values = {**self.fixed, "text": text_of(row, self.text_column)}
        if self.shows_label:
            values["label"] = self.label(row)
        try:
            # Rendered once: what a text holds is a value and never read as a template.
            return [
                {"role": role, "content": template.render(values)}
                for role, template in self.templates.items()
            ]
        except Exception as error:  # expressions in a template raise whatever Python does
            raise UserError(
                f"{row.where}: --prompt {self.path} fails: {describe_error(error)}"
            ) from error

    def label(self, row: Row) -> str:
        """Return the row's label as text: the value of one column, or `name: value` of several."""
        texts = []
        for column in self.label_columns:
            value = row.values.get(column)
            if value in (None, ""):
                raise UserError(
                    f"{row.where}: the prompt shows the label, but there is none in column {column!r} "
                    "(--label_columns names other columns; without any, no label is shown)"
                )
            texts.append(as_text(value))
        if not texts:
            return "-"
        if len(texts) == 1:
            return texts[0]
        named = zip(self.label_columns, texts, strict=True)
        return "; ".join(f"{column}: {text}" for column, text in named)


def as_text(value: Any) -> str:
    """Return a label as text; lists with commas between."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)


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
    """Read the prompt in a file, or without a path the one that comes with the package for a mode and a language.

    Raises:
        UserError: for a file that cannot be read, a template that is not valid, an unknown placeholder, or no place
            for the text.
    """
    path = path or str(OWN / f"{mode}.{language}.md")
    try:
        source = Path(path).read_text(encoding="utf-8-sig")  # editors on Windows write a mark
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--prompt {path} cannot be read: {error}") from error
    try:
        names = placeholders(source)
        templates = split_templates(source)
    except TemplateSyntaxError as error:
        raise UserError(
            f"--prompt {path}, line {error.lineno}: not a valid Jinja2 template: {error.message}; "
            f"the placeholders are {listed(KNOWN)}"
        ) from error
    check_placeholders(path, names)
    fixed: dict[str, str | int] = {
        "labels": ", ".join(labels),
        "count": count,
        "schema": json.dumps(schema, ensure_ascii=False),
    }
    return Prompt(path, templates, "label" in names, text_column, tuple(label_columns), fixed)


def placeholders(source: str) -> list[str]:
    """Return the names that a template wants values for.

    Raises:
        TemplateSyntaxError: with the line, if the template is not valid.
    """
    # Parsing alone lets unknown filters pass.
    ENVIRONMENT.compile(source)
    names = meta.find_undeclared_variables(ENVIRONMENT.parse(source))
    return sorted(names - set(ENVIRONMENT.globals))


def split_templates(source: str) -> dict[str, Template]:
    """Return the templates of the system and the user message; an empty one is left out.

    They are split before they are rendered, because a row's text may hold a line `---` too.
    """
    system, separator, user = source.partition(SEPARATOR)
    parts = {"system": system, "user": user} if separator else {"user": source}
    return {
        role: ENVIRONMENT.from_string(part.strip()) for role, part in parts.items() if part.strip()
    }


def check_placeholders(path: str, names: Sequence[str]) -> None:
    """Raise `UserError` for an unknown placeholder, or if the text has no place."""
    for name in names:
        if name not in KNOWN:
            near = did_you_mean(name, KNOWN)
            raise UserError(
                f"--prompt {path}: unknown placeholder {name!r}{near}; the placeholders are {listed(KNOWN)}"
            )
    if "text" not in names:
        raise UserError(f"--prompt {path} has no {{{{text}}}}: the row's text would not be sent")


def listed(names: Sequence[str]) -> str:
    """Return placeholders as a template writes them."""
    return ", ".join(f"{{{{{name}}}}}" for name in names)
