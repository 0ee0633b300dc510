"""Files of pages: PDF, scans and images, and what is printed on them."""
