"""A service on FastAPI: an upload page, files, reports, a model registry and emission factors."""
