"""What is tested before a task starts."""
