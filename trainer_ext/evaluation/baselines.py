"""What a model should beat: the most frequent answer, and linear models of n-grams and of the frozen encoder's vectors.

A baseline answers with outputs shaped as a model's, so that the task scores both alike. Words and pairs of words are
the features, and characters with pairs and triples of them where texts are not written in words; each is weighed by
TF-IDF. Classes and flags get logistic regression (fitted by SGD, ten times as fast here as L-BFGS and as good), numbers
ridge regression, words a logistic regression of themselves and their neighbours.

The probe has the same two models of the vectors that the encoder gives before it is fine-tuned
(`training/linear_probe.py` takes them).

Source: Wang and Manning 2012, Baselines and Bigrams (ACL P12-2018), for how strong linear models of n-grams are; Alain
and Bengio 2016, Understanding intermediate layers using linear classifier probes (arXiv:1610.01644), for the probe.
"""

import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from trainer_ext.tasks import Task

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

MAJORITY, NGRAMS, PROBE = "majority", "n-grams", "frozen encoder"
MOST_CHARACTERS = 4_000_000
"""Characters of all training texts together: long texts are read from fewer rows."""
MOST_OUTPUTS = 40
"""Classes of all label columns together at which the rows become fewer: each of them is a fit of its own."""
MOST_FEATURES = 200_000
MOST_WORDS = 20_000
ALPHAS = np.logspace(0, 5, 11)
"""Of ridge regression on standardised features, to choose from."""
SGD_STEPS = 100_000  # rows seen by a fit, so that few rows are seen often enough
PROBE_CS = (0.001, 0.01, 0.1, 1.0)  # of scikit-learn, to choose from: less is simpler
PROBE_STEPS = 200
BEHIND = 2  # words before and after one that tell its tag
CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")
"""Scripts that are written without blanks between words, or (Hangul) whose words vary much."""


class TrainingRows(NamedTuple):
    """What baselines are trained on: inputs, encoded labels, and how many rows there were to choose from."""

    items: list[Any]
    labels: list[Any]
    of: int


class Linear(NamedTuple):
    """How linear models are fitted to features (N, F).

    Attributes:
        classes: takes features and class indices (N,); returns what has `decision_function`.
        numbers: takes features and targets (N, T); returns what has `predict`.
    """

    classes: Callable[[Any, np.ndarray], Any]
    numbers: Callable[[Any, np.ndarray], Any]


def some_rows(
    examples: Iterable[tuple[Any, Any]], count: int, task: Task, most: int
) -> TrainingRows:
    """Return as many rows as keep a baseline cheap, at equal distances: a file may be sorted by its labels.

    Args:
        examples: (input, encoded labels) of the training rows; iterated once.
        count: how many there are.
        task: of the rows.
        most: `--baseline_rows`.
    """
    outputs = int(np.prod(task.head_shape)) + task.token_classes
    # A hundred classes cost as much as ten would with ten times the rows.
    limit = max(1, int(most * min(1, MOST_OUTPUTS / outputs)))
    kept = list(spread(examples, count, limit))
    characters = [len(task.as_text(item)) for item, _ in kept]
    if sum(characters) > MOST_CHARACTERS:
        shorter = max(1, int(len(kept) * MOST_CHARACTERS / sum(characters)))
        kept = list(spread(kept, len(kept), shorter))
    items, labels = zip(*kept, strict=True)
    return TrainingRows(list(items), list(labels), count)


def spread(values: Iterable[Value], count: int, limit: int) -> Iterator[Value]:
    """Yield `limit` of `count` values, at equal distances; all of them if they are not more."""
    step = max(1.0, count / limit)
    following = 0.0
    for place, value in enumerate(values):
        if place >= following:
            yield value
            following += step


def majority_outputs(task: Task, rows: TrainingRows, items: Sequence[Any]) -> Any:
    """Return outputs that are the same for all items: how often each class is there, or the mean of each target."""
    labels = head_labels(task, rows.labels)
    own = constant(task, labels[0], task.head_shape[-1]).reshape(task.head_shape)
    first = np.broadcast_to(own, (len(items), *task.head_shape))
    if not task.token_classes:
        return first
    tags = constant(task, labels[1], task.token_classes)
    return first, [np.broadcast_to(tags, (len(words), task.token_classes)) for words in items]


def head_labels(task: Task, labels: Sequence[Any]) -> list[np.ndarray]:
    """Return the labels (N, ...) of the rows, and those of all words if the task has a head for them."""
    if not task.token_classes:
        return [np.asarray(labels)]
    intents, tags = zip(*labels, strict=True)
    return [np.asarray(intents), np.concatenate(list(map(np.asarray, tags)))]


def constant(task: Task, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the logits of one head that say how often each of its classes is in the labels, or the mean of numbers."""
    if task.loss_family == "distance":
        return np.asarray(labels.mean(axis=0))
    if task.loss_family == "binary_cross_entropy":
        # One row more of each kind: a flag that no row has is improbable, not impossible.
        share = (labels.sum(axis=0) + 1) / (len(labels) + 2)
        return np.asarray(np.log(share / (1 - share)))
    columns = labels.reshape(len(labels), -1).T
    counts = [np.bincount(column[column >= 0], minlength=classes) for column in columns]
    return np.log(np.stack(counts) + 0.5)


def ngram_outputs(task: Task, rows: TrainingRows, items: Sequence[Any], seed: int) -> Any:
    """Return the outputs of linear models of the n-grams in the rows' texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [task.as_text(item) for item in rows.items]
    # A text may hold nothing that this counts as a word, and all of them may be so short.
    vectorizer = TfidfVectorizer(
        sublinear_tf=True, dtype=np.float32, max_features=MOST_FEATURES, **units_of(texts)
    )
    features = vectorizer.fit_transform(texts)
    unseen = vectorizer.transform(task.as_text(item) for item in items)
    labels = head_labels(task, rows.labels)
    linear = Linear(partial(fit_sparse_classes, seed=seed), fit_sparse_numbers)
    first = linear_outputs(task, features, labels[0], unseen, linear)
    if not task.token_classes:
        return first
    tags = word_outputs(rows.items, labels[1], items, task.token_classes, linear)
    return first, tags


def probe_outputs(
    task: Task, vectors: np.ndarray, labels: Sequence[Any], unseen: np.ndarray
) -> np.ndarray:
    """Return outputs (M, *head_shape) of linear models of an encoder's vectors.

    Args:
        task: without tags of words.
        vectors: (N, H) of the training rows.
        labels: of these, encoded.
        unseen: (M, H) of the rows to answer.
    """
    from sklearn.preprocessing import StandardScaler

    # Features of very different size, which encoders have, would be regularised very differently.
    scaler = StandardScaler().fit(vectors)
    own, other = scaler.transform(vectors), scaler.transform(unseen)
    known = np.asarray(labels)
    linear = dense(PROBE_CS[0])
    if task.loss_family != "distance":
        linear = dense(best_c(task, own, known))
    return linear_outputs(task, own, known, other, linear)


def best_c(task: Task, vectors: np.ndarray, labels: np.ndarray) -> float:
    """Return the regularisation that is best on every fifth row when it is fitted on the others.

    One for all encoders would not be fair: SST-2 is best with the first of `PROBE_CS`, Banking77 with the last.
    """
    is_held_out = np.arange(len(vectors)) % 5 == 4
    if not is_held_out.any():
        return PROBE_CS[-1]
    own, rest = vectors[~is_held_out], vectors[is_held_out]

    def metric(c: float) -> float:
        outputs = linear_outputs(task, own, labels[~is_held_out], rest, dense(c))
        found: float = task.compute_metrics(outputs, labels[is_held_out])[task.default_metric]
        return found

    # Of equals the first, which is the simplest model.
    return max(PROBE_CS, key=metric)


def dense(c: float) -> Linear:
    """Return how models of standardised vectors are fitted."""
    return Linear(partial(fit_dense_classes, c=c), fit_dense_numbers)


def units_of(texts: Sequence[str]) -> dict[str, Any]:
    """Return how the texts are cut: into characters if most of them have some of a script without blanks."""
    without_blanks = sum(bool(CJK.search(text)) for text in texts)
    # What every text has once only says nothing of its class; of few texts everything is rare.
    min_df = 2 if len(texts) > 1000 else 1
    if 2 * without_blanks > len(texts):
        return {"analyzer": "char", "ngram_range": (1, 3), "min_df": min_df}
    return {"token_pattern": r"\S+", "ngram_range": (1, 2), "min_df": min_df}


def linear_outputs(
    task: Task, features: Any, labels: np.ndarray, unseen: Any, linear: Linear
) -> np.ndarray:
    """Return logits (M, *head_shape) of `unseen` (M, F), from features (N, F) and labels (N, ...) of one head."""
    if task.loss_family == "distance":
        scores = linear.numbers(features, labels).predict(unseen)
        return np.asarray(scores).reshape(-1, labels.shape[1])
    if task.loss_family == "binary_cross_entropy":
        columns = [flag_logits(features, flags, unseen, linear) for flags in labels.T]
        return np.stack(columns, axis=1)
    classes = task.head_shape[-1]
    columns = []
    for column in labels.reshape(len(labels), -1).T:
        columns.append(class_logits(features, column, unseen, classes, linear))
    return np.stack(columns, axis=1).reshape(-1, *task.head_shape)


def class_logits(
    features: Any, labels: np.ndarray, unseen: Any, classes: int, linear: Linear
) -> np.ndarray:
    """Return logits (M, C) of a logistic regression; classes that it has not seen come last."""
    # Labels below zero are of classes that the model cannot answer either.
    is_known = labels >= 0
    present = np.unique(labels[is_known])
    logits = np.full((unseen.shape[0], classes), -30.0)
    if len(present) < 2:
        logits[:, present] = 0.0
        return logits
    model = linear.classes(features[is_known], labels[is_known])
    scores = model.decision_function(unseen)
    if scores.ndim == 1:
        # Of two classes the log odds of the second.
        scores = np.stack([np.zeros_like(scores), scores], axis=1)
    logits[:, present] = scores
    return logits


def flag_logits(features: Any, flags: np.ndarray, unseen: Any, linear: Linear) -> np.ndarray:
    """Return the log odds (M,) of one flag."""
    if flags.min() == flags.max():
        return np.full(unseen.shape[0], -30.0 if flags.max() == 0 else 30.0)
    return np.asarray(linear.classes(features, flags).decision_function(unseen))


def fit_sparse_classes(features: Any, labels: np.ndarray, seed: int) -> Any:
    """Return logistic regression of n-grams (N, F), one class against the rest, fitted by SGD."""
    from sklearn.linear_model import SGDClassifier

    rows = len(labels)
    passes = int(np.clip(SGD_STEPS // rows, 4, 200))
    model = SGDClassifier(
        loss="log_loss", alpha=0.1 / max(rows, 1000), max_iter=passes, random_state=seed
    )
    return fit_in_time(model, features, labels)


def fit_sparse_numbers(features: Any, targets: np.ndarray) -> Any:
    """Return ridge regression of n-grams (N, F)."""
    from sklearn.linear_model import Ridge

    return Ridge(alpha=1.0, solver="sparse_cg", tol=1e-3).fit(features, targets)


def fit_dense_classes(features: np.ndarray, labels: np.ndarray, c: float) -> Any:
    """Return logistic regression (multinomial of more than two classes) of standardised vectors (N, H)."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=c, max_iter=PROBE_STEPS, tol=1e-3)
    return fit_in_time(model, features, labels)


def fit_dense_numbers(features: np.ndarray, targets: np.ndarray) -> Any:
    """Return ridge regression of standardised vectors (N, H), its alpha chosen leave-one-out."""
    from sklearn.linear_model import RidgeCV

    return RidgeCV(alphas=ALPHAS).fit(features, targets)


def fit_in_time(model: Any, features: Any, labels: np.ndarray) -> Any:
    """Return the model fitted in at most as many passes as it was made with."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # More passes would not make a baseline better, only dearer.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(features, labels)


def word_outputs(
    rows: Sequence[Sequence[str]],
    tags: np.ndarray,
    items: Sequence[Sequence[str]],
    classes: int,
    linear: Linear,
) -> list[np.ndarray]:
    """Return logits (words, tags) of each item, from each word, its neighbours and its ending."""
    from sklearn.feature_extraction import FeatureHasher

    hasher = FeatureHasher(n_features=2**16, input_type="string", dtype=np.float32)
    features = hasher.transform(word_features(rows))
    # As many tags as there are make a fit dear.
    kept = list(spread(range(len(tags)), len(tags), MOST_WORDS))
    features, tags = features[kept], tags[kept]
    logits = class_logits(features, tags, hasher.transform(word_features(items)), classes, linear)
    ends = np.cumsum([len(words) for words in items])[:-1]
    return np.split(logits, ends)


def word_features(rows: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    """Yield what is known of each word of each row."""
    for words in rows:
        padded = [""] * BEHIND + [word.lower() for word in words] + [""] * BEHIND
        for place, word in enumerate(words, BEHIND):
            own = padded[place]
            features = [f"ending {own[-3:]}", f"shape {word[:1].isupper()}{word.isdigit()}"]
            for offset in range(-BEHIND, BEHIND + 1):
                features.append(f"{offset} {padded[place + offset]}")
            yield features


def score_baselines(
    task: Task,
    rows: TrainingRows,
    items: Sequence[Any],
    labels: Any,
    seed: int,
) -> dict[str, Mapping[str, float]]:
    """Return the metrics of each baseline by its name.

    Args:
        task: scores them as it scores the model.
        rows: to train on.
        items: inputs of the validation rows.
        labels: of these, stacked.
        seed: of the order in which rows are seen.
    """
    # Thresholds and biases were fitted to the model, not to these.
    plain = type(task)(task.label_space)
    found: dict[str, Mapping[str, float]] = {}
    found[MAJORITY] = plain.compute_metrics(majority_outputs(plain, rows, items), labels)
    try:
        outputs = ngram_outputs(plain, rows, items, seed)
    except ValueError as error:
        # Texts of blanks and marks alone have no words.
        logger.warning("no n-gram baseline: %s", error)
        return found
    found[NGRAMS] = plain.compute_metrics(outputs, labels)
    return found
