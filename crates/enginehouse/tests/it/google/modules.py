"""The Modules API of the pre-release SDK over the Admin API of a server of ours: python modules.py PORT CA TOKEN.

The client is unmodified; only the name appengine.googleapis.com leads to the server here, as the hosts file of an instance may say.
"""
import os
import socket
import sys

port, ca, token = sys.argv[1:]
os.environ.update(
    {
        "APPENGINE_MODULES_USE_ADMIN_API": "true",
        "GOOGLE_CLOUD_PROJECT": "shop",
        "GAE_SERVICE": "default",
        "GAE_VERSION": "v1",
        "HTTPLIB2_CA_CERTS": ca,
    }
)
looked_up, connected = socket.getaddrinfo, socket.socket.connect


def look_up(host, service, *rest, **more):
    if host == "appengine.googleapis.com":
        host, service = "127.0.0.1", port
    return looked_up(host, service, *rest, **more)


def connect(self, address):
    return connected(self, ("127.0.0.1", int(port)) if address[0] == "appengine.googleapis.com" else address)


socket.getaddrinfo, socket.socket.connect = look_up, connect

import google.auth  # noqa: E402
from google.oauth2.credentials import Credentials  # noqa: E402

google.auth.default = lambda *args, **more: (Credentials(token), "shop")

from google.appengine.api import modules  # noqa: E402


def refuses(error, call, *arguments):
    try:
        call(*arguments)
    except error:
        return
    raise AssertionError("%s%r" % (call.__name__, arguments))


assert modules.get_modules() == ["api", "default"], modules.get_modules()
assert modules.get_versions() == ["v1"] and modules.get_versions("api") == ["a1", "v1"], modules.get_versions("api")
refuses(modules.InvalidModuleError, modules.get_versions, "nothing")
assert modules.get_default_version("api") == "v1", modules.get_default_version("api")
assert modules.get_num_instances("api", "a1") == 1
refuses(modules.InvalidVersionError, modules.get_num_instances, "default", "v1")
modules.set_num_instances(2, "api", "a1")
assert modules.get_num_instances("api", "a1") == 2
modules.stop_version("api", "a1")
modules.start_version("api", "a1")
host = modules.get_hostname("default")
assert host.startswith("v1.default.shop.local.r.localhost"), host
assert modules.get_hostname("api", "a1") == host.replace("v1.default.", "a1.api."), modules.get_hostname("api", "a1")
assert modules.get_hostname("api", "a1", "1") == host.replace("v1.default.", "1.a1.api.")
refuses(modules.InvalidInstancesError, modules.get_hostname, "api", "a1", "7")
refuses(modules.InvalidModuleError, modules.get_hostname, "nothing")
print("ok")
