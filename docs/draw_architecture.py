"""Draw which room of `trainer_ext` imports which: `python docs/draw_architecture.py`.

A room is a folder of the package, or a module beside the folders that imports one of them. The
other modules (errors, files, tables ...) are the floor that all rooms stand on, and share one box.
Everything drawn is read from the source: the arrows from its import statements, also those inside
functions, and the words in a box from the docstring of the room.

Every arrow points down, from a room to one that it imports: whoever reads a room needs only what
lies below it. An import that a longer way of arrows implies is left out. Rooms that import each
other in a circle cannot be ordered; they share one red box.
"""

import argparse
import ast
import random
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import resolve_name
from itertools import combinations, pairwise
from pathlib import Path

import matplotlib
import networkx as nx
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve

# Needs no display; to be chosen before pyplot is loaded.
matplotlib.use("Agg")
from matplotlib import pyplot as plt

DOCS = Path(__file__).resolve().parent

# The doors of the package: what they import says nothing about its rooms.
DOORS = {"__init__", "__main__"}
FLOOR = "floor"
ABOUT_FLOOR = "modules that import no room; every room may import them"
MAX_FLOOR_LETTERS = 105
CUT = " ..."  # at the end of words that do not fit
CIRCLE = " + "  # between the names of rooms that import each other
CAPTION = (
    "An arrow points from a room to one that it imports. "
    "Imports that follow from other arrows are left out."
)

# All lengths are in inches. 150 dots an inch make 1,500 pixels, legible when shown at 1,000.
MIN_WIDTH = 10.0
DOTS_PER_INCH = 150
MARGIN = 0.25
BOX_WIDTH = 1.72  # five fit side by side
BOX_HEIGHT = 0.84
ROW_HEIGHT = 1.28
CAPTION_HEIGHT = 0.75
GAP = 0.16  # between boxes
LANE_WIDTH = 0.14
PORT_DISTANCE = 0.3  # between the ends of two arrows at one side of a box

SWAPS = 20_000  # tried to untangle the arrows, in about two seconds
CROSSING_COST = 2.0  # inches that an arrow may lead sideways to save a crossing

# (fill, border)
ROOM_COLOURS = ("#e8f0fa", "#2f5d92")
FLOOR_COLOURS = ("#eeeeee", "#777777")
CIRCLE_COLOURS = ("#fdeaea", "#b03030")
ARROW_COLOUR = "#54677d"

# A Bezier curve: two points that it bends to, and its end.
BEND = [Curve.CURVE4, Curve.CURVE4, Curve.CURVE4]


@dataclass(eq=False)
class Stop:
    """A place that arrows lead through: a box, or a lane through a row of boxes."""

    name: str
    row: int
    """0 is the lowest row."""
    width: float = BOX_WIDTH
    x: float = 0.0
    """Horizontal centre."""
    above: list["Stop"] = field(default_factory=list)
    below: list["Stop"] = field(default_factory=list)

    @property
    def y(self) -> float:
        """Vertical centre."""
        return MARGIN + BOX_HEIGHT / 2 + self.row * ROW_HEIGHT

    @property
    def top(self) -> float:
        """Upper edge."""
        return self.y + BOX_HEIGHT / 2

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return self.y - BOX_HEIGHT / 2

    @property
    def left(self) -> float:
        """Left edge."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """Right edge."""
        return self.x + self.width / 2

    def is_lane(self) -> bool:
        """Tell whether this is a lane and not a box."""
        return self.width == LANE_WIDTH


Point = tuple[float, float]
Row = list[Stop]


@dataclass
class Layout:
    """Rows of boxes and lanes, the lowest first, and the stops of each arrow from the top down."""

    rows: list[Row]
    arrows: list[list[Stop]] = field(default_factory=list)

    @property
    def width(self) -> float:
        """Width of the picture, which grows with a row of many boxes."""
        needed = [row_width(row) + 2 * MARGIN for row in self.rows]
        return max(MIN_WIDTH, *needed)

    @property
    def height(self) -> float:
        """Height of the picture."""
        return len(self.rows) * ROW_HEIGHT + CAPTION_HEIGHT


# Reading the source


def read_rooms(package: Path) -> nx.DiGraph:
    """Read the folders and modules of the package's first level; edges go to what one imports."""
    graph = nx.DiGraph()
    for path in sorted(package.iterdir()):
        if path.stem not in DOORS and list_files(path):
            graph.add_node(path.stem, path=path)
    for room, path in list(graph.nodes(data="path")):
        for imported in find_imported(path, package):
            # An imported name may be no module, as in `from trainer_ext import __version__`.
            if imported in graph and imported != room:
                graph.add_edge(room, imported)
    return graph


def list_files(path: Path) -> list[Path]:
    """Return the Python files of a folder, or the file itself if it is one."""
    if path.is_dir():
        return sorted(path.rglob("*.py"))
    if path.suffix == ".py":
        return [path]
    return []


def find_imported(path: Path, package: Path) -> Iterator[str]:
    """Yield the first-level names of the package that a folder or module imports."""
    for file in list_files(path):
        relative = file.relative_to(package.parent)
        folder = ".".join(relative.parent.parts)
        tree = parse(file)
        # A command that lies in a room (`python -m trainer_ext.tracking`) calls cli: a door, too.
        if is_command(tree):
            continue
        for module in find_modules(tree, folder):
            top, *inner = module.split(".")
            if top == package.name and inner:
                yield inner[0]


def is_command(tree: ast.Module) -> bool:
    """Return whether a module's last statement is `if __name__ == "__main__":`."""
    last = tree.body[-1] if tree.body else None
    return isinstance(last, ast.If) and ast.unparse(last.test) == "__name__ == '__main__'"


def parse(file: Path) -> ast.Module:
    """Parse a Python file."""
    text = file.read_text(encoding="utf-8")
    return ast.parse(text)


def find_modules(tree: ast.Module, folder: str) -> Iterator[str]:
    """Yield the dotted names in import statements; `folder` is what relative ones start from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            module = node.module or ""
            origin = resolve_name(dots + module, folder)
            # The name may itself be the module: `from trainer_ext import errors`.
            for alias in node.names:
                yield f"{origin}.{alias.name}"


def read_subject(path: Path) -> str:
    """Return the first sentence of a room's docstring; empty if it has none."""
    file = path / "__init__.py" if path.is_dir() else path
    if not file.exists():
        return ""
    tree = parse(file)
    docstring = ast.get_docstring(tree) or ""
    summary, *_ = docstring.split("\n\n")
    plain = summary.replace("`", "")
    line = " ".join(plain.split())
    # The rest of the docstring is for readers of the source.
    sentence, *_ = re.split("[.;] ", line)
    return sentence.rstrip(".:")


# From imports to boxes


def find_floor(graph: nx.DiGraph) -> list[str]:
    """Return the modules from which no import leads to a folder."""
    folders = {name for name, path in graph.nodes(data="path") if path.is_dir()}
    floor = []
    for name in sorted(graph):
        reached = nx.descendants(graph, name) | {name}
        if reached.isdisjoint(folders):
            floor.append(name)
    return floor


def find_boxes(graph: nx.DiGraph, floor: list[str]) -> dict[str, str]:
    """Return the box of each module and folder: its own, that of a circle, or the floor."""
    boxes = {}
    for circle in nx.strongly_connected_components(graph):
        title = CIRCLE.join(sorted(circle))
        for name in circle:
            boxes[name] = title
    for name in floor:
        boxes[name] = FLOOR
    return boxes


def join_boxes(graph: nx.DiGraph, boxes: dict[str, str]) -> nx.DiGraph:
    """Return the graph of boxes, without the imports that a longer way of arrows implies."""
    joined = nx.DiGraph()
    joined.add_nodes_from(sorted(boxes.values()))
    for room, imported in graph.edges:
        upper, lower = boxes[room], boxes[imported]
        if upper != lower:
            joined.add_edge(upper, lower)
    return nx.transitive_reduction(joined)


# Laying out


def lay_out(graph: nx.DiGraph) -> Layout:
    """Place the boxes in rows and untangle the arrows."""
    layout = Layout([])
    boxes = {}
    rows = find_rows(graph)
    for name in sorted(graph, key=rows.__getitem__):
        boxes[name] = Stop(name, rows[name])
        if rows[name] == len(layout.rows):
            layout.rows.append([])
        layout.rows[-1].append(boxes[name])
    for upper, lower in sorted(graph.edges):
        add_arrow(layout, boxes[upper], boxes[lower])
    untangle(layout)
    straighten(layout)
    return layout


def find_rows(graph: nx.DiGraph) -> dict[str, int]:
    """Return the row of each box: the lowest above all that it imports, or a higher one.

    A box that no more arrows leave than enter moves up, close to the lowest box that imports it.
    The arrows that leave it get longer, and the others, at least as many, shorter.
    """
    rows = {}
    upside_down = graph.reverse()
    for number, names in enumerate(nx.topological_generations(upside_down)):
        rows.update(dict.fromkeys(names, number))
    for name in nx.topological_sort(graph):
        entering = graph.in_degree(name)
        leaving = graph.out_degree(name)
        if entering and entering >= leaving:
            uppers = graph.predecessors(name)
            importing = [rows[upper] for upper in uppers]
            rows[name] = min(importing) - 1
    return rows


def add_arrow(layout: Layout, upper: Stop, lower: Stop) -> None:
    """Add an arrow, with a lane in every row that it passes."""
    stops = [upper]
    passed = range(lower.row + 1, upper.row)
    for number in reversed(passed):
        lane = Stop("lane", number, LANE_WIDTH)
        layout.rows[number].append(lane)
        stops.append(lane)
    stops.append(lower)
    layout.arrows.append(stops)
    for start, end in pairwise(stops):
        start.below.append(end)
        end.above.append(start)


def row_width(row: Row) -> float:
    """Return the width of boxes and lanes side by side."""
    widths = [stop.width + GAP for stop in row]
    return sum(widths)


def pack(row: Row) -> None:
    """Move the boxes and lanes of a row side by side, around 0."""
    left = -row_width(row) / 2
    for stop in row:
        width = stop.width + GAP
        stop.x = left + width / 2
        left += width


def untangle(layout: Layout) -> None:
    """Order the rows so that arrows seldom cross and lead straight down.

    Two stops of a row are swapped at random, and swapped back if that makes it worse.
    """
    # A fixed seed: the same source gives the same picture.
    generator = random.Random(0)
    for row in layout.rows:
        pack(row)
    movable = [row for row in layout.rows if len(row) > 1]
    if not movable:
        return
    best = measure_tangle(layout)
    for _ in range(SWAPS):
        row = generator.choice(movable)
        i, j = generator.sample(range(len(row)), 2)
        swap(row, i, j)
        tangle = measure_tangle(layout)
        if tangle <= best:
            best = tangle
        else:
            swap(row, i, j)


def swap(row: Row, i: int, j: int) -> None:
    """Exchange two stops of a row."""
    row[i], row[j] = row[j], row[i]
    pack(row)


def measure_tangle(layout: Layout) -> float:
    """Measure how hard the arrows are to follow: crossings, and how far they lead sideways."""
    tangle = 0.0
    for row in layout.rows:
        lines = []
        for upper in row:
            for lower in upper.below:
                lines.append((upper.x, lower.x))
                if lower.name != FLOOR:
                    tangle += abs(upper.x - lower.x)
        tangle += CROSSING_COST * count_crossings(lines)
    return tangle


def count_crossings(lines: list[Point]) -> int:
    """Count the crossings of lines between two rows, each given by its two horizontal ends."""
    count = 0
    for (top, bottom), (other_top, other_bottom) in combinations(lines, 2):
        same_order = (top - other_top) * (bottom - other_bottom) >= 0
        count += not same_order
    return count


def straighten(layout: Layout) -> None:
    """Move stops towards the ones that they are joined to, in small steps, in their order."""
    edge = layout.width / 2 - MARGIN
    for _ in range(100):
        for row in layout.rows:
            for place, stop in enumerate(row):
                move(row, place, mean_neighbour(stop), edge)


def mean_neighbour(stop: Stop) -> float:
    """Return the mean horizontal centre of what a stop is joined to, the floor left out."""
    joined = [lower for lower in stop.below if lower.name != FLOOR]
    joined += stop.above
    if not joined:
        return stop.x
    return sum(other.x for other in joined) / len(joined)


def move(row: Row, place: int, wanted: float, edge: float) -> None:
    """Move a stop of a row as near to the wanted centre as its neighbours and the edge allow."""
    stop = row[place]
    leftmost = -edge
    rightmost = edge
    if place > 0:
        leftmost = row[place - 1].right + GAP
    if place + 1 < len(row):
        rightmost = row[place + 1].left - GAP
    half = stop.width / 2
    wanted = max(wanted, leftmost + half)
    stop.x = min(wanted, rightmost - half)


# Drawing


def draw(layout: Layout, subjects: dict[str, str], output: Path) -> None:
    """Draw boxes, with their names and subjects, and arrows into an image file."""
    width, height = layout.width, layout.height
    figure = plt.figure(figsize=(width, height), dpi=DOTS_PER_INCH)
    # The whole picture, measured in inches; 0 is the middle of its lower edge.
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-width / 2, width / 2)
    axes.set_ylim(0, height)
    axes.set_axis_off()
    for stops in layout.arrows:
        draw_arrow(axes, stops)
    for row in layout.rows:
        for stop in row:
            draw_stop(axes, stop, subjects, width)
    draw_caption(axes, MARGIN - width / 2, height)
    figure.savefig(output)
    plt.close(figure)


def draw_arrow(axes: Axes, stops: list[Stop]) -> None:
    """Draw an arrow: curves between the rows, straight lines through the lanes."""
    start, *lanes, end = stops
    x = find_port(start, start.below, stops[1])
    points = [(x, start.bottom)]
    codes = [Curve.MOVETO]
    for lane in lanes:
        points += bend(points[-1], (lane.x, lane.top))
        points.append((lane.x, lane.bottom))
        codes += BEND
        codes.append(Curve.LINETO)
    x = find_port(end, end.above, stops[-2])
    points += bend(points[-1], (x, end.top))
    codes += BEND
    arrow = FancyArrowPatch(
        path=Curve(points, codes),
        arrowstyle="-|>",
        mutation_scale=13,
        color=ARROW_COLOUR,
        linewidth=1.3,
    )
    axes.add_patch(arrow)


def bend(start: Point, end: Point) -> list[Point]:
    """Return the points of a Bezier curve that leaves `start` and enters `end` vertically."""
    start_x, start_y = start
    end_x, end_y = end
    halfway = (start_y + end_y) / 2
    return [
        (start_x, halfway),
        (end_x, halfway),
        end,
    ]


def find_port(box: Stop, side: list[Stop], other: Stop) -> float:
    """Return where the line to `other` meets a box; `side` is all that is joined at that side."""
    if box.name == FLOOR:
        # It lies under everything: straight down.
        return other.x
    # From left to right as the other ends, so that the lines do not cross at the box.
    ordered = sorted(side, key=lambda stop: stop.x)
    count = len(side)
    from_middle = ordered.index(other) - (count - 1) / 2
    distance = min(PORT_DISTANCE, BOX_WIDTH / count)
    return box.x + distance * from_middle


def draw_stop(axes: Axes, stop: Stop, subjects: dict[str, str], picture_width: float) -> None:
    """Draw a box, if the stop is one, with its name and subject."""
    if stop.is_lane():
        return
    if stop.name == FLOOR:
        stop.x = 0.0
        stop.width = picture_width - 2 * MARGIN
        draw_frame(axes, stop, FLOOR_COLOURS)
        names = textwrap.shorten(subjects[FLOOR], MAX_FLOOR_LETTERS, placeholder=CUT)
        write_subject(axes, stop, names, ABOUT_FLOOR)
    elif CIRCLE in stop.name:
        draw_frame(axes, stop, CIRCLE_COLOURS)
        names = textwrap.fill(stop.name, width=20)
        write(axes, stop, names, size=10)
    else:
        draw_frame(axes, stop, ROOM_COLOURS)
        write_subject(axes, stop, stop.name, subjects[stop.name])


def draw_frame(axes: Axes, box: Stop, colours: tuple[str, str]) -> None:
    """Draw the frame of a box."""
    fill, border = colours
    frame = FancyBboxPatch(
        (box.left, box.bottom),
        box.width,
        BOX_HEIGHT,
        boxstyle="round,pad=0,rounding_size=0.08",
        facecolor=fill,
        edgecolor=border,
        linewidth=1.3,
    )
    axes.add_patch(frame)


def write_subject(axes: Axes, box: Stop, title: str, subject: str) -> None:
    """Write a title into a box and its subject, in up to three lines, under it."""
    # So many letters of the subject's size are an inch wide.
    letters = int(15 * box.width)
    lines = textwrap.wrap(subject, letters, max_lines=3, placeholder=CUT)
    paragraph = "\n".join(lines)
    write(axes, box, title, size=11.5, weight="bold", raised=0.26)
    write(axes, box, paragraph, size=8.5, raised=-0.1)


def write(
    axes: Axes,
    box: Stop,
    text: str,
    size: float,
    weight: str = "normal",
    raised: float = 0.0,
) -> None:
    """Write text into a box; `raised` is how far above its middle."""
    axes.text(
        box.x,
        box.y + raised,
        text,
        horizontalalignment="center",
        verticalalignment="center",
        fontsize=size,
        fontweight=weight,
    )


def draw_caption(axes: Axes, left: float, height: float) -> None:
    """Say how to read the picture."""
    axes.text(
        left,
        height - 0.25,
        "The rooms of trainer_ext",
        fontsize=14,
        fontweight="bold",
    )
    axes.text(left, height - 0.5, CAPTION, fontsize=9.5)


def draw_package(package: Path, output: Path) -> None:
    """Read the package and draw its rooms."""
    graph = read_rooms(package)
    floor = find_floor(graph)
    subjects = {}
    for name, path in graph.nodes(data="path"):
        subjects[name] = read_subject(path)
    subjects[FLOOR] = ", ".join(floor)
    boxes = find_boxes(graph, floor)
    joined = join_boxes(graph, boxes)
    layout = lay_out(joined)
    draw(layout, subjects, output)


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description="Draw which room of trainer_ext imports which.")
    source = DOCS.parent / "trainer_ext"
    picture = DOCS / "architecture.png"
    parser.add_argument("--package", type=Path, default=source)
    parser.add_argument("--output", type=Path, default=picture)
    options = parser.parse_args()
    package = options.package.resolve()
    if not package.is_dir():
        parser.error(f"--package {package} is not a folder")
    draw_package(package, options.output)


if __name__ == "__main__":
    main()
