#!/bin/sh
exec echo "world" "$@"
