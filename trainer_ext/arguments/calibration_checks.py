"""Checks of what is fitted on validation rows after training: calibration and rejection."""

from trainer_ext.arguments.groups import Arguments
from trainer_ext.errors import UserError
from trainer_ext.tasks import TASKS
from trainer_ext.tasks.ood_scores import OF_VECTOR


def check_calibrate(calibrate: str, task: str, do_train: bool, has_validation: bool) -> None:
    """Refuse calibration without a training before it, without rows to fit on, or for a task that has none."""
    if calibrate == "none":
        return
    if not do_train:
        raise UserError(f"calibrate {calibrate} follows a training, but do_train is false")
    if not has_validation:
        raise UserError(
            f"calibrate {calibrate} needs rows to fit on, but there is no validation_file"
        )
    if calibrate not in TASKS[task].calibrations:
        raise UserError(f"calibrate {calibrate} is not possible for the task {task}")


def check_reject(args: Arguments, has_validation: bool) -> None:
    """Refuse a rejection without a training before it, rows to fit it on or classes, and its flags without it."""
    # Before hours of training, whose end would be an error.
    reject = args.model.reject
    if reject == "none":
        for name in ("reject_rate", "ood_file"):
            if name in args.given:
                raise UserError(f"{name} {args.given[name]} has no effect: reject is none")
        return
    if not args.training.do_train:
        raise UserError(f"reject {reject} follows a training, but do_train is false")
    if not has_validation:
        raise UserError(f"reject {reject} needs rows to fit on, but there is no validation_file")
    if not TASKS[args.data.task].has_classes:
        raise UserError(
            f"reject {reject} reads the probabilities of classes, which {args.data.task} does not have"
        )
    if reject == OF_VECTOR and args.data.streaming:
        raise UserError(f"reject {reject} reads the training rows again, but streaming is true")
