"""In which precision a machine trains: what the flags ask for, as far as its hardware has it.

bf16 on a CPU without instructions for it is emulated, up to a hundred times slower than float32; fp16 needs a GPU.
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
# Set by `accelerate launch --mixed_precision`, and what the Trainer goes by if its own flags say nothing.
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
    """Return what a CPU computes in, from the names of its instruction sets.

    Args:
        features: as `torch.cpu.get_capabilities` or /proc/cpuinfo name them.
        onednn: whether torch has the library whose products use them.
        isa_limit: value of ONEDNN_MAX_CPU_ISA, which forbids that library what comes after it.
    """
    found = next((name for name in CPU_BF16 if name in features), None)
    if found is None:
        return Hardware("cpu", ("float32",), "this CPU has no bf16 instructions")
    if not allows_bf16(isa_limit):
        reason = f"ONEDNN_MAX_CPU_ISA {isa_limit} leaves this CPU no bf16 instructions"
        return Hardware("cpu", ("float32",), reason)
    if not onednn:
        reason = "this torch is built without oneDNN, which bf16 on a CPU needs"
        return Hardware("cpu", ("float32",), reason)
    return Hardware("cpu", ("bf16", "float32"), f"this CPU has {found}")


def allows_bf16(isa_limit: str) -> bool:
    """Tell whether a limit of oneDNN leaves it instructions for bf16."""
    limit = isa_limit.upper()
    if limit in ("", "DEFAULT", "ALL"):
        return True
    return any(name in limit for name in ("BF16", "FP16", "AMX", "AVX10"))


def gpu_hardware(device: str, name: str, bf16: bool) -> Hardware:
    """Return what a GPU computes in.

    Args:
        device: torch's word for it.
        name: as a user knows it.
        bf16: whether it has bf16 of its own.
    """
    if bf16:
        return Hardware(device, ("bf16", "fp16", "float32"), f"{name} has bf16")
    reason = f"{name} has no bf16"
    if device == "cuda":
        return Hardware(device, ("fp16", "float32"), reason)
    return Hardware(device, ("float32", "fp16"), reason)


def look(use_cpu: bool) -> Hardware:
    """Look at the hardware that this process trains on."""
    import torch
    from transformers.utils import is_torch_bf16_gpu_available

    if not use_cpu and torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        # Emulated bf16 is slower than float32, so it does not count.
        return gpu_hardware("cuda", name, torch.cuda.is_bf16_supported(including_emulation=False))
    accelerator = None if use_cpu else torch.accelerator.current_accelerator(check_available=True)
    if accelerator is not None:
        kind = accelerator.type
        return gpu_hardware(kind, f"the {kind} device", is_torch_bf16_gpu_available())
    # DNNL is oneDNN's former name, which it still reads.
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    return cpu_hardware(cpu_features(), has_onednn(), limit)


def has_onednn() -> bool:
    """Tell whether this torch is built with oneDNN."""
    import torch

    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def cpu_features() -> set[str]:
    """Return the names of the CPU's instruction sets; none if they cannot be found out."""
    import torch

    if hasattr(torch.cpu, "get_capabilities"):
        return {name for name, value in torch.cpu.get_capabilities().items() if value is True}
    try:  # torch before 2.11
        return set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return set()


def choose(asked: str, hardware: Hardware) -> str:
    """Return the precision that was asked for if the hardware has it, else float32; for `auto` its best one."""
    if asked == "auto":
        return hardware.precisions[0]
    return asked if asked in hardware.precisions else "float32"


def explain(flag: str, asked: str, hardware: Hardware, job: str = "training") -> str | None:
    """Say what `auto` has chosen, or why the user does not get what was asked for; None if he does.

    Args:
        flag: as the user wrote it: `bf16 true`.
        asked: the precision it stands for.
        hardware: what this machine has.
        job: what is not done in that precision.
    """
    used = choose(asked, hardware)
    if asked == "auto":
        return f"precision auto: {used}, since {hardware.reason}"
    if used == asked:
        return None
    why = f"{hardware.reason}: bf16 would be emulated, slower than float32"
    if asked == "fp16":
        why = "fp16 needs a GPU"
    better = hardware.precisions[0]
    hint = ""
    if better != "float32" and job == "training":
        hint = f"; --precision auto takes {better}"
    return f"{flag}: {job} in float32, since {why}{hint}"


def check_precision(given: Mapping[str, Any]) -> None:
    """Refuse `bf16 false` beside a `precision` that may be bf16, where it would have no effect.

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


class FlagsOfTransformers:
    """The flags of `transformers.TrainingArguments` that `PrecisionArguments` goes together with."""

    bf16: bool
    fp16: bool
    bf16_full_eval: bool
    use_cpu: bool
    no_cuda: bool


@dataclass
class PrecisionArguments(FlagsOfTransformers):
    """The flag, and how it goes together with `bf16` and `fp16` of `transformers.TrainingArguments`."""

    _argument_group_name = "precision"

    precision: str | None = option(
        None,
        "Mixed precision of the training. auto: bf16 if the CPU or GPU has it, fp16 on older GPUs, else float32. "
        "Default: what --bf16 and --fp16 say.",
        choices=PRECISIONS,
    )

    def asked_precision(self) -> tuple[str, str]:
        """Return what the flags (or `accelerate launch`) ask for, and the words with which they do.

        Raises:
            ValueError: if two of them contradict each other.
        """
        named = [name for name in ("bf16", "fp16") if getattr(self, name)]
        if len(named) == 2:
            raise ValueError("bf16 true and fp16 true are both given; drop one")
        if named and self.precision not in (None, "auto", named[0]):
            raise ValueError(
                f"precision {self.precision} and {named[0]} true are both given; drop one (--{named[0]} false switches "
                "a recipe's off)"
            )
        if named:
            # Said outright, so it wins over auto.
            return named[0], f"{named[0]} true"
        if self.precision:
            return self.precision, f"precision {self.precision}"
        launched = os.environ.get(ENVIRONMENT, "no")
        precision = launched if launched in ("bf16", "fp16") else "float32"
        return precision, f"{ENVIRONMENT} {launched}"

    def settle_precision(self) -> None:
        """Set `precision`, `bf16` and `fp16` to what is used, and `precision_notes` to what a user should know."""
        asked, flag = self.asked_precision()
        hardware = look(self.use_cpu or self.no_cuda)
        notes = [explain(flag, asked, hardware)]
        self.precision = choose(asked, hardware)
        self.bf16 = self.precision == "bf16"
        self.fp16 = self.precision == "fp16"
        for name, kind in FULL_EVALUATION.items():
            if getattr(self, name):
                notes.append(explain(f"{name} true", kind, hardware, "evaluating"))
                setattr(self, name, choose(kind, hardware) == kind)
        if os.environ.get(ENVIRONMENT) in ("bf16", "fp16"):
            # Otherwise the Trainer takes it up if bf16 and fp16 are false.
            os.environ[ENVIRONMENT] = "no"
        if hardware.device == "cpu" and (self.bf16 or self.bf16_full_eval):
            # transformers refuses bf16 without a GPU unless told that the CPU is meant.
            self.use_cpu = True
        self.precision_notes = [note for note in notes if note]
