"""The part of the modules API that says where the code runs. Starting, stopping and counting instances needs the SDK."""
from __future__ import absolute_import

import os


class Error(Exception):
    """Any error of this API."""


class InvalidModuleError(Error):
    """There is no such service."""


class InvalidVersionError(Error):
    """There is no such version."""


class InvalidInstancesError(Error):
    """There is no such instance."""


def get_current_module_name():
    return os.environ.get('CURRENT_MODULE_ID') or 'default'


def get_current_version_name():
    return os.environ.get('CURRENT_VERSION_ID', '').split('.')[0] or None


def get_current_instance_id():
    return os.environ.get('INSTANCE_ID') or None


def get_hostname(module=None, version=None, instance=None):
    """The address of this service; those of others are known to the SDK's API only."""
    if instance is not None or version not in (None, get_current_version_name()) or module not in (None, get_current_module_name()):
        raise Error('get_hostname() of another service, version or instance needs the App Engine SDK: add it to requirements.txt')
    name = os.environ.get('DEFAULT_VERSION_HOSTNAME', '')
    if get_current_module_name() == 'default':
        return name
    return '%s-dot-%s' % (get_current_module_name(), name)
