//! What this machine has for instances: walls, and the interpreters and tools of every language.

use std::io;

use model::runtime::{Language, Runtime};
use sandbox::probe::Report;

use crate::prepare::Interpreter;
use crate::python::find;
use crate::{Options, tools, walls};

/// A language's interpreter or toolchain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// For what: `python27`, `nodejs`.
    pub runtime: &'static str,
    /// The program.
    pub program: &'static str,
    /// Where it is, and its version.
    pub found: Option<Interpreter>,
    /// How to get it.
    pub remedy: &'static str,
}

/// Tries every wall, in a throw-away process.
///
/// # Errors
/// If that process cannot be started.
pub fn walls(options: &Options) -> io::Result<Report> {
    walls::ask(&options.launcher)
}

/// Looks for every language.
pub fn tools(options: &Options) -> Vec<Tool> {
    let python = |runtime, program, remedy| {
        let found = Runtime::parse(runtime).and_then(|runtime| find::interpreter(options, &runtime).ok());
        Tool { runtime, program, found: found.map(|found| found.python.interpreter()), remedy }
    };
    let other = |runtime, language, remedy| {
        let (program, args) = tools::tool(language).unwrap_or_default();
        Tool { runtime, program, found: tools::look(program, args), remedy }
    };
    vec![
        python("python27", "python2.7", "`pyenv install 2.7.18`"),
        python("python3", "python3", "`apt install python3 python3-venv`"),
        other("nodejs", Language::Node, "https://nodejs.org, or `apt install nodejs npm`"),
        other("go", Language::Go, "https://go.dev/dl, or `apt install golang-go`"),
        other("java", Language::Java, "`apt install default-jdk-headless`"),
        other("php", Language::Php, "`apt install php-cli composer`"),
        other("ruby", Language::Ruby, "`apt install ruby bundler`"),
    ]
}
