"""What stores charge if the built-in price list does not cover them. An administrator sets it by
the store's host."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Price:
    """Prices in USD. `gb`: per GB (10^9 bytes) read from the store; `requests`: per thousand
    requests of any kind."""

    gb: float = 0.0
    requests: float = 0.0

    def __post_init__(self) -> None:
        for name in ("gb", "requests"):
            value: object = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= float(str(value)) < math.inf:
                raise ValueError(f"{name}: {value!r} is not a price; give US dollars, 0 or more")


# By the host of an endpoint, with its port if it has one.
Prices = Mapping[str, Price]


def read_prices(**given: Any) -> Prices:
    """Prices from settings. Raises TypeError or ValueError for invalid ones."""
    prices = {}
    for host, values in given.items():
        if not isinstance(values, Mapping):
            raise ValueError(f"{host}: give gb and requests below it")
        try:
            prices[host.lower()] = Price(**values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{host}: {error}") from None
    return prices
