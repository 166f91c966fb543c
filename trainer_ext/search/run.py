"""A search from its space to the best recipe: OUTPUT_DIR/trial-0, trial-1, ..., study.db, best_recipe.yaml, plots."""

import logging
import shutil
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, Trial

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.parser import resolved, write_resolved
from trainer_ext.cross_validation.launchers.base import Launcher, Training, end
from trainer_ext.cross_validation.launchers.choose import check_launcher_installed, open_launcher
from trainer_ext.cross_validation.side_by_side import error_in, last_lines, size_of
from trainer_ext.errors import RunError, UserError
from trainer_ext.files import check_folder, write_json
from trainer_ext.runs.checkpoints import checkpoints
from trainer_ext.runs.output_dir import (
    check_may_be_cleared,
    check_not_foreign,
    clear,
    is_ours,
    locked,
    mark,
)
from trainer_ext.runs.same_run import check_same_run
from trainer_ext.search.pictures import PICTURES, draw
from trainer_ext.search.report import REPORT, content_of, print_result
from trainer_ext.search.space import (
    Space,
    check_values,
    default_proposal,
    flag_values,
    name_of,
    read_space,
)
from trainer_ext.search.study import DATABASE, Study, rows_of
from trainer_ext.search.tracking import log_search
from trainer_ext.search.trial import (
    job_of,
    recipe_of,
    remove_checkpoints,
    remove_models,
    run_trial,
    scores_of,
    write_recipe,
)
from trainer_ext.tasks import TASKS

BEST = "best_recipe.yaml"
WRITTEN = ("resolved_config.yaml", BEST, REPORT, DATABASE, *PICTURES)

logger = logging.getLogger(__name__)


def run_search(args: Arguments) -> dict[str, float]:
    """Run the trials that are missing, then write down the best recipe and how the search went.

    Returns:
        `eval_*` of the best trial, and `test_*` if there are test rows.

    Raises:
        UserError: for a bad space, for a folder that holds another run, and if there is no cluster.
        RunError: if no trial has a result.
    """
    if args.training.world_size > 1:
        raise UserError(
            "a search starts its own processes: run it without torchrun or accelerate launch"
        )
    check_launcher_installed(args)
    path = args.folds.search
    assert path is not None
    space = read_space(path, bool(args.data.validation_split or args.folds.folds))
    recipe = base_recipe(args)
    check_values(path, space, recipe)
    folder = Path(args.training.output_dir)
    check_folder("output_dir", folder)
    with locked(folder):
        take_folder(args, folder)
        with open_launcher(args, args.folds.search_trials) as launcher:
            at_a_time = trials_at_a_time(args, launcher)
            search = Search(args, folder, space, at_a_time)
            search.study.check_same(folder, {"space": described(space), "rows": rows_of(args)})
            search.study.begin_with(default_proposal(space, recipe))
            search.run(launcher)
        return write_results(args, folder, search)


def base_recipe(args: Arguments) -> dict[str, Any]:
    """Return the recipe without the search."""
    recipe = resolved(args)
    for name in ("search", "search_trials"):
        recipe.pop(name, None)
    return recipe


def described(space: Space) -> dict[str, str]:
    """Return the space as text, to compare with that of a search that goes on."""
    return {name: str(values) for name, values in space.items()}


def trials_at_a_time(args: Arguments, launcher: Launcher) -> int:
    """Return how many trials run side by side."""
    if args.folds.launcher == "process" and (args.folds.folds or args.folds.seeds):
        # The models of one trial are trained side by side then.
        return 1
    return min(launcher.slots, args.folds.search_trials)


def take_folder(args: Arguments, folder: Path) -> None:
    """Take the folder for this search: new, of the same search, or cleared with `overwrite_output_dir`.

    Raises:
        UserError: when it holds another run, or what no run has written.
    """
    check_not_foreign(folder, WRITTEN)
    if args.training.overwrite_output_dir and is_ours(folder):
        check_may_be_cleared(folder)
        clear(folder)
        for trial in folder.glob("trial-*"):
            shutil.rmtree(trial)
    if (folder / "config.json").exists() or checkpoints(folder):
        raise UserError(
            f"output_dir {folder} already holds a run of one model: give another folder"
        )
    check_same_run(folder, resolved(args))
    mark(folder, WRITTEN)
    write_resolved(args, folder)


class Search:
    """The trials of a search.

    Args:
        args: of the search.
        folder: where each trial has its own.
        space: what is searched.
        at_a_time: how many trials run side by side.
    """

    def __init__(self, args: Arguments, folder: Path, space: Space, at_a_time: int):
        self.args = args
        self.folder = folder
        self.space = space
        self.at_a_time = at_a_time
        self.metric = metric_of(args)
        self.study = Study(folder, space, self.metric, args.training.seed, at_a_time)
        self.stop = threading.Event()
        self.running: list[Training] = []
        # Finished trials are compared, and the worse one removed, one at a time.
        self.tidying = threading.Lock()

    def run(self, launcher: Launcher) -> None:
        """Run the trials that are missing."""
        trials = self.study.remaining(self.args.folds.search_trials)
        taking = threading.Lock()

        def work() -> None:
            while not self.stop.is_set():
                # A generator can be asked by one thread at a time.
                with taking:
                    trial = next(trials, None)
                if trial is None:
                    return
                self.run_one(trial, launcher)

        with ThreadPoolExecutor(self.at_a_time) as pool:
            workers = [pool.submit(work) for _ in range(self.at_a_time)]
            try:
                for worker in workers:
                    worker.result()
            except BaseException:
                # Ctrl-C too: trials that go on would hold their folders.
                self.stop.set()
                end(self.running)
                raise

    def run_one(self, trial: Trial, launcher: Launcher) -> None:
        """Train with what was proposed, and tell the study how good it is."""
        name = f"trial-{trial.number}"
        values = flag_values(self.space, trial.params)
        shown = ", ".join(f"{flag} {shown_value(value)}" for flag, value in values.items())
        logger.info("%s: %s", name, shown)
        try:
            job = job_of(self.args, values, self.folder / name)
        except UserError as error:
            # Each value is possible, but not beside these others.
            logger.warning("%s cannot be trained: %s", name, error)
            self.study.tell(trial, None)
            return

        def keep(number: int, value: float) -> bool:
            return self.study.keep(trial, number, value)

        begin = size_of(job.log)
        ended = run_trial(job, launcher, self.args, self.metric, keep, self.running)
        if self.stop.is_set():
            return
        if ended.status == UserError.status and not self.study.completed:
            # Bad rows, which no other values mend. The trial is not over: the same command begins with it.
            raise UserError(f"{name}: {error_in(job.log, begin)}")
        if ended.status and not ended.pruned:
            log_failure(name, ended.status, job.log, begin)
            self.study.tell(trial, None)
        elif ended.pruned:
            logger.info("%s: pruned, others were better after as many evaluations", name)
            self.study.tell(trial, None, pruned=True)
        else:
            value = scores_of(job.folder, self.args)[f"eval_{self.metric}"]
            logger.info("%s: %s %.4f", name, self.metric, value)
            self.study.tell(trial, value)
        self.tidy(trial.number)

    def tidy(self, number: int) -> None:
        """Keep the model of the best trial only: twenty of them with their checkpoints would fill a disk."""
        with self.tidying:
            remove_checkpoints(self.folder / f"trial-{number}")
            completed = self.study.completed
            best = completed[0].number if completed else None
            finished = [trial.number for trial in completed]
            for other in {*finished, number} - {best}:
                remove_models(self.folder / f"trial-{other}")


def shown_value(value: Any) -> str:
    """Return a value of a flag for the log."""
    return f"{value:.4g}" if isinstance(value, float) else name_of(value)


def log_failure(name: str, status: int, log: Path, begin: int) -> None:
    """Say why a trial has no result: it goes on without it."""
    if status == UserError.status:
        logger.warning("%s cannot be trained: %s", name, error_in(log, begin))
        return
    logger.error("%s FAILED; last lines of %s:\n%s", name, log, last_lines(log))


def metric_of(args: Arguments) -> str:
    """Return the metric that trials are compared by."""
    name = args.training.metric_for_best_model or TASKS[args.data.task].default_metric
    return str(name).removeprefix("eval_")


def write_results(args: Arguments, folder: Path, search: Search) -> dict[str, float]:
    """Write the best recipe, the table of trials and the pictures."""
    completed = search.study.completed
    if not completed:
        raise RunError(
            f"no trial has a result (see the train.log of each in {folder}); the same command with more "
            "--search_trials goes on"
        )
    best = completed[0]
    values = flag_values(search.space, best.params)
    write_recipe(folder / BEST, recipe_of(args, values, folder / "best"))
    scores = {trial.number: trial_scores(folder, args, trial) for trial in completed}
    content = content_of(search.study.trials, best, search.metric, scores)
    write_json(folder / REPORT, content)
    draw(search.study.study, folder / "plots", search.metric)
    log_search(args, content, [folder / name for name in PICTURES])
    print_result(content, folder, folder / BEST)
    return dict(scores[best.number])


def trial_scores(folder: Path, args: Arguments, trial: FrozenTrial) -> Mapping[str, float]:
    """Return what a completed trial scored."""
    return scores_of(folder / f"trial-{trial.number}", args)
