"""The table of scores and the model card of a folder of folds or seeds."""

import shlex
from pathlib import Path
from typing import Any

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.parser import resolved_yaml
from trainer_ext.files import write_text
from trainer_ext.reports.tables import table

MOST_COLUMNS = 8  # models side by side on the screen


def summary_table(summary: dict[str, Any]) -> str:
    """Metrics by model (when they are few), mean, standard deviation and all models together."""
    together = next(name for name in ("oof", "ensemble") if name in summary)
    models = summary.get("folds") or summary["seeds"]
    shown = models if len(models) <= MOST_COLUMNS else {}
    parts = {**shown, "mean": summary["mean"], "std": summary["std"], together: summary[together]}
    if "test" in summary:
        parts["test"] = summary["test"]
    names = [
        name
        for name in summary["mean"]
        if not name.startswith(("f1_", "test_")) or is_mean_f1(name)
    ]
    names.sort(key=lambda name: name != summary["metric"])  # the metric itself first
    rows = [[name, *(parts[part].get(name, "") for part in parts)] for name in names]
    return table(rows, ["metric", *parts])


def is_mean_f1(name: str) -> bool:
    """Whether an F1 is one over classes, not of a single one."""
    return name in ("f1_macro", "f1_micro")


def write_card(folder: Path, args: Arguments, summary: dict[str, Any]) -> None:
    """README.md: what the models are, how good, how to use them together."""
    by_seeds = "seeds" in summary
    flags, place = resolved_yaml(args).rstrip(), shlex.quote(str(folder))
    exported = shlex.quote(f"{folder}-onnx")
    if by_seeds:
        what = f"{len(summary['seeds'])} models of one recipe that differ in their seed"
        joined = "`ensemble`: all models together on the validation rows, row by row in `validation.csv`."
        weights = "fitted on the validation rows"
    else:
        made = summary["made"]
        what = f"{len(summary['folds'])} models of one recipe, {made['folds']} folds (`{made['fold_strategy']}`)"
        joined = (
            "`oof`: all rows, each predicted by models that were not trained on it (`oof.csv`)."
        )
        weights = "1 / loss of each model on its own fold"
    soup = summary.get("soup")
    if soup:
        joined += (
            f"\n`soup/` is one model, a greedy mean of the weights of {', '.join(soup['models'])}: {soup['metric']} "
            f"{soup['soup']:.4f} on\n{soup['judged_on']}, where the best single model has {soup['best_model']:.4f} and "
            f"all models together {soup['mean_of_models']:.4f}."
        )
    one = next(iter(summary["seeds" if by_seeds else "folds"]))
    kind, number = one.split("-")
    write_text(
        folder / "README.md",
        f"""---
library_name: trainer-ext
tags: [{args.data.task}]
---

# {folder.name}

{what}, task `{args.data.task}`, {summary["validated_rows"]} validated rows.

```text
{summary_table(summary)}
```

{joined} Each model chose its best checkpoint on the rows it is scored on,
which favours it a little. The curves are in `plots/`, every number in `cv.json`.

## Use

```bash
python predict.py --model {place} --text "..."    # all models, mean of their probabilities
python predict.py --model {place} --ensemble weighted --text "..."
python predict.py --model {shlex.quote(str(folder / one))} --text "..."    # one of them
python export.py {place} --output_dir {exported}    # each through the gate; then --model {exported}
```

The weights of `weighted` are {weights}.

`python train.py {shlex.quote(str(folder / "resolved_config.yaml"))}` trains all again (what is finished is kept),
with `--{kind if kind == "fold" else "seeds"} {number}` one of them.

## Configuration

```yaml
{flags}
```
""",
    )
