"""The stack of deploy/compose.yaml, built and run by a container engine."""

import os
import subprocess
import sys

import pytest

from tests.stack.__main__ import TOOLS
from tests.stack.checks import CHECKS
from tests.stack.compose import ROOT
from tests.tools import lack, require_tools

TIMEOUT_S = 540


@pytest.mark.timeout(TIMEOUT_S + 30)
def test_the_stack_does_what_it_promises() -> None:
    """Every check of `make stack-test` passes; they are in `checks`, one docstring each."""
    require_tools(*TOOLS)
    if os.geteuid() != 0:
        lack("a container engine needs root")
    done = subprocess.run(
        [sys.executable, "-m", "tests.stack"], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [check.__name__ for check in CHECKS if f"  {check.__name__.replace('_', ' ')}: " not in done.stdout] == []
