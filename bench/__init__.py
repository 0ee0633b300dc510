"""Reproducible measurements; their figures stand in bench/README.md."""
