//! Paths of the Admin API.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What may stand in a segment of a path as it is.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A name as a segment of a path or a value of a query.
pub(crate) fn segment(name: &str) -> String {
    utf8_percent_encode(name, KEPT).to_string()
}

/// The paths of one app.
#[derive(Debug, Clone)]
pub(crate) struct App {
    /// Its project id.
    pub(crate) id: String,
}

impl App {
    /// `/v1/apps/ID`
    pub(crate) fn path(&self) -> String {
        format!("/v1/apps/{}", segment(&self.id))
    }

    /// `/v1/apps/ID/services/SERVICE`
    pub(crate) fn service(&self, service: &str) -> String {
        format!("{}/services/{}", self.path(), segment(service))
    }

    /// `/v1/apps/ID/services/SERVICE/versions/VERSION`
    pub(crate) fn version(&self, service: &str, version: &str) -> String {
        format!("{}/versions/{}", self.service(service), segment(version))
    }

    /// `/v1/apps/ID/operations/OPERATION`; whole names of operations are taken too.
    pub(crate) fn operation(&self, operation: &str) -> String {
        format!("{}/operations/{}", self.path(), segment(operation.rsplit('/').next().unwrap_or(operation)))
    }

    /// `/enginehouse/v1/apps/ID`: what Google's API does not have.
    pub(crate) fn own(&self) -> String {
        format!("/enginehouse/v1/apps/{}", segment(&self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_leave_their_place_in_a_path() {
        let app = App { id: "example.com:shop".into() };
        assert_eq!(app.version("default", "../x?y"), "/v1/apps/example.com%3Ashop/services/default/versions/..%2Fx%3Fy");
        assert_eq!(app.operation("apps/shop/operations/12"), "/v1/apps/example.com%3Ashop/operations/12");
    }
}
