#!/bin/sh
echo health-check >>{{pkg.svc_var_path}}/hooks.log
serve --ask {{cfg.port}} | grep -q queue= || exit 2
