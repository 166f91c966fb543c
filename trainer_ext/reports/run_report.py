"""What stands in the output folder beside the model: metrics, plots and the model card."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.parser import resolved_yaml
from trainer_ext.files import write_text
from trainer_ext.reports import plots
from trainer_ext.reports.tables import code_span, table
from trainer_ext.tasks import Task
from trainer_ext.tasks.figures import ConfusionMatrix, Figure, Scatter, ScoreBars


def write_plots(
    folder: Path,
    task: Task,
    history: list[dict[str, Any]],
    best_step: int | None,
    scored: dict[str, Any] | None,
) -> None:
    """`plots/learning_curves.png`, with a mark at the best step, and what the validation predictions look like."""
    plots.learning_curves(history, task.default_metric, best_step, folder / "learning_curves.png")
    if scored is None:
        return
    for figure in task.figures(scored["labels"], scored["logits"], scored["metrics"]):
        draw(figure, task.label_space.classes, folder / figure.file_name)


def draw(figure: Figure, classes: Sequence[str], path: Path) -> None:
    """Draw what a task described."""
    match figure:
        case ConfusionMatrix():
            plots.confusion_matrix(figure.true, figure.predicted, classes, path)
        case ScoreBars():
            plots.bars(figure.scores, figure.mean, figure.title, path)
        case Scatter():
            plots.scatter(figure.true, figure.predicted, figure.targets, path)


def write_model_card(
    folder: Path,
    args: Arguments,
    task: Task,
    metrics: dict[str, float],
    rows: dict[str, int],
    is_best: bool,
) -> None:
    """README.md: what the model does, how good it is, on what it was trained, how to use it."""
    space, metric = task.label_space, task.default_metric
    card_metrics = [
        (name, metrics[name])
        for name in metrics
        if name.startswith(("eval_", "test_"))
        and not name.removeprefix("eval_").removeprefix("test_").startswith("f1_macro_")
    ]
    chosen = f"the weights of the last step ({metrics['best_step']}), scored on"
    if is_best:
        by = args.training.metric_for_best_model or metric
        chosen = f"the weights of the step ({metrics['best_step']}) with the best `{by}` on"
    predicts = f"{len(space.columns)} label column(s), {len(space.classes)} {task.class_word}"
    if not space.classes:
        predicts = f"{len(space.columns)} target(s)"
    names = space.classes or space.columns
    flags, place = resolved_yaml(args).rstrip(), shlex.quote(str(folder))
    exported = shlex.quote(f"{folder}-onnx")
    slot_names = sorted({tag[2:] for tag in getattr(space, "tags", ()) if tag[2:]})
    slots = (
        f"; a tag for each word, {len(slot_names)} slots ({', '.join(map(code_span, slot_names))})"
        if slot_names
        else ""
    )
    tested = f", scored once on {rows['test']} test rows" if rows["test"] else ""
    head = f"---\nlibrary_name: trainer-ext\ntags: [{task.name}]\n---\n"
    write_text(
        folder / "README.md",
        f"""{head}
# {folder.name}

Task `{task.name}`: {predicts}
({", ".join(map(code_span, names[:20]))}{", ..." if len(names) > 20 else ""}){slots}.
Trained in {args.training.precision} on {rows["train"]} rows, {chosen}
{rows["validation"]} validation rows{tested}.

## Metrics

```text
{table(card_metrics, ["metric", "value"])}
```

All of them are in `metrics.json`; the curves and a picture of the predictions in `plots/`.

## Use

```bash
python predict.py --model {place} --text "..."
python export.py {place} --output_dir {exported} --eval_file VALIDATION_FILE
```

```python
from trainer_ext import load_predictor
load_predictor({str(folder)!r}).predict(["..."])
```

After `import trainer_ext`, `AutoModelForSequenceClassification.from_pretrained({str(folder)!r})` loads the
bare model, whose logits know nothing of a calibration.

## Configuration

```yaml
{flags}
```

`python train.py {shlex.quote(str(folder / "resolved_config.yaml"))}` trains it again.

## Limits

It knows the {"classes" if space.classes else "targets"} above and text like its training rows; on other text its
scores mean little. It inherits the biases and the licence terms of its training data and of its encoder.
""",
    )
