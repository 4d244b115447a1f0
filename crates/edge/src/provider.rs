//! Sign-in by an OpenID provider in place of our own page: `/_ah/login` leads there, `/_ah/login/callback` is where browsers come back
//! (docs/decisions/335-openid-connect.md). What must hold between the two stands in a signed cookie; all secrets of one sign-in follow from its state.

use std::time::{Duration, UNIX_EPOCH};

use http::{Method, StatusCode};
use model::signin::{Begin, Finish, Provider, Unable};
use model::user::safe_continue;

use crate::login::{Ask, Page, Seal, cookie, field, seconds};
use crate::page;

/// Where browsers come back.
pub(crate) const CALLBACK: &[u8] = b"/_ah/login/callback";
/// The cookie of a sign-in that is under way.
const STATE_NAME: &str = "enginehouse_signin";
/// How long that may take.
const PATIENCE: Duration = Duration::from_mins(15);
/// How long a sign-in lasts. Shorter than that of our own page: who is an administrator is the provider's to say.
const LASTS: Duration = Duration::from_hours(24);

/// What a page says, and what the log is told beyond that.
pub(crate) struct Outcome {
    pub(crate) page: Page,
    pub(crate) detail: Option<String>,
}

impl From<Page> for Outcome {
    fn from(page: Page) -> Self {
        Self { page, detail: None }
    }
}

impl From<Unable> for Outcome {
    fn from(unable: Unable) -> Self {
        let status = if unable.broken { StatusCode::BAD_GATEWAY } else { StatusCode::FORBIDDEN };
        Self { page: again(status, &unable.text), detail: Some(unable.detail) }
    }
}

/// A page with a way to begin anew.
fn again(status: StatusCode, text: &str) -> Page {
    let body = format!("<p role=\"alert\">{}</p>\n<p><a href=\"/_ah/login\">Sign in again</a></p>\n", page::escape(text));
    Page { status, headers: page::headers(), html: page::html("Sign in", &body) }
}

/// `/_ah/login`: to the provider.
pub(crate) async fn sign_in(provider: &dyn Provider, seal: &Seal, ask: &Ask<'_>, own: impl Fn(&str) -> bool) -> Outcome {
    let target = field(ask.query.unwrap_or_default(), "continue").unwrap_or_default();
    let target = safe_continue(&target, own);
    let begin = begin(seal, ask, ask.draw);
    let to = match provider.begin(begin).await {
        Ok(to) => to,
        Err(unable) => return unable.into(),
    };
    let mut page = Page::moved(&to);
    let until = seconds(ask.now + PATIENCE);
    page.set(STATE_NAME, &seal.close(&format!("{}\0{until}\0{target}", ask.draw)), PATIENCE.as_secs(), ask.https);
    page.into()
}

/// The beginning that belongs to a state.
fn begin(seal: &Seal, ask: &Ask<'_>, state: &str) -> Begin {
    let scheme = if ask.https { "https" } else { "http" };
    Begin {
        redirect: format!("{scheme}://{}{}", ask.authority, String::from_utf8_lossy(CALLBACK)),
        state: state.to_owned(),
        nonce: seal.derive("nonce", state),
        verifier: seal.derive("verifier", state),
    }
}

/// `/_ah/login/callback`: back from the provider.
pub(crate) async fn finish(provider: &dyn Provider, seal: &Seal, ask: &Ask<'_>) -> Outcome {
    let expired = || again(StatusCode::FORBIDDEN, "This sign-in has taken too long, or was begun in another browser.").into();
    if *ask.method != Method::GET {
        return again(StatusCode::METHOD_NOT_ALLOWED, "The sign-in provider must send browsers back with GET.").into();
    }
    let query = ask.query.unwrap_or_default();
    let Some(kept) = cookie(ask.headers, STATE_NAME).and_then(|kept| seal.unseal(kept)) else { return expired() };
    let mut parts = kept.splitn(3, '\0');
    let (Some(state), Some(until), Some(target)) = (parts.next(), parts.next().and_then(|text| text.parse::<u64>().ok()), parts.next())
    else {
        return expired();
    };
    let sent = field(query, "state").unwrap_or_default();
    let same = aws_lc_rs::constant_time::verify_slices_are_equal(sent.as_bytes(), state.as_bytes()).is_ok();
    if !same || ask.now > UNIX_EPOCH + Duration::from_secs(until) {
        return expired();
    }
    if let Some(error) = field(query, "error") {
        let why = field(query, "error_description").unwrap_or_default();
        let text = if error == "access_denied" { "The sign-in was cancelled." } else { "The sign-in provider refuses." };
        let mut outcome =
            Outcome { page: again(StatusCode::FORBIDDEN, text), detail: Some(format!("the provider refuses a sign-in: {error} {why}")) };
        outcome.page.set(STATE_NAME, "", 0, ask.https);
        return outcome;
    }
    let Some(code) = field(query, "code").filter(|code| !code.is_empty()) else { return expired() };
    let begin = begin(seal, ask, state);
    let user = match provider.finish(Finish { code, begin }).await {
        Ok(user) => user,
        Err(unable) => return unable.into(),
    };
    let mut page = Page::moved(target);
    page.sign_in(seal, &user, ask, LASTS);
    page.set(STATE_NAME, "", 0, ask.https);
    page.into()
}

/// `/_ah/logout`.
pub(crate) async fn sign_out(provider: &dyn Provider, ask: &Ask<'_>, own: impl Fn(&str) -> bool) -> Outcome {
    let target = field(ask.query.unwrap_or_default(), "continue").unwrap_or_default();
    let target = safe_continue(&target, own);
    let scheme = if ask.https { "https" } else { "http" };
    let back = if target.starts_with('/') { format!("{scheme}://{}{target}", ask.authority) } else { target.to_owned() };
    let to = provider.leave(&back).await;
    crate::login::leave(to.as_deref().unwrap_or(target), ask.https).into()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::SystemTime;

    use http::HeaderMap;
    use http::header::{COOKIE, LOCATION, SET_COOKIE};
    use model::ids::AppId;
    use model::pool::Boxed;
    use model::user::User;

    use super::*;

    /// A provider that knows Ann, if she brings back what she was sent with.
    #[derive(Debug, Default)]
    struct Fake(Arc<Mutex<Option<Begin>>>);

    impl Provider for Fake {
        fn realm(&self) -> &'static str {
            "https://issuer.test"
        }

        fn begin(&self, begin: Begin) -> Boxed<'static, Result<String, Unable>> {
            let to = format!("https://issuer.test/auth?state={}", begin.state);
            *self.0.lock().expect("whole") = Some(begin);
            Box::pin(async { Ok(to) })
        }

        fn finish(&self, finish: Finish) -> Boxed<'static, Result<User, Unable>> {
            let known = self.0.lock().expect("whole").clone() == Some(finish.begin);
            let user = User::new("ann@example.org", true).expect("an email");
            let unable = Unable { broken: false, text: "no".into(), detail: "no".into() };
            Box::pin(async move { if known && finish.code == "c" { Ok(user) } else { Err(unable) } })
        }

        fn leave(&self, back: &str) -> Boxed<'static, Option<String>> {
            let to = format!("https://issuer.test/end?back={back}");
            Box::pin(async { Some(to) })
        }
    }

    fn app() -> &'static AppId {
        static APP: std::sync::LazyLock<AppId> = std::sync::LazyLock::new(|| "shop".parse::<AppId>().expect("an id"));
        &APP
    }

    fn ask<'a>(headers: &'a HeaderMap, query: &'a str, draw: &'a str, now: SystemTime) -> Ask<'a> {
        Ask {
            method: &Method::GET,
            headers,
            query: Some(query),
            form: b"",
            authority: "shop.test",
            https: true,
            app: app(),
            user: None,
            now,
            draw,
        }
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
    }

    fn cookies(page: &Page) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for cookie in page.headers.get_all(SET_COOKIE) {
            let pair = cookie.to_str().expect("text").split(';').next().expect("a pair");
            headers.append(COOKIE, pair.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn s3_a_browser_is_led_to_the_provider_and_back() {
        let (provider, seal, now) = (Fake::default(), Seal::new(&[7; 32], "https://issuer.test"), SystemTime::now());
        let none = HeaderMap::new();
        let draw = "0123456789abcdef0123456789abcdef";
        let begun = run(sign_in(&provider, &seal, &ask(&none, "continue=%2Fback%3Fa%3D1", draw, now), |_| false)).page;
        assert_eq!(begun.headers[LOCATION], format!("https://issuer.test/auth?state={draw}").as_str());
        assert_eq!(provider.0.lock().expect("whole").as_ref().expect("begun").redirect, "https://shop.test/_ah/login/callback");
        let carried = cookies(&begun);
        let back = |query: &str, headers: &HeaderMap, now| run(finish(&provider, &seal, &ask(headers, query, "x", now))).page;
        let good = format!("code=c&state={draw}");
        let done = back(&good, &carried, now);
        assert_eq!((done.status, done.headers[LOCATION].as_bytes()), (StatusCode::FOUND, &b"/back?a=1"[..]));
        let user = seal.user(&cookies(&done), app(), now).expect("signed in");
        assert_eq!((user.email.as_str(), user.admin), ("ann@example.org", true));
        assert_eq!(Seal::new(&[7; 32], "").user(&cookies(&done), app(), now), None, "a sign-in of another kind");
        assert_eq!(seal.user(&cookies(&done), app(), now + LASTS), None);
        for (query, headers, at) in [
            (good.as_str(), &none, now),
            ("code=c&state=other", &carried, now),
            ("code=c", &carried, now),
            (&good, &carried, now + PATIENCE + Duration::from_secs(2)),
            (&format!("code=bad&state={draw}"), &carried, now),
            (&format!("state={draw}"), &carried, now),
            (&format!("error=access_denied&state={draw}"), &carried, now),
        ] {
            let refused = back(query, headers, at);
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{query}");
            assert_eq!(seal.user(&cookies(&refused), app(), now), None, "{query}");
        }
    }

    #[test]
    fn s3_who_signs_out_does_so_everywhere() {
        let none = HeaderMap::new();
        let out = run(sign_out(&Fake::default(), &ask(&none, "continue=/bye", "x", SystemTime::now()), |_| false)).page;
        assert_eq!(out.headers[LOCATION], "https://issuer.test/end?back=https://shop.test/bye");
    }
}
