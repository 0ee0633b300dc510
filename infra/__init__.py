"""What services, agents and ingest stand on: settings, access, storage, models, the ledger."""
