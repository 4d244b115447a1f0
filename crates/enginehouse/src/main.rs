//! The binary: the command line and the wiring. The only crate that sees all others.

mod addresses;
mod admin;
mod app;
mod bundled;
mod change;
mod check;
mod cli;
mod client;
mod completions;
mod cron;
mod deploy;
mod dev_appserver;
mod doctor;
#[cfg(test)]
mod documents;
mod entrance;
mod entropy;
mod explain;
mod flags;
mod gcloud_env;
mod google_name;
mod inside;
mod journal;
mod logs;
mod oidc;
mod printer;
mod run;
mod serve;
mod show;
mod simulate;
mod steering;
mod stop;
mod storage;
mod ui;
mod watch;
mod watched;
mod wire;
mod wishes;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::ui::Ui;

/// The C library keeps blocks of up to 1 KiB for the thread that freed them, and a record of TLS is larger (docs/decisions/283).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Instances begin their life as this very binary.
    if let Some(code) = fleet::launch::intercept() {
        return code;
    }
    let cli = Cli::parse_from(dev_appserver::arguments());
    let ui = Ui::new(cli.color);
    inside::listen(&ui);
    let serves = matches!(cli.command, Command::Run(_) | Command::DevAppserver(_) | Command::Serve(_));
    let _gathering = serves.then(entropy::Entropy::gather);
    match cli.command {
        Command::Run(asked) => run::run(&ui, &asked),
        Command::DevAppserver(asked) => dev_appserver::dev_appserver(&ui, &asked),
        Command::Serve(asked) => serve::serve(&ui, &asked),
        Command::Reload(asked) => serve::reload(&ui, &asked),
        Command::Upgrade(asked) => serve::upgrade(&ui, &asked),
        Command::Check(asked) => check::check(&ui, &asked),
        Command::Logs(asked) => logs::logs(&ui, &asked),
        Command::Doctor(asked) => doctor::doctor(&ui, &asked),
        Command::Explain(asked) => explain::explain(&ui, &asked),
        Command::Simulate(asked) => simulate::simulate(&ui, &asked),
        Command::Deploy(asked) => deploy::deploy(&ui, &asked),
        Command::Apps(asked) => admin::apps::apps(&ui, &asked),
        Command::Services(asked) => admin::services::services(&ui, &asked),
        Command::Versions(asked) => admin::versions::versions(&ui, &asked),
        Command::Instances(asked) => admin::instances::instances(&ui, &asked),
        Command::Traffic(asked) => admin::traffic::traffic(&ui, &asked),
        Command::Firewall(asked) => admin::firewall::firewall(&ui, &asked),
        Command::Domains(asked) => admin::domains::domains(&ui, &asked),
        Command::Queues(asked) => admin::queues::queues(&ui, &asked),
        Command::Tasks(asked) => admin::tasks::tasks(&ui, &asked),
        Command::Operations(asked) => admin::operations::operations(&ui, &asked),
        Command::Cron(asked) => admin::cron::cron(&ui, &asked),
        Command::SignIn(asked) => admin::invite::sign_in(&ui, &asked),
        Command::Mail(asked) => admin::mail::mail(&ui, &asked),
        Command::Audit(asked) => admin::audit::audit(&ui, &asked),
        Command::Token(asked) => admin::tokens::token(&ui, &asked),
        Command::Config(asked) => client::config::config(&ui, &asked),
        Command::GcloudEnv(asked) => gcloud_env::gcloud_env(&ui, &asked),
        Command::Completions(asked) => completions::completions(&ui, &asked),
    }
}
