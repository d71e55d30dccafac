"""AppSync: a token of a user pool, or of an issuer, is one that it has signed, has not ended, and
stands alone; what is no such token is for the authorizer that an API names besides; who signs with
IAM is told to resolvers.
"""

from __future__ import annotations

import json
import re
import time
import urllib.request
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from ministack.core import iam_evaluator, responses, router
from ministack.services import appsync, cognito

from tests.aws.emulator.patching import replace

if TYPE_CHECKING:
    from collections.abc import Callable

POOLS = "AMAZON_COGNITO_USER_POOLS"

_identity: ContextVar[dict[str, Any] | None] = ContextVar("identity", default=None)


def patch() -> None:
    replace(appsync, "_request_is_authenticated", _with_proof)
    replace(appsync, "_resolve_field", _by_whom_it_was_asked)


def _with_proof(original: Callable[..., bool]) -> Callable[..., bool]:
    def authenticated(api_id: str, api: dict[str, Any], headers: dict[str, str]) -> bool:
        _identity.set(None)
        if not original(api_id, api, headers):
            return False
        token = str(headers.get("authorization") or "")
        if token.startswith("AWS4-"):
            _identity.set(_signer(headers))
            return True
        if issuer := api.get("openIDConnectConfig"):
            if token.count(".") == 2:
                _identity.set(_of_issuer(token, issuer))
                return _identity.get() is not None
        elif POOLS not in appsync._auth_modes(api):
            return True
        elif token.count(".") == 2:
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


def _of_issuer(token: str, config: dict[str, str]) -> dict[str, Any] | None:
    """As AppSync asks an issuer for its keys. Issuers in tests are spoken to without TLS."""
    try:
        keys = _fetch(_fetch(f"{config['issuer']}/.well-known/openid-configuration")["jwks_uri"])
        claims = jwt.decode(
            token, KeySet.import_key_set(keys), algorithms=["RS256", "ES256"]
        ).claims
    except (JoseError, ValueError):
        return None
    for_whom = [
        claims.get("azp"),
        *(claims["aud"] if isinstance(claims.get("aud"), list) else [claims.get("aud")]),
    ]
    wanted = re.compile(config.get("clientId") or ".*")
    good = claims.get("iss") == config["issuer"] and time.time() < claims.get("exp", 0)
    if not good or not any(wanted.fullmatch(each) for each in for_whom if each):
        return None
    return {"sub": claims["sub"], "issuer": claims["iss"], "claims": claims}


def _fetch(url: str) -> Any:
    with urllib.request.urlopen(url.replace("https:", "http:"), timeout=5) as answer:
        return json.load(answer)


def _signer(headers: dict[str, str]) -> dict[str, Any]:
    key = router.extract_access_key_id(headers, {})
    caller = iam_evaluator.resolve_principal(key, responses.get_account_id())
    return {"userArn": getattr(caller, "arn", ""), "accountId": responses.get_account_id()}


def _by_whom_it_was_asked(original: Callable[..., Any]) -> Callable[..., Any]:
    def resolve(*arguments: Any, identity: Any, **more: Any) -> Any:
        return original(*arguments, identity=_identity.get() or identity, **more)

    return resolve
