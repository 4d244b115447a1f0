"""Google's google-api-python-client, unmodified, against a server: python discovery.py URL TOKEN PROJECT. The app has versions v1, v2 and v3."""

import sys
import time

from google.auth.exceptions import RefreshError
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

url, token, project = sys.argv[1:]
api = build("appengine", "v1", credentials=Credentials(token), client_options={"api_endpoint": url + "/"}, cache_discovery=False)
apps = api.apps()
services = apps.services()
versions = services.versions()


def done(operation):
    """Polls an operation as the documents do."""
    assert operation["name"].startswith("apps/%s/operations/" % project), operation
    assert operation["metadata"]["@type"] == "type.googleapis.com/google.appengine.v1.OperationMetadataV1", operation
    until = time.monotonic() + 120
    while not operation.get("done"):
        assert time.monotonic() < until, operation
        time.sleep(0.2)
        operation = apps.operations().get(appsId=project, operationsId=operation["name"].split("/")[-1]).execute()
    assert "error" not in operation, operation
    return operation["response"]


def split():
    return services.get(appsId=project, servicesId="default").execute()["split"]


def patch(allocations, **more):
    body = {"split": {"allocations": allocations, **{k: more.pop(k) for k in ["shardBy"] if k in more}}}
    return services.patch(appsId=project, servicesId="default", updateMask="split", body=body, **more).execute()


def refused(status, call):
    try:
        call()
    except HttpError as error:
        assert error.status_code == status, error
        return error
    raise AssertionError("it was not refused")


assert apps.get(appsId=project).execute()["id"] == project
assert [service["id"] for service in services.list(appsId=project).execute()["services"]] == ["default"]

# Pages, followed as the client does it.
seen, request = [], versions.list(appsId=project, servicesId="default", pageSize=2)
while request is not None:
    page = request.execute()
    seen += [version["id"] for version in page["versions"]]
    request = versions.list_next(request, page)
assert seen == ["v1", "v2", "v3"], seen
full = versions.get(appsId=project, servicesId="default", versionsId="v2", view="FULL").execute()
assert full["deployment"]["files"] and full["inboundServices"] == ["INBOUND_SERVICE_WARMUP"], full

# The flows of the documentation: move all traffic, split it, migrate it, look at the operation, delete what is faulty.
assert done(patch({"v1": "1"}, migrateTraffic=False))["split"] == {"allocations": {"v1": 1}}
done(patch({"v1": 0.6, "v2": 0.2, "v3": 0.2}, shardBy="IP"))
assert split() == {"allocations": {"v1": 0.6, "v2": 0.2, "v3": 0.2}, "shardBy": "IP"}, split()
error = refused(400, lambda: versions.delete(appsId=project, servicesId="default", versionsId="v1").execute())
assert "non-zero traffic allocation" in error.reason, error
started = patch({"v2": 1}, shardBy="IP", migrateTraffic=True)
assert started["metadata"]["target"] == "apps/%s/services/default" % project, started
done(started)
assert split()["allocations"] == {"v2": 1}, split()
done(versions.delete(appsId=project, servicesId="default", versionsId="v1").execute())
refused(404, lambda: versions.get(appsId=project, servicesId="default", versionsId="v1").execute())

error = refused(400, lambda: services.patch(appsId=project, servicesId="default", updateMask="nonsense", body={}).execute())
assert error.error_details[0]["@type"] == "type.googleapis.com/google.rpc.BadRequest", error.error_details
stranger = build("appengine", "v1", credentials=Credentials("nonsense"), client_options={"api_endpoint": url + "/"}, cache_discovery=False)
try:
    stranger.apps().get(appsId=project).execute()
    raise AssertionError("a stranger was let in")
except RefreshError:
    pass  # A 401 makes the client look for a fresh token, which this one cannot get.

rules = apps.firewall().ingressRules()
rules.create(appsId=project, body={"priority": 7, "action": "DENY", "sourceRange": "192.0.2.0/24"}).execute()
assert rules.list(appsId=project, matchingAddress="192.0.2.9").execute()["ingressRules"][0]["priority"] == 7
assert rules.delete(appsId=project, ingressRulesId="7").execute() == {}
assert apps.locations().list(appsId=project).execute()["locations"]
assert apps.operations().list(appsId=project, filter="done:true").execute()["operations"]
print("ok")
