"""Which CPUs INT8 answers differently on."""

import pytest

from trainer_ext.inference import hardware
from trainer_ext.inference.hardware import instruction_set, int8_saturates


def test_instruction_set_names_the_machine():
    assert instruction_set().split()[0] in ("x86_64", "aarch64", "arm64", "AMD64")


@pytest.mark.parametrize(
    "machine, flags, expected",
    [
        ("x86_64", "fpu avx avx2 f16c", True),
        ("x86_64", "avx2 avx512f avx512bw", True),  # AVX-512 alone is not enough
        ("x86_64", "avx2 avx512f avx512_vnni avx512_bf16", False),
        ("x86_64", "avx2 avx_vnni", False),  # laptops without AVX-512
        ("x86_64", "", True),  # tells nothing
        ("AMD64", "", True),
        ("aarch64", "fp asimd asimddp", False),
        ("arm64", "", False),
    ],
)
def test_who_saturates(monkeypatch, tmp_path, machine, flags, expected):
    monkeypatch.setattr(hardware.platform, "machine", lambda: machine)
    monkeypatch.setattr(hardware, "CPU_INFO", tmp_path / "cpuinfo")
    if flags:
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
    assert int8_saturates(instruction_set()) is expected
