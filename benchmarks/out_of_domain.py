"""Compare out-of-domain scores on a checkpoint: `python benchmarks/out_of_domain.py --model DIR --ood_file FILE ...`.

Those that `--reject` offers: two of the logits, and the Mahalanobis distance of the pooled vector to the nearest class
mean of the training rows. Beside them the distance in the space of the logits, which would need no second output.

AUROC: the probability that a text of the other domain has a higher score than a validation row. FPR95: the share of
texts of the other domain that are answered where 95% of the validation rows are.
"""

import argparse
from collections.abc import Sequence

import numpy as np
import torch

from trainer_ext.data.io.readers import read_rows
from trainer_ext.evaluation.reject import auroc, false_answers
from trainer_ext.inference.loading import load_single
from trainer_ext.inference.single import SinglePredictor
from trainer_ext.modeling.distances import fit_distances
from trainer_ext.tables import table
from trainer_ext.tasks.ood_scores import OF_LOGITS
from trainer_ext.tasks.rejection import distances_of
from trainer_ext.training.reject import Pooled


def texts_of(path: str, column: str) -> list[str]:
    """Return the texts of a file; of one without columns its lines."""
    texts = []
    for row in read_rows(path):
        texts.append(str(row.values.get(column, row.values.get("text"))))
    return texts


def labelled(path: str, text: str, label: str) -> tuple[list[str], np.ndarray]:
    """Return the texts and labels of a file."""
    rows = [row.values for row in read_rows(path)]
    return [row[text] for row in rows], np.array([row[label] for row in rows])


def logits_and_vectors(
    predictor: SinglePredictor, texts: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return logits (N, C) and pooled vectors (N, W)."""
    predictor.session.model.distances = Pooled()
    outputs = list(predictor.logits_iter(texts))
    return np.stack(outputs), distances_of(outputs)


def distances_between(
    train: np.ndarray, labels: np.ndarray, own: np.ndarray, ood: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances (N,) and (M,) of two sets of vectors to the class means of the training rows."""
    distances = fit_distances(train, labels)
    with torch.no_grad():
        near, far = (distances(torch.from_numpy(vectors))[:, 0].numpy() for vectors in (own, ood))
    return near, far


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="checkpoint of a single-label model")
    parser.add_argument("--train_file", required=True)
    parser.add_argument("--validation_file", required=True)
    parser.add_argument("--ood_file", required=True)
    parser.add_argument("--text_column", default="text")
    parser.add_argument("--label_column", default="label")
    args = parser.parse_args()
    predictor = load_single(args.model)
    train, labels = labelled(args.train_file, args.text_column, args.label_column)
    validation, _ = labelled(args.validation_file, args.text_column, args.label_column)
    strange = texts_of(args.ood_file, args.text_column)
    train_logits, train_vectors = logits_and_vectors(predictor, train)
    own_logits, own_vectors = logits_and_vectors(predictor, validation)
    ood_logits, ood_vectors = logits_and_vectors(predictor, strange)
    scores = {}
    for name in OF_LOGITS:
        own = predictor.task.logit_scores(own_logits, name)
        scores[name] = (own, predictor.task.logit_scores(ood_logits, name))
    scores["mahalanobis, logits"] = distances_between(train_logits, labels, own_logits, ood_logits)
    scores["mahalanobis, pooled vector"] = distances_between(
        train_vectors, labels, own_vectors, ood_vectors
    )
    rows = []
    for name, (own, ood) in scores.items():
        rows.append([name, auroc(own, ood), false_answers(own, ood)])
    print(f"{len(validation)} validation rows, {len(strange)} texts of another domain\n")
    print(table(rows, ["score", "AUROC", "FPR95"]))


if __name__ == "__main__":
    main()
