//! `/enginehouse/v1`: what Google's API has no words for. Same tokens, same errors, same paging (docs/reference/admin-api.md).

use http::Method;
use model::ids::{AppId, ServiceId};
use model::route::split::{Who, explain};
use model::traffic::TrafficSplit;
use serde_json::{Map, Value, json};
use store::control::{Entry, Role, Token};
use store::files::Sha1;

use super::ask::Ask;
use super::auth::{Deed, SCOPES};
use super::page::Paging;
use super::route::Parts;
use super::services::{read_split, shown_split};
use super::{Answer, Answered, Api, lenient, millisecond, second};
use crate::status::{Code, Status};
use crate::ward::{self, Question, Ward};
use crate::work::{ServiceChange, Steer};

/// Verbs of our own.
/// How many splits of a service are told, whatever else was done to it in between.
const SPLITS: usize = 1_000;
const VERBS: [&str; 8] = ["pause", "resume", "abort", "explain", "rollback", "diff", "missing", "revoke"];
/// Digests that are asked for at once.
const MOST_SUMS: usize = 100_000;

/// Whether a path is one of ours.
pub(crate) fn is_ours(path: &str) -> bool {
    path == "/enginehouse/v1" || path.starts_with("/enginehouse/v1/")
}

impl Api {
    /// Answers a request whose path [`is_ours`]. Blocks.
    pub(crate) fn own(&self, path: &str, ask: &Ask) -> Answered {
        let missing = || Status::not_found(format!("There is no method {} {path}.", ask.method));
        if let Some((ward, found)) = ward::find(&self.wards, path) {
            return self.ask_ward(&**ward, found, ask);
        }
        let parts = Parts::of(path, &VERBS).ok_or_else(missing)?;
        let segments: Vec<&str> = parts.segments.iter().skip(2).map(String::as_str).collect();
        let (get, post, delete) = (ask.method == Method::GET, ask.method == Method::POST, ask.method == Method::DELETE);
        match (segments.as_slice(), parts.verb.as_deref()) {
            (["server"], None) if get => self.server(ask),
            (["tokeninfo"], None) if get => Ok(Answer::Own(shown_token(ask.caller.token()))),
            (["apps"], None) if get => self.apps(ask),
            (["tokens"], None) if get => self.tokens(ask),
            (["tokens"], None) if post => self.create_token(ask),
            (["tokens", id], None) if get => self.token(id, ask),
            (["tokens", id], None | Some("revoke")) if delete || (post && parts.verb.is_some()) => self.revoke_token(id, ask),
            (["audit"], None) if get => {
                ask.caller.check(Deed::Administer, None)?;
                self.audit(ask.query.get("app").filter(|app| !app.is_empty()), ask)
            }
            (["apps", app, rest @ ..], verb) => {
                let app: AppId = app.parse().map_err(|_| Status::not_found(format!("Could not find Application \"{app}\".")))?;
                match self.own_of_app(&app, rest, verb, ask) {
                    Some(answered) => answered,
                    None => Err(missing()),
                }
            }
            _ => Err(missing()),
        }
    }

    fn ask_ward(&self, ward: &dyn Ward, found: ward::Found, ask: &Ask) -> Answered {
        let app: AppId = found.app.parse().map_err(|_| Status::not_found(format!("Could not find Application \"{}\".", found.app)))?;
        self.allow(&app, if ask.method == Method::GET { Deed::Look } else { Deed::Deploy }, ask)?;
        let body = lenient::parse(&ask.body)?;
        let (query, actor) = (ask.query.all().clone(), ask.caller.actor());
        let question = Question { app, method: ask.method.clone(), path: found.path, verb: found.verb, query, body, actor };
        ward.answer(&question).map(Answer::Own)
    }

    fn own_of_app(&self, app: &AppId, rest: &[&str], verb: Option<&str>, ask: &Ask) -> Option<Answered> {
        let (get, post) = (ask.method == Method::GET, ask.method == Method::POST);
        let answered = match (rest, verb) {
            (["audit"], None) if get => self.allow(app, Deed::Administer, ask).and_then(|()| self.audit(Some(app.as_str()), ask)),
            (["files"], Some("missing")) if post => self.allow(app, Deed::Deploy, ask).and_then(|()| self.missing_files(ask)),
            (["services", service, "traffic"] | ["services", service], Some("explain")) if get => {
                self.allow(app, Deed::Look, ask).and_then(|()| self.explain(app, service, ask))
            }
            (["services", service, "splits"], None) if get => {
                self.allow(app, Deed::Look, ask).and_then(|()| self.splits(app, service, ask))
            }
            (["services", service], Some("rollback")) if post => {
                self.allow(app, Deed::Deploy, ask).and_then(|()| self.rollback(app, service, ask))
            }
            (["services", service, "migration"], Some(verb @ ("pause" | "resume" | "abort"))) if post => {
                let steer = match verb {
                    "pause" => Steer::Pause,
                    "resume" => Steer::Resume,
                    _ => Steer::Abort,
                };
                self.allow(app, Deed::Deploy, ask).and_then(|()| self.steer(app, service, steer, ask))
            }
            (["services", service, "versions"], Some("diff")) if get => {
                self.allow(app, Deed::Look, ask).and_then(|()| self.diff(app, service, ask))
            }
            _ => return None,
        };
        Some(answered)
    }

    /// The caller may do it, and the app is there.
    fn allow(&self, app: &AppId, deed: Deed, ask: &Ask) -> Result<(), Status> {
        ask.caller.check(deed, Some(app.as_str()))?;
        self.store().read(|view| view.app(app.as_str()))?;
        Ok(())
    }

    fn server(&self, ask: &Ask) -> Answered {
        let app = ask.caller.app().map(AppId::as_str);
        ask.caller.check(Deed::Look, app)?;
        let settings = self.settings();
        Ok(Answer::Own(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "domain": settings.domain,
            "region": settings.region,
            "revision": self.store().rev().to_string(),
        })))
    }

    fn apps(&self, ask: &Ask) -> Answered {
        let only = ask.caller.app().cloned();
        ask.caller.check(Deed::Look, only.as_ref().map(AppId::as_str))?;
        let paging = Paging::read(&ask.query, "apps")?;
        let mut found = match &only {
            Some(app) => self.store().read(|view| view.find_app(app.as_str()))?.into_iter().collect(),
            None => self.store().read(|view| view.apps(&paging.store()))?,
        };
        let next = paging.cut(&mut found, |app| app.id.as_str().to_owned());
        let apps: Vec<Value> = found.iter().map(|app| self.shown_app(app)).collect();
        Ok(listed("apps", apps, next))
    }

    fn tokens(&self, ask: &Ask) -> Answered {
        // The administrator of an app sees that app's tokens.
        let own = ask.caller.app().cloned();
        let deed = if own.is_some() { Deed::Administer } else { Deed::Own };
        ask.caller.check(deed, own.as_ref().map(AppId::as_str))?;
        let paging = Paging::read(&ask.query, "tokens")?;
        let mut tokens = self.store().read(|view| view.tokens())?;
        tokens.retain(|token| token.revoked.is_none() && (own.is_none() || token.app == own));
        let (page, next) = paging.slice(tokens, |token| token.id.clone());
        Ok(listed("tokens", page.iter().map(shown_token).collect(), next))
    }

    /// A token that the caller may see and revoke: any for an owner; its own; those of its app for an app's administrator.
    fn visible_token(&self, id: &str, ask: &Ask) -> Result<Token, Status> {
        let found = self.store().read(|view| view.token(id));
        if ask.caller.token().id == id {
            return Ok(found?);
        }
        let own = ask.caller.app().cloned();
        match &own {
            Some(app) => ask.caller.check(Deed::Administer, Some(app.as_str()))?,
            None => ask.caller.check(Deed::Own, None)?,
        }
        let token = found?;
        if own.is_some() && token.app != own {
            return Err(Status::not_found(format!("There is no token `{id}`.")));
        }
        Ok(token)
    }

    fn token(&self, id: &str, ask: &Ask) -> Answered {
        Ok(Answer::Own(shown_token(&self.visible_token(id, ask)?)))
    }

    fn revoke_token(&self, id: &str, ask: &Ask) -> Answered {
        self.visible_token(id, ask)?;
        let token = self.store().change(&ask.caller.actor(), |change| change.revoke_token(id))?;
        Ok(Answer::Own(shown_token(&token)))
    }

    fn create_token(&self, ask: &Ask) -> Answered {
        let asked = read_token(&lenient::parse(&ask.body)?)?;
        let own = ask.caller.app();
        let app = match (&asked.app, own) {
            (Some(app), _) => Some(app.clone()),
            // A token of one app makes tokens of that app.
            (None, own) => own.cloned(),
        };
        match (&app, asked.role) {
            (None, _) | (_, Role::Owner) => ask.caller.check(Deed::Own, app.as_ref().map(AppId::as_str))?,
            (Some(app), _) => ask.caller.check(Deed::Administer, Some(app.as_str()))?,
        }
        if asked.role > ask.caller.token().role {
            return Err(Status::new(Code::PermissionDenied, "A token cannot make one with a higher role than its own."));
        }
        let scopes = if asked.scopes.is_empty() { ask.caller.token().scopes.clone() } else { asked.scopes };
        if !ask.caller.token().scopes.is_empty() && scopes.iter().any(|scope| !ask.caller.token().scopes.contains(scope)) {
            return Err(Status::new(Code::PermissionDenied, "A token cannot make one with more scopes than its own."));
        }
        if let Some(app) = &app {
            self.store().read(|view| view.app(app.as_str()))?;
        }
        let made = |change: &mut store::control::Change<'_>| change.create_token(&asked.name, asked.role, app.as_ref(), &scopes);
        let (token, secret) = self.store().change(&ask.caller.actor(), made)?;
        let mut shown = shown_token(&token);
        shown["token"] = secret.reveal().into();
        Ok(Answer::Own(shown))
    }

    fn audit(&self, app: Option<&str>, ask: &Ask) -> Answered {
        let paging = Paging::read(&ask.query, &format!("audit of {app:?}"))?;
        let mut entries = self.store().read(|view| view.audit(app, &paging.store()))?;
        let next = paging.cut(&mut entries, |entry| entry.seq.to_string());
        Ok(listed("entries", entries.iter().map(shown_entry).collect(), next))
    }

    /// Which of these files are not here yet; a client sends those.
    fn missing_files(&self, ask: &Ask) -> Answered {
        let body = lenient::parse(&ask.body)?;
        let sums = body["sha1"].as_array().map_or(&[][..], Vec::as_slice);
        if sums.len() > MOST_SUMS {
            return Err(Status::field("sha1", format!("{} digests; at most {MOST_SUMS} can be asked for at once.", sums.len())));
        }
        let mut missing = Vec::new();
        self.store().read(|view| {
            for sum in sums {
                let text = sum.as_str().unwrap_or_default();
                let digest: Sha1 = text.parse().map_err(|error: store::files::BadDigest| Status::field("sha1", error.to_string()))?;
                if view.find_blob_by_sha1(&digest)?.is_none() {
                    missing.push(Value::from(text));
                }
            }
            Ok::<_, Status>(())
        })?;
        Ok(Answer::Own(json!({"missing": missing})))
    }

    fn explain(&self, app: &AppId, service: &str, ask: &Ask) -> Answered {
        let service = self.find_service(app, service)?;
        let (ip, cookie) = (ask.query.get("ip").filter(|ip| !ip.is_empty()), ask.query.get("cookie"));
        let explained = match (ip, cookie) {
            (Some(ip), None) => {
                let address = ip.parse().map_err(|_| Status::field("ip", format!("`{ip}` is not an IP address.")))?;
                explain(&service.split, Who::Ip(address))
            }
            (None, Some(cookie)) => explain(&service.split, Who::Cookie(cookie)),
            _ => return Err(Status::field("ip", "Say which client is meant: `ip=192.0.2.1`, or `cookie=604` for the cookie GOOGAPPUID.")),
        };
        let ranges: Vec<Value> = explained
            .ranges
            .iter()
            .map(|(range, version)| json!({"first": range.start(), "last": range.end(), "version": version}))
            .collect();
        Ok(Answer::Own(json!({
            "service": service.id,
            "version": explained.version,
            "bucket": explained.bucket,
            "why": explained.why,
            "ranges": ranges,
            "split": shown_split(&service.split),
        })))
    }

    /// The splits that a service had, newest first; the first one is in force.
    fn splits_of(&self, app: &AppId, service: &ServiceId) -> Result<Vec<(Value, TrafficSplit)>, Status> {
        let service = self.find_service(app, service.as_str())?;
        let target = service.name();
        let mut splits: Vec<(Value, TrafficSplit)> = Vec::new();
        let mut take = |entry: Entry| {
            // Before that there was no service of this name, or another one.
            let Some(after) = &entry.after else { return false };
            // What a migration passed through is not where somebody wanted to be.
            let passing = after["migrating"] == true;
            let Ok(split) = serde_json::from_value::<TrafficSplit>(after["split"].clone()) else { return true };
            let known = splits.last().is_some_and(|(_, last)| last.says_the_same(&split));
            if !passing && !known {
                let shown =
                    json!({"split": shown_split(&split), "time": millisecond(entry.at), "user": entry.actor, "operation": entry.operation});
                splits.push((shown, split));
            }
            splits.len() < SPLITS
        };
        self.store().read(|view| view.audit_of(&target, &mut take))?;
        if splits.first().is_none_or(|(_, newest)| !newest.says_the_same(&service.split)) {
            splits.insert(0, (json!({"split": shown_split(&service.split)}), service.split));
        }
        Ok(splits)
    }

    fn splits(&self, app: &AppId, service: &str, ask: &Ask) -> Answered {
        let id = self.find_service(app, service)?.id;
        let paging = Paging::read(&ask.query, &format!("splits of {app}/{service}"))?;
        let all: Vec<(usize, Value)> = self.splits_of(app, &id)?.into_iter().map(|(shown, _)| shown).enumerate().collect();
        let (page, next) = paging.slice(all, |(at, _)| at.to_string());
        Ok(listed("splits", page.into_iter().map(|(_, shown)| shown).collect(), next))
    }

    /// Back to the split before the one in force.
    fn rollback(&self, app: &AppId, service: &str, ask: &Ask) -> Answered {
        let id = self.find_service(app, service)?.id;
        let before = self.splits_of(app, &id)?.into_iter().nth(1);
        let Some((shown, _)) = before else {
            let text = format!("The traffic of service `{service}` has not been changed yet, so there is nothing to go back to.");
            return Err(Status::new(Code::FailedPrecondition, text));
        };
        let split = read_split(&shown["split"])?;
        self.check_running(app, &id, &split)?;
        let change = ServiceChange { split: Some(split), ..ServiceChange::default() };
        self.worker.patch_service(&ask.caller.actor(), app, &id, change).map(super::apps::running)
    }

    fn steer(&self, app: &AppId, service: &str, steer: Steer, ask: &Ask) -> Answered {
        let id = self.find_service(app, service)?.id;
        self.worker.steer(&ask.caller.actor(), app, &id, steer).map(super::apps::running)
    }

    /// What differs between two versions of a service: settings by path, files by name.
    fn diff(&self, app: &AppId, service: &str, ask: &Ask) -> Answered {
        let service = self.find_service(app, service)?.id;
        let read = |name: &str| {
            let id = ask.query.get(name).filter(|id| !id.is_empty());
            let id = id.ok_or_else(|| Status::field(name, "Say which versions are meant: `from=v1&to=v2`."))?;
            let missing = || Status::not_found(format!("Version `apps/{app}/services/{service}/versions/{id}` was not found."));
            let version = self.find_version(app, &service, &id.parse().map_err(|_| missing())?)?;
            let manifest = self.store().read(|view| view.manifest(&version.manifest))?;
            Ok::<_, Status>((version, manifest))
        };
        let ((from, old), (to, new)) = (read("from")?, read("to")?);
        let mut settings = Vec::new();
        compare(&from.spec, &to.spec, "", &mut settings);
        let (old, new) = (old.files(), new.files());
        let names = |all: Vec<&String>| all.into_iter().cloned().collect::<Vec<String>>();
        let added = names(new.keys().filter(|name| !old.contains_key(*name)).collect());
        let removed = names(old.keys().filter(|name| !new.contains_key(*name)).collect());
        let changed =
            names(new.iter().filter(|(name, file)| old.get(*name).is_some_and(|other| other != *file)).map(|(name, _)| name).collect());
        Ok(Answer::Own(json!({
            "from": from.name(),
            "to": to.name(),
            "settings": settings,
            "files": {"added": added, "removed": removed, "changed": changed},
        })))
    }
}

fn listed(name: &str, items: Vec<Value>, next: Option<String>) -> Answer {
    let mut answer = Map::from_iter([(name.to_owned(), Value::Array(items))]);
    if let Some(next) = next {
        answer.insert("nextPageToken".into(), next.into());
    }
    Answer::Own(Value::Object(answer))
}

fn shown_token(token: &Token) -> Value {
    let mut shown = json!({
        "id": token.id,
        "name": token.name,
        "role": token.role.as_str(),
        "apps": token.app.iter().collect::<Vec<_>>(),
        "scopes": token.scopes,
        "createTime": second(token.created),
    });
    if let Some(used) = token.used {
        shown["lastUseTime"] = second(used).into();
    }
    if let Some(revoked) = token.revoked {
        shown["revokeTime"] = second(revoked).into();
    }
    shown
}

fn shown_entry(entry: &Entry) -> Value {
    let fields = [
        ("time", Some(millisecond(entry.at).into())),
        ("user", Some(entry.actor.as_str().into())),
        ("action", Some(entry.action.as_str().into())),
        ("target", Some(entry.target.as_str().into())),
        ("id", Some(entry.seq.to_string().into())),
        ("token", entry.token.as_deref().map(Value::from)),
        ("app", entry.app.as_deref().map(Value::from)),
        ("operation", entry.operation.as_deref().map(Value::from)),
        ("before", entry.before.clone()),
        ("after", entry.after.clone()),
    ];
    Value::Object(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

struct AskedToken {
    name: String,
    role: Role,
    app: Option<AppId>,
    scopes: Vec<String>,
}

fn read_token(body: &Value) -> Result<AskedToken, Status> {
    let object = body.as_object().ok_or_else(|| Status::invalid("A token is an object with `name`, `role`, `apps` and `scopes`."))?;
    if let Some(stranger) = object.keys().find(|key| !["name", "role", "apps", "app", "scopes"].contains(&key.as_str())) {
        let text = format!("Invalid JSON payload received. Unknown name \"{stranger}\" at 'token': Cannot find field.");
        return Err(Status::field("token", text));
    }
    let role = body["role"].as_str().unwrap_or_default().to_ascii_lowercase();
    let role: Role = role.parse().map_err(|why: String| Status::field("token.role", why))?;
    let texts = |name: &str| -> Vec<&str> { body[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect() };
    let mut apps = texts("apps");
    apps.extend(body["app"].as_str().filter(|app| !app.is_empty()));
    if apps.len() > 1 {
        return Err(Status::field("token.apps", "A token is for one app or for all; make one for each app."));
    }
    let app = apps.first().map(|app| app.parse()).transpose();
    let app = app.map_err(|error: model::ids::NameError| Status::field("token.apps", error.0))?;
    let scopes: Vec<String> = texts("scopes").into_iter().map(str::to_owned).collect();
    let known = |scope: &String| SCOPES.iter().any(|known| known == scope || known.rsplit('/').next() == Some(scope));
    if let Some(strange) = scopes.iter().find(|scope| !known(scope)) {
        return Err(Status::field("token.scopes", format!("There is no scope `{strange}`; there are {}.", SCOPES.join(", "))));
    }
    Ok(AskedToken { name: body["name"].as_str().unwrap_or_default().to_owned(), role, app, scopes })
}

/// The values that differ, by path. Values of variables may be secrets: only that they differ is told.
fn compare(from: &Value, to: &Value, path: &str, found: &mut Vec<Value>) {
    match (from, to) {
        (Value::Object(old), Value::Object(new)) => {
            let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                let path = &if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                compare(old.get(name).unwrap_or(&Value::Null), new.get(name).unwrap_or(&Value::Null), path, found);
            }
        }
        (old, new) if old == new || path == "id" => {}
        (old, new) => {
            let secret = path.starts_with("envVariables.") || path.starts_with("buildEnvVariables.");
            let shown = |value: &Value| if secret && !value.is_null() { json!("(hidden)") } else { value.clone() };
            found.push(json!({"path": path, "from": shown(old), "to": shown(new)}));
        }
    }
}
