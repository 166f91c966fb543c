"""The names of a run: its W&B name, group and tags, and the name of its artifact."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer_ext.arguments.groups import Arguments
from trainer_ext.tracking.artifacts.scores import artifact_name

MEMBER = re.compile(r"(fold|seed)-(\d+)")
LONGEST_TAG = 64


@dataclass(frozen=True)
class Identity:
    """Names of one run.

    Attributes:
        run: of the W&B run: `run_name` (else `WANDB_NAME`, else the group, else the folder), and `-fold-K`.
        group: `run_group`, else `WANDB_RUN_GROUP`, else the folder that holds the folds; None for a single run.
        artifact: `GROUP-fold-K` (`GROUP-seed-S`, `GROUP-soup`), or the name of a single run.
        member: `fold-K`, `seed-S` or `soup`; empty for a single run, and for all folds together.
    """

    run: str
    group: str | None
    artifact: str
    member: str

    @property
    def fold(self) -> int | None:
        """K of `fold-K`; None for everything else."""
        match = MEMBER.fullmatch(self.member)
        if match and match[1] == "fold":
            return int(match[2])
        return None


def identify(args: Arguments, member: str = "") -> Identity:
    """Return the names of the run that `args` describe, or of a `member` of it.

    A fold or a seed by itself is known by its flags and its folder's name.
    """
    folder = Path(args.training.output_dir).absolute()
    is_group = bool(args.folds.folds or args.folds.seeds)
    if not member and is_group and MEMBER.fullmatch(folder.name):
        member = folder.name
        folder = folder.parent
    group = args.training.run_group or os.environ.get("WANDB_RUN_GROUP")
    if is_group:
        group = group or folder.name
    suffix = f"-{member}" if member else ""
    # Not `args.training.run_name`, which Trainer fills in with the folder's name.
    run = args.given.get("run_name") or os.environ.get("WANDB_NAME")
    if not run and is_group:
        run = group
    run = run or folder.name
    # Members of a group are artifacts of the group: a name of the run may be the same for all.
    named_after = group if member and group else run
    return Identity(run + suffix, group, artifact_name(named_after, suffix), member)


def tags(args: Arguments) -> list[str]:
    """Return encoder, task and the methods that are on; then `run_tags` and `WANDB_TAGS`."""
    encoder = Path(args.model.model_name_or_path or "").name
    # By these runs are found and compared on W&B.
    own = [encoder or f"{args.model.from_scratch}-scratch", args.data.task]
    own += [name for name, is_on in methods_of(args).items() if is_on]
    own += args.training.run_tags or []
    own += [tag for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag]
    # W&B refuses longer tags.
    return list(dict.fromkeys(tag[:LONGEST_TAG] for tag in own))


def methods_of(args: Arguments) -> Mapping[str, object]:
    """Return by tag whether a method is on (any value that counts as true)."""
    training = args.training
    return {
        "focal": args.objective.focal_gamma,
        "rdrop": args.objective.rdrop_alpha,
        "class-weights": args.objective.class_weights,
        "label-smoothing": training.label_smoothing_factor,
        training.adversarial: training.adversarial != "none",
        "layer-wise-lr": training.layer_wise_lr_decay != 1,
        "ema": training.ema_decay,
    }
