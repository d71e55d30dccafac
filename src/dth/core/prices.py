"""What stores charge where no list of ours says it: an administrator tells, by the host of the store."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Price:
    """In USD. `gb`: a GB (10^9 bytes) that is read from the store; `requests`: a thousand requests of any kind."""

    gb: float = 0.0
    requests: float = 0.0

    def __post_init__(self) -> None:
        for name in ("gb", "requests"):
            value: object = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= float(str(value)) < math.inf:
                raise ValueError(f"{name}: {value!r} is no price; give US dollars, 0 or more")


Prices = Mapping[str, Price]  # by the host of an endpoint, with its port where it has one


def read_prices(**given: Any) -> Prices:
    """From settings. Raises TypeError or ValueError for what cannot be."""
    prices = {}
    for host, values in given.items():
        if not isinstance(values, Mapping):
            raise ValueError(f"{host}: give gb and requests below it")
        try:
            prices[host.lower()] = Price(**values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{host}: {error}") from None
    return prices
