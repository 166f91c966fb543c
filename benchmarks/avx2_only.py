"""Run a command as on a CPU with AVX2 and nothing newer: `python benchmarks/avx2_only.py COMMAND ...`.

What is newer (AVX-512, VNNI, AMX) is hidden from both runtimes, in a mount namespace that only the command sees:

- ONNX Runtime: in a copy of its library every `cpuid` is an invalid instruction, which `avx2_only.c` answers;
- the native runtime: /proc/cpuinfo is a copy without their flags;
- PyTorch and glibc: by their own environment variables.

`python benchmarks/avx2_only.py python benchmarks/saturation.py` shows whether it works: plain 8-bit weights overflow as
simulated. It is this CPU's speed all the same: an older one has fewer units and smaller caches.

Linux on x86-64 with a C compiler, objdump, and the right to mount in a namespace of its own (root, or `unshare -r`).
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from trainer_ext.errors import UserError, run_main

CPU_INFO = Path("/proc/cpuinfo")
HANDLER = Path(__file__).with_suffix(".c")
NEWER = re.compile(r"\b(avx512|avx_vnni|avx10|amx)\w*")
CPUID, INVALID = b"\x0f\xa2", b"\x0f\x0b"
SECTION = re.compile(r"^\s*\d+ \.text\s+(\w+)\s+(\w+)\s+\w+\s+(\w+)", re.MULTILINE)
INSTRUCTION = re.compile(r"^\s*(\w+):\tcpuid", re.MULTILINE)
SETTINGS = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512CD,-AVX512DQ",
}
# $0 is laid over $1 and $2 over $3; $4 is loaded before the command, which is the rest.
IN_NAMESPACE = 'mount --bind "$0" "$1" && mount --bind "$2" "$3" && export LD_PRELOAD="$4" && shift 4 && exec "$@"'


def output_of(*command: str | Path) -> str:
    """Return what a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def without_cpuid(library: Path) -> bytes:
    """Return a library with an invalid instruction in the place of every `cpuid`.

    Raises:
        UserError: if it has none.
    """
    section = SECTION.search(output_of("objdump", "-h", library))
    places = INSTRUCTION.findall(output_of("objdump", "-d", "--no-show-raw-insn", library))
    if section is None or not places:
        raise UserError(f"{library}: no cpuid instruction")
    address, offset = int(section[2], 16), int(section[3], 16)
    content = bytearray(library.read_bytes())
    for place in places:
        start = int(place, 16) - address + offset
        where = slice(start, start + len(CPUID))
        # The same two bytes may be part of other instructions: only those that objdump names are replaced.
        if content[where] != CPUID:
            raise UserError(f"{library}: no cpuid at {place}")
        content[where] = INVALID
    return bytes(content)


def run(command: list[str], folder: Path) -> int:
    """Run a command with what is in `folder` laid over this machine's files; return its exit status."""
    library = Path(runtime.__file__)
    copy = folder / library.name
    copy.write_bytes(without_cpuid(library))
    flags = folder / "cpuinfo"
    flags.write_text(NEWER.sub("", CPU_INFO.read_text(encoding="utf-8")), encoding="utf-8")
    handler = folder / "avx2_only.so"
    output_of("cc", "-O2", "-shared", "-fPIC", HANDLER, "-o", handler)
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    namespace = ["unshare", "--mount", *user, "sh", "-c", IN_NAMESPACE]
    covers = [copy, library, flags, CPU_INFO, handler]
    return subprocess.run([*namespace, *covers, *command], env=os.environ | SETTINGS).returncode


def main() -> None:
    """Check what is needed, and run the command."""
    command = sys.argv[1:]
    if not command:
        raise UserError("which command? python benchmarks/avx2_only.py COMMAND ...")
    for tool in ("cc", "objdump", "unshare"):
        if shutil.which(tool) is None:
            raise UserError(f"{tool} is not installed")
    with tempfile.TemporaryDirectory() as scratch:
        status = run(command, Path(scratch))
    sys.exit(status)


if __name__ == "__main__":
    run_main(main)
