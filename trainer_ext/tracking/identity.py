"""What a run is called: its W&B name, group and tags, and the name of its artifact."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from trainer_ext.arguments.groups import Arguments
from trainer_ext.tracking.artifacts.scores import artifact_name

MEMBER = re.compile(r"(fold|seed)-(\d+)")


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
        """K of `fold-K`."""
        return int(self.member[5:]) if self.member.startswith("fold-") else None


def identify(args: Arguments, member: str = "") -> Identity:
    """The names of the run that `args` describe, or of a `member` of it.

    A fold or a seed by itself is known by its flags and its folder's name.
    """
    folder = Path(args.training.output_dir).absolute()
    several = bool(args.folds.folds or args.folds.seeds)
    if not member and several and MEMBER.fullmatch(folder.name):
        folder, member = folder.parent, folder.name
    name = args.given.get("run_name") or os.environ.get("WANDB_NAME")
    group = (
        args.training.run_group
        or os.environ.get("WANDB_RUN_GROUP")
        or (folder.name if several else None)
    )
    suffix = f"-{member}" if member else ""
    run = name or (group if several else None) or folder.name
    return Identity(run + suffix, group, artifact_name(group if member else run, suffix), member)


def tags(args: Arguments) -> list[str]:
    """Encoder, task and the methods that are on; then `run_tags` and `WANDB_TAGS`."""
    model, objective, training = args.model, args.objective, args.training
    encoder = Path(model.model_name_or_path or "").name or f"{model.from_scratch}-scratch"
    methods = {
        "focal": objective.focal_gamma,
        "rdrop": objective.rdrop_alpha,
        "class-weights": objective.class_weights,
        "label-smoothing": training.label_smoothing_factor,
        training.adversarial: training.adversarial != "none",
        "layer-wise-lr": training.layer_wise_lr_decay != 1,
        "ema": training.ema_decay,
    }
    own = [encoder, args.data.task, *(name for name, on in methods.items() if on)]
    given = [*(training.run_tags or []), *filter(None, os.environ.get("WANDB_TAGS", "").split(","))]
    return list(dict.fromkeys(tag[:64] for tag in own + given))
