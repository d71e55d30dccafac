"""AppSync: a token of a user pool is one that the pool has signed, and that has not ended, and stands alone; what is no
such token is for the authorizer that an API names besides; who signs with IAM is told to resolvers.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ministack.core import iam_evaluator, responses, router
from ministack.services import appsync, cognito

from tests.aws.emulator.patching import replace

if TYPE_CHECKING:
    from collections.abc import Callable

POOLS = "AMAZON_COGNITO_USER_POOLS"

_identity: ContextVar[dict[str, Any] | None] = ContextVar("identity", default=None)


def patch() -> None:
    replace(appsync, "_request_is_authenticated", _with_proof)
    replace(appsync, "_cognito_identity", _or_authorized)


def _with_proof(original: Callable[..., bool]) -> Callable[..., bool]:
    def authenticated(api_id: str, api: dict[str, Any], headers: dict[str, str]) -> bool:
        _identity.set(None)
        if not original(api_id, api, headers):
            return False
        token = str(headers.get("authorization") or "")
        if token.startswith("AWS4-"):
            _identity.set(_signer(headers))
            return True
        if POOLS not in appsync._auth_modes(api):
            return True
        if token.count(".") == 2:
            claims = cognito._token_claims(token) or {}
            pool = str(claims.get("iss", "")).rpartition("/")[2]
            known = (api.get("userPoolConfig") or {}).get("userPoolId")
            good = pool == known and cognito._signature_valid(token)
            return bool(good and time.time() < claims.get("exp", 0))
        for provider in api.get("additionalAuthenticationProviders") or []:
            if authorizer := provider.get("lambdaAuthorizerConfig"):
                try:
                    _identity.set(appsync._invoke_lambda_authorizer(api_id, authorizer, headers))
                except appsync._AuthorizerRejected:
                    return False
                return True
        return False

    return authenticated


def _signer(headers: dict[str, str]) -> dict[str, Any]:
    key = router.extract_access_key_id(headers, {})
    caller = iam_evaluator.resolve_principal(key, responses.get_account_id())
    return {"userArn": getattr(caller, "arn", ""), "accountId": responses.get_account_id()}


def _or_authorized(original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda api, headers: _identity.get() or original(api, headers)
