//! Header policy as ordered lists of small rules, so that documentation, `explain` and the data plane read the same list.

pub mod cache;
pub mod gzip;
pub mod names;
pub mod request;
pub mod response;
