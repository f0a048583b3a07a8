"""Who may know whom, and who may touch the outside world."""

import ast
import functools
import graphlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("invoker", "metrics_sidecar", "shared")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


FORBIDDEN = {
    "invoker": {"metrics_sidecar", "deploy", "tests"},
    "metrics_sidecar": {"invoker", "deploy", "tests"},
    "shared": {"invoker", "metrics_sidecar", "deploy", "tests"},
}

DOMAIN = {
    "invoker/journal/journal.py",
    "invoker/journal/segment.py",
    "metrics_sidecar/ledger/ledger.py",
    "metrics_sidecar/ledger/totals.py",
    "shared/clock.py",
    "shared/record.py",
    "shared/wire.py",
}
"""What is true of an invocation, whoever asks and by whatever way."""

WEB = {"aiohttp", "yarl", "multidict", "rfc9457"}

API = "metrics_sidecar.api"
DRIVERS = {"sqlite3", "metrics_sidecar.sqlite"}

DIALECTS = {
    name_of(path).removesuffix(".py").replace("/", ".")
    for path in (ROOT / "invoker/protocols").glob("[a-z]*.py")
    if path.stem != "base"
}

MAY_NOT_KNOW = {
    "invoker/call": {*WEB, *DIALECTS},
    "invoker/protocols": WEB,
    "invoker/models_file": WEB,
    "invoker/routing": WEB,
    "metrics_sidecar/history": {*WEB, API, *DRIVERS},
    "metrics_sidecar/ledger": {*WEB, API, *DRIVERS},
    "metrics_sidecar/intake": {*WEB, API, *DRIVERS},
    "metrics_sidecar/metrics": {*WEB, API, *DRIVERS},
    "metrics_sidecar/parameters": {*WEB, API, *DRIVERS},
    "metrics_sidecar/sqlite": {*WEB, API},
    "metrics_sidecar/files": {*WEB, API},
    "metrics_sidecar/commands": {*WEB, API},
}
"""Of the sidecar, only `api/` and the process that serves it know the web, and what may be asked knows no place where
it is kept. Of the gateway, `front/` does, and a call knows no dialect."""

CONCRETE = {
    "PooledUpstream": {"invoker/process/assembly.py"},
    "Anthropic": {"invoker/process/assembly.py"},
    "KServe": {"invoker/process/assembly.py"},
    "OpenAI": {"invoker/process/assembly.py"},
    "Worklet": {"invoker/process/assembly.py"},
    "SqliteBackend": {"metrics_sidecar/app.py", "metrics_sidecar/commands/import_command.py"},
    "SqliteWriter": {"metrics_sidecar/sqlite/backend.py"},
    "SqliteReader": {"metrics_sidecar/sqlite/backend.py"},
    "SystemClock": {
        "invoker/process/assembly.py",
        "invoker/__main__.py",
        "invoker/delivery/assignment.py",  # `invoker ship`, a process of its own
        "metrics_sidecar/app.py",
        "metrics_sidecar/commands/cli.py",  # `metrics-sidecar import`, likewise
        "metrics_sidecar/sqlite/reading.py",  # likewise
    },
}
"""Where a part behind a Protocol may be picked."""

CLOCK_READS = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time"}
DATETIME_READS = {"now", "utcnow", "today"}
MAY_READ_THE_CLOCK = {
    "shared/clock.py",
    "metrics_sidecar/ledger/ledger.py",  # how long a commit took: measured on the writer's thread, part of no fact
    "metrics_sidecar/ledger/tending.py",  # likewise, how long a slice of tending took
}
MAY_READ_THE_ENVIRONMENT = {"shared/settings.py"}


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """Full names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def imported_names(path: Path) -> Iterator[str]:
    """`module.name` of everything that a file imports from a module."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def attributes(path: Path) -> Iterator[str]:
    """`name.attribute` wherever an attribute of a plain name is used."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def calls(path: Path) -> Iterator[str]:
    """Names of the classes and functions that a file calls, by themselves or through a classmethod."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


MODULES = {name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in FILES}


@functools.cache
def modules(path: Path) -> frozenset[str]:
    """Those of our own modules that a file imports, itself or something of them, anywhere in it."""
    return frozenset({*imports(path), *imported_names(path)} & MODULES.keys())


@functools.cache
def reached(path: Path) -> frozenset[str]:
    """All modules, ours and others', that come with a file."""
    return frozenset(imports(path)).union(modules(path), *(reached(MODULES[name]) for name in modules(path)))


def is_one_of(module: str, forbidden: Iterable[str]) -> bool:
    """Whether a module is one of these, or in one of these packages."""
    return any(module == name or module.startswith(f"{name}.") for name in forbidden)


def used(path: Path) -> set[str]:
    return {*imports(path), *imported_names(path), *attributes(path)}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_who_imports_whom(path: Path) -> None:
    """Gateway and sidecar share `shared` and nothing else; `shared` knows neither."""
    forbidden = FORBIDDEN[name_of(path).partition("/")[0]]
    assert {module for module in imports(path) if module.partition(".")[0] in forbidden} == set()


@pytest.mark.parametrize("name", sorted(DOMAIN))
def test_the_domain_knows_no_web(name: str) -> None:
    """What happens to an invocation is plain Python, tested without a server."""
    assert {module for module in imports(ROOT / name) if module.partition(".")[0] in WEB} == set()


@pytest.mark.parametrize("room", sorted(MAY_NOT_KNOW))
def test_what_a_room_may_not_know(room: str) -> None:
    """Neither itself nor by way of others."""
    found = {}
    for path in FILES:
        if name_of(path).startswith(f"{room}/"):
            known = sorted(module for module in reached(path) if is_one_of(module, MAY_NOT_KNOW[room]))
            if known:
                found[name_of(path)] = known
    assert found == {}


def test_no_circles() -> None:
    """Of two modules at most one knows the other, however far apart: each is read, and tested, without its users."""
    graph = {name: modules(path) - {name} for name, path in MODULES.items()}
    assert [*graphlib.TopologicalSorter(graph).static_order()]  # or it raises, and names the circle


def test_no_circles_of_rooms() -> None:
    """Of two rooms of the gateway, too, at most one knows the other: the way of a call goes down through them."""
    graph: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        if name.startswith("invoker.") and path.parent != ROOT / "invoker":
            room = path.parent.name
            known = {MODULES[module].parent.name for module in modules(path) if module.startswith("invoker.")}
            graph.setdefault(room, set()).update(known - {room})
    assert [*graphlib.TopologicalSorter(graph).static_order()]  # or it raises, and names the circle


@pytest.mark.parametrize("name", sorted(CONCRETE))
def test_concrete_parts_are_picked_in_one_place(name: str) -> None:
    """The rest of the code is given what it works with."""
    assert {name_of(path) for path in FILES if name in set(calls(path))} <= CONCRETE[name]


def test_nobody_reads_the_clock() -> None:
    """`shared/clock.py` does, and gives the time to those who need it."""
    reads = {f"time.{name}" for name in CLOCK_READS} | {
        f"{name}.{read}" for name in ("datetime", "date") for read in DATETIME_READS
    }
    assert {name_of(path) for path in FILES if reads & used(path)} == MAY_READ_THE_CLOCK


def test_nobody_reads_the_environment() -> None:
    """`shared/settings.py` does, once, and the settings are passed down."""
    reads = {"os.environ", "os.environb", "os.getenv", "os.getenvb"}
    assert {name_of(path) for path in FILES if reads & used(path)} == MAY_READ_THE_ENVIRONMENT


def test_every_package_says_what_it_is_for() -> None:
    """Each module opens with a docstring."""
    assert [name_of(path) for path in FILES if not ast.get_docstring(tree_of(path))] == []
