//! The flags of `dev_appserver.py` (SDK 1.9.88), and what becomes of each. Pure.

/// What `run` is started with, and what people should know.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Flags and paths.
    pub(super) args: Vec<String>,
    /// What was asked for and is done otherwise.
    pub(super) notes: Vec<String>,
}

/// What the command's help says.
pub(super) const HELP: &str = "\
FLAGS
  done as they say
    -A --application, --host, --port, --admin_port, --api_port, --storage_path, --addn_host, --env_var,
    --max_module_instances NUMBER, --automatic_restart, --enable_host_checking, --python27_executable_path,
    --ssl_certificate_path and --ssl_certificate_key_path, --datastore_path (the state goes beside it)
  taken with a note, or without a word where nothing is lost
    what concerns the datastore, blobs, searching, logs on the console, update checks, watching files
  refused, because tests would mean something else
    --runtime, --custom_entrypoint, --threadsafe_override, --python_startup_script, --jvm_flag,
    --php_executable_path, --specified_service_ports, gRPC, debuggers

WHAT TEST SUITES WAIT FOR, on stderr
    Starting API server at: http://127.0.0.1:PORT     calls of any app, without a ticket; /clear and /_ah/status
    Starting admin server at: http://127.0.0.1:PORT   GET /quit ends the server

EXAMPLES
    enginehouse dev-appserver --port=0 --api_port=0 --admin_port=0 app.yaml
    ln -s \"$(command -v enginehouse)\" dev_appserver.py    under this name the binary is this command
    APPENGINE_DEV_APPSERVER=$PWD/dev_appserver.py go test ./...";

/// What becomes of a flag's value.
#[derive(Clone, Copy)]
enum Fate {
    /// A flag of `run` of this name takes it.
    Becomes(&'static str),
    /// A port: 0 is any free one.
    Port(&'static str),
    /// An address, or `localhost`.
    Host(&'static str),
    /// The loopback is what it is.
    Loopback(&'static str),
    /// Its value changes nothing that anybody sees.
    Silent,
    /// Something is not as asked; here is how.
    Note(&'static str),
    /// Tests would mean something else.
    Refused(&'static str),
    /// The same for a switch that is on; off it is harmless.
    RefusedIfOn(&'static str),
    /// A note if the switch is on.
    NoteIfOn(&'static str),
    /// `automatic_restart`
    Restart,
    /// `enable_host_checking`
    HostCheck,
    /// `max_module_instances`
    Instances,
    /// `datastore_path`
    Datastore,
    /// `python27_executable_path`
    Python,
}

use Fate::{Becomes, Datastore, Host, HostCheck, Instances, Loopback, Note, NoteIfOn, Port, Python, Refused, RefusedIfOn, Restart, Silent};

const NO_DATASTORE: &str = "there is no datastore yet";
const NO_SEARCH: &str = "there is no Search API yet";
const NO_BLOBS: &str = "there is no blobstore yet";

/// Flags that take a value.
const VALUES: &[(&str, Fate)] = &[
    ("application", Becomes("--project")),
    ("application_prefix", Silent),
    ("host", Host("--host")),
    ("port", Port("--port")),
    ("test_ssl_port", Silent),
    ("specified_service_ports", Refused("all services answer on one port, by their host names (http://api.localhost:8080)")),
    ("admin_host", Loopback("the admin server answers on the loopback only")),
    ("admin_port", Port("--admin-port")),
    ("external_port", Silent),
    ("auth_domain", Note("the sign-in page always uses the domain gmail.com")),
    ("storage_path", Becomes("--storage")),
    ("log_level", Note("the whole log is shown; `enginehouse logs --level` reads a part of it")),
    ("max_module_instances", Instances),
    ("threadsafe_override", Refused("set `threadsafe` in app.yaml")),
    ("addn_host", Becomes("--allow-host")),
    ("java_app_base_url", Silent),
    ("ssl_certificate_path", Becomes("--tls-cert")),
    ("ssl_certificate_key_path", Becomes("--tls-key")),
    ("php_executable_path", Refused("PHP is the `php` of the PATH")),
    ("php_gae_extension_path", Silent),
    ("php_xdebug_extension_path", Refused("PHP runs without a debugger")),
    ("appidentity_email_address", Note("the app's own service account is used")),
    ("appidentity_private_key_path", Note("the app's own key is used")),
    ("appidentity_oauth_url", Silent),
    ("python_startup_script", Refused("no script runs before the app; import it in the app's own modules")),
    ("python_startup_args", Refused("no script runs before the app; import it in the app's own modules")),
    ("python27_executable_path", Python),
    ("jvm_flag", Refused("write the flags into `entrypoint` in app.yaml")),
    ("go_work_dir", Silent),
    ("custom_entrypoint", Refused("write it as `entrypoint` in app.yaml")),
    ("runtime", Refused("write it as `runtime` in app.yaml")),
    ("blobstore_path", Note(NO_BLOBS)),
    ("mysql_host", Note("apps connect to databases by themselves")),
    ("mysql_port", Silent),
    ("mysql_user", Silent),
    ("mysql_password", Silent),
    ("mysql_socket", Note("apps connect to databases by themselves; --share lets them see a socket")),
    ("datastore_path", Datastore),
    ("datastore_consistency_policy", Note(NO_DATASTORE)),
    ("auto_id_policy", Note(NO_DATASTORE)),
    ("running_datastore_emulator_host", Note("apps find an emulator by DATASTORE_EMULATOR_HOST; set it with --env_var")),
    ("datastore_emulator_port", Silent),
    ("datastore_emulator_cmd", Silent),
    ("logs_path", Note("the log is kept with the rest of the state")),
    ("smtp_host", Note("mail is not sent in test mode")),
    ("smtp_port", Silent),
    ("smtp_user", Silent),
    ("smtp_password", Silent),
    ("search_indexes_path", Note(NO_SEARCH)),
    ("watcher_ignore_re", Note("every file of the app is watched; --automatic_restart=no watches none")),
    ("api_host", Loopback("the API server answers on the loopback only")),
    ("api_port", Port("--api-port")),
    ("grpc_api_port", Silent),
    ("dev_appserver_log_level", Silent),
    ("default_gcs_bucket_name", Note("the default bucket is PROJECT.appspot.com")),
    ("env_var", Becomes("--env-var")),
    ("google_analytics_client_id", Silent),
    ("google_analytics_user_agent", Silent),
];

/// Flags that are on or off.
const SWITCHES: &[(&str, Fate)] = &[
    ("use_mtime_file_watcher", Silent),
    ("enable_mvm_logs", Silent),
    ("enable_host_checking", HostCheck),
    ("enable_console", NoteIfOn("there is no console that executes code")),
    ("php_remote_debugging", RefusedIfOn("PHP runs without a debugger")),
    ("enable_watching_go_path", Silent),
    ("go_debugging", RefusedIfOn("Go runs without a debugger")),
    ("blobstore_warn_on_files_api_use", Silent),
    ("blobstore_enable_files_api", NoteIfOn("App Engine has shut down the Files API")),
    ("clear_datastore", Silent),
    ("require_indexes", NoteIfOn(NO_DATASTORE)),
    ("support_datastore_emulator", NoteIfOn("apps find an emulator by DATASTORE_EMULATOR_HOST; set it with --env_var")),
    ("datastore_emulator_is_test_mode", Silent),
    ("show_mail_body", NoteIfOn("`enginehouse mail show` shows mail")),
    ("enable_sendmail", NoteIfOn("mail is not sent in test mode")),
    ("smtp_allow_tls", Silent),
    ("clear_search_indexes", Silent),
    ("enable_task_running", Silent),
    ("allow_skipped_files", NoteIfOn("files that app.yaml skips are not deployed, here neither")),
    ("api_server_supports_grpc", RefusedIfOn("the API server speaks HTTP; no SDK needs gRPC")),
    ("automatic_restart", Restart),
    ("skip_sdk_update_check", Silent),
    ("check_java_for_cloud_datastore_emulator", Silent),
];

/// Reads the arguments.
///
/// # Errors
/// A text for people, for a flag that is none, lacks its value, or would mean something else.
pub(super) fn take(given: &[String]) -> Result<Taken, String> {
    let mut taken = Taken::default();
    let mut paths = Vec::new();
    let mut rest = given.iter().map(String::as_str).peekable();
    while let Some(word) = rest.next() {
        if word == "--" {
            paths.extend(rest.by_ref());
            break;
        }
        let (name, mut value) = match word.strip_prefix("--") {
            Some(long) => long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value))),
            None if word == "-A" => ("application", None),
            None if word.starts_with("-A") => ("application", Some(&word[2..])),
            None => {
                paths.push(word);
                continue;
            }
        };
        let (name, fate, switch) = find(name)?;
        if switch {
            // As argparse has it, a switch may have its word behind a space; only what is clearly one is taken for it.
            let behind = rest.next_if(|next| value.is_none() && is_on(next).is_some());
            let on = match value.or(behind) {
                None => true,
                Some(word) => is_on(word).ok_or_else(|| format!("--{name} is yes or no, not `{word}`"))?,
            };
            taken.switch(name, fate, on)?;
        } else {
            value = value.or_else(|| rest.next());
            taken.value(name, fate, value.ok_or_else(|| format!("--{name} needs a value"))?)?;
        }
    }
    if paths.is_empty() {
        return Err("name the app's folder or its yaml files, as in `enginehouse dev-appserver app.yaml`".into());
    }
    taken.unless_given("--port", "8080");
    taken.unless_given("--api-port", "0");
    taken.args.push("--".into());
    taken.args.extend(paths.into_iter().map(str::to_owned));
    Ok(taken)
}

/// The flag of this name, or the only one that begins so, as argparse takes it.
fn find(name: &str) -> Result<(&'static str, Fate, bool), String> {
    let all = || VALUES.iter().map(|&(name, fate)| (name, fate, false)).chain(SWITCHES.iter().map(|&(name, fate)| (name, fate, true)));
    if let Some(found) = all().find(|(known, ..)| *known == name) {
        return Ok(found);
    }
    let alike: Vec<_> = all().filter(|(known, ..)| !name.is_empty() && known.starts_with(name)).collect();
    match alike.as_slice() {
        [one] => Ok(*one),
        [] => Err(format!("--{name} is no flag of dev_appserver.py; see `enginehouse dev-appserver --help`")),
        several => {
            let names: Vec<_> = several.iter().map(|(known, ..)| format!("--{known}")).collect();
            Err(format!("--{name} may mean {}", names.join(" ")))
        }
    }
}

/// The words of the SDK's `boolean_action.py`.
fn is_on(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" => Some(true),
        "0" | "false" | "no" => Some(false),
        _ => None,
    }
}

impl Taken {
    fn push(&mut self, flag: &str, value: &str) {
        self.args.push(format!("{flag}={value}"));
    }

    fn note(&mut self, name: &str, text: &str) {
        self.notes.push(format!("--{name}: {text}"));
    }

    fn unless_given(&mut self, flag: &str, value: &str) {
        if !self.args.iter().any(|arg| arg.split('=').next() == Some(flag)) {
            self.push(flag, value);
        }
    }

    fn value(&mut self, name: &str, fate: Fate, value: &str) -> Result<(), String> {
        match fate {
            Becomes(flag) => self.push(flag, value),
            Port(flag) => match value.parse::<u16>() {
                Ok(port) => self.push(flag, &port.to_string()),
                Err(_) => return Err(format!("--{name}: `{value}` is no port")),
            },
            Host(flag) => self.push(flag, if value == "localhost" { "127.0.0.1" } else { value }),
            Loopback(text) if !matches!(value, "localhost" | "127.0.0.1") => return Err(format!("--{name}={value}: {text}")),
            Note(text) => self.note(name, text),
            Refused(text) => return Err(format!("--{name} is not possible here: {text}")),
            Instances if value.parse::<u32>().is_ok() => {
                self.push("--max-instances", value);
                self.note(name, "this many instances of all services together");
            }
            Instances => return Err(format!("--{name}={value}: set `max_instances` of a service in its yaml file")),
            // Where a test suite keeps this it cleans up afterwards; two suites at once have a folder each.
            Datastore => self.unless_given("--storage", &format!("{value}.enginehouse")),
            Python => self.push("--python", &format!("python27={value}")),
            _ => {}
        }
        if name == "storage_path" {
            self.args.retain(|arg| !arg.starts_with("--storage="));
            self.push("--storage", value);
        }
        Ok(())
    }

    fn switch(&mut self, name: &str, fate: Fate, on: bool) -> Result<(), String> {
        match fate {
            Restart if !on => self.args.push("--no-reload".into()),
            HostCheck if !on => self.push("--allow-host", "*"),
            NoteIfOn(text) if on => self.note(name, text),
            RefusedIfOn(text) if on => return Err(format!("--{name} is not possible here: {text}")),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(line: &str) -> Result<Taken, String> {
        take(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[track_caller]
    fn args(line: &str) -> String {
        taken(line).expect("taken").args.join(" ")
    }

    #[test]
    fn what_aetest_says() {
        let line = "--port=0 --api_port=0 --admin_port=0 --automatic_restart=false --skip_sdk_update_check=true --clear_datastore=true \
                    --clear_search_indexes=true --datastore_path /tmp/x/datastore /tmp/x/app";
        let wanted = "--port=0 --api-port=0 --admin-port=0 --no-reload --storage=/tmp/x/datastore.enginehouse -- /tmp/x/app";
        assert_eq!(taken(line), Ok(Taken { args: wanted.split(' ').map(str::to_owned).collect(), notes: Vec::new() }));
    }

    #[test]
    fn words_are_read_as_argparse_reads_them() {
        assert_eq!(args("-A shop app.yaml"), "--project=shop --port=8080 --api-port=0 -- app.yaml");
        assert_eq!(args("-Ashop --port 1 --automatic=no a b"), "--project=shop --port=1 --no-reload --api-port=0 -- a b");
        assert_eq!(args("--clear_datastore yes a"), "--port=8080 --api-port=0 -- a");
        assert_eq!(args("--clear_datastore a"), "--port=8080 --api-port=0 -- a", "a path is no yes or no");
        assert_eq!(args("--env_var A=b=c -- --odd"), "--env-var=A=b=c --port=8080 --api-port=0 -- --odd");
        assert_eq!(
            args("--storage_path s --datastore_path d a").split(' ').filter(|arg| arg.starts_with("--storage")).count(),
            1,
            "one storage"
        );
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_reason() {
        for (line, reason) in [
            ("--runtime=python27 a", "app.yaml"),
            ("--jvm_flag -Xmx1g a", "entrypoint"),
            ("--api_host=0.0.0.0 a", "loopback"),
            ("--api_server_supports_grpc a", "gRPC"),
            ("--nothing a", "is no flag"),
            ("--clear a", "--clear_datastore --clear_search_indexes"),
            ("--port=x a", "no port"),
            ("--automatic_restart=maybe a", "yes or no"),
            ("--port", "needs a value"),
            ("--port=1", "name the app's folder"),
            ("--max_module_instances=default:2 a", "max_instances"),
        ] {
            let text = taken(line).expect_err(line);
            assert!(text.contains(reason), "{line}: {text}");
        }
        assert_eq!(taken("--require_indexes a").expect("taken").notes, ["--require_indexes: there is no datastore yet"]);
    }

    #[test]
    fn every_flag_stands_once() {
        let mut names: Vec<_> = VALUES.iter().chain(SWITCHES).map(|(name, _)| *name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
