"""Which parts of a model stay in FP32: the fewest, found by measuring what INT8 does to each of them.

A *part* is a MatMul node with constant weights, an LSTM, or all embedding tables together. If everything in INT8 is not
good enough, each part is quantised alone and the logits are compared on a sample of rows (layer by layer first, then
part by part in the layers that hurt). Parts are then kept in FP32, most harmful first, until the gate is content.

Source: layer-wise sensitivity as in HAWQ (Dong et al. 2019, arXiv:1905.03696), measured instead of taken from the
Hessian.
"""

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from trainer_ext.export.gate import Variant
from trainer_ext.export.quantise import Int8Setting, lstm_nodes, matmul_weights

EMBEDDINGS = "embeddings"
LAYER = re.compile(r"(?:layers?|blocks?|h)[._/](\d+)(?!\d)")
# Up to so many parts are measured one by one at once; a chunk has as many if names tell no layers.
FEW_PARTS = 8
# Of all damage; parts of groups that are beyond it are not measured one by one.
EXPLAINED = 0.99

Damage = Callable[[frozenset[str]], float]
"""The mean squared change of the logits on a sample of rows if these parts are INT8, and all others FP32."""
Attempt = Callable[[Int8Setting], Variant]
"""A setting through the whole gate."""

logger = logging.getLogger(__name__)


def quantisable_parts(model_path: Path) -> list[str]:
    """Return the names of all parts: products in the order of the graph, then LSTMs."""
    weights = matmul_weights(model_path)
    products = [name for name, shape in weights.items() if shape is not None]
    return [EMBEDDINGS, *products, *lstm_nodes(model_path)]


def setting_with(fp32_parts: Sequence[str], parts: Sequence[str]) -> Int8Setting:
    """Return the setting that keeps these parts in FP32, named for the report."""
    kept = set(fp32_parts)
    is_embedding_kept = EMBEDDINGS in kept
    nodes = kept - {EMBEDDINGS}
    products = len(parts) - 1
    name = "INT8 embeddings and MatMuls"
    if is_embedding_kept:
        name = "INT8 MatMuls, FP32 embeddings"
    if nodes:
        name += f", {len(nodes)} of {products} MatMuls in FP32"
    return Int8Setting(name, not is_embedding_kept, frozenset(nodes))


class Tried(NamedTuple):
    """A setting that went through the gate, and what it gave."""

    setting: Int8Setting
    variant: Variant


def search(parts: Sequence[str], attempt: Attempt, damage: Damage) -> list[Tried]:
    """Try settings until the fewest parts are found that have to stay in FP32.

    Args:
        parts: of `quantisable_parts`.
        attempt: a setting through the gate.
        damage: the sensitivity of parts; asked only if INT8 throughout is not good.

    Returns:
        All that was tried, in order; the first is INT8 throughout. None of them need be good.
    """
    tried: list[Tried] = []

    def keep(fp32_parts: Sequence[str]) -> bool:
        setting = setting_with(fp32_parts, parts)
        variant = attempt(setting)
        tried.append(Tried(setting, variant))
        if not variant.good:
            logger.info("%s: %s", setting.name, variant.why)
        return variant.good

    if keep([]):
        return tried
    logger.info("measuring which parts of the model INT8 harms ...")
    ranked = rank(parts, damage)
    fewest = fewest_kept(ranked, keep)
    # Embeddings are most of the file: the others may be enough without them.
    if EMBEDDINGS in fewest[:-1]:
        keep([part for part in fewest if part != EMBEDDINGS])
    return tried


def fewest_kept(ranked: Sequence[str], keep: Callable[[Sequence[str]], bool]) -> list[str]:
    """Return the shortest beginning of `ranked` that is good to `keep` in FP32; empty if none is.

    By doubling, then halving: about 2 log2(n) runs of the gate instead of n. It is taken for granted that what passes
    with some parts in FP32 passes with more of them.
    """
    most = len(ranked) - 1  # at least one part is INT8
    failed = 0
    count = min(1, most)
    while count > failed and not keep(ranked[:count]):
        failed = count
        count = min(2 * count, most)
    if count == failed:
        return []
    passed = count
    while passed - failed > 1:
        middle = (failed + passed) // 2
        if keep(ranked[:middle]):
            passed = middle
        else:
            failed = middle
    return list(ranked[:passed])


def smallest_good(tried: Sequence[Tried]) -> Tried:
    """Return the good variant with the smallest file; without any the largest, which keeps most in FP32."""
    good = [one for one in tried if one.variant.good]
    if not good:
        return max(tried, key=lambda one: one.variant.bytes)
    return min(good, key=lambda one: one.variant.bytes)


def rank(parts: Sequence[str], damage: Damage) -> list[str]:
    """Return the parts by what INT8 does to the logits, most harmful first."""
    groups = [[part] for part in parts]
    if len(parts) > FEW_PARTS:
        groups = by_layer(parts)
    of_group = {}
    for index, group in enumerate(groups):
        of_group[index] = damage(frozenset(group))
    total = sum(of_group.values())
    explained = 0.0
    of_part = {}
    for index in sorted(of_group, key=lambda index: -of_group[index]):
        group = groups[index]
        is_left_over = explained >= EXPLAINED * total
        for part in group:
            if len(group) == 1 or is_left_over:
                of_part[part] = of_group[index] / len(group)
            else:
                of_part[part] = damage(frozenset([part]))
        explained += of_group[index]
    return sorted(parts, key=lambda part: -of_part[part])


def by_layer(parts: Sequence[str]) -> list[list[str]]:
    """Group parts by the layer that their names tell; others in chunks, in the order of the graph."""
    groups: dict[str, list[str]] = {}
    unnamed = 0
    for part in parts:
        found = LAYER.search(part)
        if found:
            key = found.group()
        elif part == EMBEDDINGS:
            key = part
        else:
            key = f"chunk {unnamed // FEW_PARTS}"
            unnamed += 1
        groups.setdefault(key, []).append(part)
    return list(groups.values())
