"""What there is: the listings of both sides, in order, whole or in ranges."""
