"""Settings of a check with values of the service's configuration filled in (pure).

``url = "http://127.0.0.1:{{cfg.server.port}}/health"``: the port is written once, where it is
configured. Only a plain path of ``cfg`` can stand between the braces. A text that is nothing but
one such place takes the value as it is, so that a number stays one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sup.errors import OperatorError
from sup.model.config_layers import lookup

PLACE = re.compile(r"\{\{\s*cfg\.([A-Za-z0-9_.-]+)\s*\}\}")
DEPTH_MAX = 8


def fill(settings: Mapping[str, Any], cfg: Mapping[str, Any], where: str) -> dict[str, Any]:
    """``settings`` with every place filled from ``cfg``; ``where`` begins an error line.

    Raises:
        OperatorError: a value is not set, or is a table where text belongs.
    """
    return {key: _fill(value, cfg, f"{where}.{key}", 0) for key, value in settings.items()}


def _fill(value: Any, cfg: Mapping[str, Any], where: str, depth: int) -> Any:
    if depth > DEPTH_MAX:
        raise OperatorError(f"{where} is nested deeper than {DEPTH_MAX} levels")
    if isinstance(value, str) and "{{" in value:
        whole = PLACE.fullmatch(value)
        if whole:
            return _value(whole[1], cfg, where)
        return PLACE.sub(lambda match: _text(match[1], cfg, where), value)
    if isinstance(value, Mapping):
        return {key: _fill(item, cfg, f"{where}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, cfg, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    return value


def _value(path: str, cfg: Mapping[str, Any], where: str) -> Any:
    value = lookup(cfg, path)
    if value is None:
        raise OperatorError(f"{where}: cfg.{path} is not set")
    return value


def _text(path: str, cfg: Mapping[str, Any], where: str) -> str:
    value = _value(path, cfg, where)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise OperatorError(f"{where}: cfg.{path} is a table or an array; it can't be part of a text")
