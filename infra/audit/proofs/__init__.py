"""Proofs as others can check them: inclusion, consistency, receipts of answers."""
