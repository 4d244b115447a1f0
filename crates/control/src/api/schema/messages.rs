//! The messages of the Admin API: which fields each has, and the names and numbers of its enums.
//!
//! From Google's discovery document of `appengine` v1, revision 20261023; the numbers, which are not in it, are those of the types of
//! google-cloud-appengine-admin 1.19.0.

use super::{Enum, Kind, Message, any, list, map, one};

pub(crate) static APPLICATION: Message = Message {
    name: "Application",
    fields: &[
        one("authDomain", Kind::Text),
        one("codeBucket", Kind::Text).told(),
        one("databaseType", Kind::Enum(&DATABASE_TYPE)),
        one("defaultBucket", Kind::Text).told(),
        one("defaultCookieExpiration", Kind::Duration),
        one("defaultHostname", Kind::Text).told(),
        list("dispatchRules", Kind::Message(&URL_DISPATCH_RULE)),
        one("featureSettings", Kind::Message(&FEATURE_SETTINGS)),
        one("gcrDomain", Kind::Text).told(),
        any("generatedCustomerMetadata"),
        one("iap", Kind::Message(&IDENTITY_AWARE_PROXY)),
        one("id", Kind::Text),
        one("locationId", Kind::Text),
        one("name", Kind::Text).told(),
        one("serviceAccount", Kind::Text),
        one("servingStatus", Kind::Enum(&SERVING_STATUS)),
        one("sslPolicy", Kind::Enum(&SSL_POLICY)),
    ],
};
static URL_DISPATCH_RULE: Message =
    Message { name: "UrlDispatchRule", fields: &[one("domain", Kind::Text), one("path", Kind::Text), one("service", Kind::Text)] };
static FEATURE_SETTINGS: Message =
    Message { name: "FeatureSettings", fields: &[one("splitHealthChecks", Kind::Bool), one("useContainerOptimizedOs", Kind::Bool)] };
static IDENTITY_AWARE_PROXY: Message = Message {
    name: "IdentityAwareProxy",
    fields: &[
        one("enabled", Kind::Bool),
        one("oauth2ClientId", Kind::Text),
        one("oauth2ClientSecret", Kind::Text),
        one("oauth2ClientSecretSha256", Kind::Text).told(),
    ],
};
pub(crate) static SERVICE: Message = Message {
    name: "Service",
    fields: &[
        any("generatedCustomerMetadata"),
        one("id", Kind::Text).told(),
        map("labels", Kind::Text),
        one("name", Kind::Text).told(),
        one("networkSettings", Kind::Message(&NETWORK_SETTINGS)),
        one("split", Kind::Message(&TRAFFIC_SPLIT)),
    ],
};
static NETWORK_SETTINGS: Message =
    Message { name: "NetworkSettings", fields: &[one("ingressTrafficAllowed", Kind::Enum(&INGRESS_TRAFFIC_ALLOWED))] };
static TRAFFIC_SPLIT: Message =
    Message { name: "TrafficSplit", fields: &[map("allocations", Kind::Double), one("shardBy", Kind::Enum(&SHARD_BY))] };
pub(crate) static VERSION: Message = Message {
    name: "Version",
    fields: &[
        one("apiConfig", Kind::Message(&API_CONFIG_HANDLER)),
        one("appEngineApis", Kind::Bool),
        list("appEngineBundledServices", Kind::Enum(&APP_ENGINE_BUNDLED_SERVICES)),
        one("automaticScaling", Kind::Message(&AUTOMATIC_SCALING)),
        one("basicScaling", Kind::Message(&BASIC_SCALING)),
        map("betaSettings", Kind::Text),
        map("buildEnvVariables", Kind::Text),
        one("createTime", Kind::Text),
        one("createdBy", Kind::Text).told(),
        one("defaultExpiration", Kind::Duration),
        one("deployment", Kind::Message(&DEPLOYMENT)),
        one("diskUsageBytes", Kind::Int64).told(),
        one("endpointsApiService", Kind::Message(&ENDPOINTS_API_SERVICE)),
        one("entrypoint", Kind::Message(&ENTRYPOINT)),
        one("env", Kind::Text),
        map("envVariables", Kind::Text),
        list("errorHandlers", Kind::Message(&ERROR_HANDLER)),
        one("flexibleRuntimeSettings", Kind::Message(&FLEXIBLE_RUNTIME_SETTINGS)),
        any("generatedCustomerMetadata"),
        list("handlers", Kind::Message(&URL_MAP)),
        one("healthCheck", Kind::Message(&HEALTH_CHECK)),
        one("id", Kind::Text),
        list("inboundServices", Kind::Enum(&INBOUND_SERVICES)),
        one("instanceClass", Kind::Text),
        list("libraries", Kind::Message(&LIBRARY)),
        one("livenessCheck", Kind::Message(&LIVENESS_CHECK)),
        one("manualScaling", Kind::Message(&MANUAL_SCALING)),
        one("name", Kind::Text).told(),
        one("network", Kind::Message(&NETWORK)),
        one("nobuildFilesRegex", Kind::Text),
        one("readinessCheck", Kind::Message(&READINESS_CHECK)),
        one("resources", Kind::Message(&RESOURCES)),
        one("runtime", Kind::Text),
        one("runtimeApiVersion", Kind::Text),
        one("runtimeChannel", Kind::Text),
        one("runtimeMainExecutablePath", Kind::Text),
        one("serviceAccount", Kind::Text),
        one("servingStatus", Kind::Enum(&VERSION_SERVING_STATUS)),
        one("threadsafe", Kind::Bool),
        one("versionUrl", Kind::Text).told(),
        one("vm", Kind::Bool),
        one("vpcAccess", Kind::Message(&VPC_ACCESS)),
        one("vpcAccessConnector", Kind::Message(&VPC_ACCESS_CONNECTOR)),
        list("zones", Kind::Text),
    ],
};
static API_CONFIG_HANDLER: Message = Message {
    name: "ApiConfigHandler",
    fields: &[
        one("authFailAction", Kind::Enum(&AUTH_FAIL_ACTION)),
        one("login", Kind::Enum(&LOGIN)),
        one("script", Kind::Text),
        one("securityLevel", Kind::Enum(&SECURITY_LEVEL)),
        one("url", Kind::Text),
    ],
};
static AUTOMATIC_SCALING: Message = Message {
    name: "AutomaticScaling",
    fields: &[
        one("coolDownPeriod", Kind::Duration),
        one("cpuUtilization", Kind::Message(&CPU_UTILIZATION)),
        one("diskUtilization", Kind::Message(&DISK_UTILIZATION)),
        one("maxConcurrentRequests", Kind::Int32),
        one("maxIdleInstances", Kind::Int32),
        one("maxPendingLatency", Kind::Duration),
        one("maxTotalInstances", Kind::Int32),
        one("minIdleInstances", Kind::Int32),
        one("minPendingLatency", Kind::Duration),
        one("minTotalInstances", Kind::Int32),
        one("networkUtilization", Kind::Message(&NETWORK_UTILIZATION)),
        one("requestUtilization", Kind::Message(&REQUEST_UTILIZATION)),
        one("standardSchedulerSettings", Kind::Message(&STANDARD_SCHEDULER_SETTINGS)),
    ],
};
static CPU_UTILIZATION: Message =
    Message { name: "CpuUtilization", fields: &[one("aggregationWindowLength", Kind::Duration), one("targetUtilization", Kind::Double)] };
static DISK_UTILIZATION: Message = Message {
    name: "DiskUtilization",
    fields: &[
        one("targetReadBytesPerSecond", Kind::Int32),
        one("targetReadOpsPerSecond", Kind::Int32),
        one("targetWriteBytesPerSecond", Kind::Int32),
        one("targetWriteOpsPerSecond", Kind::Int32),
    ],
};
static NETWORK_UTILIZATION: Message = Message {
    name: "NetworkUtilization",
    fields: &[
        one("targetReceivedBytesPerSecond", Kind::Int32),
        one("targetReceivedPacketsPerSecond", Kind::Int32),
        one("targetSentBytesPerSecond", Kind::Int32),
        one("targetSentPacketsPerSecond", Kind::Int32),
    ],
};
static REQUEST_UTILIZATION: Message = Message {
    name: "RequestUtilization",
    fields: &[one("targetConcurrentRequests", Kind::Int32), one("targetRequestCountPerSecond", Kind::Int32)],
};
static STANDARD_SCHEDULER_SETTINGS: Message = Message {
    name: "StandardSchedulerSettings",
    fields: &[
        one("maxInstances", Kind::Int32),
        one("minInstances", Kind::Int32),
        one("targetCpuUtilization", Kind::Double),
        one("targetThroughputUtilization", Kind::Double),
    ],
};
static BASIC_SCALING: Message =
    Message { name: "BasicScaling", fields: &[one("idleTimeout", Kind::Duration), one("maxInstances", Kind::Int32)] };
static DEPLOYMENT: Message = Message {
    name: "Deployment",
    fields: &[
        one("cloudBuildOptions", Kind::Message(&CLOUD_BUILD_OPTIONS)),
        one("container", Kind::Message(&CONTAINER_INFO)),
        map("files", Kind::Message(&FILE_INFO)),
        one("zip", Kind::Message(&ZIP_INFO)),
    ],
};
static CLOUD_BUILD_OPTIONS: Message =
    Message { name: "CloudBuildOptions", fields: &[one("appYamlPath", Kind::Text), one("cloudBuildTimeout", Kind::Duration)] };
static CONTAINER_INFO: Message = Message { name: "ContainerInfo", fields: &[one("image", Kind::Text)] };
static FILE_INFO: Message =
    Message { name: "FileInfo", fields: &[one("mimeType", Kind::Text), one("sha1Sum", Kind::Text), one("sourceUrl", Kind::Text)] };
static ZIP_INFO: Message = Message { name: "ZipInfo", fields: &[one("filesCount", Kind::Int32), one("sourceUrl", Kind::Text)] };
static ENDPOINTS_API_SERVICE: Message = Message {
    name: "EndpointsApiService",
    fields: &[
        one("configId", Kind::Text),
        one("disableTraceSampling", Kind::Bool),
        one("name", Kind::Text),
        one("rolloutStrategy", Kind::Enum(&ROLLOUT_STRATEGY)),
    ],
};
static ENTRYPOINT: Message = Message { name: "Entrypoint", fields: &[one("shell", Kind::Text)] };
static ERROR_HANDLER: Message = Message {
    name: "ErrorHandler",
    fields: &[one("errorCode", Kind::Enum(&ERROR_CODE)), one("mimeType", Kind::Text), one("staticFile", Kind::Text)],
};
static FLEXIBLE_RUNTIME_SETTINGS: Message =
    Message { name: "FlexibleRuntimeSettings", fields: &[one("operatingSystem", Kind::Text), one("runtimeVersion", Kind::Text)] };
static URL_MAP: Message = Message {
    name: "UrlMap",
    fields: &[
        one("apiEndpoint", Kind::Message(&API_ENDPOINT_HANDLER)),
        one("authFailAction", Kind::Enum(&AUTH_FAIL_ACTION)),
        one("login", Kind::Enum(&LOGIN)),
        one("redirectHttpResponseCode", Kind::Enum(&REDIRECT_HTTP_RESPONSE_CODE)),
        one("script", Kind::Message(&SCRIPT_HANDLER)),
        one("securityLevel", Kind::Enum(&SECURITY_LEVEL)),
        one("staticFiles", Kind::Message(&STATIC_FILES_HANDLER)),
        one("urlRegex", Kind::Text),
    ],
};
static API_ENDPOINT_HANDLER: Message = Message { name: "ApiEndpointHandler", fields: &[one("scriptPath", Kind::Text)] };
static SCRIPT_HANDLER: Message = Message { name: "ScriptHandler", fields: &[one("scriptPath", Kind::Text)] };
static STATIC_FILES_HANDLER: Message = Message {
    name: "StaticFilesHandler",
    fields: &[
        one("applicationReadable", Kind::Bool),
        one("expiration", Kind::Duration),
        map("httpHeaders", Kind::Text),
        one("mimeType", Kind::Text),
        one("path", Kind::Text),
        one("requireMatchingFile", Kind::Bool),
        one("uploadPathRegex", Kind::Text),
    ],
};
static HEALTH_CHECK: Message = Message {
    name: "HealthCheck",
    fields: &[
        one("checkInterval", Kind::Duration),
        one("disableHealthCheck", Kind::Bool),
        one("healthyThreshold", Kind::Uint32),
        one("host", Kind::Text),
        one("restartThreshold", Kind::Uint32),
        one("timeout", Kind::Duration),
        one("unhealthyThreshold", Kind::Uint32),
    ],
};
static LIBRARY: Message = Message { name: "Library", fields: &[one("name", Kind::Text), one("version", Kind::Text)] };
static LIVENESS_CHECK: Message = Message {
    name: "LivenessCheck",
    fields: &[
        one("checkInterval", Kind::Duration),
        one("failureThreshold", Kind::Uint32),
        one("host", Kind::Text),
        one("initialDelay", Kind::Duration),
        one("path", Kind::Text),
        one("successThreshold", Kind::Uint32),
        one("timeout", Kind::Duration),
    ],
};
static MANUAL_SCALING: Message = Message { name: "ManualScaling", fields: &[one("instances", Kind::Int32)] };
static NETWORK: Message = Message {
    name: "Network",
    fields: &[
        list("forwardedPorts", Kind::Text),
        one("instanceIpMode", Kind::Enum(&INSTANCE_IP_MODE)),
        one("instanceTag", Kind::Text),
        one("name", Kind::Text),
        one("sessionAffinity", Kind::Bool),
        one("subnetworkName", Kind::Text),
    ],
};
static READINESS_CHECK: Message = Message {
    name: "ReadinessCheck",
    fields: &[
        one("appStartTimeout", Kind::Duration),
        one("checkInterval", Kind::Duration),
        one("failureThreshold", Kind::Uint32),
        one("host", Kind::Text),
        one("path", Kind::Text),
        one("successThreshold", Kind::Uint32),
        one("timeout", Kind::Duration),
    ],
};
static RESOURCES: Message = Message {
    name: "Resources",
    fields: &[
        one("cpu", Kind::Double),
        one("diskGb", Kind::Double),
        one("kmsKeyReference", Kind::Text),
        one("memoryGb", Kind::Double),
        list("volumes", Kind::Message(&VOLUME)),
    ],
};
static VOLUME: Message =
    Message { name: "Volume", fields: &[one("name", Kind::Text), one("sizeGb", Kind::Double), one("volumeType", Kind::Text)] };
static VPC_ACCESS: Message = Message {
    name: "VpcAccess",
    fields: &[list("networkInterfaces", Kind::Message(&VPC_NETWORK_INTERFACE)), one("vpcEgress", Kind::Enum(&VPC_EGRESS))],
};
static VPC_NETWORK_INTERFACE: Message =
    Message { name: "VpcNetworkInterface", fields: &[one("network", Kind::Text), one("subnet", Kind::Text), list("tags", Kind::Text)] };
static VPC_ACCESS_CONNECTOR: Message =
    Message { name: "VpcAccessConnector", fields: &[one("egressSetting", Kind::Enum(&EGRESS_SETTING)), one("name", Kind::Text)] };
pub(crate) static FIREWALL_RULE: Message = Message {
    name: "FirewallRule",
    fields: &[
        one("action", Kind::Enum(&ACTION)),
        one("description", Kind::Text),
        one("priority", Kind::Int32),
        one("sourceRange", Kind::Text),
    ],
};
pub(crate) static BATCH_UPDATE_INGRESS_RULES_REQUEST: Message =
    Message { name: "BatchUpdateIngressRulesRequest", fields: &[list("ingressRules", Kind::Message(&FIREWALL_RULE))] };
pub(crate) static BATCH_UPDATE_INGRESS_RULES_RESPONSE: Message =
    Message { name: "BatchUpdateIngressRulesResponse", fields: &[list("ingressRules", Kind::Message(&FIREWALL_RULE))] };
pub(crate) static DOMAIN_MAPPING: Message = Message {
    name: "DomainMapping",
    fields: &[
        one("id", Kind::Text),
        one("name", Kind::Text).told(),
        list("resourceRecords", Kind::Message(&RESOURCE_RECORD)).told(),
        one("sslSettings", Kind::Message(&SSL_SETTINGS)),
    ],
};
static RESOURCE_RECORD: Message =
    Message { name: "ResourceRecord", fields: &[one("name", Kind::Text), one("rrdata", Kind::Text), one("type", Kind::Enum(&TYPE))] };
static SSL_SETTINGS: Message = Message {
    name: "SslSettings",
    fields: &[
        one("certificateId", Kind::Text),
        one("pendingManagedCertificateId", Kind::Text).told(),
        one("sslManagementType", Kind::Enum(&SSL_MANAGEMENT_TYPE)),
    ],
};
pub(crate) static AUTHORIZED_CERTIFICATE: Message = Message {
    name: "AuthorizedCertificate",
    fields: &[
        one("certificateRawData", Kind::Message(&CERTIFICATE_RAW_DATA)),
        one("displayName", Kind::Text),
        one("domainMappingsCount", Kind::Int32),
        list("domainNames", Kind::Text).told(),
        one("expireTime", Kind::Text),
        one("id", Kind::Text).told(),
        one("managedCertificate", Kind::Message(&MANAGED_CERTIFICATE)),
        one("name", Kind::Text).told(),
        list("visibleDomainMappings", Kind::Text).told(),
    ],
};
static CERTIFICATE_RAW_DATA: Message =
    Message { name: "CertificateRawData", fields: &[one("privateKey", Kind::Text), one("publicCertificate", Kind::Text)] };
static MANAGED_CERTIFICATE: Message = Message {
    name: "ManagedCertificate",
    fields: &[one("lastRenewalTime", Kind::Text), one("status", Kind::Enum(&MANAGED_CERTIFICATE_STATUS))],
};
static AUTHORIZED_DOMAIN: Message = Message { name: "AuthorizedDomain", fields: &[one("id", Kind::Text), one("name", Kind::Text)] };
pub(crate) static LOCATION: Message = Message {
    name: "Location",
    fields: &[
        one("displayName", Kind::Text),
        map("labels", Kind::Text),
        one("locationId", Kind::Text),
        any("metadata"),
        one("name", Kind::Text),
    ],
};
static LOCATION_METADATA: Message = Message {
    name: "LocationMetadata",
    fields: &[
        one("flexibleEnvironmentAvailable", Kind::Bool),
        one("searchApiAvailable", Kind::Bool).told(),
        one("standardEnvironmentAvailable", Kind::Bool),
    ],
};
pub(crate) static INSTANCE: Message = Message {
    name: "Instance",
    fields: &[
        one("appEngineRelease", Kind::Text).told(),
        one("availability", Kind::Enum(&AVAILABILITY)).told(),
        one("averageLatency", Kind::Int32).told(),
        one("errors", Kind::Int32).told(),
        one("id", Kind::Text).told(),
        one("memoryUsage", Kind::Int64).told(),
        one("name", Kind::Text).told(),
        one("qps", Kind::Double).told(),
        one("requests", Kind::Int32).told(),
        one("startTime", Kind::Text).told(),
        one("vmDebugEnabled", Kind::Bool).told(),
        one("vmId", Kind::Text).told(),
        one("vmIp", Kind::Text).told(),
        one("vmLiveness", Kind::Enum(&VM_LIVENESS)).told(),
        one("vmName", Kind::Text).told(),
        one("vmStatus", Kind::Text).told(),
        one("vmZoneName", Kind::Text).told(),
    ],
};
pub(crate) static OPERATION: Message = Message {
    name: "Operation",
    fields: &[one("done", Kind::Bool), one("error", Kind::Message(&STATUS)), any("metadata"), one("name", Kind::Text), any("response")],
};
static STATUS: Message =
    Message { name: "Status", fields: &[one("code", Kind::Int32), list("details", Kind::Any), one("message", Kind::Text)] };
static OPERATION_METADATA_V1: Message = Message {
    name: "OperationMetadataV1",
    fields: &[
        one("createVersionMetadata", Kind::Message(&CREATE_VERSION_METADATA_V1)),
        one("endTime", Kind::Text),
        one("ephemeralMessage", Kind::Text),
        one("insertTime", Kind::Text),
        one("method", Kind::Text),
        one("target", Kind::Text),
        one("user", Kind::Text),
        list("warning", Kind::Text),
    ],
};
static CREATE_VERSION_METADATA_V1: Message = Message { name: "CreateVersionMetadataV1", fields: &[one("cloudBuildId", Kind::Text)] };
pub(crate) static REPAIR_APPLICATION_REQUEST: Message = Message { name: "RepairApplicationRequest", fields: &[] };
pub(crate) static DEBUG_INSTANCE_REQUEST: Message = Message { name: "DebugInstanceRequest", fields: &[one("sshKey", Kind::Text)] };
pub(crate) static EXPORT_APP_IMAGE_REQUEST: Message =
    Message { name: "ExportAppImageRequest", fields: &[one("destinationRepository", Kind::Text)] };
pub(crate) static LIST_RUNTIMES_RESPONSE: Message =
    Message { name: "ListRuntimesResponse", fields: &[one("nextPageToken", Kind::Text), list("runtimes", Kind::Message(&RUNTIME))] };
static RUNTIME: Message = Message {
    name: "Runtime",
    fields: &[
        one("decommissionedDate", Kind::Message(&DATE)),
        one("deprecationDate", Kind::Message(&DATE)),
        one("displayName", Kind::Text),
        one("endOfSupportDate", Kind::Message(&DATE)),
        one("environment", Kind::Enum(&ENVIRONMENT)),
        one("name", Kind::Text),
        one("stage", Kind::Enum(&STAGE)),
        list("supportedOperatingSystems", Kind::Text),
        list("warnings", Kind::Text),
    ],
};
static DATE: Message = Message { name: "Date", fields: &[one("day", Kind::Int32), one("month", Kind::Int32), one("year", Kind::Int32)] };
pub(crate) static LIST_SERVICES_RESPONSE: Message =
    Message { name: "ListServicesResponse", fields: &[one("nextPageToken", Kind::Text), list("services", Kind::Message(&SERVICE))] };
pub(crate) static LIST_VERSIONS_RESPONSE: Message =
    Message { name: "ListVersionsResponse", fields: &[one("nextPageToken", Kind::Text), list("versions", Kind::Message(&VERSION))] };
pub(crate) static LIST_INSTANCES_RESPONSE: Message =
    Message { name: "ListInstancesResponse", fields: &[list("instances", Kind::Message(&INSTANCE)), one("nextPageToken", Kind::Text)] };
pub(crate) static LIST_OPERATIONS_RESPONSE: Message = Message {
    name: "ListOperationsResponse",
    fields: &[one("nextPageToken", Kind::Text), list("operations", Kind::Message(&OPERATION)), list("unreachable", Kind::Text)],
};
pub(crate) static LIST_LOCATIONS_RESPONSE: Message =
    Message { name: "ListLocationsResponse", fields: &[list("locations", Kind::Message(&LOCATION)), one("nextPageToken", Kind::Text)] };
pub(crate) static LIST_INGRESS_RULES_RESPONSE: Message = Message {
    name: "ListIngressRulesResponse",
    fields: &[list("ingressRules", Kind::Message(&FIREWALL_RULE)), one("nextPageToken", Kind::Text)],
};
pub(crate) static LIST_DOMAIN_MAPPINGS_RESPONSE: Message = Message {
    name: "ListDomainMappingsResponse",
    fields: &[list("domainMappings", Kind::Message(&DOMAIN_MAPPING)), one("nextPageToken", Kind::Text)],
};
pub(crate) static LIST_AUTHORIZED_CERTIFICATES_RESPONSE: Message = Message {
    name: "ListAuthorizedCertificatesResponse",
    fields: &[list("certificates", Kind::Message(&AUTHORIZED_CERTIFICATE)), one("nextPageToken", Kind::Text)],
};
pub(crate) static LIST_AUTHORIZED_DOMAINS_RESPONSE: Message = Message {
    name: "ListAuthorizedDomainsResponse",
    fields: &[list("domains", Kind::Message(&AUTHORIZED_DOMAIN)), one("nextPageToken", Kind::Text)],
};

static ACTION: Enum = Enum(&[("UNSPECIFIED_ACTION", 0), ("ALLOW", 1), ("DENY", 2)]);
static APP_ENGINE_BUNDLED_SERVICES: Enum = Enum(&[
    ("BUNDLED_SERVICE_TYPE_UNSPECIFIED", 0),
    ("BUNDLED_SERVICE_TYPE_APP_IDENTITY_SERVICE", 1),
    ("BUNDLED_SERVICE_TYPE_BLOBSTORE", 2),
    ("BUNDLED_SERVICE_TYPE_CAPABILITY_SERVICE", 3),
    ("BUNDLED_SERVICE_TYPE_DATASTORE_V3", 4),
    ("BUNDLED_SERVICE_TYPE_DEFERRED", 5),
    ("BUNDLED_SERVICE_TYPE_IMAGES", 6),
    ("BUNDLED_SERVICE_TYPE_MAIL", 7),
    ("BUNDLED_SERVICE_TYPE_MEMCACHE", 8),
    ("BUNDLED_SERVICE_TYPE_MODULES", 9),
    ("BUNDLED_SERVICE_TYPE_NAMESPACES", 10),
    ("BUNDLED_SERVICE_TYPE_NDB", 11),
    ("BUNDLED_SERVICE_TYPE_SEARCH", 12),
    ("BUNDLED_SERVICE_TYPE_TASKQUEUES", 13),
    ("BUNDLED_SERVICE_TYPE_URLFETCH", 14),
    ("BUNDLED_SERVICE_TYPE_USERS", 15),
]);
static AUTH_FAIL_ACTION: Enum =
    Enum(&[("AUTH_FAIL_ACTION_UNSPECIFIED", 0), ("AUTH_FAIL_ACTION_REDIRECT", 1), ("AUTH_FAIL_ACTION_UNAUTHORIZED", 2)]);
static AVAILABILITY: Enum = Enum(&[("UNSPECIFIED", 0), ("RESIDENT", 1), ("DYNAMIC", 2)]);
static DATABASE_TYPE: Enum =
    Enum(&[("DATABASE_TYPE_UNSPECIFIED", 0), ("CLOUD_DATASTORE", 1), ("CLOUD_FIRESTORE", 2), ("CLOUD_DATASTORE_COMPATIBILITY", 3)]);
static EGRESS_SETTING: Enum = Enum(&[("EGRESS_SETTING_UNSPECIFIED", 0), ("ALL_TRAFFIC", 1), ("PRIVATE_IP_RANGES", 2)]);
static ENVIRONMENT: Enum = Enum(&[("ENVIRONMENT_UNSPECIFIED", 0), ("STANDARD", 1), ("FLEXIBLE", 2)]);
static ERROR_CODE: Enum = Enum(&[
    ("ERROR_CODE_UNSPECIFIED", 0),
    ("ERROR_CODE_DEFAULT", 0),
    ("ERROR_CODE_OVER_QUOTA", 1),
    ("ERROR_CODE_DOS_API_DENIAL", 2),
    ("ERROR_CODE_TIMEOUT", 3),
]);
static INBOUND_SERVICES: Enum = Enum(&[
    ("INBOUND_SERVICE_UNSPECIFIED", 0),
    ("INBOUND_SERVICE_MAIL", 1),
    ("INBOUND_SERVICE_MAIL_BOUNCE", 2),
    ("INBOUND_SERVICE_XMPP_ERROR", 3),
    ("INBOUND_SERVICE_XMPP_MESSAGE", 4),
    ("INBOUND_SERVICE_XMPP_SUBSCRIBE", 5),
    ("INBOUND_SERVICE_XMPP_PRESENCE", 6),
    ("INBOUND_SERVICE_CHANNEL_PRESENCE", 7),
    ("INBOUND_SERVICE_WARMUP", 9),
]);
static INGRESS_TRAFFIC_ALLOWED: Enum = Enum(&[
    ("INGRESS_TRAFFIC_ALLOWED_UNSPECIFIED", 0),
    ("INGRESS_TRAFFIC_ALLOWED_ALL", 1),
    ("INGRESS_TRAFFIC_ALLOWED_INTERNAL_ONLY", 2),
    ("INGRESS_TRAFFIC_ALLOWED_INTERNAL_AND_LB", 3),
]);
static INSTANCE_IP_MODE: Enum = Enum(&[("INSTANCE_IP_MODE_UNSPECIFIED", 0), ("EXTERNAL", 1), ("INTERNAL", 2)]);
static LOGIN: Enum = Enum(&[("LOGIN_UNSPECIFIED", 0), ("LOGIN_OPTIONAL", 1), ("LOGIN_ADMIN", 2), ("LOGIN_REQUIRED", 3)]);
static MANAGED_CERTIFICATE_STATUS: Enum = Enum(&[
    ("MANAGEMENT_STATUS_UNSPECIFIED", 0),
    ("OK", 1),
    ("PENDING", 2),
    ("FAILED_RETRYING_NOT_VISIBLE", 4),
    ("FAILED_PERMANENT", 6),
    ("FAILED_RETRYING_CAA_FORBIDDEN", 7),
    ("FAILED_RETRYING_CAA_CHECKING", 8),
]);
static REDIRECT_HTTP_RESPONSE_CODE: Enum = Enum(&[
    ("REDIRECT_HTTP_RESPONSE_CODE_UNSPECIFIED", 0),
    ("REDIRECT_HTTP_RESPONSE_CODE_301", 1),
    ("REDIRECT_HTTP_RESPONSE_CODE_302", 2),
    ("REDIRECT_HTTP_RESPONSE_CODE_303", 3),
    ("REDIRECT_HTTP_RESPONSE_CODE_307", 4),
]);
static ROLLOUT_STRATEGY: Enum = Enum(&[("UNSPECIFIED_ROLLOUT_STRATEGY", 0), ("FIXED", 1), ("MANAGED", 2)]);
static SECURITY_LEVEL: Enum =
    Enum(&[("SECURE_UNSPECIFIED", 0), ("SECURE_DEFAULT", 0), ("SECURE_NEVER", 1), ("SECURE_OPTIONAL", 2), ("SECURE_ALWAYS", 3)]);
static SERVING_STATUS: Enum = Enum(&[("UNSPECIFIED", 0), ("SERVING", 1), ("USER_DISABLED", 2), ("SYSTEM_DISABLED", 3)]);
static SHARD_BY: Enum = Enum(&[("UNSPECIFIED", 0), ("COOKIE", 1), ("IP", 2), ("RANDOM", 3)]);
static SSL_MANAGEMENT_TYPE: Enum = Enum(&[("SSL_MANAGEMENT_TYPE_UNSPECIFIED", 0), ("AUTOMATIC", 1), ("MANUAL", 2)]);
static SSL_POLICY: Enum = Enum(&[("SSL_POLICY_UNSPECIFIED", 0), ("DEFAULT", 1), ("MODERN", 2)]);
static STAGE: Enum = Enum(&[
    ("RUNTIME_STAGE_UNSPECIFIED", 0),
    ("DEVELOPMENT", 1),
    ("ALPHA", 2),
    ("BETA", 3),
    ("GA", 4),
    ("DEPRECATED", 5),
    ("DECOMMISSIONED", 6),
    ("END_OF_SUPPORT", 7),
]);
static TYPE: Enum = Enum(&[("RECORD_TYPE_UNSPECIFIED", 0), ("A", 1), ("AAAA", 2), ("CNAME", 3)]);
static VERSION_SERVING_STATUS: Enum = Enum(&[("SERVING_STATUS_UNSPECIFIED", 0), ("SERVING", 1), ("STOPPED", 2)]);
static VM_LIVENESS: Enum =
    Enum(&[("LIVENESS_STATE_UNSPECIFIED", 0), ("UNKNOWN", 1), ("HEALTHY", 2), ("UNHEALTHY", 3), ("DRAINING", 4), ("TIMEOUT", 5)]);
static VPC_EGRESS: Enum = Enum(&[("VPC_EGRESS_UNSPECIFIED", 0), ("ALL_TRAFFIC", 1), ("PRIVATE_IP_RANGES", 2)]);

/// Every message, for what an operation answers with.
pub(super) static ALL: &[&Message] = &[
    &APPLICATION,
    &URL_DISPATCH_RULE,
    &FEATURE_SETTINGS,
    &IDENTITY_AWARE_PROXY,
    &SERVICE,
    &NETWORK_SETTINGS,
    &TRAFFIC_SPLIT,
    &VERSION,
    &API_CONFIG_HANDLER,
    &AUTOMATIC_SCALING,
    &CPU_UTILIZATION,
    &DISK_UTILIZATION,
    &NETWORK_UTILIZATION,
    &REQUEST_UTILIZATION,
    &STANDARD_SCHEDULER_SETTINGS,
    &BASIC_SCALING,
    &DEPLOYMENT,
    &CLOUD_BUILD_OPTIONS,
    &CONTAINER_INFO,
    &FILE_INFO,
    &ZIP_INFO,
    &ENDPOINTS_API_SERVICE,
    &ENTRYPOINT,
    &ERROR_HANDLER,
    &FLEXIBLE_RUNTIME_SETTINGS,
    &URL_MAP,
    &API_ENDPOINT_HANDLER,
    &SCRIPT_HANDLER,
    &STATIC_FILES_HANDLER,
    &HEALTH_CHECK,
    &LIBRARY,
    &LIVENESS_CHECK,
    &MANUAL_SCALING,
    &NETWORK,
    &READINESS_CHECK,
    &RESOURCES,
    &VOLUME,
    &VPC_ACCESS,
    &VPC_NETWORK_INTERFACE,
    &VPC_ACCESS_CONNECTOR,
    &FIREWALL_RULE,
    &BATCH_UPDATE_INGRESS_RULES_REQUEST,
    &BATCH_UPDATE_INGRESS_RULES_RESPONSE,
    &DOMAIN_MAPPING,
    &RESOURCE_RECORD,
    &SSL_SETTINGS,
    &AUTHORIZED_CERTIFICATE,
    &CERTIFICATE_RAW_DATA,
    &MANAGED_CERTIFICATE,
    &AUTHORIZED_DOMAIN,
    &LOCATION,
    &LOCATION_METADATA,
    &INSTANCE,
    &OPERATION,
    &STATUS,
    &OPERATION_METADATA_V1,
    &CREATE_VERSION_METADATA_V1,
    &REPAIR_APPLICATION_REQUEST,
    &DEBUG_INSTANCE_REQUEST,
    &EXPORT_APP_IMAGE_REQUEST,
    &LIST_RUNTIMES_RESPONSE,
    &RUNTIME,
    &DATE,
    &LIST_SERVICES_RESPONSE,
    &LIST_VERSIONS_RESPONSE,
    &LIST_INSTANCES_RESPONSE,
    &LIST_OPERATIONS_RESPONSE,
    &LIST_LOCATIONS_RESPONSE,
    &LIST_INGRESS_RULES_RESPONSE,
    &LIST_DOMAIN_MAPPINGS_RESPONSE,
    &LIST_AUTHORIZED_CERTIFICATES_RESPONSE,
    &LIST_AUTHORIZED_DOMAINS_RESPONSE,
];
