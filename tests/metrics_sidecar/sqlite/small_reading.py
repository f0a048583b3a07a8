"""The process that reads the history, in which few rows, models and pages are many."""

from unittest.mock import patch

from metrics_sidecar.sqlite import counts, history, reading

if __name__ == "__main__":
    with (
        patch.multiple(history, MANY_LANES=4, SCANNED_ROWS=5, KEYS_AT_ONCE=1),
        patch.object(counts, "MANY_MODELS", 1),
    ):
        reading.main()
