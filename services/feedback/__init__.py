"""What people think of the answers that they were given."""
