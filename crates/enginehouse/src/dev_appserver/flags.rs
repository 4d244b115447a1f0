//! Reads the flags of `dev_appserver.py`, and says what `run` is started with instead. Pure. What becomes of each flag stands in [`super::table`].

use std::str::FromStr as _;

use model::journal::Severity;
use model::pattern::{Anchor, Pattern};
use model::runtime::Runtime;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use services::mail::relay::Relay;

use super::table::{Fate, Own, SWITCHES, VALUES};
use crate::wishes::{Each, Wishes};

/// What `run` is started with, and what people should know.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Taken {
    /// Flags and paths.
    pub(super) args: Vec<String>,
    /// What there is no flag for.
    pub(super) wishes: Wishes,
    /// What was asked for and is done otherwise.
    pub(super) notes: Vec<String>,
}

/// What the command's help says.
pub(super) const HELP: &str = "\
FLAGS
  done as they say
    -A --application, --host, --port, --admin_port, --api_port, --test_ssl_port, --addn_host, --enable_host_checking,
    --ssl_certificate_path and --ssl_certificate_key_path, --env_var, --runtime, --threadsafe_override, --max_module_instances,
    --custom_entrypoint, --jvm_flag, --python27_executable_path, --allow_skipped_files, --automatic_restart,
    --watcher_ignore_re, --log_level, --enable_task_running, --default_gcs_bucket_name, --show_mail_body,
    --smtp_host --smtp_port --smtp_user --smtp_password --smtp_allow_tls, --running_datastore_emulator_host,
    --appidentity_email_address with --appidentity_private_key_path
  done in our way
    --storage_path (the state is a folder in it), --datastore_path and --logs_path (state and log go beside them),
    --clear_datastore (clears all state), --enable_sendmail (mail goes to the mail server of this machine)
  taken with a note, or without a word where nothing is lost
    what concerns the datastore, blobs, searching, other ports and addresses of servers, gRPC, debuggers, consoles

WHAT TEST SUITES WAIT FOR, on stderr
    Starting API server at: http://127.0.0.1:PORT     calls of any app, without a ticket; /clear and /_ah/status
    Starting admin server at: http://127.0.0.1:PORT   GET /quit ends the server

EXAMPLES
    enginehouse dev-appserver --port=0 --api_port=0 --admin_port=0 app.yaml
    ln -s \"$(command -v enginehouse)\" dev_appserver.py    under this name the binary is this command
    APPENGINE_DEV_APPSERVER=$PWD/dev_appserver.py go test ./...";

/// Flags of `run` that may stand several times; of the others the last one counts, as argparse has it.
const REPEATED: [&str; 3] = ["--env-var", "--allow-host", "--python"];

/// Several flags that say one thing together.
#[derive(Debug, Default)]
struct Pieces {
    host: String,
    port: Option<u16>,
    user: String,
    password: String,
    plain: bool,
    sendmail: bool,
    email: Option<String>,
    key: Option<String>,
    jvm: Vec<String>,
}

/// Reads the arguments.
///
/// # Errors
/// A text for people, for a flag that is none, lacks its value, or has one that cannot be read.
pub(super) fn take(given: &[String]) -> Result<Taken, String> {
    let mut taken = Taken::default();
    let mut pieces = Pieces::default();
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
            taken.switch(&mut pieces, name, fate, on);
        } else {
            value = value.or_else(|| rest.next());
            let value = value.ok_or_else(|| format!("--{name} needs a value"))?;
            taken.value(&mut pieces, fate, name, value).map_err(|why| format!("--{name}: {why}"))?;
        }
    }
    if paths.is_empty() {
        return Err("name the app's folder or its yaml files, as in `enginehouse dev-appserver app.yaml`".into());
    }
    taken.put_together(&pieces)?;
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

/// The levels of Python's logging.
fn level(word: &str) -> Option<Severity> {
    Some(match word {
        "debug" => Severity::Debug,
        "info" => Severity::Info,
        "warning" => Severity::Warning,
        "error" => Severity::Error,
        "critical" => Severity::Critical,
        _ => return None,
    })
}

impl Taken {
    fn push(&mut self, flag: &str, value: &str) {
        if !REPEATED.contains(&flag) {
            self.args.retain(|arg| arg.split('=').next() != Some(flag));
        }
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

    fn value(&mut self, pieces: &mut Pieces, fate: Fate, name: &str, value: &str) -> Result<(), String> {
        match fate {
            Fate::Becomes(flag) => self.push(flag, value),
            Fate::Variable(variable) => self.push("--env-var", &format!("{variable}={value}")),
            Fate::Port(flag) => self.push(flag, &value.parse::<u16>().map_err(|_| format!("`{value}` is no port"))?.to_string()),
            Fate::Host(flag) => self.push(flag, if value == "localhost" { "127.0.0.1" } else { value }),
            Fate::Loopback(text) if !matches!(value, "localhost" | "127.0.0.1") => self.note(name, text),
            Fate::Note(text) => self.note(name, text),
            Fate::Own(own) => self.own(pieces, own, name, value)?,
            _ => {}
        }
        Ok(())
    }

    fn own(&mut self, pieces: &mut Pieces, own: Own, name: &str, value: &str) -> Result<(), String> {
        match own {
            Own::StoragePath => {
                // It may hold what dev_appserver.py has kept there, which is not ours to read or to clear.
                self.push("--storage", &format!("{}/enginehouse", value.trim_end_matches('/')));
            }
            // Where a test suite keeps this it cleans up afterwards; two suites at once have a folder each.
            Own::DatastorePath => self.unless_given("--storage", &format!("{value}.enginehouse")),
            Own::LogsPath => {
                let folder = format!("{value}.enginehouse");
                self.note(name, &format!("the log is a folder, {folder}/{}", store::log::FOLDER));
                self.wishes.log = Some(folder.into());
            }
            Own::Python27 => self.push("--python", &format!("python27={value}")),
            Own::Runtime => match Runtime::parse(value) {
                Some(runtime) => self.wishes.runtime = Some(runtime),
                None => self.note(name, &format!("there is no runtime `{value}`; those of the yaml files are used")),
            },
            Own::Threadsafe => self.wishes.threadsafe = Each::read(value, is_on)?,
            Own::Instances => {
                self.wishes.instances = Each::read(value, |number| number.parse().ok().filter(|number| *number > 0))?;
            }
            Own::Entrypoint => self.wishes.entrypoint = Some(value.replace("{port}", "$PORT")).filter(|command| !command.is_empty()),
            Own::JvmFlag => pieces.jvm.push(value.to_owned()),
            Own::IgnoreRe => {
                self.wishes.unwatched = Some(Pattern::new(value, Anchor::Start).map_err(|error| error.to_string())?);
            }
            Own::LogLevel => {
                self.wishes.level =
                    Some(level(value).ok_or_else(|| format!("`{value}` is none of debug, info, warning, error, critical"))?);
            }
            Own::Bucket => self.wishes.bucket = Some(value.to_owned()).filter(|name| !name.is_empty()),
            Own::Email => pieces.email = Some(value.to_owned()).filter(|email| !email.is_empty()),
            Own::PrivateKey => pieces.key = Some(value.to_owned()).filter(|key| !key.is_empty()),
            Own::SmtpHost => value.clone_into(&mut pieces.host),
            Own::SmtpPort => {
                pieces.port = Some(value.parse().ok().filter(|port| *port != 0).ok_or_else(|| format!("`{value}` is no port"))?);
            }
            Own::SmtpUser => value.clone_into(&mut pieces.user),
            Own::SmtpPassword => value.clone_into(&mut pieces.password),
            Own::SmtpAllowTls | Own::Sendmail | Own::SkippedFiles => {}
        }
        Ok(())
    }

    fn switch(&mut self, pieces: &mut Pieces, name: &str, fate: Fate, on: bool) {
        match fate {
            Fate::IfOn(flag) => self.set(flag, on),
            Fate::IfOff(flag) => self.set(flag, !on),
            Fate::NoteIfOn(text) if on => self.note(name, text),
            Fate::Own(Own::SmtpAllowTls) => pieces.plain = !on,
            Fate::Own(Own::Sendmail) => pieces.sendmail = on,
            Fate::Own(Own::SkippedFiles) => self.wishes.all_files = on,
            _ => {}
        }
    }

    fn set(&mut self, flag: &str, on: bool) {
        self.args.retain(|arg| arg != flag);
        if on {
            self.args.push(flag.to_owned());
        }
    }

    fn put_together(&mut self, pieces: &Pieces) -> Result<(), String> {
        if !pieces.jvm.is_empty() {
            self.push("--env-var", &format!("JAVA_TOOL_OPTIONS={}", pieces.jvm.join(" ")));
        }
        match (&pieces.email, &pieces.key) {
            (Some(email), Some(key)) => self.wishes.account = Some((email.clone(), key.into())),
            (Some(_), None) => {
                self.note("appidentity_email_address", "without --appidentity_private_key_path the app's own account is used");
            }
            (None, Some(_)) => self.note("appidentity_private_key_path", "without --appidentity_email_address the app's own key is used"),
            (None, None) => {}
        }
        if !pieces.host.is_empty() {
            let url = pieces.url();
            // Here, and not by `run`, whose message would show the password.
            Relay::from_str(&url).map_err(|_| format!("--smtp_host: `{}` is no host of a mail server", pieces.host))?;
            self.push("--smtp-url", &url);
        } else if pieces.sendmail {
            self.note("enable_sendmail", "mail is handed to the mail server of this machine, at port 25");
            self.push("--smtp-url", "smtp://localhost:25");
        }
        Ok(())
    }
}

impl Pieces {
    /// The mail server as `run` names it.
    fn url(&self) -> String {
        let quoted = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let scheme = if self.plain { "smtp+plain" } else { "smtp" };
        let login = match (self.user.as_str(), self.password.as_str()) {
            ("", _) => String::new(),
            (user, "") => format!("{}@", quoted(user)),
            (user, password) => format!("{}:{}@", quoted(user), quoted(password)),
        };
        let host = if self.host.contains(':') { format!("[{}]", self.host.trim_matches(['[', ']'])) } else { self.host.clone() };
        format!("{scheme}://{login}{host}:{}", self.port.unwrap_or(25))
    }
}

#[cfg(test)]
mod tests;
