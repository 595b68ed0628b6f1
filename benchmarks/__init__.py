"""What the SDK costs beside its peers: `python -m benchmarks`, `benchmarks.memory`, `benchmarks.profile`."""
