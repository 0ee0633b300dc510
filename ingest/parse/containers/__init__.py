"""Files that hold files: archives, messages and mailboxes."""
