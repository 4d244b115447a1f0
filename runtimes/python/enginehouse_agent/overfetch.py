"""httplib over URL Fetch in Python 2.7, and so urllib, urllib2 and what builds on them, as the first generation had it.

The SDK brings the module (google.appengine.dist27.gae_override.httplib); it takes the place of the standard library's, unless the app
sets GAE_USE_SOCKETS_HTTPLIB, or runs without the SDK. The agent itself keeps the one that it has.
"""
from __future__ import absolute_import

import os
import sys

from . import apistub

VARIABLE = 'GAE_USE_SOCKETS_HTTPLIB'
FILE = os.path.join('google', 'appengine', 'dist27', 'gae_override', 'httplib.py')
# Have a name for the module once they are imported.
USERS = ('urllib', 'urllib2', 'xmlrpclib')


def install(config):
    if sys.version_info[0] != 2 or not config.first_generation or VARIABLE in os.environ:
        return
    for folder in sys.path:
        path = os.path.join(folder, FILE)
        if os.path.isfile(path):
            _replace(path)
            return


def _replace(path):
    import imp
    import httplib as own
    del sys.modules['httplib']  # or its names would be overwritten
    try:
        module = imp.load_source('httplib', path)
    except Exception:
        sys.modules['httplib'] = own
        return
    getresponse = module.HTTPConnection.getresponse

    def answered(self, buffering=False):
        # an app may fetch while it is imported, before anybody has looked whether it uses the SDK
        __import__('google.appengine.api.apiproxy_stub_map')
        apistub.install()
        return getresponse(self, buffering)

    answered.__doc__ = getresponse.__doc__
    module.HTTPConnection.getresponse = answered
    for name in USERS:
        user = sys.modules.get(name)
        if getattr(user, 'httplib', None) is own:
            user.httplib = module
