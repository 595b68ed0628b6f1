"""The FastAPI ring, served by a real uvicorn."""
