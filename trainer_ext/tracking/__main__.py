"""The local artifact store: `python -m trainer_ext.tracking list|show|tag|push|gc`; `COMMAND --help` says more."""

import argparse

from trainer_ext.errors import ArgumentParser, UserError, one_line, run_main
from trainer_ext.tracking.artifacts.records import Version
from trainer_ext.tracking.artifacts.store import Store


def parse() -> argparse.Namespace:
    """The command line."""
    parser = ArgumentParser(
        prog="python -m trainer_ext.tracking", description=__doc__, allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every version: metric, size, date, aliases")
    show = commands.add_parser("show", help="one version: metadata and files")
    show.add_argument("reference", metavar="NAME[:ALIAS]")
    tag = commands.add_parser("tag", help="put an alias on a version")
    tag.add_argument("reference", metavar="NAME:ALIAS")
    tag.add_argument("alias", metavar="NEWALIAS")
    push = commands.add_parser(
        "push", help="upload to W&B: all versions of NAME, or the one of NAME:ALIAS"
    )
    push.add_argument("references", metavar="NAME[:ALIAS]", nargs="+")
    gc = commands.add_parser("gc", help="remove what no version needs")
    gc.add_argument("--untagged", action="store_true", help="versions without an alias too")
    gc.add_argument(
        "--dry_run", action="store_true", help="say what would be removed, and leave it"
    )
    return parser.parse_args()


def main() -> None:
    """Run one command on the store of the current directory (`TRAINER_EXT_ARTIFACTS`)."""
    args, store = parse(), Store()
    if args.command == "list":
        print(list_table(store))
    elif args.command == "show":
        print(details(store.get(args.reference)))
    elif args.command == "tag":
        version = store.tag(args.reference, args.alias)
        print(f"{version}: {', '.join(version.aliases)}")
    elif args.command == "push":
        from trainer_ext.tracking.artifacts.push import push

        push(store, args.references)
    else:
        removed = store.gc(args.untagged, args.dry_run)
        print("\n".join([*removed, f"{len(removed)} {'would be ' if args.dry_run else ''}removed"]))


def list_table(store: Store) -> str:
    """A line per version of every name that can be read."""
    from trainer_ext.tables import table

    versions, problems = [], []
    for name in store.names():
        try:
            versions += store.versions(name)
        except UserError as error:
            problems.append(str(error))
    if not (versions or problems):
        return f"no artifacts in {store.root}"
    rows = [
        [
            str(v),
            metric_of(v),
            f"{v.size / 1e6:.2f}",
            v.created[:16].replace("T", " "),
            ", ".join(v.aliases),
        ]
        for v in versions
    ]
    text = table(rows, ["artifact", "metric", "MB", "created (UTC)", "aliases"])
    if problems:  # what is whole is shown, and the status says that it is not all
        print(text, flush=True)
        raise UserError("; ".join(problems))
    return text


def metric_of(version: Version) -> str:
    """`f1_macro 0.8123`, or nothing where none was measured."""
    value = version.metadata.get("metric_value")
    return (
        "" if value is None else f"{one_line(str(version.metadata.get('metric_name')))} {value:.4f}"
    )


def details(version: Version) -> str:
    """Everything about one version."""
    from trainer_ext.tables import table

    facts = {
        "aliases": ", ".join(version.aliases),
        "created": version.created,
        "digest": version.digest,
    }
    facts |= {key: value for key, value in version.metadata.items() if value is not None}
    files = [
        [name, str(entry["size"]), entry["sha256"][:12]] for name, entry in version.files.items()
    ]
    lines = [
        f"{one_line(key):<18} {one_line(str(value))}" for key, value in facts.items()
    ]  # a stranger's, perhaps
    return "\n".join([str(version), *lines, "", table(files, ["file", "bytes", "sha256"])])


if __name__ == "__main__":
    run_main(main)
