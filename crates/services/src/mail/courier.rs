//! Who delivers: to the mail server of the owner, or to the app. What fails for a while is tried again, later each time, for a day.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use model::errand::Errand;
use model::gate::{Caller, Internal};
use model::ids::AppId;
use model::journal::Severity;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::task::JoinSet;

use super::bounce::{self, FAILURE, Notice};
use super::drawer::{Slip, State, Way, fresh_id, now};
use super::office::{Office, Waiting, mail_domain, people, slip};
use super::relay::{Trouble, hand_over};
use super::session::header;

/// Messages that are delivered at a time.
const AT_ONCE: usize = 16;
/// How often drawers are looked through for what another process left there.
const ROUND: Duration = Duration::from_mins(1);
/// First pause, longest pause, and when it is given up, in milliseconds.
const PAUSE: u64 = 10_000;
const LONGEST_PAUSE: u64 = 3_600_000;
const GIVEN_UP: u64 = 24 * 3_600_000;
/// What apps see as the address of mail (the SDK's `MAIL_REQUEST` comes from 0.1.0.20).
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(0, 1, 0, 20));
/// What stays as it is in a segment of a path.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Delivers until it is dropped.
pub(super) async fn work(office: Arc<Office>) {
    let mut agenda: BTreeSet<(u64, AppId, String)> = BTreeSet::new();
    let mut busy: HashSet<Waiting> = HashSet::new();
    let mut running = JoinSet::new();
    let mut rounds = tokio::time::interval(ROUND);
    loop {
        while running.len() < AT_ONCE
            && let Some((_, app, id)) = agenda.first().filter(|(due, ..)| *due <= now()).cloned()
        {
            agenda.pop_first();
            if busy.insert((app.clone(), id.clone())) {
                let office = Arc::clone(&office);
                running.spawn(async move {
                    let next = deliver(&office, &app, &id).await;
                    (next, app, id)
                });
            }
        }
        let next = agenda.first().map_or(u64::MAX, |(due, ..)| due.saturating_sub(now()));
        let room = running.len() < AT_ONCE;
        tokio::select! {
            () = office.wake.notified() => agenda.extend(office.fresh().into_iter().map(|(app, id)| (0, app, id))),
            Some(done) = running.join_next(), if !running.is_empty() => {
                let Ok((next, app, id)) = done else { continue };
                busy.remove(&(app.clone(), id.clone()));
                if let Some(next) = next {
                    agenda.insert((next, app, id));
                }
            }
            _ = rounds.tick() => {
                let found = left(&office).await;
                let known: HashSet<Waiting> = agenda.iter().map(|(_, app, id)| (app.clone(), id.clone())).chain(busy.iter().cloned()).collect();
                agenda.extend(found.into_iter().filter(|(_, app, id)| !known.contains(&(app.clone(), id.clone()))));
            }
            () = tokio::time::sleep(Duration::from_millis(next.min(3_600_000))), if room && next != u64::MAX => {}
        }
    }
}

/// What lies in the drawers of all apps.
async fn left(office: &Arc<Office>) -> Vec<(u64, AppId, String)> {
    let Some(estate) = office.outside.estate() else { return Vec::new() };
    let apps: Vec<AppId> = estate.apps.keys().cloned().collect();
    drop(estate);
    let office = Arc::clone(office);
    let looked = tokio::task::spawn_blocking(move || {
        let of = |app: AppId| {
            let queued = office.drawer(&app).queued().unwrap_or_default();
            queued.into_iter().map(move |slip| (slip.next, app.clone(), slip.id))
        };
        apps.into_iter().flat_map(of).collect()
    });
    looked.await.unwrap_or_default()
}

/// Tries to deliver; when it is to be tried again.
async fn deliver(office: &Arc<Office>, app: &AppId, id: &str) -> Option<u64> {
    let (drawer, name) = (office.drawer(app), id.to_owned());
    let read = tokio::task::spawn_blocking(move || Some((drawer.slip(&name).ok()??, drawer.message(&name).ok()?))).await.ok()?;
    let (mut slip, message) = read.filter(|(slip, _)| slip.state == State::Queued)?;
    slip.tries += 1;
    let refused = match slip.way {
        Way::Out => send_out(office, app, &mut slip, &message).await,
        Way::In => bring_in(office, app, &mut slip, message.clone()).await,
        Way::Bounce => bring_bounce(office, app, &mut slip, message.clone()).await,
    };
    conclude(&mut slip, &refused);
    // Nobody gets it any more: that is a refusal too.
    let mut refused = refused;
    if slip.state == State::Failed {
        refused.extend(slip.pending.drain(..).map(|to| (to, slip.note.clone())));
    }
    let next = (slip.state == State::Queued).then_some(slip.next);
    // The report first: what is noted as refused is not looked at again.
    if slip.way == Way::Out && !refused.is_empty() && office.takes_bounces(app) {
        report(office, app, &slip, &refused, &message).await;
    }
    let (drawer, written) = (office.drawer(app), slip.clone());
    let noted = tokio::task::spawn_blocking(move || drawer.note(&written)).await;
    if matches!(noted, Ok(Ok(()))) {
        tell(office, app, &slip, &refused);
    } else {
        (office.settings.notices)(Some(app), Severity::Error, format!("what came of mail {id} cannot be written down"));
    }
    next
}

/// Whom it will never reach, and why.
type Refused = Vec<(String, String)>;

/// Whoever is in this house gets it here, all others through the mail server.
async fn send_out(office: &Office, app: &AppId, slip: &mut Slip, message: &[u8]) -> Refused {
    let (here, others): (Vec<String>, Vec<String>) =
        std::mem::take(&mut slip.pending).into_iter().partition(|to| office.takes(to).is_some());
    if !here.is_empty()
        && let Err(error) = office.take_in(&slip.from, &here, message.to_vec()).await
    {
        slip.note = error.to_string();
        slip.pending = here;
    }
    if others.is_empty() {
        return Refused::new();
    }
    let Some(relay) = &office.settings.relay else {
        slip.note = format!("no mail server is named (--smtp-url); {} did not get it", people(&others));
        return Refused::new();
    };
    match hand_over(relay, &office.trust, &office.return_path(app, slip), &others, message).await {
        Ok(outcome) => {
            let mut refused = Refused::new();
            for (to, said) in outcome {
                match said {
                    Ok(()) => {}
                    Err(said) if said.is_final() => refused.push((to, said.to_string())),
                    Err(said) => {
                        slip.note = said.to_string();
                        slip.pending.push(to);
                    }
                }
            }
            refused
        }
        Err(Trouble::Refused(said)) if said.is_final() => others.into_iter().map(|to| (to, said.to_string())).collect(),
        Err(trouble) => {
            slip.note = trouble.to_string();
            slip.pending.extend(others);
            Refused::new()
        }
    }
}

/// `POST /_ah/mail/ADDRESS` for each of them.
async fn bring_in(office: &Office, app: &AppId, slip: &mut Slip, message: Vec<u8>) -> Refused {
    let message = Bytes::from(message);
    let mut refused = Refused::new();
    for to in std::mem::take(&mut slip.pending) {
        let target = format!("/_ah/mail/{}", utf8_percent_encode(&to, KEPT));
        match post(office, app, target, "message/rfc822", message.clone()).await {
            Ok(()) => {}
            Err(Unposted { why, last: true }) => refused.push((to, why)),
            Err(Unposted { why, last: false }) => {
                slip.note = why;
                slip.pending.push(to);
            }
        }
    }
    refused
}

/// `POST /_ah/bounce`.
async fn bring_bounce(office: &Office, app: &AppId, slip: &mut Slip, form: Vec<u8>) -> Refused {
    match post(office, app, "/_ah/bounce".into(), &bounce::content_type(&slip.id), form.into()).await {
        Ok(()) => slip.pending.clear(),
        Err(Unposted { why, last }) => {
            slip.note.clone_from(&why);
            if last {
                return slip.pending.drain(..).map(|to| (to, why.clone())).collect();
            }
        }
    }
    Refused::new()
}

/// Why an app has not taken something, and whether it never will.
struct Unposted {
    why: String,
    last: bool,
}

async fn post(office: &Office, app: &AppId, target: String, kind: &str, body: Bytes) -> Result<(), Unposted> {
    let later = |why: String| Unposted { why, last: false };
    let table = office.outside.table(app).ok_or_else(|| later("the app is not there".into()))?;
    let authority = table.naming.default_hostname.clone();
    drop(table);
    let kind = HeaderValue::try_from(kind).map_err(|_| later("the content type is malformed".into()))?;
    let errand = Errand {
        app: app.clone(),
        authority,
        caller: Caller::Internal(Internal::Mail),
        source: SOURCE,
        https: false,
        method: Method::POST,
        target,
        headers: HeaderMap::from_iter([(CONTENT_TYPE, kind)]),
        trusted: HeaderMap::new(),
        body,
        deadline: None,
        most: 4096,
    };
    let answer = office.outside.run(errand).await.map_err(|unanswered| later(unanswered.to_string()))?;
    match answer.status.as_u16() {
        200..=299 => Ok(()),
        status @ (404 | 405) => Err(Unposted { why: format!("the app answers with {status}: it has no handler for it"), last: true }),
        status => Err(later(format!("the app answers with {status}"))),
    }
}

/// What has come of it, and when it is tried again.
fn conclude(slip: &mut Slip, refused: &Refused) {
    if let Some((_, why)) = refused.last() {
        slip.note.clone_from(why);
    }
    if slip.pending.is_empty() {
        slip.state = match slip.way {
            _ if !refused.is_empty() && refused.len() == slip.to.len() => State::Failed,
            Way::Out if slip.note.starts_with("no mail server") => State::Kept,
            _ => State::Delivered,
        };
        return;
    }
    let pause = PAUSE.saturating_mul(1 << slip.tries.saturating_sub(1).min(20)).min(LONGEST_PAUSE);
    slip.next = now().saturating_add(pause);
    if slip.next > slip.time.saturating_add(GIVEN_UP) {
        slip.state = State::Failed;
    }
}

fn tell(office: &Office, app: &AppId, slip: &Slip, refused: &Refused) {
    let Slip { id, to, subject, note, .. } = slip;
    let what = match slip.way {
        Way::Bounce => format!("the bounce {id}"),
        _ => format!("mail {id} to {}", people(to)),
    };
    let (severity, text) = match slip.state {
        State::Delivered if refused.is_empty() => (Severity::Info, format!("{what} is delivered: {subject}")),
        State::Delivered | State::Failed => (Severity::Warning, format!("{what} is not delivered: {note}")),
        State::Kept => (Severity::Info, format!("{what} is kept: {note}")),
        State::Queued => (Severity::Warning, format!("{what} waits: {note}")),
    };
    (office.settings.notices)(Some(app), severity, text);
}

/// Lets the app hear of whom its message did not reach.
async fn report(office: &Office, app: &AppId, about: &Slip, refused: &Refused, message: &[u8]) {
    let id = fresh_id();
    let who: Vec<String> = refused.iter().map(|(to, _)| to.clone()).collect();
    let from = format!("mailer-daemon@{}", mail_domain(app));
    let (to, said) = (header(message, "From").unwrap_or_default(), bounce::said(refused));
    let form = bounce::form(&id, message, &who, &Notice { from: &from, to: &to, subject: FAILURE, text: &said });
    let bounced = slip(id, Way::Bounce, State::Queued, from, vec![about.from.clone()], about.subject.clone(), form.len());
    let bounced = Slip { about: Some(about.id.clone()), ..bounced };
    if let Err(error) = office.put(app, bounced, form).await {
        (office.settings.notices)(Some(app), Severity::Error, format!("the bounce of mail {} cannot be kept: {error}", about.id));
    }
}
