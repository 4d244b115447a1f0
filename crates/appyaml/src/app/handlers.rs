//! `handlers:` (rows Y11–Y20): each entry as written, and as the router needs it once the runtime is known.

use http::{HeaderName, HeaderValue};
use model::handler::{AuthFail, Handler, HandlerKind, Login, Origin, RedirectCode, Script, Secure, StaticFiles, StaticSource};
use model::pattern::{Anchor, Pattern, PatternError, Template};
use model::runtime::{Language, Runtime};
use model::time::Expiration;

use super::headers;
use crate::code;
use crate::diagnostic::{Diagnostic, Report};
use crate::fields::{Fields, Spanned, malformed, near};
use crate::source::{Sources, Span};
use crate::yaml::Node;

const KNOWN: [&str; 16] = [
    "url",
    "script",
    "static_dir",
    "static_files",
    "upload",
    "api_endpoint",
    "login",
    "auth_fail_action",
    "secure",
    "redirect_http_response_code",
    "position",
    "mime_type",
    "expiration",
    "http_headers",
    "require_matching_file",
    "application_readable",
];

const KINDS: [&str; 3] = ["static_files", "static_dir", "script"];

/// Keys that only static files have.
const STATIC_ONLY: [&str; 6] = ["upload", "mime_type", "expiration", "http_headers", "require_matching_file", "application_readable"];

/// Most handlers of a file; each compiles a pattern.
const MAX_HANDLERS: usize = 10_000;

/// A handler as written.
#[derive(Debug, Clone)]
pub(super) struct RawHandler {
    url: Spanned<String>,
    pattern: Pattern,
    kind: RawKind,
    secure: Secure,
    redirect: RedirectCode,
    login: Login,
    auth_fail: AuthFail,
    /// `position: tail`.
    pub(super) tail: bool,
    /// Where `position` is written.
    pub(super) position: Option<Span>,
    /// The name of the builtin that it comes from; its places are those of the switch.
    pub(super) builtin: Option<&'static str>,
}

#[derive(Debug, Clone)]
enum RawKind {
    Script(Spanned<String>),
    Static(Box<StaticFiles>),
}

impl RawHandler {
    /// The handler of a builtin that is switched on at `span`.
    pub(super) fn of_builtin(name: &'static str, url: &str, script: &str, admin: bool, tail: bool, span: Span) -> Option<Self> {
        Some(Self {
            url: Spanned { value: url.to_owned(), span },
            pattern: Pattern::new(url, Anchor::Whole).ok()?,
            kind: RawKind::Script(Spanned { value: script.to_owned(), span }),
            secure: Secure::default(),
            redirect: RedirectCode::default(),
            login: if admin { Login::Admin } else { Login::Optional },
            auth_fail: AuthFail::default(),
            tail,
            position: None,
            builtin: Some(name),
        })
    }

    /// Where its URL is written.
    pub(super) fn span(&self) -> Span {
        self.url.span
    }

    /// The static part, if it has one.
    pub(super) fn files(&self) -> Option<&StaticFiles> {
        match &self.kind {
            RawKind::Static(files) => Some(files),
            RawKind::Script(_) => None,
        }
    }
}

/// Reads the list.
pub(super) fn read(items: &[Node], report: &mut Report) -> Vec<RawHandler> {
    if let Some(extra) = items.get(MAX_HANDLERS) {
        report.push(Diagnostic::new(&code::A0003, extra.span, format!("more than {MAX_HANDLERS} handlers")));
    }
    let mut handlers = Vec::new();
    for item in items.iter().take(MAX_HANDLERS) {
        if report.is_full() {
            break;
        }
        handlers.extend(read_one(item, report));
    }
    handlers
}

fn read_one(item: &Node, report: &mut Report) -> Option<RawHandler> {
    let fields = Fields::open(item, "a handler", &KNOWN, report)?;
    fields.require("url", "for example `url: /.*`", report);
    let kind = kind_of(&fields, report);
    let login = fields.word("login", &[("optional", Login::Optional), ("required", Login::Required), ("admin", Login::Admin)], report);
    let auth_fail = fields.word("auth_fail_action", &[("redirect", AuthFail::Redirect), ("unauthorized", AuthFail::Unauthorized)], report);
    let secure = [("optional", Secure::Optional), ("never", Secure::Never), ("always", Secure::Always), ("default", Secure::Optional)];
    let secure = fields.word("secure", &secure, report);
    let redirect = [
        ("301", RedirectCode::MovedPermanently),
        ("302", RedirectCode::Found),
        ("303", RedirectCode::SeeOther),
        ("307", RedirectCode::TemporaryRedirect),
    ];
    let redirect = fields.word("redirect_http_response_code", &redirect, report);
    let tail = fields.word("position", &[("head", false), ("tail", true)], report);
    let url = fields.text("url", report).and_then(|url| check_url(url, report));
    let (url, pattern, kind) = match kind? {
        "script" => {
            let script = fields.filled("script", report);
            let (url, pattern) = whole(url?, report)?;
            let script = script?;
            check_template(&script, &pattern, url.span, report)?;
            (url, pattern, RawKind::Script(script))
        }
        kind => {
            let files = static_files(&fields, report);
            let (url, pattern, source) =
                if kind == "static_dir" { directory(&fields, url, report) } else { matched(&fields, url, report) }?;
            (url, pattern, RawKind::Static(Box::new(StaticFiles { source, ..files })))
        }
    };
    Some(RawHandler {
        url,
        pattern,
        kind,
        secure: secure.map_or_else(Secure::default, |found| found.value),
        redirect: redirect.map_or_else(RedirectCode::default, |found| found.value),
        login: login.map_or_else(Login::default, |found| found.value),
        auth_fail: auth_fail.map_or_else(AuthFail::default, |found| found.value),
        tail: tail.is_some_and(|found| found.value),
        position: fields.key("position").map(|key| key.span),
        builtin: None,
    })
}

/// Which kind of handler it is, by the SDK's order of detection.
fn kind_of(fields: &Fields<'_>, report: &mut Report) -> Option<&'static str> {
    let mut kinds = KINDS.into_iter().filter(|kind| fields.get(kind).is_some());
    let Some(kind) = kinds.next() else {
        if let Some(key) = fields.key("api_endpoint") {
            let help = "serve the endpoints with an ordinary `script` handler";
            report.push(Diagnostic::new(&code::A0101, key.span, "`api_endpoint` handlers are not supported").help(help));
            return None;
        }
        // A misspelt key was reported already, with the right one as the suggestion.
        let misspelt = |key: &str| !KNOWN.contains(&key) && near(key, KINDS).is_some();
        if fields.entries().iter().any(|(key, _)| misspelt(&key.text)) {
            return None;
        }
        let help = "add `script`, `static_dir` or `static_files`";
        report.push_missing(Diagnostic::new(&code::A0101, fields.span, "this handler neither runs code nor serves files").help(help));
        return None;
    };
    for other in kinds {
        if let (Some(first), Some(second)) = (fields.key(kind), fields.key(other)) {
            let message = format!("a handler has one kind; `{kind}` and `{other}` exclude each other");
            report.push(Diagnostic::new(&code::A0103, second.span, message).related(first.span, "the other kind"));
        }
    }
    let misplaced = |name: &str| match kind {
        "script" => STATIC_ONLY.contains(&name),
        "static_dir" => name == "upload",
        _ => false,
    };
    for (key, _) in fields.entries().iter().filter(|(key, _)| misplaced(&key.text)) {
        let message = format!("`{}` does not go with `{kind}`", key.text);
        let help = match key.text.as_str() {
            "upload" => "it belongs to `static_files`",
            "http_headers" => "a script sets its own headers",
            _ => "it belongs to handlers of static files",
        };
        report.push(Diagnostic::new(&code::A0102, key.span, message).help(help));
    }
    if let ("static_files", None, Some(key)) = (kind, fields.get("upload"), fields.key("static_files")) {
        let help = "name the files that belong to the handler, for example `upload: static/.*\\.png$`";
        report.push_missing(Diagnostic::new(&code::A0108, key.span, "`static_files` needs `upload`").help(help));
    }
    Some(kind)
}

fn check_url(url: Spanned<String>, report: &mut Report) -> Option<Spanned<String>> {
    let Err((message, help)) = checked_url(&url.value) else { return Some(url) };
    report.push(Diagnostic::new(&code::A0104, url.span, message).help(help));
    None
}

/// The SDK's `(?!\^)/.*|\..*|(\(.).*(?!\$).`: begins with `/`, `.` or a group. An error says what is wrong, and how to mend it.
pub(crate) fn checked_url(text: &str) -> Result<(), (String, String)> {
    let fits = match text.as_bytes().first() {
        Some(b'/' | b'.') => !text.contains('\n'),
        Some(b'(') => text.chars().count() > 2 && !text.ends_with('$') && !text.contains('\n'),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let help = match text.as_bytes().first() {
        Some(b'^') => format!("write `{}`: the whole path is compared anyway", &text[1..]),
        Some(b'*') => "write `/.*` to match every path".to_owned(),
        Some(b'(') if text.ends_with('$') => format!("write `{}`: the whole path is compared anyway", text.trim_end_matches('$')),
        _ => format!("write `/{text}`"),
    };
    Err((format!("`{text}` can match no path: a url begins with `/`"), help))
}

/// Reports a broken pattern, pointing into it if the engine knows where.
pub(super) fn broken(text: &Spanned<String>, error: &PatternError, report: &mut Report) {
    let exact = text.value.len() == text.span.end - text.span.start;
    let span = error.span.clone().filter(|_| exact).map_or(text.span, |range| text.span.inside(range));
    let reason = error.message.lines().last().unwrap_or_default().trim_start_matches("error: ").trim_end_matches('.');
    report.push(Diagnostic::new(&code::A0105, span, format!("this pattern cannot be used: {reason}")));
}

fn whole(url: Spanned<String>, report: &mut Report) -> Option<(Spanned<String>, Pattern)> {
    let everything = Pattern::everything();
    if url.value == everything.source() {
        return Some((url, everything));
    }
    match Pattern::new(&url.value, Anchor::Whole) {
        Ok(pattern) => Some((url, pattern)),
        Err(error) => {
            broken(&url, &error, report);
            None
        }
    }
}

fn check_template(text: &Spanned<String>, pattern: &Pattern, url: Span, report: &mut Report) -> Option<Template> {
    match Template::new(&text.value, pattern.groups()) {
        Ok(template) => Some(template),
        Err(error) => {
            let exact = text.value.len() == text.span.end - text.span.start;
            let span = error.span.clone().filter(|_| exact).map_or(text.span, |range| text.span.inside(range));
            report.push(Diagnostic::new(&code::A0106, span, error.message).related(url, "the pattern"));
            None
        }
    }
}

/// The keys that both kinds of static handlers share.
fn static_files(fields: &Fields<'_>, report: &mut Report) -> StaticFiles {
    let mime_type = fields.filled("mime_type", report);
    let headers = fields.get("http_headers").map(|node| headers::read(node, report)).unwrap_or_default();
    if let (Some(mime_type), Some((name, _))) = (&mime_type, headers.iter().find(|(name, _)| name.value == http::header::CONTENT_TYPE)) {
        let message = "`mime_type` and the header `Content-Type` say the same thing";
        report.push(Diagnostic::new(&code::A0111, name.span, message).related(mime_type.span, "the other type").help("keep one of them"));
    }
    let flag = |name, report: &mut Report| fields.boolean(name, report).is_some_and(|found| found.value);
    let http_headers: Vec<(HeaderName, HeaderValue)> = headers.into_iter().map(|(name, value)| (name.value, value)).collect();
    StaticFiles {
        source: StaticSource::Dir(String::new()),
        mime_type: mime_type.map(|found| found.value),
        expiration: expiration(fields, "expiration", report),
        http_headers,
        require_matching_file: flag("require_matching_file", report),
        application_readable: flag("application_readable", report),
    }
}

/// A cache period.
pub(super) fn expiration(fields: &Fields<'_>, name: &str, report: &mut Report) -> Option<Expiration> {
    let found = fields.text(name, report)?;
    match Expiration::parse(&found.value) {
        Ok(expiration) => Some(expiration),
        Err(message) => {
            malformed(found.span, message, "numbers with d, h, m or s, separated by spaces", report);
            None
        }
    }
}

type Static = (Spanned<String>, Pattern, StaticSource);

fn directory(fields: &Fields<'_>, url: Option<Spanned<String>>, report: &mut Report) -> Option<Static> {
    let dir = fields.filled("static_dir", report).and_then(|dir| inside(&dir, report));
    let url = url?;
    let prefix = url.value.trim_end_matches('/');
    let pattern = match Pattern::new(&format!("{prefix}/(.*)"), Anchor::Whole) {
        Ok(pattern) => pattern,
        Err(error) => {
            let error = PatternError { span: None, ..error };
            broken(&url, &error, report);
            return None;
        }
    };
    if pattern.groups() > 1 {
        let group = url.value.find('(').filter(|_| url.value.len() == url.span.end - url.span.start);
        let mut diagnostic =
            Diagnostic::new(&code::A0107, url.span, "`static_dir` takes a plain prefix, not a pattern").label("this has a group");
        if let Some(dir) = &dir {
            let plain = url.value[..group.unwrap_or(url.value.len())].trim_end_matches('/');
            let help = format!("write `url: {plain}`, or use `static_files: {}/\\1` with `upload:`", dir.value);
            diagnostic = diagnostic.related(dir.span, "because of this").help(help);
        }
        report.push(diagnostic);
        return None;
    }
    Some((url, pattern, StaticSource::Dir(dir?.value)))
}

fn matched(fields: &Fields<'_>, url: Option<Spanned<String>>, report: &mut Report) -> Option<Static> {
    let path = fields.filled("static_files", report).and_then(|path| inside(&path, report));
    let upload = fields.filled("upload", report).and_then(|upload| match Pattern::new(&upload.value, Anchor::Start) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            broken(&upload, &error, report);
            None
        }
    });
    let (url, pattern) = whole(url?, report)?;
    let path = check_template(&path?, &pattern, url.span, report)?;
    Some((url, pattern, StaticSource::Files { path, upload: upload? }))
}

/// A path without `./` before and `/` after it, unless it leaves the app folder.
pub(super) fn inside(path: &Spanned<String>, report: &mut Report) -> Option<Spanned<String>> {
    let text = path.value.trim_start_matches("./").trim_end_matches('/');
    if text.starts_with('/') || text.split('/').any(|part| part == "..") {
        let message = format!("`{}` leaves the app folder", path.value);
        report.push(Diagnostic::new(&code::A0116, path.span, message).help("paths begin at the app folder, without a leading `/`"));
        return None;
    }
    let text = if text == "." { "" } else { text };
    Some(Spanned { value: text.to_owned(), span: path.span })
}

/// What the version says about its handlers.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub(super) runtime: &'a Runtime,
    /// Where `threadsafe: true` is written, for python27.
    pub(super) threadsafe: Option<Span>,
}

/// The handler for a runtime.
pub(super) fn lower(raw: &RawHandler, setting: Setting<'_>, sources: &Sources, report: &mut Report) -> Option<Handler> {
    let kind = match &raw.kind {
        RawKind::Static(files) => HandlerKind::Static(files.clone()),
        RawKind::Script(script) => HandlerKind::Script(lower_script(raw, script, setting, report)?),
    };
    Some(Handler {
        url: raw.pattern.clone(),
        written: raw.url.value.clone(),
        kind,
        secure: raw.secure,
        redirect: raw.redirect,
        login: raw.login,
        auth_fail: raw.auth_fail,
        origin: Origin { file: sources.get(raw.url.span.file).name.clone(), line: sources.line(raw.url.span) },
    })
}

fn lower_script(raw: &RawHandler, script: &Spanned<String>, setting: Setting<'_>, report: &mut Report) -> Option<Script> {
    if setting.runtime.language() != Language::Python27 {
        if script.value != "auto" && raw.builtin.is_none() {
            let message = format!("`script: {}` has no effect on {}", script.value, setting.runtime);
            let help = "write `script: auto`; `entrypoint:` says what runs";
            report.push(Diagnostic::new(&code::A0115, script.span, message).help(help));
        }
        return Some(Script::Auto);
    }
    let template = Template::new(&script.value, raw.pattern.groups()).ok()?;
    // The SDK's rule, which takes no notice of `.PY`.
    #[allow(clippy::case_sensitive_file_extension_comparisons, reason = "the SDK compares so")]
    let cgi = script.value.ends_with(".py") || script.value.contains('/');
    if let (true, Some(threadsafe)) = (cgi, setting.threadsafe) {
        let message = format!("`{}` is a CGI script, which a threadsafe app cannot have", script.value);
        let help = "name a WSGI application by its dotted path, such as `main.app`, or write `threadsafe: false`";
        report.push(Diagnostic::new(&code::A0113, script.span, message).related(threadsafe, "threadsafe").help(help));
    }
    Some(if cgi { Script::Cgi(template) } else { Script::Wsgi(template) })
}
