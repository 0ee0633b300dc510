"""The pages people see: templates, their style and modules, and the headers that fence them in."""
