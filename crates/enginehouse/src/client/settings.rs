//! Which server a command speaks to, as whom, about which app: flags, then variables, then what is remembered, then the server of this machine.
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use http::Uri;

use super::config::{self, Remembered};
use super::{App, Client, Failure, Outcome};
use crate::ui::Ui;

/// Where `enginehouse serve` listens for administration unless it is told otherwise.
pub(crate) const DEFAULT_SERVER: &str = "http://127.0.0.1:8085";
const DEFAULT_PORT: u16 = 8085;
/// The file in the server's folder with the token of its owner.
const OWNER_TOKEN: &str = "owner-token";

/// The flags of every command that speaks to a server.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct Remote {
    /// The address of the Admin API [default: ENGINEHOUSE_SERVER, or what `enginehouse config` remembers, or http://127.0.0.1:8085]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// What the server knows you by; better in a file or in ENGINEHOUSE_TOKEN, because others can see a command's arguments
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    pub(crate) token: Option<String>,
    /// The file with the token [default: ENGINEHOUSE_TOKEN_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The folder of a server on this machine, whose owner's token is taken if it can be read
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Trust the certificates in this PEM file instead of the system's [default: ENGINEHOUSE_CA]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The app's project id [default: ENGINEHOUSE_PROJECT, or what is remembered, or the only app of the server]
    #[arg(long, short = 'A', value_name = "ID")]
    pub(crate) project: Option<String>,
}

/// What follows from flags, variables and what is remembered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// `http://HOST:PORT`
    pub(crate) server: String,
    /// The token, if there is one.
    pub(crate) token: Option<String>,
    /// The certificates to trust.
    pub(crate) ca: Option<PathBuf>,
    /// The app that was asked for by flag or variable.
    pub(crate) asked_project: Option<String>,
    /// The app that is remembered.
    pub(crate) usual_project: Option<String>,
}

/// Variables of the environment, or of a test.
type Variables<'v> = &'v dyn Fn(&str) -> Option<String>;

impl Remote {
    /// Looks at everything.
    pub(crate) fn settings(&self) -> Outcome<Settings> {
        self.settle(&config::read()?, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn settle(&self, remembered: &Remembered, variables: Variables<'_>) -> Outcome<Settings> {
        let asked = self.server.clone().or_else(|| variables("ENGINEHOUSE_SERVER"));
        let chosen = asked.or_else(|| remembered.server.clone()).unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        let server = server(&chosen)?;
        // Another server must not see the token of the remembered one.
        let remembered_token = remembered.token.clone().filter(|_| remembered.server.as_deref().unwrap_or(DEFAULT_SERVER) == server);
        let token = match (&self.token, self.token_file.clone().or_else(|| variables("ENGINEHOUSE_TOKEN_FILE").map(PathBuf::from))) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(file)) if self.token_file.is_some() => Some(token_in(&file)?),
            (None, file) => match (variables("ENGINEHOUSE_TOKEN"), file) {
                (Some(token), _) => Some(token),
                (None, Some(file)) => Some(token_in(&file)?),
                (None, None) => self.owner_token(&server, variables)?.or(remembered_token),
            },
        };
        Ok(Settings {
            server,
            token,
            ca: self.ca.clone().or_else(|| variables("ENGINEHOUSE_CA").map(PathBuf::from)).or_else(|| remembered.ca.clone()),
            asked_project: self.project.clone().or_else(|| variables("ENGINEHOUSE_PROJECT")),
            usual_project: remembered.project.clone(),
        })
    }

    /// The owner's token from the folder of a server on this machine.
    fn owner_token(&self, server: &str, variables: Variables<'_>) -> Outcome<Option<String>> {
        if let Some(folder) = &self.data {
            return token_in(&folder.join(OWNER_TOKEN)).map(Some);
        }
        if !is_here(server) {
            return Ok(None);
        }
        // Only the usual server has the usual folder; another one's is named.
        let usual = || crate::serve::folder(None).ok().filter(|_| is_usual(server));
        let folder = variables("ENGINEHOUSE_DATA").map(PathBuf::from).or_else(usual);
        Ok(folder.and_then(|folder| token_in(&folder.join(OWNER_TOKEN)).ok()))
    }
}

/// Checks an address and brings it to one form: `http://HOST:PORT` or `https://HOST`, perhaps with a path.
pub(crate) fn server(written: &str) -> Outcome<String> {
    let wrong = |why: &str| Failure::Usage(format!("`{written}` is no address of an Admin API: {why}"));
    let uri: Uri = written.parse().map_err(|_| wrong("write http://HOST:PORT or https://HOST"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("it begins with http:// or https://"));
    }
    if uri.query().is_some() || uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
        return Err(wrong("write http://HOST:PORT or https://HOST; tokens go into --token-file"));
    }
    Ok(written.trim_end_matches('/').to_owned())
}

/// Whether a server is on this machine.
fn is_here(server: &str) -> bool {
    let host = server.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether it is where `enginehouse serve` listens unless it is told otherwise.
fn is_usual(server: &str) -> bool {
    server.parse::<Uri>().is_ok_and(|uri| uri.port_u16() == Some(DEFAULT_PORT))
}

fn token_in(file: &Path) -> Outcome<String> {
    let text =
        fs::read_to_string(file).map_err(|error| Failure::Here(format!("the token in {} cannot be read: {error}", file.display())))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(Failure::Here(format!("there is no token in {}", file.display())));
    }
    Ok(token.to_owned())
}

/// A server, and an app on it.
pub(crate) struct Session {
    /// The screen.
    pub(crate) ui: Ui,
    /// The server.
    pub(crate) client: Client,
    /// The app.
    pub(crate) app: App,
}

/// Finds the server.
pub(crate) fn connect(ui: &Ui, remote: &Remote) -> Outcome<(Client, Settings)> {
    let settings = remote.settings()?;
    if settings.token.is_some() && settings.server.starts_with("http:") && !is_here(&settings.server) {
        ui.warning(&format!("{} does not speak https: whoever is between sees your token", settings.server));
    }
    Ok((Client::new(&settings)?, settings))
}

/// Finds the server and the app.
pub(crate) fn open(ui: &Ui, remote: &Remote) -> Outcome<Session> {
    let (client, settings) = connect(ui, remote)?;
    let id = match settings.asked_project.or(settings.usual_project) {
        Some(id) => id,
        None => only_app(&client)?,
    };
    Ok(Session { ui: ui.clone(), client, app: App { id } })
}

/// The app of a server that has one.
pub(crate) fn only_app(client: &Client) -> Outcome<String> {
    let nobody = |what: &str| Failure::Usage(format!("{what}; say which with --project ID or ENGINEHOUSE_PROJECT"));
    let apps = match client.list("/enginehouse/v1/apps", "apps", None) {
        Ok(apps) => apps,
        Err(failure) if failure.is_missing() => return Err(nobody("there may be several apps on the server")),
        Err(failure) => return Err(failure),
    };
    let ids: Vec<&str> = apps.iter().filter_map(|app| app["id"].as_str()).collect();
    match ids[..] {
        [only] => Ok(only.to_owned()),
        [] => Err(Failure::Usage(
            "the server has no app yet; `enginehouse deploy --project ID` or `enginehouse apps create ID` makes one".into(),
        )),
        _ => Err(nobody(&format!("the server has the apps {}", ids.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &str) -> Option<String> {
        None
    }

    fn remembered() -> Remembered {
        Remembered { server: Some("https://far.example.org".into()), token: Some("far-token".into()), ..Remembered::default() }
    }

    #[test]
    fn flags_come_before_variables_and_these_before_what_is_remembered() {
        let env = |name: &str| (name == "ENGINEHOUSE_SERVER").then(|| "http://env:1".to_owned());
        let flag = Remote { server: Some("http://flag:2/".into()), ..Remote::default() };
        assert_eq!(flag.settle(&remembered(), &env).expect("settled").server, "http://flag:2");
        assert_eq!(Remote::default().settle(&remembered(), &env).expect("settled").server, "http://env:1");
        assert_eq!(Remote::default().settle(&remembered(), &none).expect("settled").server, "https://far.example.org");
        assert_eq!(Remote::default().settle(&Remembered::default(), &none).expect("settled").server, DEFAULT_SERVER);
    }

    #[test]
    fn a_token_goes_to_its_own_server_only() {
        let here = Remote { server: Some("http://other:1".into()), ..Remote::default() };
        assert_eq!(here.settle(&remembered(), &none).expect("settled").token, None);
        assert_eq!(Remote::default().settle(&remembered(), &none).expect("settled").token.as_deref(), Some("far-token"));
    }

    #[test]
    fn the_owners_token_of_this_machine_is_taken() {
        let dir = tempfile::tempdir().expect("folder");
        fs::write(dir.path().join(OWNER_TOKEN), "secret\n").expect("written");
        let remote = Remote { data: Some(dir.path().to_owned()), ..Remote::default() };
        assert_eq!(remote.settle(&Remembered::default(), &none).expect("settled").token.as_deref(), Some("secret"));
        let folder = dir.path().display().to_string();
        let env = |name: &str| (name == "ENGINEHOUSE_DATA").then(|| folder.clone());
        assert_eq!(Remote::default().settle(&Remembered::default(), &env).expect("settled").token.as_deref(), Some("secret"));
        assert_eq!(Remote::default().settle(&remembered(), &env).expect("settled").token.as_deref(), Some("far-token"));
    }

    #[test]
    fn addresses_are_checked() {
        for bad in ["localhost:8085", "ftp://x", "http://user:secret@x", "http://x?y", ""] {
            assert!(server(bad).is_err(), "{bad}");
        }
        assert_eq!(server("https://x/base/").expect("good"), "https://x/base");
        assert!(is_here("http://[::1]:8085") && is_here("http://localhost") && !is_here("https://example.org"));
    }
}
