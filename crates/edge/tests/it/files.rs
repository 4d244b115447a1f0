//! Static files.

use std::os::unix::fs::symlink;

use edge::{Limits, Options};
use model::handler::HandlerKind;
use model::time::Expiration;

use crate::node::{Answer, Node, config, files, folder, options, table};

fn get(node: &Node, path: &str, headers: &str) -> Answer {
    node.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"))
}

#[test]
fn y17_conditions_and_ranges() {
    let (_keep, root) = folder(&[("s/a.txt", b"0123456789")]);
    let node = Node::files(options(), table(config("python312", vec![files("/s", "s")]), &root));
    let whole = node.get("/s/a.txt");
    let (tag, modified) = (whole.header("etag").expect("a tag"), whole.header("last-modified").expect("a date"));
    assert!(tag.starts_with('"') && !tag.contains("W/"));
    assert_eq!(whole.header("accept-ranges").as_deref(), Some("bytes"));
    for condition in [
        format!("If-None-Match: {tag}"),
        format!("If-None-Match: \"x\", W/{tag}"),
        "If-None-Match: *".into(),
        format!("If-Modified-Since: {modified}"),
    ] {
        let answer = get(&node, "/s/a.txt", &format!("{condition}\r\n"));
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{condition}");
        assert_eq!(answer.header("etag"), Some(tag.clone()));
    }
    assert_eq!(get(&node, "/s/a.txt", "If-Match: \"x\"\r\n").status, 412);
    assert_eq!(get(&node, "/s/a.txt", &format!("If-Match: {tag}\r\n")).status, 200);
    let part = get(&node, "/s/a.txt", "Range: bytes=2-4\r\n");
    assert_eq!((part.status, part.text().as_str(), part.header("content-range").as_deref()), (206, "234", Some("bytes 2-4/10")));
    let rest = get(&node, "/s/a.txt", "Range: bytes=-3\r\n");
    assert_eq!((rest.status, rest.text().as_str()), (206, "789"));
    let beyond = get(&node, "/s/a.txt", "Range: bytes=10-\r\n");
    assert_eq!((beyond.status, beyond.header("content-range").as_deref()), (416, Some("bytes */10")));
    let changed = get(&node, "/s/a.txt", "Range: bytes=2-4\r\nIf-Range: \"x\"\r\n");
    assert_eq!((changed.status, changed.body.len()), (200, 10));
}

#[test]
fn y14_head_and_other_methods() {
    let (_keep, root) = folder(&[("s/a.txt", b"0123456789")]);
    let node = Node::files(options(), table(config("python312", vec![files("/s", "s")]), &root));
    let head = node.send("HEAD /s/a.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!((head.status, head.header("content-length").as_deref()), (200, Some("10")));
    let post = node.send("POST /s/a.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!((post.status, post.header("allow").as_deref()), (405, Some("GET, HEAD")));
    let missing = node.send("HEAD /s/none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(missing.status, 404);
}

#[test]
fn h19_files_are_compressed_once_and_only_where_they_gain() {
    let page = "<p>All work and no play makes Jack a dull boy.</p>\n".repeat(200);
    let (_keep, root) = folder(&[("s/a.html", page.as_bytes()), ("s/tiny.html", b"<p>"), ("s/a.png", &[7; 5000])]);
    let node = Node::files(options(), table(config("python312", vec![files("/s", "s")]), &root));
    for _ in 0..2 {
        let packed = get(&node, "/s/a.html", "Accept-Encoding: gzip\r\n");
        assert_eq!(packed.header("content-encoding").as_deref(), Some("gzip"));
        assert_eq!(packed.header("vary").as_deref(), Some("Accept-Encoding"));
        assert!(packed.body.len() < 300);
        let tag = packed.header("etag").expect("a tag");
        assert!(tag.starts_with("W/"), "the bytes are not the file's");
        assert_eq!(get(&node, "/s/a.html", &format!("Accept-Encoding: gzip\r\nIf-None-Match: {tag}\r\n")).status, 304);
        let joined = get(&node, "/s/a.html", &format!("Accept-Encoding: gzip\r\nRange: bytes=5-\r\nIf-Range: {tag}\r\n"));
        assert_eq!(joined.status, 200);
        assert_eq!(crate::gzip::unpack(&packed.body), page.as_bytes());
    }
    let plain = get(&node, "/s/a.html", "");
    assert_eq!((plain.header("content-encoding"), plain.header("vary").as_deref()), (None, Some("Accept-Encoding")));
    assert_eq!(plain.text(), page);
    for path in ["/s/tiny.html", "/s/a.png"] {
        assert_eq!(get(&node, path, "Accept-Encoding: gzip\r\n").header("content-encoding"), None, "{path}");
    }
    let part = get(&node, "/s/a.html", "Accept-Encoding: gzip\r\nRange: bytes=0-2\r\n");
    assert_eq!((part.status, part.text().as_str(), part.header("content-encoding")), (206, "<p>", None));
}

#[test]
fn y16_nothing_outside_the_app_is_served() {
    let (keep, root) = folder(&[("s/a.txt", b"a"), ("s/deep/b.txt", b"b"), ("s/.env", b"secret"), ("other.txt", b"other")]);
    std::fs::write(keep.path().join("outside.txt"), "outside").expect("written");
    symlink("../../outside.txt", root.join("s/out.txt")).expect("linked");
    symlink(keep.path().join("outside.txt"), root.join("s/absolute.txt")).expect("linked");
    symlink("/etc", root.join("s/etc")).expect("linked");
    symlink("../other.txt", root.join("s/in.txt")).expect("linked");
    symlink(root.join("other.txt"), root.join("s/in-absolute.txt")).expect("linked");
    symlink(".env", root.join("s/env.txt")).expect("linked");
    let node = Node::files(options(), table(config("python312", vec![files("/s", "s")]), &root));
    for path in [
        "/s/out.txt",
        "/s/absolute.txt",
        "/s/etc/passwd",
        "/s/%2e%2e/other.txt",
        "/s/..%2fother.txt",
        "/s/deep",
        "/s/deep/",
        "/s/",
        "/s/.env",
        "/s/env.txt",
        "/s//a.txt",
        "/s/a.txt/",
        "/s/a.txt%00",
        "/s/deep/%2e%2e/%2e%2e/other.txt",
        "/s/%5c..%5cother.txt",
    ] {
        let answer = node.get(path);
        assert!(matches!(answer.status, 302 | 400 | 404), "{path}: {}", answer.status);
        assert!(!answer.text().contains("outside") && !answer.text().contains("secret"), "{path}");
    }
    for path in ["/s/in.txt", "/s/in-absolute.txt"] {
        assert_eq!(node.get(path).text(), "other", "{path}: links that stay inside are followed");
    }
}

#[test]
fn a_changed_file_is_seen_without_a_reload() {
    let (_keep, root) = folder(&[("s/a.txt", b"old")]);
    let options = Options { revalidate: std::time::Duration::ZERO, ..options() };
    let node = Node::files(options, table(config("python312", vec![files("/s", "s")]), &root));
    let old = node.get("/s/a.txt");
    std::fs::write(root.join("s/a.txt"), "newer").expect("written");
    let new = node.get("/s/a.txt");
    assert_eq!((old.text().as_str(), new.text().as_str()), ("old", "newer"));
    assert_ne!(old.header("etag"), new.header("etag"));
    let moved = table(config("python312", vec![files("/t", "s")]), &root);
    node.show(moved);
    assert_eq!((node.get("/t/a.txt").text().as_str(), node.get("/s/a.txt").status), ("newer", 404), "a new table counts at once");
    node.show(table(config("python312", vec![files("/s", "s")]), &root));
    std::fs::remove_file(root.join("s/a.txt")).expect("removed");
    assert_eq!(node.get("/s/a.txt").status, 404);
}

#[test]
fn large_files_are_streamed_whole_and_in_part() {
    let large: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[1] ^ n.to_le_bytes()[2]).collect();
    let (_keep, root) = folder(&[("s/large.bin", &large)]);
    let node = Node::files(options(), table(config("python312", vec![files("/s", "s")]), &root));
    let whole = node.get("/s/large.bin");
    assert!(whole.body == large);
    assert_eq!(whole.header("content-length").as_deref(), Some("5000000"));
    let part = get(&node, "/s/large.bin", "Range: bytes=1000000-2999999\r\n");
    assert!(part.status == 206 && part.body == large[1_000_000..3_000_000]);
    let again = get(&node, "/s/large.bin", &format!("If-None-Match: {}\r\n", whole.header("etag").expect("a tag")));
    assert_eq!(again.status, 304);
}

#[test]
fn large_files_of_one_connection_come_in_order_and_are_counted() {
    let large: Vec<u8> = (0..3_000_001_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[2]).collect();
    let (_keep, root) = folder(&[("s/large.bin", &large), ("s/small.txt", b"small")]);
    let node = Node::files(options(), table(config("python312", vec![files("/s", "s")]), &root));
    let mut client = node.connect();
    let ask = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    let all = [ask("/s/large.bin", ""), ask("/s/small.txt", ""), ask("/s/large.bin", "Range: bytes=-700001\r\n"), ask("/s/small.txt", "")]
        .concat();
    client.write(all.as_bytes());
    let bodies: Vec<Vec<u8>> = (0..4).map(|_| client.answer(false).body).collect();
    assert!(bodies == [&large[..], b"small", &large[3_000_001 - 700_001..], b"small"]);
    let old = node.send("GET /s/large.bin HTTP/1.0\r\nHost: localhost\r\n\r\n");
    assert!(old.body == large && !old.cut);
    let counted: Vec<u64> = node.journal.wait(5).iter().map(|request| request.bytes).collect();
    assert_eq!(counted, [3_000_001, 5, 700_001, 5, 3_000_001]);
}

#[test]
fn a_file_that_becomes_shorter_while_it_is_sent_is_cut_off() {
    let (_keep, root) = folder(&[("s/a.txt", b"a"), ("s/large.bin", b"")]);
    let file = std::fs::File::options().write(true).open(root.join("s/large.bin")).expect("opened");
    // More than the buffers of both sockets hold.
    file.set_len(64 << 20).expect("made longer");
    let node = Node::files(options(), table(config("python312", vec![files("/s", "s")]), &root));
    let mut client = node.connect();
    client.write(b"GET /s/large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = client.head();
    assert_eq!(head.header("content-length").as_deref(), Some("67108864"));
    file.set_len(0).expect("made shorter");
    let mut got = 0;
    while let Some(more) = client.some() {
        got += more.len();
    }
    assert!(got < 64 << 20, "{got} bytes of a file that is gone");
    let record = node.journal.wait(1).remove(0);
    assert!(record.bytes < 64 << 20, "{record:?}");
    assert_eq!(node.get("/s/a.txt").text(), "a");
}

#[test]
fn a_small_cache_serves_all_the_same() {
    let all: Vec<(String, Vec<u8>)> = (0..20_u8).map(|n| (format!("s/{n}.txt"), vec![b'a' + n; 10_000])).collect();
    let named: Vec<(&str, &[u8])> = all.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
    let (_keep, root) = folder(&named);
    let options = Options { limits: Limits { asset_cache: 50_000, ..Limits::default() }, ..options() };
    let node = Node::files(options, table(config("python312", vec![files("/s", "s")]), &root));
    for _ in 0..2 {
        for (name, content) in &all {
            assert!(node.get(&format!("/{name}")).body == *content);
        }
    }
}

#[test]
fn y17_expiration_headers_and_fall_through() {
    let (_keep, root) = folder(&[("s/a.bin", b"a"), ("t/b.txt", b"b")]);
    let mut first = files("/x", "s");
    if let HandlerKind::Static(files) = &mut first.kind {
        files.expiration = Some(Expiration(3600));
        files.mime_type = Some("text/x-own".into());
        files.http_headers.push(("access-control-allow-origin".parse().expect("a name"), "*".parse().expect("a value")));
        files.require_matching_file = true;
    }
    let node = Node::files(options(), table(config("python312", vec![first, files("/x", "t")]), &root));
    let own = node.get("/x/a.bin");
    assert_eq!(own.header("cache-control").as_deref(), Some("public, max-age=3600"));
    assert_eq!(own.header("content-type").as_deref(), Some("text/x-own"));
    assert_eq!(own.header("access-control-allow-origin").as_deref(), Some("*"));
    assert!(own.header("expires").is_some());
    assert_eq!(node.get("/x/b.txt").text(), "b", "falls through to the next handler");
    assert_eq!(node.get("/x/c.txt").status, 404);
}
