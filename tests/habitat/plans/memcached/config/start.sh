#!/bin/sh
exec memcached -u {{pkg.svc_user}} -l 127.0.0.1 \
  -p {{#if cfg.port}}{{cfg.port}}{{else}}11211{{/if}} \
  -m {{#if cfg.memory}}{{cfg.memory}}{{else}}16{{/if}} {{cfg.more_options}}
