"""The pages for people who are invited: the link leads to them, and they end in the console."""

import hmac
import math
import secrets
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dth.hub.audit import ACCEPT_INVITATION, note
from dth.hub.ports import Audit, Invitation, InvitationState
from dth.platforms.local import sign_in_page
from dth.platforms.local.invitations import LocalInvitations, NameProblem
from dth.platforms.local.oidc import (
    FORM_COOKIE,
    HEADERS,
    VIA,
    WORD_OF,
    Provider,
    address_of,
    digest,
    html_response,
    language_for,
    read_form,
)
from dth.platforms.local.users import Weakness

PATH = "/invitation"
WORD_OF_NAME = {NameProblem.TAKEN: "taken", NameProblem.WRONG: "not_a_name"}


class InvitationPages:
    """Routes to mount at the path of the provider. `origin`: where the console is served from."""

    def __init__(
        self,
        provider: Provider,
        invitations: LocalInvitations,
        audit: Audit,
        origin: str,
        base: str,
    ) -> None:
        self._provider = provider
        self._invitations = invitations
        self._audit = audit
        self._console = f"{origin}/"
        self._base = base

    def routes(self) -> list[Route]:
        return [
            Route(PATH, self._link),
            Route(PATH, self._submit, methods=["POST"]),
            Route(f"{PATH}.js", self._script),
        ]

    async def _link(self, request: Request) -> Response:
        page = sign_in_page.open_invitation(language_for(request), self._base)
        return html_response(page, 200, form_action="'self'", script=True)

    async def _script(self, _: Request) -> Response:
        return Response(
            sign_in_page.INVITATION_SCRIPT, media_type="text/javascript", headers=HEADERS
        )

    async def _submit(self, request: Request) -> Response:
        fields = await read_form(request)
        token = fields.get("invitation", "")
        opened = await self._invitations.open(token, address_of(request))
        found = opened.invitation
        if opened.wait:
            return self._wait(request, opened.wait)
        if found is None:
            return self._message(request, "no_invitation", 404)
        if found.state is not InvitationState.OPEN:
            return self._message(request, f"invitation_{found.state}", 410)
        if "name" not in fields:
            return self._ask(request, token, found)
        cookie = request.cookies.get(FORM_COOKIE, "")
        state = fields.get("state", "").encode("utf-8", "replace")
        # Another site can send this form, but not with what our page contains.
        if not cookie or not hmac.compare_digest(state, digest(cookie).encode()):
            return self._message(request, "invitation_again", 400)
        return await self._accept(request, token, found, fields)

    async def _accept(
        self, request: Request, token: str, found: Invitation, fields: Mapping[str, str]
    ) -> Response:
        name, password = fields["name"], fields.get("new", "")
        if password != fields.get("again", ""):
            return self._ask(request, token, found, name, "differ")
        accepted = await self._invitations.accept(token, name, password, address_of(request))
        if accepted.wait:
            return self._wait(request, accepted.wait)
        match accepted.problem:
            case Weakness() as weakness:
                return self._ask(request, token, found, name, WORD_OF[weakness])
            case NameProblem() as problem:
                return self._ask(request, token, found, name, WORD_OF_NAME[problem])
        if accepted.account is None:  # somebody else was faster
            return self._message(request, "invitation_USED", 410)
        new = accepted.account.user
        detail = {"role": new.role.value, "address": address_of(request)}
        await note(self._audit, ACCEPT_INVITATION, new.name, VIA, target=found.id, **detail)
        return await self._provider.welcome(request, accepted.account, self._console)

    def _ask(
        self, request: Request, token: str, found: Invitation, name: str = "", word: str = ""
    ) -> Response:
        language = language_for(request)
        cookie = request.cookies.get(FORM_COOKIE) or secrets.token_urlsafe(16)
        page = sign_in_page.join(
            language,
            self._base,
            token,
            digest(cookie),
            role=found.role.value,
            name=name,
            problem=sign_in_page.WORDS[language][word] if word else "",
        )
        response = html_response(page, 403 if word else 200, form_action="'self'")
        self._provider.set_cookie(response, FORM_COOKIE, cookie)
        return response

    def _wait(self, request: Request, wait: float) -> Response:
        response = self._message(request, "wait", 429, math.ceil(wait))
        response.headers["retry-after"] = str(math.ceil(wait))
        return response

    def _message(self, request: Request, word: str, status: int, seconds: int = 0) -> Response:
        language = language_for(request)
        page = sign_in_page.message(language, self._base, word, "invited", seconds)
        return html_response(page, status)
