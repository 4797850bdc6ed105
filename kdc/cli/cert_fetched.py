"""`kdc cert fetched`: the CRLs and OCSP responses that the server fetches, and how they stand."""

import click

from kdc.cli.options import json_option, state_option
from kdc.cli.output import iso, print_json, print_table, read_time
from kdc.cli.state import now, open_realm
from kdc.server.revocation.status import FetchStatus, Source, read_status


@click.command("fetched")
@json_option
@state_option
@click.pass_context
def fetched(ctx: click.Context, as_json: bool) -> None:
    """List what the server fetches of other CAs' revocation data.

    The companion `revocation` of a running server writes it down every few seconds.

    JSON: a list of kind (crl or ocsp), condition (current, failing, stale, missing), issuer, urls,
    named_by, serial_number (of the certificate; OCSP), delta, number, revoked, this_update,
    next_update, fetched_at, tried_at, next_at, failures, problem.
    """
    realm = open_realm(ctx)
    status = read_status(realm.folder.fetched_status) or FetchStatus()
    moment = now()
    if as_json:
        print_json(
            [
                {
                    "kind": source.kind,
                    "condition": source.condition(moment),
                    "issuer": source.issuer_name or None,
                    "urls": list(source.urls),
                    "named_by": source.origin,
                    "serial_number": source.serial_number or None,
                    "delta": source.delta,
                    "number": source.number or None,
                    "revoked": source.revoked,
                    "this_update": _iso(source, "this_update"),
                    "next_update": _iso(source, "next_update"),
                    "fetched_at": _iso(source, "fetched_at"),
                    "tried_at": _iso(source, "tried_at"),
                    "next_at": _iso(source, "next_at"),
                    "failures": source.failures,
                    "problem": source.problem or None,
                }
                for source in status.sources
            ]
        )
        return
    if not status.sources:
        off = not realm.config.fetch_revocation
        click.echo(
            "nothing: fetch_revocation is false" if off else "nothing is named to be fetched"
        )
        return
    print_table(
        ("what", "of", "number", "until", "condition", "where"),
        [
            (
                _what(source),
                source.issuer_name,
                source.number,
                "" if source.next_update is None else read_time(source.next_update),
                ": ".join(filter(None, (source.condition(moment), source.problem))),
                source.url or source.urls[0],
            )
            for source in status.sources
        ],
    )


def _what(source: Source) -> str:
    if source.kind == "ocsp":
        return f"OCSP {source.serial_number[:16]}"
    return "delta CRL" if source.delta else "CRL"


def _iso(source: Source, name: str) -> str | None:
    value = getattr(source, name)
    return None if value is None else iso(value)


COMMANDS = (fetched,)
