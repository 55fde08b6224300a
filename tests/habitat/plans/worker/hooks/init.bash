#!/bin/bash
echo init >>{{pkg.svc_var_path}}/hooks.log
