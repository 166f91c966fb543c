"""`trainer-ext soup FOLDER`: one model, the mean of several folds' (or seeds') weights.

Greedy soup. Source: Wortsman et al., Model soups (arXiv:2203.05482), recipe 1: from the best model on, each next one is
added to the mean when the metric on the validation rows does not fall.

Folds have trained on each other's validation rows, so the only honest rows are those of a validation_file of its own.
Averaging makes sense where the models started from the same pretrained weights; from scratch the best one stays alone.
"""

import shutil
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file

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


def mean_with(mean: Weights, count: int, other: Weights) -> Weights:
    """The mean of `count` models, and one more; what is no number to average stays the first one's."""
    return {
        name: (value.double() * count + other[name].double()).div(count + 1).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in mean.items()
    }


def greedy_soup(
    models: Sequence[Weights], scores: Sequence[float], judge, greater: bool
) -> tuple[Weights, list[int]]:
    """The soup, and which models are in it, best first.

    Args:
        models: the weights of each.
        scores: of each alone.
        judge: `judge(weights, indices)`, the score of the mean of these models.
        greater: whether a higher score is better.
    """
    order = sorted(range(len(models)), key=lambda k: -scores[k] if greater else scores[k])
    kept, soup, best = order[:1], models[order[0]], scores[order[0]]
    for k in order[1:]:
        candidate = mean_with(soup, len(kept), models[k])
        value = judge(candidate, [*kept, k])
        if value >= best if greater else value <= best:
            kept, soup, best = [*kept, k], candidate, value
    return soup, kept


def make_soup(args: Arguments, folder: Path) -> dict[str, Any]:
    """Write FOLDER/soup, a complete model, with `soup.json`: what is in it and how good it is beside the others.

    Raises:
        UserError: when the models have different vocabularies or shapes.
    """
    names, metric, greater = member_names(args), *judged_by(args)
    check_alike([folder / name for name in names])
    rows = load_rows(args.data, "validation")
    singles = {name: validation_score(folder / name, args, rows)[metric] for name in names}
    models = [load_file(folder / name / "model.safetensors") for name in names]

    with atomic_folder(folder / "soup") as stage:

        def write(weights: Weights, indices: list[int]) -> dict[str, float]:
            write_model(stage, weights, [folder / names[k] for k in indices])
            return validation_score(stage, args, rows)

        soup, kept = greedy_soup(
            models, list(singles.values()), lambda w, which: write(w, which)[metric], greater
        )
        metrics = write(soup, kept)
        together = validation_score(folder, args, rows)[metric]
        report = {
            "metric": metric,
            "judged_on": str(args.data.validation_file or f"{args.data.dataset_name}[validation]"),
            "rows": len(rows),
            "models": [names[k] for k in kept],
            "soup": metrics[metric],
            "best_model": (max if greater else min)(singles.values()),
            "mean_of_models": together,
            "single_models": singles,
        }
        note_judges(stage, args, rows)
        write_json(stage / "soup.json", report)
        write_json(
            stage / "metrics.json", {f"eval_{name}": value for name, value in metrics.items()}
        )
        write_text(
            stage / "resolved_config.yaml", yaml.safe_dump(judging_flags(args), allow_unicode=True)
        )
        write_text(stage / "README.md", f"# {folder.name}/soup\n\nA {soup_of(report['models'])}.\n")
    print(
        f"{soup_of(report['models'])}: {metric} {report['soup']:.4f} on {report['judged_on']} "
        f"(best single model {report['best_model']:.4f}, mean of all models' answers {together:.4f})"
    )
    return report


def note_judges(folder: Path, args: Arguments, rows: list[Row]) -> None:
    """Say in a soup's config which rows judged it: its first member was validated on others."""
    config = read_json(folder / "config.json")
    task = Pipeline.parse(folder / "config.json", config).task
    judged_on = build_dataset(rows, args.data, task)
    config["pipeline"]["validation_data_sha256"] = dataset_sha256(judged_on)
    write_json(folder / "config.json", config)


def soup_of(models: Sequence[str]) -> str:
    """What is in it, in words."""
    return f"soup of {', '.join(models)}" + (
        " alone, which no mean of weights reaches" if len(models) == 1 else ""
    )


def judging_flags(args: Arguments) -> dict[str, Any]:
    """Where the rows are that judged it and how they are read, which is all of the recipe that holds for a soup too."""
    names = {"validation_file", *(spec.name for spec in fields(FileOptions))}
    return {name: value for name, value in resolved(args).items() if name in names}


def judged_by(args: Arguments) -> tuple[str, bool]:
    """The metric that chose the best checkpoints (the task's own for the loss), and whether higher is better."""
    task = TASKS[args.data.task]
    name = (args.training.metric_for_best_model or "loss").removeprefix("eval_")
    return (
        (task.default_metric, task.greater_is_better)
        if name == "loss"
        else (name, args.training.greater_is_better)
    )


def validation_score(folder: Path, args: Arguments, rows: list[Row]) -> dict[str, float]:
    """Metrics of a model, or of a folder of them."""
    size = args.training.per_device_eval_batch_size
    predictor = load_predictor(
        folder,
        batch_size=size,
        file_name="model.safetensors",
        trust_remote_code=args.model.trust_remote_code,
    )
    return score(predictor, *texts_and_labels(rows, args.data.text_column, predictor.task))[
        "metrics"
    ]


def check_alike(folders: Sequence[Path]) -> None:
    """Raise `UserError` unless all models have the same vocabulary and shapes."""
    first = folders[0]
    for folder in folders[1:]:
        if (folder / "tokenizer.json").read_bytes() != (first / "tokenizer.json").read_bytes():
            raise UserError(
                f"soup: {folder.name} and {first.name} have different vocabularies (from_scratch trains one per fold): "
                "start all from the same pretrained encoder"
            )
        if (
            read_json(folder / "config.json")["encoder"]
            != read_json(first / "config.json")["encoder"]
        ):
            raise UserError(f"soup: {folder.name} and {first.name} have different encoders")


def write_model(folder: Path, weights: Weights, members: Sequence[Path]) -> None:
    """The first member's folder with these weights, and the mean of the members' head scales."""
    folder.mkdir(exist_ok=True)
    for path in members[0].iterdir():
        if (
            path.is_file()
            and path.suffix in (".json", ".txt", ".model")
            and path.name != "history.json"
        ):
            shutil.copy(path, folder / path.name)
    config = read_json(members[0] / "config.json")
    for name in SCALES:
        if config.get(name) is not None:
            config[name] = np.mean(
                [read_json(path / "config.json")[name] for path in members], axis=0
            ).tolist()
    write_json(folder / "config.json", config)
    save_file(
        {name: tensor.contiguous() for name, tensor in weights.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    share_weights(folder)
