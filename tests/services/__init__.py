"""What needs services of the machine: Redis, Chromium, Ray, Node."""
