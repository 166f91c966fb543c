"""`trainer-ext soup FOLDER`: one model, the mean of several folds' (or seeds') weights.

Greedy soup. Source: Wortsman et al., Model soups (arXiv:2203.05482), recipe 1: from the best model on, each next one is
added to the mean when the metric on the validation rows does not fall.

Folds have trained on each other's validation rows, so the only honest rows are those of a validation_file of its own.
Averaging makes sense where the models started from the same pretrained weights; from scratch the best one stays alone.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file

from trainer_ext.arguments.data import DataArguments
from trainer_ext.arguments.files import FileOptions
from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.parser import resolved
from trainer_ext.cross_validation.members import member_names
from trainer_ext.data.dataset import build_dataset, dataset_sha256, load_rows
from trainer_ext.data.io.readers import Row
from trainer_ext.data.labelled import texts_and_labels
from trainer_ext.data.preprocessing.pipeline import Pipeline
from trainer_ext.errors import UserError
from trainer_ext.evaluation.scoring import score
from trainer_ext.files import atomic_folder, read_json, share_weights, write_json, write_text
from trainer_ext.inference import load_predictor
from trainer_ext.tasks import TASKS

Weights = dict[str, torch.Tensor]
SCALES = ("logit_mean", "logit_scale")  # of a regression head, in its config; each fold has its own


class SoupReport(TypedDict):
    """The content of soup.json: what is in a soup, and how good it is beside the models it is made of.

    Attributes:
        metric: which chose the models.
        judged_on: where the rows are that judged them.
        rows: their number.
        models: in the soup, best first.
        soup: the metric of the soup.
        best_model: of the best single model.
        mean_of_models: of all models' answers together.
        single_models: of each model.
    """

    metric: str
    judged_on: str
    rows: int
    models: list[str]
    soup: float
    best_model: float
    mean_of_models: float
    single_models: dict[str, float]


def mean_with(mean: Weights, count: int, other: Weights) -> Weights:
    """Return the mean of `count` models and one more; what is not a float (ids, masks) stays the first one's."""
    sums = {}
    for name, value in mean.items():
        sums[name] = value
        if value.is_floating_point():
            # In double: in half precision a mean of many models would round at each step.
            sum_of_all = value.double() * count + other[name].double()
            sums[name] = sum_of_all.div(count + 1).to(value.dtype)
    return sums


def greedy_soup(
    models: Sequence[Weights],
    scores: Sequence[float],
    judge: Callable[[Weights, list[int]], float],
    greater: bool,
) -> tuple[Weights, list[int]]:
    """Return the soup, and which models are in it, best first.

    Args:
        models: the weights of each.
        scores: of each alone.
        judge: `judge(weights, indices)`, the score of the mean of these models.
        greater: whether a higher score is better.
    """
    sign = 1 if greater else -1
    order = sorted(range(len(models)), key=lambda k: -sign * scores[k])
    kept = order[:1]
    soup, best = models[kept[0]], scores[kept[0]]
    for k in order[1:]:
        candidate = mean_with(soup, len(kept), models[k])
        value = judge(candidate, [*kept, k])
        # Recipe 1 of the paper: one that changes nothing is added, too.
        if sign * value >= sign * best:
            kept.append(k)
            soup, best = candidate, value
    return soup, kept


def make_soup(args: Arguments, folder: Path) -> SoupReport:
    """Write FOLDER/soup, a complete model, with `soup.json`: what is in it and how good it is beside the others.

    Raises:
        UserError: when the folder holds a single run, or the models have different vocabularies or shapes.
    """
    names = member_names(args)
    if not names:
        raise UserError(f"{folder} holds one run: a soup is made of the folds or seeds in a folder")
    metric, greater = judged_by(args)
    check_alike([folder / name for name in names])
    rows = load_rows(args.data, "validation")
    singles: dict[str, float] = {}
    models: list[Weights] = []
    for name in names:
        singles[name] = validation_score(folder / name, args, rows)[metric]
        models.append(load_file(folder / name / "model.safetensors"))
    with atomic_folder(folder / "soup") as stage:

        def write(weights: Weights, indices: list[int]) -> dict[str, float]:
            write_model(stage, weights, [folder / names[k] for k in indices])
            return validation_score(stage, args, rows)

        def judge(weights: Weights, indices: list[int]) -> float:
            return write(weights, indices)[metric]

        soup, kept = greedy_soup(models, list(singles.values()), judge, greater)
        # Again: the last candidate that was written may have been left out.
        metrics = write(soup, kept)
        report: SoupReport = {
            "metric": metric,
            "judged_on": validation_place(args.data),
            "rows": len(rows),
            "models": [names[k] for k in kept],
            "soup": metrics[metric],
            "best_model": max(singles.values()) if greater else min(singles.values()),
            "mean_of_models": validation_score(folder, args, rows)[metric],
            "single_models": singles,
        }
        write_beside(stage, args, rows, report, metrics, f"{folder.name}/soup")
    print_result(report)
    return report


def validation_place(data: DataArguments) -> str:
    """Say where the validation rows are: a file, a split of a hub data set, or a share of the training rows."""
    if data.validation_file:
        return str(data.validation_file)
    if data.validation_split:
        return f"validation_split {data.validation_split} of {data.train_file or data.dataset_name}"
    return f"{data.dataset_name}[validation]"


def print_result(report: SoupReport) -> None:
    """Print what the soup is made of, and how good it is beside the models."""
    print(
        f"{describe(report['models'])}: "
        f"{report['metric']} {report['soup']:.4f} on {report['judged_on']} "
        f"(best single model {report['best_model']:.4f}, "
        f"mean of all models' answers {report['mean_of_models']:.4f})"
    )


def write_beside(
    folder: Path,
    args: Arguments,
    rows: list[Row],
    report: SoupReport,
    metrics: dict[str, float],
    title: str,
) -> None:
    """Write what belongs beside the weights: report, metrics, the flags that hold for a soup, and a card."""
    record_judges(folder, args, rows)
    write_json(folder / "soup.json", report)
    of_validation = {f"eval_{name}": value for name, value in metrics.items()}
    write_json(folder / "metrics.json", of_validation)
    flags = yaml.safe_dump(judging_flags(args), allow_unicode=True)
    write_text(folder / "resolved_config.yaml", flags)
    content = describe(report["models"])
    write_text(folder / "README.md", f"# {title}\n\nA {content}.\n")


def record_judges(folder: Path, args: Arguments, rows: list[Row]) -> None:
    """Record in the soup's config which rows judged it: those of its first member, copied with it, are others."""
    config = read_json(folder / "config.json")
    task = Pipeline.parse(folder / "config.json", config).task
    judged_on = build_dataset(rows, args.data, task)
    config["pipeline"]["validation_data_sha256"] = dataset_sha256(judged_on)
    write_json(folder / "config.json", config)


def describe(models: Sequence[str]) -> str:
    """Return in words what is in a soup."""
    alone = " alone, which no mean of weights reaches" if len(models) == 1 else ""
    return f"soup of {', '.join(models)}{alone}"


def judging_flags(args: Arguments) -> dict[str, Any]:
    """Return where the judging rows are and how they are read: all of the recipe that holds for a soup, too."""
    values = resolved(args)
    names = ["validation_file", *(spec.name for spec in fields(FileOptions))]
    return {name: values[name] for name in names if name in values}


def judged_by(args: Arguments) -> tuple[str, bool]:
    """Return the metric that chose the best checkpoints, and whether higher is better.

    A soup has no training loss: for checkpoints chosen by `loss` it is the task's own metric.
    """
    name = (args.training.metric_for_best_model or "loss").removeprefix("eval_")
    if name == "loss":
        task = TASKS[args.data.task]
        return task.default_metric, task.greater_is_better
    return name, args.training.greater_is_better


def validation_score(folder: Path, args: Arguments, rows: list[Row]) -> dict[str, float]:
    """Return the metrics of a model, or of a folder of them."""
    predictor = load_predictor(
        folder,
        batch_size=args.training.per_device_eval_batch_size,
        file_name="model.safetensors",
        trust_remote_code=args.model.trust_remote_code,
    )
    texts, labels = texts_and_labels(rows, args.data.text_column, predictor.task)
    return score(predictor, texts, labels)["metrics"]


def check_alike(folders: Sequence[Path]) -> None:
    """Raise `UserError` unless all models have the same vocabulary and shapes."""
    first = folders[0]
    for folder in folders[1:]:
        if (folder / "tokenizer.json").read_bytes() != (first / "tokenizer.json").read_bytes():
            raise UserError(
                f"soup: {folder.name} and {first.name} have different vocabularies (from_scratch trains one per fold): "
                "start all from the same pretrained encoder"
            )
        encoder = read_json(folder / "config.json")["encoder"]
        if encoder != read_json(first / "config.json")["encoder"]:
            raise UserError(f"soup: {folder.name} and {first.name} have different encoders")


def write_model(folder: Path, weights: Weights, members: Sequence[Path]) -> None:
    """Write a model: the first member's files with these weights, and the mean of the members' head scales."""
    folder.mkdir(exist_ok=True)
    for path in members[0].iterdir():
        # Configuration and tokenizer; history.json is of one member's training.
        if path.suffix not in (".json", ".txt", ".model") or path.name == "history.json":
            continue
        if path.is_file():
            shutil.copy(path, folder / path.name)
    configs = [read_json(path / "config.json") for path in members]
    config = dict(configs[0])
    for name in SCALES:
        if config.get(name) is not None:
            scales = [each[name] for each in configs]
            config[name] = np.mean(scales, axis=0).tolist()
    write_json(folder / "config.json", config)
    # safetensors refuses tensors that are views of others.
    tensors = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    share_weights(folder)
