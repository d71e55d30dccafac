"""Named secrets, for code that signs in with them: where they are read, and which hosts they are
used with."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from dth.core.checks import Check, CheckState
from dth.core.errors import UsageError
from dth.core.secret_bindings import ANY, covers, first_bindings


@dataclass(frozen=True, slots=True)
class SecretUse:
    """One side of a task ("source" or "destination") sends a secret, or what is signed with it, to
    these hosts (in the form of `hosts.host_of`)."""

    side: str
    name: str
    hosts: tuple[str, ...]


class SecretStore(Protocol):
    """Where named secrets are stored."""

    def read(self, name: str) -> str:
        """The secret's JSON text. Raises UsageError if there is no such secret, and WrongHost if it
        may not be used with the intended hosts."""
        ...


@runtime_checkable
class BoundSecrets(SecretStore, Protocol):
    """The store of a hub, whose secrets are bound to hosts."""

    def at(self, hosts: Sequence[str]) -> SecretStore:
        """The same store, for use with only these hosts."""
        ...

    def is_unbound(self, name: str) -> bool:
        """Whether the secret with this name may be used with any host. Raises UsageError as `read`
        does."""
        ...


def for_hosts(store: SecretStore, hosts: Sequence[str]) -> SecretStore:
    """The store for a side with these hosts. Commands of the machine's user may use any secret that
    exists."""
    return store.at(hosts) if isinstance(store, BoundSecrets) else store


class WrongHost(UsageError):
    """A secret is bound to other hosts than the one it is to be used with."""


def check_use(name: str, bindings: Sequence[str], hosts: Iterable[str]) -> None:
    """Raises WrongHost if a secret with these bindings may not be used with all of the hosts."""
    for host in hosts:
        if covers(bindings, host):
            continue
        if not bindings:
            raise WrongHost(
                f"secret {name!r} is new and bound to no host yet: resume the task, which binds "
                f"it to {host}, or let an administrator bind it"
            )
        raise WrongHost(
            f"secret {name!r} may not be used with {host}: it is bound to "
            f"{', '.join(bindings)}; name another secret, or let an administrator bind it again"
        )


def plan_use(
    found: Mapping[str, Sequence[str]], uses: Iterable[SecretUse]
) -> dict[str, tuple[str, ...]]:
    """What to bind the secrets to that are not bound yet, for work with these uses. `found`: the
    bindings of each secret that exists. Raises WrongHost if a secret may not be used in this
    way."""
    hosts: dict[str, tuple[str, ...]] = {}
    for use in uses:
        if found.get(use.name):
            check_use(use.name, found[use.name], use.hosts)
        elif use.name in found:
            hosts[use.name] = (*hosts.get(use.name, ()), *use.hosts)
    return {name: first_bindings(each) for name, each in hosts.items()}


def unbound_warning(name: str) -> str:
    """The warning about a secret that may be used with any host."""
    return f"secret {name!r} is bound to no host: whoever may make tasks can send it anywhere"


def warn_of_unbound(uses: Iterable[SecretUse], store: SecretStore) -> list[Check]:
    """For a preflight: a warning for each side that uses such a secret. Unreadable secrets are
    reported elsewhere."""
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
            found.append(
                Check(use.side, "secret", CheckState.WARNING, unbound_warning(use.name), todo)
            )
    return found


def is_unbound(bindings: Sequence[str]) -> bool:
    """Whether a secret with these bindings may be used with any host."""
    return ANY in bindings
