"""skopeo: how it runs, how it is confined, and what its messages mean."""
