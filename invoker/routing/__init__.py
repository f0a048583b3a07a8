"""Which model goes where, and what is known of each place."""
