//! A request's straight walk through the house: washed, aimed, matched, let in, served, finished, written down. Each step is one call into
//! `model` or one wait for a shell; an early end is a [`Stop`].

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use http::header::{AUTHORIZATION, REFERER, USER_AGENT, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version as Protocol};
use model::asset;
use model::config::VersionConfig;
use model::environ;
use model::errand::Errand;
use model::gate::{self, Caller, Verdict};
use model::handler::{HandlerKind, Script};
use model::headers::gzip;
use model::headers::request::{Client, Facts, Forwarded, clean};
use model::ingress::{Ingress, Way};
use model::journal::{self, Severity};
use model::pool::{Endpoint, Instance, Lease, Wanted};
use model::retry::Tries;
use model::route::handler::Matched;
use model::route::host::{self, Aim, AimError, By};
use model::route::path::Reading;
use model::route::{path, split};
use model::rpc::{self, Pass};
use model::signin::SignIn;
use model::table::{Estate, RoutingTable, Version};
use model::trace::{self, Sampler};
use model::traffic::ShardBy;
use model::user::User;

pub(crate) use crate::answer::Answered;
use crate::answer::{self, Answer, Ending, Manner};
use crate::assets;
use crate::body::Kind;
use crate::conn::Peer;
use crate::core::Core;
use crate::draws::Hex;
use crate::fault::Fault;
use crate::forward::{Failed, Notes, Reply, agent, http as upstream};
use crate::guard::Refusal;
use crate::invite;
use crate::link::Link;
use crate::login;
use crate::pace;
use crate::provider;
use crate::sweep::Alarm;
use crate::upload::Upload;
use crate::visit::Visit;

/// An early end.
enum Stop {
    /// The answer is known: a redirect, a sign-in page.
    Answer(Box<Answer>),
    /// There is none.
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Answer> for Stop {
    fn from(answer: Answer) -> Self {
        Self::Answer(Box::new(answer))
    }
}

/// A request at the door.
pub(crate) struct Arrival<'a> {
    pub(crate) core: &'a Rc<Core>,
    pub(crate) peer: &'a Peer,
    pub(crate) parts: &'a mut Parts,
    pub(crate) body: Upload,
    /// The connection that it came in on.
    pub(crate) link: Option<Rc<Link>>,
    /// HTTP/2 only: rings when the client takes no more of the answer.
    pub(crate) stall: Option<Rc<Alarm>>,
    /// It is not to be served, and why.
    pub(crate) refusal: Option<Refusal>,
    /// It is the house's own.
    pub(crate) errand: Option<Arc<Errand>>,
    /// Whoever writes the answer's head adds Date and Server.
    pub(crate) stamped: bool,
}

/// One request on its way.
struct Walk<'a> {
    core: &'a Rc<Core>,
    /// The snapshot that this request follows, until it has its place at an instance or in a queue: whoever publishes the next snapshot waits for
    /// that, so that no version goes away under a request that is on its way to it.
    estate: Option<Arc<Estate>>,
    peer: &'a Peer,
    refusal: Option<Refusal>,
    visit: &'a mut Visit,
    parts: &'a mut Parts,
    body: Upload,
    /// Known once the host was read; error pages are looked up in it.
    version: Option<Arc<Version>>,
    /// Set where a split by cookie gave the version.
    cookie: Option<Cookie>,
    errand: Option<Arc<Errand>>,
}

/// What a split by cookie asks of the answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cookie {
    /// The client was drawn for this bucket and is to keep it.
    pub(crate) bucket: Option<u16>,
}

/// Serves one request.
pub(crate) async fn walk(arrival: Arrival<'_>) -> Answered {
    let Arrival { core, peer, parts, body, link, stall, refusal, errand, stamped } = arrival;
    pace::served();
    let begun = Instant::now();
    let at = core.sweep.day(begun);
    let log_id = Hex::new(core.draws.id());
    let record = core.house.journal.wants_requests().then(|| record(core, parts, peer.ip, at, log_id.as_str()));
    let mut visit = Box::new(Visit::new(core.clone(), link, record, begun, at));
    visit.stall = stall;
    let estate = Some(core.house.estate.load_full());
    let method = parts.method.clone();
    let mut walk = Walk { core, estate, peer, refusal, visit: &mut visit, parts, body, version: None, cookie: None, errand };
    let outcome = {
        // Pinned where it lies: handing it to a function would copy some kilobytes.
        let mut steps = std::pin::pin!(walk.steps(log_id));
        // A panic in one request is its own affair: it becomes a fault.
        std::future::poll_fn(|cx| {
            std::panic::catch_unwind(AssertUnwindSafe(|| steps.as_mut().poll(cx))).unwrap_or(Poll::Ready(Err(Stop::Fault(Fault::Panic))))
        })
        .await
    };
    let version = walk.version.take();
    let mut close = false;
    let cookie = walk.cookie;
    let mut answer = match outcome {
        Ok(answer) => answer,
        Err(Stop::Answer(answer)) => *answer,
        Err(Stop::Fault(fault)) => {
            close = fault.closes() || refusal.is_some();
            visit.note(|record| record.fault = Some(fault.log()));
            answer::fault(core, version.as_ref(), &fault)
        }
    };
    visit.count.version = version;
    if let Some(cookie) = cookie {
        answer.follow(cookie, &core.stamp(at));
    }
    answer::respond(Ending { core, method: &method, at, close, stamped }, answer, visit).await
}

fn record(core: &Core, parts: &Parts, client: IpAddr, at: SystemTime, log_id: &str) -> Box<journal::Request> {
    let text = |name: HeaderName| parts.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let mut record = Box::new(journal::Request::new(at, log_id, client));
    parts.method.as_str().clone_into(&mut record.method);
    record.target = parts.uri.path_and_query().map_or_else(String::new, |target| target.as_str().to_owned());
    record.protocol = protocol_name(parts.version);
    record.agent = text(USER_AGENT);
    record.referrer = text(REFERER);
    if let Some(sampler) = &core.house.options.sampler {
        record.span = Some(Box::new(place(core, sampler, parts)));
    }
    record
}

/// Which task an errand is.
fn task(errand: &Errand) -> Option<journal::TaskNames> {
    let text = |name: &str| errand.trusted.get(name)?.to_str().ok().map(ToOwned::to_owned);
    Some(journal::TaskNames { queue: text("x-appengine-queuename")?, name: text("x-appengine-taskname")? })
}

/// Where the request stands in the trace that its `traceparent` names, or at the beginning of a new one. A trusted proxy's older header is heard
/// later, once the proxy is known.
fn place(core: &Core, sampler: &Sampler, parts: &Parts) -> journal::Span {
    let caller = parts.headers.get(TRACEPARENT).and_then(|value| trace::Caller::from_traceparent(value.to_str().ok()?));
    #[allow(clippy::cast_possible_truncation, reason = "half of the random bits are wanted")]
    let span = core.draws.id() as u64;
    let place = sampler.place(caller, core.draws.id(), span);
    journal::Span { place, https: false, wanted: None, asked: None, answered: None }
}

fn protocol_name(version: Protocol) -> &'static str {
    match version {
        Protocol::HTTP_10 => "HTTP/1.0",
        Protocol::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// Who asks, after a trusted proxy in front of us was heard.
enum Origin<'a> {
    Peer(&'a Client, &'a Forwarded),
    Proxied(Box<(Client, Forwarded)>),
}

impl Origin<'_> {
    fn client(&self) -> &Client {
        match self {
            Self::Peer(client, _) => client,
            Self::Proxied(both) => &both.0,
        }
    }

    fn forwarded(&self) -> &Forwarded {
        match self {
            Self::Peer(_, forwarded) => forwarded,
            Self::Proxied(both) => &both.1,
        }
    }
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE: HeaderName = HeaderName::from_static("x-cloud-trace-context");

fn origin<'a>(core: &Core, peer: &'a Peer, headers: &HeaderMap) -> Origin<'a> {
    if !peer.trusted {
        return Origin::Peer(&peer.client, &peer.forwarded);
    }
    let lines = headers.get_all(FORWARDED_FOR).iter().map(|line| line.to_str().unwrap_or_default());
    let heard = core.house.options.trusted_proxies.client(lines);
    let ip = heard.as_ref().map_or(peer.ip, |(client, _)| *client);
    let proto = headers.get(FORWARDED_PROTO).and_then(|value| value.to_str().ok());
    let https = proto.map_or(peer.client.https, |proto| proto.eq_ignore_ascii_case("https"));
    let client = Client::new(ip, https, core.house.geo(ip));
    let chain = heard.and_then(|(_, chain)| HeaderValue::try_from(chain).ok());
    let forwarded = Forwarded { proxy: chain.is_some().then_some(peer.ip), chain, trace: headers.get(TRACE).cloned() };
    Origin::Proxied(Box::new((client, forwarded)))
}

impl Walk<'_> {
    async fn steps(&mut self, log_id: Hex) -> Result<Answer, Stop> {
        if let Some(refusal) = self.refusal {
            return Err(Fault::from(refusal).into());
        }
        let bad = |text: &'static str| Fault::client(StatusCode::BAD_REQUEST, text);
        let known = self.peer.hosts.read(path::authority(self.parts).map_err(bad)?);
        self.visit.note(|record| record.host.clone_from(&known.authority));
        // Taken, not cloned: a clone would have to make its bytes shared.
        let uri = std::mem::take(&mut self.parts.uri);
        let (raw, query) = (uri.path(), uri.query());
        let path = match path::read(raw, query) {
            Reading::Clean(path) => path,
            Reading::Moved(to) => return Err(Answer::redirect(StatusCode::FOUND, &to).into()),
            Reading::Bad(text) => return Err(bad(text).into()),
        };
        if let Some(words) = self.core.house.options.vault.words(raw) {
            // Before all rules: the name may not lead to an app yet, or to one that only speaks https.
            let mut headers = HeaderMap::new();
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            return Ok(Answer::own(StatusCode::OK, headers, words));
        }
        let nowhere = |error: AimError| Fault::client(error.status(), error.to_string());
        let estate = self.estate.as_deref().ok_or(Fault::Panic)?;
        let host = known.host.as_ref().map_err(|error| nowhere(error.clone()))?;
        let (by, table) = estate.find_host(host).map_err(nowhere)?;
        // A share of its own: the snapshot is let go as soon as the request has its place.
        let table = Arc::clone(table);
        if self.errand.as_ref().is_some_and(|errand| errand.app != table.app) {
            return Err(Fault::client(StatusCode::NOT_FOUND, "The host belongs to another app.").into());
        }
        let table = &*table;
        self.visit.note(|record| record.app = Some(table.app.clone()));
        let aim = host::aim_at(table, host, by, &path).map_err(nowhere)?;
        // HTTP/1.0 needs no Host; what the app is asked in does, and so do redirects.
        let authority = if known.authority.is_empty() { &table.naming.default_hostname } else { &known.authority };
        let origin = origin(self.core, self.peer, &self.parts.headers);
        let version = self.pick(&aim, &origin);
        self.version = Some(version.clone());
        self.visit.note(|record| record.version = Some(version.config.key.clone()));
        if self.caller() == Caller::External && table.firewall.denies(origin.client().ip).is_some() {
            return Err(Fault::Denied.into());
        }
        if !aim.ingress.admits(self.way(aim.ingress, &origin)) {
            return Err(Fault::Outside.into());
        }
        if version.stopped {
            return Err(Fault::NotServing(format!("{} was stopped", version.config.key)).into());
        }
        self.note_origin(&origin);
        let user = self.core.house.seal.user(&self.parts.headers, &table.app, self.visit.at);
        self.visit.note(|record| record.user = user.as_ref().map(|user| user.email.clone()));
        let (user, log_id) = (user.as_ref(), &log_id);
        let place = Place { table, by, authority, uri: &uri, raw, query, path: &path, origin: &origin, user, log_id };
        let provided = matches!(self.core.house.options.sign_in, SignIn::Provider(_));
        if matches!(&*path, b"/_ah/login" | b"/_ah/logout") || (provided && *path == *provider::CALLBACK) {
            let answer = Box::pin(self.own_pages(&place)).await?;
            return Ok(answer);
        }
        let gzip = gzip::accepts(&self.parts.headers);
        self.clean();

        let mut found = version.handlers().find(&path);
        while let Some(matched) = found {
            let handler = matched.handler;
            self.visit.count.handler = Some(matched.index);
            self.visit.note(|record| record.handler = Some(handler_name(&matched)));
            self.pass(&matched, &place)?;
            match &handler.kind {
                HandlerKind::Script(script) => {
                    let call = Call { version, matched: &matched, script, instance: aim.instance };
                    let reply = self.ask(&call, &place).await?;
                    self.visit.mark(|span, now| span.answered = Some(now));
                    let admin = place.user.is_some_and(|user| user.admin);
                    return Ok(Answer { reply, manner: Manner::Dynamic { gzip, admin } });
                }
                HandlerKind::Static(files) => {
                    if let Some(reply) = self.file(version, &matched, &path, gzip).await? {
                        return Ok(Answer { reply, manner: Manner::Own });
                    }
                    if !files.require_matching_file {
                        return Err(missing(&self.parts.headers));
                    }
                    found = version.handlers().find_after(matched.index, &path);
                }
            }
        }
        Err(Fault::NotFound("The requested URL was not found on this server: no handler matches it.".into()).into())
    }

    /// The version that the split gives the client, or the one that is aimed at.
    fn pick<'t>(&mut self, aim: &Aim<'t>, origin: &Origin<'_>) -> &'t Arc<Version> {
        let Some(service) = aim.split else { return aim.version };
        let draw = || self.core.draws.number();
        let picked = split::pick(&service.split, origin.client().ip, &self.parts.headers, draw);
        self.cookie = (service.split.by() == Some(ShardBy::Cookie)).then_some(Cookie { bucket: picked.cookie });
        service.versions.get(picked.version).unwrap_or(aim.version)
    }

    /// Writes down who asks, and continues the trace of a trusted proxy that knows only the older header.
    fn note_origin(&mut self, origin: &Origin<'_>) {
        let sampler = self.core.house.options.sampler;
        self.visit.note(|record| {
            record.client = origin.client().ip;
            let (Some(span), Some(sampler)) = (&mut record.span, sampler) else { return };
            span.https = origin.client().https;
            let caller = origin.forwarded().trace.as_ref().and_then(|value| trace::Caller::from_cloud(value.to_str().ok()?));
            if span.place.parent.is_none() && caller.is_some() {
                span.place = sampler.place(caller, span.place.trace, span.place.span);
            }
        });
    }

    /// The way that the request came.
    fn way(&self, ingress: Ingress, origin: &Origin<'_>) -> Way {
        if ingress == Ingress::All || self.errand.is_some() {
            return Way::Inside;
        }
        let hearsay = !self.peer.trusted && self.parts.headers.contains_key(FORWARDED_FOR);
        self.core.house.options.inside.way(origin.client().ip, origin.forwarded().proxy.is_some(), hearsay)
    }

    /// Who asks.
    fn caller(&self) -> Caller {
        self.errand.as_ref().map_or(Caller::External, |errand| errand.caller)
    }

    /// Removes what no client may send, and adds what the house says by itself.
    fn clean(&mut self) {
        clean(&mut self.parts.headers, Caller::External);
        if let Some(errand) = &self.errand {
            let task = task(errand);
            self.visit.note(|record| record.task = task);
            self.parts.headers.extend(errand.trusted.clone());
        }
    }

    /// Time for the app.
    fn deadline(&self, config: &VersionConfig) -> Duration {
        let asked = self.errand.as_ref().and_then(|errand| errand.deadline).or(self.core.house.options.timeouts.deadline);
        asked.unwrap_or_else(|| config.deadline(self.caller()))
    }

    /// How long the request may wait for an instance: a task that says so not at all.
    fn patience(&self) -> Duration {
        let fast = self.errand.as_ref().is_some_and(|errand| errand.trusted.contains_key("x-appengine-failfast"));
        if fast { Duration::ZERO } else { self.core.house.options.patience }
    }

    /// The gate: `secure` and `login`.
    fn pass(&self, matched: &Matched<'_>, place: &Place<'_>) -> Result<(), Stop> {
        let house = &self.core.house;
        let ask = gate::Ask {
            caller: self.caller(),
            user: place.user,
            https: place.origin.client().https,
            enforce_secure: self.caller() == Caller::External && (house.https_port != 0 && house.http_port != 0 || self.peer.trusted),
            authority: place.authority,
            path: place.raw,
            query: place.query,
            http_port: if self.peer.trusted { 80 } else { house.http_port },
            https_port: if self.peer.trusted { 443 } else { house.https_port },
        };
        match gate::check(matched.handler, &ask) {
            Verdict::Pass => Ok(()),
            Verdict::Redirect { status, location } => Err(Answer::redirect(status, &location).into()),
            Verdict::LogIn { location } => Err(Answer::redirect(StatusCode::FOUND, &location).into()),
            Verdict::Unauthorized(text) => {
                let mut headers = crate::page::headers();
                // RFC 9110 §11.6.1 wants a challenge with every 401; this one makes no browser ask for a password.
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Cookie realm=\"App Engine\", form-action=\"/_ah/login\""));
                Err(Answer::own(StatusCode::UNAUTHORIZED, headers, text).into())
            }
        }
    }

    /// `/_ah/login` and `/_ah/logout`, which come before the app's handlers.
    async fn own_pages(&mut self, place: &Place<'_>) -> Result<Answer, Fault> {
        if !matches!(self.parts.method, Method::GET | Method::HEAD | Method::POST) {
            return Err(Fault::client(StatusCode::METHOD_NOT_ALLOWED, "This page takes GET and POST."));
        }
        let mut upload = self.upload()?;
        let form = if self.parts.method == Method::POST { upload.collect().await.map_err(Fault::Cut)? } else { bytes::Bytes::new() };
        let draw = Hex::new(self.core.draws.ticket());
        let ask = login::Ask {
            method: &self.parts.method,
            headers: &self.parts.headers,
            query: place.query,
            form: &form,
            authority: place.authority,
            https: place.origin.client().https,
            app: &place.table.app,
            user: place.user,
            now: self.visit.at,
            draw: draw.as_str(),
        };
        let own = |host: &str| host::owns(place.table, place.by, host, place.authority);
        let seal = &self.core.house.seal;
        let provider::Outcome { page, detail } = match (&self.core.house.options.sign_in, place.path) {
            (SignIn::Open, b"/_ah/login") => login::sign_in(seal, &ask, own).into(),
            (SignIn::Links, b"/_ah/login") => invite::sign_in(seal, &ask, own).into(),
            (SignIn::Open | SignIn::Links, _) => login::sign_out(&ask, own).into(),
            (SignIn::Provider(provider), b"/_ah/login") => provider::sign_in(&**provider, seal, &ask, own).await,
            (SignIn::Provider(provider), b"/_ah/logout") => provider::sign_out(&**provider, &ask, own).await,
            (SignIn::Provider(provider), _) => provider::finish(&**provider, seal, &ask).await,
        };
        if detail.is_some() {
            self.visit.note(|record| record.fault = detail);
        }
        Ok(Answer::own(page.status, page.headers, page.html))
    }

    async fn file(&self, version: &Arc<Version>, matched: &Matched<'_>, path: &[u8], gzip: bool) -> Result<Option<Reply>, Fault> {
        let wish = assets::Wish {
            version,
            matched,
            path,
            method: &self.parts.method,
            headers: &self.parts.headers,
            gzip,
            now: self.core.stamp(self.visit.at).seconds,
        };
        assets::serve(self.core, &wish).await
    }

    fn upload(&mut self) -> Result<Upload, Fault> {
        let upload = std::mem::replace(&mut self.body, Upload::empty());
        if upload.too_large() { Err(Fault::Cut(crate::upload::Cut::TooLarge)) } else { Ok(upload) }
    }

    /// Waits for an instance and asks it.
    async fn ask(&mut self, call: &Call<'_>, place: &Place<'_>) -> Result<Reply, Fault> {
        if *call.script == Script::Nothing {
            return Ok(Reply { status: StatusCode::OK, headers: HeaderMap::new(), body: Kind::Empty });
        }
        let config = &call.version.config;
        let buffered = config.runtime.is_first_generation();
        let mut upload = self.upload()?;
        let known = upload.length();
        let wsgi = config.runtime.python_version().is_some() && config.entrypoint.is_none();
        if !upload.is_empty() && (buffered || (wsgi && known.is_none())) {
            // WSGI and CGI read CONTENT_LENGTH bytes, so a body of unknown length is collected first; before the lease, so that a slow client
            // keeps no instance busy.
            upload = Upload::whole(Box::pin(upload.collect()).await.map_err(Fault::Cut)?);
        }
        let notes = Rc::new(Notes::default());
        self.visit.notes = Some(notes.clone());
        let script = match call.script {
            Script::Wsgi(template) | Script::Cgi(template) => {
                let expanded = template.expand(&call.matched.captures(place.path), place.path);
                Some(String::from_utf8(expanded).map_err(|_| Fault::NoScript("the script's name is not UTF-8".into()))?)
            }
            Script::Auto | Script::Nothing => None,
        };
        let deadline = self.deadline(config);
        let mut turn = Turn { lease: self.lease(call).await?, script: script.as_deref(), upload, buffered, left: deadline, notes };
        let since = self.core.sweep.now();
        let mut tries = Tries::default();
        loop {
            let (instance, notes) = (turn.lease.instance.clone(), turn.notes.clone());
            let Failed { fault, again } = match self.send(call, place, &instance, turn).await {
                Ok(reply) => return Ok(reply),
                Err(failed) => failed,
            };
            let Some((reach, upload)) = again else { return Err(fault) };
            let Some(pause) = tries.again(reach, &self.parts.method) else { return Err(fault) };
            notes.line(Severity::Warning, format!("instance {} is lost: {}; another one is asked", instance.id, fault.log()).as_bytes());
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let lease = self.lease(call).await?;
            let left = deadline.saturating_sub(Duration::from_millis(self.core.sweep.now().saturating_sub(since)));
            if left.is_zero() {
                return Err(fault);
            }
            turn = Turn { lease, script: script.as_deref(), upload, buffered, left, notes };
        }
    }

    /// Asks one instance, that of the lease.
    async fn send(&mut self, call: &Call<'_>, place: &Place<'_>, instance: &Instance, turn: Turn<'_>) -> Result<Reply, Failed> {
        let Turn { mut lease, script, upload, buffered, left, notes } = turn;
        let alarm = self.visit.alarm();
        let ticket = Hex::new(self.core.draws.ticket());
        let facts = Facts {
            caller: self.caller(),
            client: place.origin.client(),
            forwarded: place.origin.forwarded(),
            trace: self.core.draws.id(),
            place: self.visit.place(),
            log_id: place.log_id.as_str(),
            ticket: ticket.as_str(),
            timeout: left,
            default_hostname: &place.table.naming.default_hostname,
            user: place.user,
            login: gate::shows_user(call.matched.handler, &call.version.config),
        };
        self.visit.note(|record| record.trace = Some(facts.trace_id()));
        if let Some(place) = &facts.place
            && let Ok(value) = HeaderValue::try_from(place.traceparent())
        {
            self.parts.headers.insert(TRACEPARENT, value);
        }
        self.visit.mark(|span, now| span.asked = Some(now));
        if let Some(door) = &instance.door {
            lease.pass = Some(Pass::new(door, ticket.as_str(), self.seen(place, facts.trace_id())));
        }
        match &instance.endpoint {
            Endpoint::Agent(socket) => {
                let environ = environ::Call {
                    version: call.version,
                    facts: &facts,
                    method: &self.parts.method,
                    authority: place.authority,
                    port: self.peer.port,
                    path: place.path,
                    raw_path: place.raw,
                    query: place.query,
                    protocol: protocol_name(self.parts.version),
                    headers: &self.parts.headers,
                    content_length: upload.length().unwrap_or(0),
                    script,
                    kind: call.script,
                };
                let question = agent::Question { lease, upload, buffered, deadline: left, alarm, notes };
                let answer = agent::ask(self.core, socket, question, |out| environ::write(out, &environ)).await;
                // The SDK: a CGI script that does not exist is a 404, an object that does not exist an error of the app.
                answer.map_err(|failed| match (failed.fault, call.script) {
                    (Fault::NoScript(_), Script::Cgi(_)) => Fault::NotFound("The script of this handler does not exist.".into()).into(),
                    (fault, _) => Failed { fault, ..failed },
                })
            }
            Endpoint::Http(address) => {
                let question = upstream::Question {
                    lease,
                    method: &self.parts.method,
                    target: place.uri.path_and_query().map_or("/", |target| target.as_str()),
                    authority: place.authority,
                    headers: &self.parts.headers,
                    facts: &facts,
                    upload,
                    buffered,
                    deadline: left,
                    alarm,
                    notes,
                };
                upstream::ask(self.core, *address, question).await
            }
        }
    }

    /// What bundled services may know.
    fn seen(&self, place: &Place<'_>, trace: u128) -> rpc::Visit {
        let client = place.origin.client();
        let header = |name: HeaderName| self.parts.headers.get(name).cloned();
        rpc::Visit {
            log_id: place.log_id.as_str().to_owned(),
            authority: place.authority.to_owned(),
            https: client.https,
            user: place.user.map(|user| user.email.clone()),
            at: Some(self.visit.at),
            trace,
            method: self.parts.method.clone(),
            target: place.uri.clone(),
            client: Some(client.ip),
            authorization: header(AUTHORIZATION),
            agent: header(USER_AGENT),
            internal: self.caller() != Caller::External,
        }
    }

    async fn lease(&mut self, call: &Call<'_>) -> Result<Lease, Fault> {
        let wanted = Wanted { version: Arc::clone(call.version), instance: call.instance };
        let house = &self.core.house;
        self.visit.mark(|span, now| span.wanted = Some(now));
        let lease = if let Some(lease) = house.pool.try_acquire(&wanted) {
            self.estate = None;
            lease
        } else {
            let waiting = house.pool.acquire(wanted, self.patience());
            self.estate = None;
            waiting.await?
        };
        self.visit.count.pending = Some(self.visit.count.pending.unwrap_or_default() + lease.waited);
        self.visit.count.cold = lease.cold;
        self.visit.note(|record| {
            record.instance = Some(lease.instance.id.clone());
            record.cold = lease.cold;
            record.pending += lease.waited;
        });
        Ok(lease)
    }
}

/// What is known of a request before a handler is looked for.
struct Place<'a> {
    table: &'a RoutingTable,
    by: By,
    authority: &'a str,
    uri: &'a Uri,
    raw: &'a str,
    query: Option<&'a str>,
    path: &'a [u8],
    origin: &'a Origin<'a>,
    user: Option<&'a User>,
    log_id: &'a Hex,
}

/// What one instance is asked with.
struct Turn<'a> {
    lease: Lease,
    /// The script after expansion, if the handler names one.
    script: Option<&'a str>,
    upload: Upload,
    buffered: bool,
    /// What is left of the deadline.
    left: Duration,
    notes: Rc<Notes>,
}

/// A script that is to be run.
struct Call<'a> {
    version: &'a Arc<Version>,
    matched: &'a Matched<'a>,
    script: &'a Script,
    instance: Option<u32>,
}

fn missing(headers: &HeaderMap) -> Stop {
    match asset::missing(headers) {
        StatusCode::NOT_FOUND => Fault::NotFound("The requested URL was not found on this server.".into()).into(),
        status => Fault::client(status, "The file does not exist.").into(),
    }
}

pub(crate) fn handler_name(matched: &Matched<'_>) -> String {
    let origin = &matched.handler.origin;
    if origin.line == 0 {
        return matched.handler.written.clone();
    }
    format!("{}:{} {}", origin.file, origin.line, matched.handler.written)
}
