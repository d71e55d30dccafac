"""The address of a database as people write it, and how messages show it: never with a password."""

from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from dth.core.errors import UsageError

SCHEMES = ("postgresql://", "postgres://")
FORM = "postgresql://USER@HOST:PORT/DATABASE"
HIDDEN = "***"
# Parts of an address that nobody may see.
SECRET = ("password", "sslpassword")
REACH = "check the address, and that PostgreSQL runs and can be reached from this machine"
PASSWORD = "give the right password in PGPASSWORD, in ~/.pgpass, or in a file named by PGPASSFILE"
# What to do, by what PostgreSQL or its client says.
TODO = {
    "password": PASSWORD,
    "no pg_hba.conf entry": "let pg_hba.conf of the server admit this machine and user",
    "database": "create the database, or name another one",
    "role": "create the user, or name another one",
    "too many": "raise max_connections of the server, or start fewer workers",
    "connection slots": "raise max_connections of the server, or start fewer workers",
    "permission denied": "the user needs the right CREATE on the database, for the schema dth",
    "lock timeout": "end what keeps the tables locked, perhaps a backup, or try again later",
    "No space left": "free some space on the disk of the database",
    "read-only": "name a server that accepts writes, not a replica",
}
MARKS = {"database": 'database "', "role": 'role "', "too many": "too many clients"}


def check_address(address: str) -> None:
    """Raises UsageError for what is not the address of a database."""
    if not address.startswith(SCHEMES):
        scheme = address.partition("://")[0] if "://" in address else ""
        found = f"begins with {scheme}://" if scheme else "is not an address"
        raise UsageError(f"--database {found}; write {FORM}")
    parts = _parts(address)
    ports = str(parts.get("port") or "5432").split(",")
    # The client takes special characters in a password for the end of it, and the rest of the
    # password for a host, port or database, which its messages then show.
    if (
        not parts
        or "@" in f"{parts.get('host', '')}{parts.get('dbname', '')}"
        or not all(port.isdigit() for port in ports)
    ):
        raise UsageError(
            f"--database cannot be read; write {FORM}, with special characters in the form %40"
        )


def has_password(address: str) -> bool:
    return any(_parts(address).get(name) for name in SECRET)


def shown(address: str) -> str:
    """The address without its password and options."""
    parts = _parts(address)
    user, host, port, name = (
        str(parts.get(each) or "") for each in ("user", "host", "port", "dbname")
    )
    # One port may be that of all hosts.
    hosts, ports = host.split(","), port.split(",")
    places = zip(hosts, ports if len(ports) == len(hosts) else ports * len(hosts), strict=True)
    servers = ",".join(f"{host}:{port}" if port else host for host, port in places)
    return f"postgresql://{f'{user}@' if user else ''}{servers}/{name}"


def said(error: Exception, address: str) -> str:
    """What an error says, in one line and without passwords."""
    text = " ".join(str(error).split())
    parts = _parts(address)
    for secret in filter(None, map(parts.get, SECRET)):
        for written in (str(secret), quote(str(secret), safe="")):
            text = text.replace(written, HIDDEN)
    meaning = next((means for heard, means in _MEANINGS.items() if heard in text), "")
    # Another server of the address may have said what is to be done.
    return meaning if meaning and advice(text) == REACH else text


# What libpq says of a server that cannot be reached, and what that means.
_MEANINGS = {
    "Connection refused": "no server takes connections there",
    "could not translate host name": "its host name cannot be resolved",
    "resolve host": "its host name cannot be resolved",
    "timeout expired": "it does not answer in time",
    "No route to host": "no way in the network leads there",
}


def advice(text: str) -> str:
    """What to do about an error that says this."""
    return next((todo for word, todo in TODO.items() if MARKS.get(word, word) in text), REACH)


def _parts(address: str) -> dict[str, object]:
    """The parts of an address; none if it is not one."""
    try:
        return dict(conninfo_to_dict(address))
    except psycopg.Error:
        return {}
