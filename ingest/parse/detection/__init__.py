"""What a file is, by its content: one module for each family."""
