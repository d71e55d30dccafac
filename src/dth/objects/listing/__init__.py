"""The listings of both sides, in order, as a whole or in ranges."""
