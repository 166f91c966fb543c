"""The flags that this project adds to `transformers.TrainingArguments` for the run itself, or gives another default."""

from dataclasses import dataclass

from trainer_ext.arguments.fields import option
from trainer_ext.compatibility import GoneFlags

LOWER_IS_BETTER = ("loss", "mcrmse", "ece")


@dataclass
class OwnTrainingArguments(GoneFlags):
    """A part of `TrainingArguments` that needs nothing of transformers."""

    _argument_group_name = "training"

    # transformers' default is false; here a run trains unless it is told otherwise.
    do_train: bool = option(True, "Train; false evaluates the checkpoint.")
    early_stopping_patience: int = option(
        0, "Stop after this many evaluations without a better metric; 0: off.", minimum=0
    )
    # transformers' default is a Space called trackio: metrics would leave the machine unasked.
    trackio_space_id: str | None = option(
        None, "Space of the Hub for report_to trackio; by default runs stay on this machine."
    )
    run_group: str | None = option(None, "W&B group of the run.")
    run_tags: list[str] | None = option(None, "W&B tags of the run.")


def greater_is_better(metric: str) -> bool:
    """Tell whether more of a metric is better: not for losses and errors (`rmse_Syntax`).

    A column may have any name, so only the beginning of `rmse_COLUMN` is looked at.
    """
    name = metric.removeprefix("eval_")
    return name not in LOWER_IS_BETTER and not name.startswith("rmse_")
