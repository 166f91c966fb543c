"""Words replaced by what a masked language model proposes in their place.

Source: the substitution of Kobayashi, "Contextual Augmentation" (NAACL 2018, arXiv:1805.06201), with a BERT as in Wu
et al., "Conditional BERT Contextual Augmentation" (ICCS 2019, arXiv:1812.06705), without conditioning on the label.

n = alpha l words (at least one) are masked one after the other, so that a later one sees what an earlier one became.
A word gets one mask, a Chinese one a mask for each character, filled from the left. What is taken is drawn from the
`top_k` most probable whole words (characters), by their probability, and is never the word itself.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from trainer_ext.data.augment.eda import DEFAULT_ALPHA, times
from trainer_ext.data.augment.sentence import IS_CHINESE, NO_DIGIT_WORD, Sentence, replace_words
from trainer_ext.data.augment.thesaurus import match_case
from trainer_ext.errors import UserError
from trainer_ext.remote_code import NOT_HERE, why_not_loaded

OPERATION = "masked_lm"
WORD_STARTS = (
    "\u0120",
    "\u2581",
)  # as byte-level BPE and SentencePiece write the blank before a word


class MaskedLM:
    """Proposes sentences in which words were replaced by any `AutoModelForMaskedLM`."""

    def __init__(self, model_name_or_path: str, alpha: float = DEFAULT_ALPHA, top_k: int = 10):
        self.tokenizer, self.model = load(model_name_or_path)
        self.alpha, self.top_k = alpha, top_k
        self.words, self.characters = vocabulary(self.tokenizer)
        limits = (
            self.tokenizer.model_max_length,
            getattr(self.model.config, "max_position_embeddings", 512),
        )
        self.max_length = min(*limits, 512)

    def propose(
        self, sentences: Sequence[Sentence], generators: Sequence[random.Random], strength: float
    ) -> list[tuple[Sentence, str]]:
        """A sentence (maybe the same) and the operation's name for each of `sentences`; `strength` scales alpha."""
        alpha = min(1.0, self.alpha * strength)
        jobs = [
            Job(s, g, self.positions(s, g, alpha))
            for s, g in zip(sentences, generators, strict=True)
        ]
        while busy := [job for job in jobs if job.todo]:
            for job, logits in zip(
                busy,
                self.logits([job.masked(self.tokenizer.mask_token) for job in busy]),
                strict=True,
            ):
                job.fill(None if logits is None else self.choose(job, logits))
        return [(job.sentence, OPERATION) for job in jobs]

    def positions(self, sentence: Sentence, generator: random.Random, alpha: float) -> list[int]:
        """Which words are masked, in this order."""
        return generator.sample(sentence.free, times(sentence, alpha)) if sentence.free else []

    def logits(self, texts: list[str]) -> list:
        """Logits (vocabulary,) at the first mask of each text; None where it lies beyond the longest input."""
        import torch

        batch = self.tokenizer(
            texts, return_tensors="pt", padding=True, truncation=True, max_length=self.max_length
        )
        batch = batch.to(self.model.device)
        with torch.inference_mode():
            logits = self.model(**batch).logits.float().cpu()
        masks = batch["input_ids"].cpu() == self.tokenizer.mask_token_id
        return [
            row[mask.int().argmax()] if mask.any() else None
            for row, mask in zip(logits, masks, strict=True)
        ]

    def choose(self, job: "Job", logits) -> str | None:
        """A word (or character) for the first mask of a job."""
        ids = self.characters if job.by_character else self.words
        banned = job.word[-1] if job.by_character and job.filled == job.word[:-1] else job.word
        values, places = logits[ids].topk(
            min(self.top_k + 2, len(ids))
        )  # 2 more: the word itself, in another case
        texts = [self.tokenizer.decode([ids[place]]).strip() for place in places.tolist()]
        kept = [k for k, text in enumerate(texts) if text.lower() != banned.lower()][: self.top_k]
        if not kept:
            return None
        text = texts[job.generator.choices(kept, values[kept].softmax(-1).tolist())[0]]
        return text if job.by_character else match_case(job.word, text)


@dataclass
class Job:
    """A sentence, the words still to be replaced, and what the first of them has become so far."""

    sentence: Sentence
    generator: random.Random
    todo: list[int]
    filled: str = field(default="")

    @property
    def word(self) -> str:
        """The word that is being replaced."""
        return self.sentence.words[self.todo[0]].text

    @property
    def by_character(self) -> bool:
        """Whether it takes a mask for each character."""
        return all(IS_CHINESE.match(character) for character in self.word)

    def masked(self, mask: str) -> str:
        """The text with masks for what is left of the word."""
        left = len(self.word) - len(self.filled) if self.by_character else 1
        return replace_words(self.sentence, {self.todo[0]: self.filled + mask * left}).text

    def fill(self, text: str | None) -> None:
        """Take a proposal; None leaves the word as it was."""
        self.filled += text or ""
        done = len(self.filled) == len(self.word) if self.by_character else True
        if text is not None and done:
            self.sentence = replace_words(self.sentence, {self.todo[0]: self.filled})
        if text is None or done:
            self.todo, self.filled = self.todo[1:], ""


def load(model_name_or_path: str):
    """Tokenizer and model, on the GPU when there is one.

    Raises:
        UserError: when it is no masked language model, or its tokenizer has no mask.
    """
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model_name_or_path, trust_remote_code=False)
        model = AutoModelForMaskedLM.from_pretrained(
            model_name_or_path, trust_remote_code=False
        ).eval()
    except (OSError, ValueError) as error:
        reason = why_not_loaded(error, NOT_HERE)
        raise UserError(
            f"model_name_or_path {model_name_or_path} cannot be loaded to fill masks: {reason}"
        ) from error
    if tokenizer.mask_token is None:
        raise UserError(f"model_name_or_path {model_name_or_path}: its tokenizer has no mask token")
    return tokenizer, model.to("cuda" if torch.cuda.is_available() else "cpu")


def vocabulary(tokenizer) -> tuple[list[int], list[int]]:
    """Ids of the entries that are a whole word, and of those that are one Chinese character."""
    entries = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    marked = any(token.startswith(WORD_STARTS) for token, _ in entries)
    special = set(tokenizer.all_special_ids)
    words, characters = [], []
    for token, k in entries:
        text = tokenizer.decode([k]).strip() if marked else token
        if k in special:
            continue
        if len(text) == 1 and IS_CHINESE.match(text):
            characters.append(k)
        elif NO_DIGIT_WORD.fullmatch(text) and (not marked or token.startswith(WORD_STARTS)):
            words.append(k)
    return words, characters
