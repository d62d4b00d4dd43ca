//! The gate as its callers see it.
