"""For all tests: in CI, property tests make the same examples each time, so that a red run means a change."""

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
