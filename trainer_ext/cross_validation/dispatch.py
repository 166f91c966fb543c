"""Which job a command line of train asks for: evaluate a checkpoint, train one model, one of several, or all."""

import os
from pathlib import Path

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.packages import check_packages
from trainer_ext.children import COPY, end_with_parent
from trainer_ext.cross_validation.member_job import train_member
from trainer_ext.cross_validation.members import has_members, in_folder, trains_all
from trainer_ext.cross_validation.run import run_members
from trainer_ext.evaluation.checkpoint import evaluate_checkpoint
from trainer_ext.modeling.session import use_available_cores
from trainer_ext.storage import is_url
from trainer_ext.tasks import TASKS
from trainer_ext.training.job import UNCHANGED, Changes, train_alone
from trainer_ext.training.progress import library_bars


def run(args: Arguments, changes: Changes = UNCHANGED) -> dict[str, float]:
    """Train, or evaluate with `do_train false`.

    Args:
        args: as `parse` checked them.
        changes: are made to the model before it trains, if the training is in this process.

    Returns:
        What metrics.json (eval_results.json) holds; empty on other processes of a launch than the main one.
    """
    end_with_parent()
    use_available_cores()
    task = TASKS[args.data.task]
    task.check_metric(args.training.metric_for_best_model, args.data.label_columns)
    with library_bars(shown=not args.training.disable_tqdm):
        if not args.training.do_train:
            is_main = args.training.process_index == 0
            return evaluate_checkpoint(args) if is_main else {}
        check_packages(args.training)
        if trains_all(args):
            return run_members(args)
        if has_members(args):
            if is_url(args.training.output_dir):
                # The launcher has brought the folder at the URL here.
                args = in_folder(args, Path(os.environ[COPY]))
            return train_member(args, changes)
        return train_alone(args, changes)
