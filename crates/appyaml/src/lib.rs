//! appyaml
