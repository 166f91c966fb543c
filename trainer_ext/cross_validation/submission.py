"""`trainer-ext submission FOLDER`: the test rows, predicted by all folds together.

Writes submission.csv (the id column and the label columns), and test_metrics.json when the rows are labelled. A process
of its own, so that the one that started the folds loads no model.
"""

from pathlib import Path

from tqdm import tqdm

from trainer_ext.arguments.groups import Arguments
from trainer_ext.cross_validation.tables import predicted_labels
from trainer_ext.cross_validation.test_rows import read_test_rows
from trainer_ext.data.fold_table import ROW
from trainer_ext.data.io.csv_writer import open_csv
from trainer_ext.data.provenance import DEFAULT_ID
from trainer_ext.files import write_json
from trainer_ext.inference import load_predictor


def submit(args: Arguments, models: Path, folder: Path) -> None:
    """Predict with the folder `models`, one output a row in order; with labels score the same outputs."""
    data = args.data
    size = args.training.per_device_eval_batch_size
    predictor = load_predictor(
        models,
        batch_size=size,
        file_name="model.safetensors",
        trust_remote_code=args.model.trust_remote_code,
    )
    task = predictor.task
    rows, texts, labels = read_test_rows(data, task)
    kept = []
    with open_csv(folder / "submission.csv") as writer:
        outputs = tqdm(predictor.logits_iter(texts), total=len(rows), desc="test", unit="row")
        id_column = data.id_column or (
            DEFAULT_ID if all(DEFAULT_ID in row.values for row in rows) else None
        )
        for number, (row, output) in enumerate(zip(rows, outputs, strict=True), 1):
            name = row.values[id_column] if id_column else number
            record = {id_column or ROW: name} | predicted_labels(task, output)
            writer.write_record(record)
            if labels is not None:
                kept.append(output)
    if labels is not None:
        write_json(
            folder / "test_metrics.json",
            task.compute_metrics(task.stack(kept), task.stack_labels(labels)),
        )
    print(f"submission.csv: {len(rows)} rows of {data.test_file}")
