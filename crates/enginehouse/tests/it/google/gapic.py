"""The generated Python client over REST against a server of ours: python gapic.py URL TOKEN."""
import sys

from google.cloud import appengine_admin_v1 as ae
from google.api_core import exceptions
from google.oauth2.credentials import Credentials
from google.protobuf import field_mask_pb2

url, token = sys.argv[1:]
kw = dict(
    credentials=Credentials(token),
    transport="rest",
    client_options={"api_endpoint": url},
)
apps = ae.ApplicationsClient(**kw)
services = ae.ServicesClient(**kw)
versions = ae.VersionsClient(**kw)
instances = ae.InstancesClient(**kw)
firewall = ae.FirewallClient(**kw)
domains = ae.DomainMappingsClient(**kw)
certificates = ae.AuthorizedCertificatesClient(**kw)

app = apps.get_application(name="apps/demo")
assert app.name == "apps/demo" and app.serving_status == ae.Application.ServingStatus.SERVING, app
assert app.code_bucket and "." in app.default_hostname

for number in (1, 2):
    version = ae.Version(
        id=f"p{number}",
        runtime="python27",
        runtime_api_version="1",
        threadsafe=True,
        instance_class="F2",
        env_variables={"NUMBER": str(number)},
        inbound_services=["INBOUND_SERVICE_WARMUP"],
        automatic_scaling=ae.AutomaticScaling(
            max_concurrent_requests=7,
            standard_scheduler_settings=ae.StandardSchedulerSettings(max_instances=2, target_cpu_utilization=0.75),
        ),
        handlers=[
            ae.UrlMap(
                url_regex="/(.*)",
                static_files=ae.StaticFilesHandler(path="static/\\1", upload_path_regex="static/.*", expiration={"seconds": 90}),
                security_level=ae.SecurityLevel.SECURE_OPTIONAL,
            )
        ],
        deployment=ae.Deployment(
            files={"static/index.html": ae.FileInfo(source_url=f"https://storage.googleapis.com/{app.code_bucket}/gapic-{number}")}
        ),
    )
    operation = versions.create_version(request=ae.CreateVersionRequest(parent="apps/demo/services/default", version=version))
    made = operation.result(timeout=60)
    assert made.id == f"p{number}" and made.name.endswith(f"/versions/p{number}"), made

full = versions.get_version(request=ae.GetVersionRequest(name="apps/demo/services/default/versions/p2", view=ae.VersionView.FULL))
assert full.env_variables == {"NUMBER": "2"} and full.instance_class == "F2", full
assert full.handlers[0].security_level == ae.SecurityLevel.SECURE_OPTIONAL
assert full.handlers[0].static_files.expiration.total_seconds() == 90
assert full.inbound_services == [ae.InboundServiceType.INBOUND_SERVICE_WARMUP]
assert full.automatic_scaling.standard_scheduler_settings.target_cpu_utilization == 0.75
basic = versions.get_version(request={"name": "apps/demo/services/default/versions/p2"})
assert not basic.env_variables and basic.serving_status == ae.ServingStatus.SERVING
assert sorted(v.id for v in versions.list_versions(request={"parent": "apps/demo/services/default", "page_size": 1})) == ["p1", "p2"]

service = ae.Service(split=ae.TrafficSplit(shard_by=ae.TrafficSplit.ShardBy.COOKIE, allocations={"p1": 0.625, "p2": 0.375}))
done = services.update_service(
    request=ae.UpdateServiceRequest(
        name="apps/demo/services/default", service=service, update_mask=field_mask_pb2.FieldMask(paths=["split"])
    )
).result(timeout=60)
assert dict(done.split.allocations) == {"p1": 0.625, "p2": 0.375} and done.split.shard_by == ae.TrafficSplit.ShardBy.COOKIE, done
assert [s.id for s in services.list_services(request={"parent": "apps/demo"})] == ["default"]
assert services.get_service(request={"name": "apps/demo/services/default"}).split.shard_by == ae.TrafficSplit.ShardBy.COOKIE
assert list(instances.list_instances(request={"parent": "apps/demo/services/default/versions/p1"})) == []

try:
    versions.delete_version(request={"name": "apps/demo/services/default/versions/p1"}).result(timeout=60)
    raise AssertionError("a version with traffic was deleted")
except exceptions.BadRequest as error:
    assert "non-zero traffic allocation" in str(error)
try:
    versions.get_version(request={"name": "apps/demo/services/default/versions/p9"})
    raise AssertionError("there is no p9")
except exceptions.NotFound:
    pass
services.update_service(
    request=ae.UpdateServiceRequest(
        name="apps/demo/services/default",
        service=ae.Service(split=ae.TrafficSplit(allocations={"p2": 1})),
        update_mask=field_mask_pb2.FieldMask(paths=["split"]),
    )
).result(timeout=60)
versions.delete_version(request={"name": "apps/demo/services/default/versions/p1"}).result(timeout=60)

rule = firewall.create_ingress_rule(
    request={"parent": "apps/demo", "rule": ae.FirewallRule(priority=100, action=ae.FirewallRule.Action.DENY, source_range="192.0.2.0/24")}
)
assert rule.priority == 100 and rule.action == ae.FirewallRule.Action.DENY
rule = firewall.update_ingress_rule(
    request=ae.UpdateIngressRuleRequest(
        name="apps/demo/firewall/ingressRules/100",
        rule=ae.FirewallRule(description="no"),
        update_mask=field_mask_pb2.FieldMask(paths=["description"]),
    )
)
assert rule.description == "no" and rule.action == ae.FirewallRule.Action.DENY
assert [r.priority for r in firewall.list_ingress_rules(request={"parent": "apps/demo"})] == [100, 2147483647]
firewall.delete_ingress_rule(request={"name": "apps/demo/firewall/ingressRules/100"})

mapping = domains.create_domain_mapping(request={"parent": "apps/demo", "domain_mapping": ae.DomainMapping(id="shop.example.org")}).result(timeout=60)
assert mapping.id == "shop.example.org" and mapping.resource_records, mapping
assert [d.id for d in domains.list_domain_mappings(request={"parent": "apps/demo"})] == ["shop.example.org"]
domains.delete_domain_mapping(request={"name": "apps/demo/domainMappings/shop.example.org"}).result(timeout=60)
assert list(certificates.list_authorized_certificates(request={"parent": "apps/demo"})) == []

updated = apps.update_application(
    request=ae.UpdateApplicationRequest(
        name="apps/demo",
        application=ae.Application(default_cookie_expiration={"seconds": 3600}),
        update_mask=field_mask_pb2.FieldMask(paths=["default_cookie_expiration"]),
    )
).result(timeout=60)
assert updated.default_cookie_expiration.total_seconds() == 3600
print("ok")
