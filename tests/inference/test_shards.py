"""Many files: the answers of one file each, bad rows left out and told, finished shards kept; and all of it on Ray."""

import json
import os
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from tests.conftest import ROOT, run_ok, run_script
from trainer_ext.arguments.files import FileOptions
from trainer_ext.errors import UserError
from trainer_ext.inference.job import Form
from trainer_ext.inference.shards import (
    Shard,
    ShardSettings,
    ShardWorker,
    find_shards,
    take_output,
    unfinished,
)

MODEL = ROOT / "tests" / "compatibility" / "runs_of_0_1" / "onnx"
FILES = FileOptions()


def settings(**form) -> ShardSettings:
    """One thread, and everything else by default."""
    model = {"path": [str(MODEL)], "num_threads": 1, "batch_size": 8}
    return ShardSettings(model, FILES, None, None, Form(**form))


@pytest.fixture(scope="module")
def worker(tmp_path_factory) -> ShardWorker:
    """A worker that writes into a folder of its own."""
    return ShardWorker(settings(), str(tmp_path_factory.mktemp("answers")))


@pytest.fixture
def rows(tmp_path) -> Path:
    """A shard of each format: with two bad rows in jsonl, and one in csv."""
    folder = tmp_path / "rows"
    folder.mkdir()
    table = pyarrow.table({"id": [1, 2], "text": ["a goal", "a bank"]})
    parquet.write_table(table, folder / "a.parquet")
    lines = [
        '{"id": 3, "text": 3}',
        '{"id": 4, "text": "a quest"}',
        "{broken",
        '{"id": 5, "text": ""}',
    ]
    (folder / "b.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "c.csv").write_text('id,text\n6,a goal\n7,one,too many\n8,"two\nlines"\n')
    (folder / "_SUCCESS").write_text("")
    return folder


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_shard_is_answered_as_a_file(rows, worker, tmp_path):
    """To the byte; rows of other shards have no say, and the order is the file's."""
    shards = find_shards(str(rows), FILES)
    assert [shard.name for shard in shards] == ["a.jsonl", "b.jsonl", "c.csv"]
    answered = [worker.answer(shard) for shard in shards]
    assert [(one.rows, one.rejected, one.error) for one in answered] == [
        (2, 0, ""),
        (2, 2, ""),
        (2, 1, ""),
    ]
    run_ok("predict.py", "--model", MODEL, "--num_threads", "1", "--input", rows / "a.parquet",
           "--output", tmp_path / "one.jsonl")  # fmt: skip
    assert (worker.folder / "a.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    assert [row["id"] for row in lines_of(worker.folder / "b.jsonl")] == [4, 5]
    assert (worker.folder / "c.csv").read_text().count("two\nlines") == 1


def test_bad_rows_are_told(rows, worker):
    """File, row and reason; none for a shard without them."""
    for shard in find_shards(str(rows), FILES):
        worker.answer(shard)
    source = str(rows / "b.jsonl")
    assert lines_of(worker.folder / "_rejected" / "b.jsonl") == [
        {"file": source, "row": 1, "reason": "column 'text' must hold text, got 3"},
        {"file": source, "row": 3, "reason": "not JSON: Expecting property name enclosed in double "
                                             "quotes at column 2"},
    ]  # fmt: skip
    (csv_row,) = lines_of(worker.folder / "_rejected" / "c.csv.jsonl")
    assert csv_row["row"] == 2 and csv_row["reason"].startswith("3 fields where the header has 2")
    assert not (worker.folder / "_rejected" / "a.jsonl").exists()


def test_a_shard_that_cannot_be_read_does_not_end_the_job(tmp_path, worker):
    """It has no answers, is told, and is not finished; mended, it is."""
    path = tmp_path / "bad.parquet"
    path.write_bytes(b"PAR1 nothing")
    shard = Shard(str(path), "bad.jsonl")
    answered = worker.answer(shard)
    assert answered.rows == 0 and "not a parquet file" in answered.error
    assert unfinished([shard], worker.folder) == [shard]
    assert lines_of(worker.folder / "_rejected" / "bad.jsonl")[0]["row"] is None
    assert not (worker.folder / "bad.jsonl").exists()
    parquet.write_table(pyarrow.table({"text": ["a goal"]}), path)
    worker.answer(shard)
    assert unfinished([shard], worker.folder) == []
    assert not (worker.folder / "_rejected" / "bad.jsonl").exists()


def test_what_is_finished(rows, worker):
    """A shard that has changed since is not."""
    shards = find_shards(str(rows / "*.jsonl"), FILES)
    worker.answer(shards[0])
    assert unfinished(shards, worker.folder) == []
    os.utime(rows / "b.jsonl", ns=(1, 1))
    assert unfinished(shards, worker.folder) == shards


def test_a_folder_has_answers_of_one_model(worker):
    """In one form."""
    take_output(worker.folder, worker.predictor, settings())
    take_output(worker.folder, worker.predictor, settings())
    with pytest.raises(UserError, match="another form: give another folder"):
        take_output(worker.folder, worker.predictor, settings(text=False))


def test_patterns(rows, tmp_path):
    """Refused: no file, an unknown ending, and two of one name."""
    with pytest.raises(UserError, match="there is no such file"):
        find_shards(str(rows / "*.tsv"), FILES)
    (rows / "a.jsonl").write_text("")
    with pytest.raises(UserError, match="both have their answers in a.jsonl"):
        find_shards(str(rows), FILES)
    (rows / "a.doc").write_text("")
    with pytest.raises(UserError, match="unknown ending"):
        find_shards(str(rows), FILES)


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--text", "a"], "--text is for one file"),
        (["--input", "x/*.csv"], "give --input"),
        (["--input", "x", "--output", "y", "--resume"], "finished shards are kept"),
        (["--input", "x", "--output", __file__], "is a file"),
        (["--input", "/no/*.csv", "--output", "y"], "there is no such file"),
        (["--input", "x", "--output", "y", "--ray_address", "ray://host:10001"], "Ray's client"),
    ],
)
def test_refusals(flags, words, tmp_path):
    """Before a cluster is started."""
    done = run_script("predict.py", "--model", MODEL, "--engine", "ray", *flags)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_on_ray(rows, tmp_path):
    """Through Ray Data, then again: what is finished is kept."""
    flags = ["--model", MODEL, "--engine", "ray", "--ray_address", "local", "--input", rows]
    out = tmp_path / "out"
    run_ok("predict.py", *flags, "--output", out)
    alone = ShardWorker(settings(), str(tmp_path / "alone"))
    for shard in find_shards(str(rows), FILES):
        alone.answer(shard)
        assert (out / shard.name).read_bytes() == (alone.folder / shard.name).read_bytes()
    done = run_ok("predict.py", *flags, "--output", out)
    assert "3 of 3 shards are finished, and kept" in done.stderr
