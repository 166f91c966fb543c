"""Easy data augmentation.

Source: Wei and Zou, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification Tasks"
(EMNLP-IJCNLP 2019, arXiv:1901.11196), section 2: synonym replacement, random insertion, random swap, each n = alpha l
times in a sentence of l words and at least once, and random deletion of each word with the probability p = alpha.

Unlike there a text keeps its case and punctuation, and synonyms come from a file (there WordNet). A new text has one
operation.
"""

import random
from collections.abc import Callable, Mapping, Sequence

from trainer_ext.data.augment.sentence import (
    Sentence,
    can_delete,
    can_insert,
    delete_words,
    insert_word,
    replace_words,
    swap_words,
)
from trainer_ext.data.augment.thesaurus import Thesaurus

Operation = Callable[[Sentence, float, random.Random, Thesaurus], Sentence]
DEFAULT_ALPHA = 0.1  # recommended there (section 3.3) for training sets of some thousand rows


def times(sentence: Sentence, alpha: float) -> int:
    """n = alpha l, at least 1 and at most l; only words that may be edited count."""
    return min(len(sentence.free), max(1, int(alpha * len(sentence.free))))


def synonym_replacement(
    sentence: Sentence, alpha: float, generator: random.Random, thesaurus: Thesaurus
) -> Sentence:
    """n words become one of their synonyms."""
    known = [position for position in sentence.free if sentence.words[position].text in thesaurus]
    new: dict[int, str] = {}
    for position in generator.sample(known, min(len(known), times(sentence, alpha))):
        touching = position and sentence.gaps[position].isspace()
        before = sentence.words[position - 1].text if touching else ""
        synonym = thesaurus.pick(sentence.words[position].text, generator, before)
        new |= {position: synonym} if synonym else {}
    return replace_words(sentence, new)


def random_insertion(
    sentence: Sentence, alpha: float, generator: random.Random, thesaurus: Thesaurus
) -> Sentence:
    """n times a synonym of a word of the sentence is put anywhere between two words."""
    known = [sentence.words[position].text for position in sentence.free]
    known = [text for text in known if text in thesaurus]
    for _ in range(times(sentence, alpha) if known else 0):
        places = [
            position
            for position in range(len(sentence.words) + 1)
            if can_insert(sentence, position)
        ]
        synonym = thesaurus.pick(generator.choice(known).lower(), generator)
        sentence = insert_word(sentence, generator.choice(places), synonym)
    return sentence


def random_swap(
    sentence: Sentence, alpha: float, generator: random.Random, thesaurus: Thesaurus
) -> Sentence:
    """n times two words change places."""
    for _ in range(times(sentence, alpha) if len(sentence.free) > 1 else 0):
        sentence = swap_words(sentence, *generator.sample(sentence.free, 2))
    return sentence


def random_deletion(
    sentence: Sentence, alpha: float, generator: random.Random, thesaurus: Thesaurus
) -> Sentence:
    """Each word goes with the probability alpha; one stays where all of them would go."""
    going = [
        position
        for position in sentence.free
        if generator.random() < alpha and can_delete(sentence, position)
    ]
    if going and len(going) == len(sentence.words):
        going.remove(generator.choice(going))
    return delete_words(sentence, going)


OPERATIONS: dict[str, Operation] = {
    operation.__name__: operation
    for operation in (synonym_replacement, random_insertion, random_swap, random_deletion)
}


class EDA:
    """Proposes one new sentence for each sentence, by one of the operations whose alpha is above 0."""

    def __init__(self, thesaurus: Thesaurus, alphas: Mapping[str, float]):
        self.thesaurus = thesaurus
        self.alphas = {name: alpha for name, alpha in alphas.items() if alpha > 0}

    def propose(
        self, sentences: Sequence[Sentence], generators: Sequence[random.Random], strength: float
    ) -> list[tuple[Sentence, str]]:
        """A sentence (maybe the same) and the operation's name for each of `sentences`.

        Args:
            sentences: what to edit.
            generators: a source of chance for each.
            strength: every alpha is multiplied by it.
        """
        proposals = []
        for sentence, generator in zip(sentences, generators, strict=True):
            name = generator.choice(list(self.alphas))
            alpha = min(1.0, self.alphas[name] * strength)
            proposals.append((OPERATIONS[name](sentence, alpha, generator, self.thesaurus), name))
        return proposals
