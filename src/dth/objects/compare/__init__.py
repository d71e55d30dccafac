"""Which objects differ between the two sides."""
