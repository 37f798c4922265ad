"""``wdasync config``: the settings that hold, and where each came from."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import click
from rich.console import Console

from .. import registry
from ..backend import Backend
from ..config import Config, Effective, Rule, load
from ..errors import BackendUnavailable
from ..values import field_types, is_settable, settings_of
from .output import console, json_option, jsonable, show, table, write_json

__all__ = ["config"]


@click.command(short_help="Show settings and where they come from.")
@json_option
@click.option("--help-settings", is_flag=True, help="Say what each setting is for, instead of its origin.")
def config(as_json: bool, help_settings: bool) -> None:
    """Show every setting, its value and where that came from.

    A keyword in a program beats WDASYNC_* in the environment, which beats ./wdasync.toml (or the file that
    WDASYNC_CONFIG names), which beats the default.
    """
    effective = load()
    options = {name: _options(effective, name) for name in registry.backend_names()}
    if as_json:
        write_json(_document(effective, options))
        return
    out = console()
    out.print(f"file: {effective.file or 'none was read'}", soft_wrap=True)
    _print(out, effective, "", effective.config, explain=help_settings)
    _print_policy(out, effective.config.policy)
    for name, value in options.items():
        if isinstance(value, str):
            out.print(f"{name}: {value}\n", style="red")
        else:
            _print(out, effective, name, value, explain=help_settings)


def _options(effective: Effective, name: str) -> Any:
    """The options of a backend, or why it has none."""
    try:
        backend: Backend = registry.get_backend(name)
    except BackendUnavailable as error:
        return str(error)
    return effective.options(name, backend.Options)


def _written(value: object) -> str:
    """As a person would write it in the file."""
    match jsonable(value):
        case None:
            return "none"
        case bool(truth):
            return str(truth).lower()
        case list(items):
            return ", ".join(map(_written, items)) or "none"
        case other:
            return str(other)


class Shown(NamedTuple):
    """One setting, as it holds."""

    value: object
    origin: str
    help: str


def _settings(effective: Effective, backend: str, holder: Any) -> dict[str, Shown]:
    """Those of a dataclass that can be written; the policy has a table of its own.

    :param backend: whose options they are; what a table of it says of settings of the framework is among them
    """
    prefix = f"{backend}." if backend else ""
    kinds, known = field_types(type(holder)), settings_of(type(holder))
    values = {name: getattr(holder, name) for name in known if is_settable(kinds[name])}
    if backend:
        shared = effective.shared(backend)
        values |= {name: value for name, value in shared.items() if prefix + name in effective.origins}
        known = settings_of(Config) | known
    return {
        name: Shown(
            value, effective.origins.get(prefix + name, "default"), known[name].metadata.get("help", "")
        )
        for name, value in values.items()
    }


def _print(out: Console, effective: Effective, backend: str, holder: Any, *, explain: bool) -> None:
    """One table: the settings of the framework, or those of a backend."""
    settings = _settings(effective, backend, holder)
    if not settings:
        return
    title = f"backend {backend}" if backend else "framework"
    rows = table("Setting", "Value", "What it is" if explain else "From", title=title)
    for name, (value, origin, text) in settings.items():
        style = "dim" if origin == "default" else None
        rows.add_row(name, _written(value), text if explain else origin, style=style)
    show(out, rows)


def _print_policy(out: Console, policy: tuple[Rule, ...]) -> None:
    """One row a rule: where it sends what, and under which conditions."""
    if not policy:
        return
    rows = table(("", "right"), "Operation", "Backend", "If", title="policy: the first rule that holds wins")
    for number, rule in enumerate(policy, 1):
        conditions = [
            f"{item.name} {_written(getattr(rule, item.name))}"
            for item in dataclasses.fields(Rule)
            if item.name not in ("operation", "backend") and getattr(rule, item.name) != item.default
        ]
        rows.add_row(str(number), rule.operation, rule.backend, ", ".join(conditions) or "always")
    show(out, rows)


def _document(effective: Effective, options: dict[str, Any]) -> dict[str, object]:
    def part(backend: str, holder: Any) -> dict[str, object]:
        return {name: shown._asdict() for name, shown in _settings(effective, backend, holder).items()}

    return {
        "file": None if effective.file is None else str(effective.file),
        "config": part("", effective.config),
        "policy": {
            "origin": effective.origins["policy"],
            "rules": [dataclasses.asdict(rule) for rule in effective.config.policy],
        },
        "backends": {
            name: {"error": value} if isinstance(value, str) else {"options": part(name, value)}
            for name, value in options.items()
        },
    }
