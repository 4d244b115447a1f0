"""vendor.add('lib'): makes the packages in a folder of the app importable."""
from __future__ import absolute_import

import os
import site
import sys


def add(folder, position=1):
    """Puts the folder (relative to the caller's working directory, or absolute) on sys.path, behind the app itself."""
    if not os.path.isdir(folder):
        raise ValueError('vendor.add(%r): there is no such folder; packages go there with "pip install -t %s NAME"' % (folder, folder))
    # the folder may be a whole virtual environment
    inner = os.path.join(folder, 'lib', 'python%d.%d' % sys.version_info[:2], 'site-packages')
    path = inner if os.path.isdir(inner) else folder
    before = sys.path[:]
    site.addsitedir(path)  # reads .pth files, too
    added = [entry for entry in sys.path if entry not in before]
    rest = [entry for entry in sys.path if entry in before]
    sys.path[:] = rest[:position] + added + rest[position:]
