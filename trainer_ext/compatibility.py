"""What differs between transformers 4.57 and 5, in one place. Imports nothing heavy.

Version 5 has lost some of `TrainingArguments`, which recipes and this project go on using: here they are fields of our
own that behave as they did in 4.57.
"""

import json
import math
import os
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

TRANSFORMERS_5 = int(version("transformers").partition(".")[0]) >= 5


@dataclass
class NoFlags:
    """transformers 4.57 has all that we use."""


@dataclass
class FlagsGoneIn5:
    """Flags of transformers 4.57 that 5 does not have."""

    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Replace what is in the output folder."}
    )
    group_by_length: bool = field(
        default=False, metadata={"help": "Let the rows of a step have similar lengths."}
    )
    logging_dir: str | None = field(
        default=None, metadata={"help": "Folder of TensorBoard's logs (default: DIR/runs)."}
    )
    warmup_ratio: float = field(
        default=0.0,
        metadata={
            "help": "Share of the steps over which the learning rate rises.",
            "minimum": 0,
            "maximum": 1,
        },
    )
    save_safetensors: bool = field(
        default=True, metadata={"help": "Has no effect: weights are always safetensors."}
    )


@dataclass
class NothingToSettle:
    """transformers 4.57 does with its flags what is expected."""

    def settle_gone_flags(self) -> None:
        """Do nothing."""


@dataclass
class SettledFor5:
    """What transformers 5 no longer does with `FlagsGoneIn5`, and a default of 4.57."""

    # 5 tracks nothing by default; None is taken for W&B here.
    report_to: list[str] | str | None = None
    # Another name of `use_cpu`.
    no_cuda: ClassVar[bool] = False

    def settle_gone_flags(self: Any) -> None:
        """Hand the logging folder over in the only form that is still read."""
        if self.logging_dir:
            os.environ["TENSORBOARD_LOGGING_DIR"] = str(self.logging_dir)

    def get_warmup_steps(self: Any, num_training_steps: int) -> int:
        """Return the steps of the warm-up; as in 4.57 their number wins over their share."""
        if self.warmup_steps > 0:
            steps: int = super().get_warmup_steps(num_training_steps)  # type: ignore[misc]
            return steps
        return math.ceil(num_training_steps * self.warmup_ratio)


if TRANSFORMERS_5:
    GoneFlags: Any = FlagsGoneIn5
    GoneArguments: Any = SettledFor5
    KEPT_FLAGS = "transformers_flags_5.json"
else:
    GoneFlags = NoFlags
    GoneArguments = NothingToSettle
    KEPT_FLAGS = "transformers_flags.json"


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Save a tokenizer so that both versions load it.

    5 calls a tokenizer that no model has made its own `TokenizersBackend`; 4.57 knows the same class by its older name,
    which 5 takes as well.
    """
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        # As transformers writes it.
        text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")


def has_vocabulary(tokenizer: Any) -> bool:
    """Tell whether a tokenizer knows more than its special tokens: 5 makes one up where the files are missing."""
    return not set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens)


def step_counts(trainer: Any, loader: Any) -> tuple[int, int]:
    """Return the optimizer steps of an epoch and of the whole training, as `Trainer`'s own loop counts them."""
    arguments = [trainer.args, loader]
    if not TRANSFORMERS_5:
        arguments.append(trainer.get_total_train_batch_size(trainer.args))
    # Both return: epochs, steps of an epoch, ..., steps in all.
    values = trainer.set_initial_training_values(*arguments)
    return values[1], values[-1]


def forget_loading(module: Any) -> None:
    """Let a module's own parameters be initialised anew: 5 marks those that were loaded, and leaves them alone."""
    for parameter in module.parameters(recurse=False):
        parameter._is_hf_initialized = False
