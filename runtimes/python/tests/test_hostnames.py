"""Names of Google's servers that lead to the house: looked up, connected to by name, and nothing else."""
from __future__ import absolute_import

import os
import subprocess
import sys
import unittest

from .support import AGENT

SCRIPT = '''
import socket, sys
sys.path.insert(0, sys.argv[1])
from enginehouse_agent import hostnames

class Config(object):
    names = {'api.example.com': ['127.0.0.1', 0]}

listener = socket.socket()
listener.bind(('127.0.0.1', 0))
listener.listen(5)
place = listener.getsockname()
Config.names['api.example.com'][1] = place[1]
before = socket.getaddrinfo
hostnames.install(type('None', (object,), {'names': {}}))
assert socket.getaddrinfo is before
hostnames.install(Config)
hostnames.install(Config)
for host, port in [('api.example.com', 443), ('API.example.com.', '443'), (b'api.example.com', 'https')]:
    assert socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0][4] == place, (host, port)
assert socket.getaddrinfo('127.0.0.1', 443, 0, socket.SOCK_STREAM)[0][4][1] == 443
socket.create_connection(('api.example.com', 443), 10).close()
by_name = socket.socket()
by_name.connect(('api.example.com', 443))
by_name.close()
by_name = socket.socket()
assert by_name.connect_ex(('api.example.com', 443)) == 0
by_name.close()
plain = socket.create_connection(place)
assert plain.getpeername() == place
plain.close()
pair = socket.socketpair()
local = socket.socket(socket.AF_UNIX)
assert local.connect_ex('/nowhere') != 0
listener.close()
print('ok')
'''


class Hostnames(unittest.TestCase):
    @unittest.skipIf(sys.version_info[0] == 2, 'the first generation has no such names')
    def test_names_lead_to_the_house(self):
        output = subprocess.check_output([sys.executable, '-c', SCRIPT, os.path.dirname(AGENT)])
        self.assertEqual(output.decode().strip(), 'ok')


if __name__ == '__main__':
    unittest.main()
