"""What a plugin needs of a platform, by concept: `queue`, `records`, `runs`, `images`, `uploads`, `limits`, `gauges`.

`platform.Platform` has all of one task.

Two implementations stand behind each `Protocol`: SQL on one machine (`platforms.local`) and the managed services of
AWS (SQS, DynamoDB). The suites in `tests/contract` hold both to what is said here: `test_queue` for `Queue`, and so on;
a new platform has to pass them. Contracts are written so that both fit: delivery is at least once, every write is
idempotent, and nothing here needs a transaction across two ports. A method that takes a sequence does it in as few
calls as the platform allows and either does all of it or raises.

Keys are `str` holding the store's UTF-8 bytes decoded with `surrogateescape`; code point order is byte order.
Times are seconds since the epoch (`float`).
"""
