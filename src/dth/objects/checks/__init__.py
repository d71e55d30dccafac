"""What is tested before a task starts, and what to do if a test fails."""
