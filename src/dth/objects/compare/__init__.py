"""What is different."""
