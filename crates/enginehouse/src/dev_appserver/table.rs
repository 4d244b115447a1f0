//! The flags of `dev_appserver.py` (SDK 1.9.88, `cli_parser.py`), and what becomes of each.

/// What becomes of a flag's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// A flag of `run` of this name takes it.
    Becomes(&'static str),
    /// A variable in the app's environment.
    Variable(&'static str),
    /// A port: 0 is any free one.
    Port(&'static str),
    /// An address, or `localhost`.
    Host(&'static str),
    /// The loopback is what it is; of anything else it is said that this is not so.
    Loopback(&'static str),
    /// Its value changes nothing that anybody sees.
    Silent,
    /// Something is not as asked; here is how.
    Note(&'static str),
    /// A flag of `run`, if the switch is on.
    IfOn(&'static str),
    /// A flag of `run`, if the switch is off.
    IfOff(&'static str),
    /// A note if the switch is on.
    NoteIfOn(&'static str),
    /// What follows needs more than a word.
    Own(Own),
}

/// Flags that are read one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are the flags' names")]
pub(super) enum Own {
    StoragePath,
    DatastorePath,
    Python27,
    Runtime,
    Threadsafe,
    Instances,
    Entrypoint,
    JvmFlag,
    IgnoreRe,
    LogLevel,
    LogsPath,
    Bucket,
    Email,
    PrivateKey,
    SmtpHost,
    SmtpPort,
    SmtpUser,
    SmtpPassword,
    SmtpAllowTls,
    Sendmail,
    SkippedFiles,
}

use Fate::{Becomes, Host, IfOff, IfOn, Loopback, Note, NoteIfOn, Own as O, Port, Silent, Variable};

const NO_DATASTORE: &str = "there is no datastore yet";
const NO_SEARCH: &str = "there is no Search API yet";
const NO_BLOBS: &str = "there is no blobstore yet";
const EMULATOR: &str =
    "start an emulator yourself and name it with --running_datastore_emulator_host; bundled services have no datastore yet";
const NO_SCRIPT: &str = "no script runs before the app; import it in the app's own modules";
const NO_DEBUGGER: &str = "instances run without a debugger";
const DATABASES: &str = "apps connect to databases by themselves";

/// Flags that take a value.
pub(super) const VALUES: &[(&str, Fate)] = &[
    ("application", Becomes("--project")),
    // Test mode takes app ids with any prefix.
    ("application_prefix", Silent),
    ("host", Host("--host")),
    ("port", Port("--port")),
    ("test_ssl_port", Port("--tls-port")),
    ("specified_service_ports", Note("all services answer on one port, by their host names (http://api.localhost:8080)")),
    ("admin_host", Loopback("the admin server answers on the loopback only")),
    ("admin_port", Port("--admin-port")),
    // Of modules outside, which the SDK never finished.
    ("external_port", Silent),
    ("auth_domain", Note("the sign-in page always uses the domain gmail.com")),
    ("storage_path", O(Own::StoragePath)),
    ("log_level", O(Own::LogLevel)),
    ("max_module_instances", O(Own::Instances)),
    ("threadsafe_override", O(Own::Threadsafe)),
    ("addn_host", Becomes("--allow-host")),
    // Where api_server.py finds a Java app; here the app is at hand.
    ("java_app_base_url", Silent),
    ("ssl_certificate_path", Becomes("--tls-cert")),
    ("ssl_certificate_key_path", Becomes("--tls-key")),
    ("php_executable_path", Note("PHP is the `php` of the PATH; put the other one first there")),
    // Its functions are the bundled services', which PHP reaches over HTTP.
    ("php_gae_extension_path", Silent),
    ("php_xdebug_extension_path", Note(NO_DEBUGGER)),
    ("appidentity_email_address", O(Own::Email)),
    ("appidentity_private_key_path", O(Own::PrivateKey)),
    ("appidentity_oauth_url", Note("access tokens are made here and count at this server's Admin API")),
    ("python_startup_script", Note(NO_SCRIPT)),
    ("python_startup_args", Note(NO_SCRIPT)),
    ("python27_executable_path", O(Own::Python27)),
    ("jvm_flag", O(Own::JvmFlag)),
    // What is compiled is kept in the cache, by what it was compiled from.
    ("go_work_dir", Silent),
    ("custom_entrypoint", O(Own::Entrypoint)),
    ("runtime", O(Own::Runtime)),
    ("blobstore_path", Note(NO_BLOBS)),
    ("mysql_host", Note(DATABASES)),
    ("mysql_port", Note(DATABASES)),
    ("mysql_user", Note(DATABASES)),
    ("mysql_password", Note(DATABASES)),
    ("mysql_socket", Note("apps connect to databases by themselves; --share lets them see a socket")),
    ("datastore_path", O(Own::DatastorePath)),
    ("datastore_consistency_policy", Note(NO_DATASTORE)),
    ("auto_id_policy", Note(NO_DATASTORE)),
    ("running_datastore_emulator_host", Variable("DATASTORE_EMULATOR_HOST")),
    ("datastore_emulator_port", Note(EMULATOR)),
    ("datastore_emulator_cmd", Note(EMULATOR)),
    ("logs_path", O(Own::LogsPath)),
    ("smtp_host", O(Own::SmtpHost)),
    ("smtp_port", O(Own::SmtpPort)),
    ("smtp_user", O(Own::SmtpUser)),
    ("smtp_password", O(Own::SmtpPassword)),
    ("search_indexes_path", Note(NO_SEARCH)),
    ("watcher_ignore_re", O(Own::IgnoreRe)),
    ("api_host", Loopback("the API server answers on the loopback only")),
    ("api_port", Port("--api-port")),
    ("grpc_api_port", Note("the API server speaks HTTP; no SDK needs gRPC")),
    // About dev_appserver.py itself; `ENGINEHOUSE_LOG` is ours.
    ("dev_appserver_log_level", Silent),
    ("default_gcs_bucket_name", O(Own::Bucket)),
    ("env_var", Becomes("--env-var")),
    // Nobody is told anything.
    ("google_analytics_client_id", Silent),
    ("google_analytics_user_agent", Silent),
];

/// Flags that are on or off.
pub(super) const SWITCHES: &[(&str, Fate)] = &[
    ("use_mtime_file_watcher", NoteIfOn("changes are told by the system; those that another machine makes are not noticed")),
    // Of the flexible environment's predecessor.
    ("enable_mvm_logs", Silent),
    ("enable_host_checking", IfOff("--allow-host=*")),
    ("enable_console", NoteIfOn("there is no console that executes code")),
    ("php_remote_debugging", NoteIfOn(NO_DEBUGGER)),
    // Packages outside the app are fetched anew when go.sum changes.
    ("enable_watching_go_path", Silent),
    ("go_debugging", NoteIfOn(NO_DEBUGGER)),
    ("blobstore_warn_on_files_api_use", Silent),
    ("blobstore_enable_files_api", NoteIfOn("App Engine has shut down the Files API")),
    ("clear_datastore", IfOn("--clear")),
    ("require_indexes", NoteIfOn(NO_DATASTORE)),
    ("support_datastore_emulator", NoteIfOn(EMULATOR)),
    ("datastore_emulator_is_test_mode", Silent),
    ("show_mail_body", IfOn("--log-mail")),
    ("enable_sendmail", O(Own::Sendmail)),
    ("smtp_allow_tls", O(Own::SmtpAllowTls)),
    // There are none to clear.
    ("clear_search_indexes", Silent),
    ("enable_task_running", IfOff("--no-tasks")),
    ("allow_skipped_files", O(Own::SkippedFiles)),
    ("api_server_supports_grpc", NoteIfOn("the API server speaks HTTP; no SDK needs gRPC")),
    ("automatic_restart", IfOff("--no-reload")),
    // Nothing is checked.
    ("skip_sdk_update_check", Silent),
    ("check_java_for_cloud_datastore_emulator", Silent),
];
