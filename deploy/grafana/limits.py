"""Where a panel turns red: where the alerts of `deploy/prometheus/rules` fire. A test holds the two together."""

ERROR_RATE_PERCENT = 5.0
ERROR_BUDGET = 0.01
"""Share of a model's invocations that may fail: what a burn rate of 1 spends."""
BURN_RATE_1H = 14.4
BURN_RATE_6H = 6.0
P95_S = 2.0
FIRST_TOKEN_P95_S = 2.5
USAGE_MISSING_PERCENT = 5.0
FALLBACK_PERCENT = 10.0
LOOP_LAG_S = 0.25
DISK_FREE_TICKET_PERCENT = 15.0
DISK_FREE_PAGE_PERCENT = 5.0
