"""Named secrets, as those need them who sign in with them: where they are read, and with which hosts they are used."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from dth.core.checks import Check, State
from dth.core.errors import UsageError
from dth.core.hosts import ANY, covers, first_bindings


@dataclass(frozen=True, slots=True)
class SecretUse:
    """That one side of a task ("source" or "destination") sends what is in a secret, or what is signed with it, to
    these hosts (in the form of `hosts.host_of`)."""

    side: str
    name: str
    hosts: tuple[str, ...]


class SecretStore(Protocol):
    """Where named secrets live."""

    def read(self, name: str) -> str:
        """The secret's JSON text. Raises UsageError when there is no such secret, and WrongHost when it is not for the
        hosts that it is wanted for."""
        ...


@runtime_checkable
class BoundSecrets(SecretStore, Protocol):
    """A store of a hub, whose secrets are bound to hosts."""

    def at(self, hosts: Sequence[str]) -> SecretStore:
        """The same, for use with these hosts and no others."""
        ...

    def is_unbound(self, name: str) -> bool:
        """Whether a secret of this name may be used with any host. Raises UsageError as `read` does."""
        ...


def for_hosts(store: SecretStore, hosts: Sequence[str]) -> SecretStore:
    """The store as a side with these hosts gets it. Who works for the user of the machine may use what is there."""
    return store.at(hosts) if isinstance(store, BoundSecrets) else store


class WrongHost(UsageError):
    """A secret is bound to other hosts than the one that it is to be used with."""


def check_use(name: str, bindings: Sequence[str], hosts: Iterable[str]) -> None:
    """Raises WrongHost where a secret with these bindings may not be used with all of the hosts."""
    for host in hosts:
        if covers(bindings, host):
            continue
        if not bindings:
            raise WrongHost(
                f"secret {name!r} is new and bound to no host yet: resume the task, which binds it to {host}, or let "
                "an administrator bind it"
            )
        raise WrongHost(
            f"secret {name!r} may not be used with {host}: it is bound to {', '.join(bindings)}; name another secret, "
            "or let an administrator bind it anew"
        )


def plan_use(found: Mapping[str, Sequence[str]], uses: Iterable[SecretUse]) -> dict[str, tuple[str, ...]]:
    """For work with these uses: what those secrets are to be bound to that are bound to nothing yet. `found`: what each
    secret that there is is bound to. Raises WrongHost where one may not be used so."""
    hosts: dict[str, tuple[str, ...]] = {}
    for use in uses:
        if found.get(use.name):
            check_use(use.name, found[use.name], use.hosts)
        elif use.name in found:
            hosts[use.name] = (*hosts.get(use.name, ()), *use.hosts)
    return {name: first_bindings(each) for name, each in hosts.items()}


def unbound_warning(name: str) -> str:
    """What is told of a secret that may be used with any host."""
    return f"secret {name!r} is bound to no host: whoever may make tasks can send it anywhere"


def warn_of_unbound(uses: Iterable[SecretUse], store: SecretStore) -> list[Check]:
    """For a preflight: a warning for each side that uses such a secret. What cannot be read is told elsewhere."""
    found: list[Check] = []
    if not isinstance(store, BoundSecrets):
        return found
    for use in uses:
        try:
            unbound = store.is_unbound(use.name)
        except UsageError:
            continue
        if unbound:
            todo = f"let an administrator bind it to {', '.join(use.hosts)}"
            found.append(Check(use.side, "secret", State.WARNING, unbound_warning(use.name), todo))
    return found


def is_unbound(bindings: Sequence[str]) -> bool:
    return ANY in bindings
