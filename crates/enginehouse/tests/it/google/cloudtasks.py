"""google-cloud-tasks over REST against a server of ours: python cloudtasks.py URL TOKEN v2|v2beta3."""
import datetime
import importlib
import sys

from google.api_core import exceptions
from google.oauth2.credentials import Credentials
from google.protobuf import duration_pb2, timestamp_pb2

url, token, version = sys.argv[1:]
tasks = importlib.import_module("google.cloud.tasks_" + version)
client = tasks.CloudTasksClient(credentials=Credentials(token), transport="rest", client_options={"api_endpoint": url})
place = "projects/demo/locations/local"
path = lambda queue: f"{place}/queues/{queue}"


def fails(kind, words, call, **request):
    try:
        call(request=request)
    except kind as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"{request} was taken")


def stamp(seconds):
    at = timestamp_pb2.Timestamp()
    at.FromDatetime(datetime.datetime.utcnow() + datetime.timedelta(seconds=seconds))
    return at


def task(queue="slow", name=None, at=None, deadline=None, **request):
    made = tasks.Task(app_engine_http_request=tasks.AppEngineHttpRequest(**request))
    if name:
        made.name = f"{path(queue)}/tasks/{name}"
    if at:
        made.schedule_time = at
    if deadline is not None:
        made.dispatch_deadline = duration_pb2.Duration(seconds=deadline)
    return made


def create(queue, **fields):
    return client.create_task(request={"parent": path(queue), "task": task(queue, **fields)})


# Queues.
limits = tasks.RateLimits(max_dispatches_per_second=400, max_concurrent_dispatches=7)
made = client.create_queue(request={"parent": place, "queue": tasks.Queue(name=path("slow"), rate_limits=limits)})
assert made.name == path("slow") and made.state == tasks.Queue.State.RUNNING and made.rate_limits.max_concurrent_dispatches == 7, made
fails(exceptions.Conflict, "already exists", client.create_queue, parent=place, queue=tasks.Queue(name=path("slow")))
assert client.pause_queue(name=path("slow")).state == tasks.Queue.State.PAUSED
assert client.get_queue(name=path("slow")).state == tasks.Queue.State.PAUSED
assert client.get_queue(name=path("default")).rate_limits.max_dispatches_per_second == 5
assert path("slow") in [queue.name for queue in client.list_queues(parent=place)]
fails(exceptions.NotFound, "none", client.get_queue, name=path("none"))

# Tasks that wait, because their queue does.
body = b"\x00\xff and text"
first = create("slow", name="first", relative_uri="/work?n=1", body=body, headers={"X-Own": "yes", "Content-Type": "text/x"}, deadline=20)
assert first.name == path("slow") + "/tasks/first" and first.view == tasks.Task.View.BASIC, first
assert not first.app_engine_http_request.body and first.dispatch_deadline.total_seconds() == 20, first
assert first.app_engine_http_request.http_method == tasks.HttpMethod.POST and first.create_time and first.schedule_time, first
full = client.get_task(request={"name": first.name, "response_view": tasks.Task.View.FULL})
assert full.app_engine_http_request.body == body and full.view == tasks.Task.View.FULL, full
assert full.app_engine_http_request.headers["X-Own"] == "yes" and full.dispatch_count == 0, full
unnamed = create("slow", relative_uri="/work?n=2", http_method=tasks.HttpMethod.GET, app_engine_routing={"service": "default", "version": "v1"})
assert unnamed.app_engine_http_request.app_engine_routing.version == "v1", unnamed
assert unnamed.app_engine_http_request.app_engine_routing.host.startswith("v1."), unnamed
later = create("slow", name="later", at=stamp(3600))
assert later.app_engine_http_request.relative_uri == "/" and later.schedule_time > first.schedule_time, later
for n in range(5):
    create("slow", name=f"page-{n}")
pages = list(client.list_tasks(request={"parent": path("slow"), "page_size": 3}).pages)
names = [one.name.rsplit("/")[-1] for page in pages for one in page.tasks]
assert len(pages) >= 3 and sorted(names) == sorted(["first", "later", unnamed.name.rsplit("/")[-1]] + [f"page-{n}" for n in range(5)]), names

# What is refused.
add = client.create_task
fails(exceptions.Conflict, "already", add, parent=path("slow"), task=task(name="first"))
fails(exceptions.NotFound, "none", add, parent=path("none"), task=task())
fails(exceptions.BadRequest, "is called", add, parent=path("slow"), task=task(queue="other", name="x"))
fails(exceptions.BadRequest, "letters", add, parent=path("slow"), task=task(name="a b"))
fails(exceptions.BadRequest, "no body", add, parent=path("slow"), task=task(http_method=tasks.HttpMethod.GET, body=b"x"))
fails(exceptions.BadRequest, "begins with /", add, parent=path("slow"), task=task(relative_uri="work"))
fails(exceptions.BadRequest, "100 KiB", add, parent=path("slow"), task=task(body=b"x" * 102400))
fails(exceptions.BadRequest, "30 days", add, parent=path("slow"), task=task(at=stamp(31 * 86400)))
fails(exceptions.BadRequest, "15 seconds", add, parent=path("slow"), task=task(deadline=1))
fails(exceptions.BadRequest, "ask the app", add, parent=path("slow"), task=tasks.Task(http_request={"url": "https://example.com/"}))
fails(exceptions.BadRequest, "needs an", add, parent=path("slow"), task=tasks.Task())
fails(exceptions.NotFound, "none", client.get_task, name=path("slow") + "/tasks/none")
fails(exceptions.NotFound, "none", client.run_task, name=path("slow") + "/tasks/none")

# Deleted, and run although the queue is paused.
client.delete_task(name=path("slow") + "/tasks/page-0")
fails(exceptions.NotFound, "gone", client.delete_task, name=path("slow") + "/tasks/page-0")
fails(exceptions.Conflict, "not long ago", add, parent=path("slow"), task=task(name="page-0"))
assert client.run_task(name=first.name).name == first.name

# Purged, and what comes afterwards is sent once the queue goes on.
purged = client.purge_queue(name=path("slow"))
assert purged.purge_time and purged.state == tasks.Queue.State.PAUSED, purged
assert list(client.list_tasks(parent=path("slow"))) == []
after = create("slow", name="after", relative_uri="/work?n=3", http_method=tasks.HttpMethod.PATCH, body=b"patch")
assert client.resume_queue(name=path("slow")).state == tasks.Queue.State.RUNNING
create("default", relative_uri="/work?n=4")
flawed = create("default", name="flawed", relative_uri="/fails")

# A failed one tells how.
while True:
    seen = client.get_task(name=flawed.name)
    if seen.response_count > 1:
        break
assert seen.first_attempt.dispatch_time and seen.last_attempt.response_status.code == 13, seen
assert "HTTP status code 500" in seen.last_attempt.response_status.message and seen.dispatch_count > 1, seen
client.delete_task(name=flawed.name)

client.delete_queue(name=path("slow"))
fails(exceptions.NotFound, "slow", client.get_queue, name=path("slow"))
print("ok")
