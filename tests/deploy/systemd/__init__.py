"""What the units of deploy/systemd promise."""
