"""`trainer-ext submission FOLDER`: the test rows, predicted by all folds together.

Writes submission.csv (the id column and the label columns), and test_metrics.json when the rows are labelled. A process
of its own, so that the one that started the folds loads no model.
"""

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from trainer_ext.arguments.groups import Arguments
from trainer_ext.cross_validation.tables import predicted_labels
from trainer_ext.cross_validation.test_rows import read_test_rows
from trainer_ext.data.fold_table import ROW
from trainer_ext.data.io.csv_writer import open_csv
from trainer_ext.data.io.readers import Row
from trainer_ext.data.provenance import DEFAULT_ID
from trainer_ext.errors import UserError
from trainer_ext.files import write_json
from trainer_ext.inference import load_predictor


def submit(args: Arguments, models: Path, folder: Path) -> None:
    """Predict the test rows, one output a row in their order; labelled ones are scored by the same outputs.

    Args:
        args: say what the test rows are.
        models: the folder of all folds or seeds.
        folder: gets submission.csv and test_metrics.json.

    Raises:
        UserError: when the recipe names no rows to predict.
    """
    if not args.data.test_file:
        raise UserError(f"{models} was trained without a test_file: there are no rows to predict")
    predictor = load_predictor(
        models,
        batch_size=args.training.per_device_eval_batch_size,
        file_name="model.safetensors",
        trust_remote_code=args.model.trust_remote_code,
    )
    task = predictor.task
    rows, texts, labels = read_test_rows(args.data, task)
    id_column = id_column_of(rows, args.data.id_column)
    kept = []
    with open_csv(folder / "submission.csv") as writer:
        outputs = tqdm(predictor.logits_iter(texts), total=len(rows), desc="test", unit="row")
        for number, (row, output) in enumerate(zip(rows, outputs, strict=True), 1):
            name = row.values[id_column] if id_column else number
            writer.write_record({id_column or ROW: name} | predicted_labels(task, output))
            # Without labels nothing is kept: the memory does not grow with the file.
            if labels is not None:
                kept.append(output)
    if labels is not None:
        metrics = task.compute_metrics(task.stack(kept), task.stack_labels(labels))
        write_json(folder / "test_metrics.json", metrics)
    print(f"submission.csv: {len(rows)} rows of {args.data.test_file}")


def id_column_of(rows: Sequence[Row], asked: str | None) -> str | None:
    """Return the column that names the rows: the one asked for, else `id` if every row has it, else None."""
    if asked:
        return asked
    if all(DEFAULT_ID in row.values for row in rows):
        return DEFAULT_ID
    return None
