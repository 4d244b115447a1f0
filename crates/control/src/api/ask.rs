//! A request as the resources see it: path, query, body and how the answer is wanted.

use std::collections::BTreeMap;

use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::mask::{Fields, UpdateMask};
use super::schema::{self, Message};
use super::{auth::Caller, lenient};
use crate::status::{FieldViolation, Status};

/// Longest query string.
const MOST_QUERY: usize = 64 * 1024;

/// The query, by canonical names (`page_size` is `pageSize`). Of a name that comes twice the last one counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads a query string or a form.
    pub(crate) fn parse(text: &str) -> Self {
        let mut query = Self::default();
        query.add(text);
        query
    }

    fn add(&mut self, text: &str) {
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
            let name = decode(name);
            // Credentials keep their spelling.
            let name = if name == "access_token" || name == "oauth_token" { name } else { schema::camel(&name) };
            self.0.insert(name, decode(value));
        }
    }

    /// Of a list as many entries as there may be, unless it is said how many.
    pub(crate) fn want_all(&mut self) {
        self.0.entry("pageSize".to_owned()).or_insert_with(|| i32::MAX.to_string());
    }

    /// All parameters.
    pub(crate) fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// A parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A flag; absent is false, empty is a mistake.
    ///
    /// # Errors
    /// 400 in Google's words.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Status> {
        let Some(text) = self.get(name) else { return Ok(false) };
        let value = Value::String(text.to_owned());
        schema::flag(&value).ok_or_else(|| {
            let field = schema::snake(name);
            let message = schema::bad_value(&field, "TYPE_BOOL", &value);
            Status::invalid(message.clone()).with_violations(&[FieldViolation::new(field, message)])
        })
    }
}

/// How the answer is wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pretty: bool,
    ints: bool,
    fields: Fields,
}

impl Wanted {
    /// Reads the parameters that every method has.
    ///
    /// # Errors
    /// 400 for forms that are not served: JSONP would hand an answer to any web page.
    pub(crate) fn read(query: &Query) -> Result<Self, Status> {
        let refuse =
            |name: &str, value: &str| Err(Status::invalid(format!("The parameter `{name}={value}` is not supported; answers are JSON.")));
        if let Some(callback) = query.get("callback") {
            return refuse("callback", callback);
        }
        let mut wanted = Self::usual();
        for name in ["alt", "$alt"] {
            for (at, part) in query.get(name).unwrap_or("json").split(';').enumerate() {
                match (at, part) {
                    (0, "json" | "") | (1.., "enum-encoding=string" | "") => {}
                    (1.., "enum-encoding=int") => wanted.ints = true,
                    _ => return refuse(name, part),
                }
            }
        }
        if query.get("prettyPrint").is_some() {
            wanted.pretty = query.flag("prettyPrint")?;
        }
        if let Some(fields) = query.get("fields").filter(|fields| !fields.is_empty()) {
            wanted.fields = Fields::parse(fields)?;
        }
        Ok(wanted)
    }

    /// The usual way.
    pub(crate) fn usual() -> Self {
        Self { pretty: true, ..Self::default() }
    }

    /// The bytes of an answer in canonical form.
    pub(crate) fn print(&self, value: Value, message: Option<&Message>) -> Vec<u8> {
        let value = match message {
            Some(message) => message.write(value, self.ints),
            None => value,
        };
        let mut value = self.fields.select(value);
        // The generated client for Node.js, which asks for numbers, stops at an operation whose error has details of a type that is not its own.
        if let Some(error) = value.get_mut("error").and_then(Value::as_object_mut).filter(|_| self.ints) {
            error.remove("details");
        }
        self.text(&value)
    }

    /// The bytes of an error; nothing is left out of it.
    pub(crate) fn text(&self, value: &Value) -> Vec<u8> {
        let text = if self.pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
        let mut text = text.unwrap_or_default();
        text.push(b'\n');
        text
    }
}

/// A request whose caller is known.
#[derive(Debug)]
pub(crate) struct Ask {
    /// GET, POST, PATCH or DELETE.
    pub(crate) method: Method,
    /// The query.
    pub(crate) query: Query,
    /// The body as it came.
    pub(crate) body: Vec<u8>,
    /// Who asks.
    pub(crate) caller: Caller,
}

impl Ask {
    /// The body as a message; none is an empty one.
    ///
    /// # Errors
    /// 400 with every mistake.
    pub(crate) fn message(&self, message: &'static Message, root: &str) -> Result<Map<String, Value>, Status> {
        message.read(&lenient::parse(&self.body)?, root)
    }

    /// The mask of a PATCH.
    ///
    /// # Errors
    /// 400 if it names what is no field, or is needed and missing.
    pub(crate) fn mask(&self, message: &'static Message, needed: bool) -> Result<UpdateMask, Status> {
        let mask = UpdateMask::parse(self.query.get("updateMask").unwrap_or_default(), message)?;
        if needed && mask.is_empty() {
            let example = message.example();
            return Err(Status::field(
                "updateMask",
                format!("The update mask is required: say which fields are to change, such as updateMask={example}."),
            ));
        }
        Ok(mask)
    }
}

/// What a request really is: long GETs come as a POST with a form, which says so in a header.
pub(crate) fn overridden(method: Method, headers: &HeaderMap, query: &mut Query, body: &mut Vec<u8>) -> Result<Method, Status> {
    let Some(named) = headers.get("x-http-method-override") else { return Ok(method) };
    let named = named.to_str().unwrap_or_default().to_ascii_uppercase();
    let allowed = ["GET", "PATCH", "PUT", "DELETE"].contains(&named.as_str());
    let Some(real) = Method::from_bytes(named.as_bytes()).ok().filter(|_| allowed && method == Method::POST) else {
        return Err(Status::invalid(format!("The header X-HTTP-Method-Override cannot make {method} {named}.")));
    };
    if real == Method::GET {
        let form = std::mem::take(body);
        if form.len() > MOST_QUERY {
            return Err(Status::invalid("The query is too long."));
        }
        query.add(&String::from_utf8_lossy(&form));
    }
    Ok(real)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn t9_queries_as_clients_write_them() {
        let query = Query::parse("migrateTraffic=True&update_mask=split%2C&x&%24alt=json%3Benum-encoding%3Dint&filter=done%3Afalse+x");
        assert_eq!(query.flag("migrateTraffic"), Ok(true));
        assert_eq!((query.get("updateMask"), query.get("filter")), (Some("split,"), Some("done:false x")));
        assert!(Wanted::read(&query).is_ok_and(|wanted| wanted.ints && wanted.pretty));
        let empty = Query::parse("migrateTraffic=");
        assert_eq!(empty.flag("migrateTraffic").expect_err("a mistake").message, "Invalid value at 'migrate_traffic' (TYPE_BOOL), \"\"");
        for bad in ["callback=x", "alt=media", "$alt=proto", "fields=a(", "prettyPrint=maybe"] {
            assert!(Wanted::read(&Query::parse(bad)).is_err(), "{bad}");
        }
        let plain = Wanted::read(&Query::parse("alt=json&prettyPrint=false&fields=a")).expect("good");
        assert_eq!(plain.print(json!({"a": 1, "b": 2}), None), b"{\"a\":1}\n");
    }

    #[test]
    fn t9_a_long_get_may_come_as_a_post() {
        let mut headers = HeaderMap::new();
        headers.insert("x-http-method-override", http::HeaderValue::from_static("GET"));
        let (mut query, mut body) = (Query::parse("a=1"), b"pageSize=5&b=%20".to_vec());
        assert_eq!(overridden(Method::POST, &headers, &mut query, &mut body), Ok(Method::GET));
        assert_eq!((query.get("pageSize"), query.get("a"), body.len()), (Some("5"), Some("1"), 0));
        assert!(overridden(Method::GET, &headers, &mut query, &mut body).is_err());
    }
}
