"""Handlebars as service packages use it: the dialect of handlebars-rust 6 with Habitat's helpers.

``compile_template`` turns text into a ``CompiledTemplate``; its ``render`` gives the text and the
paths that were read. Nothing here does I/O, evaluates Python or keeps state between renders, and
everything that a template can make large (depth, output, steps) is bounded in ``limits``. The only
exception that leaves this package is ``sup.policies.TemplateError``. Reference for authors:
``docs/templates.md``.
"""

from sup.handlebars.template import CompiledTemplate, compile_template

__all__ = ["CompiledTemplate", "compile_template"]
