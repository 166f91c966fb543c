"""Cutting token ids: literal values, properties of any text, and the tokenizer's own truncation as the reference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from trainer_ext.data.preprocessing.truncation import Truncation, truncate
from trainer_ext.errors import UserError

WORDS = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, **{str(k): k for k in range(3, 60)}}
MODES = st.sampled_from(["head", "tail", "head_tail"])


def make_tokenizer(template: str = "[CLS] $A [SEP]") -> Tokenizer:
    """Numbers are their own ids."""
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return tokenizer


def cutter(policy: Truncation, max_length: int, tokenizer: Tokenizer):
    """As training and prediction make it."""
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids  # noqa: E731
    return policy.cutter(max_length, tokenizer.num_special_tokens_to_add(False), encode)


@pytest.mark.parametrize(
    "policy, expected",
    [
        (Truncation("tail"), [1, 15, 16, 17, 18, 19, 20, 21, 22, 2]),
        (Truncation("head_tail", 0.5), [1, 3, 4, 5, 6, 19, 20, 21, 22, 2]),
        (Truncation("head_tail"), [1, 3, 4, 17, 18, 19, 20, 21, 22, 2]),
        (Truncation("head_tail", 0.5, "50 51"), [1, 3, 4, 5, 50, 51, 20, 21, 22, 2]),
        (Truncation("head_tail", 0.99, "50"), [1, 3, 4, 5, 6, 7, 8, 9, 50, 2]),
    ],
)
def test_twenty_tokens_to_ten(policy, expected):
    tokenizer = make_tokenizer()
    encoding = tokenizer.encode(" ".join(map(str, range(3, 23))))
    tokens = cutter(policy, 10, tokenizer)(encoding)
    assert tokens.ids == expected and tokens.type_ids == [0] * 10


def test_the_shares_of_the_paper():
    """Sun et al.: 128 and 382 of 510 tokens, with the default share."""
    ids = truncate(list(range(1000)), [1, *[0] * 998, 1], 512, Truncation().head_share, [])
    assert ids == [0, *range(1, 129), *range(617, 999), 999] and 999 - 617 == 382


def test_types_of_the_marker_are_those_of_the_text():
    """Special tokens of type 0, text of type 1."""
    tokenizer = make_tokenizer("[CLS]:0 $A:1 [SEP]:0")
    tokens = cutter(Truncation("head_tail", 0.5, "50"), 6, tokenizer)(
        tokenizer.encode("3 4 5 6 7 8 9")
    )
    assert tokens.ids == [1, 3, 4, 50, 9, 2]  # round(1.5) is 2
    assert tokens.type_ids == [0, 1, 1, 1, 1, 0]


@given(
    text=st.lists(st.integers(3, 59), max_size=60),
    template=st.sampled_from(["[CLS] $A [SEP]", "$A [SEP] [CLS]", "[CLS] [CLS] $A", "$A"]),
    max_length=st.integers(6, 40),
    mode=MODES,
    share=st.floats(0.01, 0.99),
    marker=st.lists(st.integers(3, 59), max_size=2),
)
def test_any_text(text, template, max_length, mode, share, marker):
    """Never too long, no special token lost, order kept, short texts untouched, a long one is head + marker + tail."""
    tokenizer = make_tokenizer(template)
    marker = marker if mode == "head_tail" else []
    cut = cutter(Truncation(mode, share, " ".join(map(str, marker)) or None), max_length, tokenizer)
    whole = tokenizer.encode(" ".join(map(str, text)))
    tokenizer.enable_truncation(max_length, direction="left" if mode == "tail" else "right")
    native = tokenizer.encode(" ".join(map(str, text)))
    if mode == "head":
        assert cut is None
        special = whole.special_tokens_mask
        assert truncate(whole.ids, special, max_length, 1.0, []) == native.ids
        return
    tokens = cut(whole)
    assert len(tokens.ids) == len(tokens.type_ids) == min(len(whole.ids), max_length)
    if len(whole.ids) <= max_length:
        assert tokens.ids == whole.ids
        return
    if mode == "tail":
        assert tokens.ids == native.ids, "the tokenizer's own truncation from the left"
    special = [k for k, flag in zip(whole.ids, whole.special_tokens_mask, strict=True) if flag]
    before = whole.special_tokens_mask.index(0)
    content = tokens.ids[before : len(tokens.ids) - (len(special) - before)]
    assert [*tokens.ids[:before], *tokens.ids[before + len(content) :]] == special
    room = max_length - len(special) - len(marker)
    head = round(room * share) if mode == "head_tail" else 0
    assert content == text[:head] + marker + text[len(text) - (room - head) :]


def test_a_marker_must_leave_room():
    tokenizer = make_tokenizer()
    long = Truncation("head_tail", 0.5, "3 4 5 6 7")
    with pytest.raises(
        UserError, match="max_length 8 has no room .* 2 special tokens and the 5 of .*'3 4 5 6 7'"
    ):
        cutter(long, 8, tokenizer)
    assert cutter(long, 9, tokenizer)(tokenizer.encode("8 " * 40 + "9")).ids == [
        1,
        8,
        3,
        4,
        5,
        6,
        7,
        9,
        2,
    ]


@pytest.mark.parametrize(
    "policy", [Truncation(), Truncation("tail"), Truncation("head_tail", 0.4, "...")]
)
def test_stored_and_read_back(policy):
    stored = policy.to_dict()
    assert Truncation.from_dict(stored) == policy
    assert (set(stored) == {"mode"}) == (policy.mode != "head_tail"), (
        "what has no effect is not stored"
    )


@pytest.mark.parametrize("stored", [{"mode": "middle"}, {"side": "left"}, {"mode": None}])
def test_what_is_no_policy(stored):
    with pytest.raises((KeyError, TypeError)):
        Truncation.from_dict(stored)


def test_a_model_that_says_nothing_keeps_the_head():
    assert Truncation.from_dict(None) == Truncation("head")
