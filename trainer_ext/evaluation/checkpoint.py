"""`train.py --do_train false`: score a checkpoint that is there on the validation and test rows."""

from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any

from trainer_ext.arguments.data import DataArguments
from trainer_ext.arguments.groups import Arguments
from trainer_ext.data.dataset import build_dataset, inputs_and_labels, load_rows, rows_kept_back
from trainer_ext.data.io.readers import Row
from trainer_ext.data.preprocessing.pipeline import Pipeline
from trainer_ext.evaluation.scoring import score
from trainer_ext.files import write_json
from trainer_ext.inference import Predictor, load_predictor
from trainer_ext.reports.tables import metrics_table


def evaluate_checkpoint(args: Arguments) -> dict[str, float]:
    """Score the checkpoint, print the metrics, and write them to eval_results.json.

    Raises:
        UserError: for a checkpoint of another task, columns that do not fit it, and rows that it may have been trained
            on.
    """
    folder = Path(args.model.model_name_or_path or args.training.output_dir)
    predictor = load_predictor(
        folder,
        batch_size=args.training.per_device_eval_batch_size,
        file_name="model.safetensors",
        trust_remote_code=args.model.trust_remote_code,
        task=args.given.get("task"),
    )
    pipeline = columns_of_files(predictor.pipeline, args.given)
    task = pipeline.task
    data = copy(args.data)
    data.task = task.name
    data.text_column = pipeline.text_column
    data.label_columns = list(task.label_columns)
    metrics = {}
    for split, prefix in (("validation", "eval"), ("test", "test")):
        rows = rows_to_score(data, split, predictor)
        if not rows:
            continue
        dataset = build_dataset(rows, data, task)
        shows_bar = not args.training.disable_tqdm
        scored = score(predictor, *inputs_and_labels(dataset), split, shows_bar)
        for name, value in scored["metrics"].items():
            metrics[f"{prefix}_{name}"] = value
    path = Path(args.training.output_dir) / "eval_results.json"
    write_json(path, metrics)
    print(f"\n{metrics_table(metrics)}\n\nWritten to {path}")
    return metrics


def columns_of_files(pipeline: Pipeline, given: Mapping[str, Any]) -> Pipeline:
    """Return the pipeline with the columns that the flags name; a checkpoint knows those of its training."""
    return pipeline.with_columns(given.get("text_column"), given.get("label_columns"))


def rows_to_score(data: DataArguments, split: str, predictor: Predictor) -> list[Row]:
    """Return the rows of a split; of the checkpoint's own training file only those it was not trained on."""
    if split == "validation" and data.validation_split:
        return rows_kept_back(data, predictor.task, predictor.pipeline.train_data_sha256)
    return load_rows(data, split)
