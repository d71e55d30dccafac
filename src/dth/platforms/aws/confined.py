"""Confinement on AWS: code of a task or a hub opens no file of its machine for users, and connects
only to networks that the deployment allows: the variable `DTH_ALLOWED_NETWORKS`, comma-separated.
"""

import os
from collections.abc import Mapping

from dth.core.confinement import Confinement, confine
from dth.core.network import Network

VARIABLE = "DTH_ALLOWED_NETWORKS"


def confine_by_environment(environment: Mapping[str, str] = os.environ) -> None:
    """Raises UsageError for an invalid network."""
    allow = environment.get(VARIABLE, "").replace(",", " ").split()
    confine(Confinement(network=Network.read(allow)))
