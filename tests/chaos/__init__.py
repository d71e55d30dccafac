"""Transfers with faults, on a real PostgreSQL: `python -m tests.chaos --rounds 500 --seed 1`.

Each round is one transfer by several machines: by `dth s3 sync --database`, or by a hub (`dth up
--database`) with another one that stands by. Clocks are wrong, and faults happen at random
moments. What a fault ends is begun again, as a user or a service manager would. In the end,
nothing may be lost, counted twice or left over.

The plan of a round depends only on the seed and its number: `--seed 1 --first 17 --rounds 1`
repeats it. What is in progress at a planned moment is not planned, so it may end otherwise.
"""
