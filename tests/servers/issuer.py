"""A foreign OpenID Connect issuer that signs everybody in at once, in a thread of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.identity import Issuer

if TYPE_CHECKING:
    from starlette.requests import Request

CLIENT = "hub"


class IssuerServer(Issuer):
    """`groups`: those of whoever signs in next. `discovery` is what it publishes of itself.
    `token_host`: of the token endpoint, if it is not that of the issuer."""

    def __init__(self, *groups: str, token_host: str = "") -> None:
        super().__init__()
        self.groups = list(groups)
        self.token_url = self.url.replace("127.0.0.1", token_host or "127.0.0.1")
        self.discovery |= {
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.token_url}/token",
            "code_challenge_methods_supported": ["S256"],
        }
        app = self.app()
        app.router.routes += [
            Route("/realm/authorize", self._authorize),
            Route("/realm/token", self._token, methods=["POST"]),
        ]
        # Pages of the console ask for the document and the tokens.
        anybody = Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"])
        config = uvicorn.Config(
            Starlette(routes=app.routes, middleware=[anybody]), log_level="error", lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self.listening]}, daemon=True
        )

    async def _authorize(self, request: Request) -> Response:
        asked = request.query_params
        back = urlencode({"code": "the-code", "state": asked["state"]})
        return RedirectResponse(f"{asked['redirect_uri']}?{back}", 303)

    async def _token(self, _: Request) -> Response:
        return JSONResponse(
            {
                "access_token": self.access_token(),
                "id_token": self.token(aud=CLIENT, typ="ID"),
                "token_type": "Bearer",
                "expires_in": 300,
                "scope": "openid",
            }
        )

    def access_token(self, **more: Any) -> str:
        """What whoever signs in gets."""
        return self.token(groups=self.groups, preferred_username="erika", **more)

    def given(self, **more: Any) -> dict[str, Any]:
        """What an administrator of a hub enters."""
        roles = [{"group": "Transfer Admins", "role": "admin"}]
        return {
            "issuer": self.url,
            "clientId": CLIENT,
            "roleClaim": "groups",
            "roles": roles,
        } | more

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self.listening.close()
