"""`train.py --do_train false`: score a checkpoint that is there on the validation and test rows."""

from pathlib import Path

from trainer_ext.arguments.data import DataArguments
from trainer_ext.arguments.groups import Arguments
from trainer_ext.data.dataset import build_dataset, inputs_and_labels, load_rows, rows_kept_back
from trainer_ext.data.io.readers import Row
from trainer_ext.errors import UserError
from trainer_ext.evaluation.scoring import score
from trainer_ext.files import write_json
from trainer_ext.inference import Predictor, load_predictor
from trainer_ext.reports.tables import metrics_table


def evaluate_checkpoint(args: Arguments) -> dict[str, float]:
    """Score the checkpoint, print the metrics, and write them to eval_results.json.

    Raises:
        UserError: for a checkpoint of another task, and for rows that it may have been trained on.
    """
    folder = Path(args.model.model_name_or_path or args.training.output_dir)
    predictor = load_predictor(
        folder,
        batch_size=args.training.per_device_eval_batch_size,
        file_name="model.safetensors",
        trust_remote_code=args.model.trust_remote_code,
    )
    task = predictor.task
    if task.name != args.data.task:
        raise UserError(f"{folder} is a model for {task.name}, but the task is {args.data.task}")
    metrics = {}
    for split, prefix in (("validation", "eval"), ("test", "test")):
        rows = rows_to_score(args.data, split, predictor)
        if not rows:
            continue
        dataset = build_dataset(rows, args.data, task)
        shows_bar = not args.training.disable_tqdm
        scored = score(predictor, *inputs_and_labels(dataset), split, shows_bar)
        for name, value in scored["metrics"].items():
            metrics[f"{prefix}_{name}"] = value
    path = Path(args.training.output_dir) / "eval_results.json"
    write_json(path, metrics)
    print(f"\n{metrics_table(metrics)}\n\nWritten to {path}")
    return metrics


def rows_to_score(data: DataArguments, split: str, predictor: Predictor) -> list[Row]:
    """Return the rows of a split; of the checkpoint's own training file only those it was not trained on."""
    if split == "validation" and data.validation_split:
        return rows_kept_back(data, predictor.task, predictor.pipeline.train_data_sha256)
    return load_rows(data, split)
