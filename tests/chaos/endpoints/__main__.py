"""`make chaos` for endpoints: they go wrong under load while the models file changes.

Exits 0 only if nothing was lost or doubled, attempts add up, and no endpoint was called that was out.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import click
import uvloop

from tests.chaos.endpoints.faults import KINDS, OF_ENDPOINTS
from tests.chaos.endpoints.run import Options, report, run_endpoints


@click.command()
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--faults", type=click.IntRange(1), default=40, show_default=True)
@click.option("--rate", type=click.FloatRange(1), default=150.0, show_default=True, help="Calls per second.")
@click.option("--workers", type=click.IntRange(1, 8), default=2, show_default=True)
@click.option("--alone", is_flag=True, help="Only faults of endpoints; no worker dies, nor the sidecar.")
def main(seed: int, faults: int, rate: float, workers: int, alone: bool) -> None:
    """Have endpoints go wrong under load, and see whether attempts and records add up."""
    directory = Path(tempfile.mkdtemp(prefix=f"chaos-endpoints-{seed}-"))
    print(f"seed {seed}", flush=True)
    outcome = uvloop.run(
        run_endpoints(
            Options(seed, faults, rate, workers, OF_ENDPOINTS if alone else KINDS),
            directory,
            lambda text: print(text, flush=True),
        )
    )
    print("\n".join(report(outcome)))
    if outcome.problems:
        print(f"FAILED with {len(outcome.problems)} problems; logs and data are kept in {directory}")
        sys.exit(1)
    shutil.rmtree(directory)
    print("nothing lost, nothing doubled, attempts add up")


if __name__ == "__main__":
    main()
