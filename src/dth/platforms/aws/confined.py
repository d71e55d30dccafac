"""What runs of a task or a hub on AWS opens no file of its machine for users, and connects only to where the deployment
allows it: the variable `DTH_ALLOWED_NETWORKS`, with commas between.
"""

import os
from collections.abc import Mapping

from dth.core.confinement import Confinement, confine
from dth.core.network import Network

VARIABLE = "DTH_ALLOWED_NETWORKS"


def confine_by_environment(environment: Mapping[str, str] = os.environ) -> None:
    """Raises UsageError for what is no network."""
    allow = environment.get(VARIABLE, "").replace(",", " ").split()
    confine(Confinement(network=Network.read(allow)))
