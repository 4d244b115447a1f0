//! What comes back: reports of other mail servers about what an app has sent are bounces, not mail (docs/decisions/372-reports-that-come-later.md).

use std::io;

use model::ids::AppId;
use model::journal::Severity;

use super::bounce::{self, Notice};
use super::drawer::{Slip, State, Way, fresh_id};
use super::dsn::{self, Report};
use super::office::{Office, slip};
use super::session::header;

/// What is known of a message without a sender.
struct Back<'m> {
    message: &'m [u8],
    report: Option<Report>,
}

impl Office {
    /// Where reports about a message are to come: to an address that names it, if they then come here.
    pub(super) fn return_path(&self, app: &AppId, slip: &Slip) -> String {
        let comes_here = self.settings.listen.is_some() && self.takes_bounces(app) && self.is_own(app, &slip.from);
        let named = if comes_here { dsn::return_address(&slip.id, &slip.from) } else { None };
        named.unwrap_or_else(|| slip.from.clone())
    }

    /// What an app has sent, as long as it is kept.
    pub(super) fn sent(&self, app: &AppId, id: &str) -> Option<Slip> {
        self.drawer(app).slip(id).ok().flatten().filter(|slip| slip.way == Way::Out)
    }

    /// Takes what comes back to an app as bounces; who gets it as mail is what is left.
    pub(super) async fn sort(&self, app: &AppId, from: &str, to: Vec<String>, message: &[u8]) -> io::Result<Vec<String>> {
        let back = Back { message, report: if from.is_empty() { dsn::read(message) } else { None } };
        let mut mail = Vec::new();
        for address in to {
            let about = dsn::returned(&address).and_then(|id| self.sent(app, id));
            match (about, &back.report) {
                (Some(about), Some(report)) => self.returned(app, &address, about, &report.failed, &back).await?,
                (Some(about), None) if from.is_empty() && dsn::is_daemons(message) => {
                    let failed: Vec<_> = about.to.iter().map(|to| (to.clone(), "not delivered".to_owned())).collect();
                    self.returned(app, &address, about, &failed, &back).await?;
                }
                // Somebody answers, or a program of theirs.
                (Some(about), None) => mail.extend(self.takes(&about.from).is_some_and(|other| other == *app).then_some(about.from)),
                (None, Some(report)) => match self.meant(app, &address, report) {
                    Some(about) => self.returned(app, &address, about, &report.failed, &back).await?,
                    None => mail.push(address),
                },
                (None, None) => mail.push(address),
            }
        }
        Ok(mail)
    }

    /// The message that a report to its sender is about, by its `Message-ID`.
    fn meant(&self, app: &AppId, address: &str, report: &Report) -> Option<Slip> {
        let (id, _) = report.about.as_deref()?.split_once('@')?;
        let known = || self.sent(app, id).filter(|about| about.from.eq_ignore_ascii_case(address));
        if report.failed.is_empty() || !self.takes_bounces(app) { None } else { known() }
    }

    async fn returned(&self, app: &AppId, address: &str, about: Slip, failed: &[(String, String)], back: &Back<'_>) -> io::Result<()> {
        if failed.is_empty() {
            let text = format!("mail {} is on its way still, says {}", about.id, header(back.message, "From").unwrap_or_default());
            (self.settings.notices)(Some(app), Severity::Info, text);
            return Ok(());
        }
        let (drawer, id) = (self.drawer(app), about.id.clone());
        let original = tokio::task::spawn_blocking(move || drawer.message(&id)).await.map_err(io::Error::other)??;
        let form_id = fresh_id();
        let form = form(&form_id, &original, address, failed, back);
        let from = header(back.message, "From").unwrap_or_default();
        let bounced = slip(form_id, Way::Bounce, State::Queued, from, vec![about.from.clone()], about.subject.clone(), form.len());
        self.put(app, Slip { about: Some(about.id.clone()), ..bounced }, form).await?;
        self.noted(app, about, failed).await;
        Ok(())
    }

    /// Writes down that a message came back, unless it is still under way to others.
    async fn noted(&self, app: &AppId, mut about: Slip, failed: &[(String, String)]) {
        if about.state != State::Delivered {
            return;
        }
        let all = about.to.iter().all(|to| failed.iter().any(|(who, _)| who.eq_ignore_ascii_case(to)));
        about.state = if all { State::Failed } else { State::Delivered };
        let lines: Vec<String> = failed.iter().map(|(who, why)| format!("{who}: {why}")).collect();
        about.note = format!("came back: {}", lines.join("; "));
        (self.settings.notices)(Some(app), Severity::Warning, format!("mail {} {}", about.id, about.note));
        let drawer = self.drawer(app);
        // What cannot be written down is in the log.
        let _ = tokio::task::spawn_blocking(move || drawer.note(&about)).await;
    }
}

fn form(id: &str, original: &[u8], address: &str, failed: &[(String, String)], back: &Back<'_>) -> Vec<u8> {
    let of = |name: &str| header(back.message, name).unwrap_or_default();
    let said = match &back.report {
        Some(report) => format!("{}\r\n\r\n{}", report.text.trim_end(), bounce::said(failed)),
        None => dsn::text(back.message),
    };
    let who: Vec<String> = failed.iter().map(|(to, _)| to.clone()).collect();
    let notice = Notice { from: &of("From"), to: address, subject: &of("Subject"), text: &said };
    bounce::form(id, original, &who, &notice)
}
