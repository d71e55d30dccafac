"""What is tried before a task starts, and what to do where it fails."""
