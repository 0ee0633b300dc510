"""The one-shot child that parses, and the walls around it."""
