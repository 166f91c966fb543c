"""What a model's folder has to read: its card, its metrics, its export report and its plots.

They are read when the model is loaded, so that a request never opens a file, and they are those of the model that
answers, also after its folder was written anew.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainer_ext.inference import Predictor
from trainer_ext.inference.layout import model_folder

CARD = "README.md"
# Of folds and seeds, in the folder above those of the models.
SUMMARY = "cv.json"
REPORTS = ("metrics.json", SUMMARY, "reject.json", "export_report.json", "compression_report.json")
IMAGES = ("plots/*.png", "*.png")
PNG = b"\x89PNG\r\n\x1a\n"
# The server holds them in memory, once for each model and process.
LARGEST = 4 << 20  # bytes of one
MOST = 32 << 20  # bytes of all

Kind = Literal["markdown", "json", "image"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Document:
    """One of them.

    Attributes:
        name: its path below the model's folder, for readers; no request names it.
        kind: how it is shown.
        content: the text, the JSON value, or the bytes of the PNG.
        size: bytes of the file.
    """

    name: str
    kind: Kind
    content: Any
    size: int


def read_documents(predictor: Predictor) -> list[Document]:
    """Return the documents of a model, of each of several that answer together, and of the run that made these."""
    folders = folders_of(predictor)
    found: list[Document] = []
    left = MOST
    for folder in folders:
        prefix = f"{folder.name}/" if len(folders) > 1 else ""
        for path in paths_of(folder):
            document = read_document(path, prefix + path.relative_to(folder).as_posix(), left)
            if document is not None:
                left -= document.size
                found.append(document)
    return found


def folders_of(predictor: Predictor) -> list[Path]:
    """Return the folders of the models in memory, behind that of the run if they are its folds or seeds."""
    # A dict, because two files of one folder may answer together.
    folders = list(dict.fromkeys(model_folder(single.files[0]) for single in predictor.singles))
    above = {folder.parent for folder in folders}
    if len(folders) > 1 and len(above) == 1:
        (run,) = above
        # Without the summary it is any folder that models happen to lie in.
        if (run / SUMMARY).is_file():
            folders.insert(0, run)
    return folders


def paths_of(folder: Path) -> Iterator[Path]:
    """Yield the paths of a folder's documents, in the order in which they are shown."""
    for name in (CARD, *REPORTS):
        yield folder / name
    for pattern in IMAGES:
        yield from sorted(folder.glob(pattern))


def read_document(path: Path, name: str, left: int) -> Document | None:
    """Return a document; None if it is not there, too large or damaged, of which only the page would be the worse.

    Args:
        path: of the file.
        name: of the document.
        left: bytes that there is room for.
    """
    try:
        if not path.is_file():
            return None
        room = min(left, LARGEST)
        if path.stat().st_size > room:
            logger.warning("%s is not shown: there is room for %d bytes", path, room)
            return None
        return parse_document(path, name)
    except (OSError, ValueError) as error:
        logger.warning("%s is not shown: %s", path, error)
        return None


def parse_document(path: Path, name: str) -> Document:
    """Return a document by the ending of its file.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is not what its ending says.
    """
    raw = path.read_bytes()
    if path.suffix == ".png":
        # The browser is told that it is one, and must not be sent something else.
        if not raw.startswith(PNG):
            raise ValueError("it is not a PNG")
        return Document(name, "image", raw, len(raw))
    text = raw.decode("utf-8")
    if path.suffix == ".md":
        return Document(name, "markdown", text, len(raw))
    # NaN is not JSON, but Python writes it: browsers get null.
    value = json.loads(text, parse_constant=lambda _: None)
    return Document(name, "json", value, len(raw))


def listing(documents: Sequence[Document]) -> list[dict[str, Any]]:
    """Return documents as JSON; an image has its number, by which it is asked for."""
    listed = []
    for number, document in enumerate(documents):
        entry = {"name": document.name, "kind": document.kind}
        if document.kind == "image":
            listed.append({**entry, "number": number})
        else:
            listed.append({**entry, "content": document.content})
    return listed
