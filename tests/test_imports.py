"""Imports go one way, inference stays light, and no file grows too long: read with `ast`, and once for real."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer_ext.tasks import CLASSES

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "trainer_ext").rglob("*.py"))
NAMES = [path.relative_to(ROOT).as_posix() for path in FILES]
HEAVY = {
    "torch",
    "transformers",
    "datasets",
    "pandas",
    "sklearn",
    "optimum",
    "evaluate",
    "accelerate",
    "wandb",
}

# What a room may import of ours, beside the small modules that lie at the top.
SMALL = {
    "characters",
    "children",
    "compatibility",
    "cores",
    "errors",
    "figures",
    "files",
    "locks",
    "log",
    "processes",
    "ray_connection",
    "redaction",
    "remote_code",
    "storage",
    "tables",
}
ALLOWED = {
    "characters": set(),
    "children": set(),
    "compatibility": set(),
    "cores": set(),
    "ray_connection": {"cores", "errors"},
    "redaction": set(),
    "remote_code": {"errors"},
    "storage": {"errors", "files"},
    "synonyms": set(),
    "log": set(),
    "errors": {"log", "synonyms"},
    "files": {"errors"},
    "locks": {"errors"},
    "processes": {"errors"},
    "tables": {"characters"},
    "figures": {"errors", "files"},
    "arguments": {"synonyms", "tasks", *SMALL},
    "tasks": SMALL,
    "data": {"arguments", "tasks", *SMALL},
    "modeling": {"arguments", "data", "tasks", *SMALL},
    "objectives": {"arguments", "tasks", *SMALL},
    "runs": {"arguments", *SMALL},
    "tracking": {"arguments", "tasks", *SMALL},
    # modeling: for a checkpoint's session, tracking: for a reference to a model; both inside functions
    "inference": {"arguments", "data", "tasks", "modeling", "tracking", *SMALL},
    # data: the rows of a csv file of answers
    "serving": {"data", "inference", "tasks", *SMALL},
    "evaluation": {"arguments", "data", "inference", "reports", "tasks", *SMALL},
    "reports": {"arguments", "data", "tasks", *SMALL},
    "export": {
        "arguments",
        "data",
        "evaluation",
        "inference",
        "modeling",
        "reports",
        "tasks",
        *SMALL,
    },
    "training": {
        "arguments",
        "data",
        "evaluation",
        "inference",
        "modeling",
        "objectives",
        "reports",
        "runs",
        "tasks",
        "tracking",
        *SMALL,
    },
    "cross_validation": {
        *(
            "arguments",
            "data",
            "evaluation",
            "inference",
            "modeling",
            "reports",
            "runs",
            "tasks",
            "tracking",
        ),
        *("training", *SMALL),
    },
    "comparison": {
        *("arguments", "cross_validation", "data", "evaluation", "inference", "reports", "runs"),
        *("tasks", *SMALL),
    },
    "compression": {
        *("arguments", "data", "export", "inference", "modeling", "runs", "training"),
        *SMALL,
    },
    "search": {
        *("arguments", "compression", "cross_validation", "runs", "tasks", "tracking"),
        *SMALL,
    },
    "cli": {
        *(
            "arguments",
            "comparison",
            "compression",
            "cross_validation",
            "data",
            "evaluation",
            "export",
            "inference",
            "modeling",
            "reports",
            "runs",
            "search",
            "serving",
        ),
        *("tasks", "tracking", "training", *SMALL),
    },
    "api": {
        "arguments",
        "cli",
        "compression",
        "cross_validation",
        "data",
        "inference",
        "runs",
        "search",
        "training",
        *SMALL,
    },
    # `__main__.py` of any room
    "__main__": {"arguments", "cli", "data", *SMALL},
}
# Files of a room that are commands, too, beside `ROOM/__main__.py`: what they run is in cli.
RUN_AS_MODULES = {
    "trainer_ext/data/balance.py",
    "trainer_ext/data/io/smp.py",
    "trainer_ext/reports/compare.py",
}
# The libraries of metrics are loaded when a metric is computed: no module imports this one at its top.
LAZY = "trainer_ext/tasks/metrics.py"
LIGHT_ROOMS = (
    "arguments/",
    "data/io/",
    "inference/",
    "reports/tables",
    "serving/",
    "tasks/",
    "tracking/artifacts/",
)
LIGHT_FILES = [
    "__init__",
    "children",
    "cross_validation/launchers/base",
    "cross_validation/launchers/process",
    "cross_validation/launchers/ray_cluster",
    "cross_validation/launchers/stored",
    "errors",
    "files",
    "locks",
    "storage",
    "synonyms",
    "tables",
    "data/__init__",
    "data/joint",
    "data/labelled",
]
LIGHT_FILES += [
    "data/provenance",
    "data/preprocessing/batch",
    "data/preprocessing/cleaning",
    "data/preprocessing/truncation",
    "data/preprocessing/pipeline",
    "data/preprocessing/plain_checkpoint",
]
LIGHT_FILES += [
    "data/sampling/balance",
    "data/sampling/resample",
    "cli/__init__",
    "cli/artifacts",
    "cli/balance",
    "cli/commands",
    "cli/options",
    "cli/predict",
    "cli/predict_shards",
    "cli/serve",
    "tracking/server",
]
NOT_LIGHT = {LAZY, "trainer_ext/arguments/training.py", "trainer_ext/arguments/parser.py"}
NOT_LIGHT |= {"trainer_ext/arguments/packages.py", "trainer_ext/tracking/artifacts/publish.py"}
LIGHT = [
    name
    for name in NAMES
    if name.removeprefix("trainer_ext/").startswith(LIGHT_ROOMS) and name not in NOT_LIGHT
]
LIGHT += [f"trainer_ext/{name}.py" for name in LIGHT_FILES]


def imported(node: ast.AST) -> list[str]:
    """Dotted names that an import statement loads."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative import"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when a module is imported: also those in `if` and `try`, not those in functions."""
    for node in body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for name in ("body", "orelse", "finalbody"):
                yield from statements(getattr(node, name, []))
            for handler in getattr(node, "handlers", []):
                yield from statements(handler.body)


def all_imports(name: str) -> list[str]:
    """Every import of a file, wherever it stands."""
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    return [module for node in ast.walk(tree) for module in imported(node)]


def top_imports(name: str) -> list[str]:
    """The imports that run when a file is imported."""
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    return [module for node in statements(tree.body) for module in imported(node)]


def part(module: str) -> str:
    """`trainer_ext.data.io.readers.Row` -> `data`; empty for the package itself."""
    return (module.split(".") + [""])[1]


def test_the_rules_see_something():
    """Files, parts, and imports of both kinds."""
    assert len(FILES) > 30
    parts = {Path(name).parts[1].removesuffix(".py") for name in NAMES} - {"__init__"}
    assert parts <= set(ALLOWED), f"say what {parts - set(ALLOWED)} may import"
    assert "trainer_ext.modeling.session.TorchSession" in all_imports(
        "trainer_ext/inference/loading.py"
    )
    assert "trainer_ext.modeling.session.TorchSession" not in top_imports(
        "trainer_ext/inference/loading.py"
    )


@pytest.mark.parametrize("name", NAMES)
def test_imports_go_one_way(name):
    """Also those inside functions."""
    own = Path(name).parts[1].removesuffix(".py")
    if Path(name).name == "__main__.py" or name in RUN_AS_MODULES:
        own = "__main__"
    if own == "__init__":
        return
    used = {
        part(module) for module in all_imports(name) if module.split(".")[0] == "trainer_ext"
    } - {own, ""}
    assert used <= ALLOWED[own], f"{name} imports {used - ALLOWED[own]}"


def names_compared(tree: ast.AST) -> Iterator[int]:
    """Lines that compare a task's name, look one up, or key a dictionary by it; `if`, `match` and tables alike."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Dict):
            parts = [key for key in node.keys if key is not None]
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        elif isinstance(node, ast.Subscript):
            parts = [node.slice]
        else:
            continue
        constants = [each for part in parts for each in ast.walk(part)]
        if any(isinstance(each, ast.Constant) and each.value in CLASSES for each in constants):
            yield node.lineno


def test_the_rule_on_names_of_tasks_sees_every_form():
    """Comparisons, tables, `match` and `TASKS["joint"]`."""
    for code in (
        "task.name == 'joint'",
        "task in ('single_label', 'joint')",
        "{'regression': 1}[task]",
        "match task:\n case 'joint' | 'regression':\n  pass",
        "TASKS['joint']",
    ):
        assert list(names_compared(ast.parse(code))), code
    assert not list(names_compared(ast.parse("task: str = 'single_label'")))


@pytest.mark.parametrize("name", NAMES)
def test_tasks_speak_for_themselves(name):
    """What differs by task is a method or an attribute of the task: a new one is a file in tasks/."""
    if name.startswith("trainer_ext/tasks/"):
        return
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    assert list(names_compared(tree)) == []


def test_the_table_is_one_way():
    """Export and inference stand apart from training; nothing that is imported imports back."""
    assert not (ALLOWED["export"] | ALLOWED["inference"]) & {"training", "objectives"}

    def below(name: str, path: tuple[str, ...] = ()) -> None:
        assert name not in path, f"a circle: {' -> '.join((*path, name))}"
        for other in ALLOWED[name]:
            below(other, (*path, name))

    for name in ALLOWED:
        below(name)


@pytest.mark.parametrize("name", LIGHT)
def test_light_modules_import_nothing_heavy(name):
    """At module level; `trainer_ext.tasks.metrics`, which does, only inside functions."""
    assert (ROOT / name).is_file()
    modules = top_imports(name)
    assert not {module.split(".")[0] for module in modules} & HEAVY
    assert not [module for module in modules if "tasks.metrics" in module]
    light_parts = {*SMALL - {"figures"}, "tasks", "inference", "serving", ""}
    for module in modules:
        if module.split(".")[0] == "trainer_ext" and part(module) not in light_parts:
            parts = module.split(".")
            files = {"/".join(parts[:depth]) + ".py" for depth in range(2, len(parts) + 1)}
            assert files & set(LIGHT), f"{name} imports {module}"


def test_importing_inference_loads_nothing_heavy():
    """In a fresh process, as `predict.py` on an ONNX folder does."""
    code = (
        "import sys, trainer_ext.inference, trainer_ext.inference.job, trainer_ext.data.io.answers\n"
        f"print(*(name for name in {sorted(HEAVY | {'pyarrow', 'matplotlib', 'scipy'})} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.slow
def test_training_needs_no_package_of_the_export():
    """onnx comes with an extra of pip: what plain training imports does without it."""
    code = (
        "import sys; sys.modules['onnx'] = sys.modules['onnxscript'] = None\n"
        "import trainer_ext.api, trainer_ext.compression.dispatch, trainer_ext.compression.stages\n"
        "import trainer_ext.cross_validation.dispatch"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "name, limit", [("train.py", 130), ("export.py", 150), ("predict.py", 150)]
)
def test_entry_scripts_are_tables_of_contents(name, limit):
    """Short enough to be read at once."""
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= limit


@pytest.mark.parametrize("name", NAMES)
def test_no_file_is_too_long(name):
    """400 lines, and a docstring at the top."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text)), "no docstring"


@pytest.mark.parametrize(
    "script", ["train.py", "export.py", "predict.py", "trainer_ext/__main__.py"]
)
def test_threads_that_wait_do_not_spin_in_any_command(script):
    """The policy is read when torch is loaded: it has to be there before."""
    code = (
        "import os, runpy, sys; os.environ.pop('OMP_WAIT_POLICY', None); runpy.run_path(sys.argv[1])\n"
        "print(os.environ.get('OMP_WAIT_POLICY'), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, script], cwd=ROOT, text=True, capture_output=True, check=True
    )
    assert done.stdout == "PASSIVE False\n"
