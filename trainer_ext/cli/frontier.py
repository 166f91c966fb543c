"""Draw what compression and exports were measured to be: the metric over size and over latency, one line a folder.

A folder is one that a chain of --compression wrote, or an export. Latencies of different runs are of different moments:
compare them within a folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer_ext.arguments.fields import option
from trainer_ext.cli.options import CommandOptions, read_options


@dataclass(kw_only=True)
class FrontierOptions(CommandOptions):
    """The flags of `frontier`."""

    _argument_group_name = "frontier"

    folders: list[Path] = option(
        help="Folders with compression_report.json or export_report.json.",
        positional=True,
        metavar="FOLDER",
    )
    output_file: Path = option(Path("frontier.png"), "The picture.", metavar="FILE")


def main(argv: Sequence[str] | None = None, prog: str = "trainer-ext frontier") -> None:
    """Read the reports, print their rows, draw the picture."""
    options = read_options(FrontierOptions, argv, prog, __doc__)
    # These load what draws.
    from trainer_ext.compression.chain_report import HEADERS, cells, frontier_picture
    from trainer_ext.compression.frontier import gather
    from trainer_ext.tables import table

    metric_name, chains = gather(options.folders)
    for folder, rows in chains.items():
        print(f"\n{folder} ({metric_name})\n\n{table(cells(rows), HEADERS, decimals=2)}")
    frontier_picture(chains, metric_name, options.output_file)
    print(f"\nThe picture is {options.output_file}")
