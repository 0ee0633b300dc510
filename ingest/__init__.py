"""How a file becomes passages."""
