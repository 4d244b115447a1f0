//! What parts of the house tell and take under `/enginehouse/v1/apps/APP/COLLECTION…`: the same in `run` (on its admin port, for whoever can read the
//! app's storage folder) and in `serve` (in the Admin API, by role). Each collection is a [`Ward`]; decision 300.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::{HeaderMap, Method, header};
use model::ids::AppId;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use store::control::Actor;

use crate::status::{Code, Status};

/// One request about an app.
#[derive(Debug)]
pub struct Question {
    /// The app; it exists.
    pub app: AppId,
    /// The method; HEAD is GET.
    pub method: Method,
    /// What stands behind the app, percent-decoded, the collection first: `["queues", "default", "tasks"]`.
    pub path: Vec<String>,
    /// The verb behind a `:`, as in `queues/default:pause`.
    pub verb: Option<String>,
    /// The query; of a name that comes twice the last one counts.
    pub query: BTreeMap<String, String>,
    /// The body; an empty one is an empty object.
    pub body: Value,
    /// Who asks.
    pub actor: Actor,
}

impl Question {
    /// Path behind the collection and verb, for matching.
    pub fn parts(&self) -> (Vec<&str>, Option<&str>) {
        (self.path.iter().skip(1).map(String::as_str).collect(), self.verb.as_deref())
    }

    /// How many entries a page may have (`pageSize`), and behind which it begins (`pageToken`).
    ///
    /// # Errors
    /// 400 if the size is no number.
    pub fn page(&self, usual: usize, most: usize) -> Result<(usize, Option<&str>), Status> {
        let token = self.query.get("pageToken").map(String::as_str).filter(|token| !token.is_empty());
        let Some(size) = self.query.get("pageSize") else { return Ok((usual, token)) };
        let size: usize = size.parse().map_err(|_| Status::field("pageSize", format!("`{size}` is no number.")))?;
        Ok((if size == 0 { usual } else { size.min(most) }, token))
    }

    /// There is no such method.
    pub fn missing(&self) -> Status {
        let verb = self.verb.as_ref().map(|verb| format!(":{verb}")).unwrap_or_default();
        Status::not_found(format!("There is no method {} {}{verb} of an app.", self.method, self.path.join("/")))
    }
}

/// Who answers for a collection.
pub trait Ward: Send + Sync {
    /// The collection's name: `queues`.
    fn collection(&self) -> &'static str;

    /// Answers; it may block. Callers may look with GET as viewers; everything else takes a deployer.
    ///
    /// # Errors
    /// Why not.
    fn answer(&self, question: &Question) -> Result<Value, Status>;
}

/// All of them.
pub type Wards = Vec<Arc<dyn Ward>>;

/// The ward of a path below `/enginehouse/v1/apps/`, with app, decoded path and verb.
pub(crate) fn find<'w>(wards: &'w Wards, path: &str) -> Option<(&'w Arc<dyn Ward>, Found)> {
    let rest = path.strip_prefix("/enginehouse/v1/apps/")?;
    let mut segments = Vec::new();
    for segment in rest.trim_end_matches('/').split('/') {
        segments.push(percent_decode_str(segment).decode_utf8().ok()?.into_owned());
    }
    let is_verb = |verb: &str| !verb.is_empty() && verb.bytes().all(|byte| byte.is_ascii_alphabetic());
    let mut verb = None;
    // The app's own name may have a colon.
    if let Some(last) = segments.get_mut(1..).and_then(<[String]>::last_mut)
        && let Some((before, behind)) = last.rsplit_once(':')
        && is_verb(behind)
    {
        verb = Some(behind.to_owned());
        *last = before.to_owned();
    }
    let app = segments.first()?.clone();
    let collection = segments.get(1)?;
    let ward = wards.iter().find(|ward| ward.collection() == collection)?;
    segments.remove(0);
    Some((ward, Found { app, path: segments, verb }))
}

/// A path taken apart.
pub(crate) struct Found {
    pub(crate) app: String,
    pub(crate) path: Vec<String>,
    pub(crate) verb: Option<String>,
}

/// What the admin port of `run` takes, besides telling.
pub struct Local {
    /// The app that runs.
    pub app: AppId,
    /// What callers must know; it stands in the app's storage folder, which neither instances nor web pages can read.
    pub token: String,
    /// What can be asked.
    pub wards: Wards,
    /// What GET /quit does, in test mode.
    pub quit: Option<fn()>,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").field("app", &self.app).finish_non_exhaustive()
    }
}

impl Local {
    /// Whether the request may ask.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Status> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer ")).unwrap_or_default();
        verify_slices_are_equal(given.as_bytes(), self.token.as_bytes()).map_err(|_| {
            Status::new(
                Code::Unauthenticated,
                "The token of the app's storage folder is missing or wrong; the commands of enginehouse find it.",
            )
        })
    }

    /// Answers a request below `/enginehouse/v1`. Blocks.
    pub(crate) fn answer(&self, method: Method, path: &str, query: &str, body: &[u8]) -> Result<Value, Status> {
        if path == "/enginehouse/v1/apps" && method == Method::GET {
            return Ok(serde_json::json!({"apps": [{"id": self.app}]}));
        }
        let nothing = || Status::not_found(format!("There is no method {method} {path}."));
        let (ward, found) = find(&self.wards, path).ok_or_else(nothing)?;
        if found.app != self.app.as_str() {
            return Err(Status::not_found(format!("Could not find Application \"{}\"; this is {}.", found.app, self.app)));
        }
        let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
        ward.answer(&Question {
            app: self.app.clone(),
            method,
            path: found.path,
            verb: found.verb,
            query: parameters(query),
            body: serde_json::from_slice(body).map_err(|error| Status::invalid(format!("The body is not JSON: {error}.")))?,
            actor: Actor::house(),
        })
    }
}

fn parameters(query: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(name, value)| (decode(name), decode(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Queues;

    impl Ward for Queues {
        fn collection(&self) -> &'static str {
            "queues"
        }

        fn answer(&self, question: &Question) -> Result<Value, Status> {
            Ok(serde_json::json!([question.app, question.path, question.verb, question.query, question.body]))
        }
    }

    #[test]
    fn t9_wards_are_found_and_asked() {
        let wards: Wards = vec![Arc::new(Queues)];
        let local = Local { app: "example.com:shop".parse().expect("an id"), token: "secret".into(), wards, quit: None };
        let asked = |path: &str| local.answer(Method::POST, path, "a=b%20c", b"").map(|value| value.to_string());
        let whole = asked("/enginehouse/v1/apps/example.com%3Ashop/queues/a%2Fb:pause");
        assert_eq!(whole.expect("answered"), r#"["example.com:shop",["queues","a/b"],"pause",{"a":"b c"},{}]"#);
        for nowhere in ["/enginehouse/v1/apps/other/queues", "/enginehouse/v1/apps/example.com:shop/cron", "/enginehouse/v1/x"] {
            assert_eq!(asked(nowhere).expect_err("nothing").code, Code::NotFound, "{nowhere}");
        }
        let mut headers = HeaderMap::new();
        assert!(local.check(&headers).is_err());
        headers.insert(header::AUTHORIZATION, "Bearer secret".parse().expect("a value"));
        assert!(local.check(&headers).is_ok());
    }
}
