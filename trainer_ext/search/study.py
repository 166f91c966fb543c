"""The study: what was tried and how good it was, in a SQLite file that the same command goes on with."""

import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, Trial, TrialState

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.own_training import greater_is_better
from trainer_ext.cross_validation.members import fold_seed
from trainer_ext.errors import UserError
from trainer_ext.files import file_sha256
from trainer_ext.runs.same_run import START_OVER
from trainer_ext.search.space import Space, distributions

DATABASE = "study.db"
NAME = "search"
IS_RECIPE = "is_recipe"  # attribute of the trial with the recipe's own values
# Folders of before are said to hold another search if one of these has changed.
CHANGES = {"space": "the space of the search", "rows": "the content of a file of rows"}

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=ExperimentalWarning)


class Study:
    """Proposes trials and takes their results; several threads may ask at a time.

    Args:
        folder: of the search, where the database lies.
        space: what is searched.
        metric: that is compared.
        seed: of the proposals: each trial has one of its own, so that a search that was cut off proposes what it would
            have proposed.
        at_a_time: how many trials run at a time.
    """

    def __init__(self, folder: Path, space: Space, metric: str, seed: int, at_a_time: int):
        self.space = space
        self.seed = seed
        self.at_a_time = at_a_time
        self.lock = threading.Lock()
        self.study = optuna.create_study(
            storage=f"sqlite:///{(folder / DATABASE).absolute()}",
            study_name=NAME,
            direction="maximize" if greater_is_better(metric) else "minimize",
            pruner=optuna.pruners.MedianPruner(),
            load_if_exists=True,
        )

    @property
    def trials(self) -> list[FrozenTrial]:
        """Return every trial that was begun."""
        waiting = (TrialState.WAITING,)
        return [trial for trial in self.study.get_trials() if trial.state not in waiting]

    @property
    def completed(self) -> list[FrozenTrial]:
        """Return the trials that have a result, best first."""
        trials = self.study.get_trials(states=(TrialState.COMPLETE,))
        sign = -1 if self.study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
        return sorted(trials, key=lambda trial: sign * value_of(trial))

    def check_same(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Keep what the search is about, or check that it is the same as before.

        Raises:
            UserError: naming what has changed.
        """
        for name, value in about.items():
            before = self.study.user_attrs.get(name)
            if before is None:
                self.study.set_user_attr(name, value)
            elif before != value:
                raise UserError(
                    f"{folder} holds another search: {CHANGES[name]} was another one. {START_OVER}"
                )

    def begin_with(self, proposed: Mapping[str, Any] | None) -> None:
        """Let the first trial be the recipe itself, so that the best one is never worse on these rows."""
        if proposed is not None and not self.study.get_trials():
            self.study.enqueue_trial(dict(proposed), user_attrs={IS_RECIPE: True})

    def remaining(self, count: int) -> Iterator[Trial]:
        """Yield trials until there are `count` in all: those that were cut off first, then new ones."""
        cut_off = self.study.get_trials(states=(TrialState.RUNNING,))
        waiting = [Trial(self.study, trial._trial_id) for trial in cut_off]
        while True:
            with self.lock:
                if waiting:
                    trial = waiting.pop(0)
                elif len(self.trials) < count:
                    trial = self.ask()
                else:
                    return
            yield trial

    def ask(self) -> Trial:
        """Return a new trial."""
        number = len(self.trials)
        # With one generator for all trials, a study that goes on would begin with the proposals of its start.
        self.study.sampler = optuna.samplers.TPESampler(
            seed=fold_seed(self.seed, number), constant_liar=self.at_a_time > 1
        )
        return self.study.ask(distributions(self.space))

    def keep(self, trial: Trial, number: int, value: float) -> bool:
        """Note an evaluation; return whether the trial should go on."""
        with self.lock:
            # Of a trial that goes on, the first ones are known.
            if number not in self.study.trials[trial.number].intermediate_values:
                trial.report(value, number)
            return not trial.should_prune()

    def tell(self, trial: Trial, value: float | None, pruned: bool = False) -> None:
        """Take a result; without one the trial was pruned, or failed."""
        state = TrialState.COMPLETE
        if value is None:
            state = TrialState.PRUNED if pruned else TrialState.FAIL
        with self.lock:
            self.study.tell(trial, value, state=state)

    def is_best(self, number: int) -> bool:
        """Return whether no trial is better than this one."""
        with self.lock:
            completed = self.completed
        return bool(completed) and completed[0].number == number


def value_of(trial: FrozenTrial) -> float:
    """Return the result of a completed trial."""
    assert trial.value is not None
    return trial.value


def rows_of(args: Arguments) -> dict[str, str]:
    """Return a hash of each file of rows, by its flag: results on other rows do not compare."""
    hashes = {}
    for name in ("train_file", "validation_file"):
        path = getattr(args.data, name)
        if path:
            hashes[name] = file_sha256(path)
    return hashes
