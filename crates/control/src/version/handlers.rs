//! Handlers and error pages, both ways (rows Y10–Y20).

use http::HeaderName;
use model::config::{ErrorCode, ErrorPage};
use model::handler::{AuthFail, Handler, HandlerKind, Login, RedirectCode, Script, Secure, StaticFiles, StaticSource};
use model::pattern::{Anchor, Pattern, PatternError, Template};
use model::time::Expiration;
use serde_json::{Map, Value, json};

use super::fields::{Object, Report};
use super::seconds;

const SECURE: [(&str, Secure); 4] = [
    ("SECURE_OPTIONAL", Secure::Optional),
    ("SECURE_NEVER", Secure::Never),
    ("SECURE_ALWAYS", Secure::Always),
    ("SECURE_DEFAULT", Secure::Optional),
];
const LOGIN: [(&str, Login); 3] = [("LOGIN_OPTIONAL", Login::Optional), ("LOGIN_ADMIN", Login::Admin), ("LOGIN_REQUIRED", Login::Required)];
const AUTH_FAIL: [(&str, AuthFail); 2] =
    [("AUTH_FAIL_ACTION_REDIRECT", AuthFail::Redirect), ("AUTH_FAIL_ACTION_UNAUTHORIZED", AuthFail::Unauthorized)];
const REDIRECT: [(&str, RedirectCode); 4] = [
    ("REDIRECT_HTTP_RESPONSE_CODE_301", RedirectCode::MovedPermanently),
    ("REDIRECT_HTTP_RESPONSE_CODE_302", RedirectCode::Found),
    ("REDIRECT_HTTP_RESPONSE_CODE_303", RedirectCode::SeeOther),
    ("REDIRECT_HTTP_RESPONSE_CODE_307", RedirectCode::TemporaryRedirect),
];
const ERRORS: [(&str, ErrorCode); 4] = [
    ("ERROR_CODE_DEFAULT", ErrorCode::Default),
    ("ERROR_CODE_OVER_QUOTA", ErrorCode::OverQuota),
    ("ERROR_CODE_DOS_API_DENIAL", ErrorCode::DosApiDenial),
    ("ERROR_CODE_TIMEOUT", ErrorCode::Timeout),
];

/// Most headers of one handler (the SDK's limit).
const MOST_HEADERS: usize = 500;

/// What the version says about its scripts.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    /// First-generation Python: scripts are WSGI objects or CGI files.
    pub(super) python27: bool,
    /// Of python27: several requests at once.
    pub(super) threadsafe: bool,
}

/// Reads one handler.
pub(super) fn lower(object: &Object<'_>, setting: Setting, report: &mut Report) -> Option<Handler> {
    let settings = Handler {
        secure: object.word("securityLevel", &SECURE, "SECURE_UNSPECIFIED", report).unwrap_or_default(),
        redirect: object.word("redirectHttpResponseCode", &REDIRECT, "REDIRECT_HTTP_RESPONSE_CODE_UNSPECIFIED", report).unwrap_or_default(),
        login: object.word("login", &LOGIN, "LOGIN_UNSPECIFIED", report).unwrap_or_default(),
        auth_fail: object.word("authFailAction", &AUTH_FAIL, "AUTH_FAIL_ACTION_UNSPECIFIED", report).unwrap_or_default(),
        ..Handler::new(Pattern::everything(), HandlerKind::Script(Script::Auto))
    };
    let kinds: Vec<&str> = ["staticFiles", "script", "apiEndpoint"].into_iter().filter(|kind| object.get(kind).is_some()).collect();
    match kinds[..] {
        [] => {
            report.push(object.path(), "this handler neither runs code nor serves files; it needs `script` or `staticFiles`");
            return None;
        }
        [_] => {}
        [first, second, ..] => report.push(object.at(second), format!("a handler has one kind; `{first}` is there too")),
    }
    let url = url(object, report);
    if kinds[0] == "apiEndpoint" {
        report.push(object.at("apiEndpoint"), "endpoints are not supported; serve them with an ordinary `script` handler");
        return None;
    }
    if kinds[0] == "script" {
        let script = object.object("script", report)?;
        let url = url?;
        let kind = HandlerKind::Script(lower_script(&script, &url, setting, report)?);
        return Some(Handler { written: url.source().to_owned(), url, kind, ..settings });
    }
    let files = object.object("staticFiles", report)?;
    let (written, kind) = lower_static(&files, url.as_ref(), report)?;
    Some(Handler { written, url: url?, kind: HandlerKind::Static(Box::new(kind)), ..settings })
}

fn url(object: &Object<'_>, report: &mut Report) -> Option<Pattern> {
    let Some(text) = object.text("urlRegex", report) else {
        report.push(object.at("urlRegex"), "a handler needs the pattern of its paths, such as \"/.*\"");
        return None;
    };
    if let Err(why) = appyaml::rules::url(text) {
        report.push(object.at("urlRegex"), why);
        return None;
    }
    if text == Pattern::everything().source() {
        return Some(Pattern::everything());
    }
    pattern(text, Anchor::Whole, &object.at("urlRegex"), report)
}

fn pattern(text: &str, anchor: Anchor, path: &str, report: &mut Report) -> Option<Pattern> {
    let broken = |error: &PatternError| format!("this pattern cannot be used: {}", error.message);
    Pattern::new(text, anchor).map_err(|error| report.push(path, broken(&error))).ok()
}

fn lower_script(script: &Object<'_>, url: &Pattern, setting: Setting, report: &mut Report) -> Option<Script> {
    let Some(path) = script.text("scriptPath", report) else {
        report.push(script.at("scriptPath"), "a script handler needs its script, such as \"main.app\" or \"auto\"");
        return None;
    };
    if !setting.python27 {
        return Some(Script::Auto);
    }
    let template = template(path, url, &script.at("scriptPath"), report)?;
    // The SDK's rule, which takes no notice of `.PY`.
    #[allow(clippy::case_sensitive_file_extension_comparisons, reason = "the SDK compares so")]
    let cgi = path.ends_with(".py") || path.contains('/');
    if cgi && setting.threadsafe {
        let why = format!("`{path}` is a CGI script, which a threadsafe version cannot have; name a WSGI application such as \"main.app\"");
        report.push(script.at("scriptPath"), why);
    }
    Some(if cgi { Script::Cgi(template) } else { Script::Wsgi(template) })
}

fn template(text: &str, url: &Pattern, path: &str, report: &mut Report) -> Option<Template> {
    Template::new(text, url.groups()).map_err(|error| report.push(path, error.message)).ok()
}

/// The text of a path without `./` before and `/` after it, unless it leaves the app.
fn inside<'t>(text: &'t str, path: &str, report: &mut Report) -> Option<&'t str> {
    let inner = text.trim_start_matches("./").trim_end_matches('/');
    if inner.starts_with('/') || inner.split('/').any(|part| part == "..") {
        report.push(path, format!("`{text}` leaves the app; paths begin at its folder, without a leading `/`"));
        return None;
    }
    Some(if inner == "." { "" } else { inner })
}

/// The handler's URL as app.yaml would have it, and its files.
fn lower_static(files: &Object<'_>, url: Option<&Pattern>, report: &mut Report) -> Option<(String, StaticFiles)> {
    let path = files.text("path", report);
    if path.is_none() {
        report.push(files.at("path"), "static files need their path, such as \"static/\\1\"");
    }
    let path = path.and_then(|path| inside(path, &files.at("path"), report));
    let upload = files.text("uploadPathRegex", report);
    if upload.is_none() {
        report.push(files.at("uploadPathRegex"), "name the files that belong to the handler, for example \"static/.*\\.png$\"");
    }
    let mut http_headers: Vec<_> = Vec::new();
    for (name, value) in files.texts("httpHeaders", report) {
        match appyaml::rules::header(name, value) {
            Ok(header) => http_headers.push(header),
            Err(why) => report.push(files.at(&format!("httpHeaders[{name:?}]")), why),
        }
    }
    if http_headers.len() > MOST_HEADERS {
        report.push(files.at("httpHeaders"), format!("{} headers; a handler sets at most {MOST_HEADERS}", http_headers.len()));
    }
    // Objects of JSON have no order; this one is the same each time.
    http_headers.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    let mime_type = files.text("mimeType", report).map(str::to_owned);
    if mime_type.is_some() && http_headers.iter().any(|(name, _)| *name == HeaderName::from_static("content-type")) {
        report.push(files.at("mimeType"), "`mimeType` and the header `Content-Type` say the same thing; keep one of them");
    }
    let expiration = files.duration("expiration", report).map(|expiration| Expiration(expiration.as_secs()));
    let require_matching_file = files.flag("requireMatchingFile", report);
    let application_readable = files.flag("applicationReadable", report);
    let (url, path, upload) = (url?, path?, upload?);
    let (written, source) = source(url, path, upload, files, report)?;
    Some((written, StaticFiles { source, mime_type, expiration, http_headers, require_matching_file, application_readable }))
}

/// Clients turn `static_dir` into patterns; its shape is recognised, so that a directory is a directory again (decision 221).
fn source(url: &Pattern, path: &str, upload: &str, files: &Object<'_>, report: &mut Report) -> Option<(String, StaticSource)> {
    if let (Some(prefix), 1) = (url.source().strip_suffix("/(.*)"), url.groups())
        && let Some(dir) = directory(path, upload)
    {
        let written = if prefix.is_empty() { "/" } else { prefix };
        return Some((written.to_owned(), StaticSource::Dir(dir.to_owned())));
    }
    let template = template(path, url, &files.at("path"), report);
    let upload = pattern(upload, Anchor::Start, &files.at("uploadPathRegex"), report);
    Some((url.source().to_owned(), StaticSource::Files { path: template?, upload: upload? }))
}

/// `static` of `static/\1` and `static/.*`.
fn directory<'p>(path: &'p str, upload: &str) -> Option<&'p str> {
    if path == r"\1" {
        return (upload == ".*").then_some("");
    }
    let dir = path.strip_suffix(r"/\1")?;
    let same = upload.trim_start_matches("./").strip_suffix("/.*") == Some(dir);
    (same && !dir.is_empty() && !dir.contains('\\')).then_some(dir)
}

/// Writes one handler.
pub(super) fn raise(handler: &Handler) -> Value {
    let mut map = Map::new();
    map.insert("urlRegex".into(), handler.url.source().into());
    // gcloud always sends the level.
    map.insert("securityLevel".into(), word(&SECURE, handler.secure).into());
    if handler.login != Login::Optional {
        map.insert("login".into(), word(&LOGIN, handler.login).into());
    }
    if handler.auth_fail != AuthFail::Redirect {
        map.insert("authFailAction".into(), word(&AUTH_FAIL, handler.auth_fail).into());
    }
    if handler.redirect != RedirectCode::Found {
        map.insert("redirectHttpResponseCode".into(), word(&REDIRECT, handler.redirect).into());
    }
    match &handler.kind {
        HandlerKind::Script(script) => {
            let path = match script {
                Script::Auto | Script::Nothing => "auto",
                Script::Wsgi(template) | Script::Cgi(template) => template.source(),
            };
            map.insert("script".into(), json!({"scriptPath": path}));
        }
        HandlerKind::Static(files) => {
            map.insert("staticFiles".into(), raise_static(files));
        }
    }
    Value::Object(map)
}

fn raise_static(files: &StaticFiles) -> Value {
    let (path, upload) = match &files.source {
        StaticSource::Dir(dir) if dir.is_empty() || dir == "." => (r"\1".to_owned(), ".*".to_owned()),
        StaticSource::Dir(dir) => (format!(r"{dir}/\1"), format!("{dir}/.*")),
        StaticSource::Files { path, upload } => (path.source().to_owned(), upload.source().to_owned()),
    };
    let mut map = Map::new();
    map.insert("path".into(), path.into());
    map.insert("uploadPathRegex".into(), upload.into());
    if let Some(mime_type) = &files.mime_type {
        map.insert("mimeType".into(), mime_type.as_str().into());
    }
    if let Some(expiration) = files.expiration {
        map.insert("expiration".into(), seconds(expiration.duration()).into());
    }
    if !files.http_headers.is_empty() {
        let headers = files.http_headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap_or_default().into()));
        map.insert("httpHeaders".into(), Value::Object(headers.collect()));
    }
    if files.require_matching_file {
        map.insert("requireMatchingFile".into(), true.into());
    }
    if files.application_readable {
        map.insert("applicationReadable".into(), true.into());
    }
    Value::Object(map)
}

fn word<T: Copy + PartialEq>(table: &[(&'static str, T)], value: T) -> &'static str {
    table.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
}

/// Reads the error pages; the first one for an error counts.
pub(super) fn lower_errors(version: &Object<'_>, report: &mut Report) -> Vec<ErrorPage> {
    let mut pages: Vec<ErrorPage> = Vec::new();
    for (path, item) in version.list("errorHandlers", report) {
        let Some(object) = Object::of(item, &path, report) else { continue };
        let code = object.word("errorCode", &ERRORS, "ERROR_CODE_UNSPECIFIED", report).unwrap_or(ErrorCode::Default);
        let Some(file) = object.text("staticFile", report) else {
            report.push(object.at("staticFile"), "an error page needs its file, such as \"error.html\"");
            continue;
        };
        let Some(file) = inside(file, &object.at("staticFile"), report) else { continue };
        let mime_type = object.text("mimeType", report).map(str::to_owned);
        if !pages.iter().any(|page| page.code == code) {
            pages.push(ErrorPage { code, file: file.to_owned(), mime_type });
        }
    }
    pages
}

/// Writes one error page.
pub(super) fn raise_error(page: &ErrorPage) -> Value {
    let mut map = Map::new();
    if page.code != ErrorCode::Default {
        map.insert("errorCode".into(), word(&ERRORS, page.code).into());
    }
    map.insert("staticFile".into(), page.file.as_str().into());
    if let Some(mime_type) = &page.mime_type {
        map.insert("mimeType".into(), mime_type.as_str().into());
    }
    Value::Object(map)
}
