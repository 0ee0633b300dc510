"""Chat completions in the OpenAI shapes, with citations that stock clients show."""
