"""Easy data augmentation (EDA).

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
# Recommended there (section 3.3) for training sets of some thousand rows.
DEFAULT_ALPHA = 0.1


def times(sentence: Sentence, alpha: float) -> int:
    """Return n = alpha l, at least 1 and at most l; only words that may be edited count."""
    length = len(sentence.free)
    return min(length, max(1, int(alpha * length)))


def synonym_replacement(
    sentence: Sentence,
    alpha: float,
    generator: random.Random,
    thesaurus: Thesaurus,
) -> Sentence:
    """Replace n words by one of their synonyms each."""
    known = []
    for position in sentence.free:
        if sentence.words[position].text in thesaurus:
            known.append(position)
    count = min(len(known), times(sentence, alpha))
    new: dict[int, str] = {}
    for position in generator.sample(known, count):
        before = ""
        # Behind punctuation `a` and `an` say nothing about this word.
        if position and sentence.gaps[position].isspace():
            before = sentence.words[position - 1].text
        synonym = thesaurus.pick(sentence.words[position].text, generator, before)
        if synonym:
            new[position] = synonym
    return replace_words(sentence, new)


def random_insertion(
    sentence: Sentence,
    alpha: float,
    generator: random.Random,
    thesaurus: Thesaurus,
) -> Sentence:
    """Insert n times a synonym of a word of the sentence between any two words."""
    texts = [sentence.words[position].text for position in sentence.free]
    known = list(filter(thesaurus.__contains__, texts))
    if not known:
        return sentence
    for _ in range(times(sentence, alpha)):
        places = insertable(sentence)
        # In lower case, because it will seldom stand where the word does.
        synonym = thesaurus.pick(generator.choice(known).lower(), generator)
        assert synonym is not None
        sentence = insert_word(sentence, generator.choice(places), synonym)
    return sentence


def insertable(sentence: Sentence) -> list[int]:
    """Return the positions before which a word can be inserted; the first and the last always are."""
    positions = range(len(sentence.words) + 1)
    return [position for position in positions if can_insert(sentence, position)]


def random_swap(
    sentence: Sentence,
    alpha: float,
    generator: random.Random,
    thesaurus: Thesaurus,
) -> Sentence:
    """Swap two words n times."""
    if len(sentence.free) < 2:
        return sentence
    for _ in range(times(sentence, alpha)):
        first, second = generator.sample(sentence.free, 2)
        sentence = swap_words(sentence, first, second)
    return sentence


def random_deletion(
    sentence: Sentence,
    alpha: float,
    generator: random.Random,
    thesaurus: Thesaurus,
) -> Sentence:
    """Delete each word with the probability alpha, but never all of them."""
    chosen = []
    for position in sentence.free:
        if generator.random() < alpha and can_delete(sentence, position):
            chosen.append(position)
    if chosen and len(chosen) == len(sentence.words):
        chosen.remove(generator.choice(chosen))
    return delete_words(sentence, chosen)


# The names of `--operations`, and what `operation` says in a new row.
OPERATIONS: dict[str, Operation] = {
    "synonym_replacement": synonym_replacement,
    "random_insertion": random_insertion,
    "random_swap": random_swap,
    "random_deletion": random_deletion,
}


class EDA:
    """Propose one new sentence for each sentence, by one of the operations whose alpha is above 0."""

    def __init__(self, thesaurus: Thesaurus, alphas: Mapping[str, float]):
        self.thesaurus = thesaurus
        self.alphas = {}
        for name, alpha in alphas.items():
            if alpha > 0:
                self.alphas[name] = alpha

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
            strength: every alpha is multiplied by it.
        """
        names = list(self.alphas)
        proposals = []
        for sentence, generator in zip(sentences, generators, strict=True):
            name = generator.choice(names)
            # A share stays a share, also after many attempts.
            alpha = min(1.0, self.alphas[name] * strength)
            edited = OPERATIONS[name](sentence, alpha, generator, self.thesaurus)
            proposals.append((edited, name))
        return proposals
