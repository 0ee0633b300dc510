"""What people touch: the HTTP interface, the pages and the command line."""
