//! `secure` and `login`.

use http::StatusCode;
use model::config::InboundService;
use model::gate::{Ask, Caller, Internal, Verdict, check, shows_user};
use model::handler::{AuthFail, HandlerKind, Login, RedirectCode, Script, Secure};
use model::user::User;

use crate::fixture::{config, script, static_dir, version};

pub(crate) fn ask() -> Ask<'static> {
    Ask {
        caller: Caller::External,
        user: None,
        https: false,
        enforce_secure: true,
        authority: "localhost:8080",
        path: "/a%20b",
        query: Some("c=d&e"),
        http_port: 8080,
        https_port: 8443,
    }
}

#[test]
fn y20_secure_redirects_between_schemes() {
    let mut handler = script("/.*", "main.app");
    handler.secure = Secure::Always;
    let redirect = |status, location: &str| Verdict::Redirect { status, location: location.to_owned() };
    assert_eq!(check(&handler, &ask()), redirect(StatusCode::FOUND, "https://localhost:8443/a%20b?c=d&e"));
    assert_eq!(check(&handler, &Ask { https: true, ..ask() }), Verdict::Pass);
    assert_eq!(check(&handler, &Ask { https_port: 443, ..ask() }), redirect(StatusCode::FOUND, "https://localhost/a%20b?c=d&e"));
    assert_eq!(check(&handler, &Ask { authority: "[::1]:8080", ..ask() }), redirect(StatusCode::FOUND, "https://[::1]:8443/a%20b?c=d&e"));
    assert_eq!(check(&handler, &Ask { authority: "[::1]", ..ask() }), redirect(StatusCode::FOUND, "https://[::1]:8443/a%20b?c=d&e"));
    assert_eq!(check(&handler, &Ask { enforce_secure: false, ..ask() }), Verdict::Pass, "the development server ignores it");
    assert_eq!(check(&handler, &Ask { caller: Caller::Internal(Internal::Cron), ..ask() }), Verdict::Pass);

    handler.secure = Secure::Never;
    for (code, status) in [
        (RedirectCode::MovedPermanently, StatusCode::MOVED_PERMANENTLY),
        (RedirectCode::Found, StatusCode::FOUND),
        (RedirectCode::SeeOther, StatusCode::SEE_OTHER),
        (RedirectCode::TemporaryRedirect, StatusCode::TEMPORARY_REDIRECT),
    ] {
        handler.redirect = code;
        let verdict = check(&handler, &Ask { https: true, authority: "localhost:8443", ..ask() });
        assert_eq!(verdict, redirect(status, "http://localhost:8080/a%20b"), "the query is dropped");
    }
    assert_eq!(check(&handler, &ask()), Verdict::Pass);
}

#[test]
fn y20_secure_comes_before_login() {
    let mut handler = script("/.*", "main.app");
    (handler.secure, handler.login) = (Secure::Always, Login::Required);
    assert!(matches!(check(&handler, &ask()), Verdict::Redirect { .. }));
    let Verdict::Redirect { location, .. } = check(&handler, &Ask { authority: "", ..ask() }) else { panic!("not redirected") };
    assert_eq!(location, "https://localhost:8443/a%20b?c=d&e");
    let Verdict::LogIn { location } = check(&handler, &Ask { https: true, authority: "localhost:8443", ..ask() }) else {
        panic!("not asked to sign in")
    };
    assert_eq!(location, "https://localhost:8443/_ah/login?continue=https%3A//localhost%3A8443/a%2520b%3Fc%3Dd%26e");
}

#[test]
fn y18_who_passes() {
    let user = User::new("ann@example.com", false).expect("an email");
    let admin = User::new("ann@example.com", true).expect("an email");
    let internal = |kind| Caller::Internal(kind);
    for (login, user, caller, passes) in [
        (Login::Optional, None, Caller::External, true),
        (Login::Required, None, Caller::External, false),
        (Login::Required, Some(&user), Caller::External, true),
        (Login::Required, None, internal(Internal::Cron), false),
        (Login::Required, None, internal(Internal::TaskQueue), false),
        (Login::Required, None, internal(Internal::Mail), false),
        (Login::Required, None, internal(Internal::Start), true),
        (Login::Required, None, internal(Internal::Warmup), true),
        (Login::Admin, None, Caller::External, false),
        (Login::Admin, Some(&user), Caller::External, false),
        (Login::Admin, Some(&admin), Caller::External, true),
        (Login::Admin, None, internal(Internal::Cron), true),
        (Login::Admin, None, internal(Internal::TaskQueue), true),
        (Login::Admin, None, internal(Internal::Mail), true),
    ] {
        for auth_fail in [AuthFail::Redirect, AuthFail::Unauthorized] {
            let mut handler = script("/.*", "main.app");
            (handler.login, handler.auth_fail) = (login, auth_fail);
            let verdict = check(&handler, &Ask { user, caller, ..ask() });
            assert_eq!(verdict == Verdict::Pass, passes, "{login:?} {user:?} {caller:?}");
            if !passes && user.is_some() {
                // Document 003: whatever auth_fail_action says.
                let text = "Current logged in user ann@example.com is not authorized to view this page.";
                assert_eq!(verdict, Verdict::Unauthorized(text.into()));
            } else if !passes && auth_fail == AuthFail::Unauthorized {
                assert_eq!(verdict, Verdict::Unauthorized("Login required to view page.".into()));
            } else if !passes {
                assert!(matches!(verdict, Verdict::LogIn { .. }));
            }
        }
    }
}

#[test]
fn y19_the_refusal_cannot_carry_markup() {
    let user = User::new("a&lt'@example.com", false).expect("an email");
    let mut handler = script("/.*", "main.app");
    handler.login = Login::Admin;
    let Verdict::Unauthorized(text) = check(&handler, &Ask { user: Some(&user), ..ask() }) else { panic!("came in") };
    assert!(text.contains("a&amp;lt&#39;@example.com"), "{text}");
}

#[test]
fn y21_lifecycle_handlers_are_there_for_the_house_only() {
    let mut first = config("default", "v1", "python27");
    first.handlers = vec![static_dir("/_ah", "x"), script("/", "main.app")];
    first.inbound.insert(InboundService::Warmup);
    let mut second = config("default", "v1", "python312");
    second.handlers = vec![script("/", "auto")];
    for (config, kind, paths) in [(first, Script::Nothing, &["/_ah/warmup", "/_ah/start"][..]), (second, Script::Auto, &["/_ah/start"])] {
        let version = version(config);
        for path in paths {
            let matched = version.handlers().find(path.as_bytes()).expect("a handler");
            assert_eq!(matched.handler.kind, HandlerKind::Script(kind.clone()), "{path}");
            assert!(matches!(check(matched.handler, &ask()), Verdict::LogIn { .. }));
            assert_eq!(check(matched.handler, &Ask { caller: Caller::Internal(Internal::Start), ..ask() }), Verdict::Pass);
        }
    }
}

#[test]
fn h11_user_headers_go_to_login_handlers_and_bundled_services() {
    let (python27, python3) = (config("default", "v1", "python27"), config("default", "v1", "python39"));
    let mut with_apis = config("default", "v1", "python39");
    with_apis.app_engine_apis = true;
    let open = script("/.*", "main.app");
    let mut closed = script("/.*", "main.app");
    closed.login = Login::Required;
    assert!(shows_user(&closed, &python27) && shows_user(&closed, &python3) && shows_user(&open, &with_apis));
    assert!(!shows_user(&open, &python27) && !shows_user(&open, &python3));
}
