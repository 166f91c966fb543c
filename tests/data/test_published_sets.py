"""The published sets, read with the very flags that data/README.md gives; row counts as their own READMEs state."""

import re
import shlex
from pathlib import Path

import pytest

from trainer_ext.cli.report import parse
from trainer_ext.data.labelled import label_space, read_labelled, texts_and_labels
from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT.parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the published sets are not at {DATA}")
README = (ROOT / "data/README.md").read_text(encoding="utf-8")
COMMANDS = dict(
    re.findall(
        r"^python -m trainer_ext\.data\.report ([^`]*?--output_dir reports/(\w+))$",
        README.replace("\\\n", ""),
        re.MULTILINE,
    )
)
COMMANDS = {name: command for command, name in COMMANDS.items()}
ROWS = {
    "aichallenger2018_fsa_en_mt": {"english_valid.csv.gz": 2000},
    "aichallenger2018_fsa_zh": {"chinese_valid.part70.csv": 1400},
    "asap_samples": {"train_sample.csv": 100, "dev_sample.csv": 100, "test_sample.csv": 100},
    "banking77": {"train.csv": 10003, "test.csv": 3080},
    "chnsenticorp_htl": {"ChnSentiCorp_htl_all.csv.gz": 7766},
    "cola": {"in_domain_train.tsv": 8551, "in_domain_dev.tsv": 527, "out_of_domain_dev.tsv": 516},
    "ellipse": {"ellipse_part70.csv.gz": 1799},
    "goemotions": {"train.tsv.gz": 43410, "dev.tsv": 5426},
    "mag_titles": {"dev.txt": 5599},
    "nlpcc2018_task4": {"corpus.train.txt": 21352, "corpus.train.variant_bringtree.txt": 21352},
    "online_shopping_10_cats": {"online_shopping_10_cats.csv.part1.gz": 62774},
    "scicite": {"train.txt": 7320, "dev.txt": 916, "test.txt": 1861},
    "smp_ecdt_nlu": {"2019train.json": 2579, "2020train.json": 5024, "2020merge_dev.txt": 493},
    "snips": {"train.txt": 13084, "dev.txt": 700, "test.txt": 700},
    "sst2": {"stsa.binary.train": 6920, "stsa.binary.dev": 872, "stsa.binary.test": 1821},
    "thucnews10": {"train_45k.txt.gz": 45000, "dev.txt": 10000},
}
NO_TEXT = {"chnsenticorp_htl": 1, "online_shopping_10_cats": 1}


def read(name: str) -> tuple[dict[str, list], object]:
    """All rows by file, and how they were read."""
    _, data = parse(shlex.split(COMMANDS[name].replace("../shared/data", str(DATA))))
    return {
        file: list(read_labelled(str(DATA / name / file), data.task, data)) for file in ROWS[name]
    }, data


def test_every_set_has_its_command():
    """One a set, and each names its files."""
    assert set(COMMANDS) == set(ROWS) == {path.name for path in DATA.iterdir() if path.is_dir()}


@pytest.mark.parametrize("name", ROWS)
def test_rows_and_labels(name, monkeypatch):
    """As many rows as published, each with a text and known labels, but for those that are said to have none."""
    monkeypatch.chdir(ROOT)
    files, data = read(name)
    assert {file: len(rows) for file, rows in files.items()} == ROWS[name]
    kind = TASKS[data.task]
    first = next(iter(files.values()))
    space = label_space(first, data.label_columns, data.label_names, kind, data.label_separator)
    bad = 0
    for row in (row for rows in files.values() for row in rows):
        try:
            texts_and_labels([row], data.text_column, kind(space))
        except UserError as error:
            bad += "is empty" in str(error) or pytest.fail(str(error))
    assert bad == NO_TEXT.get(name, 0)


def test_goemotions_keeps_its_quotes(monkeypatch):
    """csv's usual quoting would alter 1,097 of the training texts."""
    monkeypatch.chdir(ROOT)
    files, _ = read("goemotions")
    texts = [row.values["text"] for row in files["train.tsv.gz"]]
    assert sum('"' in text for text in texts) >= 1097


def test_broken_characters_are_kept(monkeypatch):
    """U+FFFD is a character like others; U+FEFF inside a text too."""
    monkeypatch.chdir(ROOT)
    titles = {
        file: [row.values["text"] for row in rows] for file, rows in read("thucnews10")[0].items()
    }
    assert [sum("\ufffd" in text for text in texts) for texts in titles.values()] == [204, 33]
    (reviews,) = read("online_shopping_10_cats")[0].values()
    assert sum("\ufeff" in row.values["review"] for row in reviews) == 20
    assert len({row.values["cat"] for row in reviews}) == 10
