"""What our parts cost beside yardsticks that run in the same minute: `python -m tests.bench`."""
