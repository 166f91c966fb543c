"""Measure how easily the source reads, tree by tree: `python benchmarks/house.py [TREE ...]`.

A tree is a folder or a git commit, and gets a column of the table; `--json` prints JSON instead.
Without arguments they are commit 865a461, the last before the source was reorganised, and the
working tree. Nothing of a tree is imported or run: its files are parsed, and ruff and mypy read
them with the same settings for every tree, whatever its own configuration says.

What is counted by the line or in 1,000 lines is counted in `trainer_ext`:

- code line: a line with a token that is neither a comment nor part of a docstring;
- syntax node: a node of Python's syntax tree, without docstrings, operators and load or store marks.

A narrower page puts less on a line without being easier to read. `--line_length 100` breaks the
code of every tree at that width before anything is counted by the line.

Complexity and type errors count the scripts beside the package as well. mypy takes most of the
minute.
"""

import argparse
import ast
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import tokenize
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
BEFORE = "865a461"
PACKAGE = "trainer_ext"
TASKS = {"single_label", "multi_label", "multi_aspect", "regression", "joint"}
MAX_COMPLEXITY = 12

Figures = dict[str, float | str]
Texts = dict[str, str]  # path inside the package -> text

NODES = "syntax nodes a code line"
COMPREHENSIONS = "comprehensions per 1,000 code lines"
CONDITIONALS = "conditional expressions per 1,000 code lines"
COMMENTS = "comments per 100 code lines"
COMPLEX = f"functions over complexity {MAX_COMPLEXITY}"
TYPE_ERRORS = "type errors (mypy, its defaults)"
TASK_NAMES = "task names compared outside tasks/"
LONGEST = "lines in the longest file"

# The limits of the style guide. A figure without one is there for comparison.
TARGETS = {
    NODES: "5.5 or less",
    COMPREHENSIONS: "30 or less",
    CONDITIONALS: "15 or less",
    COMMENTS: "5 or more",
    COMPLEX: "0",
    TYPE_ERRORS: "0",
    TASK_NAMES: "0",
    LONGEST: "400 or less",
}

# Tokens that do not make a line a code line.
LAYOUT_TOKENS = {
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
# Nodes that say how a neighbouring node is used. Python shares them between expressions, so they are not counted.
MARKER_NODES = (
    ast.expr_context,
    ast.operator,
    ast.cmpop,
    ast.boolop,
    ast.unaryop,
)
# Nodes that may begin with a docstring.
DOCUMENTED_NODES = (
    ast.Module,
    ast.ClassDef,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
)
COMPREHENSION_NODES = (
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


@dataclass
class Counts:
    """What is counted in source files, before it is divided by the code lines."""

    code_lines: int = 0
    comments: int = 0
    nodes: int = 0
    comprehensions: int = 0
    conditionals: int = 0

    def add_file(self, text: str) -> None:
        """Add the counts of one file's text."""
        tree = ast.parse(text)
        documented = find_docstring_lines(tree)
        self.add_lines(text, documented)
        for node in ast.walk(tree):
            if not is_docstring(node, documented):
                self.add_node(node)

    def add_lines(self, text: str, documented: set[int]) -> None:
        """Add the code lines and comments; `documented` holds the line numbers that docstrings take."""
        code: set[int] = set()
        read_line = io.StringIO(text).readline
        for token in tokenize.generate_tokens(read_line):
            if token.type == tokenize.COMMENT:
                self.comments += 1
            elif token.type not in LAYOUT_TOKENS:
                # A string of several lines is one token.
                first, last = token.start[0], token.end[0]
                code.update(range(first, last + 1))
        self.code_lines += len(code - documented)

    def add_node(self, node: ast.AST) -> None:
        """Add one node of the syntax tree."""
        self.nodes += not isinstance(node, MARKER_NODES)
        self.comprehensions += isinstance(node, COMPREHENSION_NODES)
        self.conditionals += isinstance(node, ast.IfExp)


def find_docstring_lines(tree: ast.Module) -> set[int]:
    """Return the line numbers of all docstrings, including strings that document a field."""
    lines: set[int] = set()
    for scope in ast.walk(tree):
        if not isinstance(scope, DOCUMENTED_NODES):
            continue
        for statement in scope.body:
            if is_bare_string(statement):
                # The parser always sets the last line; its type only allows None for trees made by hand.
                last = statement.end_lineno or statement.lineno
                lines.update(range(statement.lineno, last + 1))
    return lines


def is_bare_string(statement: ast.stmt) -> bool:
    """Tell whether the statement is nothing but a string."""
    if not isinstance(statement, ast.Expr):
        return False
    constant = statement.value
    return isinstance(constant, ast.Constant) and isinstance(constant.value, str)


def is_docstring(node: ast.AST, documented: set[int]) -> bool:
    """Tell whether the node is a docstring: its statement or the string in it."""
    return isinstance(node, (ast.Expr, ast.Constant)) and node.lineno in documented


def read_package(package: Path) -> Texts:
    """Read the Python files of the package."""
    texts: Texts = {}
    for file in sorted(package.rglob("*.py")):
        name = file.relative_to(package).as_posix()
        texts[name] = file.read_text(encoding="utf-8")
    return texts


def measure_density(texts: Texts) -> Figures:
    """Measure how much a code line holds, and how many comments explain it."""
    counts = Counts()
    for text in texts.values():
        counts.add_file(text)
    line = 1 / counts.code_lines
    return {
        NODES: round(counts.nodes * line, 2),
        COMPREHENSIONS: round(1000 * counts.comprehensions * line, 1),
        CONDITIONALS: round(1000 * counts.conditionals * line, 1),
        COMMENTS: round(100 * counts.comments * line, 2),
    }


def measure_size(texts: Texts) -> Figures:
    """Count files and lines, and find the longest file."""
    lengths = {name: len(text.splitlines()) for name, text in texts.items()}
    longest = max(lengths, key=lengths.__getitem__)
    return {
        "files": len(texts),
        "lines": sum(lengths.values()),
        LONGEST: lengths[longest],
        "longest file": longest,
    }


def count_task_comparisons(texts: Texts) -> int:
    """Count comparisons with the name of a task in files outside `tasks/`."""
    count = 0
    for name, text in texts.items():
        if name.startswith("tasks/"):
            continue
        for node in ast.walk(ast.parse(text)):
            count += isinstance(node, ast.Compare) and names_task(node)
    return count


def names_task(comparison: ast.Compare) -> bool:
    """Tell whether a task's name stands anywhere in the comparison, as in `name in ("joint", "regression")`."""
    # The whole comparison is walked, because the name may lie inside a tuple or a call.
    values = [node.value for node in ast.walk(comparison) if isinstance(node, ast.Constant)]
    return not TASKS.isdisjoint(values)


def run_tool(tree: Path, *arguments: str) -> str:
    """Run a tool of this environment in the tree and return what it prints.

    Raises: SystemExit: if the tool itself fails; status 1 only means that it found faults.
    """
    command = [sys.executable, "-m", *arguments]
    result = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    # A signal gives a negative status.
    if result.returncode not in (0, 1):
        output = result.stdout + result.stderr
        sys.exit(f"{arguments[0]} failed in {tree}:\n{output}")
    return result.stdout


def count_complex_functions(tree: Path, sources: list[str]) -> int:
    """Count functions above the limit of cyclomatic complexity, those with a `noqa` included."""
    options = [
        "--isolated",  # without the tree's own settings
        "--ignore-noqa",
        "--no-cache",
        "--select=C901",
        f"--config=lint.mccabe.max-complexity={MAX_COMPLEXITY}",
        "--output-format=json",
    ]
    output = run_tool(tree, "ruff", "check", *options, *sources)
    return len(json.loads(output))


def count_type_errors(tree: Path, sources: list[str], cache: Path) -> int:
    """Count mypy's errors. The cache spares a second tree the time for the libraries."""
    options = [
        "--config-file=",  # without the tree's own settings
        "--ignore-missing-imports",
        f"--cache-dir={cache}",
    ]
    output = run_tool(tree, "mypy", *options, *sources)
    found = re.search(r"^Found (\d+) error", output, re.MULTILINE)
    return int(found.group(1)) if found else 0


def measure_tree(tree: Path, scratch: Path, line_length: int | None = None) -> Figures:
    """Measure all figures of a tree; `scratch` is a folder for temporary files."""
    texts = read_package(tree / PACKAGE)
    if not texts:
        sys.exit(f"{tree} has no Python files in {PACKAGE}/")
    if line_length:
        texts = reformat(texts, scratch, line_length)
    scripts = sorted(path.name for path in tree.glob("*.py"))
    sources = [PACKAGE, *scripts]
    figures = measure_density(texts)
    figures[COMPLEX] = count_complex_functions(tree, sources)
    figures[TYPE_ERRORS] = count_type_errors(tree, sources, scratch / ".mypy_cache")
    figures[TASK_NAMES] = count_task_comparisons(texts)
    figures |= measure_size(texts)
    return figures


def reformat(texts: Texts, scratch: Path, line_length: int) -> Texts:
    """Return the texts with their code broken at another width."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    for name, text in texts.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    run_tool(folder, "ruff", "format", "--isolated", f"--line-length={line_length}", ".")
    return read_package(folder)


def extract_commit(commit: str, folder: Path) -> Path:
    """Write the files of a commit into a folder of its own under `folder` and return it."""
    command = ["git", "archive", commit]
    archive = subprocess.run(command, cwd=REPOSITORY, capture_output=True)
    if archive.returncode:
        reason = archive.stderr.decode(errors="replace")
        sys.exit(f"{commit} is neither a folder nor a commit here: {reason}")
    # `origin/main` is one folder, not two.
    tree = folder / commit.replace("/", "-")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(tree, filter="data")
    return tree


def measure_all(names: list[str], line_length: int | None) -> dict[str, Figures]:
    """Measure the trees named by folder or commit, and return the figures by the title of their column."""
    measured: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        for name in names:
            print(f"measuring {name} ...", file=sys.stderr)
            tree = Path(name).resolve()
            if not tree.is_dir():
                tree = extract_commit(name, scratch)
            # A title that is the same on every machine.
            title = "working tree" if tree == REPOSITORY else name
            measured[title] = measure_tree(tree, scratch, line_length)
    return measured


def print_table(measured: dict[str, Figures]) -> None:
    """Print a Markdown table: a row a figure, a column a tree, and the target."""
    print_row(["figure", *measured, "target"])
    # Numbers are easier to compare when they end in the same column.
    print_row(["---", *["---:"] * len(measured), "---"])
    first = next(iter(measured.values()))
    for figure in first:
        cells = [format_cell(figures[figure]) for figures in measured.values()]
        target = TARGETS.get(figure, "")
        print_row([figure, *cells, target])


def print_row(cells: list[str]) -> None:
    """Print one row of a Markdown table."""
    line = " | ".join(cells)
    print(f"| {line} |")


def format_cell(value: float | str) -> str:
    """Format whole numbers with thousands separators and leave the rest as it is."""
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(
        description="Measure how easily the source reads, tree by tree."
    )
    parser.add_argument("trees", nargs="*", metavar="FOLDER_OR_COMMIT")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--line_length", type=int, help="break the code of all trees at this width")
    options = parser.parse_args()
    trees = options.trees or [BEFORE, str(REPOSITORY)]
    measured = measure_all(trees, options.line_length)
    if options.json:
        print(json.dumps(measured, indent=2))
    else:
        print_table(measured)


if __name__ == "__main__":
    main()
