"""The compiled encoder against numpy, for each library that this CPU can load."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from tests.inference.native.small_encoder import (
    POSITIONS,
    TOKENS,
    TYPES,
    SmallEncoder,
    random_texts,
    small_encoder,
)
from trainer_ext.errors import UserError
from trainer_ext.inference.hardware import instruction_set
from trainer_ext.inference.native.library import TARGETS, Library, library_file
from trainer_ext.inference.native.plan import Plan
from trainer_ext.inference.native.session import Encoder, positions

LENGTHS = (1, 2, 13, 33, 70)
# Hidden size, width of a head, and heads and feed-forward neurons of each layer.
SIZES = [
    # No multiples of a register's width, of a block's, and the sizes of real encoders.
    (24, 8, ((3, 40), (3, 40))),
    (12, 12, ((1, 7), (1, 7))),
    (64, 32, ((2, 128),)),
    (40, 8, ((5, 200),)),
    (312, 26, ((12, 1200),)),
    # Narrowed, each layer otherwise; wider in the middle, as wide heads leave numbers behind.
    (24, 8, ((1, 13), (2, 40), (1, 3))),
    (40, 5, ((3, 1), (8, 70), (1, 9))),
    # All heads of all layers are narrower than a state, and heads wider than one.
    (312, 26, ((1, 30), (1, 7))),
    (24, 8, ((9, 50), (2, 8))),
]
Sizes = tuple[tuple[int, int], ...]
Texts = Sequence[tuple[np.ndarray, np.ndarray]]


@pytest.fixture(params=TARGETS)
def library(request) -> Library:
    """Each library that this CPU runs."""
    target = request.param
    if target not in instruction_set().split():
        pytest.skip(f"this CPU has no {target}")
    if not library_file(target).is_file():
        pytest.skip(
            f"{library_file(target).name} is not compiled: python setup.py build_ext --inplace"
        )
    return Library(target)


@lru_cache
def made(hidden: int, head_size: int, sizes: Sizes, is_first_token_only: bool) -> SmallEncoder:
    return small_encoder(hidden, head_size, sizes, is_first_token_only)


def run(encoder: Encoder, texts: Texts) -> list[np.ndarray]:
    """The hidden states of each text, from one call."""
    ids = np.concatenate([ids for ids, _ in texts])
    types = np.concatenate([types for _, types in texts])
    lengths = np.array([len(ids) for ids, _ in texts], dtype=np.int64)
    states = encoder.run(ids, types, lengths)
    if encoder.is_first_token_only:
        return [states[number : number + 1] for number in range(len(texts))]
    return np.split(states, np.cumsum(lengths)[:-1])


@pytest.mark.parametrize("is_first_token_only", [False, True])
@pytest.mark.parametrize("hidden, head_size, sizes", SIZES)
def test_the_numbers_are_those_of_numpy(
    library, hidden, head_size, sizes, is_first_token_only, tmp_path
):
    """To the last bits in most texts; where a number lies between two levels, a rounding decides.

    Deep models multiply what such a rounding changes, so that the large ones here have one layer.
    """
    small = made(hidden, head_size, sizes, is_first_token_only)
    small = replace(small, rounds_attention=library.target == "avx512_bf16")
    texts = random_texts(LENGTHS)
    encoder = Encoder(library, small.save(tmp_path))
    largest = []
    for (ids, types), states in zip(texts, run(encoder, texts), strict=True):
        expected = small.hidden_states(ids, types)
        assert states.shape == expected.shape
        largest.append(np.abs(states - expected).max())
    assert max(largest) < 0.05, "the hidden states have a standard deviation of 1"
    assert np.median(largest) < 1e-5, "most texts have no number between two levels"


def test_a_plan_of_an_older_export(library, tmp_path):
    """It says how many heads the hidden size holds, and how many neurons all layers have: to the same bits."""
    small = made(*SIZES[0], False)
    texts = random_texts(LENGTHS)
    plan = small.save(tmp_path)
    expected = run(Encoder(library, plan), texts)
    content = plan.content | {"heads": 3, "inner": 40}
    del content["head_size"]
    older = Plan(tmp_path / "model_quantized.onnx", content, plan.path)
    for states, wanted in zip(run(Encoder(library, older), texts), expected, strict=True):
        assert np.array_equal(states, wanted)


@pytest.mark.parametrize("is_first_token_only", [False, True])
def test_a_text_has_one_answer(library, is_first_token_only, tmp_path):
    """Alone, in any order, among any others, and from two threads at the same time."""
    small = made(*SIZES[0], is_first_token_only)
    encoder = Encoder(library, small.save(tmp_path))
    texts = random_texts((1, 2, 13, 33, 70, 12, 12, 5, 1, 1, 48, 16))
    alone = [run(encoder, [text])[0] for text in texts]
    generator = np.random.default_rng(7)
    orders = [generator.permutation(len(texts)) for _ in range(20)]

    def check(order: np.ndarray) -> bool:
        answers = run(encoder, [texts[number] for number in order])
        pairs = zip(order, answers, strict=True)
        return all(np.array_equal(alone[number], answer) for number, answer in pairs)

    assert all(map(check, orders))
    assert all(check(order[:3]) for order in orders)
    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(check, orders * 5))


def test_as_many_texts_as_there_may_be(library, tmp_path):
    """64 of one token."""
    small = made(*SIZES[0], True)
    encoder = Encoder(library, small.save(tmp_path))
    texts = random_texts([1] * 64)
    for text, states in zip(texts, run(encoder, texts), strict=True):
        assert np.array_equal(states, run(encoder, [text])[0])


@pytest.mark.parametrize(
    "ids, types",
    [([TOKENS], [0]), ([-1], [0]), ([1, 2, 3], [0, TYPES, 0]), ([1] * (POSITIONS + 1), None)],
)
def test_what_the_embeddings_have_no_row_for(library, ids, types, tmp_path):
    """And what comes next is answered as ever."""
    small = made(*SIZES[0], False)
    encoder = Encoder(library, small.save(tmp_path))
    good = random_texts([POSITIONS])[0]
    before = run(encoder, [good])[0]
    bad = (np.array(ids), np.array(types if types is not None else [0] * len(ids)))
    with pytest.raises(UserError, match="beyond the embeddings"):
        run(encoder, [good, bad])
    assert np.array_equal(run(encoder, [good])[0], before)


def test_numbers_that_are_all_equal(library, tmp_path: Path):
    """A range of nothing has a scale of 1, not 0: no NaN."""
    small = small_encoder()
    small.numbers = bytearray(bytes(len(small.numbers)))
    encoder = Encoder(library, small.save(tmp_path))
    states = run(encoder, random_texts([3]))[0]
    assert np.array_equal(states, np.zeros((3, 24), np.float32))


def test_tokens_that_do_not_count_as_positions():
    """RoBERTa's padding (1 here) within texts: by hand."""
    ids = np.array([0, 5, 1, 6, 1, 0, 1, 1, 0, 7])
    rows = positions(ids, np.array([5, 1, 4]), 1)
    assert rows.tolist() == [2, 3, 1, 4, 1, 2, 1, 1, 2, 3]
