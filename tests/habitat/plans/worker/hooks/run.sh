#!/bin/sh
echo mode $WORKER_MODE
exec serve {{cfg.port}} {{pkg.svc_config_path}}/queue.conf 2>&1
