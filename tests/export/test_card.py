"""The card of an export."""

from trainer_ext.export.card import exported_card, write_card

CARD = "---\nlibrary_name: trainer-ext\n---\n\n# news\n\n## Use\n\nx\n\n## Limits\n\ny\n"
REPORT = "# Export report\n\nThe gate was passed.\n\n## Files\n\n| a |\n|---|\n"


def test_the_report_stands_before_the_limits():
    """Its title is gone, its headings are one level down."""
    text = exported_card(CARD, "out", REPORT)
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == ["# news", "## Use", "## Export", "### Files", "## Limits"]
    assert "The gate was passed.\n\n### Files\n\n| a |" in text
    assert "trainer-ext serve --model out" in text and text.endswith("\n## Limits\n\ny\n")


def test_only_cards_of_ours_are_written_and_replaced(tmp_path):
    """A checkpoint without a card has none to hand on; a page of somebody's own stays."""
    checkpoint, stage, folder = (tmp_path / name for name in ("checkpoint", "stage", "folder"))
    for path in (checkpoint, stage, folder):
        path.mkdir()
    written = stage / "README.md"
    write_card(stage, checkpoint, folder, REPORT)
    assert not written.exists()
    (checkpoint / "README.md").write_text(CARD, encoding="utf-8")
    (folder / "README.md").write_text("# My notes\n", encoding="utf-8")
    write_card(stage, checkpoint, folder, REPORT)
    assert not written.exists()
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    write_card(stage, checkpoint, folder, REPORT)
    assert "## Export" in written.read_text(encoding="utf-8")
