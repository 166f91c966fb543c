"""The flags of what a run reports beside its model."""

from dataclasses import dataclass

from trainer_ext.arguments.fields import option

BASELINES = ("none", "ngrams", "probe")


@dataclass
class ReportArguments:
    """What is written for people to look at."""

    _argument_group_name = "report"

    write_report: bool = option(
        True, "Write report.html, report/*.csv and more plots of the validation rows."
    )
    baseline: str = option(
        "probe",
        "What the report compares the model with: ngrams, the most frequent answer and a linear model of n-grams; "
        "probe, a linear model on the frozen encoder, too, where it is cheap.",
        choices=BASELINES,
    )
    # A baseline that costs minutes would be switched off, and then compare nothing.
    baseline_rows: int = option(20_000, "Train baselines on at most this many rows.", minimum=2)
    suspects: str = option(
        "auto",
        "Write suspects.csv, the rows whose label is probably wrong; auto: if cleanlab is installed.",
        choices=("auto", "true", "false"),
    )
