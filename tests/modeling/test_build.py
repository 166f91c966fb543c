"""What a run starts from: values that make no model, tokenizers that cannot be loaded, checkpoints trained on."""

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import Unigram, WordLevel
from tokenizers.pre_tokenizers import Metaspace
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    pipeline,
)

from tests.conftest import labelled_lines
from trainer_ext.arguments.data import DataArguments
from trainer_ext.arguments.model import ModelArguments
from trainer_ext.data.preprocessing.cleaning import Cleaning
from trainer_ext.errors import UserError
from trainer_ext.export.exported import exported_config
from trainer_ext.inference import load_predictor
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.build import (
    build_model,
    build_tokenizer,
    check_positions,
    note_what_is_lost,
    pipeline_of,
)
from trainer_ext.modeling.configuration import EncoderWithHeadConfig
from trainer_ext.modeling.scratch import train_tokenizer
from trainer_ext.tasks import TASKS, LabelSpace, Task
from trainer_ext.tasks.activations import softmax
from trainer_ext.tasks.joint_space import JointLabelSpace

TOKENIZER = train_tokenizer([text for text, _ in labelled_lines(40, 1)], 200, 64)
TASK = TASKS["single_label"](LabelSpace(("label",), ("a", "b"), ("a", "b")))
SMALL = "hidden_size=32,num_hidden_layers=1,num_attention_heads=2,intermediate_size=64"


def build(task: Task = TASK, max_length: int = 16, labels=(), **flags) -> EncoderWithHead:
    data = DataArguments(task=task.name, max_length=max_length)
    described = pipeline_of(data, task, TOKENIZER, Cleaning(), "hash")
    return build_model(ModelArguments(**flags), data, task, TOKENIZER, described, labels)


@pytest.mark.parametrize(
    "value", ["num_attention_heads=0", "hidden_dropout_prob=1.5", "hidden_act=foo"]
)
def test_overrides_that_make_no_encoder(value):
    with pytest.raises(UserError, match="^config_overrides"):
        build(from_scratch="tiny", config_overrides=value)


@pytest.mark.parametrize(
    "model_type, longest",
    [
        *(("bert", 20), ("roberta", 18), ("xlm-roberta", 18), ("ibert", 18), ("data2vec-text", 18)),
        *(("roberta-prelayernorm", 18), ("xlm-roberta-xl", 18), ("deberta-v2", 20)),
    ],
)
def test_positions_that_are_there(model_type, longest):
    """RoBERTa and its relatives count from two on."""
    encoder = AutoConfig.for_model(model_type, max_position_embeddings=20)
    check_positions(encoder, longest)
    with pytest.raises(
        UserError, match=f"max_length {longest + 1} is more than the {longest} positions"
    ):
        check_positions(encoder, longest + 1)


def test_deberta_v3_has_relative_positions_only():
    check_positions(AutoConfig.for_model("deberta-v2", position_biased_input=False), 2048)


def test_a_checkpoint_keeps_its_pooling_and_positions(tmp_path):
    build(from_scratch="tiny", config_overrides=SMALL, pooling="mean").save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    assert build(model_name_or_path=str(tmp_path)).config.pooling == "mean"
    for pooling in ("cls", "max"):
        with pytest.raises(UserError, match=f"pooling {pooling} is not that of .*trained on mean"):
            build(model_name_or_path=str(tmp_path), pooling=pooling)
    with pytest.raises(UserError, match="max_length 600 is more than the 512 positions"):
        build(model_name_or_path=str(tmp_path), max_length=600)


def test_a_joint_checkpoint_is_trained_on_with_other_rows(tmp_path):
    """Its intents and tags must be the same, not how often they stand side by side."""

    def task(*tags):
        return TASKS["joint"](JointLabelSpace.from_rows(["x", "y"], tags, [["some", "words"]]))

    first = build(task(["O", "B-a"]), from_scratch="tiny", config_overrides=SMALL)
    first.save_pretrained(tmp_path)
    more = build(task(["O", "B-a"], ["B-a", "B-a"]), model_name_or_path=str(tmp_path))
    assert ["B-a", "B-a", 1] in more.config.pipeline["label_space"]["neighbours"]
    with pytest.raises(UserError, match="was trained for the tags O, B-a, .*this run's are O, B-b"):
        build(task(["O", "B-b"]), model_name_or_path=str(tmp_path))


def small_bert() -> PretrainedConfig:
    """As BERT comes."""
    sizes = {key: int(value) for key, value in (pair.split("=") for pair in SMALL.split(","))}
    return AutoConfig.for_model("bert", vocab_size=300, **sizes)


def with_settings(folder: Path, without: str = "", **settings) -> Path:
    """A folder whose tokenizer_config.json says this (and nothing called `without`)."""
    TOKENIZER.save_pretrained(folder)
    build(from_scratch="tiny", config_overrides=SMALL).save_pretrained(folder)
    stored = json.loads((folder / "tokenizer_config.json").read_text()) | settings
    stored.pop(without, None)
    (folder / "tokenizer_config.json").write_text(json.dumps(stored))
    if without:
        (folder / "special_tokens_map.json").unlink(missing_ok=True)  # 5 writes none
    return folder


@pytest.mark.parametrize(
    "name, stored, used",
    [
        ("truncation_side", "left", "right"),
        ("padding_side", "left", "right"),
        ("split_special_tokens", True, False),
        ("model_input_names", ["input_ids"], ["input_ids", "attention_mask"]),
        ("model_max_length", 7, 256),
    ],
)
def test_a_tokenizer_is_used_as_prediction_does(tmp_path, name, stored, used):
    """Whatever the encoder's authors set: prediction reads tokenizer.json only."""
    folder = with_settings(tmp_path, **{name: stored})
    assert getattr(AutoTokenizer.from_pretrained(folder), name) == stored
    tokenizer = build_tokenizer(
        ModelArguments(model_name_or_path=str(folder)), DataArguments(max_length=256), []
    )
    assert getattr(tokenizer, name) == used
    tokenizer.save_pretrained(tmp_path / "saved")
    assert getattr(AutoTokenizer.from_pretrained(tmp_path / "saved"), name) == used
    assert not tokenizer.backend_tokenizer.encode_special_tokens


def test_characters_are_read_without_a_blank_before_each(tmp_path):
    """SentencePiece's blank would be a token of its own before most characters; a checkpoint of ours keeps its way."""
    pieces = [("<unk>", 0.0), ("▁", -3.0), ("▁a", -1.0), ("a", -2.0), ("b", -2.0)]
    backend = Tokenizer(Unigram(pieces, unk_id=0))
    backend.pre_tokenizer = Metaspace()
    PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", pad_token="<unk>"
    ).save_pretrained(tmp_path)

    def tokens_of(by_character: bool) -> list[str]:
        flags = ModelArguments(model_name_or_path=str(tmp_path))
        tokenizer = build_tokenizer(flags, DataArguments(), [], by_character)
        tokenizer.save_pretrained(tmp_path / "saved")
        backend = Tokenizer.from_file(str(tmp_path / "saved" / "tokenizer.json"))
        return backend.encode(["a", "b"], is_pretokenized=True).tokens

    write_config(tmp_path, "bert")
    assert tokens_of(by_character=False) == ["▁a", "▁", "b"]
    assert tokens_of(by_character=True) == ["a", "b"]
    write_config(tmp_path, EncoderWithHeadConfig.model_type)
    assert tokens_of(by_character=True) == ["▁a", "▁", "b"]


def write_config(folder: Path, model_type: str) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))


def test_a_tokenizer_without_a_padding_token(tmp_path):
    """Another special one pads, as it is masked; without any it is refused."""
    folder = with_settings(tmp_path, without="pad_token")
    flags = ModelArguments(model_name_or_path=str(folder))
    assert AutoTokenizer.from_pretrained(folder).pad_token is None
    assert build_tokenizer(flags, DataArguments(), []).pad_token == "[SEP]"
    stored = json.loads((folder / "tokenizer_config.json").read_text())
    kept = {name: value for name, value in stored.items() if not name.endswith("_token")}
    (folder / "tokenizer_config.json").write_text(json.dumps(kept))
    with pytest.raises(UserError, match="has no pad_token"):
        build_tokenizer(flags, DataArguments(), [])


def test_a_trained_head_that_is_not_used_is_named(tmp_path, capsys):
    """Also when its labels are this run's; an encoder alone, or a language model, has none."""
    config = small_bert()
    config.id2label, config.label2id = {0: "a", 1: "b"}, {"a": 0, "b": 1}
    for kind, noted in ((AutoModelForSequenceClassification, True), (AutoModel, False)):
        kind.from_config(config).save_pretrained(tmp_path)
        build(model_name_or_path=str(tmp_path))
        assert ("fresh head" in (said := capsys.readouterr().err)) is noted
        assert ("BertForSequenceClassification" in said) is noted


def test_a_first_token_that_is_none_is_named(capsys):
    """Decoders' tokenizers put nothing before the text."""
    plain = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"a": 0, "[PAD]": 1})), pad_token="[PAD]"
    )
    for tokenizer, pooling, noted in (
        (plain, "cls", True),
        (plain, "mean", False),
        (TOKENIZER, "cls", False),
    ):
        note_what_is_lost("x", small_bert(), pooling, tokenizer)
        assert ("pooling cls reads the first token" in capsys.readouterr().err) is noted


def test_a_tokenizer_that_is_not_there(tmp_path):
    """transformers says it with an AttributeError here."""
    AutoConfig.for_model("deberta-v2").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="model_name_or_path .* cannot be loaded"):
        build_tokenizer(ModelArguments(model_name_or_path=str(tmp_path)), DataArguments(), [])


def test_the_encoder_alone_is_taken_from_a_checkpoint_of_other_labels(tmp_path):
    """Its head and its pooling are for what it was trained for."""
    first = build(from_scratch="tiny", config_overrides=SMALL, pooling="mean")
    first.save_pretrained(tmp_path)
    other = TASKS["single_label"](LabelSpace(("label",), ("b", "c"), ("b", "c")))
    with pytest.raises(
        UserError,
        match="for the classes a, b, but this run's are b, c; --ignore_mismatched_sizes true",
    ):
        build(other, model_name_or_path=str(tmp_path))
    with pytest.raises(UserError, match="for the task single_label, but this run's is multi_label"):
        build(TASKS["multi_label"](TASK.label_space), model_name_or_path=str(tmp_path))
    more = build(
        other, model_name_or_path=str(tmp_path), ignore_mismatched_sizes=True, pooling="attention"
    )
    before = first.state_dict()
    for name, tensor in more.state_dict().items():
        assert (
            name.startswith("encoder.") == (name in before and tensor.equal(before[name]))
            or "bias" in name
        ), name
    assert (more.config.pooling, more.config.id2label) == ("attention", {0: "b", 1: "c"})
    same = build(model_name_or_path=str(tmp_path), ignore_mismatched_sizes=True)
    assert same.head.weight.equal(first.head.weight), "a head that fits is trained on"


def test_a_tokenizer_keeps_the_length_texts_are_cut_at(tmp_path):
    """So that a pipeline of transformers cuts them there, too."""
    TOKENIZER.save_pretrained(tmp_path)
    build(from_scratch="tiny", config_overrides=SMALL).save_pretrained(tmp_path)
    tokenizer = build_tokenizer(
        ModelArguments(model_name_or_path=str(tmp_path)), DataArguments(max_length=24), []
    )
    assert tokenizer.model_max_length == 24


@pytest.mark.parametrize(
    "name, labels",
    [("single_label", ["a", "b"]), ("multi_label", ["a", "b"]), ("regression", ["x", "y"])],
)
def test_a_pipeline_of_transformers_answers_as_we_do(name, labels, tmp_path):
    """Softmax, sigmoid, or the scores as they are."""
    classes = tuple(labels) if name != "regression" else ()
    columns = tuple(labels) if name == "regression" else ("label",)
    task = TASKS[name](LabelSpace(columns, classes, classes))
    scores = [[1.0, 2.0], [3.0, 5.0]]  # the scale of a regression head
    build(task, labels=scores, from_scratch="tiny", config_overrides=SMALL).save_pretrained(
        tmp_path
    )
    TOKENIZER.save_pretrained(tmp_path)
    ours = load_predictor(tmp_path).logits(["a goal"])[0]
    expected = {
        "single_label": softmax(ours),
        "multi_label": 1 / (1 + np.exp(-ours)),
        "regression": ours,
    }[name]
    answers = pipeline("text-classification", str(tmp_path), top_k=None)(["a goal"])[0]
    assert {answer["label"]: answer["score"] for answer in answers} == pytest.approx(
        dict(zip(labels, expected.tolist(), strict=True)), abs=1e-5
    )


def test_a_pipeline_of_transformers_refuses_aspects(tmp_path):
    """It would answer with the largest of all aspects' probabilities; the config of an export says the same."""
    task = TASKS["multi_aspect"](LabelSpace(("food", "staff"), ("good", "bad"), ("good", "bad")))
    model = build(task, from_scratch="tiny", config_overrides=SMALL)
    model.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    for top_k in (1, None):
        classify = pipeline("text-classification", str(tmp_path), top_k=top_k)
        with pytest.raises(
            ValueError,
            match="one label for each aspect: use predict.py or trainer_ext.load_predictor",
        ):
            classify(["a goal"])
    loaded = EncoderWithHead.from_pretrained(tmp_path)
    assert (
        loaded.config.function_to_apply == exported_config(loaded).function_to_apply
        and loaded.config.id2label == {}
    )
    assert exported_config(loaded).num_labels == 0
    assert len(load_predictor(tmp_path).predict(["a goal"])[0]["aspects"]) == 2


@pytest.mark.parametrize("name", ["single_label", "multi_label", "regression"])
def test_an_export_says_how_its_logits_are_read(name):
    """As the checkpoint does, from which transformers' pipeline takes the function."""
    classes = () if name == "regression" else ("a", "b")
    task, scores = TASKS[name](LabelSpace(("label",), classes, classes)), [[1.0], [3.0]]
    model = build(task, labels=scores, from_scratch="tiny", config_overrides=SMALL)
    exported = exported_config(model)
    assert exported.problem_type == model.config.problem_type == TASKS[name].problem_type
    assert exported.id2label == model.config.id2label
