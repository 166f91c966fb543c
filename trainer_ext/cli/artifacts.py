"""List, show, name and upload the versions in the local artifact store, and remove what no version needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from trainer_ext.arguments.fields import option
from trainer_ext.arguments.subcommands import choose_command
from trainer_ext.cli.options import CommandOptions, read_options
from trainer_ext.tracking.artifacts.store import Store
from trainer_ext.tracking.artifacts.tables import details, list_table


@dataclass(kw_only=True)
class ListOptions(CommandOptions):
    """The flags of `artifacts list`."""


@dataclass(kw_only=True)
class ShowOptions(CommandOptions):
    """The flags of `artifacts show`."""

    _argument_group_name = "version"

    reference: str = option(
        help="A version by alias or number.", positional=True, metavar="NAME[:ALIAS]"
    )


@dataclass(kw_only=True)
class TagOptions(CommandOptions):
    """The flags of `artifacts tag`."""

    _argument_group_name = "version"

    reference: str = option(help="The version.", positional=True, metavar="NAME:ALIAS")
    alias: str = option(help="Its new alias.", positional=True, metavar="NEWALIAS")


@dataclass(kw_only=True)
class PushOptions(CommandOptions):
    """The flags of `artifacts push`."""

    _argument_group_name = "versions"

    references: list[str] = option(
        help="All versions of NAME, or the one of NAME:ALIAS.",
        positional=True,
        metavar="NAME[:ALIAS]",
    )


@dataclass(kw_only=True)
class GcOptions(CommandOptions):
    """The flags of `artifacts gc`."""

    _argument_group_name = "removing"

    untagged: bool = option(False, "Versions without an alias, too.")
    dry_run: bool = option(False, "Say what would be removed, and leave it.")


def list_versions(options: ListOptions, store: Store) -> None:
    """Print every version."""
    print(list_table(store))


def show(options: ShowOptions, store: Store) -> None:
    """Print one version."""
    print(details(store.get(options.reference)))


def tag(options: TagOptions, store: Store) -> None:
    """Put an alias on a version."""
    version = store.tag(options.reference, options.alias)
    print(f"{version}: {', '.join(version.aliases)}")


def push(options: PushOptions, store: Store) -> None:
    """Upload versions to W&B."""
    from trainer_ext.tracking.artifacts.push import push as upload  # loads wandb

    upload(store, options.references)


def collect_garbage(options: GcOptions, store: Store) -> None:
    """Remove what no version needs."""
    # What is removed is said in both cases: names first, so that a script can count or read them.
    removed = store.gc(options.untagged, options.dry_run)
    done = "would be removed" if options.dry_run else "removed"
    print("\n".join([*removed, f"{len(removed)} {done}"]))


class Subcommand(NamedTuple):
    """What a subcommand takes, what it does, and a line about it."""

    options: type[CommandOptions]
    run: Callable[..., None]
    summary: str


SUBCOMMANDS = {
    "list": Subcommand(ListOptions, list_versions, "Every version: metric, size, date, aliases."),
    "show": Subcommand(ShowOptions, show, "One version: metadata and files."),
    "tag": Subcommand(TagOptions, tag, "Put an alias on a version."),
    "push": Subcommand(
        PushOptions, push, "Upload to W&B: all versions of NAME, or the one of NAME:ALIAS."
    ),
    "gc": Subcommand(GcOptions, collect_garbage, "Remove what no version needs."),
}


def main(argv: Sequence[str] | None = None, prog: str = "trainer-ext artifacts") -> None:
    """Run one subcommand on the store of the current directory (`TRAINER_EXT_ARTIFACTS`)."""
    summaries = {name: command.summary for name, command in SUBCOMMANDS.items()}
    name, rest = choose_command(argv, summaries, prog, __doc__ or "")
    command = SUBCOMMANDS[name]
    options = read_options(command.options, rest, f"{prog} {name}", command.summary)
    # Opened after the flags were read: `--help` needs no store.
    command.run(options, Store())
