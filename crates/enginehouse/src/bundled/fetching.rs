//! urlfetch: what can be asked for on the command line, and the thread that fetches.
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::io;
use std::sync::Arc;

use clap::Args;
use model::proxy::Proxies;
use services::outside::Outside;
use services::urlfetch::{Settings, System, UrlFetch};

use crate::client::system_bundle;

/// What apps may fetch.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Fetching {
    /// Let apps fetch from this network too (127.0.0.0/8, 10.1.2.3), which URL Fetch refuses otherwise, as it does all that is not the internet; may be
    /// repeated
    #[arg(help_heading = "Services", long, value_name = "CIDR")]
    pub(crate) urlfetch_allow: Vec<Proxies>,
}

/// The service, with a thread of its own: TLS and the answers of many servers at once must not hold up other calls.
pub(crate) fn start(asked: Fetching, outside: &Arc<Outside>) -> io::Result<UrlFetch> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().thread_name("fetches").build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new().name("fetches".into()).spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    let settings = Settings {
        allow: asked.urlfetch_allow.into_iter().collect(),
        bundle: system_bundle(),
        resolver: Box::new(System),
        runtime: handle,
    };
    Ok(UrlFetch::new(settings, Arc::clone(outside)))
}
