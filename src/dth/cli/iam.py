"""Calls of a hub on AWS that are signed with IAM: no sign-in and no token, the credentials of the
AWS command line."""

import os
import re
from urllib.parse import urlsplit

from dth.core.errors import Unauthenticated, UsageError
from dth.hub.client import Authorize

APPSYNC = re.compile(r"[a-z0-9]+\.appsync-api\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?")
JSON = "application/json"
NO_CREDENTIALS = (
    "the call cannot be signed: there are no AWS credentials; set AWS_PROFILE or "
    "AWS_ACCESS_KEY_ID, or call with a token of the hub (DTH_TOKEN)"
)


def region_of(url: str) -> str:
    """Where to sign for, when the address is that of an API on AppSync; "" for every other hub. An
    API with an own domain is not known by it: `DTH_AUTH=iam` and `AWS_REGION` say so.

    Raises UsageError when the environment says it half.
    """
    auth = os.environ.get("DTH_AUTH", "")
    if auth not in ("", "iam"):
        raise UsageError(
            f"DTH_AUTH: {auth!r} is not known; iam signs calls of a hub on AWS, unset is the usual"
        )
    if found := APPSYNC.fullmatch(urlsplit(url).hostname or ""):
        return found[1]
    if not auth:
        return ""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise UsageError("DTH_AUTH=iam needs a region: set AWS_REGION")
    return region


def signed(region: str) -> Authorize:
    """Signs with what the environment gives, as it is renewed. Raises Unauthenticated when that is
    nothing."""
    import botocore.auth
    import botocore.awsrequest
    import botocore.exceptions
    import botocore.session

    session = botocore.session.Session()

    def authorize(url: str, body: bytes) -> dict[str, str]:
        try:
            credentials = session.get_credentials()
            if credentials is None:
                raise Unauthenticated(NO_CREDENTIALS)
            request = botocore.awsrequest.AWSRequest("POST", url, {"content-type": JSON}, body)
            botocore.auth.SigV4Auth(credentials, "appsync", region).add_auth(request)
        except botocore.exceptions.BotoCoreError as error:
            raise Unauthenticated(
                f"the call cannot be signed: {' '.join(str(error).split())}"
            ) from None
        return dict(request.headers)

    return authorize
