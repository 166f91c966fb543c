"""The local artifact store as tables: all versions, or everything about one."""

from trainer_ext.errors import UserError, one_line
from trainer_ext.tables import table
from trainer_ext.tracking.artifacts.records import Version
from trainer_ext.tracking.artifacts.store import Store


def list_table(store: Store) -> str:
    """A line per version of every name that can be read."""
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
