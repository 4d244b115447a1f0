//! Sign-in by links that the owner of the server gives out (`enginehouse sign-in`), where no provider knows the users: a page that asks for no password
//! would make an administrator of whoever finds it (docs/decisions/375-who-signs-in.md).

use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use model::ids::AppId;
use model::signin::SignIn;
use model::user::{User, safe_continue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::login::{Ask, Page, Seal, field, form_token, leave, stale, who, with_form};
use crate::page;

/// What is sealed in a link, in contrast to a cookie.
const KIND: &str = "link";
/// How long a sign-in lasts.
const LASTS: Duration = Duration::from_hours(24);

/// Makes links. They are good for one app, on each of its hosts.
pub struct Invitations(Seal);

impl Invitations {
    /// With the key of [`crate::Options::login_secret`].
    pub fn new(secret: &[u8]) -> Self {
        Self(Seal::new(secret, SignIn::Links.realm()))
    }

    /// The path and query of a link that signs `user` in, until then.
    pub fn path(&self, app: &AppId, user: &User, until: SystemTime) -> String {
        format!("/_ah/login?link={}", utf8_percent_encode(&self.0.vouch(KIND, app, user, until), NON_ALPHANUMERIC))
    }
}

/// `/_ah/login`. A link only shows the form: what a mail scanner fetches signs nobody in, and no other site can.
pub(crate) fn sign_in(seal: &Seal, ask: &Ask<'_>, own: impl Fn(&str) -> bool) -> Page {
    let posted = *ask.method == Method::POST;
    let text = if posted { String::from_utf8_lossy(ask.form) } else { ask.query.unwrap_or_default().into() };
    let target = field(&text, "continue").unwrap_or_default();
    let target = safe_continue(&target, own);
    let link = field(&text, "link").filter(|link| !link.is_empty());
    let user = link.as_ref().and_then(|link| seal.vouched(KIND, ask.app, link, ask.now));
    if !posted {
        return show(ask, target, link.as_deref(), user.as_ref());
    }
    if let Some(refusal) = stale(ask, &text) {
        return refusal;
    }
    if field(&text, "action").is_some_and(|action| action.eq_ignore_ascii_case("logout")) {
        return leave(target, ask.https);
    }
    let Some(user) = user else { return show(ask, target, link.as_deref(), None) };
    let mut page = Page::moved(target);
    page.sign_in(seal, &user, ask, LASTS);
    page
}

fn show(ask: &Ask<'_>, target: &str, link: Option<&str>, user: Option<&User>) -> Page {
    let (status, text) = match (link, user) {
        (_, Some(user)) => {
            let admin = if user.admin { ", as an administrator" } else { "" };
            (StatusCode::OK, format!("This link signs you in as <strong>{}</strong>{admin}.", page::escape(&user.email)))
        }
        (Some(_), None) => (StatusCode::FORBIDDEN, "<strong>This link has expired, or is for another app.</strong>".into()),
        (None, None) => (
            StatusCode::FORBIDDEN,
            "To sign in, open a link that you got from whoever runs this server.</p>\n<p><small>The owner makes one with \
             <code>enginehouse sign-in EMAIL</code>, or names a sign-in provider with <code>--oidc-issuer</code>.</small>"
                .into(),
        ),
    };
    let button = |action: &str, text: &str| format!("<button name=\"action\" value=\"{action}\">{text}</button> ");
    let enter = user.map(|_| button("Login", "Sign in")).unwrap_or_default();
    let out = ask.user.map(|_| button("Logout", "Sign out")).unwrap_or_default();
    let body = format!(
        "<p>{}</p>\n<p>{text}</p>\n<form method=\"post\" action=\"/_ah/login\"><input type=\"hidden\" name=\"link\" value=\"{}\">\
         <input type=\"hidden\" name=\"continue\" value=\"{}\"><input type=\"hidden\" name=\"token\" value=\"{}\"><p>{enter}{out}</p></form>\n",
        who(ask.user),
        page::escape(link.unwrap_or_default()),
        page::escape(target),
        form_token(ask),
    );
    with_form(status, &body, ask)
}
