"""Find records again: who, what, how far a document reached, how an answer came about."""
