"""Choices that need a package which is not installed, found before any row is read."""

import re

import torch
from transformers import Trainer
from transformers.integrations import integration_utils as trackers
from transformers.utils import is_liger_kernel_available

from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.errors import UserError


def check_packages(training: TrainingArguments) -> None:
    """Refuse an optimizer, a tracker or a kernel that cannot be used here.

    Raises:
        UserError: naming the flag, its value and what to install.
    """
    check_optimizer(training)
    check_trackers(training.report_to)
    if training.use_liger_kernel and not is_liger_kernel_available():
        raise UserError(
            "use_liger_kernel true needs the package liger-kernel, which is not installed"
        )
    if training.torch_compile_backend:
        check_compiler(training.torch_compile_backend)


def check_optimizer(training: TrainingArguments) -> None:
    """Ask transformers for the optimizer's class: it imports the packages of each, and says which one is missing."""
    name = getattr(training.optim, "value", training.optim)
    for part in filter(None, (training.optim_args or "").replace(" ", "").split(",")):
        if part.count("=") != 1:
            raise UserError(
                f"optim_args {training.optim_args} is not understood at {part!r}: expected name=value,..."
            )
    try:
        # some ask the model for its layers, which a small one answers as well as the one that is not built yet
        Trainer.get_optimizer_cls_and_kwargs(training, torch.nn.Linear(1, 1))
    except (ImportError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())
        if isinstance(error, ImportError) or re.search("install|import", text):
            raise UserError(f"optim {name} cannot be used here: {text}") from error


def check_trackers(names: list[str]) -> None:
    """Refuse a name in `report_to` that is no tracker, or one that is not installed."""
    installed = {
        *trackers.get_available_reporting_integrations(),
        *(["flyte"] if trackers.is_flytekit_available() else []),
    }
    for name in names:
        if name not in trackers.INTEGRATION_TO_CALLBACK:
            raise UserError(
                f"report_to {name} is no tracker; there are {', '.join(sorted(trackers.INTEGRATION_TO_CALLBACK))}"
            )
        if name not in installed:
            raise UserError(
                f"report_to {name} needs a package that is not installed; installed are "
                f"{', '.join(sorted(installed)) or 'none'}, and report_to none tracks nothing"
            )


def check_compiler(backend: str) -> None:
    """Refuse a backend that torch.compile does not know."""
    known = torch._dynamo.list_backends(exclude_tags=())
    if backend not in known:
        raise UserError(f"torch_compile_backend {backend} is unknown; there are {', '.join(known)}")
