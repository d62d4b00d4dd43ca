//! Tests of the resource server.
