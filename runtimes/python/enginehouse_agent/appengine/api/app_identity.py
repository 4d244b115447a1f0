"""The part of the app identity API that needs no keys: the names of the app."""
from __future__ import absolute_import

import os


class Error(Exception):
    """Any error of this API."""


def get_application_id():
    """`s~shop` is a partition and a name; apps know the name."""
    return os.environ.get('APPLICATION_ID', '').split('~', 1)[-1]


def get_default_version_hostname():
    return os.environ.get('DEFAULT_VERSION_HOSTNAME')
