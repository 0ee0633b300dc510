"""Language models: the files on this machine, and what is known of those that teams bring."""
