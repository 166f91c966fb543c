"""Masked-language-model replacement with models so small that they are built here."""

import io
import json
import random
import shutil

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from tests.remote_code import add_tokenizer_code
from trainer_ext.cli.augment import main
from trainer_ext.compatibility import TRANSFORMERS_5
from trainer_ext.data.augment.mlm import MaskedLM, MaskedSentence, vocabulary
from trainer_ext.data.augment.sentence import Splitter
from trainer_ext.data.io.readers import read_rows
from trainer_ext.errors import UserError
from trainer_ext.modeling.scratch import train_tokenizer

TEXTS = [
    "the red house stood near the old river",
    "the old house was red",
    "这家餐厅的菜很好吃",
    "这家餐厅很好看",
] * 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that prefers `river` to `house` to everything else, and among characters 好 and 看."""
    path = tmp_path_factory.mktemp("mlm")
    tokenizer = train_tokenizer(TEXTS, 200, 32)
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    torch.manual_seed(0)
    model = BertForMaskedLM(
        BertConfig(vocab_size=len(tokenizer), max_position_embeddings=32, **sizes)
    )
    with torch.no_grad():
        model.cls.predictions.bias += tokenizer_bias(
            tokenizer, {"river": 30, "house": 29, "好": 30, "看": 29}
        )
    tokenizer.save_pretrained(path)
    model.save_pretrained(path)
    return path


def tokenizer_bias(tokenizer, preferred: dict[str, float]) -> torch.Tensor:
    bias = torch.zeros(len(tokenizer))
    for token, value in preferred.items():
        bias[tokenizer.convert_tokens_to_ids(token)] = value
    return bias


@pytest.fixture(scope="module")
def model(folder) -> MaskedLM:
    return MaskedLM(str(folder))


def propose(
    model, text: str, language: str = "en", alpha: float = 0.1, top_k: int = 1, seed: int = 0
) -> str:
    model.alpha, model.top_k = alpha, top_k
    ((sentence, operation),) = model.propose([Splitter(language)(text)], [random.Random(seed)], 1)
    assert operation == "masked_lm"
    return sentence.text


def test_the_most_probable_other_word(model):
    """Punctuation, capitals and numbers stay; a word is never replaced by itself."""
    assert propose(model, "Red, 12!") == "River, 12!"
    assert propose(model, "RIVER (12).") == "HOUSE (12)."
    assert propose(model, "the old", alpha=1) == "river river"


def test_addresses_names_and_tags_stay(model):
    kept = "http://the.red/house?old=1 @red_house #old-river the.red@house.org"
    assert propose(model, f"red {kept}", alpha=1) == f"river {kept}"
    assert propose(model, "好吃http://t.cn/a @好看", "zh", alpha=1).endswith("http://t.cn/a @好看")


def test_chinese_words_by_character(model):
    """As many characters as there were; 好 is the best everywhere, and 看 where 好好 would be the word itself."""
    assert propose(model, "餐厅", "zh") == "好好"
    model.top_k = 1
    job = MaskedSentence(Splitter("zh")("好好"), random.Random(0), [0])
    assert job.masked("[MASK]") == "[MASK][MASK]"
    job.fill(model.choose(job, model.logits([job.masked("[MASK]")])[0]))
    assert job.masked("[MASK]") == "好[MASK]"
    job.fill(model.choose(job, model.logits([job.masked("[MASK]")])[0]))
    assert job.sentence.text == "好看" and not job.todo


def test_top_k_and_nothing_to_replace(model):
    assert {propose(model, "red", top_k=2, seed=k) for k in range(40)} == {"river", "house"}
    assert propose(model, "12 !") == "12 !"


def test_a_word_beyond_the_longest_input_stays(model):
    text = "red " * 60
    job = MaskedSentence(Splitter("en")(text), random.Random(0), [59, 0])
    assert model.logits([job.masked("[MASK]")]) == [None]
    job.fill(None)
    assert job.sentence.text == text and job.todo == [0]


def test_pieces_of_words_are_never_proposed(model):
    words, characters = vocabulary(model.tokenizer)
    tokens = model.tokenizer.convert_ids_to_tokens(words)
    assert "river" in tokens and not [token for token in tokens if token.startswith(("#", "["))]
    assert set(model.tokenizer.convert_ids_to_tokens(characters)) >= {"好", "餐"}


def test_the_command(folder, tmp_path):
    source, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows = [{"text": text, "label": str(k)} for k, text in enumerate(dict.fromkeys(TEXTS[:2]))]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    argv = ["--input", str(source), "--output", str(output), "--method", "mlm", "--language", "en"]
    argv += ["--target_size", "8", "--model_name_or_path", str(folder), "--alpha", "0.3"]
    main(argv)
    first = output.read_bytes()
    out = [row.values for row in read_rows(str(output))]
    assert (
        out[:2] == [{**row, "id": k} for k, row in enumerate(rows, 1)]
        and len({row["text"] for row in out}) == 8
    )
    assert {row["operation"] for row in out[2:]} == {"masked_lm"}
    assert all(
        len(row["text"].split()) == len(rows[row["source_id"] - 1]["text"].split())
        for row in out[2:]
    )
    main(argv)
    assert output.read_bytes() == first


def test_code_of_a_folder_is_not_run(folder, tmp_path, monkeypatch):
    """Also when somebody, or a pipe, would answer yes."""
    own = shutil.copytree(folder, tmp_path / "own")
    trace = add_tokenizer_code(own)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    if TRANSFORMERS_5:  # its own class reads the same vocabulary, without that code
        MaskedLM(str(own))
    else:
        with pytest.raises(UserError, match="code of its own, which is not run here"):
            MaskedLM(str(own))
    assert not trace.exists()


def test_what_cannot_be_loaded(tmp_path):
    with pytest.raises(UserError, match="cannot be loaded to fill masks"):
        MaskedLM(str(tmp_path))
