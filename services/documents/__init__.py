"""Files: upload, list, share, delete; the jobs that read them; the places that citations point to."""
