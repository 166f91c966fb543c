"""Make probe.json: token ids drawn from the vocabulary, with the logits of each variant on this machine.

Prediction runs the rows again where it loads the export (`inference/probe.py`). No text of a user is in them.
"""

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from trainer_ext.data.preprocessing.batch import Arrays
from trainer_ext.export.gate import at_least_rounding
from trainer_ext.files import write_json
from trainer_ext.inference.hardware import instruction_set
from trainer_ext.inference.probe import PROBE, part_differences, to_output, to_stored
from trainer_ext.inference.single import SinglePredictor

SEED = 0
# In tokens, special tokens included. Several short ones: those are run on every loading.
LENGTHS = (3, 4, 6, 8, 16, 32, 64, 128)
# A text of which every tokenizer makes a token or two, to see where it puts the special ones.
ANY_TEXT = "a"
# What a variant may differ by on another machine, in units of the logits' spread: float kernels add in another order.
FLOOR = 1e-3
# INT8 rounds activations: where one lies on the edge of two levels, that order decides, and later layers amplify it.
INT8_FLOOR = 5e-3
# And in units of what the variant itself differs by from PyTorch on these rows. Measured of dynamic INT8: 0.13 for
# another order of additions, 0.8 to 3 for products that overflow. Other narrow formats round everywhere, and have no
# such cliff.
INT8_SHARE = 0.4
NARROW_SHARE = 2.0

logger = logging.getLogger(__name__)


def write_probe(folder: Path, predictors: Mapping[str, SinglePredictor]) -> None:
    """Write probe.json for all variants.

    Args:
        folder: of the export.
        predictors: by the variants' names; the others are compared with `pytorch`.
    """
    reference = predictors["pytorch"]
    rows = draw_rows(reference)
    outputs: dict[str, list[Arrays]] = {}
    for name, predictor in predictors.items():
        answers = [predictor.run_tokens(ids) for ids in rows]
        if all_finite(answers):
            outputs[name] = answers
        else:
            # The gate has judged it on texts; it only cannot be checked later.
            logger.warning("%s answers random tokens with NaN or infinity: no probe for it", name)
    tolerance: dict[str, list[float]] = {}
    for name, answers in outputs.items():
        if name != "pytorch":
            is_dynamic = not predictors[name].session.batch_invariant
            tolerance[name] = tolerances(reference, answers, outputs["pytorch"], is_dynamic)
    content = {
        "rows": stored_rows(rows, outputs),
        "tolerance": tolerance,
        "instruction_set": instruction_set(),
        "versions": {"onnxruntime": version("onnxruntime")},
    }
    write_json(folder / PROBE, content)


def draw_rows(predictor: SinglePredictor) -> list[list[int]]:
    """Return rows of token ids, special tokens where the tokenizer puts them; always the same for one vocabulary."""
    tokenizer = predictor.tokenizer
    pipeline = predictor.pipeline
    before, behind = special_tokens_around(tokenizer)
    special = [*before, *behind]
    ids = ordinary_ids(tokenizer, {*special, pipeline.pad_token_id})
    generator = np.random.default_rng(SEED)
    rows = []
    for length in row_lengths(len(special), pipeline.max_length):
        drawn = generator.choice(ids, length - len(special))
        row = [*before, *drawn.tolist(), *behind]
        rows.append(row)
    return rows


def row_lengths(special: int, longest: int) -> list[int]:
    """Return the lengths that have room for a token beside the special ones, and that the model takes."""
    lengths = [length for length in LENGTHS if special < length <= longest]
    # A model for even shorter texts.
    return lengths or [max(special + 1, longest)]


def special_tokens_around(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the ids that the tokenizer puts before and behind a text."""
    encoding = tokenizer.encode(ANY_TEXT)
    mask = encoding.special_tokens_mask
    # A tokenizer without an unknown token may make nothing of the text.
    if 0 not in mask:
        return encoding.ids, []
    first = mask.index(0)
    after = len(mask) - mask[::-1].index(0)
    return encoding.ids[:first], encoding.ids[after:]


def ordinary_ids(tokenizer: Tokenizer, left_out: set[int]) -> list[int]:
    """Return the ids of the vocabulary without special tokens, in ascending order."""
    special = set(left_out)
    for token_id, token in tokenizer.get_added_tokens_decoder().items():
        if token.special:
            special.add(token_id)
    known = set(tokenizer.get_vocab(with_added_tokens=False).values())
    # Of a vocabulary of nothing else, anything will do.
    return sorted(known - special) or sorted(known)


def tolerances(
    reference: SinglePredictor,
    answers: Sequence[Arrays],
    pytorch: Sequence[Arrays],
    dynamic_int8: bool,
) -> list[float]:
    """Return the root mean square that each part of a variant's logits may differ by on another machine.

    Args:
        reference: PyTorch, whose task knows the parts.
        answers: of the variant.
        pytorch: PyTorch's answers to the same rows.
        dynamic_int8: whether the variant scales activations at run time.
    """
    own = [to_output(reference, arrays) for arrays in answers]
    expected = [to_output(reference, arrays) for arrays in pytorch]
    task = reference.task
    parts = task.parts(task.stack(expected))
    floor, share = FLOOR, NARROW_SHARE
    if dynamic_int8:
        floor, share = INT8_FLOOR, INT8_SHARE
    differences = part_differences(reference, own, expected)
    found = []
    for part, difference in zip(parts, differences, strict=True):
        deviation = float(part.std())
        spread = at_least_rounding(deviation, part)
        tolerance = max(floor * spread, share * difference)
        found.append(tolerance)
    return found


def all_finite(answers: Sequence[Arrays]) -> bool:
    """Tell whether no number is NaN or infinite."""
    for arrays in answers:
        for array in arrays.values():
            if not np.isfinite(array).all():
                return False
    return True


def stored_rows(
    rows: Sequence[Sequence[int]],
    outputs: Mapping[str, Sequence[Arrays]],
) -> list[dict[str, Any]]:
    """Return the rows as probe.json has them."""
    stored = []
    for number, ids in enumerate(rows):
        logits = {}
        for name, answers in outputs.items():
            logits[name] = to_stored(answers[number])
        stored.append({"input_ids": list(ids), "logits": logits})
    return stored
