"""What runs as long as a stream does."""
