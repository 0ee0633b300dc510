"""What administrators ask and choose about access: why somebody may read a file, and neutral texts."""
