"""People: sign-in, invitations, keys and groups."""
