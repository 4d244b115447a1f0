#!/usr/bin/env python
"""Stands where test suites look for the SDK's dev_appserver.py, and starts `enginehouse dev-appserver` with their flags. For any Python."""

import os
import sys

BINARY = os.environ.get('ENGINEHOUSE', 'enginehouse')

try:
    os.execvp(BINARY, [BINARY, 'dev-appserver'] + sys.argv[1:])
except OSError as error:
    sys.exit('%s does not start (%s); put it on the PATH, or name it in ENGINEHOUSE' % (BINARY, error.strerror))
