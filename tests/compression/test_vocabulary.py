"""The stage `vocab`: which pieces stay, that covered texts are read and answered as before, and real trainings."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

import trainer_ext  # noqa: F401 (registers the model)
from tests.compression.conftest import FAMILIES, small_model
from tests.compression.test_stages import SCRATCH, train
from tests.conftest import run_ok
from trainer_ext.compression.tokenizer_json import choose, ids_of_pieces, without_pieces
from trainer_ext.compression.vocabulary import count_pieces, prune_vocabulary, with_rows
from trainer_ext.errors import UserError
from trainer_ext.files import read_json
from trainer_ext.inference import load_predictor
from trainer_ext.modeling.scratch import train_tokenizer

ENGLISH = "the quick brown fox jumps over lazy dogs while seven wizards box unhappily"
WORDS = [*ENGLISH.split(), "你好", "世界", "今天", "天气", "很好"]
TEXTS = [" ".join(WORDS[k:] + WORDS[:k]) for k in range(len(WORDS))]


def wordpiece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special)
    )
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=330, special_tokens=["<s>", "<pad>", "</s>"], initial_alphabet=alphabet
        ),
    )
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(
        TEXTS,
        trainers.UnigramTrainer(
            vocab_size=100, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], unk_token="<unk>"
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def from_scratch():
    return train_tokenizer(TEXTS * 2, 120, 32).backend_tokenizer


KINDS = {
    "wordpiece": wordpiece,
    "byte_level": byte_level,
    "unigram": unigram,
    "from_scratch": from_scratch,
}


@pytest.fixture(scope="module", params=list(KINDS))
def backend(request):
    """Yield a trained tokenizer of each kind."""
    return KINDS[request.param]()


def cut(backend, texts, limit=None):
    """Return the smaller tokenizer, and the ids that it keeps."""
    content = json.loads(backend.to_str())
    kept = choose(content, count_pieces(backend, texts), limit)
    return Tokenizer.from_str(json.dumps(without_pieces(content, kept))), kept


@settings(max_examples=40, deadline=None)
@given(seen=st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), data=st.data())
def test_covered_texts_have_the_same_pieces(backend, seen, data):
    """Whatever words a corpus has: any text of these words is read as before, special tokens included."""
    smaller, kept = cut(backend, [" ".join(seen)])
    text = " ".join(data.draw(st.lists(st.sampled_from(seen), max_size=8)))
    before, after = backend.encode(text), smaller.encode(text)
    assert after.tokens == before.tokens
    assert [kept[number] for number in after.ids] == before.ids
    assert smaller.get_vocab_size() == len(kept) <= backend.get_vocab_size()


def test_it_is_smaller_and_reads_every_character(backend):
    """Without a limit only longer pieces are left out: what the corpus does not have is spelt out."""
    smaller, _ = cut(backend, ["the fox"])
    assert smaller.get_vocab_size() < backend.get_vocab_size()
    unknown = json.loads(backend.to_str())["model"].get("unk_token")
    before, after = backend.encode("wizards"), smaller.encode("wizards")
    if unknown not in before.tokens:
        assert unknown not in after.tokens


def test_the_limit_holds_for_what_is_merged(backend):
    """Also where a piece needs those that it is merged from."""
    for limit in (275, 280, 285):
        assert len(cut(backend, TEXTS, limit)[1]) <= limit


def word_level_content():
    """Return a WordPiece vocabulary whose frequencies can be reckoned by hand."""
    pieces = ["[PAD]", "[UNK]", "a", "b", "##b", "##c", "ab", "abc", "c"]
    tokenizer = Tokenizer(
        models.WordPiece({piece: k for k, piece in enumerate(pieces)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]"])
    return json.loads(tokenizer.to_str())


def test_pieces_are_kept_by_use():
    """`abc` is used 3 times, `ab` twice: `a` and `##b` then count 5, `##c` 3. `b` and `c` are not used."""
    content = word_level_content()
    counts = {7: 3, 6: 2}
    assert choose(content, counts, 4) == [0, 1, 2, 4]
    assert choose(content, counts, 5) == [0, 1, 2, 4, 5]
    assert choose(content, counts, 6) == [0, 1, 2, 4, 5, 7]
    assert choose(content, counts, 7) == [0, 1, 2, 4, 5, 6, 7]
    assert choose(content, counts, 8) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert choose(content, counts, None) == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    smaller = without_pieces(content, [0, 1, 2, 4, 5])
    assert ids_of_pieces(smaller) == {"[PAD]": 0, "[UNK]": 1, "a": 2, "##b": 3, "##c": 4}
    assert Tokenizer.from_str(json.dumps(smaller)).encode("abc ab b").tokens == [
        *("a", "##b", "##c", "a", "##b", "[UNK]"),
    ]


def test_no_room_for_the_special_tokens():
    with pytest.raises(UserError, match="max_vocab_size 2 has no room for words: 2 special"):
        choose(word_level_content(), {}, 2)
    with pytest.raises(UserError, match="max_vocab_size 200 has no room for words: 259 special"):
        choose(json.loads(byte_level().to_str()), {}, 200)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_covered_texts_are_the_same_to_the_bit(family, inputs):
    """With the kept rows only, and 9 positions."""
    model = small_model(family)
    kept = sorted({0, 1, 2, 3, 4, *inputs["input_ids"].flatten().tolist()})
    smaller = with_rows(model, kept, 9)
    new_ids = {old: new for new, old in enumerate(kept)}
    ids = torch.tensor(
        [[new_ids[number] for number in row] for row in inputs["input_ids"].tolist()]
    )
    assert len(kept) < 50
    assert smaller.get_input_embeddings().num_embeddings == len(kept)
    assert smaller.num_parameters() < model.num_parameters() - 30 * 16
    with torch.no_grad():
        before = model(**inputs).logits
        after = smaller(ids, inputs["attention_mask"]).logits
    assert torch.equal(before, after)


def test_the_next_random_number_does_not_depend_on_the_cut(bert):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    with_rows(bert, list(range(20)), 9)
    assert torch.equal(torch.rand(1), expected)


def test_the_report_counts_what_is_covered(bert):
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=wordpiece(), pad_token="[PAD]", unk_token="[UNK]", model_max_length=16
    )
    bert = with_rows(bert, [k % 50 for k in range(tokenizer.vocab_size)], 40)
    splits = {
        "train": lambda: ["the fox", "the dogs"],
        "validation": lambda: ["the fox", "wizards"],
    }
    model, smaller, report = prune_vocabulary(bert, tokenizer, splits, ["over"], None, 16)
    assert (report.pieces_before, report.pieces_after) == (tokenizer.vocab_size, len(smaller))
    assert (report.positions_before, report.positions_after) == (40, 16)
    assert report.parameters_after == model.num_parameters() < report.parameters_before
    assert report.coverage["train"].same_texts == 1
    assert report.coverage["validation"].same_texts == 0.5
    assert smaller.tokenize("over") == tokenizer.tokenize("over")


@pytest.mark.slow
def test_a_training_with_a_small_vocabulary(rows):
    """From a trained start; what it leaves loads, answers, resumes and is exported."""
    assert train(rows, "start", *SCRATCH).returncode == 0
    flags = ["--model_name_or_path", str(rows / "start"), "--compression", "vocab"]
    flags += ["--max_vocab_size", "36", "--max_length", "12", "--num_train_epochs", "2"]
    done = train(rows, "small", *flags)
    assert done.returncode == 0, done.stderr
    folder = rows / "small"
    config = read_json(folder / "config.json")
    assert config["encoder"]["vocab_size"] == 36
    assert config["encoder"]["max_position_embeddings"] == 12
    # At the top, too, where other tools look.
    assert (config["vocab_size"], config["max_position_embeddings"]) == (36, 12)
    assert len(AutoTokenizer.from_pretrained(folder)) == 36
    assert (
        AutoModelForSequenceClassification.from_pretrained(folder).config.encoder.vocab_size == 36
    )
    report = read_json(folder / "vocabulary_report.json")
    assert report["pieces_after"] == 36 and 0 < report["coverage"]["train"]["same_texts"] <= 1
    assert "vocab: 36 of" in done.stdout + done.stderr
    answers = load_predictor(folder).predict(["good day 3", "bad night 4"])
    assert [answer["label"] for answer in answers] == ["b", "a"]
    checkpoint = str(min(folder.glob("checkpoint-*")))
    done = train(rows, "on", *flags, "--resume_from_checkpoint", checkpoint)
    assert done.returncode == 0, done.stderr
    assert (rows / "on" / "model.safetensors").read_bytes() == (
        folder / "model.safetensors"
    ).read_bytes()
    run_ok(*("export.py", folder, "--output_dir", rows / "onnx", "--eval_file", rows / "rows.txt"))


@pytest.mark.slow
def test_a_corpus_keeps_what_the_rows_do_not_have(rows):
    """Its pieces count as well."""
    (rows / "corpus.txt").write_text("xylophone zebra\n" * 50, encoding="utf-8")
    (rows / "wide.txt").write_text(
        (rows / "rows.txt").read_text(encoding="utf-8") + "xylophone zebra\t0\n" * 4,
        encoding="utf-8",
    )
    start = train(
        rows, "wide", *SCRATCH, "--vocab_size", "90", "--train_file", str(rows / "wide.txt")
    )
    assert start.returncode == 0, start.stderr
    flags = ["--model_name_or_path", str(rows / "wide"), "--compression", "vocab"]
    flags += ["--max_vocab_size", "30"]
    kept = {}
    for name, more in {"without": [], "with": ["--vocab_corpus", str(rows / "corpus.txt")]}.items():
        done = train(rows, name, *flags, *more)
        assert done.returncode == 0, done.stderr
        kept[name] = AutoTokenizer.from_pretrained(rows / name).get_vocab()
    assert "x" in kept["with"] and "x" not in kept["without"]


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--max_vocab_size", "4"], "max_vocab_size 4 has no room for words"),
        (["--vocab_corpus", "missing.txt"], "missing.txt"),
        (["--compression", "layers", "vocab", "--keep_layers", "1"], "in the order vocab layers"),
        (["--compression", "layers", "--keep_layers", "1", "--max_vocab_size", "9"], "no stage vocab"),
        (["--from_scratch", "static", "--pooling", "mean_hidden", "--config_overrides", "hidden_size=8"], "hashed"),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_ends_in_one_line(rows, flags, message):
    done = train(rows, "refused", *SCRATCH, "--compression", "vocab", *flags)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not (rows / "refused" / "model.safetensors").exists()
