"""The bare pages of the sign-in: HTML forms without a script, a style or a picture."""

from collections.abc import Iterable
from html import escape
from typing import Final

from tenant.errors import NO_STORE
from tenant.http.message import Note, Reply

HTML_TYPE: Final = "text/html; charset=utf-8"

HEADERS: Final = (
    *NO_STORE,
    # Nothing is loaded, nobody frames it, and no address of it, which may hold a code, goes on.
    ("Content-Security-Policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)

Pairs = Iterable[tuple[str, str]]


def sign_in_page(
    action: str,
    what: str,
    hidden: Pairs,
    *,
    name: str = "",
    user_code: str | None = None,
    problem: str = "",
    status: int = 200,
    note: Note | None = None,
) -> Reply:
    """Ask for a name, a password and, where there is one, a one-time code.

    action: where the form goes. what: what is signed in to. hidden: fields that come back.
    user_code: ask for it as well, with this value.
    """
    fields = [_hidden(*pair) for pair in hidden]
    if user_code is not None:
        fields.append(_field("Code shown by the device", "user_code", user_code))
    fields += [
        _field("Name", "login", name),
        _field("Password", "passwd", kind="password"),
        _field("One-time code, if you have an authenticator", "otc"),
        '<p><button type="submit" name="go" value="sign-in">Sign in</button>',
    ]
    if user_code is not None:
        fields.append('<button type="submit" name="go" value="decline">Decline</button>')
    told = f'<p role="alert"><strong>{escape(problem)}</strong></p>' if problem else ""
    form = (
        f'<form method="post" action="{escape(action)}" autocomplete="off">'
        f"{''.join(fields)}</p></form>"
    )
    return html(status, "Lab sign-in", f"<p>{escape(what)}</p>{told}{form}", note=note)


def done_page(text: str, note: Note) -> Reply:
    """Say that something is done."""
    return html(200, "Lab sign-in", f"<p>{escape(text)}</p>", note=note)


def post_page(action: str, values: Pairs, note: Note) -> Reply:
    """Send values on by a form (response_mode=form_post); without a script, by a button."""
    fields = "".join(_hidden(*pair) for pair in values)
    form = (
        f'<form method="post" action="{escape(action)}">{fields}'
        '<button type="submit" autofocus>Continue</button></form>'
    )
    return html(200, "Lab sign-in", form, note=note)


def html(status: int, title: str, body: str, *, note: Note | None = None) -> Reply:
    """Make a page; body: markup whose texts are escaped."""
    text = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"</head><body><h1>{escape(title)}</h1>{body}</body></html>"
    )
    return Reply(
        status=status,
        body=text.encode("utf-8", "replace"),
        content_type=HTML_TYPE,
        headers=HEADERS,
        note=note or Note(),
    )


def _hidden(name: str, value: str) -> str:
    return f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'


def _field(label: str, name: str, value: str = "", kind: str = "text") -> str:
    return (
        f'<p><label>{escape(label)}: <input type="{kind}" name="{name}" '
        f'value="{escape(value)}"></label></p>'
    )
