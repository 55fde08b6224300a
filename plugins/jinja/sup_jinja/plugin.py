"""The hooks of ``sup-jinja``: the renderer of files that end in ``.j2``."""

from collections.abc import Mapping

from sup.plugin_api import Renderer, hookimpl
from sup_jinja.renderer import JinjaRenderer


@hookimpl
def sup_renderers() -> Mapping[str, Renderer]:
    """Give ``.j2`` to Jinja2."""
    return {".j2": JinjaRenderer()}
