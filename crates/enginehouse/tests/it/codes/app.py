"""Evaluates the expression in the query with the SDK at hand, on either Python, and tells which calls it made and what they came to."""
import datetime
import importlib
import json
import os
import threading
import time
try:
    from urllib.parse import unquote
except ImportError:
    from urllib import unquote
from google.appengine.api import apiproxy_stub_map, app_identity, background_thread, capabilities, mail, memcache, modules, oauth, runtime
from google.appengine.api import taskqueue, urlfetch, users

THREE = str is not bytes
SCOPE = 'https://www.googleapis.com/auth/cloud-platform'
# Where the messages of a service are, what their names begin with.
PLACES = {
    'memcache': ('memcache.memcache_service_pb', 'Memcache'),
    'taskqueue': ('taskqueue.taskqueue_service_' + ('bytes_pb' if THREE else 'pb'), 'TaskQueue'),
    'modules': ('modules.modules_service_pb', ''),
    'user': ('user_service_pb', ''),
    'app_identity_service': ('app_identity.app_identity_service_pb', ''),
    'system': ('system.system_service_pb', ''),
    'mail': ('mail_service_pb', ''),
    'urlfetch': ('urlfetch_service_pb', ''),
    'capability_service': ('capabilities.capability_service_pb', ''),
    'logservice': ('logservice.log_service_pb', ''),
}
# Messages whose names do not follow from the method's.
NAMES = {
    ('mail', 'Send'): ('MailMessage', None),
    ('mail', 'SendToAdmins'): ('MailMessage', None),
    ('urlfetch', 'Fetch'): ('URLFetchRequest', 'URLFetchResponse'),
    ('memcache', 'FlushAll'): ('MemcacheFlushRequest', 'MemcacheFlushResponse'),
    ('app_identity_service', 'GetPublicCertificatesForApp'): ('GetPublicCertificateForAppRequest', 'GetPublicCertificateForAppResponse'),
    ('logservice', 'Flush'): ('FlushRequest', None),
    ('logservice', 'SetStatus'): ('SetStatusRequest', None),
    ('logservice', 'Read'): ('LogReadRequest', 'LogReadResponse'),
    ('logservice', 'Usage'): ('LogUsageRequest', 'LogUsageResponse'),
}
MAIL = {'Sender': 'me@example.com', 'To': ['you@example.com'], 'Subject': 'x', 'TextBody': 'y'}
QUEUE = {'queue_name': 'default'}
OWN = {'app_id': 'demo', 'queue_name': 'default'}
# What a message has if nothing else is said.
USUAL = {
    ('taskqueue', 'Add'): {'queue_name': 'slow', 'task_name': '', 'eta_usec': 0, 'url': '/work'},
    ('taskqueue', 'Delete'): {'queue_name': 'default', 'task_name': ['none']},
    ('taskqueue', 'ForceRun'): {'queue_name': 'slow', 'task_name': 'none'},
    ('taskqueue', 'UpdateQueue'): {'queue_name': 'made', 'bucket_refill_per_second': 1.0, 'bucket_capacity': 1},
    ('taskqueue', 'PauseQueue'): dict(OWN, pause=True),
    ('taskqueue', 'PurgeQueue'): QUEUE,
    ('taskqueue', 'DeleteQueue'): OWN,
    ('taskqueue', 'DeleteGroup'): {'app_id': 'demo'},
    ('taskqueue', 'QueryTasks'): QUEUE,
    ('taskqueue', 'FetchTask'): {'queue_name': 'slow', 'task_name': 'none'},
    ('taskqueue', 'FetchQueues'): {'max_rows': 9},
    ('taskqueue', 'FetchQueueStats'): {'queue_name': ['default']},
    ('taskqueue', 'QueryAndOwnTasks'): {'queue_name': 'pull', 'lease_seconds': 1.0, 'max_tasks': 1},
    ('taskqueue', 'ModifyTaskLease'): {'queue_name': 'pull', 'task_name': 'none', 'eta_usec': 1, 'lease_seconds': 1.0},
    ('taskqueue', 'UpdateStorageLimit'): {'app_id': 'demo', 'limit': 1 << 40},
    ('memcache', 'Get'): {'key': ['k']},
    ('memcache', 'Increment'): {'key': 'n', 'delta': 1},
    ('user', 'CreateLoginURL'): {'destination_url': '/'},
    ('user', 'CreateLogoutURL'): {'destination_url': '/'},
    ('modules', 'SetNumInstances'): {'module': 'api', 'instances': 1},
    ('modules', 'StartModule'): {'module': 'api', 'version': 'v1'},
    ('modules', 'GetHostname'): {'module': 'api'},
    ('capability_service', 'IsEnabled'): {'package': 'memcache'},
    ('mail', 'Send'): MAIL,
    ('mail', 'SendToAdmins'): {'Sender': 'me@example.com', 'Subject': 'x', 'TextBody': 'y'},
    ('urlfetch', 'Fetch'): {'Method': 1},
    ('logservice', 'Read'): {'app_id': 's~demo', 'version_id': ['v1']},
    ('logservice', 'SetStatus'): {'status': 'well'},
    ('logservice', 'Usage'): {'app_id': 's~demo'},
}

# What it says does not matter.
TRANSACTION = {'handle': 1, 'app': 's~demo'}

calls = []
worked = []
gate = threading.Event()


def messages(service):
    return importlib.import_module('google.appengine.api.' + PLACES[service][0] + ('2' if THREE else ''))


def void():
    return importlib.import_module('google.appengine.api.api_base_pb' + ('2' if THREE else '')).VoidProto()


def fill(message, fields):
    """Sets fields by their names; a dict is a message, a list is repeated."""
    for name, value in fields.items():
        many = isinstance(value, list)
        for one in value if many else [value]:
            if isinstance(one, dict):
                fill(inner(message, name, many), one)
            elif THREE:
                text = message.DESCRIPTOR.fields_by_name[name].type == 12 and isinstance(one, str)
                one = one.encode('utf-8') if text else one
                if many:
                    getattr(message, name).append(one)
                else:
                    setattr(message, name, one)
            else:
                getattr(message, ('add_' if many else 'set_') + name.lower())(one)
    return message


def inner(message, name, many):
    if THREE:
        found = getattr(message, name).add() if many else getattr(message, name)
        None if many else found.SetInParent()
        return found
    return getattr(message, ('add_' if many else 'mutable_') + name.lower())()


def message(service, method, **fields):
    place = messages(service)
    prefix = PLACES[service][1]
    request = NAMES.get((service, method), (prefix + method + 'Request', None))[0]
    return fill(getattr(place, request)(), dict(USUAL.get((service, method), {}), **fields))


def ask(service, method, **fields):
    place, prefix = messages(service), PLACES[service][1]
    response = NAMES.get((service, method), (None, prefix + method + 'Response'))[1]
    response = getattr(place, response)() if response else void()
    apiproxy_stub_map.MakeSyncCall(service, method, message(service, method, **fields), response)
    return response


def task(**fields):
    return dict(USUAL['taskqueue', 'Add'], **fields)


def field(message, name):
    found = getattr(message, name)
    if THREE:
        return found
    return (getattr(message, name + '_list', None) or found)()


def told(response):
    """What an answer says of its parts: the calls of task queues have codes in their answers."""
    kind = response.__class__.__name__
    if kind == 'TaskQueueBulkAddResponse':
        return [field(one, 'result') for one in field(response, 'taskresult')]
    if kind == 'TaskQueueDeleteResponse':
        return list(field(response, 'result'))
    if kind == 'TaskQueueForceRunResponse':
        return [field(response, 'result')]
    return [0]


def heard(service, call, request, response, rpc, error):
    codes = told(response) if error is None else [getattr(error, 'application_error', type(error).__name__)]
    calls.extend([service, call, code] for code in codes)


def hooked():
    hooks = apiproxy_stub_map.apiproxy.GetPostCallHooks()
    hooks.Clear()
    hooks.Append('codes', heard)


def sync(service, method, request):
    apiproxy_stub_map.MakeSyncCall(service, method, request, void())


def late(url):
    """The call's own deadline is over before the fetch's is."""
    rpc = apiproxy_stub_map.UserRPC('urlfetch', 0.3)
    rpc.make_call('Fetch', message('urlfetch', 'Fetch', Url=url, Deadline=20.0), messages('urlfetch').URLFetchResponse())
    rpc.check_success()


def forged(work):
    """With the ticket of nobody's request."""
    good = os.environ.get('HTTP_X_APPENGINE_API_TICKET')
    os.environ['HTTP_X_APPENGINE_API_TICKET'] = 'forged'
    try:
        work()
    finally:
        os.environ['HTTP_X_APPENGINE_API_TICKET'] = good


def limited(limit):
    ask('taskqueue', 'UpdateStorageLimit', limit=limit)


def both(*work):
    """Each of them, whatever comes of the others."""
    for one in work:
        try:
            one()
        except Exception:
            pass


def added(queue, name, **options):
    taskqueue.Queue(queue).add(taskqueue.Task(name=name, **options))


def pulled(name):
    taskqueue.Queue('pull').add(taskqueue.Task('', name=name, method='PULL'))


def deleted(queue, name):
    method = 'PULL' if queue == 'pull' else 'POST'
    both(lambda: taskqueue.Queue(queue).add(taskqueue.Task(None if method == 'POST' else '', name=name, method=method, countdown=9)))
    taskqueue.Queue(queue).delete_tasks([taskqueue.Task(None if method == 'POST' else '', name=name, method=method)])


def background():
    return background_thread.start_new_background_thread(gate.wait, [])


def steered():
    """Several changes of one version at once: only one of them can be first."""
    def one():
        try:
            modules.set_num_instances(2, 'default')
        except Exception:
            pass
    threads = [threading.Thread(target=one) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]


def app(environ, start_response):
    if environ['PATH_INFO'] in ('/_ah/start', '/_ah/stop'):
        start_response('200 OK', [])
        return [b'']
    if environ['PATH_INFO'] == '/work':
        # Nobody signs in for a task.
        try:
            ask('user', 'GetOAuthUser')
        except Exception as error:
            worked.append(['user', 'GetOAuthUser', getattr(error, 'application_error', 0)])
        start_response('200 OK', [])
        return [b'']
    hooked()
    del calls[:]
    raised = ''
    try:
        answer = repr(eval(unquote(environ['QUERY_STRING'])))
    except Exception as error:
        raised, answer = type(error).__name__, str(error)
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [json.dumps({'calls': calls, 'raised': raised, 'answer': answer[:1000]}).encode('utf-8')]
