"""Processes in a namespace of their own, where the first of them has the id 1."""

import os
import subprocess

import pytest

from tests.tools import lack, require_tools

UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def first_of_namespace() -> tuple[str, ...]:
    """What makes a command that follows the first process of a namespace. Skips the test where that is not allowed."""
    require_tools("unshare")
    prefix = UNSHARE if os.geteuid() == 0 else (*UNSHARE, "--user", "--map-root-user")
    if subprocess.run([*prefix, "true"], capture_output=True, timeout=60, check=False).returncode != 0:
        (lack if os.geteuid() == 0 else pytest.skip)("namespaces are not to be had here")
    return prefix
