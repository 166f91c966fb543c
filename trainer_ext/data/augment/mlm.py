"""Replace words by what a masked language model proposes in their place.

Source: the substitution of Kobayashi, "Contextual Augmentation" (NAACL 2018, arXiv:1805.06201), with a BERT as in Wu
et al., "Conditional BERT Contextual Augmentation" (ICCS 2019, arXiv:1812.06705), without conditioning on the label.

n = alpha l words (at least one) are masked one after the other, so that a later one sees what an earlier one became.
A word gets one mask, a Chinese one a mask for each character, filled from the left. What is taken is drawn from the
`top_k` most probable whole words (characters), by their probability, and is never the word itself.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer_ext.data.augment.eda import DEFAULT_ALPHA, times
from trainer_ext.data.augment.sentence import IS_CHINESE, NO_DIGIT_WORD, Sentence, replace_words
from trainer_ext.data.augment.thesaurus import match_case
from trainer_ext.errors import UserError
from trainer_ext.remote_code import NOT_HERE, why_not_loaded

if TYPE_CHECKING:
    from torch import Tensor

OPERATION = "masked_lm"
LONGEST_INPUT = 512
# As byte-level BPE and SentencePiece write the blank before a word.
WORD_STARTS = ("\u0120", "\u2581")


class MaskedLM:
    """Propose sentences in which words were replaced by any `AutoModelForMaskedLM`."""

    def __init__(self, model_name_or_path: str, alpha: float = DEFAULT_ALPHA, top_k: int = 10):
        self.tokenizer, self.model = load(model_name_or_path)
        self.alpha = alpha
        self.top_k = top_k
        self.words, self.characters = vocabulary(self.tokenizer)
        positions = getattr(self.model.config, "max_position_embeddings", LONGEST_INPUT)
        # A tokenizer that knows no longest input says 10^30.
        self.max_length = min(self.tokenizer.model_max_length, positions, LONGEST_INPUT)

    def propose(
        self,
        sentences: Sequence[Sentence],
        generators: Sequence[random.Random],
        strength: float,
    ) -> list[tuple[Sentence, str]]:
        """Return an edited sentence (maybe the same) and the operation's name for each of `sentences`.

        Args:
            sentences: what to edit.
            generators: a source of chance for each.
            strength: alpha is multiplied by it.
        """
        alpha = min(1.0, self.alpha * strength)
        edits = []
        for sentence, generator in zip(sentences, generators, strict=True):
            count = times(sentence, alpha)
            edits.append(
                MaskedSentence(sentence, generator, generator.sample(sentence.free, count))
            )
        unfinished = [edit for edit in edits if edit.todo]
        while unfinished:
            self.fill_next(unfinished)
            unfinished = [edit for edit in unfinished if edit.todo]
        return [(edit.sentence, OPERATION) for edit in edits]

    def fill_next(self, edits: Sequence["MaskedSentence"]) -> None:
        """Fill the first mask of each sentence, all of them in one batch."""
        texts = [edit.masked(self.tokenizer.mask_token) for edit in edits]
        for edit, logits in zip(edits, self.logits(texts), strict=True):
            if logits is None:
                edit.fill(None)
            else:
                edit.fill(self.choose(edit, logits))

    def logits(self, texts: list[str]) -> list["Tensor | None"]:
        """Return the logits (vocabulary,) at the first mask of each text; None if it is beyond the longest input."""
        import torch

        batch = self.tokenizer(
            texts,
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=self.max_length,
        )
        batch = batch.to(self.model.device)
        with torch.inference_mode():
            logits = self.model(**batch).logits.float().cpu()
        masks = batch["input_ids"].cpu() == self.tokenizer.mask_token_id
        found: list[Tensor | None] = []
        for row, mask in zip(logits, masks, strict=True):
            if mask.any():
                # The largest of zeros and ones: the first mask.
                found.append(row[mask.int().argmax()])
            else:
                found.append(None)
        return found

    def choose(self, edit: "MaskedSentence", logits: "Tensor") -> str | None:
        """Draw a word (or character) for the first mask of a sentence; None if nothing but the word itself is left.

        Args:
            edit: the sentence.
            logits: (vocabulary,).
        """
        ids = self.characters if edit.by_character else self.words
        # Two more than are drawn from, because the word itself may be among them, also in another case.
        count = min(self.top_k + 2, len(ids))
        best, places = logits[ids].topk(count)
        texts = []
        kept = []
        for rank, place in enumerate(places.tolist()):
            text = self.tokenizer.decode([ids[place]]).strip()
            if text.lower() != edit.unchanged.lower():
                texts.append(text)
                kept.append(rank)
        if not texts:
            return None
        weights = best[kept[: self.top_k]].softmax(-1).tolist()
        (text,) = edit.generator.choices(texts[: self.top_k], weights)
        if edit.by_character:
            return text
        return match_case(edit.word, text)


@dataclass
class MaskedSentence:
    """A sentence, the positions of the words still to be replaced, and what the first of them has become so far."""

    sentence: Sentence
    generator: random.Random
    todo: list[int]
    filled: str = ""

    @property
    def word(self) -> str:
        """The word that is being replaced."""
        return self.sentence.words[self.todo[0]].text

    @property
    def by_character(self) -> bool:
        """Whether the word takes a mask for each character."""
        return all(IS_CHINESE.match(character) for character in self.word)

    @property
    def unchanged(self) -> str:
        """What the first mask must not become: the word would be what it was."""
        if self.by_character and self.filled == self.word[:-1]:
            return self.word[-1]
        return self.word

    def masked(self, mask: str) -> str:
        """Return the text with masks for what is left of the word."""
        masks = 1
        if self.by_character:
            masks = len(self.word) - len(self.filled)
        return self.with_word(self.filled + mask * masks).text

    def with_word(self, text: str) -> Sentence:
        """Return the sentence with another text for the word that is being replaced."""
        return replace_words(self.sentence, {self.todo[0]: text})

    def fill(self, text: str | None) -> None:
        """Take a proposal for the first mask; None leaves the word as it was."""
        if text is not None:
            self.filled += text
            if self.by_character and len(self.filled) < len(self.word):
                return
            self.sentence = self.with_word(self.filled)
        self.todo = self.todo[1:]
        self.filled = ""


def load(model_name_or_path: str) -> tuple[Any, Any]:
    """Load a tokenizer and its model, on the GPU if there is one.

    Raises:
        UserError: if it is not a masked language model, or its tokenizer has no mask.
    """
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model_name_or_path, trust_remote_code=False)
        model = AutoModelForMaskedLM.from_pretrained(model_name_or_path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = why_not_loaded(error, NOT_HERE)
        raise UserError(
            f"model_name_or_path {model_name_or_path} cannot be loaded to fill masks: {reason}"
        ) from error
    if tokenizer.mask_token is None:
        raise UserError(f"model_name_or_path {model_name_or_path}: its tokenizer has no mask token")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return tokenizer, model.eval().to(device)


def vocabulary(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the ids of the entries that are a whole word, and of those that are one Chinese character."""
    by_token = tokenizer.get_vocab()
    # If starts of words are marked, an entry without the mark is the middle of one.
    marked = any(token.startswith(WORD_STARTS) for token in by_token)
    special = set(tokenizer.all_special_ids)
    words = []
    characters = []
    # By id, so that the same seed draws the same words in every process.
    for token, token_id in sorted(by_token.items(), key=lambda item: item[1]):
        if token_id in special:
            continue
        text = tokenizer.decode([token_id]).strip() if marked else token
        starts_word = not marked or token.startswith(WORD_STARTS)
        if len(text) == 1 and IS_CHINESE.match(text):
            characters.append(token_id)
        elif starts_word and NO_DIGIT_WORD.fullmatch(text):
            words.append(token_id)
    return words, characters
