"""What is said of a server that gives no answer."""

import pytest

from dth.core.no_answer import meaning


@pytest.mark.parametrize(
    "host", ["tls.example.com", "ssl-timeout.example.com:5000", "https://certificate.example.com/"]
)
def test_the_words_of_a_name_mean_nothing(host: str) -> None:
    name = host.removeprefix("https://").rstrip("/").partition(":")[0]
    text = f"Failed to connect to {name} port 443 after 0 ms: Could not connect to server"
    assert meaning(text, host) == f"no server takes connections at {host}"
    assert meaning(f"Could not resolve host: {name}", host) == (
        f"the host name of {host} cannot be resolved"
    )
