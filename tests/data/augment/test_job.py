"""The command: how many rows, which, in which order, and what is refused."""

import csv
import json
from collections import Counter

import pytest

from tests.conftest import run_script
from trainer_ext.cli.augment import alphas, main
from trainer_ext.data.io.readers import read_rows
from trainer_ext.data.labelled import read_labelled
from trainer_ext.errors import UserError

ROWS = [
    {
        "id": f"r{k}",
        "text": f"the {word} film was good but the {noun} was slow and cold",
        "labels": [word],
        "score": k,
    }
    for k, (word, noun) in enumerate(
        (w, n) for w in ("big", "new", "sad") for n in ("room", "staff", "food")
    )
]


@pytest.fixture
def rows_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def run(source, output, size, *flags, language="en") -> list[dict]:
    argv = [
        "--input",
        source,
        "--output",
        output,
        "--language",
        language,
        "--target_size",
        size,
        *flags,
    ]
    main([str(item) for item in argv])
    return [row.values for row in read_rows(str(output))]


def test_originals_then_new_rows_that_name_their_source(rows_file, tmp_path):
    out = run(rows_file, tmp_path / "out.jsonl", 31)
    assert len(out) == 31 and out[:9] == ROWS
    new = out[9:]
    assert all(row["labels"] == ROWS[int(row["source_id"][1:])]["labels"] for row in new)
    assert all(row["score"] == ROWS[int(row["source_id"][1:])]["score"] for row in new)
    assert len({row["text"] for row in out}) == 31 == len({row["id"] for row in out})
    assert set(Counter(row["source_id"] for row in new).values()) == {
        2,
        3,
    }  # 22 rows over 9 sources
    assert len({row["operation"] for row in new}) == 4
    assert new[0]["id"] == "r0-eda1"


def test_the_same_seed_gives_the_same_bytes(rows_file, tmp_path):
    first, second, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "c.jsonl"
    run(rows_file, first, 30, "--seed", 5)
    run(rows_file, second, 30, "--seed", 5)
    run(rows_file, other, 30, "--seed", 6)
    assert first.read_bytes() == second.read_bytes() != other.read_bytes()


def test_rows_without_ids_are_named_by_their_number(tmp_path):
    source = tmp_path / "rows.txt"
    source.write_text("the big film was good\tpos\nthe staff was cold and slow\tneg\n")
    out = run(source, tmp_path / "out.csv", 6)
    assert out[0] == {
        "text": "the big film was good",
        "label": "pos",
        "id": "1",
        "source_id": "",
        "operation": "",
    }
    assert Counter((row["source_id"], row["label"]) for row in out[2:]) == {
        ("1", "pos"): 2,
        ("2", "neg"): 2,
    }
    with open(tmp_path / "out.csv", newline="") as file:
        assert len(list(csv.reader(file))) == 7


def test_ids_that_differ_are_needed(tmp_path):
    """Else a new row would name two sources."""
    source = tmp_path / "rows.csv"
    source.write_text(
        "id,text,label\n1,the big film was good,pos\n1,the staff was cold and slow,neg\n"
    )
    with pytest.raises(
        UserError,
        match=r"rows.csv, row 2 \(line 3\): the id '1' in column 'id' is that of an earlier",
    ):
        run(source, tmp_path / "out.csv", 6)
    assert list(tmp_path.iterdir()) == [source]


def test_new_rows_are_kept_and_are_no_sources(rows_file, tmp_path):
    """One method after the other."""
    once = tmp_path / "once.jsonl"
    first = run(rows_file, once, 18, "--operations", "random_swap")
    out = run(once, tmp_path / "twice.jsonl", 36, "--operations", "random_deletion", "--alpha", 0.2)
    assert out[:18] == first
    assert {row["source_id"] for row in out[18:]} == {row["id"] for row in ROWS}
    assert {row["operation"] for row in out[18:]} == {"random_deletion"}
    assert len({row["id"] for row in out}) == 36 == len({row["text"] for row in out})


def test_a_file_of_intents_and_slots(tmp_path):
    source = tmp_path / "snips.txt"
    source.write_text(
        "play O\nsome O\ngood B-g\njazz I-g\nnow O\nPlayMusic\n\nrate O\nit O\n6 B-v\nRateBook\n\n"
    )
    run(source, tmp_path / "out.jsonl", 20, "--task", "joint")
    out = [row.values for row in read_labelled(str(tmp_path / "out.jsonl"), "joint")]
    assert len(out) == 20
    for row in out:
        joined = " ".join(row["tokens"])
        assert "good jazz" in joined if row["intent"] == "PlayMusic" else "6" in row["tokens"]
        assert len(row["slots"]) == len(row["tokens"])


def test_a_thesaurus_of_ones_own(rows_file, tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("film, talkie\n")
    out = run(
        rows_file,
        tmp_path / "o.jsonl",
        18,
        "--thesaurus",
        own,
        "--operations",
        "synonym_replacement",
    )
    assert [row["text"] for row in out[9:]] == [
        row["text"].replace("film", "talkie") for row in ROWS
    ]


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--target_size", "8"], "target_size 8 is less than the 9 rows"),
        (["--target_size", "20", "--operations", "synonym"], "'synonym' is not an operation"),
        (["--target_size", "20", "--alpha", "random_swop=1"], "did you mean 'random_swap'"),
        (["--target_size", "20", "--alpha", "1.5"], "alpha 1.5 is out of range"),
        (["--target_size", "20", "--alpha", "much"], "--alpha much is not understood"),
        (["--target_size", "20", "--alpha", "0"], "switches every operation off"),
        (["--target_size", "20", "--method", "mlm"], "needs --model_name_or_path"),
        (["--target_size", "20", "--top_k", "3"], "--top_k 3 has no effect with --method eda"),
        (
            ["--target_size", "20", "--text_column", "body"],
            "rows.jsonl, row 1.*'body' must hold text",
        ),
        (["--target_size", "20", "--id_column", "uid"], "no column 'uid'"),
    ],
)
def test_refusals(rows_file, tmp_path, flags, message):
    output = tmp_path / "out.jsonl"
    with pytest.raises(UserError, match=message):
        main(["--input", str(rows_file), "--output", str(output), "--language", "en", *flags])
    assert list(tmp_path.iterdir()) == [rows_file]


def test_too_few_different_texts(tmp_path):
    """Said with the number that can be had; nothing is written."""
    source = tmp_path / "rows.txt"
    source.write_text("zig zag\ta\n")
    argv = ["-m", "trainer_ext.data.augment", "--input", source, "--output", tmp_path / "o.csv"]
    done = run_script(*argv, "--language", "en", "--target_size", "9")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert (
        "target_size 9 cannot be reached" in done.stderr
        and "only 4 different rows, 1 of them orig" in done.stderr
    )
    assert list(tmp_path.iterdir()) == [source]


def test_alpha_by_operation():
    possible = ["random_swap", "random_deletion"]
    assert alphas(["0.3"], None, possible) == {"random_swap": 0.3, "random_deletion": 0.3}
    assert alphas(["random_swap=0.2"], None, possible) == {
        "random_swap": 0.2,
        "random_deletion": 0.1,
    }
    assert alphas(["0.4", "random_swap=0"], ["random_deletion"], possible) == {
        "random_deletion": 0.4
    }
