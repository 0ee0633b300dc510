"""The Model Context Protocol at `/mcp`, with the caller's own key and nothing beyond their scope."""
