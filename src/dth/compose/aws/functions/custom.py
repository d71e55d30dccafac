"""How a custom resource answers CloudFormation."""

import json
import logging
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from dth.core.errors import HubError
from dth.platforms.aws.client import Refused

MAX_REASON = 1000  # characters
TIMEOUT = 30.0  # seconds
PAUSES = (1, 2, 4, 8, 16, 16)  # seconds between attempts after a refusal
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
    """Retry while permissions that the stack just granted take some seconds to apply everywhere."""
    for pause in PAUSES:
        try:
            work()
            return
        except Refused as error:
            if error.code not in DENIED and "Unable to validate" not in str(error):
                raise
            log.warning("not yet: %s", error)
            time.sleep(pause)
    work()
