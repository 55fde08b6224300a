"""``sup-jinja`` as installed: found by its metadata, loaded by name, held to the renderer's
contract.
"""

import sup_jinja.plugin
from sup.plugin_api import Renderer
from sup.testing import RendererContract, check_plugin
from sup_jinja.renderer import JinjaRenderer


class TestJinjaContract(RendererContract):
    """Everything that ``sup`` relies on in a renderer."""

    prints_port = "{{ cfg.port }}"
    prints_motto = "{{ cfg.motto }}"
    lists_members = "{% for m in svc.members %}{{ m.sys.ip }} {% endfor %}"
    reads_missing = "one\ntwo\n{{ cfg.missing }}\nfour\n"
    broken = "one\n{% if %}\nthree\n"
    broken_line = 2
    samples = (
        "{% for key, value in pkg.items() %}{{ key }}={{ value }};{% endfor %}",
        "{% for key in cfg.redis %}{{ cfg.redis[key] }}{% endfor %}",
        "{{ cfg.redis.items }} {{ cfg['redis']['maxmemory'] }}",
        "{% set key = 'port' %}{{ cfg[key] }}",
        "{% set cfg = cfg.redis %}{{ cfg.maxmemory }}",
        "{% if cfg.port == 8080 %}{% set svc = cfg.redis %}{% endif %}{{ svc.maxmemory }}",
        "{{ svc.members | map(attribute='sys.ip') | join(',') }}",
        "{{ svc.members[1].sys.hostname }}{{ svc.members[-1]['sys'].ip }}",
        "{% macro show(of) %}{{ of.maxmemory }}{% endmacro %}{{ show(cfg.redis) }}",
        "{% if cfg.verbose %}{{ cfg.ratio }}{% else %}{{ cfg.port }}{% endif %}",
        "{% with r = cfg.redis %}{{ r.items }}{% endwith %}{{ cfg | tojson }}",
        "{{ cfg.get('port') }}{{ cfg.hosts.count('alpha') }}{{ cfg['a.b'] is defined }}",
        "{{ (svc.leader or svc.first).sys.ip }}{{ cfg.hosts is defined }}",
        "{% filter upper %}{{ cfg.hosts.0 }}{{ cfg.motto }}{% endfilter %}",
        "{% for m in svc.members if m.sys.ip != sys.ip %}{{ m.cfg.port }}{% endfor %}",
    )

    def make(self) -> Renderer:
        return JinjaRenderer()


def test_plugin_provides_the_renderer_for_j2() -> None:
    """One renderer, and only the public API imported."""
    assert check_plugin(sup_jinja.plugin).provides() == ("renderer .j2",)
