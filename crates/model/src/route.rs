//! Where a request goes: the target is read, the host aims at a service and version, a split picks among versions, the path finds a handler.

pub mod handler;
pub mod host;
pub mod path;
pub mod split;
