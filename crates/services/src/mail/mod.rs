//! mail (rows S4, Y21): what apps send, and what they get.

use std::sync::Arc;

use bytes::Bytes;
use model::pool::Boxed;

pub mod address;
pub mod bounce;
pub mod compose;
pub mod drawer;
pub mod office;
pub mod relay;
pub mod rules;
pub mod session;

mod courier;
mod listener;

use crate::call::{Answer, Context, Failure, Service, read};
use crate::proto::mail::{self as pb, ErrorCode};
use office::Office;

/// The service.
pub struct Mail(pub Arc<Office>);

impl Service for Mail {
    fn name(&self) -> &'static str {
        "mail"
    }

    fn most(&self) -> usize {
        32 << 20
    }

    fn call<'a>(&'a self, method: &'a str, message: Bytes, context: &'a Context) -> Boxed<'a, Answer> {
        Box::pin(async move {
            let admins = match method {
                "Send" => None,
                "SendToAdmins" => Some(self.0.settings.admins.as_slice()),
                _ => return Err(Failure::no_call("mail", method)),
            };
            let letter = rules::check(read::<pb::MailMessage>(message)?, admins)?;
            let user = context.visit.as_ref().and_then(|visit| visit.user.as_deref());
            if !self.0.may_send(context.app(), &letter.from, user) {
                let text = format!(
                    "Unauthorized sender: {} is not the app's; the owner of the server can add it with --mail-sender.",
                    letter.from.address
                );
                return Err(Failure::app(ErrorCode::UnauthorizedSender, text));
            }
            let lost = |error: std::io::Error| Failure::app(ErrorCode::InternalError, format!("The message cannot be kept: {error}."));
            self.0.send(context.app(), letter).await.map_err(lost)?;
            Ok(Bytes::new())
        })
    }
}
