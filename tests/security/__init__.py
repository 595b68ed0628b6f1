"""The rows of docs/security.md: for each a test that fails when its protection is taken away."""
