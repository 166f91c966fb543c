"""Look at labelled files before training.

Prints tables of rows, classes, gaps, repeats, texts shared between files, lengths and the share of the texts that each
max_length does not truncate; writes data_report.json and PNG histograms. Texts are compared ignoring case and
whitespace.

Reading and column flags are those of train, and may come from its recipe. Lengths are in tokens of --model_name_or_path
(a model or a checkpoint), without it an estimate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from trainer_ext.arguments.command_line import given_words, parse_command
from trainer_ext.arguments.data import ColumnOptions, DataArguments
from trainer_ext.arguments.fields import option
from trainer_ext.arguments.files import FileOptions
from trainer_ext.arguments.recipe import flag_names, read_recipe, to_tokens
from trainer_ext.cli.options import CommandOptions, read_options
from trainer_ext.data.io.readers import file_format
from trainer_ext.data.report.job import build_report, profile_files, write_pictures
from trainer_ext.data.report.text import as_text
from trainer_ext.errors import UserError
from trainer_ext.files import check_folder, write_json
from trainer_ext.tasks import TASKS


@dataclass(kw_only=True)
class ReportOptions(ColumnOptions, FileOptions, CommandOptions):
    """The flags of `report`."""

    _argument_group_name = "report"

    files: list[str] = option(
        help="Labelled files; the first is the training part.", positional=True, metavar="FILE"
    )
    output_dir: Path = option(
        help="Output folder for data_report.json and the plots.", metavar="DIR"
    )
    recipe: str | None = option(
        None, "YAML recipe of train: its reading and column flags are taken.", metavar="FILE"
    )
    model_name_or_path: str | None = option(
        None, "Model or checkpoint whose tokenizer counts the tokens."
    )


def main(argv: Sequence[str] | None = None, prog: str = "trainer-ext report") -> None:
    """Read, print, write."""
    options, data = parse(argv, prog)
    # Before the files are read, which takes minutes if they are large.
    check_folder("--output_dir", options.output_dir)
    profiles = profile_files(options.files, data, options.model_name_or_path)
    report = build_report(options.files, profiles, data)
    print(as_text(report))
    names = write_pictures(options.output_dir, profiles, data.task)
    write_json(options.output_dir / "data_report.json", report)
    print(f"\ndata_report.json and {', '.join(names)} are in {options.output_dir}")


def parse(
    argv: Sequence[str] | None = None,
    prog: str = "trainer-ext report",
) -> tuple[ReportOptions, DataArguments]:
    """Parse the command line, and return the part of it that says how to read on its own, too.

    Raises:
        UserError: for wrong flags, a wrong recipe, and reading flags that no file takes account of.
    """
    tokens = given_words(argv)
    # Parsed twice: the recipe that the flags name has flags itself.
    recipe = parse_command(ReportOptions, tokens, prog, __doc__).recipe
    if recipe:
        # Behind the command line: a list in front of the files would take them for its items.
        tokens += recipe_tokens(recipe, given=flag_names(tokens))
    options = read_options(ReportOptions, tokens, prog, __doc__)
    data = data_arguments(options)
    # Files of tagged words are told by their content and take no other reading flags.
    if not TASKS[data.task].reads_words:
        data.check(sorted({file_format(path, data) for path in options.files}))
    return options, data


def recipe_tokens(recipe: str, given: Sequence[str]) -> list[str]:
    """Return the reading and column flags of a recipe, but for those given on the command line.

    Not its model: a report is read before there is one, or where the hub is out of reach. Tokens are estimated then.
    """
    taken = {spec.name for spec in (*fields(ColumnOptions), *fields(FileOptions))}
    values = {}
    for name, value in read_recipe(recipe).items():
        if name in taken and name not in given and value is not None:
            values[name] = value
    return to_tokens(values)


def data_arguments(options: ReportOptions) -> DataArguments:
    """Return the reading and column flags as the readers take them."""
    names = [spec.name for spec in (*fields(ColumnOptions), *fields(FileOptions))]
    try:
        # As train builds them, so that names from a file and their checks are the same.
        return DataArguments(**{name: getattr(options, name) for name in names})
    except ValueError as error:
        raise UserError(str(error)) from error
