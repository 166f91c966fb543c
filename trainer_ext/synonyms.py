"""What flags of ours are called elsewhere: in transformers' run_glue and run_classification, and in other trainers."""

# One word may mean several flags of ours (`batch_size`); which of them the command at hand has decides.
ALSO_CALLED = {
    "model": (
        "model_path",
        "model_dir",
        "model_name",
        "model_name_or_path",
        "checkpoint",
        "model_folder",
    ),
    "model_name_or_path": (
        "model",
        "model_name",
        "model_path",
        "pretrained_model",
        "checkpoint",
        "encoder",
        "backbone",
    ),
    "task": ("task_name", "task_type", "problem_type"),
    "train_file": ("train_data", "train_path", "train_data_file", "training_file", "data_path"),
    "validation_file": (
        "eval_file",
        "dev_file",
        "val_file",
        "valid_file",
        "validation_data",
        "eval_data_file",
    ),
    "test_file": ("predict_file", "test_data", "test_path"),
    "eval_file": ("validation_file", "dev_file", "test_file", "input", "calibration_file"),
    "text_column": (
        "text_column_name",
        "text_column_names",
        "sentence_column",
        "text_field",
        "text_col",
    ),
    "label_columns": (
        "label_column",
        "label_column_name",
        "label_column_names",
        "target_columns",
        "label_col",
    ),
    "label_names": ("labels", "label_list", "classes", "class_names", "num_labels"),
    "label_separator": ("text_column_delimiter", "label_delimiter"),
    "max_length": ("max_seq_length", "max_seq_len", "max_len", "sequence_length"),
    "max_eval_samples": ("max_val_samples", "max_predict_samples", "limit"),
    "output_dir": ("output", "out", "save_dir", "out_dir", "output_folder"),
    "output": ("output_dir", "output_file", "out", "predictions", "save_to"),
    "input": (
        "input_file",
        "file",
        "test_file",
        "predict_file",
        "data",
        "train_file",
        "validation_file",
    ),
    "text": ("texts", "sentence", "sentences"),
    "learning_rate": ("lr", "base_lr"),
    "num_train_epochs": ("epochs", "num_epochs", "n_epochs", "max_epochs"),
    "per_device_train_batch_size": (
        "batch_size",
        "train_batch_size",
        "per_gpu_train_batch_size",
        "bs",
    ),
    "per_device_eval_batch_size": ("eval_batch_size", "test_batch_size", "per_gpu_eval_batch_size"),
    "batch_size": ("per_device_eval_batch_size", "eval_batch_size", "bs"),
    "gradient_accumulation_steps": (
        "grad_accum",
        "grad_acc_steps",
        "accumulate_grad_batches",
        "accumulation_steps",
    ),
    "eval_strategy": ("evaluation_strategy", "eval_schedule"),
    "early_stopping_patience": ("patience", "early_stopping"),
    "metric_for_best_model": ("metric_name", "metric", "monitor"),
    "warmup_ratio": ("warmup", "warmup_proportion"),
    "weight_decay": ("wd",),
    "optim": ("optimizer",),
    "lr_scheduler_type": ("scheduler", "lr_scheduler"),
    "max_grad_norm": ("clip", "gradient_clip_val", "grad_clip"),
    "use_cpu": ("no_cuda", "device", "cpu"),
    "head_dropout": ("dropout", "classifier_dropout"),
    "layer_wise_lr_decay": ("llrd", "layerwise_lr_decay", "lr_decay"),
    "folds": ("num_folds", "n_folds", "kfold", "k_folds", "n_splits"),
    "seeds": ("num_seeds",),
    "ema_decay": ("ema",),
    "adversarial": ("fgm", "pgd", "awp", "adv"),
    "rdrop_alpha": ("rdrop", "r_drop"),
    "num_threads": ("threads", "num_workers", "intra_op_num_threads"),
    "provider": ("device", "execution_provider"),
    "delimiter": ("sep", "separator"),
    "id_column": ("id", "id_column_name"),
    "keep_columns": ("columns", "keep"),
}


def other_name(word: str, names: set[str]) -> str | None:
    """Return which of `names` is meant by a word that is none of them; None if no other trainer calls it so."""
    for name, others in ALSO_CALLED.items():
        if name in names and word in others:
            return name
    return None
