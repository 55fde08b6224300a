"""The Handlebars renderer: the default for package files, and for the suffix ``.hbs``.

A thin face of ``sup.handlebars``, registered through the same hook as any renderer. The suffix ""
means every file that no other renderer claims.
"""

from __future__ import annotations

from collections.abc import Mapping

from sup.handlebars import CompiledTemplate, compile_template
from sup.hookspecs import hookimpl
from sup.policies import Renderer


class HandlebarsRenderer:
    """``sup.policies.Renderer`` for the dialect of handlebars-rust with Habitat's helpers."""

    def compile(self, source: str, file: str, *, strict: bool) -> CompiledTemplate:
        """Compile ``source``; ``file`` is its name in errors. Raises ``TemplateError``."""
        return compile_template(source, file, strict=strict)


@hookimpl
def sup_renderers() -> Mapping[str, Renderer]:
    """Add Handlebars as the default renderer and for ``.hbs``."""
    renderer = HandlebarsRenderer()
    return {"": renderer, ".hbs": renderer}
