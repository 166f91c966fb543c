"""Keep a part of a vocabulary: the content of tokenizer.json, as its JSON has it, without the other pieces.

For WordPiece, BPE (of bytes or of characters), Unigram and WordLevel. What is kept splits texts as before: WordPiece
takes the longest piece that it knows, BPE the merges in their order, Unigram the pieces of the best sum of scores. A
text whose pieces are all kept therefore has the same ones afterwards.
"""

import copy
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokenizers.pre_tokenizers import ByteLevel

from trainer_ext.errors import UserError

Content = dict[str, Any]
BYTE_PIECES = frozenset(f"<0x{byte:02X}>" for byte in range(256))


def ids_of_pieces(content: Content) -> dict[str, int]:
    """Return the id of each piece of the model, without the tokens that were added to it."""
    model = content["model"]
    if model["type"] == "Unigram":
        return {piece: number for number, (piece, _) in enumerate(model["vocab"])}
    return dict(model["vocab"])


def choose(content: Content, counts: Mapping[int, int], limit: int | None) -> list[int]:
    """Return the ids to keep, in ascending order.

    Special and added tokens and the bytes stay. Then come pieces by how often they are used, with what BPE merges them
    from; a character counts each time it occurs, also inside a longer piece, for a text without that piece needs it.
    Room that is left goes to characters that are not used, the first ones of the vocabulary.

    Args:
        content: of tokenizer.json.
        counts: how often each id is used.
        limit: most ids; None: all that are used, and all characters.

    Raises:
        UserError: if there is no room for what must stay.
    """
    kept = ids_that_stay(content)
    if limit is not None and len(kept) >= limit:
        raise UserError(
            f"max_vocab_size {limit} has no room for words: {len(kept)} special tokens and bytes always stay"
        )
    # Without a limit everything that is used fits.
    room = math.inf if limit is None else limit
    parts = parts_of_merges(content)
    singles = single_characters(content)
    totals = with_characters(content, counts, singles)
    # Ties by id, so that a resumed run keeps the same ones.
    by_use = sorted(totals, key=lambda number: (-totals[number], number))
    unused = sorted(set(singles.values()) - set(totals))
    for number in (*by_use, *unused):
        # A piece whose parts do not fit is left out, and shorter ones may still fit.
        needed = closure(number, parts) - kept
        if len(kept) + len(needed) <= room:
            kept |= needed
    return sorted(kept)


def ids_that_stay(content: Content) -> set[int]:
    """Return the ids of special and added tokens, of the unknown one and of bytes."""
    ids = ids_of_pieces(content)
    model = content["model"]
    kept = {token["id"] for token in content["added_tokens"]}
    if model.get("unk_token") in ids:
        kept.add(ids[model["unk_token"]])
    if model.get("unk_id") is not None:
        kept.add(model["unk_id"])
    kept.update(ids[piece] for piece in byte_pieces(content) if piece in ids)
    if model["type"] == "Unigram":
        # What an unknown character costs is counted from the lowest score.
        scores = [score for _, score in model["vocab"]]
        kept.add(scores.index(min(scores)))
    return kept


def byte_pieces(content: Content) -> Iterable[str]:
    """Return the pieces that stand for bytes, of a byte-level tokenizer or for characters that it does not know."""
    pre_tokenizer = content["pre_tokenizer"] or {}
    for part in (pre_tokenizer, *pre_tokenizer.get("pretokenizers", ())):
        if part.get("type") == "ByteLevel":
            return ByteLevel.alphabet()
    return BYTE_PIECES if content["model"].get("byte_fallback") else ()


def prefix_of(content: Content) -> str:
    """Return what a piece begins with that goes on with a word: `##` of BERT."""
    return content["model"].get("continuing_subword_prefix") or ""


def single_characters(content: Content) -> dict[str, int]:
    """Return the pieces of one character with their ids, those inside words too."""
    prefix = prefix_of(content)
    found = {}
    for piece, number in ids_of_pieces(content).items():
        if len(piece.removeprefix(prefix)) == 1:
            found[piece] = number
    return found


def with_characters(
    content: Content,
    counts: Mapping[int, int],
    singles: Mapping[str, int],
) -> Counter[int]:
    """Return the counts with those of each character inside a longer piece added."""
    prefix = prefix_of(content)
    by_id = {number: piece for piece, number in ids_of_pieces(content).items()}
    totals: Counter[int] = Counter()
    for number, count in counts.items():
        totals[number] += count
        piece = by_id.get(number, "")
        # It has been counted as itself.
        if piece in singles:
            continue
        begins_word = not (prefix and piece.startswith(prefix))
        for place, character in enumerate(piece.removeprefix(prefix)):
            single = character if begins_word and place == 0 else prefix + character
            if single in singles:
                totals[singles[single]] += count
    return totals


def parts_of_merges(content: Content) -> dict[int, list[int]]:
    """Return for each piece of BPE the ids of what it is merged from; empty for other models."""
    ids = ids_of_pieces(content)
    parts: dict[int, list[int]] = {}
    for left, right in merges_of(content):
        merged = left + right.removeprefix(prefix_of(content))
        parts.setdefault(ids[merged], []).extend([ids[left], ids[right]])
    return parts


def merges_of(content: Content) -> list[tuple[str, str]]:
    """Return the merges in their order; none of another model than BPE."""
    found = []
    for merge in content["model"].get("merges", ()):
        # Older files have them as one text.
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        found.append((left, right))
    return found


def closure(number: int, parts: Mapping[int, Sequence[int]]) -> set[int]:
    """Return an id with all ids that its piece is merged from."""
    found: set[int] = set()
    waiting = [number]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting.extend(parts.get(current, ()))
    return found


def without_pieces(content: Content, kept: Sequence[int]) -> Content:
    """Return tokenizer.json with the kept ids only, numbered anew in their order.

    Args:
        content: of tokenizer.json; it stays as it is.
        kept: ids in ascending order, as `choose` returns them.
    """
    new_ids = {old: new for new, old in enumerate(kept)}
    result = copy.deepcopy(content)
    model = result["model"]
    if model["type"] == "Unigram":
        model["vocab"] = [model["vocab"][old] for old in kept if old < len(model["vocab"])]
    else:
        # By id, as the vocabulary was written, for files that people compare.
        in_order = sorted(model["vocab"].items(), key=lambda entry: entry[1])
        model["vocab"] = {piece: new_ids[old] for piece, old in in_order if old in new_ids}
    if "merges" in model:
        model["merges"] = kept_merges(content, model["vocab"])
    if model.get("unk_id") is not None:
        model["unk_id"] = new_ids[model["unk_id"]]
    for token in result["added_tokens"]:
        token["id"] = new_ids[token["id"]]
    renumber_processor(result.get("post_processor"), new_ids)
    if result.get("padding"):
        result["padding"]["pad_id"] = new_ids[result["padding"]["pad_id"]]
    return result


def kept_merges(content: Content, vocabulary: Mapping[str, int]) -> list[list[str]]:
    """Return the merges whose parts and result are in a vocabulary, in their order."""
    prefix = prefix_of(content)
    found = []
    for left, right in merges_of(content):
        if all(piece in vocabulary for piece in (left, right, left + right.removeprefix(prefix))):
            found.append([left, right])
    return found


def renumber_processor(processor: Any, new_ids: Mapping[int, int]) -> None:
    """Give the tokens that a post-processor adds their new ids, in place."""
    if not isinstance(processor, dict):
        return
    for token in processor.get("special_tokens", {}).values():
        token["ids"] = [new_ids[old] for old in token["ids"]]
    for name in ("sep", "cls"):
        if name in processor:
            text, old = processor[name]
            processor[name] = [text, new_ids[old]]
    # A sequence of them, as byte-level tokenizers have.
    for part in processor.get("processors", ()):
        renumber_processor(part, new_ids)
