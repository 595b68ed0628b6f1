"""Plans between directories and buckets."""
