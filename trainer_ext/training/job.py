"""Train one model: prepare, train, save, score, and write what belongs beside the model.

The job knows nothing of folds. Whoever trains a model as one of several hands over that model's rows, folder and seed,
and what else to keep before the model counts as finished.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase, set_seed

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.parser import write_resolved
from trainer_ext.data.dataset import dataset_sha256, inputs_and_labels
from trainer_ext.data.preprocessing.cleaning import Cleaning
from trainer_ext.data.preprocessing.tokenize import ModelTexts
from trainer_ext.data.report.summary import log_summary
from trainer_ext.data.teacher_outputs import TeacherOutputs
from trainer_ext.data.training_data import Datasets, TrainingData, load_training_data
from trainer_ext.errors import UserError, stage
from trainer_ext.evaluation.calibrate import calibrate
from trainer_ext.evaluation.scoring import score
from trainer_ext.files import check_folder, scratch_folder, write_json
from trainer_ext.inference import Predictor, load_predictor
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.build import build_model, build_tokenizer, pipeline_of
from trainer_ext.modeling.layers import check_recomputing, prepare_layers
from trainer_ext.processes import entered_by_main, main_first, on_main, only_main_speaks
from trainer_ext.reports.tables import metrics_table
from trainer_ext.runs.output_dir import install_model, is_over, locked, mark, take_output_dir
from trainer_ext.runs.resume import check_flags, check_rows
from trainer_ext.tasks import Task
from trainer_ext.tracking.artifacts.publish import publish
from trainer_ext.tracking.run import tracked_run
from trainer_ext.training.build import build_trainer, check_hub, tokenize_splits
from trainer_ext.training.finished import PREFIXES, Finished, facts_of, write_reports
from trainer_ext.training.hub import push_run
from trainer_ext.training.layer_teacher import add_layer_teacher, load_layer_teacher
from trainer_ext.training.linear_probe import NO_PROBE, Probe, probe_encoder
from trainer_ext.training.reject import check_rejection_rows, fit_rejection
from trainer_ext.training.ridge_head import start_from_ridge
from trainer_ext.training.teacher import ask_teacher
from trainer_ext.training.trainer import CustomTrainer

NOT_TRAINED = {"train_runtime": 0.0, "train_samples_per_second": 0.0}

logger = logging.getLogger(__name__)


class BuiltModel(NamedTuple):
    """A model as it was built or loaded, its tokenizer, its task, and its texts by split."""

    model: EncoderWithHead
    tokenizer: PreTrainedTokenizerBase
    task: Task
    texts: Mapping[str, ModelTexts]


@dataclass(frozen=True)
class Prepared:
    """What a process trains with.

    Attributes:
        task: with the classes of the training rows.
        datasets: the labelled rows by split; None for a split without rows.
        labels: of the training rows; of streamed ones those of the first.
        tokenizer: of the model.
        model: freshly built, or loaded.
        tokens: the rows of `train`, those without labels included, and `validation` as the model reads them.
        teacher: what the teacher answers to the rows of `train`; None without one.
        layer_teacher: the teacher itself, if its layers are learned from.
    """

    task: Task
    datasets: Datasets
    labels: Sequence
    tokenizer: PreTrainedTokenizerBase
    model: EncoderWithHead
    tokens: dict[str, Any]
    teacher: TeacherOutputs | None
    layer_teacher: EncoderWithHead | None


def nothing(_: Any) -> None:
    """Do nothing: the default of the callbacks."""


class Changes:
    """What is done to a model between its making and its training, and said of it in the end: nothing.

    Who changes it hands over an object of a class of its own.
    """

    def on_model(self, built: BuiltModel) -> BuiltModel:
        """Return the model and its tokenizer as they are to be, before any row is tokenised."""
        return built

    def on_trainer(self, trainer: CustomTrainer) -> None:
        """Look at the trainer, or change its model, before it trains."""

    def on_finished(self, finished: Finished) -> None:
        """Look at the model as it was saved and scored, in the main process."""


UNCHANGED = Changes()


def train_alone(
    args: Arguments,
    changes: Changes = UNCHANGED,
) -> dict[str, float]:
    """Train one model in a folder that no other process trains in meanwhile; returns what metrics.json holds."""
    folder = Path(args.training.output_dir)
    on_main(partial(check_folder, "output_dir", folder))
    with entered_by_main(partial(locked, folder)):
        return train_model(args, partial(load_training_data, args.data), changes)


def train_model(
    args: Arguments,
    load: Callable[[], TrainingData],
    changes: Changes = UNCHANGED,
    before_done: Callable[[Finished], None] = nothing,
) -> dict[str, float]:
    """Claim the folder, load rows, tokenizer and model, train, save the best model, score it, write the rest.

    Under a launcher the main process claims and finishes; each process loads what it trains with, the main one first.

    Args:
        args: of this model; `training.output_dir` is its folder, which the caller holds locked.
        load: returns the rows; called once in each process, when the folder is known to be free.
        changes: are made to the model before it trains.
        before_done: is handed the scored model before metrics.json, which marks a finished run, is written.

    Returns:
        What metrics.json holds; empty on other processes than the main one.
    """
    checkpoint = on_main(partial(claim, args))
    with stage("while reading the rows and building the model"):
        prepared = main_first(partial(prepare, args, load, checkpoint, changes))
    folder = Path(args.training.output_dir)
    on_main(partial(mark, folder))
    with tracked_run(args, goes_on=lies_in(checkpoint, folder)) as run:
        trainer = trainer_for(args, prepared)
        changes.on_trainer(trainer)
        # After it was cut, which may have left fewer layers to compare.
        add_layer_teacher(args.objective, trainer, prepared.layer_teacher)
        # Before the first step, and before a checkpoint's weights are loaded.
        probe = NO_PROBE
        if trainer.is_world_process_zero():
            with stage("while probing the encoder as it is before training"):
                probe = probe_encoder(args, trainer, prepared.datasets)
        with stage("while training"):
            speed = train_from(args, trainer, checkpoint)
        with stage("while saving the model"):
            save(args, trainer)
        if not trainer.is_world_process_zero():
            return {}
        with stage("while scoring the model and writing the files beside it"):
            finished = score_saved(args, trainer, prepared.datasets, probe)
            metrics = collect_metrics(args, trainer, finished, speed)
            metrics |= fit_rejection(
                args, finished.folder, finished.task, prepared.datasets, finished.scores
            )
            facts = facts_of(args, trainer, prepared.datasets, finished, metrics)
            write_reports(trainer, prepared.datasets, finished, facts)
            changes.on_finished(finished)
            before_done(finished)
            # Last: a run without it is resumed, one with it is finished.
            write_json(folder / "metrics.json", metrics)
            publish_model(args, run, prepared.datasets, finished, metrics)
        if args.training.push_to_hub:
            with stage("while uploading the model"):
                push_run(trainer, facts)
        print_result(folder, metrics, trainer.holds_best)
        return metrics


def claim(args: Arguments) -> str | None:
    """Take the output folder, and return the checkpoint to resume from; None to begin at the start."""
    for note in args.training.precision_notes:
        logger.info(note)
    # Before hours of training, whose model could not be uploaded in the end.
    check_hub(args.training)
    checkpoint = take_output_dir(args.training)
    check_flags(checkpoint, args)
    return checkpoint


def lies_in(checkpoint: str | None, folder: Path) -> bool:
    """Return whether a checkpoint is of the run in `folder`, which then goes on, rather than of another one."""
    if checkpoint is None:
        return False
    # Resolved: one may be given relative to the working directory, the other as it is in a recipe.
    return Path(checkpoint).resolve().parent == folder.resolve()


def prepare(
    args: Arguments,
    load: Callable[[], TrainingData],
    checkpoint: str | None,
    changes: Changes,
) -> Prepared:
    """Load and check every row, build tokenizer and model, and tokenise."""
    data, training = args.data, args.training
    loaded = load()
    task, datasets = loaded.task, loaded.build_datasets()
    train, validation = datasets["train"], datasets["validation"]
    if train is None:
        raise UserError("there are no training rows")
    check_rejection_rows(args, task, validation)
    if training.eval_strategy != "no" and not validation:
        raise UserError(
            f"eval_strategy {training.eval_strategy.value} needs validation rows, but there are none"
        )
    train_sha256 = dataset_sha256(train)
    validation_sha256 = dataset_sha256(validation) if validation else None
    check_rows(checkpoint, train_sha256, validation_sha256, training.load_best_model_at_end)
    # Before the seed is set: loading a model draws random numbers.
    teaching = ask_teacher(args, task, train)
    if teaching is not None and teaching.unlabelled is not None:
        datasets["unlabelled"] = teaching.unlabelled
    # Before the model is built: a fresh head takes its weights from this generator.
    set_seed(training.seed)
    cleaning = Cleaning.from_flags(data.clean, data.stopwords_file)
    texts = ModelTexts(train, cleaning, datasets.get("unlabelled"))
    tokenizer = build_tokenizer(args.model, data, texts, task.reads_characters)
    log_summary(datasets, tokenizer, data.max_length)
    pipeline = pipeline_of(data, task, tokenizer, cleaning, train_sha256, validation_sha256)
    model = build_model(args.model, data, task, tokenizer, pipeline, train["labels"])
    texts_of = {"train": texts}
    if validation:
        texts_of["validation"] = ModelTexts(validation, cleaning)
    model, tokenizer, *_ = changes.on_model(BuiltModel(model, tokenizer, task, texts_of))
    layer_teacher = load_layer_teacher(args, tokenizer)
    prepare_layers(model, args.model)
    if training.gradient_checkpointing:
        check_recomputing(model)
    tokens: dict[str, Any] = tokenize_splits(args, task, model, tokenizer, datasets)
    outputs = None
    if teaching is not None:
        outputs = teaching.outputs
        tokens["train"] = teaching.add_to(tokens["train"], tokens["unlabelled"])
    return Prepared(
        task, datasets, train["labels"], tokenizer, model, tokens, outputs, layer_teacher
    )


def trainer_for(args: Arguments, prepared: Prepared) -> CustomTrainer:
    """Return the trainer; under a launcher only the main process prints what it notes."""
    with only_main_speaks():
        return build_trainer(
            args,
            prepared.task,
            prepared.model,
            prepared.tokenizer,
            prepared.labels,
            prepared.tokens,
            prepared.teacher,
        )


def train_from(args: Arguments, trainer: CustomTrainer, checkpoint: str | None) -> dict[str, float]:
    """Train, from a checkpoint if there is one; returns what the Trainer measured of its speed."""
    # A checkpoint has a trained head already.
    if args.model.head_init == "ridge" and not checkpoint:
        start_from_ridge(trainer)
    if args.training.num_train_epochs == 0 and args.training.max_steps <= 0:
        return NOT_TRAINED
    last_step = trainer.steps()[1]
    if checkpoint and is_over(checkpoint, args.training.early_stopping_patience, last_step):
        if trainer.is_world_process_zero():
            logger.info("%s is at the end of its training: nothing is left to train", checkpoint)
        trainer.load_finished(checkpoint)
        return NOT_TRAINED
    return trainer.train(resume_from_checkpoint=checkpoint).metrics


def save(args: Arguments, trainer: CustomTrainer) -> None:
    """Save the model into its folder, all of it or nothing that answers."""
    folder = Path(args.training.output_dir)
    with scratch_folder(folder / "model") as beside:
        # On every process, not only the main one: weights that are split (FSDP) are gathered here.
        trainer.save_model(str(beside), _internal_call=True)
        if trainer.is_world_process_zero():
            install_model(beside, folder)
            write_resolved(args, folder)


def score_saved(
    args: Arguments, trainer: CustomTrainer, datasets: Datasets, probe: Probe
) -> Finished:
    """Calibrate and score the model as it was saved, not as it is in memory."""
    folder, task = Path(args.training.output_dir), trainer.task
    shows_bar = not args.training.disable_tqdm
    rows = datasets["validation"]
    # First, so that the scores are those that the model will have.
    if args.model.calibrate != "none" and rows:
        task.calibration = calibrate(
            folder,
            rows["text"],
            rows["labels"],
            args.model.calibrate,
            args.training.per_device_eval_batch_size,
            shows_bar,
            args.model.trust_remote_code,
        )
    scores = {}
    for split in PREFIXES:
        if datasets[split]:
            predictor = load_saved(args, folder)
            scores[split] = score(predictor, *inputs_and_labels(datasets[split]), split, shows_bar)
    return Finished(folder, task, scores, trainer.state.log_history, probe)


def load_saved(args: Arguments, folder: Path) -> Predictor:
    """Load a checkpoint as `predict.py` does."""
    return load_predictor(
        folder,
        batch_size=args.training.per_device_eval_batch_size,
        trust_remote_code=args.model.trust_remote_code,
    )


def collect_metrics(
    args: Arguments,
    trainer: CustomTrainer,
    finished: Finished,
    speed: dict[str, float],
) -> dict[str, float]:
    """Return the content of metrics.json."""
    metrics: dict[str, Any] = {}
    for split, scored in finished.scores.items():
        for name, value in scored["metrics"].items():
            metrics[f"{PREFIXES[split]}_{name}"] = value
    for name in ("train_runtime", "train_samples_per_second"):
        if name in speed:
            metrics[name] = speed[name]
    metrics["best_step"] = trainer.step_of_model
    metrics["global_step"] = trainer.state.global_step
    metrics["precision"] = args.training.precision
    return metrics


def publish_model(
    args: Arguments,
    run: Any,
    datasets: Datasets,
    finished: Finished,
    metrics: dict[str, float],
) -> None:
    """Put the model into the artifact store, and its validation predictions on W&B when there are any."""
    rows = datasets["validation"]
    validation = None
    if rows:
        validation = (finished.task, inputs_and_labels(rows)[0], finished.scores["validation"])
    publish(args, run, metrics, validation)


def print_result(folder: Path, metrics: dict[str, float], holds_best: bool) -> None:
    """Print the table of metrics, and where everything is."""
    kind = "best" if holds_best else "last"
    print(
        f"\n{metrics_table(metrics)}\n\nThe {kind} model (step {metrics['best_step']}), metrics.json, README.md and "
        f"plots/ are in {folder}"
    )
