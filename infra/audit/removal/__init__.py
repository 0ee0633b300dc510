"""What is taken away on purpose: erasure, retention, holds, and backups that expire."""
