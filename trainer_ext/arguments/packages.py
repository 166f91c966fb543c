"""Choices that need a package which is not installed, found before any row is read."""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from typing import cast

import torch
from transformers import Trainer
from transformers.integrations import integration_utils as trackers
from transformers.utils import is_liger_kernel_available

from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.errors import UserError, describe_error


def check_packages(training: TrainingArguments) -> None:
    """Refuse an optimizer, a tracker, a kernel or a report that cannot be used here.

    Raises:
        UserError: naming the flag, its value and what to install.
    """
    check_optimizer(training)
    if training.suspects == "true" and not find_spec("cleanlab"):
        raise UserError("suspects true needs cleanlab: pip install 'trainer-ext[report]'")
    check_trackers(cast(list[str], training.report_to))  # transformers has made a list of it
    if training.use_liger_kernel and not is_liger_kernel_available():
        raise UserError(
            "use_liger_kernel true needs the package liger-kernel, which is not installed"
        )
    if training.torch_compile_backend:
        check_compiler(training.torch_compile_backend)


def check_optimizer(training: TrainingArguments) -> None:
    """Ask transformers for the optimizer's class: it imports the packages of each, and says which one is missing."""
    name = getattr(training.optim, "value", training.optim)
    for part in (training.optim_args or "").replace(" ", "").split(","):
        if part and part.count("=") != 1:
            raise UserError(
                f"optim_args {training.optim_args} is not understood at {part!r}: expected name=value,..."
            )
    # Some optimizers ask the model for its layers, which a small one answers as well as the one that is built later.
    model = torch.nn.Linear(1, 1)
    try:
        Trainer.get_optimizer_cls_and_kwargs(training, model)
    except (ImportError, ValueError, RuntimeError) as error:
        text = describe_error(error)
        # A ValueError about anything else is the Trainer's own to raise, with the real model.
        if isinstance(error, ImportError) or re.search("install|import", text):
            raise UserError(f"optim {name} cannot be used here: {text}") from error


def check_trackers(names: Sequence[str]) -> None:
    """Refuse a name in `report_to` that is not a tracker, or one that is not installed."""
    installed = installed_trackers()
    known = trackers.INTEGRATION_TO_CALLBACK
    for name in names:
        if name not in known:
            raise UserError(
                f"report_to {name} is not a tracker; there are {', '.join(sorted(known))}"
            )
        if name not in installed:
            raise UserError(
                f"report_to {name} needs a package that is not installed; installed are "
                f"{', '.join(installed) or 'none'}, and report_to none tracks nothing"
            )


def installed_trackers() -> list[str]:
    """Return the trackers that can be used here."""
    names = set(trackers.get_available_reporting_integrations())  # type: ignore[no-untyped-call]
    # transformers leaves this one out of its list.
    if trackers.is_flytekit_available():  # type: ignore[no-untyped-call]
        names.add("flyte")
    return sorted(names)


def check_compiler(backend: str) -> None:
    """Refuse a backend that torch.compile does not know."""
    known = torch._dynamo.list_backends(exclude_tags=())
    if backend not in known:
        raise UserError(f"torch_compile_backend {backend} is unknown; there are {', '.join(known)}")
