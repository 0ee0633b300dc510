"""Collections: files with a common access list, in the shapes of OpenAI's vector stores."""
