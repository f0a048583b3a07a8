"""What some tests need of a machine: without it such a test is skipped, but in CI it fails."""

import os
import shutil
from typing import NoReturn

import pytest


def lack(reason: str) -> NoReturn:
    """Skip the test, which says why; fail it in CI."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def find_tool(name: str) -> str | None:
    """Where it is, which for servers may be where only root looks."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def require_tools(*names: str) -> None:
    """Skip the test if one is missing; fail it in CI."""
    missing = [name for name in names if find_tool(name) is None]
    if missing:
        lack(f"not installed: {', '.join(missing)}")
