"""`kdc realm`: the realm itself."""

import click

from directory.keysources import KRBTGT
from kdc.cli.accounts import random_keys
from kdc.cli.directory_access import Caller, caller_options
from kdc.cli.options import state_option
from kdc.cli.sealed_keys import set_sealed_keys, where_keys_are_set
from kdc.cli.state import RealmState, open_realm
from kdc.exchange.passwords import next_kvno

KEPT_GENERATIONS = 1  # tickets under the last key live on until they expire


@click.group("realm")
def command() -> None:
    """The realm itself."""


@command.command("rotate-krbtgt")
@caller_options
@state_option
@click.pass_context
def rotate_krbtgt(ctx: click.Context, caller: Caller) -> None:
    """Give krbtgt new random keys.

    Tickets and freshness tokens under the last ones stay valid.

    Two generations are kept: the second rotation ends every ticket from before the first. After a
    theft of the key rotate twice; otherwise let max_life pass between two rotations. In an LDAP
    realm with key_source "ldap-sealed" they are written to the directory, for every KDC of it.
    """
    realm = open_realm(ctx)
    if where_keys_are_set(realm.config, caller) == "directory":
        _rotate_sealed(realm, caller)
        return
    with realm.store(write=True, local=True) as store:
        krbtgt = store.krbtgt()
        kvno = next_kvno(krbtgt)
        ended = [key.kvno for key in krbtgt.keys if key.kvno != krbtgt.keys[0].kvno]
        keys = random_keys(realm.config, kvno)
        store.set_keys(krbtgt.account_id, keys, keep_generations=KEPT_GENERATIONS)
    click.echo(f"krbtgt/{realm.config.realm} has new keys, kvno {kvno}")
    if ended:
        click.echo(f"  tickets under kvno {min(ended)} and older are void now", err=True)


def _rotate_sealed(realm: RealmState, caller: Caller) -> None:
    _, keys = set_sealed_keys(
        realm,
        caller,
        KRBTGT,
        lambda _, kvno: random_keys(realm.config, kvno),
        keep=KEPT_GENERATIONS,
        password=False,
    )
    click.echo(f"krbtgt/{realm.config.realm} has new keys, kvno {keys[0].kvno}")
