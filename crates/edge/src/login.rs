//! Sign-in for development: `/_ah/login` and `/_ah/logout` (rows Y18, Y19; choices in docs/decisions/041-sign-in.md), and what all ways of signing in share.
//!
//! The cookie is signed (HMAC-SHA-256), expires, and is out of reach of scripts. Signing in takes a POST from our own page: its Origin must be
//! ours, and a token in the form must match one in a cookie, so that no other site can sign a visitor in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use model::ids::AppId;
use model::user::{User, safe_continue};
use percent_encoding::percent_decode_str;

use crate::page;

/// Name of the cookie that says who is signed in.
const COOKIE_NAME: &str = "enginehouse_login";

/// Name of the cookie that proves that a form is ours.
const TOKEN_NAME: &str = "enginehouse_form";

/// How long a sign-in lasts.
const LASTS: Duration = Duration::from_hours(14 * 24);

/// The key that signs cookies.
pub(crate) struct Seal(hmac::Key);

impl Seal {
    /// `realm` is who signs users in: what one said does not count once it is another. Empty for our own page.
    pub(crate) fn new(secret: &[u8], realm: &str) -> Self {
        let own = hmac::Key::new(hmac::HMAC_SHA256, secret);
        if realm.is_empty() {
            return Self(own);
        }
        Self(hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&own, realm.as_bytes()).as_ref()))
    }

    /// `BASE64(text).BASE64(tag)`
    pub(crate) fn close(&self, text: &str) -> String {
        let payload = URL_SAFE_NO_PAD.encode(text);
        let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, payload.as_bytes()));
        format!("{payload}.{tag}")
    }

    /// What was closed with this seal.
    pub(crate) fn unseal(&self, closed: &str) -> Option<String> {
        let (payload, tag) = closed.split_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.0, payload.as_bytes(), &tag).ok()?;
        String::from_utf8(URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }

    /// A secret of its own for `what`, the same whenever it is asked for: 43 characters.
    pub(crate) fn derive(&self, what: &str, from: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, format!("{what}\0{from}").as_bytes()))
    }

    /// `kind \0 app \0 email \0 admin \0 expiry`: who is an administrator of one app is nobody at another.
    pub(crate) fn vouch(&self, kind: &str, app: &AppId, user: &User, until: SystemTime) -> String {
        self.close(&format!("{kind}\0{app}\0{}\0{}\0{}", user.email, u8::from(user.admin), seconds(until)))
    }

    /// Whom we have vouched for at this app.
    pub(crate) fn vouched(&self, kind: &str, app: &AppId, text: &str, now: SystemTime) -> Option<User> {
        let payload = self.unseal(text)?;
        let mut parts = payload.split('\0');
        let (of, place) = (parts.next()?, parts.next()?);
        let (email, admin, expiry) = (parts.next()?, parts.next()?, parts.next()?.parse::<u64>().ok()?);
        if of != kind || *place != app.to_string() || expiry <= seconds(now) {
            return None;
        }
        User::new(email, admin == "1")
    }

    /// The signed-in user of a request.
    pub(crate) fn user(&self, headers: &HeaderMap, app: &AppId, now: SystemTime) -> Option<User> {
        self.vouched(COOKIE_NAME, app, cookie(headers, COOKIE_NAME)?, now)
    }
}

pub(crate) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub(crate) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let all = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';')).find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// What sign-in looks at.
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) query: Option<&'a str>,
    /// The form of a POST.
    pub(crate) form: &'a [u8],
    /// As the client named it.
    pub(crate) authority: &'a str,
    pub(crate) https: bool,
    pub(crate) app: &'a AppId,
    pub(crate) user: Option<&'a User>,
    pub(crate) now: SystemTime,
    /// Random digits for a new form.
    pub(crate) draw: &'a str,
}

/// A page or redirect of the house's own.
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) html: String,
}

impl Page {
    fn refused(text: &str) -> Self {
        let html = page::fault(StatusCode::FORBIDDEN, text, None);
        Self { status: StatusCode::FORBIDDEN, headers: page::headers(), html }
    }

    pub(crate) fn moved(to: &str) -> Self {
        let mut headers = page::headers();
        headers.insert(LOCATION, HeaderValue::try_from(to).unwrap_or(HeaderValue::from_static("/")));
        Self { status: StatusCode::FOUND, headers, html: String::new() }
    }

    /// Says from now on who is signed in.
    pub(crate) fn sign_in(&mut self, seal: &Seal, user: &User, ask: &Ask<'_>, lasts: Duration) {
        self.set(COOKIE_NAME, &seal.vouch(COOKIE_NAME, ask.app, user, ask.now + lasts), lasts.as_secs(), ask.https);
    }

    pub(crate) fn set(&mut self, name: &str, value: &str, life: u64, https: bool) {
        let secure = if https { "; Secure" } else { "" };
        let text = format!("{name}={value}; Path=/; Max-Age={life}; HttpOnly; SameSite=Lax{secure}");
        if let Ok(value) = HeaderValue::try_from(text) {
            self.headers.append(SET_COOKIE, value);
        }
    }
}

/// The value of one field of a query or form.
pub(crate) fn field(text: &str, name: &str) -> Option<String> {
    text.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned())
    })
}

/// `/_ah/login`.
pub(crate) fn sign_in(seal: &Seal, ask: &Ask<'_>, own: impl Fn(&str) -> bool) -> Page {
    let query = ask.query.unwrap_or_default();
    if *ask.method != Method::POST {
        // `?email=…&action=Login`, which dev_appserver obeys, is only a suggestion here: a GET signs nobody in.
        let target = field(query, "continue").unwrap_or_default();
        let email = field(query, "email").unwrap_or_default();
        let admin = field(query, "admin").is_some_and(|admin| admin.eq_ignore_ascii_case("true"));
        return form(ask, safe_continue(&target, own), &email, admin, None);
    }
    let form_text = String::from_utf8_lossy(ask.form);
    let target = field(&form_text, "continue").unwrap_or_default();
    let target = safe_continue(&target, own).to_owned();
    if let Some(refusal) = stale(ask, &form_text) {
        return refusal;
    }
    if field(&form_text, "action").is_some_and(|action| action.eq_ignore_ascii_case("logout")) {
        return leave(&target, ask.https);
    }
    let email = field(&form_text, "email").unwrap_or_default();
    let admin = field(&form_text, "admin").is_some_and(|admin| admin.eq_ignore_ascii_case("true"));
    let Some(user) = User::new(&email, admin) else {
        return form(ask, &target, &email, admin, Some("Enter an email address, such as test@example.com."));
    };
    let mut page = Page::moved(&target);
    page.sign_in(seal, &user, ask, LASTS);
    page
}

/// A POST that does not come from our own form.
pub(crate) fn stale(ask: &Ask<'_>, form: &str) -> Option<Page> {
    let own = same_origin(ask) && token_matches(ask.headers, form);
    (!own).then(|| Page::refused("The sign-in form is stale or comes from another site. Go back, reload the page and try again."))
}

/// `/_ah/logout`: harmless enough to answer a GET, as every app links to it.
pub(crate) fn sign_out(ask: &Ask<'_>, own: impl Fn(&str) -> bool) -> Page {
    let target = field(ask.query.unwrap_or_default(), "continue").unwrap_or_default();
    leave(safe_continue(&target, own), ask.https)
}

pub(crate) fn leave(target: &str, https: bool) -> Page {
    let mut page = Page::moved(target);
    page.set(COOKIE_NAME, "", 0, https);
    page
}

/// Browsers name the origin of every form they post; one that names none (curl) must still hold the token.
fn same_origin(ask: &Ask<'_>) -> bool {
    let headers = ask.headers;
    if headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return false;
    }
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let origin = origin.to_str().unwrap_or_default();
    origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(ask.authority))
}

fn token_matches(headers: &HeaderMap, form: &str) -> bool {
    let (Some(kept), Some(sent)) = (cookie(headers, TOKEN_NAME), field(form, "token")) else { return false };
    !kept.is_empty() && aws_lc_rs::constant_time::verify_slices_are_equal(kept.as_bytes(), sent.as_bytes()).is_ok()
}

fn form(ask: &Ask<'_>, target: &str, email: &str, admin: bool, problem: Option<&str>) -> Page {
    let shown = if email.is_empty() { ask.user.map_or("test@example.com", |user| &user.email) } else { email };
    let admin = admin || (email.is_empty() && ask.user.is_some_and(|user| user.admin));
    let now = who(ask.user);
    let problem = problem.map_or_else(String::new, |text| format!("<p role=\"alert\"><strong>{}</strong></p>", page::escape(text)));
    let token = form_token(ask);
    let checked = if admin { " checked" } else { "" };
    let body = format!(
        "<p>{now}</p>{problem}\n<form method=\"post\" action=\"/_ah/login\">\
         <label>Email <input type=\"email\" name=\"email\" value=\"{}\" required autofocus autocomplete=\"email\"></label>\
         <label><input type=\"checkbox\" name=\"admin\" value=\"True\"{checked}> Sign in as administrator</label>\
         <input type=\"hidden\" name=\"continue\" value=\"{}\"><input type=\"hidden\" name=\"token\" value=\"{token}\">\
         <p><button name=\"action\" value=\"Login\">Sign in</button> <button name=\"action\" value=\"Logout\" formnovalidate>Sign out</button></p></form>\
         <p><small>No password is asked: this page stands in for the sign-in of production.</small></p>\n",
        page::escape(shown),
        page::escape(target)
    );
    with_form(if problem.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST }, &body, ask)
}

/// Says who is signed in, as HTML.
pub(crate) fn who(user: Option<&User>) -> String {
    let Some(user) = user else { return "You are not signed in.".to_owned() };
    let admin = if user.admin { ", an administrator" } else { "" };
    format!("You are signed in as <strong>{}</strong>{admin}.", page::escape(&user.email))
}

/// The token of a form, which a cookie has too.
pub(crate) fn form_token<'a>(ask: &Ask<'a>) -> &'a str {
    let known = cookie(ask.headers, TOKEN_NAME);
    known.filter(|token| token.len() == 32 && token.bytes().all(|b| b.is_ascii_hexdigit())).unwrap_or(ask.draw)
}

/// A page with a form that has [`form_token`].
pub(crate) fn with_form(status: StatusCode, body: &str, ask: &Ask<'_>) -> Page {
    let mut page = Page { status, headers: page::headers(), html: page::html("Sign in", body) };
    page.set(TOKEN_NAME, form_token(ask), LASTS.as_secs(), ask.https);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal() -> Seal {
        Seal::new(&[7; 32], "")
    }

    #[test]
    fn y18_a_cookie_holds_until_it_expires_and_cannot_be_changed() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let (user, shop) = (User::new("ange@example.com", true).expect("an address"), "shop".parse::<AppId>().expect("an id"));
        let bank = "bank".parse::<AppId>().expect("an id");
        let cookie = seal().vouch(COOKIE_NAME, &shop, &user, now + LASTS);
        let open = |seal: Seal, kind: &str, app: &AppId, text: &str, now| seal.vouched(kind, app, text, now);
        assert_eq!(open(seal(), COOKIE_NAME, &shop, &cookie, now), Some(user));
        assert_eq!(open(seal(), COOKIE_NAME, &shop, &cookie, now + LASTS), None);
        assert_eq!(open(seal(), COOKIE_NAME, &bank, &cookie, now), None, "another app");
        assert_eq!(open(seal(), "link", &shop, &cookie, now), None, "another kind");
        assert_eq!(open(Seal::new(&[8; 32], ""), COOKIE_NAME, &shop, &cookie, now), None);
        assert_eq!(
            open(Seal::new(&[7; 32], "https://issuer.test"), COOKIE_NAME, &shop, &cookie, now),
            None,
            "somebody else signs users in"
        );
        let mut forged = cookie.into_bytes();
        forged[3] ^= 1;
        assert_eq!(open(seal(), COOKIE_NAME, &shop, &String::from_utf8_lossy(&forged), now), None);
        assert_eq!(open(seal(), COOKIE_NAME, &shop, "", now), None);
    }

    #[test]
    fn fields_are_decoded() {
        assert_eq!(field("a=1&email=x%40y.z+w&email=2", "email").as_deref(), Some("x@y.z w"));
        assert_eq!(field("a", "a").as_deref(), Some(""));
        assert_eq!(field("", "a"), None);
    }
}
