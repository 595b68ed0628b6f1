"""What the tests share: servers and what they can prove, an observer, leak and blocking detectors."""
