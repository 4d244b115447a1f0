"""Sends the calls of the files beside this one to two API servers, the SDK's own and ours, and compares the answers.

    python2.7 drive.py SDK_FOLDER SDK_PORT OUR_PORT FILE...

Prints one JSON object: counts for each service, the differences that are listed, and those that nobody explained. `cargo xtask conformance services`
starts both servers and runs this. The messages are the SDK's own classes, so what they cannot read is a difference too.
"""

from __future__ import print_function

import httplib
import json
import os
import pickle
import re
import sys

SDK, SDK_PORT, OUR_PORT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sys.path.insert(0, SDK)
sys.path[1:1] = [os.path.join(SDK, 'lib', name) for name in os.listdir(os.path.join(SDK, 'lib'))]

from google.appengine.ext.remote_api import remote_api_pb
from google.appengine.ext.remote_api import remote_api_services

CLASSES = remote_api_services.STUB_SERVICE_PB_MAP

# What the SDK's server says with a pickled exception, ours says with an rpc_error (reference of the protocol, the mapping of errors).
RPC_ERRORS = {
    1: 'CallNotFoundError', 2: 'ArgumentError', 4: 'OverQuotaError', 5: 'RequestTooLargeError', 6: 'CapabilityDisabledError',
    7: 'FeatureNotEnabledError', 9: 'ResponseTooLargeError', 10: 'CancelledError', 12: 'DeadlineExceededError',
}


def text(value):
    """JSON's texts as the SDK wants them; {"hex": "00ff"} is bytes that are no text."""
    return value.encode('utf-8') if isinstance(value, unicode) else value


def fill(message, fields):
    """Sets the fields of a message; null leaves a required one out."""
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict) and list(one) == ['hex']:
                one = one['hex'].decode('hex')
            elif isinstance(one, dict) and list(one) == ['repeat']:
                one = text(one['repeat'][0]) * one['repeat'][1]
            if isinstance(one, dict):
                fill(getattr(message, 'add_' + name.lower())() if isinstance(value, list) else getattr(message, 'mutable_' + name.lower())(), one)
            else:
                getattr(message, ('add_' if isinstance(value, list) else 'set_') + name.lower())(text(one))
    return message


def partial(message):
    """The bytes of a message, whether all that is required is there or not."""
    from google.net.proto import ProtocolBuffer
    out = ProtocolBuffer.Encoder()
    message.OutputPartial(out)
    return out.buffer().tostring()


class Server(object):

    def __init__(self, port):
        self.connection = httplib.HTTPConnection('localhost', port, timeout=60)

    def send(self, method, path, body=None):
        headers = {'Content-Type': 'application/octet-stream', 'X-Google-RPC-Service-Deadline': '60'}
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def clear(self, service):
        status, _ = self.send('POST', '/clear?stub=' + service, '')
        assert status == 200, status

    def services(self):
        """The services that ours has."""
        _, body = self.send('GET', '/_ah/status')
        return json.loads(body)['services']

    def call(self, service, method, request, kind):
        """What came of a call: the lines of the answer, or the error's name."""
        envelope = remote_api_pb.Request()
        envelope.set_service_name(service)
        envelope.set_method(method)
        envelope.set_request(request)
        envelope.set_request_id('conformance')
        status, body = self.send('POST', '/rpc_http', envelope.Encode())
        if status != 200:
            return ['HTTP %d' % status]
        answer = remote_api_pb.Response()
        answer.MergePartialFromString(body)
        if answer.has_application_error():
            return ['ApplicationError %d' % answer.application_error().code()]
        if answer.has_rpc_error():
            return [RPC_ERRORS.get(answer.rpc_error().code(), 'RPCFailedError')]
        if answer.has_exception():
            error = pickle.loads(answer.exception())
            name = type(error).__name__
            # The SDK's server passes on whatever broke in it, a message that it cannot read above all.
            return ['ArgumentError' if 'ProtocolBufferDecodeError' in str(error) else name]
        message = kind()
        message.MergePartialFromString(answer.response())
        return str(message).splitlines()


def without(lines, fields):
    """The lines of an answer, sorted inside repeated groups by nobody, without fields that are known to differ."""
    drop = re.compile(r'\s*(%s)[:<]' % '|'.join(fields)) if fields else None
    return [line.rstrip() for line in lines if not (drop and drop.match(line))]


def mask(lines, fields):
    """Fields whose values are made up by a server: that they are there is compared."""
    seen = re.compile(r'(\s*(?:%s)):.*' % '|'.join(fields)) if fields else None
    return [seen.sub(r'\1: *', line) if seen else line for line in lines]


def main():
    theirs, ours = Server(SDK_PORT), Server(OUR_PORT)
    counts, listed, wrong = {}, [], []
    there = ours.services()
    for path in sys.argv[4:]:
        sheet = json.load(open(path))
        service = sheet['service']
        count = counts.setdefault(service, {'agree': 0, 'differ': 0})
        if service not in there and not sheet.get('gone'):
            count['absent'] = True
            continue
        for scenario in sheet['scenarios']:
            # The stub of queues does not get over it: it has no queues any more.
            for server in (theirs, ours) if sheet.get('clear', True) else ():
                server.clear(service)
            for number, call in enumerate(scenario['calls']):
                method = call['method']
                kinds = CLASSES.get(service, {}).get(method)
                kind = kinds or (remote_api_pb.Request, remote_api_pb.Response)
                if 'bytes' in call:
                    request = call['bytes'].decode('hex')
                else:
                    request = partial(fill(kind[0](), call.get('request', {})))
                answers = [server.call(service, method, request, kind[1]) for server in (theirs, ours)]
                ignored = sheet.get('ignored', {}).get(method, {})
                made_up = sheet.get('made_up', {}).get(method, [])
                theirs_says, ours_says = [mask(without(lines, ignored), made_up) for lines in answers]
                if call.get('unordered'):
                    theirs_says, ours_says = sorted(theirs_says), sorted(ours_says)
                name = '%s, %s, call %d (%s)' % (service, scenario['name'], number + 1, method)
                same, reason = theirs_says == ours_says, call.get('differs')
                if same and not reason:
                    count['agree'] += 1
                elif same:
                    wrong.append('%s: is listed as different but agrees' % name)
                elif reason:
                    count['differ'] += 1
                    listed.append('%s: %s' % (name, reason))
                else:
                    shown = [' '.join(lines)[:400] for lines in (theirs_says, ours_says)]
                    wrong.append('%s:\n    the SDK: %s\n    we:      %s' % ((name,) + tuple(shown)))
        for method, fields in sorted(sheet.get('ignored', {}).items()):
            for field, reason in sorted(fields.items()):
                listed.append('%s.%s, the field %s of every answer: %s' % (service, method, field, reason))
    print(json.dumps({'counts': counts, 'listed': listed, 'wrong': wrong}))


main()
