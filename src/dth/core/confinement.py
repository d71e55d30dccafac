"""What a process that works for the users of a hub may use of its machine.

A command works for the user of the machine, who may use all of it. The users of a hub must not use
the hub's machine: a task of theirs can name objects, secrets, and what the administrator has
listed. A process of a hub is confined permanently before it reads any user's data. All code that
opens a file, uses a profile or makes a connection asks here. So it does not matter where a task
came from: a form, an import, an old database.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dth.core.errors import UsageError
from dth.core.network import Network


@dataclass(frozen=True, slots=True)
class Confinement:
    """What an administrator allows. `ca_bundles`: files of certificate authorities, by the names
    that tasks use. `aws_profiles`: the profiles of the hub's AWS configuration that tasks may
    use. `folders`: real paths; tasks may copy from and to what is below them."""

    ca_bundles: Mapping[str, str] = field(default_factory=dict)
    aws_profiles: frozenset[str] = frozenset()
    folders: tuple[str, ...] = ()
    network: Network = field(default_factory=Network)

    def ca_bundle(self, name: str) -> str:
        """The path of the file with this name. Raises UsageError."""
        if name not in self.ca_bundles:
            raise UsageError(
                f"{name!r} is not a CA bundle of this hub "
                f"({_names(self.ca_bundles, 'ca_bundles')}); name one of these, never a path"
            )
        return self.ca_bundles[name]

    def folder(self, path: str) -> tuple[str, list[str]]:
        """A listed folder, and the names that lead from there to this path. Raises UsageError if
        the path is not in a listed folder, or leads out of it through a symbolic link."""
        if not self.folders:
            raise UsageError(
                f"{path!r} is a folder, and the settings of this hub list none that tasks may "
                "copy (folders): name a bucket, or copy the folder with dth s3 sync on the "
                "machine where it is"
            )
        real = os.path.realpath(path)
        for top in self.folders:
            if os.path.commonpath([top, real]) == top:
                return top, list(Path(real).relative_to(top).parts)
        raise UsageError(
            f"{path!r} is not in a folder of this hub "
            f"({_names(frozenset(self.folders), 'folders')}); name one of these, or one below it"
        )

    def profile(self, name: str) -> str:
        """The same name. Raises UsageError if tasks may not use it."""
        if name not in self.aws_profiles:
            raise UsageError(
                f"{name!r} is not an AWS profile of this hub "
                f"({_names(self.aws_profiles, 'aws_profiles')}); name one of these, or a secret"
            )
        return name


def _names(listed: Mapping[str, str] | frozenset[str], setting: str) -> str:
    return f"{setting} of its settings lists {', '.join(sorted(listed)) or 'none'}"


class _State:
    """The state of this process. None: it works for the user of the machine."""

    confinement: Confinement | None = None


def confine(confinement: Confinement) -> None:
    """From now on, this process and its forks may use no more than this."""
    _State.confinement = confinement


def confinement() -> Confinement | None:
    """The confinement of this process; None if it may use whatever its user may."""
    return _State.confinement


# ---------------------------------------------------------------------------------------- questions


def local_files() -> bool:
    """Whether a name that a user gives may mean a file of this machine."""
    return _State.confinement is None


def ca_file(name: str) -> str:
    """The file of certificate authorities that a parameter names: by its path, or in a hub by the
    name of a listed file. Raises UsageError."""
    found = _State.confinement
    return found.ca_bundle(name) if found and name else name


def folder(path: str) -> tuple[str, list[str]] | None:
    """As `Confinement.folder`; None if this process may use any folder. Raises UsageError."""
    found = _State.confinement
    return found.folder(path) if found else None


def aws_profile(name: str) -> str:
    """The profile that a parameter names. Raises UsageError if it may not be used."""
    found = _State.confinement
    return found.profile(name) if found and name else name


def default_profile() -> bool:
    """Whether a side that names no profile may use one of the AWS configuration. In a hub, this is
    allowed if the administrator selected it with a variable, or lists it."""
    found = _State.confinement
    chosen = os.environ.get("AWS_DEFAULT_PROFILE") or os.environ.get("AWS_PROFILE")
    return found is None or bool(chosen) or "default" in found.aws_profiles


def aws_session(profile: str) -> Any:
    """A botocore session for the profile, or for the environment if there is none. Raises
    UsageError."""
    import botocore.session

    session = botocore.session.Session(profile=aws_profile(profile) or None)
    if not profile and not default_profile():
        for file in ("config_file", "credentials_file"):
            session.set_config_variable(file, os.devnull)
    return session


def network() -> Network | None:
    """Where connections may go; None: anywhere."""
    return _State.confinement.network if _State.confinement else None


def check_host(host: str) -> None:
    """Raise UsageError for an IP address to which this process may not connect. Names are checked
    when the connection is made."""
    rules = network()
    if rules and (why := rules.refusal_of_host(host)):
        raise UsageError(f"{host} {why}")


def foreign(words: str) -> str:
    """The part of another server's answer that may be shown: all of it to the user of the machine,
    nothing to users of a hub. They choose which server the hub asks, so they could read what only
    the hub can reach."""
    return words if _State.confinement is None else ""
