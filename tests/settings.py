"""Every training method of the project, its flags, its tasks, and which pairs make no sense: what drives
`test_settings_table.py`.

A new flag or choice needs an entry here, or a place in `NOT_A_METHOD`; without one that file fails at collection.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from itertools import combinations
from typing import Any

import transformers

from trainer_ext.arguments.data import DataArguments
from trainer_ext.arguments.files import FORMATS
from trainer_ext.arguments.model import ModelArguments
from trainer_ext.arguments.objective import ObjectiveArguments
from trainer_ext.arguments.preprocessing import CLEANING
from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.compatibility import FlagsGoneIn5

ALL = ("single_label", "multi_aspect", "multi_label", "regression", "joint")
CLASSES = ("single_label", "multi_aspect", "multi_label")  # three classes each
SOFTMAX = ("single_label", "multi_aspect", "joint")
NOT_REGRESSION = (*CLASSES, "joint")


@dataclass(frozen=True)
class Setting:
    """One way to train: a name, its flags, the tasks it goes with, and whether the loss has to fall."""

    name: str
    flags: dict[str, Any] = field(hash=False)
    tasks: tuple[str, ...] = ALL
    falls: bool = True

    @property
    def is_objective(self) -> bool:
        """Whether it changes the loss, which every task computes in its own way."""
        return bool(
            set(self.flags)
            & {*(spec.name for spec in fields(ObjectiveArguments)), "label_smoothing_factor"}
        )


FRESH_ENCODER = "hidden_size=16,num_hidden_layers=4,num_attention_heads=2,intermediate_size=32"
# Small vectors, and no residual connections: in a dozen steps they arrive with larger ones only.
STUDENT = {"model_name_or_path": None, "vocab_size": 90, "learning_rate": 3e-2}
BILSTM = {
    **STUDENT,
    "from_scratch": "bilstm",
    "config_overrides": "embedding_size=16,hidden_size=16",
}
STATIC = {
    **STUDENT,
    "from_scratch": "static",
    "config_overrides": "hidden_size=16,num_buckets=64",
}
FGM = {"adversarial": "fgm", "adversarial_epsilon": 0.5}
PGD = {
    "adversarial": "pgd",
    "adversarial_epsilon": 0.25,
    "adversarial_steps": 2,
}  # a head on one token still learns
AWP = {"adversarial": "awp", "adversarial_epsilon": 0.01, "adversarial_start_epoch": 0.5}
GROUPS = ["embeddings=5e-3", "layers.0-1=5e-3", "layers.2-=8e-3", "head=2e-2"]
STOPPING = {
    "early_stopping_patience": 3,
    "load_best_model_at_end": True,
    "metric_for_best_model": "loss",
    "eval_steps": 4,
}

PLAIN = Setting("plain", {"pooling": "mean"})  # and the default of every other flag
SETTINGS = [
    PLAIN,
    # the encoder and the head
    Setting("max pooling", {"pooling": "max"}),
    Setting("cls pooling", {"pooling": "cls"}),
    Setting("attention pooling", {"pooling": "attention"}),
    Setting("mean through a hidden layer", {"pooling": "mean_hidden"}),
    Setting("weighted layers", {"pooling": "weighted_layers"}),
    Setting("label attention", {"pooling": "label_attention"}),
    Setting("last four layers", {"pooling": "concat_last4"}),
    Setting("head dropout", {"head_dropout": 0.3}),
    Setting(
        "ridge head", {"head_init": "ridge"}, ("regression",), falls=False
    ),  # it starts where the others arrive
    Setting("multi-sample dropout", {"multi_sample_dropout": 3}),
    Setting("fresh top layer", {"reinit_layers": 1}),
    Setting(
        "no encoder dropout",
        {"config_overrides": "hidden_dropout_prob=0,attention_probs_dropout_prob=0"},
    ),
    Setting("frozen embeddings", {"freeze_embeddings": True}),
    Setting("frozen layer", {"freeze_layers": 1}),
    Setting(
        "from scratch",
        {
            "from_scratch": "tiny",
            "config_overrides": FRESH_ENCODER,
            "vocab_size": 90,
            "model_name_or_path": None,
        },
    ),
    Setting("bilstm student", BILSTM),
    Setting("static student", STATIC),
    # the objective
    Setting("balanced weights", {"class_weights": "balanced"}, CLASSES),
    Setting("effective weights", {"class_weights": "effective"}, CLASSES),
    Setting("given weights", {"class_weights": [0.5, 1.0, 2.0]}, CLASSES),
    Setting("label smoothing", {"label_smoothing_factor": 0.1}, SOFTMAX),
    Setting("focal", {"focal_gamma": 2.0}, NOT_REGRESSION),
    Setting("focal, one alpha", {"focal_gamma": 2.0, "focal_alpha": 0.25}, NOT_REGRESSION),
    Setting("focal, given alphas", {"focal_gamma": 2.0, "focal_alpha": [0.25, 0.5, 0.75]}, CLASSES),
    Setting("focal, balanced", {"focal_gamma": 2.0, "focal_alpha": "balanced"}, CLASSES),
    Setting("focal, effective", {"focal_gamma": 2.0, "focal_alpha": "effective"}, CLASSES),
    Setting("mse", {"regression_loss": "mse"}, ("regression",)),
    Setting("smooth l1", {"regression_loss": "smooth_l1"}, ("regression",)),
    Setting("R-Drop", {"rdrop_alpha": 1.0}),
    Setting("slot weight", {"slot_loss_weight": 0.5}, ("joint",)),
    # the rows
    Setting("oversampling", {"balance": "oversample"}, CLASSES),
    Setting("undersampling", {"balance": "undersample"}, CLASSES),
    Setting("hybrid sampling", {"balance": "hybrid"}, CLASSES),
    # the optimisation
    Setting("layer-wise decay", {"layer_wise_lr_decay": 0.8}),
    Setting("head rate", {"head_lr_factor": 2.0}),
    Setting("explicit groups", {"parameter_groups": GROUPS}),
    Setting("average of weights", {"ema_decay": 0.6}),
    Setting("FGM", FGM),
    Setting("PGD", PGD),
    Setting("AWP", AWP),
    Setting("early stopping", STOPPING),
    Setting("temperature", {"calibrate": "temperature"}, CLASSES),
    Setting("thresholds", {"calibrate": "thresholds"}, ("single_label", "multi_label")),
    Setting("rejection", {"reject": "auto"}, NOT_REGRESSION),
    Setting("temperature and thresholds", {"calibrate": "both"}, ("single_label", "multi_label")),
    # transformers' own
    Setting("accumulation", {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}),
    Setting("bf16", {"bf16": True}),
    Setting("precision of the machine", {"precision": "auto"}),
    Setting("length groups", {"group_by_length": True}),
    Setting("gradient checkpointing", {"gradient_checkpointing": True}),
    Setting("warm-up", {"warmup_ratio": 0.25}),
    Setting("cosine schedule", {"lr_scheduler_type": "cosine"}),
    Setting("constant rate", {"lr_scheduler_type": "constant"}),
    Setting("weight decay", {"weight_decay": 0.1}),
    Setting("no clipping", {"max_grad_norm": 0.0}),
]
BY_NAME = {setting.name: setting for setting in SETTINGS}

FOCAL = {"focal", "focal, one alpha", "focal, given alphas", "focal, balanced", "focal, effective"}
WEIGHTS = {"balanced weights", "effective weights", "given weights"}
STUDENTS = {"bilstm student", "static student"}
# Pairs (one of the first, one of the second) that parsing refuses, and why.
REFUSED: list[tuple[set[str], set[str], str]] = [
    (WEIGHTS, FOCAL, "the weights of Focal Loss are its alpha"),
    ({"label smoothing"}, FOCAL, "smoothing is a part of cross entropy"),
    ({"explicit groups"}, {"layer-wise decay", "head rate"}, "both set learning rates"),
    ({"explicit groups"}, {"frozen embeddings"}, "a rate for what does not learn"),
    ({"frozen embeddings"}, {"FGM", "PGD"}, "they follow the gradient of the embeddings"),
    ({"from scratch", *STUDENTS}, {"fresh top layer"}, "all layers are fresh"),
    (
        STUDENTS,
        {"weighted layers", "last four layers", "gradient checkpointing", "explicit groups"},
        "there are no such layers",
    ),
    ({"static student"}, {"frozen layer", "layer-wise decay"}, "there are no layers"),
    (
        {"oversampling", "undersampling", "hybrid sampling"},
        {"balanced weights", "effective weights", "focal, balanced", "focal, effective"},
        "both correct for rare classes",
    ),
    ({"constant rate"}, {"warm-up"}, "the rate is the same from the first step on"),
]

# Flags of the dataclasses that are no way to train, and choices that are another size of one that has an entry.
NOT_A_METHOD = {
    *(
        "model_name_or_path",
        "vocab_size",
        "trust_remote_code",
        "ignore_mismatched_sizes",
    ),  # which encoder
    *("label_names", "do_train", "run_group", "run_tags"),
    # What is reported: tests/reports/test_full_report.py, tests/data/test_suspects.py.
    *("write_report", "baseline=none", "baseline=ngrams", "baseline_rows"),
    *("suspects=true", "suspects=false", "drop_suspects"),
    "embeddings_from",  # where embeddings start: tests/modeling/test_embeddings_from.py
    # They cut a trained model: tests/compression/test_stages.py.
    *("compression=layers", "compression=width", "compression=l1", "keep_layers", "width"),
    *("target_speedup", "target_latency_ms"),  # tests/compression/test_target.py
    *("l1_sparsity", "l1_scope=layer", "l1_scope=global", "l1_ramp"),
    *("l1_matrices=query", "l1_matrices=attention", "l1_matrices=feed_forward"),
    # What `auto` takes for one task or another, and a number of it.
    *("reject=max_probability", "reject=energy", "reject=mahalanobis", "reject_rate"),
    "stage_epochs",  # tests/compression/test_chain.py
    *(
        "compression=vocab",
        "max_vocab_size",
        "vocab_corpus",
    ),  # tests/compression/test_vocabulary.py
    # tests/compression/test_fake_quantisation.py
    "compression=qat",
    # They need a teacher of each task: tests/training/test_teacher.py.
    *("teacher", "distill=hard", "distill=soft", "distill_alpha", "distill_temperature"),
    # tests/training/test_layer_teacher.py
    *("distill_hidden_weight", "distill_attention_weight", "distill_layer_map"),
    *("unlabelled_file", "pseudo_label_threshold"),  # tests/training/test_unlabelled.py
    *(
        "task=single_label",
        "task=multi_label",
        "task=multi_aspect",
        "task=regression",
        "task=joint",
    ),  # `tasks` above
    *(f"file_format={name}" for name in FORMATS),  # how files are written
    "quoting=none",
    *(
        f"precision={name}" for name in ("float32", "bf16", "fp16")
    ),  # what `auto` takes on one machine or another
    *("truncation=tail", "truncation=head_tail"),  # what is read: tests/test_shaping.py
    *(f"clean={step}" for step in ("none", *CLEANING)),
    *(f"from_scratch={size}" for size in ("mini", "small", "tinybert_4l", "tinybert_6l")),
}


def method_flags() -> Iterator[str]:
    """`flag`, or `flag=choice` for each choice, of every flag that may be a way to train."""
    inherited = {spec.name for spec in fields(transformers.TrainingArguments)} - {"label_names"}
    inherited |= {spec.name for spec in fields(FlagsGoneIn5)}
    for group in (ModelArguments, DataArguments, ObjectiveArguments, TrainingArguments):
        for spec in fields(group):
            choices = spec.metadata.get("choices")
            if spec.name in inherited:
                continue
            if choices:
                yield from (f"{spec.name}={choice}" for choice in choices)
            elif group is not DataArguments:
                yield spec.name


def uncovered(flags: Iterable[str], settings: Iterable[Setting] = tuple(SETTINGS)) -> list[str]:
    """Those of `flags` that are in no entry; the default choice of a flag is what `plain` trains with."""
    covered = set(NOT_A_METHOD)
    for setting in settings:
        covered |= set(setting.flags) | {f"{name}={value}" for name, value in setting.flags.items()}
    for group in (ModelArguments, DataArguments, ObjectiveArguments, TrainingArguments):
        covered |= {f"{spec.name}={spec.default}" for spec in fields(group)}
    return [flag for flag in flags if flag not in covered]


def reason_against(one: Setting, other: Setting) -> str | None:
    """Why parsing refuses a pair, as the table says, or None."""
    for first, second, why in REFUSED:
        if (one.name in first and other.name in second) or (
            other.name in first and one.name in second
        ):
            return why
    return None


def alternatives(one: Setting, other: Setting) -> bool:
    """Whether two entries give one flag two values (so that there is no such pair), or one contains the other."""
    return bool(set(one.flags) & set(other.flags))


def sensible_pairs() -> list[tuple[Setting, Setting, str]]:
    """Every pair that can be trained, with one of the tasks that both go with: in turn, so that each has its share."""
    pairs = []
    for (i, one), (j, other) in combinations(enumerate(SETTINGS[1:]), 2):
        tasks = [task for task in one.tasks if task in other.tasks]
        if tasks and not alternatives(one, other) and not reason_against(one, other):
            pairs.append((one, other, tasks[(i + j) % len(tasks)]))
    return pairs


def refused_pairs() -> list[tuple[Setting, Setting, str, str]]:
    """Every pair that parsing refuses, with a task that both go with, and why."""
    pairs = []
    for one, other in combinations(SETTINGS, 2):
        why, tasks = reason_against(one, other), [task for task in one.tasks if task in other.tasks]
        if why and tasks:
            pairs.append((one, other, tasks[0], why))
    return pairs


def impossible_tasks() -> list[tuple[Setting, str]]:
    """Every method with each task that it does not go with; parsing refuses these too."""
    return [(setting, task) for setting in SETTINGS for task in ALL if task not in setting.tasks]
