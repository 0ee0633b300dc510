"""Files that are text: plain, marked up, tables, structured data, code and e-books."""
