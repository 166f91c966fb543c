"""The scripts that measure and draw the source, on small trees whose figures are known."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.versions import needs_dev

ROOT = Path(__file__).resolve().parent.parent

FILE = '''"""A docstring,
of two lines."""

# Why.
TASK = "regression"


def double(rows: list[int]) -> list[int]:
    """Double them."""
    return [2 * row for row in rows] if rows else []
'''


@pytest.fixture
def house(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("house")


@pytest.fixture
def architecture(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("draw_architecture")


def write_package(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / "trainer_ext" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return root / "trainer_ext"


def test_density_counts_code_lines_without_docstrings(house):
    figures = house.measure_density({"a.py": FILE})
    # Code lines: the assignment, def and return. Nodes: the module, 3 of the assignment, 9 of the
    # signature (the function, its arguments, the one argument, and 3 each of two annotations) and
    # 11 of the return; none of docstrings, of `*` and of load and store marks.
    assert figures == {
        "syntax nodes a code line": (1 + 3 + 9 + 11) / 3,
        "comprehensions per 1,000 code lines": 333.3,
        "conditional expressions per 1,000 code lines": 333.3,
        "comments per 100 code lines": 33.33,
    }


def test_task_names_are_counted_where_compared_outside_tasks(house):
    compared = 'if name == "joint" or name in ("regression", "multi_label"):\n    pass\n'
    files = {"a.py": compared, "tasks/joint.py": compared, "b.py": 'NAME = "joint"\n'}
    assert house.count_task_comparisons(files) == 2


@needs_dev
def test_all_figures_of_a_tree(house, tmp_path):
    branches = "".join(f"    if x == {number}:\n        return {number}\n" for number in range(12))
    tangled = f"def tangled(x):  # noqa: C901\n{branches}    return x\n"
    wrong = 'count: int = "three"\n'
    write_package(tmp_path / "tree", {"__init__.py": "", "a.py": tangled, "b.py": wrong})
    figures = house.measure_tree(tmp_path / "tree", tmp_path)
    assert figures["functions over complexity 12"] == 1
    assert figures["type errors (mypy, its defaults)"] == 1
    assert figures["files"] == 3
    assert figures["lines"] == 27
    assert figures["longest file"] == "a.py"


@needs_dev
def test_line_length_reformats_before_counting(house, tmp_path):
    texts = {"a.py": "x = call(first_argument, second_argument)\n"}
    assert len(house.reformat(texts, tmp_path, 30)["a.py"].splitlines()) > 1
    assert house.reformat(texts, tmp_path, 100) == texts


def test_unknown_commit_is_named():
    command = [sys.executable, ROOT / "benchmarks/house.py", "no-such-tree"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert "no-such-tree is neither a folder nor a commit" in result.stderr


ROOMS = {
    "errors.py": "",
    "tables.py": "from trainer_ext.errors import UserError",
    "tasks/__init__.py": "from trainer_ext import errors",
    "data/__init__.py": "from ..tasks import base\nfrom trainer_ext import tables",
    "training/__init__.py": "def f():\n    from trainer_ext.data import rows\n    import trainer_ext.tasks",
    "api.py": "from trainer_ext.training import train",
    "__main__.py": "from trainer_ext.api import fit",
}


def test_arrows_are_the_imports_that_no_others_imply(architecture, tmp_path):
    graph = architecture.read_rooms(write_package(tmp_path, ROOMS))
    floor = architecture.find_floor(graph)
    assert floor == ["errors", "tables"]
    joined = architecture.join_boxes(graph, architecture.find_boxes(graph, floor))
    expected = {("api", "training"), ("training", "data"), ("data", "tasks"), ("tasks", "floor")}
    assert set(joined.edges) == expected


def test_every_arrow_points_down(architecture, tmp_path):
    package = write_package(tmp_path, ROOMS | {"reports/__init__.py": "import trainer_ext.errors"})
    graph = architecture.read_rooms(package)
    boxes = architecture.find_boxes(graph, architecture.find_floor(graph))
    layout = architecture.lay_out(architecture.join_boxes(graph, boxes))
    assert layout.arrows
    for stops in layout.arrows:
        rows = [stop.row for stop in stops]
        assert rows == list(range(rows[0], rows[-1] - 1, -1))


def test_rooms_in_a_circle_share_a_box_and_are_drawn(architecture, tmp_path):
    circle = {"tasks/circle.py": "import trainer_ext.data.rows"}
    package = write_package(tmp_path, ROOMS | circle)
    graph = architecture.read_rooms(package)
    boxes = architecture.find_boxes(graph, architecture.find_floor(graph))
    assert boxes["data"] == boxes["tasks"] == "data + tasks"
    architecture.draw_package(package, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
