"""Files that are not Python come along when the package is installed."""

from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NATIVE = ROOT / "trainer_ext/inference/native"
# Sources that setup.py compiles, which a source distribution has because they are named there, and what it makes.
COMPILED = (".c", ".h", ".so")


def packaged_files() -> set[Path]:
    """What the patterns of setup.cfg match, each in the folder of its package."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    files: set[Path] = set()
    for package, patterns in config["options.package_data"].items():
        folder = ROOT.joinpath(*package.split("."))
        for pattern in patterns.split(","):
            found = set(folder.glob(pattern.strip()))
            assert found, f"{package} has no {pattern}"
            files |= found
    return files


def test_every_template_list_and_prompt_is_packaged():
    others = set()
    for path in (ROOT / "trainer_ext").rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".pyc", *COMPILED):
            others.add(path)
    assert others == packaged_files() and len(others) > 5


def test_every_source_in_c_is_named_where_it_is_compiled():
    """A header that setup.py does not name is missing from a source distribution."""
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    sources = [path for path in NATIVE.iterdir() if path.suffix in (".c", ".h")]
    assert len(sources) > 3
    for path in sources:
        assert f'"{path.stem}"' in setup or f"/{path.name}" in setup, path.name
