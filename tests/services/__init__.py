"""What needs more than Python: a browser, and MinIO beneath it."""
