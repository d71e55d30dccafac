"""skopeo: how it is run, how it is confined, and what it says."""
