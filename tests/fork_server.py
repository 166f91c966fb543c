"""Runs the project's scripts in processes of their own that need not import torch and the rest again.

A server imports what the commands import, once, and forks for each call: the script has its own process, arguments,
environment, standard streams and exit status, as in a shell, without the five seconds of imports. What is tested about
the imports themselves, or reads the environment while importing, needs a real process (`real=True` in `run_script`).
"""

import atexit
import gc
import importlib.util
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMPORTED = (
    "trainer_ext.arguments.parser", "trainer_ext.cross_validation.dispatch", "trainer_ext.cli.export",
    "trainer_ext.cli.predict",
    "trainer_ext.cli.report", "trainer_ext.cli.balance", "trainer_ext.cli.augment", "trainer_ext.cli.artifacts",
    "trainer_ext.export.run", "trainer_ext.inference.loading", "trainer_ext.data.llm.run", "onnxruntime",
    "onnxruntime.quantization", "matplotlib.pyplot", "sklearn.metrics",
)  # fmt: skip


class ForkServer:
    """The server as its client sees it; started by the first call."""

    def __init__(self):
        self.process = None

    def run(
        self, argv: list[str], env: dict[str, str], timeout: int, cwd: Path = ROOT
    ) -> subprocess.CompletedProcess:
        """Run `SCRIPT ARGUMENTS` or `-m MODULE ARGUMENTS` in the folder `cwd`.

        Raises:
            subprocess.TimeoutExpired: when it takes longer; it is killed then.
        """
        if self.process is None or self.process.poll() is not None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            # torch reads it when it is imported. Sums of several threads have other last bits, and the scripts that
            # do not come from here run with one.
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen(
                [sys.executable, __file__],
                cwd=ROOT,
                env=environment,
                start_new_session=True,
                **pipes,
            )
            atexit.register(self.process.communicate)  # it ends with its input
        with tempfile.TemporaryDirectory() as folder:
            streams = [str(Path(folder) / name) for name in ("stdout", "stderr")]
            request = {"argv": argv, "env": env, "streams": streams, "cwd": str(cwd)}
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            if not select.select([self.process.stdout], [], [], timeout)[0]:
                os.killpg(self.process.pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(argv, timeout)
            line = self.process.stdout.readline()
            assert line, f"the fork server ended while it ran {argv}"
            written = [Path(path).read_text(encoding="utf-8", errors="replace") for path in streams]
        return subprocess.CompletedProcess(argv, int(line), *written)


def serve() -> dict | None:
    """Fork for every request; returns the request in the child, None in the server when there are no more."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what libraries print while they are imported is no answer
    for name in IMPORTED:
        __import__(name)
    if importlib.util.find_spec("optimum"):  # not with transformers 5
        __import__("optimum.exporters.onnx")
    gc.collect()
    gc.freeze()  # a full collection, with which every training ends, would read and copy all of it
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os.close(answers)
            return request
        os.write(answers, f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n".encode())
    return None


def become(request: dict) -> None:
    """Be the script that was asked for."""
    for descriptor, path in enumerate([os.devnull, *request["streams"]]):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), descriptor)
    sys.stdin = open(os.devnull)  # noqa: SIM115  stays open as long as the script runs
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = request["argv"]
    sys.path[0] = str(ROOT)
    if sys.argv[0] == "-m":
        del sys.argv[0]
        sys.modules.pop(sys.argv[0], None)
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(str(ROOT / sys.argv[0]), run_name="__main__")


def finish(request: dict) -> None:
    """Be the script to its end, without the interpreter's own, which waits for threads that a fork does not have."""
    status = 1
    try:
        become(request)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    asked = serve()
    if asked is not None:
        finish(asked)
