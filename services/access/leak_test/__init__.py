"""The standing leak test: plant canaries, ask for them as everybody who must not see them, and tell.

A canary is a document with a word that nobody could guess. One rule alone keeps it from the outsiders, who
hold every role; an insider for whom that rule grants has to find it through the same interface, because a
test in which nobody finds anything proves nothing. `run` is the whole of it, top to bottom.
"""
