"""What a plugin needs from a platform. One module per concept: `queue`, `records`, `runs`,
`images`, `uploads`, `limits`, `gauges`.

`platform.Platform` holds all ports of one task.

Each `Protocol` has three implementations: SQLite on one machine (`platforms.local`), the managed
services of AWS (SQS, DynamoDB), and PostgreSQL (`platforms.postgres`). The suites in
`tests/contract` check all against the docstrings here: `test_queue` checks `Queue`, and so on. A
new platform has to pass them. The contracts fit all: delivery is at least once, every write is
idempotent, and nothing needs a transaction across two ports. A method that takes a sequence uses as
few calls as the platform allows, and either handles all items or raises.

Keys are `str`: the store's UTF-8 bytes, decoded with `surrogateescape`. Code point order is byte
order. Times are seconds since the epoch (`float`).
"""
