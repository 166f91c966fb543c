"""One run: parse is behind us; data -> model -> objective -> trainer -> best model -> metrics, plots and card.

`train.py` and `trainer_ext.fit` both end here.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase, set_seed

from trainer_ext.arguments.groups import Arguments, DataArguments
from trainer_ext.arguments.packages import check_packages
from trainer_ext.arguments.parser import write_resolved
from trainer_ext.cross_validation.folder import claim_for_member
from trainer_ext.cross_validation.members import (
    as_member,
    fold_rows,
    has_members,
    is_finished,
    is_whole,
)
from trainer_ext.cross_validation.outputs import save_outputs
from trainer_ext.cross_validation.run import run_members
from trainer_ext.cross_validation.test_rows import has_test_labels
from trainer_ext.data.dataset import (
    build_dataset,
    data_hash,
    inputs_and_labels,
    load_rows,
    rows_kept_back,
    training_task,
)
from trainer_ext.data.io.readers import Row
from trainer_ext.data.joint import counted_in
from trainer_ext.data.label_notes import print_label_notes
from trainer_ext.data.preprocessing.cleaning import Cleaning
from trainer_ext.data.preprocessing.tokenize import ModelTexts
from trainer_ext.data.report.summary import print_summary
from trainer_ext.data.streaming import build_split, rows_by_split
from trainer_ext.errors import UserError, stage
from trainer_ext.evaluation.calibrate import calibrate
from trainer_ext.evaluation.scoring import score
from trainer_ext.files import check_folder, read_json, scratch_folder, write_json
from trainer_ext.inference import Predictor, load_predictor
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.build import build_model, build_tokenizer, pipeline_of
from trainer_ext.modeling.layers import prepare_layers
from trainer_ext.modeling.session import use_available_cores
from trainer_ext.processes import (
    end_with_parent,
    entered_by_main,
    main_first,
    on_main,
    only_main_speaks,
)
from trainer_ext.reports.cards import write_model_card
from trainer_ext.reports.run_report import write_plots
from trainer_ext.reports.tables import metrics_table
from trainer_ext.runs.output_dir import claim_output_dir, is_over, locked, mark, put_in_place
from trainer_ext.runs.resume import check_flags, check_rows
from trainer_ext.tasks import TASKS, Task
from trainer_ext.tracking.artifacts.publish import publish, put_if_missing
from trainer_ext.tracking.run import tracked_run
from trainer_ext.training.build import build_trainer, check_hub, tokenize_splits
from trainer_ext.training.progress import library_bars
from trainer_ext.training.ridge_head import start_from_ridge
from trainer_ext.training.trainer import CustomTrainer

SPLITS = ("train", "validation", "test")


def run(
    args: Arguments, seen: Callable[[CustomTrainer], None] = lambda trainer: None
) -> dict[str, float]:
    """Train, or evaluate with `do_train false`; returns what metrics.json (eval_results.json) holds.

    `seen` is handed the trainer before it trains, where the training is in this process.
    """
    end_with_parent()
    use_available_cores()
    TASKS[args.data.task].check_metric(args.training.metric_for_best_model, args.data.label_columns)
    with library_bars(shown=not args.training.disable_tqdm):
        if not args.training.do_train:
            return evaluate(args) if args.training.process_index == 0 else {}
        check_packages(args.training)
        if is_whole(args):
            return run_members(args)
        return train_member(args, seen) if has_members(args) else train_alone(args, seen)


def train_member(args: Arguments, seen: Callable[[CustomTrainer], None]) -> dict[str, float]:
    """Train one fold or seed in its own folder, or take up where it was cut off."""
    on_main(partial(claim_for_member, args))
    member = as_member(args)
    folder = Path(member.training.output_dir)
    with entered_by_main(partial(locked, folder)):
        if on_main(partial(is_finished, folder, member)) and not args.training.overwrite_output_dir:
            return on_main(partial(keep_member, args, folder))
        return train(member, seen)


def keep_member(args: Arguments, folder: Path) -> dict[str, float]:
    """What a fold or seed left that was finished before."""
    print(f"{folder} is finished; --overwrite_output_dir true trains it again")
    put_if_missing(args, folder.name)
    return read_json(folder / "metrics.json")


def train_alone(args: Arguments, seen: Callable[[CustomTrainer], None]) -> dict[str, float]:
    """Train one model in a folder that no other process trains in meanwhile."""
    folder = Path(args.training.output_dir)
    on_main(partial(check_folder, "output_dir", folder))
    with entered_by_main(partial(locked, folder)):
        return train(args, seen)


def train(args: Arguments, seen: Callable[[CustomTrainer], None]) -> dict[str, float]:
    """Claim the folder -> rows, tokenizer, model -> train -> save the best model -> metrics, plots and card.

    Under a launcher the main process claims, and finishes; each process loads what it trains with, the main one first.
    """
    checkpoint = on_main(partial(claim, args))
    with stage("while reading the rows and building the model"):
        prepared = main_first(partial(prepare, args, checkpoint))
    on_main(partial(mark, Path(args.training.output_dir)))
    with tracked_run(args, goes_on=is_of(checkpoint, args)) as run:
        labels = prepared.datasets["train"]["labels"]
        with only_main_speaks():
            trainer = build_trainer(
                args, prepared.task, prepared.model, prepared.tokenizer, labels, prepared.tokens
            )
        seen(trainer)
        with stage("while training"):
            summary = train_model(args, trainer, checkpoint)
        with stage("while saving the model"):
            save(args, trainer)
        if not trainer.is_world_process_zero():
            return {}
        with stage("while scoring the model and writing what lies beside it"):
            return finish(args, trainer, prepared.datasets, summary, run)


def claim(args: Arguments) -> str | None:
    """Take up the output folder, and find the checkpoint to go on from; None: from the beginning."""
    for note in args.training.precision_notes:
        print(note)
    check_hub(args.training)
    checkpoint = claim_output_dir(args.training)
    check_flags(checkpoint, args)
    return checkpoint


def is_of(checkpoint: str | None, args: Arguments) -> bool:
    """Whether a checkpoint lies in the output folder, so that its training goes on, and not another one from it."""
    return (
        checkpoint is not None
        and Path(checkpoint).resolve().parent == Path(args.training.output_dir).resolve()
    )


class Prepared(NamedTuple):
    """What a process trains with."""

    task: Task
    datasets: dict[str, Any]
    tokenizer: PreTrainedTokenizerBase
    model: EncoderWithHead
    tokens: dict[str, Any]


def prepare(args: Arguments, checkpoint: str | None) -> Prepared:
    """Read and check every row, build tokenizer and model, and tokenise."""
    data = args.data
    task, datasets = read_datasets(args)
    rows_hash = data_hash(datasets["train"])
    validation_hash = data_hash(datasets["validation"]) if datasets["validation"] else None
    check_rows(checkpoint, rows_hash, validation_hash, args.training.load_best_model_at_end)
    set_seed(args.training.seed)
    cleaning = Cleaning.from_flags(data.clean, data.stopwords_file)
    tokenizer = build_tokenizer(args.model, data, ModelTexts(datasets["train"], cleaning))
    print_summary(datasets, tokenizer, data.max_length)
    pipeline = pipeline_of(data, task, tokenizer, cleaning, rows_hash, validation_hash)
    model = build_model(args.model, data, task, tokenizer, pipeline, datasets["train"]["labels"])
    prepare_layers(model, args.model)
    return Prepared(
        task, datasets, tokenizer, model, tokenize_splits(args, task, model, tokenizer, datasets)
    )


def read_datasets(args: Arguments) -> tuple[Task, dict[str, Any]]:
    """The task with its classes, and the rows by split; None for a split without rows."""
    data, training = args.data, args.training
    rows = rows_by_split(data, splits_of(args))
    task = training_task(rows["train"], data)
    if args.folds.fold is not None:
        rows |= fold_rows(
            args, rows["train"], task
        )  # after the labels: every fold has the same classes
        task = counted_in(task, rows["train"])
    training_rows = rows["train"]
    datasets = {split: build_split(rows.pop(split, []), data, task) for split in SPLITS}
    print_label_notes(task, datasets["train"]["labels"], training_rows)
    del training_rows  # their texts are in the data set
    if training.eval_strategy != "no" and not datasets["validation"]:
        raise UserError(
            f"eval_strategy {training.eval_strategy.value} needs validation rows, but there are none"
        )
    return task, datasets


def train_model(
    args: Arguments, trainer: CustomTrainer, checkpoint: str | None
) -> dict[str, float]:
    """Train, from a checkpoint where there is one; returns what the Trainer says of its speed."""
    if args.model.head_init == "ridge" and not checkpoint:
        start_from_ridge(trainer)
    if checkpoint and is_over(
        checkpoint, args.training.early_stopping_patience, trainer.steps()[1]
    ):
        if trainer.is_world_process_zero():
            print(f"{checkpoint} is at the end of its training: nothing is left to train")
        trainer.load_finished(checkpoint)
        return {"train_runtime": 0.0, "train_samples_per_second": 0.0}
    return trainer.train(resume_from_checkpoint=checkpoint).metrics


def save(args: Arguments, trainer: CustomTrainer) -> None:
    """The model into its folder, all of it or nothing that answers: beside first, config.json last."""
    training, folder = args.training, Path(args.training.output_dir)
    with scratch_folder(folder / "model") as stage:
        # Every process: weights that are split (FSDP) are gathered.
        trainer.save_model(str(stage), _internal_call=True)
        if trainer.is_world_process_zero():
            put_in_place(stage, folder)
            write_resolved(args, folder)
    if training.push_to_hub:
        trainer.push_to_hub(commit_message="Model save", revision=training.hub_revision)


def finish(
    args: Arguments, trainer: CustomTrainer, datasets: dict, summary: dict, run
) -> dict[str, float]:
    """Score the model *as saved*, and write what belongs beside it; metrics.json comes last."""
    folder, task = Path(args.training.output_dir), trainer.task
    metrics, scored, bar = {}, {}, not args.training.disable_tqdm
    if args.model.calibrate != "none":
        rows, size = datasets["validation"], args.training.per_device_eval_batch_size
        what, trust = args.model.calibrate, args.model.trust_remote_code
        task.calibration = calibrate(folder, rows["text"], rows["labels"], what, size, bar, trust)
    for split, prefix in (("validation", "eval"), ("test", "test")):
        if datasets[split]:
            predictor = load_predictor(
                folder,
                batch_size=args.training.per_device_eval_batch_size,
                trust_remote_code=args.model.trust_remote_code,
            )
            scored[split] = score(predictor, *inputs_and_labels(datasets[split]), split, bar)
            metrics |= {
                f"{prefix}_{name}": value for name, value in scored[split]["metrics"].items()
            }
    metrics |= {
        name: summary[name]
        for name in ("train_runtime", "train_samples_per_second")
        if name in summary
    }
    metrics["best_step"] = trainer.step_of_model
    metrics["global_step"] = trainer.state.global_step
    metrics["precision"] = args.training.precision
    marked = trainer.step_of_model if trainer.holds_best else None
    write_plots(folder / "plots", task, trainer.state.log_history, marked, scored.get("validation"))
    counts = {split: len(datasets[split] or ()) for split in SPLITS}
    write_model_card(folder, args, task, metrics, counts, trainer.holds_best)
    if has_members(args):
        save_outputs(folder, task, scored["validation"]["logits"], trainer.state.log_history)
    write_json(folder / "metrics.json", metrics)
    rows = datasets["validation"]
    publish(
        args,
        run,
        metrics,
        (task, inputs_and_labels(rows)[0], scored["validation"]) if rows else None,
    )
    print(
        f"\n{metrics_table(metrics)}\n\nThe {'best' if trainer.holds_best else 'last'} model (step "
        f"{metrics['best_step']}), metrics.json, README.md and plots/ are in {folder}"
    )
    return metrics


def splits_of(args: Arguments) -> list[str]:
    """Which splits one training reads; not test rows without labels, which all folds predict together."""
    skipped = set()
    if args.folds.folds:
        skipped.add("validation")  # each fold is validated on its own rows
    if has_members(args) and args.data.test_file and not has_test_labels(args.data):
        skipped.add("test")
    return [split for split in SPLITS if split not in skipped]


def rows_to_score(data: DataArguments, split: str, predictor: Predictor) -> list[Row]:
    """The rows of a split for a checkpoint; of its own training file only those that it was not trained on."""
    if split == "validation" and data.validation_split:
        return rows_kept_back(data, predictor.task, predictor.pipeline.train_data_sha256)
    return load_rows(data, split)


def evaluate(args: Arguments) -> dict[str, float]:
    """Score a checkpoint on the validation and test rows; prints, and writes eval_results.json beside it."""
    folder = Path(args.model.model_name_or_path or args.training.output_dir)
    predictor = load_predictor(
        folder,
        batch_size=args.training.per_device_eval_batch_size,
        file_name="model.safetensors",
        trust_remote_code=args.model.trust_remote_code,
    )
    task, metrics = predictor.task, {}
    if task.name != args.data.task:
        raise UserError(f"{folder} is a model for {task.name}, but the task is {args.data.task}")
    for split, prefix in (("validation", "eval"), ("test", "test")):
        if rows := rows_to_score(args.data, split, predictor):
            dataset = build_dataset(rows, args.data, task)
            bar = not args.training.disable_tqdm
            scores = score(predictor, *inputs_and_labels(dataset), split, bar)["metrics"]
            metrics |= {f"{prefix}_{name}": value for name, value in scores.items()}
    write_json(Path(args.training.output_dir) / "eval_results.json", metrics)
    print(
        f"\n{metrics_table(metrics)}\n\nWritten to {Path(args.training.output_dir) / 'eval_results.json'}"
    )
    return metrics
