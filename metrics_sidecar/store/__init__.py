"""Where the ledger is kept. Each backend implements `ledger.Store` and `queries.Queries`."""
