"""The demonstration: two real S3 servers on this machine, real objects, every byte verified."""
