//! `enginehouse explain`: what a URL meets on its way to the app, or the page about a diagnostic. The answer comes from `model::explain`; here it is
//! only laid out.

use std::fmt::Write as _;
use std::process::ExitCode;

use model::explain::{Explanation, Found, Line, Question, Target, explain as ask};
use model::gate::Verdict;
use model::handler::{AuthFail, HandlerKind, Login, Secure};

use crate::addresses::naming;
use crate::app::{Edition, Source, id};
use crate::check::tally;
use crate::cli::Explain;
use crate::ui::{BOLD, CYAN, DIM, GREEN, RED, Ui, YELLOW};
use crate::wishes::Wishes;

/// Runs the command.
pub(crate) fn explain(ui: &Ui, asked: &Explain) -> ExitCode {
    if let Some(code) = appyaml::code::find(&asked.what) {
        ui.data(&code.page());
        return ExitCode::SUCCESS;
    }
    if is_code(&asked.what) {
        ui.error(&format!("there is no diagnostic `{}`; docs/reference/diagnostics.md lists them all", asked.what));
        return ExitCode::FAILURE;
    }
    let Ok(method) = http::Method::from_bytes(asked.method.as_bytes()) else {
        ui.error(&format!("`{}` is not a method", asked.method));
        return ExitCode::from(2);
    };
    let source = Source {
        paths: asked.target.paths.clone(),
        options: appyaml::Options { project: asked.project.clone(), ..appyaml::Options::default() },
        wishes: Wishes::default(),
    };
    let loaded = source.read();
    if !loaded.is_ok() {
        ui.block(&appyaml::render::text(&loaded.diagnostics, &loaded.sources, true));
        ui.error(&format!("the app cannot be explained: {}", tally(&loaded.diagnostics)));
        return ExitCode::FAILURE;
    }
    let app = id(&loaded);
    let names = naming(([127, 0, 0, 1], 8080).into(), &asked.allow_host);
    let table = Edition::first(loaded).table(&app, &names);
    let question = Question { url: &asked.what, method: &method, user: None, enforce_secure: true };
    ui.data(&lay_out(&ask(&table, &question)));
    ExitCode::SUCCESS
}

/// Looks like `A0107`, so no path or host is meant.
fn is_code(text: &str) -> bool {
    text.len() == 5 && text.starts_with(['A', 'a']) && text[1..].bytes().all(|b| b.is_ascii_digit())
}

fn lay_out(answer: &Explanation) -> String {
    let mut out = String::new();
    row(&mut out, "host", &answer.authority);
    row(&mut out, "path", &answer.path);
    if let Some(aimed) = &answer.aim {
        let instance = aimed.instance.map(|number| format!(", instance {number}")).unwrap_or_default();
        row(&mut out, "service", &format!("{GREEN}{}{GREEN:#}{instance} {DIM}({}){DIM:#}", aimed.version, aimed.why));
    }
    if let Some(found) = &answer.handler {
        lay_out_handler(&mut out, found);
    }
    if let Some(verdict) = &answer.verdict {
        row(&mut out, "then", &judged(verdict));
    }
    if let Some(end) = &answer.end {
        row(&mut out, "answer", &format!("{RED}{end}{RED:#}"));
    }
    table(&mut out, "request headers", &answer.request);
    table(&mut out, "response headers", &answer.response);
    out
}

fn row(out: &mut String, name: &str, text: &str) {
    let _ = writeln!(out, "{BOLD}{name:<9}{BOLD:#} {text}");
}

fn lay_out_handler(out: &mut String, found: &Found) {
    let place = match found.origin.file.as_str() {
        "" => "implicit".to_owned(),
        file => format!("{file}:{}", found.origin.line),
    };
    row(out, "handler", &format!("{CYAN}{}{CYAN:#} {DIM}({place}, number {} of the list){DIM:#}", found.url, found.index + 1));
    let leads = match &found.target {
        Target::File { file: Some(file), mime_type } => {
            format!("file {file}{}", mime_type.as_ref().map(|kind| format!(" as {kind}")).unwrap_or_default())
        }
        Target::File { file: None, .. } => "404: no file that may be served".to_owned(),
        Target::Wsgi(object) => format!("WSGI object {object}"),
        Target::Cgi(script) => format!("CGI script {script}"),
        Target::Entrypoint => "the app's entry point".to_owned(),
        Target::Nothing => "an empty 200".to_owned(),
    };
    row(out, "leads to", &leads);
    let handler = &found.handler;
    let login = match (handler.login, handler.auth_fail) {
        (Login::Optional, _) => "optional: anyone may come in".to_owned(),
        (Login::Required, action) => format!("required: signed-in users; others {}", turned_away(action)),
        (Login::Admin, action) => format!("admin: administrators and the platform itself; others {}", turned_away(action)),
    };
    row(out, "login", &login);
    let secure = match handler.secure {
        Secure::Optional => "optional: http and https".to_owned(),
        Secure::Always => format!("always: where https is on, http is redirected to it with status {}", handler.redirect.status().as_u16()),
        Secure::Never => {
            format!("never: https is redirected to http with status {}, without the query", handler.redirect.status().as_u16())
        }
    };
    row(out, "secure", &secure);
    if let HandlerKind::Static(files) = &handler.kind {
        for (name, value) in &files.http_headers {
            row(out, "adds", &format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
        }
    }
}

fn turned_away(action: AuthFail) -> &'static str {
    match action {
        AuthFail::Redirect => "are sent to the sign-in page",
        AuthFail::Unauthorized => "get 401",
    }
}

/// What the gate says to somebody who is not signed in.
fn judged(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Pass => format!("{GREEN}served{GREEN:#}"),
        Verdict::Redirect { status, location } => format!("{YELLOW}{} to {location}{YELLOW:#}", status.as_u16()),
        Verdict::LogIn { location } => format!("{YELLOW}302 to {location}{YELLOW:#} {DIM}(nobody is signed in){DIM:#}"),
        Verdict::Unauthorized(text) => format!("{YELLOW}401: {text}{YELLOW:#} {DIM}(nobody is signed in){DIM:#}"),
    }
}

fn table(out: &mut String, title: &str, lines: &[Line]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{BOLD}{title}{BOLD:#}");
    for line in lines {
        let sign = if line.added { format!("{GREEN}+{GREEN:#}") } else { format!("{RED}-{RED:#}") };
        let _ = writeln!(out, "  {sign} {:<4} {} {DIM}({}){DIM:#}", line.row, line.what, line.doc);
    }
}
