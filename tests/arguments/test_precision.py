"""What a machine trains in: every kind of hardware, as facts handed to pure functions, and the flags that ask."""

import os

import pytest
import torch

import trainer_ext.arguments.precision
from trainer_ext.arguments.precision import (
    ENVIRONMENT,
    check_precision,
    choose,
    cpu_hardware,
    explain,
    gpu_hardware,
)
from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.compatibility import TRANSFORMERS_5
from trainer_ext.errors import UserError

AVX2 = cpu_hardware({"avx", "avx2", "fma3"})
EMULATING = cpu_hardware(
    {"avx2", "avx512_f", "avx512_vnni"}
)  # oneDNN does bf16 there with float32 products
ZEN4 = cpu_hardware({"avx2", "avx512_f", "avx512_bf16"})
AMX = cpu_hardware({"amx_bf16", "amx_tile", "avx512_bf16"})
GRAVITON3 = cpu_hardware({"neon", "bf16", "sve_bf16"})
GRAVITON2 = cpu_hardware({"neon", "dot"})
T4 = gpu_hardware("cuda", "Tesla T4", bf16=False)
A100 = gpu_hardware("cuda", "NVIDIA A100", bf16=True)
MPS = gpu_hardware("mps", "the mps device", bf16=False)
XPU = gpu_hardware("xpu", "the xpu device", bf16=True)


@pytest.mark.parametrize(
    "hardware, auto, bf16, fp16",
    [
        (AVX2, "float32", "float32", "float32"),
        (EMULATING, "float32", "float32", "float32"),
        (ZEN4, "bf16", "bf16", "float32"),
        (AMX, "bf16", "bf16", "float32"),
        (GRAVITON3, "bf16", "bf16", "float32"),
        (GRAVITON2, "float32", "float32", "float32"),
        (cpu_hardware(()), "float32", "float32", "float32"),
        (cpu_hardware({"avx512_bf16"}, onednn=False), "float32", "float32", "float32"),
        (cpu_hardware({"avx512_bf16"}, isa_limit="avx2"), "float32", "float32", "float32"),
        (
            cpu_hardware({"avx512_bf16"}, isa_limit="AVX512_CORE_VNNI"),
            "float32",
            "float32",
            "float32",
        ),
        (cpu_hardware({"avx512_bf16"}, isa_limit="AVX512_CORE_BF16"), "bf16", "bf16", "float32"),
        (cpu_hardware({"amx_bf16"}, isa_limit="default"), "bf16", "bf16", "float32"),
        (T4, "fp16", "float32", "fp16"),
        (A100, "bf16", "bf16", "fp16"),
        (MPS, "float32", "float32", "fp16"),
        (XPU, "bf16", "bf16", "fp16"),
    ],
)
def test_what_each_machine_uses(hardware, auto, bf16, fp16):
    """Never what it would emulate; float32 everywhere."""
    assert [choose(asked, hardware) for asked in ("auto", "bf16", "fp16", "float32")] == [
        auto,
        bf16,
        fp16,
        "float32",
    ]


def test_what_is_said():
    """One line, with the reason; nothing where the flag is obeyed."""
    assert (
        explain("precision auto", "auto", ZEN4)
        == "precision auto: bf16, since this CPU has avx512_bf16"
    )
    assert (
        explain("precision auto", "auto", AVX2)
        == "precision auto: float32, since this CPU has no bf16 instructions"
    )
    assert (
        explain("precision auto", "auto", T4) == "precision auto: fp16, since Tesla T4 has no bf16"
    )
    refused = explain("bf16 true", "bf16", AVX2)
    assert refused.startswith(
        "bf16 true: training in float32, since this CPU has no bf16 instructions"
    )
    assert "emulated" in refused and "\n" not in refused
    assert explain("bf16 true", "bf16", T4).endswith("--precision auto takes fp16")
    assert explain("fp16 true", "fp16", ZEN4).endswith(
        "fp16 needs a GPU; --precision auto takes bf16"
    )
    assert explain("bf16_full_eval true", "bf16", AVX2, "evaluating").startswith(
        "bf16_full_eval true: evaluating in"
    )
    assert explain("bf16 true", "bf16", A100) is explain("fp16 true", "fp16", T4) is None
    assert explain("precision float32", "float32", AVX2) is None


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    """Training arguments as parsed on some hardware."""

    def parse(hardware, **flags) -> TrainingArguments:
        monkeypatch.setattr(trainer_ext.arguments.precision, "look", lambda use_cpu: hardware)
        return TrainingArguments(output_dir=str(tmp_path), report_to="none", **flags)

    return parse


@pytest.mark.parametrize("hardware, used", [(ZEN4, "bf16"), (AVX2, "float32")])
@pytest.mark.parametrize("flags", [{"bf16": True}, {"precision": "bf16"}, {"precision": "auto"}])
def test_the_trainer_does_as_decided(arguments, hardware, used, flags):
    """`bf16` and the environment, which is what accelerate goes by, agree with `precision`."""
    args = arguments(hardware, **flags)
    assert (args.precision, args.bf16, args.fp16) == (used, used == "bf16", False)
    if not TRANSFORMERS_5:  # which hands its own decision to accelerate
        assert os.environ[ENVIRONMENT] == {"bf16": "bf16", "float32": "no"}[used]
    else:
        assert args.mixed_precision == {"bf16": "bf16", "float32": "no"}[used]
    assert len(args.precision_notes) == (
        0 if flags != {"precision": "auto"} and used == "bf16" else 1
    )


@pytest.mark.parametrize("flags", [{"fp16": True}, {"precision": "fp16"}])
def test_fp16_recipes_start_on_a_cpu(arguments, flags):
    """transformers would refuse them."""
    args = arguments(AVX2, **flags)
    assert (args.precision, args.bf16, args.fp16) == ("float32", False, False)
    assert "float32" in args.precision_notes[0]


def test_default_is_the_trainers_own(arguments):
    """float32 unless asked, also where there is something faster: numbers do not change with the machine."""
    args = arguments(ZEN4)
    assert (args.precision, args.bf16, args.precision_notes) == ("float32", False, [])


def test_outright_wins_over_auto(arguments):
    """A recipe says `precision: auto`, the command line `--bf16 true`, or fp16."""
    assert (
        arguments(AVX2, precision="auto", bf16=True)
        .precision_notes[0]
        .startswith("bf16 true: training in float32")
    )
    assert arguments(AVX2, precision="auto", fp16=True).precision == "float32"


@pytest.mark.parametrize("name", ["bf16_full_eval", "fp16_full_eval"])
def test_evaluation_in_half_precision(arguments, name):
    """As training is."""
    args = arguments(AVX2, **{name: True})
    assert not getattr(args, name) and args.precision_notes[0].startswith(
        f"{name} true: evaluating in float32"
    )
    assert arguments(ZEN4, bf16_full_eval=True).bf16_full_eval


@pytest.mark.parametrize(
    "launched, hardware, used",
    [("bf16", AVX2, "float32"), ("bf16", ZEN4, "bf16"), ("no", ZEN4, "float32")],
)
def test_accelerate_launch(arguments, monkeypatch, launched, hardware, used):
    """`accelerate launch --mixed_precision bf16` asks through the environment."""
    monkeypatch.setenv(ENVIRONMENT, launched)
    args = arguments(hardware)
    decided = args.mixed_precision if TRANSFORMERS_5 else os.environ[ENVIRONMENT]
    assert args.precision == used and decided == {"float32": "no"}.get(used, used)


def test_float32_outright_under_accelerate_launch(arguments, monkeypatch):
    """The flag wins."""
    monkeypatch.setenv(ENVIRONMENT, "bf16")
    assert (
        arguments(ZEN4, precision="float32").precision == "float32"
        and os.environ[ENVIRONMENT] == "no"
    )


@pytest.mark.parametrize(
    "flags",
    [
        {"bf16": True, "fp16": True},
        {"precision": "float32", "bf16": True},
        {"precision": "bf16", "fp16": True},
    ],
)
def test_contradictions(arguments, flags):
    """Refused, with both."""
    with pytest.raises(ValueError, match=r"are both given; drop one") as caught:
        arguments(ZEN4, **flags)
    assert all(name in str(caught.value) for name in flags)


@pytest.mark.parametrize("asked", ["auto", "bf16"])
def test_false_beside_precision(asked):
    """`--bf16 false` for a recipe with a precision would have no effect."""
    with pytest.raises(UserError, match=f"precision {asked} and bf16 false"):
        check_precision({"precision": asked, "bf16": False})
    check_precision({"precision": "float32", "bf16": False})
    check_precision({"precision": "auto", "fp16": False, "bf16": True})
    check_precision({"bf16": False})


def test_this_machine():
    """What is looked up is one of the cases above."""
    hardware = trainer_ext.arguments.precision.look(use_cpu=True)
    assert hardware.device == "cpu" and "float32" in hardware.precisions and hardware.reason
    if hasattr(torch.cpu, "_is_avx512_bf16_supported") and "ONEDNN_MAX_CPU_ISA" not in os.environ:
        assert ("bf16" in hardware.precisions) >= torch.cpu._is_avx512_bf16_supported()


def test_a_limit_set_for_onednn(monkeypatch):
    """With it products in bf16 are emulated on any CPU."""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert trainer_ext.arguments.precision.look(use_cpu=True).precisions == ("float32",)
