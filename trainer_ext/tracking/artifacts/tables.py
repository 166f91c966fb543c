"""The local artifact store as tables: all versions, or everything about one."""

from trainer_ext.errors import UserError, one_line
from trainer_ext.tables import table
from trainer_ext.tracking.artifacts.records import Version
from trainer_ext.tracking.artifacts.store import Store


def list_table(store: Store) -> str:
    """Return a line for each version of every name that can be read.

    Raises:
        UserError: for the names that cannot, after the table of the others was printed.
    """
    rows = []
    problems = []
    for name in store.names():
        try:
            versions = store.versions(name)
        except UserError as error:
            problems.append(str(error))
            continue
        rows += [row_of(version) for version in versions]
    if not rows and not problems:
        return f"no artifacts in {store.root}"
    text = table(rows, ["artifact", "metric", "MB", "created (UTC)", "aliases"])
    if problems:
        # What can be read is shown, and the exit status says that it is not all.
        print(text, flush=True)
        raise UserError("; ".join(problems))
    return text


def row_of(version: Version) -> list[str]:
    """Return the cells of a version in the list."""
    created = version.created[:16].replace("T", " ")
    megabytes = f"{version.size / 1e6:.2f}"
    return [str(version), metric_of(version), megabytes, created, ", ".join(version.aliases)]


def metric_of(version: Version) -> str:
    """Return `f1_macro 0.8123`, or nothing if none was measured."""
    value = version.metadata.get("metric_value")
    if value is None:
        return ""
    name = one_line(str(version.metadata.get("metric_name")))
    return f"{name} {value:.4f}"


def details(version: Version) -> str:
    """Return everything about one version."""
    facts = {
        "aliases": ", ".join(version.aliases),
        "created": version.created,
        "digest": version.digest,
    }
    lines = [str(version)]
    for key, value in (facts | version.metadata).items():
        if value is not None:
            # A store may come from a stranger, whose texts must not steer the terminal.
            text = one_line(str(value))
            lines.append(f"{one_line(key):<18} {text}")
    files = []
    for name, entry in version.files.items():
        digest = entry["sha256"][:12]
        files.append([name, str(entry["size"]), digest])
    return "\n".join([*lines, "", table(files, ["file", "bytes", "sha256"])])
