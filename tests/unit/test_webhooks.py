"""The forms in which services read messages of the hub."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dth.core.errors import HubError
from dth.hub.notifications import NotifiedEvent, compose, trial
from dth.hub.webhooks import request_of


def test_teams_gets_a_card_of_plain_text() -> None:
    url = "https://prod-1.westeurope.logic.azure.com:443/workflows/1/triggers/x?sig=secret"
    message = compose([trial()])
    sent, body = request_of(url, message, "name")
    assert sent == url
    [attachment] = body["attachments"]  # type: ignore[misc]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    runs = [block["inlines"][0] for block in attachment["content"]["body"]]
    assert {run["type"] for run in runs} == {"TextRun"}
    assert [run["text"] for run in runs][:2] == [message.subject, "Test"]
    assert [run["weight"] for run in runs][:2] == ["Bolder", "Default"]


@pytest.mark.parametrize(
    ("events", "severity"),
    [
        (["TEST"], "info"),
        (["TASK_DONE", "TASK_PAUSED"], "warning"),
        (["TASK_DONE", "TASK_ERROR"], "error"),
    ],
)
def test_pagerduty_gets_an_event(events: list[str], severity: str) -> None:
    message = compose([replace(trial(), event=NotifiedEvent(each)) for each in events])
    url = "https://events.pagerduty.com/v2/enqueue"
    sent, body = request_of(f"{url}?routing_key=R1", message, "name")
    assert sent == url
    assert (body["routing_key"], body["event_action"], body["dedup_key"]) == (
        "R1",
        "trigger",
        "name",
    )
    payload = body["payload"]
    assert isinstance(payload, dict)
    assert (payload["summary"], payload["severity"]) == (message.subject, severity)
    with pytest.raises(HubError, match="routing_key=KEY"):
        request_of(url, message, "name")


def test_others_get_the_fields_of_slack() -> None:
    for host in ("hooks.slack.com", "logic.azure.com.example.org", "pagerduty.com.example.org"):
        _, body = request_of(f"https://{host}/x", compose([trial()]), "name")
        assert body["mrkdwn"] is False
