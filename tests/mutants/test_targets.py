"""What `make mutants` puts faults into."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_each_file_and_its_tests_are_there() -> None:
    """A file that was renamed would silently be left out."""
    tables = tomllib.loads((Path(__file__).parent / "targets.toml").read_text())
    named = {path for files in tables.values() for file, tests in files.items() for path in (file, *tests)}
    assert [path for path in named if not (ROOT / path).is_file()] == []
