"""The history in SQLite: `backend` says what there is, `sqlite` writes, `reading` reads, in a process of its own."""
