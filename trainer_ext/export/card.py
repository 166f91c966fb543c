"""README.md of an export: the checkpoint's model card with what the gate found."""

from pathlib import Path

from trainer_ext.files import write_text

CARD = "README.md"
# By it `runs/output_dir.py` knows a card as one of this project.
FIRST_LINES = "---\nlibrary_name: trainer-ext\n"
LIMITS = "\n## Limits\n"


def write_card(stage: Path, checkpoint: Path, folder: Path, report: str) -> None:
    """Write the card beside an export's files, if the checkpoint has one.

    Args:
        stage: where the files wait.
        checkpoint: the folder that was exported.
        folder: where the files go.
        report: content of export_report.md.
    """
    card = own_card(checkpoint)
    is_foreign = (folder / CARD).is_file() and not own_card(folder)
    # A page that somebody wrote for this folder stays.
    if not card or is_foreign:
        return
    write_text(stage / CARD, exported_card(card, str(folder), report))


def own_card(folder: Path) -> str:
    """Return the model card in a folder; empty if there is none, or another page in its place."""
    try:
        text = (folder / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    return text if text.startswith(FIRST_LINES) else ""


def exported_card(card: str, folder: str, report: str) -> str:
    """Put the report into a card, before its limits.

    Args:
        card: of the checkpoint.
        folder: of the export.
        report: Markdown with a title, whose headings go one level down.
    """
    lines = [line for line in report.splitlines() if not line.startswith("# ")]
    shown = "\n".join(f"#{line}" if line.startswith("## ") else line for line in lines).strip()
    section = (
        f"\n## Export\n\nThe files in `{folder}` answer without torch: "
        f"`trainer-ext predict --model {folder} --text ...`, `trainer-ext serve --model {folder}`.\n\n{shown}\n"
    )
    before, limits, after = card.partition(LIMITS)
    return before + section + limits + after
