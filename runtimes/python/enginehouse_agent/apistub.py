"""Where API calls of the real App Engine SDK go: to the bundled services (apicalls), or, where there are none, to an answer at once.

Without services only the sign-in addresses of the users API are answered; the SDK makes a call even for those. Every other call gets
an error that says the API is not there. Stubs the app (or its tests) registered itself are left alone.
"""
from __future__ import absolute_import

import sys

from . import apicalls

try:
    from urllib.parse import quote
except ImportError:
    from urllib import quote

PAGES = {'CreateLoginURL': ('login', 'login_url'), 'CreateLogoutURL': ('logout', 'logout_url')}


class ApiNotAvailableError(NotImplementedError):
    """The app calls an API that nothing here answers."""


class Stub(object):
    def MakeSyncCall(self, service, call, request, response, request_id=None):
        if service == 'user' and call in PAGES:
            page, field = PAGES[call]
            # attributes in the SDK for Python 3, methods in that for Python 2
            wanted = request.destination_url
            wanted = wanted() if callable(wanted) else wanted
            if not isinstance(wanted, str):
                wanted = wanted.encode('utf-8')
            url = '/_ah/%s?continue=%s' % (page, quote(wanted or '/', safe=''))
            setter = getattr(response, 'set_' + field, None)
            if setter is not None:
                setter(url)
            else:
                setattr(response, field, url)
            return
        raise ApiNotAvailableError('the App Engine API "%s" (call %s) is not available on this server' % (service, call))

    def CreateRPC(self):
        # asynchronous calls: the SDK's own wrapper makes the synchronous one and keeps its error for later
        rpc = __import__('google.appengine.api.apiproxy_rpc', fromlist=['RPC'])
        return rpc.RPC(stub=self)

    def CancelApiCalls(self):
        pass


class Services(object):
    """The bundled services, whichever is asked for."""

    _rpc = None

    def CreateRPC(self):
        # asked for each call: a zygote that has loaded the app has no services yet
        if not apicalls.available():
            return Stub().CreateRPC()
        if self._rpc is None:
            Services._rpc = apicalls.rpc_class()
        return self._rpc(stub=self)

    def MakeSyncCall(self, service, call, request, response, request_id=None):
        if not apicalls.available():
            return Stub().MakeSyncCall(service, call, request, response)
        rpc = self.CreateRPC()
        rpc.MakeCall(service, call, request, response)
        rpc.Wait()
        rpc.CheckSuccess()

    def CancelApiCalls(self):
        pass


def install():
    """True once the SDK was seen; it is loaded by the app, if at all, so this is asked after every import of app code."""
    module = sys.modules.get('google.appengine.api.apiproxy_stub_map')
    proxy = getattr(module, 'apiproxy', None)
    if proxy is None:
        return False
    stub = Services()
    if proxy.GetStub('user') is None:
        proxy.RegisterStub('user', stub)
    if proxy.GetStub('enginehouse') is None:  # no default stub
        if hasattr(proxy, 'SetDefaultStub'):
            proxy.SetDefaultStub(stub)
        else:
            proxy._APIProxyStubMap__default_stub = stub
    _settle()
    return True


def _settle():
    """Has the SDK read appengine_config.py now, as production's runtime does before the first request. Otherwise the first API call does, with the
    lock of the SDK's registry in its hands and waiting for Python 2's one import lock; a thread that imports a module which registers its settings
    (webapp, ndb, deferred) holds that one and waits for the other, and neither ever ends."""
    try:
        library = __import__('google.appengine.api.lib_config', fromlist=['register'])
    except ImportError:
        return  # a part of the SDK that has no settings
    library._default_registry.initialize()
