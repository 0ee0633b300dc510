"""Watched folders and S3 buckets: what changes there is taken in, and what goes there goes here as well.

`watching` looks at every source at its pace, or when somebody asks (`standing`). One look (`syncing`) lists a
source (`folder`, `bucket`), compares it with what was taken in before, and takes in or removes what differs
(`taking`).
"""
