"""Tokenised rows are taken from the cache when rows, tokenizer and settings are the same, and only then."""

import datasets
import pytest
from datasets import Dataset

from tests.data.preprocessing.test_tokenize import make_tokenizer
from trainer_ext.data.preprocessing.tokenize import cache_key, tokenize

ROWS = {"text": ["a b", "c", "a", "b c a"], "labels": [0, 1, 0, 1]}


@pytest.fixture
def calls(tmp_path, monkeypatch) -> list[int]:
    """The sizes of the batches that were really tokenised; the cache is empty at first."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    from trainer_ext.data.preprocessing import tokenize as module

    seen, make = [], module.encoder

    def counting(*args):
        encode = make(*args)
        return lambda batch: seen.append(len(batch["text"])) or encode(batch)

    monkeypatch.setattr(module, "encoder", counting)
    return seen


def test_a_second_run_does_not_tokenise(calls):
    first = tokenize(Dataset.from_dict(ROWS), make_tokenizer(), 8, None)
    again = tokenize(Dataset.from_dict(ROWS), make_tokenizer(), 8, None)
    assert calls == [4]
    assert again.to_dict() == first.to_dict() and again["input_ids"][0] == [2, 4, 5, 3]


def test_a_tokenizer_that_was_used_is_the_same(calls):
    """A call leaves its truncation and padding behind in the tokenizer."""
    tokenizer = make_tokenizer()
    tokenize(Dataset.from_dict(ROWS), tokenizer, 8, None)
    tokenizer(["a", "a b"], padding="max_length", max_length=16, truncation=True)
    tokenize(Dataset.from_dict(ROWS), tokenizer, 8, None)
    assert calls == [4]


def test_the_tokenizer_does_not_tell_whether_rows_came_from_the_cache(calls):
    """It is saved with the model, whose bytes must be those of the same training before."""
    states = []
    for _ in range(2):
        tokenizer = make_tokenizer()
        tokenize(Dataset.from_dict(ROWS), tokenizer, 8, None)
        states.append(tokenizer.backend_tokenizer.to_str())
    assert calls == [4] and states[0] == states[1]


def test_other_rows_settings_and_tokenizers_are_not_taken(calls):
    tokenize(Dataset.from_dict(ROWS), make_tokenizer(), 8, None)
    tokenize(Dataset.from_dict(ROWS), make_tokenizer(), 3, None)
    tokenize(
        Dataset.from_dict(ROWS | {"text": ["a b", "c", "a", "b c b"]}), make_tokenizer(), 8, None
    )
    tokenize(Dataset.from_dict(ROWS | {"labels": [1, 1, 0, 1]}), make_tokenizer(), 8, None)
    other = make_tokenizer()
    other.add_tokens(["d"])
    tokenize(Dataset.from_dict(ROWS), other, 8, None)
    assert len(calls) == 5


def test_several_processes_give_the_same_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    data = Dataset.from_dict(
        {"text": ["a b c"[: 1 + k % 5] for k in range(50)], "labels": list(range(50))}
    )
    parallel = tokenize(data, make_tokenizer(), 8, 2)
    assert len(list(tmp_path.rglob("*_of_00002.arrow"))) == 2
    datasets.disable_caching()
    try:
        assert parallel.to_dict() == tokenize(data, make_tokenizer(), 8, None).to_dict()
    finally:
        datasets.enable_caching()
    assert len(list(tmp_path.rglob("*.arrow"))) == 2, "with caching off nothing is written"


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    """A file in the folder's place: tokenised in memory."""
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "file")
    assert len(tokenize(Dataset.from_dict(ROWS), make_tokenizer(), 8, None)) == 4


def arrow_file(tmp_path):
    (path,) = tmp_path.rglob("tokens-*.arrow")
    return path


@pytest.mark.parametrize("harm", ["empty", "cut", "changed", "no sum", "sum cut"])
def test_a_damaged_cache_is_dropped_and_the_rows_are_made_anew(calls, tmp_path, capsys, harm):
    """A changed byte would be another token; the run after that finds nothing, and writes it again."""
    whole = tokenize(Dataset.from_dict(ROWS), make_tokenizer(), 8, None).to_dict()
    path = arrow_file(tmp_path)
    content = path.read_bytes()
    position = content.index(bytes([5, 0, 0, 0, 3, 0, 0, 0]))
    changed = content[:position] + b"\x04" + content[position + 1 :]
    new = {"empty": b"", "cut": content[: len(content) // 2], "changed": changed}.get(harm, content)
    path.write_bytes(new)
    if harm == "no sum":
        path.with_suffix(".json").unlink()
    elif harm == "sum cut":
        path.with_suffix(".json").write_text('{"tok')
    assert tokenize(Dataset.from_dict(ROWS), make_tokenizer(), 8, None).to_dict() == whole
    assert calls == [4, 4] and "the cache of tokenised rows" in capsys.readouterr().err
    for _ in range(2):
        assert tokenize(Dataset.from_dict(ROWS), make_tokenizer(), 8, None).to_dict() == whole
    assert calls == [4, 4, 4]


def test_a_full_disk_under_the_cache_ends_nothing(calls, tmp_path, monkeypatch, capsys):
    whole = tokenize(Dataset.from_dict(ROWS), make_tokenizer(), 8, None).to_dict()
    arrow_file(tmp_path).unlink()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("datasets.arrow_writer.ArrowWriter.write_table", full)
    monkeypatch.setattr("datasets.arrow_writer.ArrowWriter.write_batch", full)
    make = Dataset.map

    def in_memory(self, *args, **kwargs):
        if kwargs.get("keep_in_memory"):
            monkeypatch.undo()  # the memory is not full
        return make(self, *args, **kwargs)

    monkeypatch.setattr(Dataset, "map", in_memory)
    assert tokenize(Dataset.from_dict(ROWS), make_tokenizer(), 8, None).to_dict() == whole
    assert "No space left on device" in capsys.readouterr().err


def test_the_key_is_the_same_everywhere():
    """A function of content, not of the process or of where the rows came from."""
    one, two = (
        Dataset.from_dict(ROWS),
        Dataset.from_dict({name: list(values) for name, values in ROWS.items()}),
    )
    assert cache_key(one, make_tokenizer(), {"a": 1}) == cache_key(two, make_tokenizer(), {"a": 1})
    assert cache_key(one, make_tokenizer(), {"a": 1}) != cache_key(one, make_tokenizer(), {"a": 2})
