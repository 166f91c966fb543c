"""In which precision a machine trains: what the flags ask for, as far as its hardware has it.

A part of `arguments.py`, by itself because of the length. bf16 on a CPU without instructions for it is emulated, up to
a hundred times slower than float32; fp16 needs a GPU.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from trainer_ext.arguments.fields import option
from trainer_ext.errors import UserError

PRECISIONS = ("auto", "float32", "bf16", "fp16")
CPU_BF16 = ("amx_bf16", "avx512_bf16", "bf16")  # the last is Arm's
FULL_EVALUATION = {"bf16_full_eval": "bf16", "fp16_full_eval": "fp16"}
# Set by `accelerate launch --mixed_precision`, and what the Trainer goes by where its own flags say nothing.
ENVIRONMENT = "ACCELERATE_MIXED_PRECISION"


class Hardware(NamedTuple):
    """What a training runs on.

    Attributes:
        device: torch's word for it: `cpu`, `cuda`, `mps` ...
        precisions: what it computes in without emulation; the first is what `auto` takes.
        reason: why that one, as the end of a sentence.
    """

    device: str
    precisions: tuple[str, ...]
    reason: str


def cpu_hardware(features: Collection[str], onednn: bool = True, isa_limit: str = "") -> Hardware:
    """A CPU, from the names of its instruction sets.

    Args:
        features: as `torch.cpu.get_capabilities` or /proc/cpuinfo name them.
        onednn: whether torch has the library whose products use them.
        isa_limit: value of ONEDNN_MAX_CPU_ISA, which forbids that library what comes after it.
    """
    found = next((name for name in CPU_BF16 if name in features), None)
    limit = isa_limit.upper()
    allowed = limit in ("", "DEFAULT", "ALL") or any(
        name in limit for name in ("BF16", "FP16", "AMX", "AVX10")
    )
    if found and not allowed:
        return Hardware(
            "cpu",
            ("float32",),
            f"ONEDNN_MAX_CPU_ISA {isa_limit} leaves this CPU no bf16 instructions",
        )
    if found and not onednn:
        return Hardware(
            "cpu", ("float32",), "this torch is built without oneDNN, which bf16 on a CPU needs"
        )
    if found:
        return Hardware("cpu", ("bf16", "float32"), f"this CPU has {found}")
    return Hardware("cpu", ("float32",), "this CPU has no bf16 instructions")


def gpu_hardware(device: str, name: str, bf16: bool) -> Hardware:
    """A GPU, called `name`, with bf16 of its own or without."""
    if bf16:
        return Hardware(device, ("bf16", "fp16", "float32"), f"{name} has bf16")
    if device == "cuda":
        return Hardware(device, ("fp16", "float32"), f"{name} has no bf16")
    return Hardware(device, ("float32", "fp16"), f"{name} has no bf16")


def look(use_cpu: bool) -> Hardware:
    """The hardware that this process trains on."""
    import torch
    from transformers.utils import is_torch_bf16_gpu_available

    if not use_cpu and torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        return gpu_hardware("cuda", name, torch.cuda.is_bf16_supported(including_emulation=False))
    if not use_cpu and torch.accelerator.is_available():
        device = torch.accelerator.current_accelerator().type
        return gpu_hardware(device, f"the {device} device", is_torch_bf16_gpu_available())
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    return cpu_hardware(cpu_features(), torch.backends.mkldnn.is_available(), limit)


def cpu_features() -> set[str]:
    """Names of the CPU's instruction sets; empty where nobody tells."""
    import torch

    if hasattr(torch.cpu, "get_capabilities"):
        return {name for name, value in torch.cpu.get_capabilities().items() if value is True}
    try:  # torch before 2.11
        return set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return set()


def choose(asked: str, hardware: Hardware) -> str:
    """`asked` where the hardware has it, else float32; for `auto` what it is best at."""
    if asked == "auto":
        return hardware.precisions[0]
    return asked if asked in hardware.precisions else "float32"


def explain(flag: str, asked: str, hardware: Hardware, job: str = "training") -> str | None:
    """One line for the user: what `auto` has chosen, or why he does not get what he asked for; None if he does.

    Args:
        flag: as he wrote it: `bf16 true`.
        asked: the precision it stands for.
        hardware: what there is.
        job: what is not done in it.
    """
    used = choose(asked, hardware)
    if asked == "auto":
        return f"precision auto: {used}, since {hardware.reason}"
    if used == asked:
        return None
    emulated = f"{hardware.reason}: bf16 would be emulated, slower than float32"
    why = "fp16 needs a GPU" if asked == "fp16" else emulated
    better = hardware.precisions[0]
    hint = f"; --precision auto takes {better}" if better != "float32" and job == "training" else ""
    return f"{flag}: {job} in float32, since {why}{hint}"


def check_precision(given: Mapping[str, Any]) -> None:
    """`bf16 false` takes no effect beside a `precision` that may be bf16.

    Args:
        given: the flags as the user set them.

    Raises:
        UserError: naming both flags and both values.
    """
    asked = given.get("precision")
    outright = any(given.get(name) for name in ("bf16", "fp16"))
    for name in ("bf16", "fp16"):
        if asked in ("auto", name) and given.get(name) is False and not outright:
            raise UserError(
                f"precision {asked} and {name} false are both given; drop one, or take --precision float32"
            )


@dataclass
class PrecisionArguments:
    """The flag, and how it goes together with `bf16` and `fp16` of `transformers.TrainingArguments`."""

    _argument_group_name = "precision"

    precision: str | None = option(
        None,
        "Mixed precision of the training. auto: bf16 if the CPU or GPU has it, fp16 on older GPUs, else float32. "
        "What the hardware would only emulate becomes float32. Default: what --bf16 and --fp16 say, float32 "
        "without them.",
        choices=PRECISIONS,
    )

    def asked_precision(self) -> tuple[str, str]:
        """What the flags (or `accelerate launch`) ask for, and the words with which they do.

        Raises:
            ValueError: when two of them contradict each other.
        """
        named = [name for name in ("bf16", "fp16") if getattr(self, name)]
        if len(named) == 2:
            raise ValueError("bf16 true and fp16 true are both given; drop one")
        if named and self.precision not in (None, "auto", named[0]):
            raise ValueError(
                f"precision {self.precision} and {named[0]} true are both given; drop one (--{named[0]} false switches "
                "a recipe's off)"
            )
        if named:  # outright, so it wins over auto
            return named[0], f"{named[0]} true"
        if self.precision:
            return self.precision, f"precision {self.precision}"
        launched = os.environ.get(ENVIRONMENT)
        return (
            launched if launched in ("bf16", "fp16") else "float32"
        ), f"{ENVIRONMENT} {launched}"

    def settle_precision(self) -> None:
        """Set `precision`, `bf16` and `fp16` to what is used, and say in `precision_notes` what there is to say."""
        asked, flag = self.asked_precision()
        hardware = look(self.use_cpu or self.no_cuda)
        notes = [explain(flag, asked, hardware)]
        self.precision = choose(asked, hardware)
        self.bf16, self.fp16 = self.precision == "bf16", self.precision == "fp16"
        for name, kind in FULL_EVALUATION.items():
            if getattr(self, name):
                notes.append(explain(f"{name} true", kind, hardware, "evaluating"))
                setattr(self, name, choose(kind, hardware) == kind)
        if os.environ.get(ENVIRONMENT) in ("bf16", "fp16"):
            os.environ[ENVIRONMENT] = (
                "no"  # else the Trainer takes it up where bf16 and fp16 are false
            )
        if hardware.device == "cpu" and (self.bf16 or self.bf16_full_eval):
            self.use_cpu = (
                True  # transformers refuses bf16 without a GPU unless told that the CPU is meant
            )
        self.precision_notes = [note for note in notes if note]
