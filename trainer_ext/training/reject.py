"""`--reject`: a model that may say "I do not know" is fitted and judged after training."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from torch import nn
from tqdm import tqdm

from trainer_ext.arguments.groups import Arguments
from trainer_ext.data.dataset import inputs_and_labels
from trainer_ext.data.preprocessing.pipeline import keep_entry
from trainer_ext.errors import UserError
from trainer_ext.evaluation.reject import Judged, choose, judge
from trainer_ext.files import scratch_folder, write_json
from trainer_ext.inference.loading import load_single
from trainer_ext.inference.single import SinglePredictor
from trainer_ext.modeling.distances import ClassDistances, fit_distances
from trainer_ext.modeling.model import EncoderWithHead
from trainer_ext.modeling.session import TorchSession
from trainer_ext.reports.reject import draw_rejection
from trainer_ext.tasks import Task
from trainer_ext.tasks.ood_scores import OF_LOGITS, OF_VECTOR
from trainer_ext.tasks.outputs import ScoredRows
from trainer_ext.tasks.rejection import Rejection, distances_of
from trainer_ext.training.unlabelled import read_unlabelled

# Of reject.json, what metrics.json has, too.
METRICS = ("validation_rejected", "ood_rejected", "ood_auroc")
MOST_ROWS = 20_000  # enough for the means of classes, and a few minutes of an encoder


class Pooled(nn.Module):
    """In the place of distances: the vector itself."""

    def forward(self, vectors: Any) -> Any:
        """Return (B, W) as it is."""
        return vectors


def check_rejection_rows(args: Arguments, task: Task, validation: Dataset | None) -> None:
    """Raise `UserError` before the training if it would end without rows to fit on, or with a file nobody can read."""
    if args.model.reject == "none":
        return
    if not validation:
        raise UserError(f"reject {args.model.reject} needs validation rows, but there are none")
    if args.data.ood_file:
        read_unlabelled([args.data.ood_file], args.data, task)


def fit_rejection(
    args: Arguments,
    folder: Path,
    task: Task,
    datasets: Mapping[str, Dataset | None],
    scores: Mapping[str, ScoredRows],
) -> dict[str, float]:
    """Keep score and threshold in the checkpoint, and write reject.json and plots/reject.png; nothing if not asked to.

    Args:
        args: of the run.
        folder: of the saved model.
        task: of the model; it gets the rejection, too.
        datasets: the labelled rows by split.
        scores: by split; the threshold is fitted on `validation`.

    Returns:
        What metrics.json says of it.
    """
    wanted, rate = args.model.reject, args.model.reject_rate
    if wanted == "none":
        return {}
    predictor = load_single(
        folder,
        batch_size=args.training.per_device_eval_batch_size,
        trust_remote_code=args.model.trust_remote_code,
    )
    bar = not args.training.disable_tqdm
    model = model_of(predictor)
    if wanted in ("auto", OF_VECTOR) and knows_one_vector(args, model):
        assert datasets["train"] is not None
        model.distances = distances_to(predictor, datasets["train"], args.training.seed, bar)
    scored = scores["validation"]
    # All are judged, whichever is asked for: the report shows what another would have done.
    own = {name: task.logit_scores(scored["logits"], name) for name in OF_LOGITS}
    if model.distances is not None:
        # The validation rows were scored without distances.
        validation, _ = inputs_and_labels(datasets["validation"])
        own[OF_VECTOR] = task.ood_scores(answers(predictor, validation, bar), OF_VECTOR)
    strange = None
    if args.data.ood_file:
        texts = read_unlabelled([args.data.ood_file], args.data, task)
        outputs = answers(predictor, texts, bar)
        strange = {name: task.ood_scores(outputs, name) for name in own}
    every = judge(task, scored, own, strange, rate)
    chosen = choose(every, wanted)
    task.rejection = Rejection(chosen.score, chosen.threshold, rate)
    if chosen.score == OF_VECTOR:
        keep_distances(model, folder)
    keep_entry(folder, "rejection", task.rejection.to_dict())
    write_rejection(args, folder, chosen, every)
    found = chosen.to_dict()
    return {f"reject_{name}": found[name] for name in METRICS if name in found}


def knows_one_vector(args: Arguments, model: EncoderWithHead) -> bool:
    """Tell whether each text has one vector, and the training rows can be read again."""
    return model.config.pooling != "label_attention" and not args.data.streaming


def model_of(predictor: SinglePredictor) -> EncoderWithHead:
    """Return the model of a checkpoint that was just saved."""
    assert isinstance(predictor.session, TorchSession)
    model = predictor.session.model
    assert isinstance(model, EncoderWithHead)
    return model


def answers(predictor: SinglePredictor, texts: Sequence[Any], bar: bool) -> list[Any]:
    """Return the model's output for each text, in order."""
    found = predictor.logits_iter(texts)
    return list(tqdm(found, total=len(texts), desc="rejection", unit="row", disable=not bar))


def distances_to(
    predictor: SinglePredictor, train: Dataset, seed: int, bar: bool
) -> ClassDistances:
    """Return the distances to the means of the training rows' classes, from at most `MOST_ROWS` of them."""
    rows = train.shuffle(seed=seed).select(range(min(len(train), MOST_ROWS)))
    texts, _ = inputs_and_labels(rows)
    labels = np.asarray(rows["labels"])
    if labels.ndim > 1 or labels.dtype.kind not in "iu":
        # Several labels a row: one mean for all.
        labels = np.zeros(len(texts), dtype=int)
    model = model_of(predictor)
    model.distances = Pooled()
    outputs = answers(predictor, texts, bar)
    heads = [predictor.task.heads(output)[0] for output in outputs]
    return fit_distances(distances_of(heads), labels)


def keep_distances(model: EncoderWithHead, folder: Path) -> None:
    """Save the model again, with its distances."""
    assert isinstance(model.distances, ClassDistances)
    model.config.ood_classes = len(model.distances.means)
    with scratch_folder(folder / "distances") as beside:
        model.save_pretrained(beside)
        # Weights first: with the config as it was they are the model as it was.
        for name in ("model.safetensors", "config.json"):
            os.replace(beside / name, folder / name)


def write_rejection(args: Arguments, folder: Path, chosen: Judged, every: Sequence[Judged]) -> None:
    """Write reject.json and plots/reject.png."""
    report = {
        "chosen": chosen.score,
        "rate": args.model.reject_rate,
        "validation_rows": len(chosen.validation),
        "ood_file": args.data.ood_file,
        "ood_rows": 0 if chosen.ood is None else len(chosen.ood),
        "scores": [judged.to_dict() for judged in every],
    }
    write_json(folder / "reject.json", report)
    draw_rejection(
        chosen.score,
        chosen.threshold,
        chosen.validation,
        chosen.ood,
        {judged.score: judged.risks for judged in every},
        folder / "plots" / "reject.png",
    )
