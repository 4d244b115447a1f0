//! What stands beside the Admin API on its port: the slices of Cloud Storage and of the other APIs that Google's tools ask during a deployment.

use http::StatusCode;
use store::control::Actor;

use super::ask::Ask;
use super::auth::{Caller, Deed};
use super::{Answer, Answered, Api, lenient};
use crate::slices;
use crate::status::Status;
use crate::storage::{Fault, Guest};

impl Guest for Caller {
    fn check(&self, changes: bool, app: Option<&str>) -> Result<(), Fault> {
        let deed = if changes { Deed::Deploy } else { Deed::Look };
        Self::check(self, deed, app).map_err(|status| Fault { status: StatusCode::FORBIDDEN, reason: "forbidden", message: status.message })
    }

    fn actor(&self) -> Actor {
        Self::actor(self)
    }
}

impl Api {
    /// Answers a request that belongs to a slice. Blocks.
    pub(crate) fn neighbour(&self, path: &str, ask: &Ask) -> Answered {
        let body = lenient::parse(&ask.body)?;
        let Some(app) = slices::app_of(path, &body) else {
            return Err(Status::field("resourceNames", "Name the project whose resources are meant, `projects/PROJECT`."));
        };
        let deed = if slices::only_reads(&ask.method, path) { Deed::Look } else { Deed::Deploy };
        ask.caller.check(deed, Some(&app))?;
        let house = slices::House { store: self.store(), settings: self.settings(), actor: ask.caller.actor(), wards: &self.wards };
        let asked = slices::Ask { method: &ask.method, path, query: &ask.query, body: &body };
        slices::answer(&house, &asked).map(Answer::Own)
    }
}
