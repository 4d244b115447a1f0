//! Static files (rows Y14, Y15, Y17).

use testkit::{App, Python, Request};

use crate::apps::static_only;
use crate::{command, serve};

#[test]
fn y14_a_folder_is_served_below_its_prefix() {
    let app =
        static_only("- url: /img\n  static_dir: pictures/all\n- url: /typed\n  static_dir: pictures/all\n  mime_type: text/x-typed\n")
            .file("pictures/all/a.gif", "GIF")
            .file("pictures/all/deep/b.css", "b{}")
            .file("pictures/all/script.py", "print('never run')")
            .file("pictures/secret.txt", "secret");
    let node = serve(&app);
    let gif = node.get("/img/a.gif").expect(200);
    assert_eq!((gif.text().as_str(), gif.header("content-type")), ("GIF", Some("image/gif")));
    assert!(node.get("/img/deep/b.css").expect(200).header("content-type").is_some_and(|kind| kind.starts_with("text/css")));
    assert_eq!(node.get("/typed/a.gif").expect(200).header("content-type"), Some("text/x-typed"));
    assert_eq!(node.get("/img/script.py").expect(200).text(), "print('never run')");
    for missing in ["/img", "/img/", "/img/deep", "/img/deep/", "/img/none", "/imga.gif", "/img//a.gif"] {
        node.get(missing).expect(404);
    }
    for outside in [
        "/img/../secret.txt",
        "/img/%2e%2e/secret.txt",
        "/img/..%2fsecret.txt",
        "/img/%2e%2e%2fsecret.txt",
        "/img/\\..\\secret.txt",
        "/img/%00a.gif",
    ] {
        let answer = node.get(outside);
        assert!(answer.status != 200 && !answer.text().contains("secret\n"), "{outside}: {answer:?}");
    }
}

#[test]
fn y14_a_link_out_of_the_app_is_not_followed() {
    let outside = tempfile::tempdir().expect("folder");
    std::fs::write(outside.path().join("secret.txt"), "secret").expect("file");
    let app = static_only("- url: /s\n  static_dir: s\n").file("s/a.txt", "a");
    std::os::unix::fs::symlink(outside.path().join("secret.txt"), app.join("s/link.txt")).expect("link");
    std::os::unix::fs::symlink(outside.path(), app.join("s/folder")).expect("link");
    std::os::unix::fs::symlink("a.txt", app.join("s/inside.txt")).expect("link");
    let node = serve(&app);
    node.get("/s/link.txt").expect(404);
    node.get("/s/folder/secret.txt").expect(404);
    assert_eq!(node.get("/s/inside.txt").expect(200).text(), "a");
}

#[test]
fn y15_files_are_named_by_groups() {
    let app = static_only("- url: /(.*\\.(gif|png))\n  static_files: images/\\1\n  upload: images/.*\\.(gif|png)\n- url: /other\n  static_files: images/x.txt\n  upload: images/.*\\.gif\n")
        .file("images/a/b.gif", "GIF")
        .file("images/x.txt", "not uploaded");
    let node = serve(&app);
    assert_eq!(node.get("/a/b.gif").expect(200).text(), "GIF");
    node.get("/a/c.gif").expect(404);
    node.get("/a/b.gif/x").expect(404);
}

#[test]
fn y17_expiration_mime_type_and_headers() {
    let app = static_only(
        "- url: /s\n  static_dir: s\n  expiration: 1h\n  http_headers:\n    Access-Control-Allow-Origin: https://example.org\n    X-Foo: bar\n",
    )
    .file("s/a.json", "{}");
    let node = serve(&app);
    let answer = node.get("/s/a.json").expect(200);
    assert_eq!(answer.header("cache-control"), Some("public, max-age=3600"));
    assert!(answer.header("expires").is_some());
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://example.org"));
    assert_eq!(answer.header("x-foo"), Some("bar"));
    for bad in ["Content-Length: 5", "X-AppEngine-Foo: bar", "Connection: close", "\"X Foo\": bar", "X-Foo: \"é\""] {
        let app = static_only(&format!("- url: /s\n  static_dir: s\n  http_headers:\n    {bad}\n")).file("s/a.json", "{}");
        let check = command(["check", app.path().to_str().expect("UTF-8")]);
        assert!(check.code == Some(1) && check.stdout.contains("app.yaml:"), "{bad}: {check:?}");
    }
}

#[test]
fn y17_validators_ranges_and_head() {
    let node = serve(&static_only("- url: /s\n  static_dir: s\n").file("s/a.txt", "0123456789"));
    let whole = node.get("/s/a.txt").expect(200);
    let etag = whole.header("etag").expect("an ETag").to_owned();
    let modified = whole.header("last-modified").expect("a date").to_owned();
    let with = |name: &str, value: &str| node.send(&Request::get("/s/a.txt").header(name, value));
    for (name, value, status) in [
        ("If-None-Match", etag.as_str(), 304),
        ("If-None-Match", "*", 304),
        ("If-None-Match", "\"other\"", 200),
        ("If-Match", "\"other\"", 412),
        ("If-Match", etag.as_str(), 200),
        ("If-Modified-Since", modified.as_str(), 304),
        ("If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT", 200),
    ] {
        assert_eq!(with(name, value).status, status, "{name}: {value}");
    }
    for listed in
        [format!("\"x\", {etag}"), format!("W/{}", etag.trim_start_matches("W/")), format!("\"x\", W/{}", etag.trim_start_matches("W/"))]
    {
        let answer = with("If-None-Match", &listed);
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{listed}");
    }
    let part = with("Range", "bytes=2-4").expect(206);
    assert_eq!((part.text().as_str(), part.header("content-range")), ("234", Some("bytes 2-4/10")));
    assert_eq!(with("Range", "bytes=-3").expect(206).text(), "789");
    assert_eq!(with("Range", "bytes=50-").expect(416).header("content-range"), Some("bytes */10"));
    assert_eq!(with("Range", "lines=1-2").expect(200).text(), "0123456789");
    let head = node.connect().send(&Request::new("HEAD", "/s/a.txt"));
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, Some("10")));
    node.send(&Request::post("/s/a.txt", "x")).expect(405);
}

#[test]
fn y17_large_text_is_compressed_once_and_sent_gzipped() {
    let text = "abc ".repeat(10_000);
    let node = serve(&static_only("- url: /s\n  static_dir: s\n").file("s/a.txt", &text).file("s/a.png", &text));
    let get = |path: &str, accept: &str| node.send(&Request::get(path).header("Accept-Encoding", accept)).expect(200);
    let zipped = get("/s/a.txt", "gzip");
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));
    assert!(zipped.body.len() < 2_000);
    assert!(zipped.all("vary").join(",").contains("Accept-Encoding"));
    assert_eq!(zipped.body, get("/s/a.txt", "gzip").body);
    assert_eq!(get("/s/a.txt", "identity").text(), text);
    assert_eq!(get("/s/a.png", "gzip").header("content-encoding"), None);
}

#[test]
fn y14_static_files_need_no_interpreter() {
    let app = App::with_yaml(&format!("{}handlers:\n- url: /s\n  static_dir: s\n", Python::Two.head())).file("s/a.txt", "a");
    let node = crate::node().app(&app).env("PATH", "/nowhere").without_env("PYENV_ROOT").env("HOME", "/nowhere").start();
    node.get("/s/a.txt").expect(200);
    assert!(node.children().len() <= 1, "{:?}", node.children());
}

#[test]
fn y14_an_app_of_python_3_may_have_files_and_no_code() {
    let yaml = format!("{}handlers:\n- url: /s\n  static_dir: s\n", Python::Three.head());
    let node = serve(&App::with_yaml(&yaml).file("s/a.txt", "a"));
    assert_eq!(node.get("/s/a.txt").expect(200).text(), "a");
    let other = node.get("/other");
    assert!(other.status >= 400, "{other:?}");
    node.wait_line("the user is told", |line| line.contains("only static files are served"));
}
