"""What every other part stands on: errors, parameters, HTTP, and the ports that a platform brings."""
