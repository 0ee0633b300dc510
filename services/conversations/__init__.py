"""Kept conversations: continued by their owners, looked at by whom they are shared with."""
