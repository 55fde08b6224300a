"""The built-in policies; they go through the same hooks as every plugin.

``BUILTINS`` is the registration list: it is read by ``sup.plugins``, which imports the modules.
This file imports none of them, so that asking for one built-in does not pay for all.
"""

from collections.abc import Mapping
from types import MappingProxyType

BUILTINS: Mapping[str, str] = MappingProxyType(
    {
        "standalone": "sup.builtin.standalone",
        "none": "sup.builtin.none",
        "at-once": "sup.builtin.at_once",
        "exec": "sup.builtin.exec_check",
        "ttl": "sup.builtin.ttl_check",
        "handlebars": "sup.builtin.handlebars_renderer",
    }
)
"""Plugin name to module. The names are reserved: no distribution may offer one of them."""
