#!/bin/bash
# make demo
exec python3 "$(dirname "$0")/demo.py" "$@"
