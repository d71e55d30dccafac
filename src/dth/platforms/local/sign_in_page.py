# ruff: noqa: RUF001 - Chinese has commas of its own
"""The pages of the built-in provider: sign in, choose a new password, and errors. In English and
Chinese."""

import re
from collections.abc import Mapping
from html import escape

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "title": "Sign in",
        "name": "User name",
        "password": "Password",
        "sign_in": "Sign in",
        "change": "Choose a new password",
        "why": "Somebody else chose your password. Choose one of your own: 12 characters or more.",
        "new": "New password",
        "again": "New password, again",
        "save": "Save and sign in",
        "wrong": "The user name or password is wrong.",
        "wait": "Too many tries. Try again in {seconds} s.",
        "short": "The password is too short: it needs 12 characters or more.",
        "long": "The password is too long: 1,024 characters are the most.",
        "same": "This is the old password. Choose another.",
        "is_name": "The password must not be the user name.",
        "differ": "The two passwords are not the same.",
        "expired": "This page has expired. Go back to where you came from, and sign in again.",
        "client": (
            "The address that led here is wrong: an unknown application, or one that would be "
            "led elsewhere."
        ),
        "out": "You are signed out.",
        "continue": "Continue as {name}?",
        "asks": "The command line (dth) on this computer, at {place}, asks to act in your name.",
        "only_if": "Continue only if you have just run dth login here. Otherwise close this page.",
        "go_on": "Continue",
        "other": "Sign in as somebody else",
        "invited": "Join this hub",
        "opening": "You were invited to this hub. Choose Continue to open the invitation.",
        "invited_as": "You are invited as {role}. Choose a name and a password of 12 characters or more.",
        "viewer": "a viewer",
        "operator": "an operator",
        "admin": "an administrator",
        "new_name": "User name",
        "new_password": "Password",
        "repeat": "Password, again",
        "join": "Create the account",
        "taken": "There is a user with this name already. Choose another.",
        "not_a_name": "Letters, digits and any of _.@+- make a user name, 64 at most.",
        "no_invitation": "This link is not complete, or there is no such invitation. Ask for another one.",
        "invitation_USED": "This invitation was used already. Sign in, or ask for another one.",
        "invitation_WITHDRAWN": "This invitation was withdrawn. Ask for another one.",
        "invitation_EXPIRED": "This invitation has expired. Ask for another one.",
        "invitation_again": "This page has expired. Open the link of the invitation again.",
    },
    "zh-CN": {
        "title": "登录",
        "name": "用户名",
        "password": "密码",
        "sign_in": "登录",
        "change": "设置新密码",
        "why": "当前密码由他人设置。请设置您自己的密码，至少 12 个字符。",
        "new": "新密码",
        "again": "再次输入新密码",
        "save": "保存并登录",
        "wrong": "用户名或密码错误。",
        "wait": "尝试次数过多，请在 {seconds} 秒后重试。",
        "short": "密码太短，至少需要 12 个字符。",
        "long": "密码太长，最多 1,024 个字符。",
        "same": "新密码与旧密码相同，请换一个。",
        "is_name": "密码不能与用户名相同。",
        "differ": "两次输入的密码不一致。",
        "expired": "此页面已过期，请返回原来的页面重新登录。",
        "client": "链接有误：应用未知，或其返回地址不被允许。",
        "out": "您已退出登录。",
        "continue": "以 {name} 的身份继续？",
        "asks": "本机上的命令行工具 (dth)，地址 {place}，请求以您的身份操作。",
        "only_if": "仅当您刚刚在本机运行了 dth login 时才继续，否则请关闭此页面。",
        "go_on": "继续",
        "other": "以其他用户登录",
        "invited": "加入此 Hub",
        "opening": "您受邀加入此 Hub。点击“继续”打开邀请。",
        "invited_as": "您受邀成为{role}。请设置用户名和至少 12 个字符的密码。",
        "viewer": "查看者",
        "operator": "操作员",
        "admin": "管理员",
        "new_name": "用户名",
        "new_password": "密码",
        "repeat": "再次输入密码",
        "join": "创建账户",
        "taken": "该用户名已存在，请换一个。",
        "not_a_name": "用户名由字母、数字和 _.@+- 组成，最多 64 个字符。",
        "no_invitation": "链接不完整，或邀请不存在。请索取新的链接。",
        "invitation_USED": "此邀请已被使用。请登录，或索取新的邀请。",
        "invitation_WITHDRAWN": "此邀请已被撤回。请索取新的邀请。",
        "invitation_EXPIRED": "此邀请已过期。请索取新的邀请。",
        "invitation_again": "此页面已过期。请重新打开邀请链接。",
    },
}

CSS = """\
:root { color-scheme: light dark; --text: #16191f; --back: #f2f3f3; --card: #fff; --line: #7d8998; --accent: #0972d3;
  --on-accent: #fff; --bad: #d91515; }
@media (prefers-color-scheme: dark) { :root { --text: #d1d5db; --back: #0f1b2a; --card: #192534; --line: #7d8998;
  --accent: #539fe5; --on-accent: #000716; --bad: #ff7a7a; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem; background: var(--back);
  color: var(--text); font: 16px/1.5 system-ui, "Noto Sans SC", sans-serif; }
main { width: 100%; max-width: 24rem; padding: 1.5rem; border-radius: 1rem; background: var(--card);
  overflow-wrap: anywhere; }
h1 { margin: 0 0 1rem; font-size: 1.5rem; line-height: 1.25; }
h1 small { display: block; font-size: 1rem; font-weight: normal; }
form { display: grid; gap: .5rem; }
input, button { width: 100%; padding: .6rem .75rem; border: 1px solid var(--line); border-radius: .5rem;
  font: inherit; }
input { background: var(--card); color: var(--text); }
button { margin-top: .75rem; border-color: var(--accent); background: var(--accent); color: var(--on-accent);
  font-weight: bold; cursor: pointer; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
button.other { border-color: var(--line); background: var(--card); color: var(--text); }
[role=alert] { margin: 0; color: var(--bad); }
"""

# What is behind the "#" of a link is sent to no server, so it goes into the form, and out of the
# history of the browser.
INVITATION_SCRIPT = """\
const field = document.getElementById('invitation');
field.value = location.hash.slice(1);
history.replaceState(null, '', location.pathname);
if (field.value) field.form.submit();
"""


def language_of(accepted: str) -> str:
    """The supported language that an Accept-Language header prefers."""
    best, found = 0.0, "en"
    for part in accepted[:1000].split(","):
        match = re.fullmatch(
            r"\s*(en|zh)(?:-[\w-]*)?\s*(?:;\s*q=([01](?:\.\d{0,3})?))?\s*", part, re.IGNORECASE
        )
        quality = float(match[2] or 1) if match else 0.0
        if match and quality > best:
            best, found = quality, "zh-CN" if match[1].lower() == "zh" else "en"
    return found


def sign_in(
    language: str, base: str, state: str, *, name: str = "", problem: str = "", command: str = ""
) -> str:
    """`base`: path of the provider; `state`: the sealed state of the form; `problem`: text to show,
    which is escaped here. `command`: the address of the command line if it asks."""
    words = WORDS[language]
    asks = f"<p>{_asks(words, command)}</p>\n" if command else ""
    focus = ("", " autofocus") if name else (" autofocus", "")
    return _page(
        language,
        base,
        words["title"],
        f"""<form method="post" action="{escape(base)}/authorize">
{asks}{_alert(problem)}<input type="hidden" name="state" value="{escape(state)}">
<label for="name">{words["name"]}</label>
<input id="name" name="name" value="{escape(name)}" autocomplete="username" autocapitalize="none" required{focus[0]}>
<label for="password">{words["password"]}</label>
<input id="password" name="password" type="password" autocomplete="current-password" required{focus[1]}>
<button>{words["sign_in"]}</button>
</form>""",
    )


def change(language: str, base: str, state: str, *, name: str, problem: str = "") -> str:
    """The page for the new password of a user who has just entered the old one."""
    words = WORDS[language]
    return _page(
        language,
        base,
        words["change"],
        f"""<form method="post" action="{escape(base)}/authorize">
<p>{words["why"]}</p>
{_alert(problem)}<input type="hidden" name="state" value="{escape(state)}">
<label for="name">{words["name"]}</label>
<input id="name" value="{escape(name)}" autocomplete="username" readonly>
<label for="new">{words["new"]}</label>
<input id="new" name="new" type="password" autocomplete="new-password" minlength="12" required autofocus>
<label for="again">{words["again"]}</label>
<input id="again" name="again" type="password" autocomplete="new-password" minlength="12" required>
<button>{words["save"]}</button>
</form>""",
    )


def go_on(language: str, base: str, state: str, *, name: str, command: str) -> str:
    """The page that asks a signed-in user whether the command line may act for them."""
    words = WORDS[language]
    return _page(
        language,
        base,
        words["continue"].format(name=escape(name)),
        f"""<form method="post" action="{escape(base)}/authorize">
<p>{_asks(words, command)}</p>
<input type="hidden" name="state" value="{escape(state)}">
<button name="answer" value="continue">{words["go_on"]}</button>
<button name="answer" value="other" class="other">{words["other"]}</button>
</form>""",
    )


def open_invitation(language: str, base: str) -> str:
    """The page that a link of an invitation leads to. Its script sends what is behind the "#"."""
    words = WORDS[language]
    return _page(
        language,
        base,
        words["invited"],
        f"""<form method="post" action="{escape(base)}/invitation">
<p>{words["opening"]}</p>
<input type="hidden" id="invitation" name="invitation">
<button>{words["go_on"]}</button>
</form>
<script src="{escape(base)}/invitation.js"></script>""",
    )


def join(
    language: str,
    base: str,
    invitation: str,
    state: str,
    *,
    role: str,
    name: str = "",
    problem: str = "",
) -> str:
    """The page on which the invited choose a name and a password. `state`: what the answer must
    contain."""
    words = WORDS[language]
    return _page(
        language,
        base,
        words["invited"],
        f"""<form method="post" action="{escape(base)}/invitation">
<p>{words["invited_as"].format(role=words[role])}</p>
{_alert(problem)}<input type="hidden" name="invitation" value="{escape(invitation)}">
<input type="hidden" name="state" value="{escape(state)}">
<label for="name">{words["new_name"]}</label>
<input id="name" name="name" value="{escape(name)}" autocomplete="username" autocapitalize="none" required autofocus>
<label for="new">{words["new_password"]}</label>
<input id="new" name="new" type="password" autocomplete="new-password" minlength="12" required>
<label for="again">{words["repeat"]}</label>
<input id="again" name="again" type="password" autocomplete="new-password" minlength="12" required>
<button>{words["join"]}</button>
</form>""",
    )


def _asks(words: Mapping[str, str], place: str) -> str:
    return f"{words['asks'].format(place=escape(place))} {words['only_if']}"


def message(language: str, base: str, word: str, title: str = "title", seconds: int = 0) -> str:
    words: Mapping[str, str] = WORDS[language]
    text = words[word].format(seconds=seconds)
    return _page(language, base, words[title], f'<p role="status">{text}</p>')


def _alert(problem: str) -> str:
    return f'<p role="alert">{escape(problem)}</p>\n' if problem else ""


def _page(language: str, base: str, title: str, content: str) -> str:
    return f"""<!doctype html>
<html lang="{language}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - Data Transfer Hub</title>
<link rel="stylesheet" href="{escape(base)}/style.css">
<main>
<h1><small>Data Transfer Hub</small>{title}</h1>
{content}
</main>
</html>
"""
