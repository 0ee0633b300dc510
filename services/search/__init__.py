"""Search without an answer: passages, and titles while somebody types."""
