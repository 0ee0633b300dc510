"""Copies of the record that can be checked without this program: written, and checked."""
