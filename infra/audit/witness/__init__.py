"""Witnesses: what they are shown, what they sign, and the witness itself."""
