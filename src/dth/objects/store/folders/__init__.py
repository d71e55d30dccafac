"""A folder of this machine as a store: its files are objects, and their paths below the folder are
the keys."""
