//! What an instance sees of `/etc`: a few files of our own, and those of the machine without which programs do not run.

/// Bound from the machine as far as they exist: name resolution, certificates, the dynamic linker, languages' own settings. Nothing with secrets
/// in it: files that only their owner may read stay unreadable, and pip's and npm's settings are not here.
pub(crate) const SHOWN: [&str; 27] = [
    "alternatives",
    "ca-certificates",
    "fonts",
    "gai.conf",
    "host.conf",
    "hosts",
    "java",
    "java-11-openjdk",
    "java-17-openjdk",
    "java-21-openjdk",
    "java-25-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "php",
    "pki",
    "protocols",
    "python2.7",
    "python3",
    "resolv.conf",
    "services",
    "ssl",
];

/// Bound as well: `python3.11` and the like.
pub(crate) const SHOWN_PREFIXES: [&str; 2] = ["python3.", "ImageMagick"];

/// The machine's names with further ones before them; `None` if there are none, and the machine's own file does.
pub(crate) fn hosts(lines: &[String]) -> Option<String> {
    if lines.is_empty() {
        return None;
    }
    let own = std::fs::read_to_string("/etc/hosts").unwrap_or_else(|_| "127.0.0.1 localhost\n".into());
    Some(lines.iter().fold(String::new(), |all, line| all + line + "\n") + &own)
}

/// Our own files.
pub(crate) fn own(uid: u32, gid: u32, home: &str) -> [(&'static str, String); 3] {
    let user = if uid == 0 { String::new() } else { format!("app:x:{uid}:{gid}:app:{home}:/bin/sh\n") };
    let group = if gid == 0 { String::new() } else { format!("app:x:{gid}:\n") };
    [
        ("passwd", format!("root:x:0:0:root:/:/usr/sbin/nologin\n{user}nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n")),
        ("group", format!("root:x:0:\n{group}nogroup:x:65534:\n")),
        ("hostname", "localhost\n".into()),
    ]
}
