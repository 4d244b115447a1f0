//! The slice over a real store, without a socket.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::Frame;
use serde_json::json;
use store::control::Page;

use super::*;

/// A body in pieces of this many bytes.
struct Pieces(Vec<u8>, usize);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;
    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.1.min(self.0.len());
        let piece = self.0.drain(..length).collect::<Vec<_>>();
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }
}

/// Who may do everything in `demo`, or only look.
struct Somebody {
    changes: bool,
}

impl Guest for Somebody {
    fn check(&self, changes: bool, app: Option<&str>) -> Result<(), Fault> {
        if app == Some("demo") && (self.changes || !changes) {
            return Ok(());
        }
        Err(Fault::new(StatusCode::FORBIDDEN, "forbidden", "no"))
    }
    fn actor(&self) -> Actor {
        Actor { name: "tester".into(), token: None }
    }
}

struct House {
    storage: Storage,
    store: Store,
    runtime: tokio::runtime::Runtime,
    guest: Somebody,
    _home: tempfile::TempDir,
}

struct Got {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl House {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let store = Store::open(&home.path().join("data")).expect("opens");
        let make = |change: &mut store::control::Change<'_>| change.create_app(&"demo".parse().expect("an id"), "us-east1", Map::new());
        store.change::<_, store::control::StoreError>(&Actor::house(), make).expect("made");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let storage = Storage::new(store.clone(), "localhost");
        Self { storage, store, runtime, guest: Somebody { changes: true }, _home: home }
    }

    #[track_caller]
    fn send(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Got {
        let (method, target) = line.split_once(' ').expect("METHOD TARGET");
        assert!(is_ours(target.split('?').next().expect("a path")), "{target}");
        let mut request = Request::builder().method(method).uri(target).header("Host", "localhost:8085");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Pieces(body.to_vec(), 1000)).expect("a request");
        self.runtime.block_on(async {
            let response = self.storage.answer(&self.guest, request).await;
            let (head, body) = response.into_parts();
            let body = body.collect().await.expect("whole").to_bytes().to_vec();
            Got { status: head.status.as_u16(), headers: head.headers, body }
        })
    }

    #[track_caller]
    fn good(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Got {
        let got = self.send(line, headers, body);
        assert!(got.status < 300, "{line}: {} {}", got.status, String::from_utf8_lossy(&got.body));
        got
    }

    fn put(&self, bucket: &str, name: &str, content: &[u8]) -> Value {
        self.good(&format!("POST /upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}"), &[("Content-Type", "text/plain")], content)
            .json()
    }
}

const STAGING: &str = "staging.demo.localhost";
/// Of `hello`.
const SHA1: &str = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";
const MD5: &str = "XUFAKrxLKna5cZ2REBfFkg==";

/// What gcloud sends for a file below 5 MiB.
fn gcloud(content: &[u8]) -> (Vec<u8>, (&'static str, &'static str)) {
    let boundary = "===============7330845974216740156==";
    let head = format!(
        "--{boundary}\nContent-Type: application/json\nMIME-Version: 1.0\n\n{{\"size\": \"{}\"}}\n--{boundary}\nContent-Type: \
         application/octet-stream\nMIME-Version: 1.0\nContent-Transfer-Encoding: binary\n\n",
        content.len()
    );
    let body = [head.as_bytes(), content, format!("\n--{boundary}--").as_bytes()].concat();
    (body, ("Content-Type", "multipart/related; boundary='===============7330845974216740156=='"))
}

#[test]
fn t9_gcloud_asks_these_things_before_it_uploads() {
    let house = House::new();
    assert_eq!(house.send("GET /storage/v1/b/runtime-builders/o/experiments.yaml?alt=media", &[], b"").status, 404);
    let bucket = house.good(&format!("GET /storage/v1/b/{STAGING}?alt=json&fields=lifecycle"), &[], b"").json();
    assert_eq!(bucket, json!({}), "nothing that it lists expires behind gcloud's back");
    let objects = house.good(&format!("GET /storage/v1/b/{STAGING}/o?alt=json&maxResults=1000"), &[], b"").json();
    assert_eq!(objects, json!({"kind": "storage#objects"}));
    assert_eq!(house.send("GET /storage/v1/b/staging.other.localhost/o", &[], b"").status, 404);
}

#[test]
fn t9_a_file_of_gclouds_is_kept_once_under_its_digest() {
    let house = House::new();
    let (body, kind) = gcloud(b"hello");
    let line = format!("POST /upload/storage/v1/b/{STAGING}/o?alt=json&name={SHA1}&uploadType=multipart");
    let made = house.good(&line, &[kind], &body).json();
    assert_eq!(
        (&made["name"], &made["size"], &made["md5Hash"], &made["crc32c"]),
        (&json!(SHA1), &json!("5"), &json!(MD5), &json!("mnG7TA=="))
    );
    let listed = house.good(&format!("GET /storage/v1/b/{STAGING}/o?maxResults=1000"), &[], b"").json();
    assert_eq!(listed["items"][0]["name"], SHA1);
    assert!(listed["items"][0]["timeCreated"].as_str().is_some_and(|time| time.ends_with('Z')));
    let found = house.store.read(|view| view.find_blob_by_sha1(&SHA1.parse().expect("a digest"))).expect("read");
    assert_eq!(found.map(|blob| blob.size), Some(5));
    // Other bytes under that name are damaged ones.
    let (damaged, kind) = gcloud(b"hellO");
    let refused = house.send(&line, &[kind], &damaged);
    assert_eq!(refused.status, 400, "{}", refused.json());
    assert!(refused.json()["error"]["message"].as_str().is_some_and(|text| text.contains("SHA-1")));
    let short = house.send(&line, &[kind], &body[..body.len() - 20]);
    assert_eq!(short.status, 400);
    let got = house.good(&format!("GET /storage/v1/b/{STAGING}/o/{SHA1}?alt=media"), &[], b"");
    assert_eq!(got.body, b"hello");
}

#[test]
fn t9_a_large_file_comes_in_pieces() {
    let house = House::new();
    let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let line = format!("POST /resumable/upload/storage/v1/b/{STAGING}/o?alt=json&name=big&uploadType=resumable");
    let total = content.len().to_string();
    let headers = [("X-Upload-Content-Type", "application/zip"), ("X-Upload-Content-Length", total.as_str())];
    let begun = house.good(&line, &headers, format!("{{\"size\":\"{total}\"}}").as_bytes());
    let location = begun.header("location").strip_prefix("http://localhost:8085").expect("the address that was asked").to_owned();
    let put = |range: &str, body: &[u8]| house.send(&format!("PUT {location}"), &[("Content-Range", range)], body);
    let asked = put(&format!("bytes */{total}"), b"");
    assert_eq!((asked.status, asked.header("range")), (308, ""));
    let first = put(&format!("bytes 0-499999/{total}"), &content[..500_000]);
    assert_eq!((first.status, first.header("range")), (308, "bytes=0-499999"));
    // A piece that leaves a gap is not taken; one that overlaps is taken from where it is new.
    assert_eq!(put(&format!("bytes 600000-699999/{total}"), &content[600_000..700_000]).header("range"), "bytes=0-499999");
    assert_eq!(put(&format!("bytes 400000-699999/{total}"), &content[400_000..700_000]).header("range"), "bytes=0-699999");
    // A piece that breaks off keeps what came.
    assert_eq!(put(&format!("bytes 700000-{}/{total}", content.len() - 1), &content[700_000..900_000]).header("range"), "bytes=0-899999");
    let last = put(&format!("bytes 900000-{}/{total}", content.len() - 1), &content[900_000..]);
    assert_eq!(last.status, 200);
    let made = last.json();
    assert_eq!((&made["name"], &made["size"], &made["contentType"]), (&json!("big"), &json!(total), &json!("application/zip")));
    assert_eq!(put("bytes */*", b"").status, 404, "it is over");
    let got = house.good(&format!("GET /download/storage/v1/b/{STAGING}/o/big?alt=media"), &[], b"");
    assert!(got.body == content && got.header("content-length") == total);
    assert_eq!(
        got.header("x-goog-hash"),
        format!("crc32c={},md5={}", made["crc32c"].as_str().expect("set"), made["md5Hash"].as_str().expect("set"))
    );
    let part = house.send(&format!("GET /storage/v1/b/{STAGING}/o/big?alt=media"), &[("Range", "bytes=100-199")], b"");
    assert_eq!((part.status, part.body.as_slice()), (206, &content[100..200]));
    assert_eq!(std::fs::read_dir(house.store.dir().join("uploads")).expect("a folder").count(), 0);
}

#[test]
fn t9_a_resumable_upload_in_one_piece_and_a_cancelled_one() {
    let house = House::new();
    let begin = || {
        let begun = house.good(&format!("POST /upload/storage/v1/b/{STAGING}/o?uploadType=resumable&name=x"), &[], b"");
        begun.header("location").strip_prefix("http://localhost:8085").expect("an address").to_owned()
    };
    let location = begin();
    assert_eq!(house.good(&format!("PUT {location}"), &[], b"hello").json()["md5Hash"], MD5);
    let location = begin();
    // Without a total the last piece alone tells it.
    assert_eq!(house.send(&format!("PUT {location}"), &[("Content-Range", "bytes 0-2/*")], b"hel").status, 308);
    assert_eq!(house.good(&format!("PUT {location}"), &[("Content-Range", "bytes 3-4/5")], b"lo").json()["size"], "5");
    let location = begin();
    assert_eq!(house.send(&format!("DELETE {location}"), &[], b"").status, 499);
    assert_eq!(house.send(&format!("PUT {location}"), &[], b"hello").status, 404);
    assert_eq!(
        house.send(&format!("PUT /upload/storage/v1/b/{STAGING}/o?uploadType=resumable&upload_id=../owner-token"), &[], b"x").status,
        404
    );
}

#[test]
fn t9_sums_that_were_announced_are_checked() {
    let house = House::new();
    let line = format!("POST /upload/storage/v1/b/{STAGING}/o?uploadType=media&name=a%2Fb%20c");
    assert_eq!(house.good(&line, &[("X-Goog-Hash", "crc32c=mnG7TA==,md5=XUFAKrxLKna5cZ2REBfFkg==")], b"hello").json()["name"], "a/b c");
    for header in [("X-Goog-Hash", "md5=XUFAKrxLKna5cZ2REBfFkg=="), ("Content-MD5", MD5), ("X-Goog-Hash", "crc32c=mnG7TA==")] {
        let refused = house.send(&line, &[header], b"other");
        assert_eq!(refused.status, 400);
        assert!(refused.json()["error"]["message"].as_str().is_some_and(|text| text.contains("doesn't match")), "{}", refused.json());
    }
    assert_eq!(house.good(&format!("GET /storage/v1/b/{STAGING}/o/a%2Fb%20c?alt=media"), &[], b"").body, b"hello");
}

#[test]
fn t9_buckets_are_made_and_removed() {
    let house = House::new();
    let made = house
        .good("POST /storage/v1/b?project=demo&alt=json", &[], br#"{"name": "code-of-demo", "location": "EU", "labels": {"a": "b"}}"#)
        .json();
    assert_eq!((&made["name"], &made["location"], &made["labels"]["a"]), (&json!("code-of-demo"), &json!("EU"), &json!("b")));
    assert_eq!(house.send("POST /storage/v1/b?project=demo", &[], br#"{"name": "code-of-demo"}"#).status, 409);
    let patched = house.good("PATCH /storage/v1/b/code-of-demo", &[], br#"{"labels": {"a": null, "c": "d"}}"#).json();
    assert_eq!(patched["labels"], json!({"c": "d"}));
    house.put("code-of-demo", "x", b"hello");
    assert_eq!(house.send("DELETE /storage/v1/b/code-of-demo", &[], b"").status, 409);
    assert_eq!(house.good("DELETE /storage/v1/b/code-of-demo/o/x", &[], b"").status, 204);
    assert_eq!(house.send("DELETE /storage/v1/b/code-of-demo/o/x", &[], b"").status, 404);
    assert_eq!(house.good("DELETE /storage/v1/b/code-of-demo", &[], b"").status, 204);
    assert_eq!(house.send("GET /storage/v1/b/code-of-demo", &[], b"").status, 404);
    for wrong in ["UPPER", "a", "-ab", "a..b", ""] {
        let refused = house.send("POST /storage/v1/b?project=demo", &[], format!("{{\"name\": \"{wrong}\"}}").as_bytes());
        assert_eq!(refused.status, 400, "{wrong}");
    }
    assert_eq!(house.send("POST /storage/v1/b?project=demo", &[], b"{").status, 400);
    let taken = house.send("POST /storage/v1/b?project=demo", &[], br#"{"name": "staging.other.localhost"}"#);
    assert_eq!(taken.status, 403, "another app's own bucket");
}

#[test]
fn t9_lists_have_pages_and_prefixes() {
    let house = House::new();
    for name in ["a", "b%2F1", "b%2F2", "b%2Fc%2F3", "d"] {
        house.put(STAGING, name, name.as_bytes());
    }
    let list = |query: &str| {
        let listed = house.good(&format!("GET /storage/v1/b/{STAGING}/o?{query}"), &[], b"").json();
        let names = listed["items"].as_array().into_iter().flatten().filter_map(|item| item["name"].as_str()).collect::<Vec<_>>().join(" ");
        let prefixes = listed["prefixes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
        (names, prefixes, listed["nextPageToken"].as_str().map(str::to_owned))
    };
    let own = |text: &str| text.to_owned();
    assert_eq!(list(""), (own("a b/1 b/2 b/c/3 d"), own(""), None));
    assert_eq!(list("prefix=b/"), (own("b/1 b/2 b/c/3"), own(""), None));
    assert_eq!(list("delimiter=/"), (own("a d"), own("b/"), None));
    assert_eq!(list("delimiter=/&prefix=b/"), (own("b/1 b/2"), own("b/c/"), None));
    assert_eq!(list("startOffset=b/1&endOffset=b/c"), (own("b/1 b/2"), own(""), None));
    let (names, prefixes, next) = list("delimiter=/&maxResults=2");
    assert_eq!((names.as_str(), prefixes.as_str()), ("a", "b/"));
    assert_eq!(list(&format!("delimiter=/&maxResults=2&pageToken={}", next.expect("more"))), (own("d"), own(""), None));
    let mut seen = Vec::new();
    let mut token = Some(String::new());
    while let Some(after) = token {
        let (names, _, next) = list(&format!("maxResults=2&pageToken={after}"));
        seen.push(names);
        token = next;
    }
    assert_eq!(seen, ["a b/1", "b/2 b/c/3", "d"]);
}

#[test]
fn t9_conditions_copies_and_descriptions() {
    let house = House::new();
    let first = house.put(STAGING, "x", b"one");
    let generation = first["generation"].as_str().expect("a number").to_owned();
    let again =
        |condition: &str| house.send(&format!("POST /upload/storage/v1/b/{STAGING}/o?uploadType=media&name=x&{condition}"), &[], b"two");
    assert_eq!(again("ifGenerationMatch=0").status, 412);
    let second = again(&format!("ifGenerationMatch={generation}"));
    assert_eq!(second.status, 200);
    assert_ne!(second.json()["generation"], generation.as_str());
    assert_eq!(house.send(&format!("DELETE /storage/v1/b/{STAGING}/o/x?ifGenerationMatch={generation}"), &[], b"").status, 412);
    let described =
        house.good(&format!("PATCH /storage/v1/b/{STAGING}/o/x"), &[], br#"{"metadata": {"k": "v"}, "contentType": "text/css"}"#).json();
    assert_eq!(
        (&described["metadata"]["k"], &described["contentType"], &described["md5Hash"]),
        (&json!("v"), &json!("text/css"), &second.json()["md5Hash"])
    );
    let line = format!("POST /storage/v1/b/{STAGING}/o/x/rewriteTo/b/demo.localhost/o/y%2Fz");
    let copied = house.good(&line, &[], b"{}").json();
    assert_eq!(
        (&copied["done"], &copied["resource"]["name"], &copied["resource"]["metadata"]["k"]),
        (&json!(true), &json!("y/z"), &json!("v"))
    );
    assert_eq!(house.good("GET /storage/v1/b/demo.localhost/o/y%2Fz?alt=media", &[], b"").body, b"two");
    let objects = house.store.read(|view| view.objects("demo.localhost", "", &Page::all())).expect("read");
    assert_eq!(objects.len(), 1);
}

#[test]
fn t9_whoever_may_only_look_changes_nothing() {
    let mut house = House::new();
    house.put(STAGING, "x", b"one");
    house.guest.changes = false;
    assert_eq!(house.good(&format!("GET /storage/v1/b/{STAGING}/o/x"), &[], b"").json()["size"], "3");
    for line in [
        format!("DELETE /storage/v1/b/{STAGING}/o/x"),
        format!("PATCH /storage/v1/b/{STAGING}"),
        format!("POST /upload/storage/v1/b/{STAGING}/o?uploadType=media&name=y"),
        format!("POST /upload/storage/v1/b/{STAGING}/o?uploadType=resumable&name=y"),
        format!("POST /storage/v1/b/{STAGING}/o/x/copyTo/b/{STAGING}/o/y"),
        "POST /storage/v1/b?project=demo".to_owned(),
        "GET /storage/v1/b?project=other".to_owned(),
    ] {
        let refused = house.send(&line, &[], b"{}");
        assert_eq!((refused.status, &refused.json()["error"]["errors"][0]["reason"]), (403, &json!("forbidden")), "{line}");
    }
}
