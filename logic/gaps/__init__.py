"""What is missing: found, asked for again, explained."""
