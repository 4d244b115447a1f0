"""Google's google-cloud-appengine-admin with its REST transport, unmodified: python gapic.py URL TOKEN PROJECT. The app has versions v1 and v2."""

import sys

from google.api_core import exceptions
from google.auth.exceptions import RefreshError
from google.cloud import appengine_admin_v1 as admin
from google.oauth2.credentials import Credentials

url, token, project = sys.argv[1:]
options = {"credentials": Credentials(token), "client_options": {"api_endpoint": url}, "transport": "rest"}
service = "apps/%s/services/default" % project


def refused(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError("it was not refused")


apps = admin.ApplicationsClient(**options)
app = apps.get_application(name="apps/" + project)
assert app.id == project and app.serving_status == admin.Application.ServingStatus.SERVING, app
refused(exceptions.NotFound, lambda: apps.get_application(name="apps/no-such-app"))

services = admin.ServicesClient(**options)
assert [found.id for found in services.list_services(request={"parent": "apps/" + project})] == ["default"]
split = admin.TrafficSplit(allocations={"v1": 0.25, "v2": 0.75}, shard_by=admin.TrafficSplit.ShardBy.COOKIE)
update = admin.UpdateServiceRequest(name=service, service=admin.Service(split=split), update_mask="split", migrate_traffic=False)
changed = services.update_service(update).result(timeout=60)
assert changed.split.shard_by == admin.TrafficSplit.ShardBy.COOKIE and dict(changed.split.allocations) == {"v1": 0.25, "v2": 0.75}, changed
bad = admin.UpdateServiceRequest(name=service, service=admin.Service(split=admin.TrafficSplit(allocations={"nope": 1})), update_mask="split")
error = refused(exceptions.BadRequest, lambda: services.update_service(bad))
assert "nope" in error.message and error.details, error

versions = admin.VersionsClient(**options)
listed = list(versions.list_versions(request={"parent": service, "view": admin.VersionView.FULL, "page_size": 1}))
assert [version.id for version in listed] == ["v1", "v2"], listed
assert listed[0].serving_status == admin.ServingStatus.SERVING and listed[0].deployment.files and listed[0].create_time, listed[0]
instances = admin.InstancesClient(**options)
for instance in instances.list_instances(request={"parent": service + "/versions/v1"}):
    assert instances.get_instance(request={"name": instance.name}).id == instance.id
    error = refused(exceptions.GoogleAPICallError, lambda: instances.debug_instance(request={"name": instance.name}))
    assert "flexible" in error.message, error

firewall = admin.FirewallClient(**options)
rule = admin.FirewallRule(priority=9, action=admin.FirewallRule.Action.DENY, source_range="198.51.100.0/24")
assert firewall.create_ingress_rule(request={"parent": "apps/" + project, "rule": rule}) == rule
assert rule in list(firewall.list_ingress_rules(request={"parent": "apps/" + project}))
firewall.delete_ingress_rule(request={"name": "apps/%s/firewall/ingressRules/9" % project})

domains = admin.DomainMappingsClient(**options)
mapping = admin.DomainMapping(id="www.example.org")
made = domains.create_domain_mapping(request={"parent": "apps/" + project, "domain_mapping": mapping}).result(timeout=60)
assert made.id == "www.example.org" and made.resource_records, made
domains.delete_domain_mapping(request={"name": "apps/%s/domainMappings/www.example.org" % project}).result(timeout=60)

stranger = admin.ApplicationsClient(**{**options, "credentials": Credentials("nonsense")})
# A 401 makes the client look for a fresh token, which this one cannot get.
refused(RefreshError, lambda: stranger.get_application(name="apps/" + project, retry=None))
print("ok")
