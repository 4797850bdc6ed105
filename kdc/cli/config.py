"""`kdc config`: check and show the configuration."""

import json
from pathlib import Path

import click

from kdc.cli.errors import CliError, ExitCode
from kdc.cli.options import json_option, state_option
from kdc.cli.output import print_json, print_table
from kdc.cli.state import load_realm_config, open_realm, state_folder
from kdc.config import KEYS
from kdc.config_read import LoadedConfig, load_config
from kdc.config_values import enctype_name, format_duration


@click.group("config")
def command() -> None:
    """Check and show the configuration."""


@command.command("check")
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@state_option
@click.pass_context
def check(ctx: click.Context, file: Path | None) -> None:
    """Judge kdc.toml, or another FILE.

    So a new file can be judged before it takes its place. Exit code 78 names file and line.
    """
    if file is not None and not file.exists():
        raise CliError(
            f"there is no {file}", "the file does not exist", "check the path", ExitCode.NOT_FOUND
        )
    path = file or state_folder(ctx).kdc_toml
    config = (load_config(path) if file else load_realm_config(state_folder(ctx))).config
    click.echo(f"{path} is good: realm {config.realm} on {', '.join(config.listen)}")
    for name in config.weak_forms():
        click.echo(f"  weak form accepted: {name}")
    for name in config.without_effect():
        click.echo(f"  no effect in this version: {name}")


@command.command("show")
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
@json_option
@state_option
@click.pass_context
def show(ctx: click.Context, origin: bool, as_json: bool) -> None:
    """Show the configuration in force, every key.

    JSON: an object of each key's value; with --origin, of its value and origin.
    """
    loaded = open_realm(ctx).loaded
    values = values_of(loaded)
    if as_json:
        if origin:
            both = {k: {"value": v, "origin": loaded.origins[k]} for k, v in values.items()}
            print_json(both)
        else:
            print_json(values)
        return
    rows = [(key, loaded.origins[key], _as_toml(value)) for key, value in values.items()]
    if origin:
        print_table(("KEY", "FROM", "VALUE"), rows)
        return
    for key, _, text in rows:
        click.echo(f"{key} = {text}" if text else f"# {key} is not set")


def values_of(loaded: LoadedConfig) -> dict[str, object]:
    """Give each key's value as kdc.toml would spell it."""
    return {name: _value(loaded, key.field) for name, key in KEYS.items()}


def _value(loaded: LoadedConfig, field: str) -> object:
    value = getattr(loaded.config, field)
    if field == "supported_enctypes":
        return [enctype_name(etype) for etype in value]
    if field.endswith("_s"):
        return format_duration(value)
    return list(value) if isinstance(value, tuple) else value


def _as_toml(value: object) -> str:
    # Strings, numbers, booleans and lists of strings are the same in JSON and TOML.
    return "" if value is None else json.dumps(value, ensure_ascii=False)
