//! The documents keep step with the command line: every command that they show is one that it understands.

use std::path::{Path, PathBuf};

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::cli::Cli;

/// The documents for users.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guide = std::fs::read_dir(root.join("docs/guide")).expect("readable").map(|entry| entry.expect("readable").path());
    guide.chain(["README.md", "examples/README.md", "packaging/README.md"].map(|name| root.join(name))).collect()
}

/// The pieces of a document in which commands stand: lines of blocks, and what stands between backquotes in the text.
fn pieces(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced || line.starts_with("    ") {
            let mut whole = line.trim().to_owned();
            while let Some(begun) = whole.strip_suffix('\\') {
                whole = format!("{begun} {}", lines.next().unwrap_or_default().trim());
            }
            found.push(whole);
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(ToOwned::to_owned));
        }
    }
    found
}

/// The words of the `enginehouse` command in a line of a shell, without comments, redirections and what follows a pipe.
fn words(line: &str) -> Option<Vec<String>> {
    let line = line.strip_prefix("$ ").unwrap_or(line);
    let inner = line.split_once("$(").filter(|(before, _)| before.ends_with(['=', '"', ' '])).map_or(line, |(_, inner)| inner);
    let inner = inner.strip_prefix("sudo ").unwrap_or(inner);
    // What follows two spaces explains the command.
    let inner = inner.split("  ").next().unwrap_or(inner);
    if inner.split_whitespace().next() != Some("enginehouse") {
        return None;
    }
    let (mut found, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in inner.chars() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, '|' | '<' | '>' | '#' | ')' | ';' | '&') => break,
            (None, ' ') => found.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    found.extend(word);
    Some(found)
}

/// Names of kinds of commands (`enginehouse traffic set|migrate`) and of things in general (`enginehouse versions …`) are no commands to type.
fn is_typed(words: &[String]) -> bool {
    words.len() > 1 && !words.iter().any(|word| word.contains(['…', '[']))
}

#[test]
fn every_command_of_the_documents_is_understood() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for path in documents() {
        let text = std::fs::read_to_string(&path).expect("readable");
        for words in pieces(&text).iter().filter_map(|piece| words(piece)).filter(|words| is_typed(words)) {
            seen += 1;
            match Cli::try_parse_from(&words) {
                Ok(_) => {}
                // In a sentence a command is often only named.
                Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::MissingRequiredArgument) => {}
                Err(error) => wrong.push(format!("{}: {}\n{error}", path.display(), words.join(" "))),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 50, "only {seen} commands were found");
}

#[test]
fn commands_are_found_as_people_write_them() {
    let read = |line: &str| words(line).map(|words| words.join("|"));
    assert_eq!(read("enginehouse run 'a b' # no"), Some("enginehouse|run|a b".into()));
    assert_eq!(read("url=$(enginehouse deploy -q)"), Some("enginehouse|deploy|-q".into()));
    assert_eq!(read("eval \"$(enginehouse gcloud-env)\""), Some("enginehouse|gcloud-env".into()));
    assert_eq!(read("enginehouse config set token - < token.txt"), Some("enginehouse|config|set|token|-".into()));
    assert_eq!(read("gcloud app deploy"), None);
}
