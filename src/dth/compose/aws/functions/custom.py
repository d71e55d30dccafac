"""How a custom resource answers CloudFormation."""

import itertools
import json
import logging
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from dth.core.errors import HubError
from dth.core.retry_policy import RetryPolicy
from dth.platforms.aws.client import Refused

MAX_REASON = 1000  # characters
TIMEOUT = 30.0  # seconds
# Permissions that a stack just granted take some seconds to apply everywhere.
GRANTED = RetryPolicy(first=1.0, last=16.0, attempts=7)
DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}

log = logging.getLogger(__name__)


def answer(event: dict[str, Any], context: Any, work: Callable[[], object]) -> None:
    """Do the work and report the result to CloudFormation.

    A failure is reported in one line, which the stack's events show. A delete never fails, because
    the stack could not be deleted then. The work may run several times.
    """
    deleting = event["RequestType"] == "Delete"
    status, reason = "SUCCESS", ""
    try:
        _patiently(work)
    except HubError as error:
        status, reason = "FAILED", str(error)
    except Exception as error:
        log.exception("a defect in Data Transfer Hub")
        status, reason = "FAILED", f"a defect of Data Transfer Hub: {error!r}"
    if reason:
        log.error("%s: %s", event["RequestType"].lower(), reason)
    body = {
        "Status": "SUCCESS" if deleting else status,
        "Reason": reason[:MAX_REASON] or "done",
        "PhysicalResourceId": event.get("PhysicalResourceId") or event["LogicalResourceId"],
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    request = urllib.request.Request(event["ResponseURL"], json.dumps(body).encode(), method="PUT")
    request.add_header("content-type", "")  # the URL's signature requires it
    with urllib.request.urlopen(request, timeout=TIMEOUT):
        pass


def _patiently(work: Callable[[], object]) -> None:
    """Retry while permissions that the stack just granted do not apply yet."""
    for attempt in itertools.count(1):
        try:
            work()
            return
        except Refused as error:
            denied = error.code in DENIED or "Unable to validate" in str(error)
            pause = GRANTED.next_pause(attempt, 0.0)
            if not denied or pause is None:
                raise
            log.warning("not yet: %s", error)
            time.sleep(pause)
