"""The record: an append-only ledger whose every change can be proved. See `docs/ledger-format.md`."""
