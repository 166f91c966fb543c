"""What this CPU can do, as far as INT8 depends on it."""

import platform
from pathlib import Path

INSTRUCTIONS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512f", "avx2", "asimddp")
CPU_INFO = Path("/proc/cpuinfo")
VNNI = ("avx512_vnni", "avx_vnni")
X86 = ("x86_64", "amd64", "i386", "i686", "x86")


def instruction_set() -> str:
    """What decides the speed and the rounding of INT8 here: the known extensions of this CPU, fastest first."""
    try:
        flags = set(CPU_INFO.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        flags = set()
    return " ".join([platform.machine(), *(name for name in INSTRUCTIONS if name in flags)])


def int8_saturates(instructions: str) -> bool:
    """Whether products of signed 8-bit weights overflow 16 bits on a CPU with these instructions.

    x86 without VNNI adds pairs of products in 16 bits. Of an x86 that does not tell its extensions (not Linux) we
    expect the worst: asking for the exact kernels where they are not needed costs time only.
    """
    machine, *extensions = instructions.split()
    return machine.lower() in X86 and not set(VNNI) & set(extensions)
