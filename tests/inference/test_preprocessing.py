"""What the model reads in prediction is what it was trained on: ids, masks and token types, for every policy."""

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, disable_progress_bars
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AddedToken, PreTrainedTokenizerFast

from tests.tasks.test_joint import SPACE
from trainer_ext.data.preprocessing.batch import Batch
from trainer_ext.data.preprocessing.cleaning import Cleaning
from trainer_ext.data.preprocessing.pipeline import Pipeline
from trainer_ext.data.preprocessing.tokenize import ModelTexts, tokenize
from trainer_ext.data.preprocessing.truncation import Truncation
from trainer_ext.inference.single import SinglePredictor
from trainer_ext.modeling.scratch import train_tokenizer

TEXTS = [
    *(
        "",
        "好吃",
        "服务员特别热情，就是排队等了一个多小时。" * 5,
        "ＡＢＣ <b>good</b> food!!!!!! 10000 " * 9,
    ),
    *("the end of the world " * 12, "\u200b", "a <br> b", "[SEP] inside [MASK] a text " * 9),
]
POLICIES = {
    "head": Truncation("head"),
    "tail": Truncation("tail"),
    "head_tail": Truncation("head_tail"),
    "with a marker": Truncation("head_tail", 0.6, "the good b"),
}
CLEANINGS = {
    "as it is": Cleaning(),
    "cleaned": Cleaning(
        ("html", "halfwidth", "control", "repeated", "stopwords"), ("the", "的", "了")
    ),
}


class Recorder:
    """A session that keeps what it is given."""

    provider, file_name, batch_invariant, parallel_runs = "none", "none", True, 1
    native_target = ""

    def __init__(self):
        self.rows: list[dict] = []

    def run(self, batch: Batch) -> dict[str, np.ndarray]:
        """Keeps the rows; logits that say the same of each."""
        inputs = batch.padded()
        size = len(inputs["input_ids"])
        self.rows += [{name: array[row] for name, array in inputs.items()} for row in range(size)]
        tags = np.tile(
            np.float32([0, 9, 0, 0]), (*inputs["input_ids"].shape, 1)
        )  # surely B-x everywhere
        return {"logits": np.zeros((size, 2), dtype=np.float32), "token_logits": tags}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Trained on the texts, with token types 1 for the text and 0 for what stands around it; padding is switched on."""
    disable_progress_bars()
    made = train_tokenizer([text for text in TEXTS for _ in range(2)], 300, 24)
    inner = made.backend_tokenizer
    inner.enable_padding(length=24)
    special = [("[CLS]", made.cls_token_id), ("[SEP]", made.sep_token_id)]
    inner.post_processor = TemplateProcessing(single="[CLS]:0 $A:1 [SEP]:0", special_tokens=special)
    names = {
        name: AddedToken(getattr(made, name), special=True)
        for name in ("pad_token", "cls_token", "sep_token")
    }
    columns = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_input_names=columns, **names)


def predictor_of(tokenizer, policy, cleaning, task="single_label", space=None) -> SinglePredictor:
    """As `load_predictor` makes one from a folder."""
    stored = {
        "task": task,
        "text_column": "text",
        "label_space": space or {"columns": ["label"], "classes": ["a", "b"], "values": ["a", "b"]},
        "max_length": 24,
        "truncation": policy.to_dict(),
        "cleaning": cleaning.to_dict(),
        "pad_token_id": tokenizer.pad_token_id,
        "input_names": tokenizer.model_input_names,
    }
    pipeline = Pipeline.parse(Path("config.json"), {"pipeline": stored})
    own_tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    return SinglePredictor(Recorder(), own_tokenizer, pipeline, batch_size=1)


@pytest.mark.parametrize("cleaning", CLEANINGS.values(), ids=CLEANINGS)
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_training_and_prediction_read_the_same(tokenizer, policy, cleaning):
    data = Dataset.from_dict({"text": TEXTS, "labels": [0] * len(TEXTS)})
    tokens = tokenize(data, tokenizer, 24, None, policy, cleaning)
    predictor = predictor_of(tokenizer, policy, cleaning)
    predictor.predict(TEXTS)
    names = tokenizer.model_input_names

    def key(row):
        return [list(map(int, row[name])) for name in names]

    assert sorted(map(key, predictor.session.rows)) == sorted(map(key, tokens))
    assert max(tokens["length"]) == 24
    starts = {row["input_ids"][0] for row in tokens} | {row["input_ids"][-1] for row in tokens}
    assert starts == {tokenizer.cls_token_id, tokenizer.sep_token_id}


def test_policies_and_cleaning_make_a_difference(tokenizer):
    """Else the test above would say nothing."""
    data = Dataset.from_dict({"text": TEXTS[2:5], "labels": [0] * 3})
    made = [
        tokenize(data, tokenizer, 24, None, p, c)["input_ids"][:]
        for p in POLICIES.values()
        for c in CLEANINGS.values()
    ]
    assert all(a != b for k, a in enumerate(made) for b in made[:k])


def test_texts_that_cleaning_empties_are_counted(tokenizer, capsys):
    data = Dataset.from_dict({"text": ["<br>", "good", "\u200b"], "labels": [0, 0, 0]})
    tokens = tokenize(data, tokenizer, 24, None, cleaning=Cleaning(("html", "control")))
    assert tokens["length"][:] == [2, 3, 2], "rows are kept, as prediction answers for them"
    assert "clean html control leaves nothing of 2 of 3 texts" in capsys.readouterr().err


def test_the_vocabulary_is_trained_on_clean_texts():
    cleaning = Cleaning(("halfwidth",))
    assert list(ModelTexts(Dataset.from_dict({"text": ["ＡＢ"]}), cleaning)) == ["AB"]
    assert list(
        ModelTexts(Dataset.from_dict({"text": ["Ａ Ｂ"], "words": [["Ａ", "Ｂ"]]}), cleaning)
    ) == ["A B"]


def test_words_are_cleaned_one_by_one_and_slots_point_into_the_text_as_given(tokenizer):
    """Full-width letters and zero-width characters shift nothing; training reads the same tokens."""
    cleaning = Cleaning(("nfkc", "control", "repeated"))
    text = "ﬁnd\u200b  ＧＯＯＤ\ufeff fooooood \u200b x"
    predictor = predictor_of(tokenizer, Truncation(), cleaning, "joint", SPACE.to_dict())
    answer = predictor.predict([text])[0]
    slots = [(slot["text"], text[slot["start"] : slot["end"]]) for slot in answer["slots"]]
    assert answer["text"] == text
    assert slots == [
        (word, word) for word in ("ﬁnd\u200b", "ＧＯＯＤ\ufeff", "fooooood", "x")
    ]  # [3] is no token
    item = predictor.task.prepare(text)
    assert item.words == ["ﬁnd\u200b", "ＧＯＯＤ\ufeff", "fooooood", "\u200b", "x"]
    assert cleaning.by_word(item.words) == ["find", "GOOD", "foood", "\u200b", "x"]
    columns = {"text": [text], "words": [item.words], "labels": [0], "token_labels": [[0] * 5]}
    tokens = tokenize(Dataset.from_dict(columns), tokenizer, 24, None, cleaning=cleaning)
    assert predictor.session.rows[0]["input_ids"].tolist() == tokens[0]["input_ids"]
    plain = predictor_of(tokenizer, Truncation(), Cleaning(), "joint", SPACE.to_dict())
    plain.predict([text])
    assert plain.session.rows[0]["input_ids"].tolist() != tokens[0]["input_ids"]
