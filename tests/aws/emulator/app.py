"""MiniStack as an ASGI application, with the patches of this package. Serve it with
`MiniStack(application=...)`."""

from dth.demo.store import app
from tests.aws.emulator import (
    appsync,
    autoscaling,
    cloudformation,
    containers,
    events,
    functions,
    iam,
    queues,
)

for each in (appsync, autoscaling, cloudformation, containers, events, functions, iam, queues):
    each.patch()

__all__ = ["app"]
