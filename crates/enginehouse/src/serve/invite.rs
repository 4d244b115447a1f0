//! `/enginehouse/v1/apps/APP/signIns`: links by which people sign in where no provider knows them (docs/decisions/375-who-signs-in.md).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use control::status::{Code, Status};
use control::ward::{Question, Ward};
use edge::Invitations;
use http::Method;
use model::table::Estate;
use model::user::User;
use serde_json::{Value, json};

/// How long a link is good if nobody says otherwise, and at most.
const USUAL: u64 = 15;
const MOST: u64 = 7 * 24 * 60;

/// The ward of links.
pub(crate) struct InviteWard {
    pub(crate) invitations: Invitations,
    pub(crate) estate: Arc<ArcSwap<Estate>>,
    /// Whether our own page takes links at all.
    pub(crate) taken: bool,
}

impl Ward for InviteWard {
    fn collection(&self) -> &'static str {
        "signIns"
    }

    fn answer(&self, question: &Question) -> Result<Value, Status> {
        if question.method != Method::POST || question.path.len() != 1 || question.verb.is_some() {
            return Err(question.missing());
        }
        if !self.taken {
            let text = "This server signs users in by another way than links: it has --oidc-issuer or --sign-in open.";
            return Err(Status::new(Code::FailedPrecondition, text));
        }
        let email = question.body["email"].as_str().unwrap_or_default();
        let admin = question.body["admin"].as_bool().unwrap_or(false);
        let user = User::new(email, admin).ok_or_else(|| Status::field("email", format!("`{email}` is no email address.")))?;
        let minutes = match &question.body["minutes"] {
            Value::Null => USUAL,
            given => given
                .as_u64()
                .filter(|minutes| (1..=MOST).contains(minutes))
                .ok_or_else(|| Status::field("minutes", format!("A link is good for 1 to {MOST} minutes.")))?,
        };
        let path = self.invitations.path(&question.app, &user, SystemTime::now() + Duration::from_secs(60 * minutes));
        let estate = self.estate.load();
        let host = estate.apps.get(&question.app).map(|table| table.naming.default_hostname.clone()).unwrap_or_default();
        Ok(json!({"email": user.email, "admin": admin, "minutes": minutes, "url": format!("http://{host}{path}"), "path": path}))
    }
}
