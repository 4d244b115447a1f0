//! What would happen to a URL, as data: rendered by `enginehouse explain`.
