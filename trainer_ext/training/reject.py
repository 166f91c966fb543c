"""`--reject`: a model that may say "I do not know" is fitted and judged after training."""

from collections.abc import Mapping
from pathlib import Path

from datasets import Dataset

from trainer_ext.arguments.groups import Arguments
from trainer_ext.errors import UserError
from trainer_ext.evaluation.reject import judge_all
from trainer_ext.files import read_json, write_json
from trainer_ext.inference.loading import load_single
from trainer_ext.reports.reject import draw_rejection
from trainer_ext.tasks import Task
from trainer_ext.tasks.outputs import ScoredRows
from trainer_ext.tasks.rejection import Rejection
from trainer_ext.training.unlabelled import read_unlabelled

# Of reject.json, what metrics.json has, too.
METRICS = ("validation_rejected", "ood_rejected", "ood_auroc")


def check_rejection_rows(args: Arguments, task: Task, validation: Dataset | None) -> None:
    """Raise `UserError` before the training if it would end without rows to fit on, or with a file nobody can read."""
    if args.model.reject == "none":
        return
    if not validation:
        raise UserError(f"reject {args.model.reject} needs validation rows, but there are none")
    if args.data.ood_file:
        read_unlabelled([args.data.ood_file], args.data, task)


def fit_rejection(
    args: Arguments,
    folder: Path,
    task: Task,
    scores: Mapping[str, ScoredRows],
) -> dict[str, float]:
    """Keep score and threshold in the checkpoint, and write reject.json and plots/reject.png; nothing if not asked to.

    Args:
        args: of the run.
        folder: of the saved model.
        task: of the model; it gets the rejection, too.
        scores: by split; the threshold is fitted on `validation`.

    Returns:
        What metrics.json says of it.
    """
    if args.model.reject == "none":
        return {}
    scored = scores["validation"]
    texts = None
    ood_logits = None
    if args.data.ood_file:
        texts = read_unlabelled([args.data.ood_file], args.data, task)
        predictor = load_single(
            folder,
            batch_size=args.training.per_device_eval_batch_size,
            trust_remote_code=args.model.trust_remote_code,
        )
        ood_logits = predictor.logits(texts)
    rate = args.model.reject_rate
    chosen, every = judge_all(task, scored, ood_logits, args.model.reject, rate)
    task.rejection = Rejection(chosen.score, chosen.threshold, rate)
    # The file itself is changed, as calibrating does: transformers keeps keys in it that our config does not have.
    path = folder / "config.json"
    config = read_json(path)
    config["pipeline"]["rejection"] = task.rejection.to_dict()
    write_json(path, config)
    report = {
        "chosen": chosen.score,
        "rate": rate,
        "validation_rows": len(chosen.validation),
        "ood_file": args.data.ood_file,
        "ood_rows": 0 if texts is None else len(texts),
        "scores": [judged.to_dict() for judged in every],
    }
    write_json(folder / "reject.json", report)
    draw_rejection(
        chosen.score,
        chosen.threshold,
        chosen.validation,
        chosen.ood,
        {judged.score: judged.risks for judged in every},
        folder / "plots" / "reject.png",
    )
    found = chosen.to_dict()
    return {f"reject_{name}": found[name] for name in METRICS if name in found}
