"""The directories on this machine. Each has its own environment variable."""

import os
from pathlib import Path


def secrets_directory() -> Path:
    """Named secrets, one JSON file each: `DTH_SECRETS_DIR`."""
    return Path(
        os.environ.get("DTH_SECRETS_DIR") or _home("XDG_CONFIG_HOME", ".config") / "dth" / "secrets"
    )


def state_directory() -> Path:
    """The states of commands without `--state`: `DTH_STATE_DIR`."""
    return Path(os.environ.get("DTH_STATE_DIR") or _home("XDG_STATE_HOME", ".local/state") / "dth")


def data_directory() -> Path:
    """The data of the hub: `DTH_DATA_DIR`."""
    return Path(os.environ.get("DTH_DATA_DIR") or _home("XDG_DATA_HOME", ".local/share") / "dth")


def config_directory() -> Path:
    """The user's settings: sessions on hubs."""
    return _home("XDG_CONFIG_HOME", ".config") / "dth"


def _home(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / default)
