"""Classifiers of plain transformers: loaded with the head they were trained with, or refused in one line."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline

from tests.families import FAMILIES, WORDS, family_config, save_plain, some_texts, word_tokenizer
from tests.inference.test_damage import damaged, damaged_json, tried
from tests.remote_code import save_own_encoder
from trainer_ext.arguments.parser import parse_values
from trainer_ext.cross_validation.dispatch import run
from trainer_ext.errors import UserError
from trainer_ext.export.to_onnx import copy_tokenizer
from trainer_ext.inference import load_predictor


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return save_plain(tmp_path_factory.mktemp("plain") / "bert")


@pytest.fixture
def folder(plain, tmp_path):
    """A copy of it."""
    return shutil.copytree(plain, tmp_path / "model")


def change_config(folder, **changes) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(config), encoding="utf-8")


def change_weights(folder, change) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def refusal(folder, **kwargs) -> str:
    with pytest.raises(UserError) as caught:
        load_predictor(folder, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_the_logits_of_transformers(family, tmp_path):
    """Of texts one by one, through transformers' own tokenizer and class; ours are batched and padded."""
    save_plain(tmp_path, family)
    texts = some_texts()
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    names = ["input_ids", "attention_mask"]
    with torch.inference_mode():
        one_by_one = []
        for text in texts:
            encoded = tokenizer(text, return_tensors="pt")
            inputs = {name: encoded[name] for name in names}
            one_by_one.append(model(**inputs).logits[0].numpy())
    expected = np.stack(one_by_one)
    assert expected.std() > 0.01, "texts differ"
    logits = load_predictor(tmp_path, num_threads=1).logits(texts)
    np.testing.assert_allclose(logits, expected, atol=2e-5)


@pytest.mark.parametrize(
    "changes, key",
    [
        ({}, "label"),
        ({"problem_type": "multi_label_classification"}, "labels"),
        ({"problem_type": None}, "label"),
    ],
)
def test_answers_are_those_of_transformers_pipeline(tmp_path, changes, key):
    save_plain(tmp_path, **changes)
    texts = some_texts(6)
    answers = load_predictor(tmp_path).predict(texts)
    theirs = pipeline("text-classification", str(tmp_path))(texts, top_k=None)
    for answer, scores in zip(answers, theirs, strict=True):
        assert key in answer
        for item in scores:
            assert answer["probabilities"][item["label"]] == pytest.approx(item["score"], abs=1e-5)


def test_targets_of_regression(tmp_path):
    labels = {"id2label": {0: "clarity", 1: "tone", 2: "style"}, "label2id": {}}
    save_plain(tmp_path, problem_type="regression", **labels)
    (answer,) = load_predictor(tmp_path).predict(["good food"])
    assert list(answer["scores"]) == ["clarity", "tone", "style"]


def test_evaluated_by_train_py(folder, tmp_path, capsys):
    """Columns and task are the model's, unless flags say otherwise; labels are names or ids."""
    rows = [{"review": "good food", "stars": "1"}, {"review": "bad food", "stars": "good"}]
    path = tmp_path / "dev.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    flags = {
        "do_train": False,
        "model_name_or_path": str(folder),
        "validation_file": str(path),
        "output_dir": str(tmp_path / "out"),
        "report_to": "none",
    }
    columns = {"text_column": "review", "label_columns": ["stars"]}
    metrics = run(parse_values({}, flags | columns))
    answers = load_predictor(folder).predict([row["review"] for row in rows])
    right = [answer["label"] == "good" for answer in answers]
    assert metrics["eval_accuracy"] == sum(right) / 2
    with pytest.raises(UserError, match="no column 'text'"):
        run(parse_values({}, flags))
    path.write_text('{"review": "good food", "stars": "fair"}\n', encoding="utf-8")
    with pytest.raises(
        UserError, match="row 1 .*column 'stars' has the unknown label 'fair'.*bad, good or 0 to 1"
    ):
        run(parse_values({}, flags | columns))
    with pytest.raises(UserError, match="task multi_label, but .* problem_type single_label"):
        run(parse_values({}, flags | columns | {"task": "multi_label"}))


def test_a_multi_label_model_is_evaluated_without_a_flag(tmp_path):
    """One column of names, or a 0/1 column for each class."""
    folder = save_plain(tmp_path / "model", problem_type="multi_label_classification")
    names, flags = tmp_path / "names.jsonl", tmp_path / "flags.csv"
    names.write_text(
        '{"text": "good food", "label": ["good"]}\n{"text": "a bad bed", "label": []}\n'
        '{"text": "the view", "label": ["bad", "good"]}\n',
        encoding="utf-8",
    )
    flags.write_text(
        "text,good,bad\ngood food,1,0\na bad bed,0,0\nthe view,1,1\n", encoding="utf-8"
    )
    common = {"do_train": False, "model_name_or_path": str(folder), "report_to": "none"}
    common |= {"output_dir": str(tmp_path / "out")}
    first = run(parse_values({}, common | {"validation_file": str(names)}))
    columns = {"task": "multi_label", "label_columns": ["good", "bad"]}
    second = run(parse_values({}, common | columns | {"validation_file": str(flags)}))
    assert first == second and "eval_f1_good" in first


def test_a_base_encoder_has_no_classifier(folder, tmp_path):
    AutoModel.from_config(family_config("bert")).save_pretrained(tmp_path / "base")
    word_tokenizer().save_pretrained(tmp_path / "base")
    assert "Train it first: train.py --model_name_or_path" in refusal(tmp_path / "base")
    # With a config that claims to be a classifier.
    change_config(tmp_path / "base", architectures=["BertForSequenceClassification"])
    message = refusal(tmp_path / "base")
    assert "its classifier has no weights" in message and "classifier.weight" in message


def test_weights_that_do_not_fit(folder):
    def drop(weights):
        del weights["bert.encoder.layer.1.output.dense.weight"]

    change_weights(folder, drop)
    assert "do not fit its config: bert.encoder.layer.1.output.dense.weight" in refusal(folder)
    change_config(folder, id2label={"0": "a", "1": "b", "2": "c"})
    assert "cannot be loaded" in (message := refusal(folder))
    assert "torch.Size([3])" in message or "mismatched" in message


def test_weights_that_are_not_used_are_noted(folder, capsys):
    """Many published classifiers bring a pooler or the head of their pretraining."""

    def add(weights):
        weights["cls.predictions.bias"] = torch.zeros(3)

    change_weights(folder, add)
    load_predictor(folder)
    assert "its classifier does not use: cls.predictions.bias" in capsys.readouterr().err


def test_pickles_and_pieces_are_refused_with_advice(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message = refusal(folder)
    assert "pytorch_model.bin, a pickle" in message and ".save_pretrained(" in message
    (folder / "model.safetensors.index.json").touch()
    assert "in several files; save it with max_shard_size" in refusal(folder)


def test_without_tokenizer_json_the_vocabulary_is_converted(folder):
    """BERT's vocab.txt; the answers are those of transformers' tokenizer."""
    (folder / "tokenizer.json").unlink()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    theirs = pipeline("text-classification", str(folder))("good FOOD, but cold")[0]
    (answer,) = load_predictor(folder).predict(["good FOOD, but cold"])
    assert answer["label"] == theirs["label"]
    assert answer["score"] == pytest.approx(theirs["score"], abs=1e-5)
    (folder / "vocab.txt").unlink()
    assert "has no tokenizer.json, and its vocabulary cannot be converted" in refusal(folder)


def test_tokens_without_an_embedding_are_unknown(folder, capsys):
    """transformers fails at the first text with one."""
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["model"]["vocab"] |= {"castle": 200, "moat": 199}
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    predictor = load_predictor(folder)
    assert "words with others are read as unknown" in capsys.readouterr().err
    castle, moat, strange = predictor.logits(["a castle", "a moat", "a xyz"])
    np.testing.assert_allclose(castle, strange, atol=1e-6)
    assert not np.allclose(moat, strange, atol=1e-3), "the last embedding is one of the model's"
    copy_tokenizer(folder, folder / "..")
    written = json.loads((folder / ".." / "tokenizer.json").read_text(encoding="utf-8"))
    assert "castle" not in written["model"]["vocab"] and "moat" in written["model"]["vocab"]


def test_code_of_the_folder_is_not_run(folder, tmp_path):
    """An auto_map asks for it; without the flag one line says so."""
    trace = save_own_encoder(tmp_path / "own")
    for path in (tmp_path / "own").glob("*.py"):
        shutil.copy(path, folder)
    own = {"AutoConfig": "configuration_own.OwnConfig"}
    own["AutoModelForSequenceClassification"] = "modeling_own.OwnModel"
    change_config(folder, model_type="own", auto_map=own)
    assert "code of its own, which is run only with --trust_remote_code" in refusal(folder)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "model.safetensors"])
def test_damaged_files(folder, name):
    """Every entry in many ways: refused in one line, or it does not matter."""
    path = folder / name
    content = path.read_bytes()
    ways = list(damaged(content))
    if name == "config.json":
        # What `plain_pipeline` reads; the rest is transformers'.
        ours = (
            "id2label",
            "label2id",
            "problem_type",
            "architectures",
            "model_type",
            "pad_token_id",
        )
        ours += ("max_position_embeddings", "type_vocab_size")
        ways += [way for way in damaged_json(content) if way[0].startswith(ours)]
    raised = {}
    for way, bad in ways:
        path.write_bytes(bad)
        raised[way] = tried(folder)
    assert len(raised) > 5 and {way: what for way, what in raised.items() if what} == {}
