"""Convert the JSON of SMP ECDT to one jsonl line a row, for the task joint.

INPUT is a JSON array of {"text", "domain", "intent", "slots": {name: value or list of values}}; each line of OUTPUT is
{"text", "tokens", "slots", "intent"}. `train` reads such a .json file as it is; the converted one can be looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from trainer_ext.arguments.fields import option
from trainer_ext.cli.options import CommandOptions, read_options
from trainer_ext.data.io.smp import read_smp
from trainer_ext.files import atomic_writer, json_text


@dataclass(kw_only=True)
class SmpOptions(CommandOptions):
    """The flags of `smp`."""

    _argument_group_name = "files"

    input: str = option(help="SMP's JSON.", positional=True, metavar="INPUT")
    output: str = option(help="Where the jsonl goes.", positional=True, metavar="OUTPUT")


def main(argv: Sequence[str] | None = None, prog: str = "trainer-ext smp") -> None:
    """Convert one file."""
    options = read_options(SmpOptions, argv, prog, __doc__)
    count = 0
    # A record that is refused leaves no half of a file.
    with atomic_writer(options.output) as file:
        for row in read_smp(options.input):
            file.write(json_text(row.values) + "\n")
            count += 1
    print(f"{count} rows -> {options.output}")
