"""What this CPU can do, as far as INT8 depends on it."""

import platform
from pathlib import Path

# Extensions that decide the speed and the rounding of INT8, fastest first.
INSTRUCTIONS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512f", "avx2", "asimddp")
CPU_INFO = Path("/proc/cpuinfo")
VNNI = ("avx512_vnni", "avx_vnni")
X86 = ("x86_64", "amd64", "i386", "i686", "x86")


def instruction_set() -> str:
    """Return the machine and the known extensions of this CPU: `x86_64 avx512_vnni avx512f avx2`."""
    try:
        flags = CPU_INFO.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        flags = []
    found = [name for name in INSTRUCTIONS if name in flags]
    return " ".join([platform.machine(), *found])


def int8_saturates(instructions: str) -> bool:
    """Tell whether products of signed 8-bit weights overflow 16 bits on a CPU with these instructions.

    x86 without VNNI adds pairs of products in 16 bits.
    """
    machine, *extensions = instructions.split()
    if machine.lower() not in X86:
        return False
    # An x86 that does not list its extensions (not Linux) counts as one without VNNI: asking for the exact kernels
    # where they are not needed costs time only.
    return not set(VNNI) & set(extensions)
