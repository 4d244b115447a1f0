//! mail (rows S4, Y21): what apps send, and what they get.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use model::journal::Severity;
use model::pool::Boxed;

pub mod address;
pub mod bounce;
pub mod compose;
pub mod drawer;
pub mod dsn;
pub mod office;
pub mod relay;
pub mod rules;
pub mod session;
pub mod words;

mod courier;
mod listener;
mod returns;

use crate::call::{Answer, Context, Failure, Service, read, write};
use crate::card::{self, Card};
use crate::proto::mail::{self as pb, ErrorCode};
use address::Mailbox;
use office::Office;

/// Messages that tests may still ask for.
const REMEMBERED: usize = 1000;

/// The service.
pub struct Mail {
    office: Arc<Office>,
    /// Test mode: what was sent.
    sent: Mutex<Vec<pb::MailMessage>>,
    /// Test mode: what tests want to see of it in the log.
    logged: Mutex<Logged>,
}

/// Whether messages are logged whole, and under which name of a level; the stub begins so.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Logged {
    body: bool,
    level: String,
}

impl Mail {
    /// The service of an office.
    pub fn new(office: Arc<Office>) -> Self {
        let logged = Logged { body: office.settings.show_body, level: "INFO".into() };
        Self { office, sent: Mutex::default(), logged: Mutex::new(logged) }
    }

    fn logged(&self) -> MutexGuard<'_, Logged> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self) -> MutexGuard<'_, Vec<pb::MailMessage>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, message: Bytes, admins: Option<&[Mailbox]>, context: &Context) -> Answer {
        let message: pb::MailMessage = read(message)?;
        let remembered = context.testing.then(|| message.clone());
        let letter = rules::check(message, admins)?;
        let user = context.visit.as_ref().and_then(|visit| visit.user.as_deref());
        if !self.office.may_send(context.app(), &letter.from, user) {
            let text = format!(
                "Unauthorized sender: {} is not the app's; the owner of the server can add it with --mail-sender.",
                letter.from.address
            );
            return Err(Failure::app(ErrorCode::UnauthorizedSender, text));
        }
        let lost = |error: std::io::Error| Failure::app(ErrorCode::InternalError, format!("The message cannot be kept: {error}."));
        let (body, level) = {
            let logged = self.logged();
            (logged.body, severity(&logged.level))
        };
        if body {
            self.office.tell(context.app(), level, &letter);
        }
        self.office.send(context.app(), letter).await.map_err(lost)?;
        let mut sent = self.sent();
        if sent.len() < REMEMBERED {
            sent.extend(remembered);
        }
        Ok(Bytes::new())
    }
}

/// The severity of a level of Java's logging or of Python's.
fn severity(level: &str) -> Severity {
    match level {
        "SEVERE" | "50" | "40" => Severity::Error,
        "WARNING" | "30" => Severity::Warning,
        "CONFIG" | "FINE" | "FINER" | "FINEST" | "ALL" | "10" => Severity::Debug,
        _ => Severity::Info,
    }
}

impl Service for Mail {
    fn card(&self) -> &'static Card {
        &card::MAIL
    }

    fn most(&self) -> usize {
        32 << 20
    }

    fn clear(&self) {
        self.sent().clear();
        self.office.clear();
    }

    fn call<'a>(&'a self, method: &'a str, message: Bytes, context: &'a Context) -> Boxed<'a, Answer> {
        Box::pin(async move {
            match method {
                "Send" => self.send(message, None, context).await,
                "SendToAdmins" => self.send(message, Some(&self.office.settings.admins), context).await,
                "GetSentMessages" if context.testing => Ok(write(&pb::GetSentMessagesResponse { sent_message: self.sent().clone() })),
                "ClearSentMessages" if context.testing => {
                    let count = std::mem::take(&mut *self.sent()).len();
                    Ok(write(&pb::ClearSentMessagesResponse { messages_cleared: i32::try_from(count).ok() }))
                }
                "GetLogMailBody" if context.testing => Ok(write(&pb::LogMailBody { log_mail_body: self.logged().body })),
                "SetLogMailBody" if context.testing => {
                    self.logged().body = read::<pb::LogMailBody>(message)?.log_mail_body;
                    Ok(Bytes::new())
                }
                "GetLogMailLevel" if context.testing => Ok(write(&pb::LogMailLevel { log_mail_level: self.logged().level.clone() })),
                "SetLogMailLevel" if context.testing => {
                    self.logged().level = read::<pb::LogMailLevel>(message)?.log_mail_level;
                    Ok(Bytes::new())
                }
                _ => Err(Failure::no_call("mail", method)),
            }
        })
    }
}
