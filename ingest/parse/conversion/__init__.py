"""Old Office files become new ones in a program of their own."""
