"""`make mutants`: puts small faults into the code, one at a time, and tells which of them no test notices.

A sample, drawn by a seed, over the places of all files of `targets.toml`; each against the tests of its file only. A
fault that survives is shown as a diff: some are equal to the code as it is, the others want a test. (Processes that
tests start in Python's isolated mode import the code without the fault.)
"""

import difflib
import fnmatch
import itertools
import random
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import click

from tests.mutants.faults import Fault, apply, faults, is_program
from tests.mutants.trial import ROOT, Copy

Target = tuple[str, Fault]


def targets(patterns: tuple[str, ...]) -> dict[str, list[str]]:
    """File → its tests."""
    tables = tomllib.loads((Path(__file__).parent / "targets.toml").read_text())
    files: dict[str, list[str]] = {file: tests for table in tables.values() for file, tests in table.items()}
    return {file: files[file] for file in files if any(fnmatch.fnmatch(file, pattern) for pattern in patterns)}


def sample(files: list[str], seed: int, count: int) -> list[Target]:
    """So many places, no two alike, each with one of its faults."""
    chosen = random.Random(seed)
    places = [(file, each) for file in files for each in faults((ROOT / file).read_text()).values()]
    chosen.shuffle(places)
    found = (pick(chosen, file, each) for file, each in places)
    return list(itertools.islice((target for target in found if target is not None), count))


def pick(chosen: random.Random, file: str, at_place: list[Fault]) -> Target | None:
    """One of a place's faults, if any leaves a program."""
    source = (ROOT / file).read_text()
    for fault in chosen.sample(at_place, len(at_place)):
        if is_program(apply(source, fault)):
            return file, fault
    return None


def diff(file: str, fault: Fault) -> str:
    source = (ROOT / file).read_text()
    return "".join(
        difflib.unified_diff(
            source.splitlines(keepends=True), apply(source, fault).splitlines(keepends=True), file, fault.operator, n=2
        )
    )


@click.command(help=__doc__)
@click.option("--seed", default=lambda: random.SystemRandom().randrange(1_000_000), type=int, help="Draws the sample.")
@click.option("--count", default=300, type=click.IntRange(1), help="Faults to try.", show_default=True)
@click.option("--jobs", default=2, type=click.IntRange(1, 64), help="At the same time.", show_default=True)
@click.argument("patterns", nargs=-1)
def main(seed: int, count: int, jobs: int, patterns: tuple[str, ...]) -> None:
    """PATTERNS: of the files of `targets.toml`, such as `invoker/*`; all of them if there is none."""
    tests = targets(patterns or ("*",))
    if not tests:
        raise click.UsageError(f"no file of targets.toml is like {' or '.join(patterns)}")
    survivors = run(tests, sample([*tests], seed, count), jobs, seed)
    sys.exit(1 if survivors else 0)


def run(tests: dict[str, list[str]], chosen: list[Target], jobs: int, seed: int) -> list[Target]:
    """Try all; print a line for each, and at the end the survivors, which are returned."""
    print(f"{len(chosen)} faults in {len({file for file, _ in chosen})} files, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="mutants") as directory:
        all_copies = [Copy(Path(directory) / str(number)) for number in range(jobs)]
        baseline_s = {file: all_copies[0].baseline_s(tests[file]) for file in sorted({file for file, _ in chosen})}
        copies: SimpleQueue[Copy] = SimpleQueue()
        for copy in all_copies:
            copies.put(copy)

        def survives(target: Target) -> bool:
            file, fault = target
            copy = copies.get()
            try:
                survived = copy.survives(file, apply((ROOT / file).read_text(), fault), tests[file], baseline_s[file])
            finally:
                copies.put(copy)
            print(f"{'SURVIVED' if survived else 'killed':8}  {file}  {fault.operator} {fault.occurrence}", flush=True)
            return survived

        with ThreadPoolExecutor(jobs) as pool:
            survivors = [
                target for target, survived in zip(chosen, pool.map(survives, chosen), strict=True) if survived
            ]
        for copy in all_copies:
            copy.close()
    for file, fault in survivors:
        print(f"\n{diff(file, fault)}")
    killed = len(chosen) - len(survivors)
    print(f"\nkilled {killed} of {len(chosen)} ({killed / max(len(chosen), 1):.0%}), seed {seed}")
    return survivors


if __name__ == "__main__":
    main()
