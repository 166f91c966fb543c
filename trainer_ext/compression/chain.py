"""Several stages of `--compression`: a fine-tuning after each, every model kept, then the INT8 export and a report.

OUTPUT_DIR/stages holds `0-start`, `1-vocab`, `2-width` and so on. Each is an ordinary run in a folder of its own, made
from the one before it. The same command again goes on where it was cut off. The last model is OUTPUT_DIR itself, its
export OUTPUT_DIR/onnx.
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from trainer_ext.arguments.compression import FLAGS_OF, CompressionArguments
from trainer_ext.arguments.distillation import DistillationArguments
from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.parser import parse_values, resolved, write_resolved
from trainer_ext.compression.chain_report import REPORT, write_report
from trainer_ext.compression.measure import measure
from trainer_ext.errors import UserError
from trainer_ext.export.options import ExportOptions
from trainer_ext.export.run import export_model
from trainer_ext.files import (
    atomic_folder,
    check_folder,
    file_sha256,
    read_json,
    scratch_folder,
    write_json,
)
from trainer_ext.inference.folder import WEIGHTS
from trainer_ext.modeling.own_code import is_checkpoint
from trainer_ext.modeling.pretrained import encoder_path
from trainer_ext.runs.output_dir import (
    FILES,
    check_may_be_cleared,
    check_not_foreign,
    clear,
    install_model,
    is_ours,
    locked,
    mark,
    written,
)
from trainer_ext.runs.same_run import check_same_run
from trainer_ext.training.teacher import FOLDER as TEACHER_CACHE

START = "start"
STAGES = "stages"
EXPORT = "onnx"
# What the model starts from, which is the stage before; and what is done with one model at the end.
OF_THE_START = (
    "from_scratch",
    "vocab_size",
    "config_overrides",
    "embeddings_from",
    "head_init",
    "ignore_mismatched_sizes",
)
OF_LAYERS = ("distill_hidden_weight", "distill_attention_weight", "distill_layer_map")
OF_THE_END = ("push_to_hub",)

# Of a stage's run, what is not its model.
NOT_COPIED = ("metrics.json", "resolved_config.yaml")

# Trains the model of one stage, as its flags say.
Train = Callable[[Arguments], Any]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """One model of a chain.

    Attributes:
        name: `start`, or the stage of `--compression`.
        args: with which it is trained; `training.output_dir` is its folder.
    """

    name: str
    args: Arguments

    @property
    def folder(self) -> Path:
        """Where the model is kept."""
        return Path(self.args.training.output_dir)

    @property
    def is_finished(self) -> bool:
        """Whether the model is complete; `UserError` if it was made with other flags."""
        return (self.folder / "metrics.json").is_file() and check_same_run(
            self.folder, resolved(self.args)
        )


def run_chain(args: Arguments, train: Train) -> dict[str, float]:
    """Train every stage that is not finished, export the last, and report what each is and does.

    Args:
        args: of the chain, with at least two stages.
        train: trains one model in its own folder.

    Returns:
        The metrics of the last model, before its export.

    Raises:
        UserError: for a folder that holds another run, for a stage that the model cannot have, and what training and
            export raise.
    """
    if args.training.world_size > 1:
        raise UserError(
            "compression in several stages runs in one process: without torchrun or accelerate launch"
        )
    folder = Path(args.training.output_dir)
    check_folder("output_dir", folder)
    with locked(folder):
        take_folder(args, folder)
        stages = stages_of(args)
        run_stages(stages, train)
        last = stages[-1]
        export(last, folder / EXPORT)
        folders = {stage.name: stage.folder for stage in stages}
        # Always anew: figures of another moment would not compare with each other.
        report = measure(folders, folder / EXPORT, args.model.trust_remote_code)
        write_report(folder, report)
        # So that whoever is handed the folder can load it like any other model.
        install(last.folder, folder)
        metrics: dict[str, float] = read_json(last.folder / "metrics.json")
        write_resolved(args, folder)
        # Last, as in any run: a folder with it is finished.
        write_json(folder / "metrics.json", metrics)
    return metrics


def take_folder(args: Arguments, folder: Path) -> None:
    """Take the folder for this chain: new, of the same chain, or cleared with `overwrite_output_dir`.

    Raises:
        UserError: when it holds another run, or what no run has written.
    """
    check_not_foreign(folder)
    if args.training.overwrite_output_dir and is_ours(folder):
        check_may_be_cleared(folder)
        clear(folder)
        # Only in a folder that a run has marked: they are a chain's own.
        for name in (STAGES, EXPORT):
            shutil.rmtree(folder / name, ignore_errors=True)
    # A chain that was cut off goes on without a flag, so its flags have to be the same.
    check_same_run(folder, resolved(args))
    reports = [f"{REPORT}.{ending}" for ending in ("json", "md", "png")]
    mark(folder, [*FILES, *reports])
    write_resolved(args, folder)


def stages_of(args: Arguments) -> list[Stage]:
    """Return the models of a chain in their order, the start first."""
    names = args.model.compression or []
    epochs = epochs_of(args)
    folder = Path(args.training.output_dir) / STAGES
    # Each is told what came before it, so that they are made in order.
    stages = [Stage(START, start_arguments(args, folder / f"0-{START}"))]
    for number, name in enumerate(names, 1):
        stages.append(
            Stage(
                name,
                stage_arguments(
                    args, name, epochs[number - 1], stages, folder / f"{number}-{name}"
                ),
            )
        )
    return stages


def epochs_of(args: Arguments) -> list[float]:
    """Return the epochs of fine-tuning after each stage."""
    names = args.model.compression or []
    # Without the flag a stage trains as long as the start.
    epochs = args.model.stage_epochs or [args.training.num_train_epochs]
    if len(epochs) == 1:
        return epochs * len(names)
    return epochs


def start_arguments(args: Arguments, folder: Path) -> Arguments:
    """Return the flags of the start: trained as the recipe says, or a checkpoint as it is."""
    values = without_stages(args)
    if not args.objective.teacher:
        drop_distillation(values)
    flags: dict[str, Any] = {}
    if is_trained(args):
        # It is copied and scored, so that every row of the report is made alike.
        flags["num_train_epochs"] = 0
    return in_folder(args, values, folder, flags)


def drop_distillation(values: dict[str, Any]) -> None:
    """Remove the flags of distillation: who does not learn needs no teacher."""
    for spec in fields(DistillationArguments):
        values.pop(spec.name, None)


def is_trained(args: Arguments) -> bool:
    """Return whether the chain starts from a model that is trained for these labels already."""
    model = args.model
    # Its head is fresh in either case.
    if model.from_scratch != "none" or model.ignore_mismatched_sizes:
        return False
    return is_checkpoint(encoder_path(model.model_name_or_path or ""))


def stage_arguments(
    args: Arguments, name: str, epochs: float, before: list[Stage], folder: Path
) -> Arguments:
    """Return the flags of a stage, which starts from the model before it and learns from the first that is not cut.

    Args:
        args: of the chain.
        name: of the stage.
        epochs: of its fine-tuning.
        before: the stages before it, the start first.
        folder: of the stage.
    """
    values = without_stages(args)
    for flag in OF_THE_START:
        values.pop(flag, None)
    # A stage refuses the flags of the others.
    given = resolved(args)
    flags = {
        flag: given[flag] for flag, stage in FLAGS_OF.items() if stage == name and flag in given
    }
    flags["compression"] = [name]
    flags["num_train_epochs"] = epochs
    flags["from_scratch"] = "none"
    flags["model_name_or_path"] = str(before[-1].folder)
    if epochs == 0:
        drop_distillation(values)
    elif args.objective.distill != "none" and not args.objective.teacher:
        flags["teacher"] = [str(teacher_of(before).folder)]
        if name == "vocab":
            # Its tokens are not the start's.
            for flag in OF_LAYERS:
                values.pop(flag, None)
    return in_folder(args, values, folder, flags)


def teacher_of(before: list[Stage]) -> Stage:
    """Return what a stage learns from: the start, as soon as its vocabulary is cut with this one."""
    if before[-1].name == START:
        return before[0]
    return before[1] if before[1].name == "vocab" else before[0]


def without_stages(args: Arguments) -> dict[str, Any]:
    """Return the resolved flags of a chain without those of its stages."""
    values = resolved(args)
    for spec in fields(CompressionArguments):
        values.pop(spec.name, None)
    for flag in OF_THE_END:
        values.pop(flag, None)
    return values


def in_folder(
    args: Arguments, values: dict[str, Any], folder: Path, flags: dict[str, Any]
) -> Arguments:
    """Return the arguments of a stage, which goes on by itself where it was cut off."""
    found = parse_values(values, {**flags, "output_dir": str(folder)})
    # Not flags of a recipe: resolved_config.yaml of a stage does not have them.
    found.training.overwrite_output_dir = args.training.overwrite_output_dir
    if not args.training.overwrite_output_dir:
        found.training.resume_from_checkpoint = "true"
    return found


def share_answers(before: Stage, stage: Stage) -> None:
    """Give a stage what the teacher answered in the one before.

    It knows by itself whether they are of this teacher, to these rows.
    """
    source, target = before.folder / TEACHER_CACHE, stage.folder / TEACHER_CACHE
    if source.is_dir() and not target.exists():
        with atomic_folder(target) as folder:
            shutil.copytree(source, folder, dirs_exist_ok=True)


def run_stages(stages: Sequence[Stage], train: Train) -> None:
    """Train each model that is not finished, in order; they all ask the same teacher about the same rows."""
    for number, stage in enumerate(stages):
        if number:
            share_answers(stages[number - 1], stage)
        run_stage(stage, number, len(stages), train)


def run_stage(stage: Stage, number: int, count: int, train: Train) -> None:
    """Train a stage, or keep it if it is finished."""
    if not stage.args.training.overwrite_output_dir and stage.is_finished:
        logger.info("%s: finished before, kept", stage.folder)
        return
    print(f"\n{number + 1} of {count}: {stage.name}, in {stage.folder}", flush=True)
    train(stage.args)


def export(stage: Stage, folder: Path) -> None:
    """Export the last model, unless this very model was exported before."""
    report = folder / "export_report.json"
    weights = file_sha256(stage.folder / WEIGHTS)
    # Proving it takes minutes on a large validation file.
    if report.is_file() and read_json(report).get("checkpoint_sha256") == weights:
        logger.info("%s: exported before, kept", folder)
        return
    trusted = stage.args.model.trust_remote_code
    export_model(ExportOptions(stage.folder, folder, trust_remote_code=trusted))


def install(source: Path, folder: Path) -> None:
    """Copy the last model into the folder of the chain."""
    with scratch_folder(folder / "model") as beside:
        for name in written(source):
            path = source / name
            if path.is_file() and path.parent == source and path.name not in NOT_COPIED:
                shutil.copyfile(path, beside / name)
        install_model(beside, folder)
