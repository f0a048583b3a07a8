"""Runs modules of this project in processes of their own, whose code is that of the process that starts them.

`python -m` takes modules from the working directory and from PYTHONPATH before all others: a folder `msgspec` that is
there by chance would be executed. So this file is run instead, with neither of them. It knows where the project's
packages are, whether they are installed or not; all else is found where Python itself is installed, and only then
where else its parent has looked.
"""

import contextlib
import os
import runpy
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

PACKAGES = frozenset({"deploy", "invoker", "metrics_sidecar", "shared"})


def python(module: str, *arguments: str) -> list[str]:
    """The command line of a process that runs the module as `__main__`."""
    here: Path | None = None
    with contextlib.suppress(OSError):  # it may have been removed
        here = Path.cwd()
    path = [entry for entry in sys.path if Path(entry).is_absolute() and Path(entry) != here]
    warnings = [f"-W{option}" for option in sys.warnoptions]
    return [sys.executable, "-uEP", *warnings, __file__, os.pathsep.join(path), module, *arguments]


class _Project(MetaPathFinder):
    """Finds the project's packages beside this one, whatever else has their names."""

    def __init__(self, module: str) -> None:
        self._root = str(Path(__file__).parent.parent)
        self._packages = PACKAGES | {module.partition(".")[0]}

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [self._root]) if name in self._packages else None


def main() -> None:
    _, path, module, *arguments = sys.argv
    sys.meta_path.insert(0, _Project(module))
    sys.path += [entry for entry in path.split(os.pathsep) if entry and entry not in sys.path]
    sys.argv[:] = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
