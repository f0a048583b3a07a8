"""For all tests: property tests have no time limits, which say more about the machine than about what is tested; and in
CI they make the same examples each time, so that a red run means a change."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "project",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("project")
