"""The keywords of `fit`, `cross_validate` and `export`, written by docs/write_keywords.py, not by hand.

None takes a recipe's value back. What a flag does is in docs/flags.md and in `python train.py --help`.
"""

import os
from collections.abc import Sequence
from typing import Any, TypedDict

Items = str | float | Sequence[Any] | None
Mapped = dict[str, Any] | str | None
Path = str | os.PathLike[str] | None
Rows = Any
"""A file, a data frame, a `datasets.Dataset`, a list of mappings or tuples, or a mapping of columns to lists."""


class ReadingKeywords(TypedDict, total=False):
    """How a file of rows is written."""

    file_format: str | None
    delimiter: str | None
    quoting: str | None
    column_names: Items
    drop_missing: bool | None
    encoding: str | None


class FoldKeywords(TypedDict, total=False):
    """Every flag of train.py but `folds`."""

    # encoder and head
    compression: Items
    stage_epochs: Items
    max_vocab_size: int | None
    vocab_corpus: Items
    keep_layers: int | None
    width: Items
    target_speedup: float | None
    target_latency_ms: float | None
    l1_sparsity: float | None
    l1_matrices: Items
    l1_scope: str | None
    l1_ramp: float | None
    model_name_or_path: Path
    from_scratch: str | None
    config_overrides: str | None
    vocab_size: int | None
    embeddings_from: str | None
    pooling: str | None
    head_dropout: float | None
    head_init: str | None
    calibrate: str | None
    reject: str | None
    reject_rate: float | None
    multi_sample_dropout: int | None
    reinit_layers: int | None
    freeze_embeddings: bool | None
    freeze_layers: int | None
    ignore_mismatched_sizes: bool | None
    trust_remote_code: bool | None
    # data
    file_format: str | None
    delimiter: str | None
    quoting: str | None
    column_names: Items
    drop_missing: bool | None
    encoding: str | None
    truncation: str | None
    truncation_head_share: float | None
    truncation_marker: str | None
    clean: Items
    stopwords_file: Path
    balance: str | None
    task: str | None
    text_column: str | None
    label_columns: Items
    label_names: Items
    label_separator: str | None
    train_file: Rows
    validation_file: Rows
    validation_split: float | None
    test_file: Rows
    ood_file: str | None
    dataset_name: str | None
    dataset_config_name: str | None
    drop_suspects: str | None
    id_column: str | None
    max_length: int | None
    preprocessing_num_workers: int | None
    streaming: bool | None
    max_train_samples: int | None
    max_eval_samples: int | None
    # objective
    teacher: Items
    distill: str | None
    distill_alpha: float | None
    distill_temperature: float | None
    unlabelled_file: Items
    pseudo_label_threshold: float | None
    distill_hidden_weight: float | None
    distill_attention_weight: float | None
    distill_layer_map: Items
    focal_gamma: float | None
    focal_alpha: Items
    class_weights: Items
    regression_loss: str | None
    rdrop_alpha: float | None
    slot_loss_weight: float | None
    # training
    write_report: bool | None
    baseline: str | None
    baseline_rows: int | None
    suspects: str | None
    precision: str | None
    layer_wise_lr_decay: float | None
    head_lr_factor: float | None
    parameter_groups: Items
    ema_decay: float | None
    adversarial: str | None
    adversarial_epsilon: float | None
    adversarial_steps: int | None
    adversarial_start_epoch: float | None
    do_train: bool | None
    early_stopping_patience: int | None
    trackio_space_id: str | None
    run_group: str | None
    run_tags: Items
    # folds and seeds
    launcher: str | None
    ray_address: str | None
    num_cpus_per_run: float | None
    num_gpus_per_run: float | None
    search: str | None
    search_trials: int | None
    fold: int | None
    fold_strategy: str | None
    group_column: str | None
    fold_repeats: int | None
    num_fold_workers: int | None
    seeds: Items
    soup: bool | None
    # transformers' own
    output_dir: Path
    overwrite_output_dir: bool | None
    do_eval: bool | None
    do_predict: bool | None
    eval_strategy: str | None
    prediction_loss_only: bool | None
    per_device_train_batch_size: int | None
    per_device_eval_batch_size: int | None
    per_gpu_train_batch_size: int | None
    per_gpu_eval_batch_size: int | None
    gradient_accumulation_steps: int | None
    eval_accumulation_steps: int | None
    eval_delay: float | None
    torch_empty_cache_steps: int | None
    learning_rate: float | None
    weight_decay: float | None
    adam_beta1: float | None
    adam_beta2: float | None
    adam_epsilon: float | None
    max_grad_norm: float | None
    num_train_epochs: float | None
    max_steps: int | None
    lr_scheduler_type: str | None
    lr_scheduler_kwargs: Mapped
    warmup_ratio: float | None
    warmup_steps: int | None
    log_level: str | None
    log_level_replica: str | None
    log_on_each_node: bool | None
    logging_dir: Path
    logging_strategy: str | None
    logging_first_step: bool | None
    logging_steps: float | None
    logging_nan_inf_filter: bool | None
    save_strategy: str | None
    save_steps: float | None
    save_total_limit: int | None
    save_safetensors: bool | None
    save_on_each_node: bool | None
    save_only_model: bool | None
    restore_callback_states_from_checkpoint: bool | None
    no_cuda: bool | None
    use_cpu: bool | None
    use_mps_device: bool | None
    seed: int | None
    data_seed: int | None
    jit_mode_eval: bool | None
    bf16: bool | None
    fp16: bool | None
    fp16_opt_level: str | None
    half_precision_backend: str | None
    bf16_full_eval: bool | None
    fp16_full_eval: bool | None
    tf32: bool | None
    local_rank: int | None
    ddp_backend: str | None
    tpu_num_cores: int | None
    tpu_metrics_debug: bool | None
    debug: Items
    dataloader_drop_last: bool | None
    eval_steps: float | None
    dataloader_num_workers: int | None
    dataloader_prefetch_factor: int | None
    past_index: int | None
    run_name: str | None
    disable_tqdm: bool | None
    remove_unused_columns: bool | None
    load_best_model_at_end: bool | None
    metric_for_best_model: str | None
    greater_is_better: bool | None
    ignore_data_skip: bool | None
    fsdp: Items
    fsdp_min_num_params: int | None
    fsdp_config: Mapped
    fsdp_transformer_layer_cls_to_wrap: str | None
    accelerator_config: Mapped
    parallelism_config: Any | None
    deepspeed: Mapped
    label_smoothing_factor: float | None
    optim: str | None
    optim_args: str | None
    adafactor: bool | None
    group_by_length: bool | None
    length_column_name: str | None
    report_to: Items
    project: str | None
    ddp_find_unused_parameters: bool | None
    ddp_bucket_cap_mb: int | None
    ddp_broadcast_buffers: bool | None
    dataloader_pin_memory: bool | None
    dataloader_persistent_workers: bool | None
    skip_memory_metrics: bool | None
    use_legacy_prediction_loop: bool | None
    push_to_hub: bool | None
    resume_from_checkpoint: str | None
    hub_model_id: str | None
    hub_strategy: str | None
    hub_token: str | None
    hub_private_repo: bool | None
    hub_always_push: bool | None
    hub_revision: str | None
    gradient_checkpointing: bool | None
    gradient_checkpointing_kwargs: Mapped
    include_inputs_for_metrics: bool | None
    include_for_metrics: Items
    eval_do_concat_batches: bool | None
    fp16_backend: str | None
    push_to_hub_model_id: str | None
    push_to_hub_organization: str | None
    push_to_hub_token: str | None
    mp_parameters: str | None
    auto_find_batch_size: bool | None
    full_determinism: bool | None
    torchdynamo: str | None
    ray_scope: str | None
    ddp_timeout: int | None
    torch_compile: bool | None
    torch_compile_backend: str | None
    torch_compile_mode: str | None
    include_tokens_per_second: bool | None
    include_num_input_tokens_seen: bool | str | None
    neftune_noise_alpha: float | None
    optim_target_modules: Items
    batch_eval_metrics: bool | None
    eval_on_start: bool | None
    use_liger_kernel: bool | None
    liger_kernel_config: Mapped
    eval_use_gather_object: bool | None
    average_tokens_across_devices: bool | None


class Keywords(FoldKeywords, total=False):
    """Every flag of train.py."""

    folds: int | None
